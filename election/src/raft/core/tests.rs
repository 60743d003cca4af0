//! Facts in, orders out.

use bellwether_raft::{Leadership as Raft, Member, NodeId as RaftId, Peer as RaftPeer};
use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::Rank;

const MS: Duration = Duration::from_millis(1);

const TIMING: Timing = Timing {
    settle: Duration::from_millis(150),
    vote_timeout: Duration::from_secs(1),
    handover_timeout: Duration::from_millis(500),
    forget_after: Duration::from_secs(2),
};

/// A node, 1, of three, and all that it knows.
struct Rig {
    core: Core,
    now: Instant,
    intent: Intent,
    spoke: bool,
    raft: Raft,
    answering: BTreeSet<Voter>,
    table: Table,
    published: Leadership,
}

fn node(voter: Voter) -> NodeId {
    NodeId {
        member: format!("m{voter}"),
        incarnation: Uuid::from_u128(voter.into()),
    }
}

impl Rig {
    #[expect(clippy::disallowed_methods, reason = "any instant does")]
    fn new() -> Self {
        let now = Instant::now();
        Self {
            core: Core::new(1, node(1), TIMING),
            now,
            intent: Intent::default(),
            spoke: false,
            raft: Raft::Vacant,
            answering: [1, 2, 3].into(),
            table: Table::default(),
            published: Leadership::Vacant,
        }
    }

    /// The Raft leader of this term, in a group whose other members have told who they are.
    fn elected(raft_term: u64) -> Self {
        let mut rig = Self::new();
        rig.tell(2, None);
        rig.tell(3, None);
        rig.lease(raft_term);
        rig
    }

    fn lease(&mut self, term: u64) {
        let until = self.now + 10_000 * MS;
        self.raft = Raft::Leading { term, until };
    }

    fn stand(&mut self, rank: u8) {
        self.intent.candidacy = Some(Rank(vec![rank]));
        self.spoke = true;
    }

    fn resign(&mut self, successor: Option<NodeId>) {
        self.intent.candidacy = None;
        self.intent.resignations += 1;
        self.intent.successor = successor;
        self.spoke = true;
    }

    /// Another member's word: nothing, or whether it stands.
    fn tell(&mut self, voter: Voter, word: Option<Option<u8>>) {
        let entry = Entry {
            node: node(voter),
            card: Bytes::new(),
            word: word.map(|rank| Word {
                after: self.table.spells,
                candidacy: rank.map(|rank| Rank(vec![rank])),
            }),
        };
        self.table.apply(Command::Tell(voter, entry));
    }

    fn step(&mut self) -> Vec<Action> {
        let facts = Facts {
            now: self.now,
            intent: &self.intent,
            spoke: self.spoke,
            raft: &self.raft,
            voters: [1, 2, 3].into(),
            members: [1, 2, 3].into(),
            answering: self.answering.clone(),
            table: &self.table,
        };
        self.core.step(&facts)
    }

    /// Steps and writes until nothing is left to write; whom Raft's leadership then goes to.
    fn settle(&mut self) -> Option<Voter> {
        for _ in 0..20 {
            let mut written = false;
            for action in self.step() {
                match action {
                    Action::Publish(leadership) => {
                        // An application has to speak anew.
                        self.spoke &= leadership != Leadership::Vacant;
                        self.published = leadership;
                        written = true;
                    }
                    Action::PublishPeers(_) => {}
                    Action::Write(command) => {
                        self.table.apply(command);
                        written = true;
                    }
                    Action::Transfer(to) => return Some(to),
                }
            }
            if !written {
                return None;
            }
        }
        panic!("it never comes to rest: {:?}", self.core);
    }

    fn leads_in(&self) -> Option<u64> {
        match self.published {
            Leadership::Leading { term, .. } => Some(term.0),
            Leadership::Vacant | Leadership::Following { .. } => None,
        }
    }
}

#[test]
fn the_elected_one_leads_once_all_have_spoken_and_it_is_the_fittest() {
    let mut rig = Rig::elected(7);
    rig.stand(5);
    rig.tell(2, Some(Some(4)));
    assert_eq!((rig.settle(), rig.leads_in()), (None, None), "3 is silent");
    rig.tell(3, Some(None));
    assert_eq!((rig.settle(), rig.leads_in()), (None, Some(1)));
}

#[test]
fn the_fittest_is_handed_the_lead() {
    let mut rig = Rig::elected(7);
    rig.stand(5);
    rig.tell(2, Some(Some(6)));
    rig.tell(3, Some(Some(6)));
    assert_eq!(rig.settle(), Some(2), "of equal rank, the smaller name");
    assert_eq!(rig.table.heir, Some(2));
    // It does not take it: the next one is asked.
    rig.core.failed(rig.now, 2);
    assert_eq!(rig.settle(), Some(3));
    assert_eq!(rig.leads_in(), None);
}

#[test]
fn who_is_silent_is_waited_for_but_not_for_ever() {
    let mut rig = Rig::elected(7);
    rig.stand(5);
    rig.tell(2, Some(Some(4)));
    assert_eq!(rig.settle(), None);
    rig.now += TIMING.vote_timeout;
    assert_eq!((rig.settle(), rig.leads_in()), (None, Some(1)));

    // Who does not even answer is waited for much shorter.
    let mut rig = Rig::elected(7);
    rig.stand(5);
    rig.tell(2, Some(Some(4)));
    rig.answering = [1, 2].into();
    assert_eq!((rig.settle(), rig.leads_in()), (None, None));
    rig.now += TIMING.settle;
    assert_eq!((rig.settle(), rig.leads_in()), (None, Some(1)));
}

#[test]
fn who_does_not_stand_hands_over_or_waits() {
    let mut rig = Rig::elected(7);
    rig.spoke = true;
    rig.tell(2, Some(None));
    rig.tell(3, Some(None));
    assert_eq!((rig.settle(), rig.leads_in()), (None, None));
    rig.tell(3, Some(Some(0)));
    assert_eq!(rig.settle(), Some(3));
    assert_eq!(rig.leads_in(), None);
}

/// Leads in the first spell.
fn leading() -> Rig {
    let mut rig = Rig::elected(7);
    rig.stand(5);
    rig.tell(2, Some(None));
    rig.tell(3, Some(None));
    assert_eq!((rig.settle(), rig.leads_in()), (None, Some(1)));
    rig
}

#[test]
fn a_resignation_ends_the_spell_in_favour_of_the_successor() {
    let mut rig = leading();
    rig.resign(Some(node(3)));
    rig.tell(2, Some(Some(9)));
    assert_eq!(rig.settle(), Some(3), "whatever the others' rank");
    assert_eq!(rig.published, Leadership::Vacant);
    assert_eq!(rig.table.holder, None);

    // The successor is not there: the others vote.
    let mut rig = leading();
    rig.resign(Some(node(3)));
    rig.answering = [1, 2].into();
    rig.settle();
    rig.tell(2, Some(Some(0)));
    rig.now += TIMING.settle;
    assert_eq!(rig.settle(), Some(2));
}

#[test]
fn a_resignation_is_not_missed_when_a_campaign_follows_it() {
    let mut rig = leading();
    rig.resign(None);
    rig.stand(5);
    rig.settle();
    assert_eq!(rig.published, Leadership::Vacant);
    rig.stand(5);
    rig.tell(2, Some(None));
    rig.tell(3, Some(None));
    assert_eq!((rig.settle(), rig.leads_in()), (None, Some(2)));
}

#[test]
fn a_lease_that_ended_ends_the_spell() {
    let mut rig = leading();
    rig.now += 20_000 * MS;
    assert_eq!(rig.settle(), None);
    assert_eq!(rig.published, Leadership::Vacant);
    // Its lease is back, in the same term of Raft's: it has to begin anew.
    rig.lease(7);
    rig.settle();
    assert_eq!(
        (rig.published.clone(), rig.table.holder),
        (Leadership::Vacant, None)
    );
    rig.stand(5);
    rig.tell(2, Some(None));
    rig.tell(3, Some(None));
    assert_eq!((rig.settle(), rig.leads_in()), (None, Some(2)));
}

#[test]
fn a_former_spell_in_the_table_is_no_leadership() {
    let mut rig = leading();
    // Elected again, later: what is in the table was said in another term of Raft's.
    rig.raft = Raft::Vacant;
    rig.settle();
    rig.stand(5);
    rig.lease(9);
    assert_eq!((rig.settle(), rig.leads_in()), (None, None));
    rig.tell(2, Some(None));
    rig.tell(3, Some(None));
    assert_eq!((rig.settle(), rig.leads_in()), (None, Some(2)));
}

#[test]
fn followers_believe_who_is_raft_leader_and_has_taken_the_lead() {
    let mut rig = Rig::new();
    rig.tell(2, Some(Some(1)));
    let leader = RaftPeer {
        id: RaftId(2),
        member: Member::new("m2", "127.0.0.1", 1),
    };
    rig.raft = Raft::Following { leader, term: 7 };
    let take = |raft_term, after| {
        let holder = Holder {
            voter: 2,
            raft_term,
        };
        Command::Take { holder, after }
    };
    rig.settle();
    assert_eq!(rig.published, Leadership::Vacant);
    rig.table.apply(take(6, 0));
    rig.settle();
    assert_eq!(rig.published, Leadership::Vacant, "in a former term");
    rig.table.apply(take(7, 1));
    rig.settle();
    let follows = Leadership::Following {
        leader: node(2),
        card: Bytes::new(),
        term: Term(2),
    };
    assert_eq!(rig.published, follows);
    let vacate = Command::Vacate {
        spell: 2,
        heir: None,
    };
    rig.table.apply(vacate);
    rig.settle();
    assert_eq!(rig.published, Leadership::Vacant);
}

#[test]
fn who_is_silent_for_long_is_struck_out() {
    let mut rig = leading();
    rig.answering = [1, 2].into();
    rig.now += TIMING.forget_after;
    rig.settle();
    assert_eq!(rig.table.members.keys().collect::<Vec<_>>(), [&1, &2]);
    assert_eq!(rig.leads_in(), Some(1));
}

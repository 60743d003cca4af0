//! Tables: facts in, orders out.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::{
    Rank,
    timestamp::{mesh::Failure, message::Stance},
};

const MS: Duration = Duration::from_millis(1);

const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(100),
    lost_after: Duration::from_secs(1),
    vote_timeout: Duration::from_secs(1),
    form_timeout: Duration::from_secs(1),
    handover_timeout: Duration::from_millis(500),
};

/// One core, named m5, among peers that say what the test wants.
struct Table {
    core: Core,
    now: Instant,
    sequence: u64,
}

impl Table {
    #[expect(
        clippy::disallowed_methods,
        reason = "some instant is needed to begin with"
    )]
    fn new() -> Self {
        let now = Instant::now();
        let mut table = Self {
            core: Core::new(node(5), TIMING, now, None),
            now,
            sequence: 0,
        };
        table.step(Event::Tick);
        table
    }

    /// With these peers connected, which are all that discovery names.
    fn among(peers: &[u64]) -> Self {
        let mut table = Self::new();
        let named = peers.iter().map(|n| address(*n)).collect();
        table.step(Event::Members(named));
        for n in peers {
            table.open(*n);
        }
        table
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.core.step(self.now, event)
    }

    /// Lets time pass, with a tick at each heartbeat.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + TIMING.heartbeat).min(end);
            self.step(Event::Tick);
        }
    }

    fn open(&mut self, n: u64) -> Vec<Action> {
        self.open_as(n, node(n))
    }

    fn open_as(&mut self, n: u64, node: NodeId) -> Vec<Action> {
        self.step(Event::Opened(Greeting {
            connection: ConnectionId(n),
            began: self.now,
            dialled: Some(address(n)),
            node,
            address: address(n),
        }))
    }

    fn hear(&mut self, n: u64, stance: Stance) -> Vec<Action> {
        self.hear_more(n, stance, |_| ())
    }

    fn hear_more(&mut self, n: u64, stance: Stance, more: impl FnOnce(&mut State)) -> Vec<Action> {
        self.sequence += 1;
        let mut state = State {
            sequence: self.sequence,
            highest: Term(0),
            stance,
            candidacy: None,
            handover: None,
            overruled: Vec::new(),
            leaving: false,
            card: Bytes::new(),
        };
        more(&mut state);
        self.step(Event::Heard(ConnectionId(n), state))
    }

    fn stand(&mut self) -> Vec<Action> {
        let intent = Intent {
            candidacy: Some(Rank::default()),
            ..Intent::default()
        };
        self.step(Event::Intent {
            intent,
            spoke: true,
        })
    }

    fn sent(&self) -> &State {
        &self
            .core
            .sent
            .as_ref()
            .expect("a core has always sent something")
            .0
    }

    fn leadership(&self) -> &Leadership {
        &self.core.published
    }

    fn leads_under(&self) -> Option<Term> {
        match self.leadership() {
            Leadership::Leading { term, .. } => Some(*term),
            _ => None,
        }
    }

    fn follows(&self) -> Option<(NodeId, Term)> {
        match self.leadership() {
            Leadership::Following { leader, term, .. } => Some((leader.clone(), *term)),
            _ => None,
        }
    }
}

fn node(n: u64) -> NodeId {
    NodeId {
        member: format!("m{n}"),
        incarnation: Uuid::from_u128(n.into()),
    }
}

fn address(n: u64) -> Address {
    ("host".into(), u16::try_from(n).expect("few"))
}

fn leading(term: u64) -> Stance {
    Stance::Leading { term: Term(term) }
}

fn following(leader: u64, term: u64) -> Stance {
    let spell = Spell {
        term: Term(term),
        leader: node(leader),
    };
    Stance::Following {
        spell,
        card: Some("relayed".into()),
    }
}

fn vacant(vote: Option<(u64, u64)>) -> Stance {
    let vote = vote.map(|(term, n)| Vote {
        term: Term(term),
        choice: node(n),
    });
    Stance::Vacant { spoke: true, vote }
}

#[test]
fn alone_it_waits_for_others_then_leads() {
    let mut table = Table::new();
    table.stand();
    table.pass(900 * MS);
    assert_eq!(*table.leadership(), Leadership::Vacant);
    table.pass(200 * MS);
    assert_eq!(table.leads_under(), Some(Term(1)));
}

#[test]
fn who_does_not_stand_never_leads() {
    let mut table = Table::new();
    table.step(Event::Intent {
        intent: Intent::default(),
        spoke: true,
    });
    table.pass(10_000 * MS);
    assert_eq!(*table.leadership(), Leadership::Vacant);
}

#[test]
fn who_is_chosen_leads_with_the_votes_of_all() {
    let mut table = Table::among(&[6, 7]);
    table.stand();
    table.hear(6, vacant(None));
    table.hear(7, vacant(None));
    // It has the smallest name, so it judges: nobody else stands.
    let vote = Some(Vote {
        term: Term(1),
        choice: node(5),
    });
    assert_eq!(table.sent().stance, Stance::Vacant { spoke: true, vote });
    table.hear(6, vacant(Some((1, 5))));
    assert_eq!(table.leads_under(), None);
    table.hear(7, vacant(Some((1, 5))));
    assert_eq!(table.leads_under(), Some(Term(1)));
}

#[test]
fn it_votes_as_the_smallest_name_does_and_once_a_term() {
    let mut table = Table::among(&[1, 7]);
    table.stand();
    let stands = |state: &mut State| state.candidacy = Some(Candidacy::default());
    table.hear_more(7, vacant(None), stands);
    table.hear(1, vacant(Some((1, 7))));
    table.hear(1, vacant(Some((1, 5))));
    let vote = Some(Vote {
        term: Term(1),
        choice: node(7),
    });
    assert_eq!(table.sent().stance, Stance::Vacant { spoke: true, vote });
}

#[test]
fn a_member_that_does_not_vote_holds_up_for_a_while() {
    let mut table = Table::among(&[6]);
    table.stand();
    table.hear(6, vacant(None));
    for _ in 0..9 {
        table.pass(100 * MS);
        table.hear(6, vacant(None));
        assert_eq!(table.leads_under(), None);
    }
    table.pass(200 * MS);
    assert_eq!(table.leads_under(), Some(Term(1)));
}

#[test]
fn a_standing_leader_is_respected_at_once() {
    let mut table = Table::among(&[1, 7]);
    table.stand();
    table.hear(1, leading(3));
    assert_eq!(table.follows(), Some((node(1), Term(3))));
}

#[test]
fn a_leader_out_of_reach_is_followed_while_another_hears_it() {
    let mut table = Table::among(&[6]);
    table.stand();
    table.hear(6, following(1, 3));
    let expected = Leadership::Following {
        leader: node(1),
        card: "relayed".into(),
        term: Term(3),
    };
    assert_eq!(*table.leadership(), expected);
    // It does not vouch for what it does not hear itself.
    let spell = Spell {
        term: Term(3),
        leader: node(1),
    };
    assert_eq!(table.sent().stance, Stance::Following { spell, card: None });
    table.hear(6, vacant(None));
    assert_eq!(*table.leadership(), Leadership::Vacant);
}

#[test]
fn a_vanished_witness_counts_for_as_long_as_its_leader_would() {
    let mut table = Table::among(&[6]);
    table.stand();
    table.hear(6, following(1, 3));
    table.hear_more(6, following(1, 3), |state| state.leaving = true);
    table.pass(900 * MS);
    assert!(table.follows().is_some());
    table.pass(200 * MS);
    assert_eq!(table.follows(), None);
}

#[test]
fn who_has_lost_the_leader_itself_does_not_wait_for_a_vanished_witness() {
    let mut table = Table::among(&[1, 6]);
    table.hear(1, leading(3));
    table.hear(6, following(1, 3));
    for n in [1, 6] {
        assert!(table.follows().is_some());
        table.step(Event::Closed(ConnectionId(n)));
        table.step(Event::Failed(address(n), Failure::Refused));
    }
    assert_eq!(*table.leadership(), Leadership::Vacant);
}

#[test]
fn a_lost_leader_is_kept_while_another_hears_it() {
    let mut table = Table::among(&[1, 6]);
    table.hear(1, leading(3));
    table.hear(6, following(1, 3));
    table.step(Event::Closed(ConnectionId(1)));
    table.step(Event::Failed(address(1), Failure::Refused));
    assert_eq!(table.follows(), Some((node(1), Term(3))));
    table.hear(6, vacant(None));
    assert_eq!(*table.leadership(), Leadership::Vacant);
}

#[test]
fn a_closed_connection_is_redialled_and_only_a_refusal_is_a_loss() {
    let mut table = Table::among(&[1]);
    table.hear(1, leading(3));
    let orders = table.step(Event::Closed(ConnectionId(1)));
    assert!(
        matches!(&orders[..], [Action::Dial(to)] if *to == address(1)),
        "{orders:?}"
    );
    table.step(Event::Failed(address(1), Failure::Silent));
    assert!(table.follows().is_some());
    table.step(Event::Failed(address(1), Failure::Refused));
    assert_eq!(*table.leadership(), Leadership::Vacant);
}

#[test]
fn a_restarted_leader_is_lost_at_once() {
    let mut table = Table::among(&[1]);
    table.hear(1, leading(3));
    table.step(Event::Closed(ConnectionId(1)));
    let reborn = NodeId {
        member: "m1".into(),
        incarnation: Uuid::from_u128(99),
    };
    table.open_as(11, reborn);
    assert_eq!(*table.leadership(), Leadership::Vacant);
}

#[test]
fn of_two_living_processes_with_one_name_the_elder_stays() {
    let mut table = Table::among(&[1]);
    table.hear(1, leading(3));
    let twin = NodeId {
        member: "m1".into(),
        incarnation: Uuid::from_u128(99),
    };
    let orders = table.open_as(11, twin);
    assert!(
        orders
            .iter()
            .any(|order| matches!(order, Action::Close(ConnectionId(11))))
    );
    assert!(table.follows().is_some());
}

#[test]
fn the_others_hold_back_for_a_successor() {
    let mut table = Table::among(&[1, 6]);
    table.stand();
    table.hear(1, leading(3));
    let handover = Handover {
        term: Term(3),
        successor: node(6),
    };
    table.hear_more(1, vacant(None), |state| {
        state.highest = Term(3);
        state.handover = Some(handover);
    });
    assert_eq!(table.follows(), Some((node(1), Term(3))));
    table.pass(400 * MS);
    assert_eq!(table.follows(), Some((node(1), Term(3))));
    table.pass(200 * MS);
    assert_eq!(*table.leadership(), Leadership::Vacant);
}

#[test]
fn the_successor_leads_without_a_vote() {
    let mut table = Table::among(&[1, 6]);
    table.stand();
    table.hear(1, leading(3));
    let handover = Handover {
        term: Term(3),
        successor: node(5),
    };
    table.hear_more(1, vacant(None), |state| {
        state.highest = Term(3);
        state.handover = Some(handover);
        state.leaving = true;
    });
    assert_eq!(table.leads_under(), Some(Term(4)));
}

#[test]
fn a_leader_of_smaller_name_judges_and_rises() {
    let mut table = Table::new();
    table.stand();
    table.pass(1100 * MS);
    table.open(7);
    table.hear_more(7, leading(8), |state| {
        state.candidacy = Some(Candidacy::default());
    });
    assert_eq!(table.leads_under(), Some(Term(9)), "it stood for longer");
    assert_eq!(
        table.sent().overruled,
        [Spell {
            term: Term(8),
            leader: node(7)
        }]
    );
}

#[test]
fn a_leader_of_bigger_name_waits_for_the_judgement() {
    let mut table = Table::new();
    table.stand();
    table.pass(1100 * MS);
    table.open(1);
    let fit = Some(Candidacy {
        rank: Rank(vec![9]),
        age: Duration::ZERO,
    });
    table.hear_more(1, leading(8), |state| state.candidacy = fit.clone());
    assert_eq!(table.leads_under(), Some(Term(1)));
    table.hear_more(1, leading(8), |state| {
        state.candidacy = fit;
        state.overruled = vec![Spell {
            term: Term(1),
            leader: node(5),
        }];
    });
    assert_eq!(table.follows(), Some((node(1), Term(8))));
}

#[test]
fn one_term_is_not_followed_under_two_leaders() {
    let mut table = Table::among(&[1, 6]);
    table.hear(1, leading(3));
    table.hear_more(1, vacant(None), |state| state.highest = Term(3));
    table.hear(6, leading(3));
    assert_eq!(*table.leadership(), Leadership::Vacant);
    assert_eq!(table.sent().highest, Term(4), "asks it to rise");
    table.hear(6, leading(5));
    assert_eq!(table.follows(), Some((node(6), Term(5))));
}

#[test]
fn after_a_stop_nothing_known_before_counts() {
    let mut table = Table::among(&[6]);
    table.stand();
    table.hear(6, vacant(None));
    table.hear(6, vacant(Some((1, 5))));
    assert!(table.leads_under().is_some());
    table.now += 2000 * MS;
    // What waited in the socket comes first: it is of no use.
    let orders = table.hear(6, vacant(Some((2, 5))));
    assert!(
        orders
            .iter()
            .any(|order| matches!(order, Action::Close(ConnectionId(6))))
    );
    assert_eq!(*table.leadership(), Leadership::Vacant);
    table.stand();
    // A connection whose greeting is from before the stop is turned away.
    let began = table.now - 1000 * MS;
    let orders = table.step(Event::Opened(Greeting {
        connection: ConnectionId(61),
        began,
        dialled: None,
        node: node(6),
        address: address(6),
    }));
    assert!(
        orders
            .iter()
            .any(|order| matches!(order, Action::Close(ConnectionId(61))))
    );
    table.open(62);
    assert_eq!(*table.leadership(), Leadership::Vacant);
    let orders = table.step(Event::Opened(Greeting {
        connection: ConnectionId(63),
        began: table.now,
        dialled: None,
        node: node(6),
        address: address(6),
    }));
    assert!(
        !orders
            .iter()
            .any(|order| matches!(order, Action::Close(ConnectionId(63))))
    );
    table.hear(63, leading(7));
    assert_eq!(table.follows(), Some((node(6), Term(7))));
}

#[test]
fn the_lease_is_renewed_by_heartbeats_only() {
    let mut table = Table::new();
    table.stand();
    table.pass(1100 * MS);
    let until = |table: &Table| match table.leadership() {
        Leadership::Leading { until, .. } => until.expect("there is a lease"),
        other => panic!("{other:?}"),
    };
    let first = until(&table);
    table.now += 50 * MS;
    table.step(Event::Tick);
    assert_eq!(until(&table), first);
    table.now += 50 * MS;
    table.step(Event::Tick);
    assert_eq!(until(&table), table.now + TIMING.lease());
}

/// Peers are trusted to mean well, and yet must not be able to bring a member down.
#[test]
fn no_snapshot_makes_it_fail() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut table = Table::among(&[1, 6, 7]);
        table.stand();
        for _ in 0..200 {
            let from = [1, 6, 7][rng.usize(0..3)];
            let mut term = || [0, 1, 2, 3, (1 << 62) - 1][rng.usize(0..5)];
            let (term, highest) = (term(), term());
            let mut whom = || [1, 5, 6, 7, 9][rng.usize(0..5)];
            let (whom, heir, loser) = (whom(), whom(), whom());
            let stance = match rng.u8(0..4) {
                0 => leading(term),
                1 => following(whom, term),
                2 => vacant(None),
                _ => vacant(Some((term, whom))),
            };
            let age = [Duration::ZERO, Duration::MAX][rng.usize(0..2)];
            table.hear_more(from, stance, |state| {
                state.highest = Term(highest);
                state.candidacy = rng.bool().then(|| Candidacy {
                    rank: Rank::default(),
                    age,
                });
                state.handover = (rng.u8(0..4) == 0).then(|| Handover {
                    term: Term(term),
                    successor: node(heir),
                });
                state.overruled = vec![Spell {
                    term: Term(term),
                    leader: node(loser),
                }];
            });
            table.pass(Duration::from_millis(rng.u64(0..200)));
            if rng.u8(0..10) == 0 {
                table.open(from);
            }
        }
    }
}

#[test]
fn too_many_peers_are_turned_away() {
    let mut table = Table::new();
    for n in 100..164 {
        assert!(
            !table
                .open(n)
                .iter()
                .any(|order| matches!(order, Action::Close(_)))
        );
    }
    let orders = table.open(164);
    assert!(
        matches!(orders[..], [Action::Close(ConnectionId(164)), ..]),
        "{orders:?}"
    );
}

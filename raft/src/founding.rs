//! How exactly one group comes to be, though all its nodes start at once and each sees the others
//! when it does: the nodes that belong to no group yet agree on one founding, by Paxos (Lamport,
//! "Paxos Made Simple", 2001) with the nodes as acceptors and a majority of the expected members as
//! its quorum. Which nodes ask whom, and when, is the [steward's](crate::steward) matter; it cannot
//! make two groups of this.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use bytes::BufMut;

use crate::{
    Member, NodeId, codec,
    codec::{Malformed, Reader},
};

/// Orders attempts at founding a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ballot {
    pub(crate) round: u64,
    pub(crate) by: NodeId,
}

/// What a group begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Founding {
    /// Tells this group from another one of the same name. Not 0.
    pub(crate) charter: u128,
    pub(crate) voters: BTreeMap<NodeId, Member>,
}

/// What nodes that may belong to no group yet ask each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inquiry {
    /// Who are you?
    Who,
    /// Will you take part in no attempt before this one?
    Prepare(Ballot),
    /// Do you agree to this founding?
    Accept(Ballot, Founding),
}

/// What a node says to any [`Inquiry`], after it has acted on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    /// The founding of the group that it belongs to, 0 if to none yet.
    pub(crate) charter: u128,
    /// Whether the answer is yes.
    pub(crate) agreed: bool,
    pub(crate) acceptor: Acceptor,
}

/// What a node has promised and agreed to, while it belongs to no group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acceptor {
    /// It takes part in no attempt before this one.
    pub(crate) promised: Ballot,
    /// The latest founding that it agreed to.
    pub(crate) accepted: Option<(Ballot, Founding)>,
}

impl Acceptor {
    /// Acts on an inquiry; whether the answer is yes.
    #[must_use]
    pub(crate) fn answer(&mut self, inquiry: &Inquiry) -> bool {
        match inquiry {
            Inquiry::Who => true,
            Inquiry::Prepare(ballot) => {
                let fits = *ballot > self.promised;
                self.promised = self.promised.max(*ballot);
                fits
            }
            Inquiry::Accept(ballot, founding) => {
                let fits = *ballot >= self.promised;
                if fits {
                    self.promised = *ballot;
                    self.accepted = Some((*ballot, founding.clone()));
                }
                fits
            }
        }
    }
}

/// The founding to ask agreement for, after these nodes have promised: one that may already have
/// been agreed to must not be given up.
pub(crate) fn choice(
    promises: &[(Member, Answer)],
    fresh_charter: impl FnOnce() -> u128,
) -> Founding {
    let agreed = promises
        .iter()
        .filter_map(|(_, p)| p.acceptor.accepted.as_ref());
    let latest = agreed.max_by_key(|(ballot, _)| *ballot);
    latest.map_or_else(
        || Founding {
            charter: fresh_charter(),
            voters: (promises.iter())
                .map(|(member, promise)| (promise.id, member.clone()))
                .collect(),
        },
        |(_, founding)| founding.clone(),
    )
}

/// A ballot after all that these answers tell of.
pub(crate) fn next_ballot<'a>(answers: impl IntoIterator<Item = &'a Answer>, by: NodeId) -> Ballot {
    let rounds = answers.into_iter().map(|a| a.acceptor.promised.round);
    let round = rounds.max().unwrap_or(0).saturating_add(1);
    Ballot { round, by }
}

pub(crate) fn put_inquiry(to: &mut impl BufMut, inquiry: &Inquiry) {
    match inquiry {
        Inquiry::Who => to.put_u8(1),
        Inquiry::Prepare(ballot) => {
            to.put_u8(2);
            put_ballot(to, *ballot);
        }
        Inquiry::Accept(ballot, founding) => {
            to.put_u8(3);
            put_ballot(to, *ballot);
            put_founding(to, founding);
        }
    }
}

pub(crate) fn inquiry(mut from: Reader) -> Result<Inquiry, Malformed> {
    let inquiry = match from.u8()? {
        1 => Inquiry::Who,
        2 => Inquiry::Prepare(ballot(&mut from)?),
        3 => Inquiry::Accept(ballot(&mut from)?, founding(&mut from)?),
        _ => return Err(Malformed),
    };
    from.end()?;
    Ok(inquiry)
}

pub(crate) fn put_answer(to: &mut impl BufMut, answer: &Answer) {
    to.put_u64(answer.id.0);
    codec::put_bytes(to, answer.name.as_bytes());
    to.put_u128(answer.charter);
    to.put_u8(answer.agreed.into());
    put_acceptor(to, &answer.acceptor);
}

pub(crate) fn answer(mut from: Reader) -> Result<Answer, Malformed> {
    let answer = Answer {
        id: NodeId(from.u64()?),
        name: from.string()?,
        charter: from.u128()?,
        agreed: from.flag()?,
        acceptor: acceptor(&mut from)?,
    };
    from.end()?;
    Ok(answer)
}

pub(crate) fn put_acceptor(to: &mut impl BufMut, acceptor: &Acceptor) {
    put_ballot(to, acceptor.promised);
    to.put_u8(acceptor.accepted.is_some().into());
    if let Some((ballot, founding)) = &acceptor.accepted {
        put_ballot(to, *ballot);
        put_founding(to, founding);
    }
}

pub(crate) fn acceptor(from: &mut Reader) -> Result<Acceptor, Malformed> {
    Ok(Acceptor {
        promised: ballot(from)?,
        accepted: (from.flag()?)
            .then(|| Ok((ballot(from)?, founding(from)?)))
            .transpose()?,
    })
}

fn put_ballot(to: &mut impl BufMut, ballot: Ballot) {
    to.put_u64(ballot.round);
    to.put_u64(ballot.by.0);
}

fn ballot(from: &mut Reader) -> Result<Ballot, Malformed> {
    Ok(Ballot {
        round: from.u64()?,
        by: NodeId(from.u64()?),
    })
}

fn put_founding(to: &mut impl BufMut, founding: &Founding) {
    to.put_u128(founding.charter);
    codec::put_members(to, &founding.voters);
}

fn founding(from: &mut Reader) -> Result<Founding, Malformed> {
    let founding = Founding {
        charter: from.u128()?,
        voters: from.members()?,
    };
    if founding.charter == 0 || founding.voters.is_empty() {
        return Err(Malformed);
    }
    Ok(founding)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;

    fn member(name: usize) -> Member {
        Member::new(format!("node-{name}"), "127.0.0.1", 7000)
    }

    fn said(id: usize, agreed: bool, acceptor: &Acceptor) -> (Member, Answer) {
        let answer = Answer {
            id: NodeId(id as u64),
            name: member(id).name,
            charter: 0,
            agreed,
            acceptor: acceptor.clone(),
        };
        (member(id), answer)
    }

    #[derive(Clone, Debug, Default)]
    struct Attempt {
        ballot: Ballot,
        promises: Vec<(Member, Answer)>,
        founding: Option<Founding>,
        agreements: BTreeSet<usize>,
    }

    /// Nodes that attempt foundings in any interleaving, each message arriving or not.
    #[derive(Debug)]
    struct World {
        acceptors: Vec<Acceptor>,
        attempts: Vec<Attempt>,
        quorum: usize,
        next_charter: u128,
        founded: BTreeSet<u128>,
    }

    impl World {
        fn new(nodes: usize) -> Self {
            Self {
                acceptors: vec![Acceptor::default(); nodes],
                attempts: vec![Attempt::default(); nodes],
                quorum: nodes / 2 + 1,
                next_charter: 1,
                founded: BTreeSet::new(),
            }
        }

        /// A node begins anew, from what some nodes say.
        fn begin(&mut self, by: usize, heard: &[usize]) {
            let heard = heard
                .iter()
                .map(|id| said(*id, true, &self.acceptors[*id]).1);
            let heard: Vec<Answer> = heard.collect();
            self.attempts[by] = Attempt {
                ballot: next_ballot(&heard, NodeId(by as u64)),
                ..Attempt::default()
            };
        }

        /// One message from a node to another and its answer.
        fn exchange(&mut self, by: usize, with: usize) {
            let attempt = &mut self.attempts[by];
            let acceptor = &mut self.acceptors[with];
            let Some(founding) = &attempt.founding else {
                if acceptor.answer(&Inquiry::Prepare(attempt.ballot)) {
                    attempt.promises.push(said(with, true, acceptor));
                }
                if attempt.promises.len() == self.quorum {
                    let fresh = self.next_charter;
                    self.next_charter += 1;
                    attempt.founding = Some(choice(&attempt.promises, || fresh));
                }
                return;
            };
            if acceptor.answer(&Inquiry::Accept(attempt.ballot, founding.clone())) {
                attempt.agreements.insert(with);
            }
            if attempt.agreements.len() >= self.quorum {
                self.founded.insert(founding.charter);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whatever_is_lost_or_late_there_is_one_founding(
            nodes in 3_usize..6,
            steps in proptest::collection::vec((any::<u8>(), 0_usize..5, 0_usize..5), 0..120),
        ) {
            let mut world = World::new(nodes);
            for (kind, by, with) in steps {
                let (by, with) = (by % nodes, with % nodes);
                if kind < 40 || world.attempts[by].ballot == Ballot::default() {
                    world.begin(by, &[by, with]);
                } else {
                    world.exchange(by, with);
                }
                prop_assert!(world.founded.len() <= 1, "{world:?}");
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = inquiry(Reader(Bytes::from(bytes.clone()))) {
                let mut written = BytesMut::new();
                put_inquiry(&mut written, &read);
                prop_assert_eq!(written.len(), bytes.len());
            }
            // Must return, whatever it is.
            let _ = answer(Reader(Bytes::from(bytes)));
        }
    }

    #[test]
    fn the_property_has_teeth() {
        // Who forgets what it promised founds a second group.
        let mut world = World::new(3);
        world.begin(0, &[0]);
        for with in [0, 1, 0, 1] {
            world.exchange(0, with);
        }
        assert_eq!(world.founded.len(), 1);
        world.acceptors[1] = Acceptor::default();
        world.begin(2, &[2]);
        for with in [1, 2, 1, 2] {
            world.exchange(2, with);
        }
        assert_eq!(world.founded.len(), 2);
    }

    #[test]
    fn what_is_said_is_heard() {
        let founding = Founding {
            charter: 7,
            voters: BTreeMap::from([(NodeId(1), member(1))]),
        };
        let ballot = Ballot {
            round: 2,
            by: NodeId(3),
        };
        let mut acceptor = Acceptor::default();
        for asked in [
            Inquiry::Who,
            Inquiry::Prepare(ballot),
            Inquiry::Accept(ballot, founding),
        ] {
            let mut bytes = BytesMut::new();
            put_inquiry(&mut bytes, &asked);
            assert_eq!(inquiry(Reader(bytes.freeze())), Ok(asked.clone()));
            let (_, said) = said(1, acceptor.answer(&asked), &acceptor);
            assert!(said.agreed);
            let mut bytes = BytesMut::new();
            put_answer(&mut bytes, &said);
            assert_eq!(answer(Reader(bytes.freeze())), Ok(said));
        }
    }
}

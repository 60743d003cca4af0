//! How snapshots travel: a preface, then frames. The first one says hello.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

pub(crate) use crate::frame::{Fault, frame};
use crate::{
    NodeId,
    frame::{Protocol, read_frame},
    timestamp::message::{MAX_NAME, State, is_sane},
};

const PROTOCOL: Protocol = Protocol {
    magic: *b"BWts",
    version: 1,
};

/// The first thing that each end says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) group: String,
    pub(crate) node: NodeId,
    /// Where the sender can be dialled; without a host, where the connection comes from.
    pub(crate) host: Option<String>,
    pub(crate) port: u16,
}

/// Writes the preface and the hello.
pub(crate) async fn write_hello(
    to: &mut (impl AsyncWrite + Unpin),
    hello: &Hello,
) -> Result<(), Fault> {
    to.write_all(&PROTOCOL.first(hello)).await?;
    Ok(())
}

/// Reads the preface and the hello, and checks that the other end belongs to the group.
pub(crate) async fn read_hello(
    from: &mut (impl AsyncRead + Unpin),
    group: &str,
) -> Result<Hello, Fault> {
    let hello: Hello = PROTOCOL.read_first(from).await?;
    if hello.group != group {
        return Err(Fault::Group(hello.group));
    }
    let host = hello.host.as_deref().unwrap_or("the address it comes from");
    if !is_sane(&hello.node) || host.is_empty() || host.len() > MAX_NAME || hello.port == 0 {
        return Err(Fault::Garbage);
    }
    Ok(hello)
}

/// Reads a snapshot.
pub(crate) async fn read_state(from: &mut (impl AsyncRead + Unpin)) -> Result<State, Fault> {
    let state: State = read_frame(from).await?;
    if state.is_sane() {
        Ok(state)
    } else {
        Err(Fault::Garbage)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{
        MAX_CARD, MAX_RANK, Rank, Term,
        timestamp::message::{Candidacy, Handover, MAX_OVERRULED, Spell, Stance, Vote},
    };

    fn hello() -> Hello {
        Hello {
            group: "flock".into(),
            node: NodeId {
                member: "a".into(),
                incarnation: Uuid::from_u128(1),
            },
            host: None,
            port: 3000,
        }
    }

    /// Sends a hello as the other end would, changed as the test wants; what is read of it.
    async fn greet(change: impl FnOnce(&mut Vec<u8>)) -> Result<Hello, Fault> {
        let mut bytes = Vec::new();
        write_hello(&mut bytes, &hello())
            .await
            .expect("memory takes all");
        change(&mut bytes);
        read_hello(&mut &bytes[..], "flock").await
    }

    async fn state_from(bytes: &[u8]) -> Result<State, Fault> {
        read_state(&mut &bytes[..]).await
    }

    /// The longest snapshot that an honest member sends.
    fn longest() -> State {
        let node = || NodeId {
            member: "x".repeat(MAX_NAME),
            incarnation: Uuid::max(),
        };
        let spell = || Spell {
            term: Term(u64::MAX >> 3),
            leader: node(),
        };
        State {
            sequence: u64::MAX,
            highest: Term(u64::MAX >> 3),
            stance: Stance::Following {
                spell: spell(),
                card: Some(vec![1; MAX_CARD].into()),
            },
            candidacy: Some(Candidacy {
                rank: Rank(vec![1; MAX_RANK]),
                age: Duration::MAX,
            }),
            handover: Some(Handover {
                term: Term(u64::MAX >> 3),
                successor: node(),
            }),
            overruled: (0..MAX_OVERRULED).map(|_| spell()).collect(),
            leaving: true,
            card: vec![1; MAX_CARD].into(),
        }
    }

    #[tokio::test]
    async fn a_hello_is_read_as_it_was_written() {
        assert_eq!(greet(|_| ()).await.expect("it is whole"), hello());
    }

    #[tokio::test]
    async fn other_protocols_versions_and_groups_are_told_apart() {
        assert!(matches!(
            greet(|bytes| bytes[0] = b'G').await,
            Err(Fault::Garbage)
        ));
        assert!(matches!(
            greet(|bytes| bytes[4] = 9).await,
            Err(Fault::Version { theirs: 9, .. })
        ));
        let other = greet(|bytes| bytes[10] = b'F').await;
        assert!(matches!(other, Err(Fault::Group(group)) if group == "Flock"));
        assert!(matches!(
            greet(|bytes| bytes[5] = 1).await,
            Err(Fault::Oversize(_))
        ));
    }

    #[tokio::test]
    async fn the_longest_snapshot_fits() {
        let state = longest();
        assert!(state.is_sane());
        assert_eq!(state_from(&frame(&state)).await.expect("it fits"), state);
    }

    #[tokio::test]
    async fn what_no_honest_member_sends_is_garbage() {
        let changes: [fn(&mut State); 6] = [
            |state| state.card = vec![1; MAX_CARD + 1].into(),
            |state| state.overruled.push(state.overruled[0].clone()),
            |state| state.highest = Term(u64::MAX),
            |state| {
                state.candidacy = Some(Candidacy {
                    rank: Rank(vec![1; MAX_RANK + 1]),
                    ..Default::default()
                });
            },
            |state| {
                let handover = state.handover.as_mut().expect("it has one");
                handover.successor.member.clear();
            },
            |state| {
                let choice = NodeId {
                    member: "x".repeat(MAX_NAME + 1),
                    incarnation: Uuid::max(),
                };
                let vote = Some(Vote {
                    term: Term(1),
                    choice,
                });
                state.stance = Stance::Vacant { spoke: true, vote };
            },
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut state = longest();
            change(&mut state);
            let read = state_from(&frame(&state)).await;
            assert!(matches!(read, Err(Fault::Garbage)), "change {n}: {read:?}");
        }
    }

    #[tokio::test]
    async fn a_snapshot_that_is_cut_short_is_no_snapshot() {
        let bytes = frame(&longest());
        for length in 0..bytes.len() {
            let read = state_from(&bytes[..length]).await;
            assert!(
                matches!(read, Err(Fault::Io(_))),
                "{length} bytes: {read:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let length = u32::try_from(body.len()).expect("short").to_be_bytes();
            let bytes = [&length[..], &body].concat();
            let read = wait_for(state_from(&bytes));
            prop_assert!(!matches!(read, Err(Fault::Io(_) | Fault::Oversize(_))));
        }
    }

    /// Runs what never waits.
    fn wait_for<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime
            .expect("a runtime without drivers needs nothing")
            .block_on(future)
    }
}

//! One connection carries one question and its answer.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{
    frame::{Fault, Protocol},
    lease::failsafe::{Ask, Verdict},
};

const PROTOCOL: Protocol = Protocol {
    magic: *b"BWfs",
    version: 1,
};

/// A question, and to whom it goes: another process may have got that address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// Namespace and name of the Lease.
    pub(super) group: String,
    /// The member that is asked.
    pub(super) member: String,
    pub(super) ask: Ask,
}

/// An answer, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) group: String,
    pub(super) member: String,
    pub(super) verdict: Verdict,
}

pub(super) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> Result<(), Fault> {
    to.write_all(&PROTOCOL.first(message)).await?;
    Ok(())
}

pub(super) async fn read_question(from: &mut (impl AsyncRead + Unpin)) -> Result<Question, Fault> {
    let question: Question = PROTOCOL.read_first(from).await?;
    if question.ask.is_sane() {
        Ok(question)
    } else {
        Err(Fault::Garbage)
    }
}

pub(super) async fn read_reply(from: &mut (impl AsyncRead + Unpin)) -> Result<Reply, Fault> {
    PROTOCOL.read_first(from).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::{
        MAX_CARD, NodeId, Term,
        lease::{config::MAX_TIME, record::TERM_LIMIT},
    };

    /// The longest question that an honest member asks.
    fn longest() -> Question {
        Question {
            group: "g".repeat(63 + 1 + 253),
            member: "m".repeat(255),
            ask: Ask {
                leader: NodeId {
                    member: "l".repeat(255),
                    incarnation: Uuid::max(),
                },
                term: Term(TERM_LIMIT / 2 - 1),
                card: vec![1; MAX_CARD].into(),
                promise: MAX_TIME,
            },
        }
    }

    async fn sent(question: &Question) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, question).await.expect("memory takes all");
        bytes
    }

    #[tokio::test]
    async fn a_question_is_read_as_it_was_asked() {
        let bytes = sent(&longest()).await;
        let read = read_question(&mut &bytes[..]).await.expect("it fits");
        assert_eq!(read, longest());
        for length in 0..bytes.len() {
            let read = read_question(&mut &bytes[..length]).await;
            assert!(matches!(read, Err(Fault::Io(_))), "{length}: {read:?}");
        }
    }

    #[tokio::test]
    async fn what_no_honest_member_asks_is_garbage() {
        let changes: [fn(&mut Ask); 5] = [
            |ask| ask.term = Term(TERM_LIMIT / 2),
            |ask| ask.promise = MAX_TIME + Duration::from_millis(1),
            |ask| ask.card = vec![1; MAX_CARD + 1].into(),
            |ask| ask.leader.member.clear(),
            |ask| ask.leader.member = "a\nb".into(),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut question = longest();
            change(&mut question.ask);
            let bytes = sent(&question).await;
            let read = read_question(&mut &bytes[..]).await;
            assert!(matches!(read, Err(Fault::Garbage)), "change {n}: {read:?}");
        }
    }
}

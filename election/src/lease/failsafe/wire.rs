//! One connection carries one question and its answer: who is asked begins with a nonce for the
//! question's seal, and the question brings one for that of the reply.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{
    frame::{Fault, Protocol, decode},
    lease::failsafe::{Ask, Verdict, seal::Nonce},
};

const PROTOCOL: Protocol = Protocol {
    magic: *b"BWfs",
    version: 2,
};

/// A question, and to whom it goes: another process may have got that address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// For the seal of the reply.
    pub(super) nonce: Nonce,
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

pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<T, Fault> {
    PROTOCOL.read_first(from).await
}

/// The question that a body is, whose seal was checked.
pub(super) fn question(body: &[u8]) -> Result<Question, Fault> {
    let question: Question = decode(body)?;
    if question.ask.is_sane() {
        Ok(question)
    } else {
        Err(Fault::Garbage)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::{
        MAX_CARD, NodeId, Term,
        frame::encode,
        lease::{
            config::MAX_TIME,
            failsafe::seal::{Sealed, Sealer, Way},
            record::TERM_LIMIT,
        },
    };

    /// The longest question that an honest member asks.
    fn longest() -> Question {
        Question {
            nonce: [255; 32],
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
        let sealer = Sealer::new(Some(&"baa".to_owned().into()));
        let sealed = sealer.seal(Way::Question, &[255; 32], encode(question));
        let mut bytes = Vec::new();
        write(&mut bytes, &sealed).await.expect("memory takes all");
        bytes
    }

    #[tokio::test]
    async fn a_question_is_read_as_it_was_asked() {
        let bytes = sent(&longest()).await;
        let read: Sealed = read(&mut &bytes[..]).await.expect("it fits");
        assert_eq!(question(&read.body).expect("it is sane"), longest());
        for length in 0..bytes.len() {
            let read = super::read::<Sealed>(&mut &bytes[..length]).await;
            assert!(matches!(read, Err(Fault::Io(_))), "{length}: {read:?}");
        }
    }

    #[test]
    fn what_no_honest_member_asks_is_garbage() {
        let changes: [fn(&mut Ask); 5] = [
            |ask| ask.term = Term(TERM_LIMIT / 2),
            |ask| ask.promise = MAX_TIME + Duration::from_millis(1),
            |ask| ask.card = vec![1; MAX_CARD + 1].into(),
            |ask| ask.leader.member.clear(),
            |ask| ask.leader.member = "a\nb".into(),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut changed = longest();
            change(&mut changed.ask);
            let read = question(&encode(&changed));
            assert!(matches!(read, Err(Fault::Garbage)), "change {n}: {read:?}");
        }
    }
}

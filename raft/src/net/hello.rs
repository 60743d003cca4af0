//! The first thing that each end says. Magic and version come first and alone, so that they can be
//! told apart in all versions.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    NodeId, codec,
    codec::{Malformed, Reader},
    net::Fault,
};

const MAGIC: &[u8; 4] = b"BWrf";

/// The version of the protocol. Nodes of different versions do not talk.
pub(crate) const VERSION: u8 = 1;

/// The longest hello: two names and a few numbers.
const MAX_HELLO: usize = 1024;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Entries, or heartbeats, in a stream.
    Append,
    /// Votes and hand-overs, of one node to another that it knows.
    Call,
    /// One snapshot.
    Snapshot,
    /// Asking who is there, before one knows.
    Ask,
}

/// What who dials says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) purpose: Purpose,
    pub(crate) group: String,
    pub(crate) from: NodeId,
    /// Who is expected at the other end. Not looked at in an [`Purpose::Ask`].
    pub(crate) to: NodeId,
    /// The founding of the group that the dialling node belongs to, 0 if to none yet.
    pub(crate) charter: u128,
}

/// What who is dialled says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another version of this protocol.
    Version(u8),
    /// Another group.
    Group,
    /// Another node than the one that was expected.
    Node(NodeId),
    /// A group of the same name that was founded separately.
    Charter,
    /// Too many connections.
    Busy,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(theirs) => {
                write!(
                    f,
                    "it speaks version {theirs} of the protocol, this node {VERSION}"
                )
            }
            Self::Group => f.write_str("it belongs to a group of another name"),
            Self::Node(theirs) => write!(f, "another node is there, {theirs}"),
            Self::Charter => {
                f.write_str("it belongs to a group of the same name that was founded separately")
            }
            Self::Busy => f.write_str("it has too many connections"),
        }
    }
}

impl Purpose {
    fn byte(self) -> u8 {
        match self {
            Self::Append => 1,
            Self::Call => 2,
            Self::Snapshot => 3,
            Self::Ask => 4,
        }
    }

    fn of(byte: u8) -> Result<Self, Malformed> {
        match byte {
            1 => Ok(Self::Append),
            2 => Ok(Self::Call),
            3 => Ok(Self::Snapshot),
            4 => Ok(Self::Ask),
            _ => Err(Malformed),
        }
    }
}

/// Says hello as who dials.
pub(crate) async fn say(to: &mut (impl AsyncWrite + Unpin), hello: &Hello) -> Result<(), Fault> {
    let mut body = BytesMut::new();
    body.put_u8(hello.purpose.byte());
    codec::put_bytes(&mut body, hello.group.as_bytes());
    body.put_u64(hello.from.0);
    body.put_u64(hello.to.0);
    body.put_u128(hello.charter);
    send(to, &body).await
}

/// Hears who dials.
pub(crate) async fn hear(from: &mut (impl AsyncRead + Unpin)) -> Result<Hello, Fault> {
    let mut body = receive(from).await?;
    let hello = Hello {
        purpose: Purpose::of(body.u8()?)?,
        group: body.string()?,
        from: NodeId(body.u64()?),
        to: NodeId(body.u64()?),
        charter: body.u128()?,
    };
    body.end()?;
    Ok(hello)
}

/// Answers who dials.
pub(crate) async fn answer(
    to: &mut (impl AsyncWrite + Unpin),
    refusal: Option<Refusal>,
) -> Result<(), Fault> {
    let (code, node) = match refusal {
        None => (0, NodeId(0)),
        Some(Refusal::Group) => (1, NodeId(0)),
        Some(Refusal::Node(node)) => (2, node),
        Some(Refusal::Charter) => (3, NodeId(0)),
        // Another version is told by the version of the answer.
        Some(Refusal::Busy | Refusal::Version(_)) => (4, NodeId(0)),
    };
    let mut body = BytesMut::new();
    body.put_u8(code);
    body.put_u64(node.0);
    send(to, &body).await
}

/// Hears the answer of who was dialled.
pub(crate) async fn hear_answer(from: &mut (impl AsyncRead + Unpin)) -> Result<(), Fault> {
    let mut body = receive(from).await?;
    let (code, node) = (body.u8()?, NodeId(body.u64()?));
    body.end()?;
    let refusal = match code {
        0 => return Ok(()),
        1 => Refusal::Group,
        2 => Refusal::Node(node),
        3 => Refusal::Charter,
        4 => Refusal::Busy,
        _ => return Err(Malformed.into()),
    };
    Err(Fault::Refused(refusal))
}

async fn send(to: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> Result<(), Fault> {
    let mut bytes = BytesMut::new();
    bytes.put_slice(MAGIC);
    bytes.put_u8(VERSION);
    bytes.put_u16(u16::try_from(body.len()).expect("names are bounded"));
    bytes.put_slice(body);
    to.write_all(&bytes).await?;
    Ok(())
}

async fn receive(from: &mut (impl AsyncRead + Unpin)) -> Result<Reader, Fault> {
    let mut preface = [0; MAGIC.len() + 1];
    from.read_exact(&mut preface).await?;
    let [magic @ .., version] = preface;
    if magic != *MAGIC {
        return Err(Malformed.into());
    }
    if version != VERSION {
        return Err(Fault::Refused(Refusal::Version(version)));
    }
    let length = usize::from(from.read_u16().await?);
    if length > MAX_HELLO {
        return Err(Fault::Oversize(length));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(Reader(Bytes::from(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            purpose: Purpose::Snapshot,
            group: "flock".into(),
            from: NodeId(1),
            to: NodeId(2),
            charter: 3,
        }
    }

    /// Sends a hello as the other end would, changed as the test wants; what is heard of it.
    async fn greet(change: impl FnOnce(&mut Vec<u8>)) -> Result<Hello, Fault> {
        let mut bytes = Vec::new();
        say(&mut bytes, &hello()).await.expect("memory takes all");
        change(&mut bytes);
        hear(&mut &bytes[..]).await
    }

    #[tokio::test]
    async fn a_hello_is_heard_as_it_was_said() {
        assert_eq!(greet(|_| ()).await.expect("it is whole"), hello());
    }

    #[tokio::test]
    async fn other_protocols_and_versions_are_told_apart() {
        let other = greet(|bytes| bytes[0] = b'G').await;
        assert!(matches!(other, Err(Fault::Malformed(_))), "{other:?}");
        let newer = greet(|bytes| bytes[4] = 9).await;
        assert!(
            matches!(newer, Err(Fault::Refused(Refusal::Version(9)))),
            "{newer:?}"
        );
        let long = greet(|bytes| bytes[5] = 0xff).await;
        assert!(matches!(long, Err(Fault::Oversize(_))), "{long:?}");
        let odd = greet(|bytes| bytes[7] = 9).await;
        assert!(matches!(odd, Err(Fault::Malformed(_))), "{odd:?}");
        let more = greet(|bytes| {
            bytes[6] += 1;
            bytes.push(0);
        });
        assert!(matches!(more.await, Err(Fault::Malformed(_))));
    }

    #[tokio::test]
    async fn each_refusal_arrives() {
        for refusal in [
            Refusal::Group,
            Refusal::Node(NodeId(7)),
            Refusal::Charter,
            Refusal::Busy,
        ] {
            let mut bytes = Vec::new();
            answer(&mut bytes, Some(refusal)).await.expect("memory");
            let heard = hear_answer(&mut &bytes[..]).await;
            assert!(matches!(heard, Err(Fault::Refused(same)) if same == refusal));
        }
        let mut bytes = Vec::new();
        answer(&mut bytes, None).await.expect("memory");
        hear_answer(&mut &bytes[..]).await.expect("it is welcome");
    }
}

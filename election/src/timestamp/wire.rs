//! How snapshots travel: four bytes of magic and one of version, then frames, each a length (32
//! bits, big-endian) and a body in postcard's format. The first frame says hello.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    NodeId,
    timestamp::message::{MAX_NAME, State, is_sane},
};

const MAGIC: &[u8; 4] = b"BWts";
const VERSION: u8 = 1;

/// A frame's body is at most this long, in bytes. The longest honest snapshot fits.
pub(crate) const MAX_FRAME: usize = 16 * 1024;

/// The first thing that each end says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) group: String,
    pub(crate) node: NodeId,
    /// Where the sender can be dialled; without a host, where the connection comes from.
    pub(crate) host: Option<String>,
    pub(crate) port: u16,
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("the other end speaks version {0}, this one {VERSION}")]
    Version(u8),
    #[error("the other end belongs to group {0:?}")]
    Group(String),
    #[error("a frame of {0} bytes is too long")]
    Oversize(usize),
    #[error("what came is no message of this protocol")]
    Garbage,
    #[error("nothing came, or nothing could be sent, in time")]
    Slow,
}

/// Writes the preface and the hello.
pub(crate) async fn write_hello(
    to: &mut (impl AsyncWrite + Unpin),
    hello: &Hello,
) -> Result<(), Fault> {
    let mut bytes = BytesMut::new();
    bytes.put_slice(MAGIC);
    bytes.put_u8(VERSION);
    bytes.put_slice(&frame(hello));
    to.write_all(&bytes).await?;
    Ok(())
}

/// Reads the preface and the hello, and checks that the other end belongs to the group.
pub(crate) async fn read_hello(
    from: &mut (impl AsyncRead + Unpin),
    group: &str,
) -> Result<Hello, Fault> {
    let mut preface = [0; MAGIC.len() + 1];
    from.read_exact(&mut preface).await?;
    let [magic @ .., version] = preface;
    if magic != *MAGIC {
        return Err(Fault::Garbage);
    }
    if version != VERSION {
        return Err(Fault::Version(version));
    }
    let hello: Hello = read_frame(from).await?;
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

/// A message as a frame.
pub(crate) fn frame(message: &impl Serialize) -> Bytes {
    let body = postcard::to_stdvec(message).expect("messages have no part that cannot be encoded");
    assert!(
        body.len() <= MAX_FRAME,
        "the parts of a message are bounded"
    );
    let mut bytes = BytesMut::with_capacity(4 + body.len());
    bytes.put_u32(u32::try_from(body.len()).expect("bounded above"));
    bytes.put_slice(&body);
    bytes.freeze()
}

async fn read_frame<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> Result<T, Fault> {
    let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(Fault::Oversize(length));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    match postcard::take_from_bytes(&body) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(Fault::Garbage),
    }
}

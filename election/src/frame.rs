//! How messages travel between members: four bytes of magic and one of version, then frames, each a
//! length (32 bits, big-endian) and a body in postcard's format.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A frame's body is at most this long, in bytes. The longest honest message fits.
pub(crate) const MAX_FRAME: usize = 16 * 1024;

/// What a connection begins with, either way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u8,
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("the other end speaks version {theirs}, this one {ours}")]
    Version { theirs: u8, ours: u8 },
    #[error("the other end belongs to group {0:?}")]
    Group(String),
    #[error("a frame of {0} bytes is too long")]
    Oversize(usize),
    #[error("what came is no message of this protocol")]
    Garbage,
    #[error("nothing came, or nothing could be sent, in time")]
    Slow,
}

impl Protocol {
    /// The preface and the first message.
    pub(crate) fn first(self, message: &impl Serialize) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_slice(&self.magic);
        bytes.put_u8(self.version);
        bytes.put_slice(&frame(message));
        bytes.freeze()
    }

    /// Reads the preface and the first message.
    pub(crate) async fn read_first<T: DeserializeOwned>(
        self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<T, Fault> {
        let mut preface = [0; 5];
        from.read_exact(&mut preface).await?;
        let [magic @ .., version] = preface;
        if magic != self.magic {
            return Err(Fault::Garbage);
        }
        if version != self.version {
            return Err(Fault::Version {
                theirs: version,
                ours: self.version,
            });
        }
        read_frame(from).await
    }
}

/// A message as a frame.
pub(crate) fn frame(message: &impl Serialize) -> Bytes {
    let body = encode(message);
    let mut bytes = BytesMut::with_capacity(4 + body.len());
    bytes.put_u32(u32::try_from(body.len()).expect("bounded above"));
    bytes.put_slice(&body);
    bytes.freeze()
}

/// A message without its length.
pub(crate) fn encode(message: &impl Serialize) -> Bytes {
    let body = postcard::to_stdvec(message).expect("messages have no part that cannot be encoded");
    assert!(
        body.len() <= MAX_FRAME,
        "the parts of a message are bounded"
    );
    body.into()
}

/// The message that these bytes are, all of them.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(Fault::Garbage),
    }
}

/// Reads a frame.
pub(crate) async fn read_frame<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<T, Fault> {
    let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(Fault::Oversize(length));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    decode(&body)
}

//! Messages in a stream of bytes: a length of 32 bits, then the body.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::net::Fault;

/// As much is read at once, if it is there.
const READ: usize = 64 * 1024;

/// Writes a message behind its length.
pub(crate) fn put(to: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let begin = to.len();
    to.put_u32(0);
    body(to);
    let length = u32::try_from(to.len() - begin - 4).expect("messages are bounded");
    to[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
}

/// A message alone.
pub(crate) fn one(body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::new();
    put(&mut bytes, body);
    bytes.freeze()
}

/// Cuts what was received into messages.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: BytesMut,
    max: usize,
}

impl Inbox {
    /// No message may be longer than `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            max,
        }
    }

    /// The next message, if all of it is here.
    pub(crate) fn take(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(length) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.max {
            return Err(Fault::Oversize(length));
        }
        if self.buffer.len() < 4 + length {
            // Grows with what comes, not with what is announced.
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Receives some bytes, at least one.
    ///
    /// # Cancel safety
    ///
    /// Nothing that was received is lost.
    pub(crate) async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<(), Fault> {
        // Messages are handed on as parts of this buffer, so a new one is begun only when the
        // present one is nearly used up.
        if self.buffer.capacity() - self.buffer.len() < READ / 4 {
            self.buffer.reserve(READ);
        }
        match from.read_buf(&mut self.buffer).await? {
            0 => Err(Fault::Closed),
            _ => Ok(()),
        }
    }

    /// The next message, waiting for it.
    ///
    /// # Cancel safety
    ///
    /// As [`fill`](Self::fill).
    pub(crate) async fn next(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<Bytes, Fault> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.fill(from).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_cut_wherever_the_stream_is_cut() {
        let mut stream = BytesMut::new();
        for body in [&b"first"[..], b"", b"third"] {
            put(&mut stream, |to| to.put_slice(body));
        }
        for cut in 0..=stream.len() {
            let (mut head, mut tail) = stream.split_at(cut);
            let mut inbox = Inbox::new(5);
            let mut heard = Vec::new();
            for part in [&mut head, &mut tail] {
                while !part.is_empty() {
                    inbox.fill(part).await.expect("there is more");
                }
                while let Some(message) = inbox.take().expect("all are short") {
                    heard.push(message);
                }
            }
            assert_eq!(heard, ["first", "", "third"], "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn what_is_too_long_is_refused_before_it_comes() {
        let mut inbox = Inbox::new(4);
        let refused = inbox.next(&mut &[0, 0, 0, 5][..]).await;
        assert!(matches!(refused, Err(Fault::Oversize(5))), "{refused:?}");
        let mut inbox = Inbox::new(4);
        let closed = inbox.next(&mut &[0, 0, 0, 4, 1][..]).await;
        assert!(matches!(closed, Err(Fault::Closed)), "{closed:?}");
    }
}

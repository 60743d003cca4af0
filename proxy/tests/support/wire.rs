//! A client of tokio that sends bytes and sees each reply as bytes: many of them fit on a thread.

use std::io;
use std::net::SocketAddr;

use bellwether_resp::{Limits, Scanner};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::PATIENCE;

/// Connects; the halves can be used at one time, so that a long pipeline does not block itself.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<(OwnedWriteHalf, Replies)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    Ok((writer, Replies::of(reader)))
}

/// The replies that come over one connection.
pub(crate) struct Replies {
    reader: OwnedReadHalf,
    scanner: Scanner,
    unread: Vec<u8>,
    /// Where the next reply begins in `unread`.
    at: usize,
}

impl Replies {
    fn of(reader: OwnedReadHalf) -> Self {
        Self {
            reader,
            scanner: Scanner::new(Limits::default()),
            unread: Vec::new(),
            at: 0,
        }
    }

    /// The bytes of the next reply; `None` at the end, be it a reset.
    ///
    /// # Errors
    /// What came is no reply, ended within one, or did not come within [`PATIENCE`].
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let found = self.scanner.scan(&self.unread[self.at..]);
            let found = found.map_err(|error| {
                let here = &self.unread[self.at..];
                let shown = &here[..here.len().min(200)];
                format!("no reply but {error}: {}", shown.escape_ascii())
            })?;
            if let Some(len) = found {
                let reply = self.unread[self.at..self.at + len].to_vec();
                self.at += len;
                return Ok(Some(reply));
            }
            self.unread.drain(..self.at);
            self.at = 0;
            let read = timeout(PATIENCE, self.reader.read_buf(&mut self.unread)).await;
            match read.map_err(|_| format!("no reply within {PATIENCE:?}"))? {
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                    return Err(format!("cannot read: {error}"));
                }
                Ok(0) if !self.unread.is_empty() => {
                    return Err(format!("a cut reply: {}", self.unread.escape_ascii()));
                }
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }
}

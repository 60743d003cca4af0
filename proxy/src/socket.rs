//! One connection's socket, as a worker uses it.

use std::io::{self, Read};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tracing::debug;

use crate::engine::Conn;
use crate::ready::Readiness;

/// When a silent peer is asked whether it still is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    readiness: Arc<Readiness>,
    waker: Waker,
    /// The peer sends nothing more.
    pub(crate) finished: bool,
    /// The last write could not take everything.
    pub(crate) blocked: bool,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, readiness: Arc<Readiness>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        let waker = Waker::from(Arc::clone(&readiness));
        // Nothing wakes the worker before the first poll.
        readiness.list();
        Ok(Self {
            stream,
            readiness,
            waker,
            finished: false,
            blocked: false,
        })
    }

    pub(crate) fn conn(&self) -> Conn {
        self.readiness.conn
    }

    /// Puts the connection on the ready list.
    pub(crate) fn list(&self) {
        self.readiness.list();
    }

    /// Reads what is there. `None`: nothing, and the connection will be listed when there is.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        let mut cx = Context::from_waker(&self.waker);
        match Pin::new(&mut self.stream).poll_read(&mut cx, &mut buffer) {
            Poll::Ready(result) => Some(result.map(|()| buffer.filled().len())),
            Poll::Pending => None,
        }
    }

    /// Whether the peer has ended the connection, as far as the runtime has heard, even if there
    /// is more to be read before that.
    pub(crate) fn is_finished(&self) -> bool {
        let ready = pin!(self.stream.ready(Interest::READABLE));
        let ready = ready.poll(&mut Context::from_waker(Waker::noop()));
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Reads what is there, past the runtime, which may not have heard of it yet.
    ///
    /// # Errors
    /// As of the operating system; `WouldBlock` when there is nothing.
    pub(crate) fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        (&*SockRef::from(&self.stream)).read(into)
    }

    /// Writes what is possible. `None`: nothing, and the connection will be listed when it is.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        let mut cx = Context::from_waker(&self.waker);
        match Pin::new(&mut self.stream).poll_write(&mut cx, bytes) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    /// Closes it such that what has not arrived yet never does. Otherwise the system goes on trying
    /// for minutes.
    pub(crate) fn abandon(self) {
        if let Err(error) = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)) {
            debug!(%error, "cannot discard what has not arrived");
        }
    }

    /// Closes it such that what was written arrives: a socket that is closed with unread bytes
    /// resets its connection, and a reset overtakes what was written before.
    pub(crate) fn close(self, scratch: &mut [u8]) {
        let ended = SockRef::from(&self.stream).shutdown(Shutdown::Write);
        for _ in 0..16 {
            if ended.is_err() || !matches!(self.read_now(scratch), Ok(1..)) {
                break;
            }
        }
    }
}

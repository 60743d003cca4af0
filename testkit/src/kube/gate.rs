//! A connection that can be stopped and let go on, as by a network that loses everything.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Open or shut, for all connections that share it.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_shut: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    pub(crate) fn shut(&self) {
        self.state().is_shut = true;
    }

    pub(crate) fn open(&self) {
        let mut state = self.state();
        state.is_shut = false;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// Ready when it is open; otherwise wakes when it opens.
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if !state.is_shut {
            return Poll::Ready(());
        }
        let waker = context.waker();
        if !state.waiting.iter().any(|other| other.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection behind a gate.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) stream: TcpStream,
    pub(crate) gate: Arc<Gate>,
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll(context));
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.gate.poll(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll(context));
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll(context));
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

//! The watches that run, and what a test does to them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{mpsc, watch};

use super::record::Request;
use super::status::Failure;
use super::watch::event;

/// How many lines may wait between the backend's watch and the connection.
const WAITING: usize = 16;

/// What happens to a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Flowing,
    /// Nothing comes. What should have, comes when it flows again.
    Silent,
    /// Ends as after its timeout.
    Ended,
    /// Ends in the midst of the stream, by a closed connection.
    Broken,
    /// Ends with the event that its version is too old.
    Expired,
}

/// All watches that run.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    watches: BTreeMap<u64, (Request, watch::Sender<Mood>)>,
    next: u64,
}

impl Watches {
    /// Lets the lines of a watch through, as long as nothing is done to it.
    pub(crate) fn run(
        self: &Arc<Self>,
        request: Request,
        lines: mpsc::Receiver<Bytes>,
        mood: Mood,
    ) -> Lines {
        let (out, body) = mpsc::channel(WAITING);
        let (sender, mood) = watch::channel(mood);
        let number = {
            let mut running = self.running();
            let number = running.next;
            running.next += 1;
            running.watches.insert(number, (request, sender));
            number
        };
        let watches = Arc::clone(self);
        tokio::spawn(async move {
            pump(lines, out, mood).await;
            watches.running().watches.remove(&number);
        });
        Lines(body)
    }

    pub(crate) fn set(&self, mood: Mood, which: impl Fn(&Request) -> bool) {
        for (request, sender) in self.running().watches.values() {
            if which(request) {
                sender.send_replace(mood);
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<Request> {
        let running = self.running();
        running
            .watches
            .values()
            .map(|(request, _)| request.clone())
            .collect()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Line = Result<Bytes, Cut>;

async fn pump(
    mut lines: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Line>,
    mut mood: watch::Receiver<Mood>,
) {
    loop {
        let now = *mood.borrow_and_update();
        // Neither send fails but to a client that is gone, for which it is over anyway.
        match now {
            Mood::Flowing | Mood::Silent => {}
            Mood::Ended => return,
            Mood::Broken => {
                let _ = out.send(Err(Cut)).await;
                return;
            }
            Mood::Expired => {
                let expired = Failure::expired("too old resource version: as the test wants it");
                let _ = out.send(Ok(event("ERROR", &expired.status))).await;
                return;
            }
        }
        let line = async {
            let room = out.reserve().await.ok()?;
            let line = lines.recv().await?;
            Some((room, line))
        };
        tokio::select! {
            biased;
            () = out.closed() => return,
            _ = mood.changed() => {}
            next = line, if now == Mood::Flowing => match next {
                Some((room, line)) => room.send(Ok(line)),
                None => return,
            },
        }
    }
}

/// The body of a watch.
#[derive(Debug)]
pub(crate) struct Lines(mpsc::Receiver<Line>);

/// Ends a connection without an answer, or in the midst of it.
#[derive(Debug, thiserror::Error)]
#[error("cut, as the test wants it")]
pub(crate) struct Cut;

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.0
            .poll_recv(context)
            .map(|line| line.map(|line| line.map(Frame::data)))
    }
}

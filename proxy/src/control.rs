//! What one worker asks the others: clients are listed, closed and found wherever they are.
//!
//! A question reaches each worker through its [`ReadyList`], and is shared by all that have to answer.
//! Whoever lets go of it last sends what was found to the worker that asked. So nobody waits for a
//! worker that has ended, and there is at most one question for each client that waits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::engine::{ClientId, Filter, Selection};
use crate::ready::ReadyList;
use crate::topology::Upstream;

/// About the clients of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// How are these?
    List(Selection),
    /// Close these; how many were there?
    Kill(Filter),
    /// What does its server call the connection that this client has for itself?
    Link(u64),
    /// The same, but the client gets one if it has none, and keeps it: others' messages go there.
    Address(u64),
    /// For so long, the primary takes no writes. Zero: from now on it does.
    Pause(Duration),
}

/// What some workers have found. Answers add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Of each client its number and its line.
    pub(crate) lines: Vec<(u64, String)>,
    pub(crate) killed: u64,
    /// A server, and what that calls the connection.
    pub(crate) link: Option<(Upstream, u64)>,
}

impl Answer {
    pub(crate) fn add(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.killed += other.killed;
        self.link = self.link.take().or(other.link);
    }
}

/// What comes to a worker from another.
#[derive(Debug)]
pub(crate) enum Mail {
    Asked(Arc<Inquiry>),
    /// Everybody has answered this client's question.
    Answered(ClientId, Answer),
}

/// A question on its way.
#[derive(Debug)]
pub(crate) struct Inquiry {
    pub(crate) question: Question,
    client: ClientId,
    asker: Arc<ReadyList>,
    found: Mutex<Answer>,
}

impl Inquiry {
    /// Asks all `others`; what they find comes to `asker`.
    pub(crate) fn send(
        asker: &Arc<ReadyList>,
        others: &[Arc<ReadyList>],
        client: ClientId,
        question: Question,
    ) {
        let inquiry = Arc::new(Self {
            question,
            client,
            asker: Arc::clone(asker),
            found: Mutex::default(),
        });
        for other in others {
            other.post(Mail::Asked(Arc::clone(&inquiry)));
        }
    }

    pub(crate) fn answer(&self, answer: Answer) {
        let mut found = self
            .found
            .lock()
            .expect("nothing panics while it is locked");
        found.add(answer);
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        // Whoever panicked while it answered found nothing.
        let found = self.found.get_mut().map(std::mem::take).unwrap_or_default();
        self.asker.post(Mail::Answered(self.client, found));
    }
}

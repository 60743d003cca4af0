//! What is going to happen in a world, and when.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use super::{
    calls::{Reply, Request},
    node::CallId,
    peers::Question,
    world::Micros,
};
use crate::lease::core::{Event, Failure, Seen};

/// What happens at some time.
pub(super) enum What {
    Wake(usize, u64, Micros),
    /// Something reaches a process: it waits there while that is stopped.
    Reach(usize, u64, Reach),
    /// A call arrives at the API.
    Land(Request, Reply),
    /// A watch is attempted again.
    Watch(usize, u64, u64),
    /// The application of a node acts.
    Speak(usize, u64),
    Resume(usize, u64),
    /// The other program's turn.
    Foreign,
    /// Somebody deletes the Lease.
    Deletion,
    /// A member's question arrives at another.
    Ask(usize, Question),
}

pub(super) enum Reach {
    Tick,
    Answered(CallId, Result<Seen, Failure>),
    TimedOut(CallId),
    Watched(u64, Event),
    Asked(Question),
    /// A member confirms a round.
    Confirmed(u64, String),
}

#[derive(Default)]
pub(super) struct Queue(BinaryHeap<Reverse<Scheduled>>);

impl Queue {
    pub(super) fn push(&mut self, at: Micros, serial: u64, what: What) {
        let what = Box::new(what);
        self.0.push(Reverse(Scheduled { at, serial, what }));
    }

    /// What happens next, if it does until then.
    pub(super) fn pop_until(&mut self, end: Micros) -> Option<(Micros, What)> {
        if self.0.peek()?.0.at > end {
            return None;
        }
        self.0.pop().map(|Reverse(next)| (next.at, *next.what))
    }

    /// Some of that does not happen.
    pub(super) fn forget(&mut self, what: impl Fn(&What) -> bool) {
        self.0.retain(|Reverse(next)| !what(&next.what));
    }

    /// When that is.
    #[cfg(feature = "simulation")]
    pub(super) fn next_at(&self) -> Option<Micros> {
        self.0.peek().map(|Reverse(next)| next.at)
    }

    /// Takes the calls out that have not arrived, in their order. What people were about to do, they
    /// leave.
    pub(super) fn take_calls(&mut self) -> Vec<(Request, Reply)> {
        let mut calls = Vec::new();
        // Sorted in reverse: the last one is the next.
        for Reverse(next) in std::mem::take(&mut self.0)
            .into_sorted_vec()
            .into_iter()
            .rev()
        {
            match *next.what {
                What::Land(request, reply) => calls.push((request, reply)),
                What::Deletion => {}
                what => self.push(next.at, next.serial, what),
            }
        }
        calls
    }
}

/// What happens when; of two at the same time, what was scheduled first.
struct Scheduled {
    at: Micros,
    serial: u64,
    what: Box<What>,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

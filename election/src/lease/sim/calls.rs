//! Calls to the API in a world: on their way there and back they are slow, late, lost, repeated and
//! refused.

use std::time::Instant;

use super::{
    node::CallId,
    queue::{Reach, What},
    world::{MS, Micros, World},
};
use crate::{
    Term,
    lease::{
        core::{Call, Failure, Now, Seen},
        record::Record,
    },
};

/// What goes wrong between the members and the API, and how often.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    /// A call takes at most this long there, and as long back.
    pub(super) delay: Micros,
    /// Of a thousand calls so many never arrive.
    pub(super) lost: u32,
    /// Of a thousand calls so many are done, and the answer is lost.
    pub(super) unanswered: u32,
    /// Of a thousand calls so many arrive up to `LATE` after they were sent.
    pub(super) late: u32,
    /// Of a thousand calls so many arrive a second time, that much later.
    pub(super) repeated: u32,
    /// How calls are refused, and how many of a thousand.
    pub(super) refused: u32,
    pub(super) refusals: Vec<Refusal>,
    /// Every second call is refused instead, or write.
    pub(super) every_second: bool,
    /// Reads are not refused.
    pub(super) spares_reads: bool,
    /// Nothing reaches the API.
    pub(super) away: bool,
    /// No watch can be opened.
    pub(super) no_watch: bool,
    /// Watches tell everything up to that much later.
    pub(super) lag: Micros,
    /// Of a thousand events so many are not told by a watch.
    pub(super) lost_events: u32,
}

/// A late call arrives up to this long after it was sent.
pub(super) const LATE: Micros = 20_000 * MS;

/// An answer that is not what the call asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    /// It is done all the same.
    pub(super) done: bool,
}

/// A call on its way to the API.
pub(super) struct Request {
    n: usize,
    life: u64,
    id: CallId,
    call: Call,
    sent: Instant,
    /// It begins a spell of the sender.
    begins: bool,
}

/// What is answered when a call has been done.
#[derive(Clone, Copy)]
pub(super) enum Reply {
    Result(Micros),
    Failure(Failure, Micros),
    Nothing,
}

impl Faults {
    pub(super) fn none() -> Self {
        Self {
            delay: 20 * MS,
            lost: 0,
            unanswered: 0,
            late: 0,
            repeated: 0,
            refused: 0,
            refusals: Vec::new(),
            every_second: false,
            spares_reads: false,
            away: false,
            no_watch: false,
            lag: 0,
            lost_events: 0,
        }
    }
}

impl World {
    pub(super) fn send(&mut self, n: usize, now: Now, call: Call) {
        let node = &mut self.nodes[n];
        node.calls += 1;
        let leads = node.leads();
        let life = node.life;
        let mut begins = false;
        if let Call::Create(record) | Call::Write(_, record) = &call {
            node.writes += 1;
            begins = record.holder.is_some() && (leads.is_none() || leads != record.term);
        }
        self.serial += 1;
        let id = CallId(self.serial);
        let running = self.nodes[n]
            .running
            .as_mut()
            .expect("only the living call");
        assert!(running.pending.is_none(), "one call at a time");
        running.pending = Some(id);
        let patience = self.nodes[n].clock.real(now.at + self.call_timeout) - self.now;
        self.later(patience, What::Reach(n, life, Reach::TimedOut(id)));
        let request = Request {
            n,
            life,
            id,
            call,
            sent: now.at,
            begins,
        };
        self.route(request);
    }

    /// Decides about the fate of a call.
    fn route(&mut self, request: Request) {
        let (there, back) = (self.transit(), self.transit());
        let fails = |of: u32, rng: &mut fastrand::Rng| rng.u32(0..1000) < of;
        if self.faults.away || self.nodes[request.n].cut {
            // A part of it waits somewhere.
            if fails(100, &mut self.rng) {
                let there = self.rng.u64(0..LATE);
                self.later(there, What::Land(request, Reply::Nothing));
            } else if self.rng.bool() {
                self.answer(&request, there, Err(Failure::Lost));
            }
            return;
        }
        if self.is_refused(&request) {
            let refusal = self.faults.refusals[self.rng.usize(0..self.faults.refusals.len())];
            self.refuse(request, refusal);
        } else if fails(self.faults.lost, &mut self.rng) {
            if self.rng.bool() {
                self.answer(&request, there, Err(Failure::Lost));
            }
        } else if fails(self.faults.unanswered, &mut self.rng) {
            self.later(there, What::Land(request, Reply::Nothing));
        } else if fails(self.faults.late, &mut self.rng) {
            let there = self.rng.u64(0..LATE);
            self.later(there, What::Land(request, Reply::Result(back)));
        } else {
            if fails(self.faults.repeated, &mut self.rng) {
                let again = there + self.rng.u64(0..LATE);
                let repeated = Request {
                    call: request.call.clone(),
                    ..request
                };
                self.later(again, What::Land(repeated, Reply::Nothing));
            }
            self.later(there, What::Land(request, Reply::Result(back)));
        }
    }

    fn is_refused(&mut self, request: &Request) -> bool {
        let faults = &self.faults;
        let node = &self.nodes[request.n];
        if faults.spares_reads && request.call == Call::Read {
            false
        } else if faults.every_second {
            let count = if faults.spares_reads {
                node.writes
            } else {
                node.calls
            };
            count % 2 == 0
        } else {
            self.rng.u32(0..1000) < faults.refused
        }
    }

    fn refuse(&mut self, request: Request, refusal: Refusal) {
        let (there, back) = (self.transit(), self.transit());
        if refusal.failure == Failure::Lost && self.rng.bool() {
            if refusal.done {
                self.later(there, What::Land(request, Reply::Nothing));
            }
        } else if refusal.done {
            self.later(
                there,
                What::Land(request, Reply::Failure(refusal.failure, back)),
            );
        } else {
            self.answer(&request, there + back, Err(refusal.failure));
        }
    }

    /// A call arrives at the API.
    pub(super) fn land(&mut self, request: &Request, reply: Reply) {
        let before = self.server.record().cloned();
        let (result, changed) = self.server.handle(&request.call);
        if changed {
            self.tell(request.n, &request.call);
            if let Some(record) = self.server.record() {
                check_write(before.as_ref(), record, request.begins);
                let record = record.clone();
                self.check_pause(request.n, before.as_ref(), request.begins);
                let node = &mut self.nodes[request.n];
                if record.holder.is_some()
                    && node.is_alive(request.life)
                    && let Some(running) = &mut node.running
                {
                    running.renewed = running.renewed.max(Some(request.sent));
                }
            }
            let seen = self.server.seen();
            self.tell_watches(&seen);
        }
        match reply {
            Reply::Result(back) => self.answer(request, back, result),
            Reply::Failure(failure, back) => self.answer(request, back, Err(failure)),
            Reply::Nothing => {}
        }
    }

    fn answer(&mut self, request: &Request, after: Micros, result: Result<Seen, Failure>) {
        let reach = Reach::Answered(request.id, result);
        self.later(after, What::Reach(request.n, request.life, reach));
    }

    pub(super) fn transit(&mut self) -> Micros {
        self.rng.u64(100..self.faults.delay)
    }
}

/// What must hold of each write of ours.
fn check_write(before: Option<&Record>, after: &Record, begins: bool) {
    let old = before.map_or(0, |before| before.transitions);
    assert_eq!(
        after.transitions,
        old + i32::from(begins),
        "a spell counts once: {after:?}"
    );
    let term = |record: &Record| record.term.unwrap_or(Term(0));
    assert!(
        before.is_none_or(|before| term(before) <= term(after)),
        "the Lease's term fell: {after:?}"
    );
}

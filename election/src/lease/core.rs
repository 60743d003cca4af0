//! Decides: a pure state machine, see [`Core::step`].
//!
//! One call to the API at a time. What is known of the Lease comes from the answers to calls, which
//! are always believed, and from the watch, which may lag behind them.

#![deny(clippy::disallowed_methods)]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    Intent, Leadership, NodeId, Term,
    lease::{
        Flaw,
        config::Timing,
        failsafe::{Ask, Verdict},
        record::{self, Record, Snapshot, Version, Wall, identity},
    },
};

mod absorb;
mod decide;
mod failed;
mod failsafe;
#[cfg(test)]
mod tests;

/// One moment, as this machine's clocks show it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// What all decisions go by.
    pub(crate) at: Instant,
    /// What is written into the Lease for others to read.
    pub(crate) wall: Wall,
}

/// A fact for the core.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Time has passed.
    Tick,
    /// What the application wants, and whether it has spoken in the vacancy last published.
    Intent { intent: Intent, spoke: bool },
    /// The watch shows the Lease.
    Shown(Seen),
    /// The watch has begun, or has ended.
    Watch(bool),
    /// The call that was ordered has ended.
    Answered(Result<Seen, Failure>),
    /// Who the other members are, for failsafe.
    Members(BTreeSet<String>),
    /// A leader asks to be confirmed; it is answered in the same step.
    Asked(Ask),
    /// A member confirms the round of this number.
    Confirmed(u64, String),
    /// The application has left.
    Leave,
}

/// The Lease as somebody was told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Present(Snapshot),
    /// There is none; with the version of its deletion if a watch told that.
    Absent(Option<Version>),
}

impl Seen {
    fn version(&self) -> Option<&Version> {
        match self {
            Self::Present(seen) => Some(&seen.version),
            Self::Absent(version) => version.as_ref(),
        }
    }
}

/// Why a call came to nothing, as far as it matters for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Refused: what the call rested on is no longer so.
    Conflict,
    /// Refused for now, perhaps with a time to wait.
    Busy(Option<Duration>),
    /// No answer: what was asked for may have been done, or may yet be.
    Lost,
    /// Refused until somebody changes the permissions or the configuration.
    Denied,
}

/// An order from the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Call the API; report the end of it by [`Event::Answered`].
    Call(Call),
    /// Tell the application who leads.
    Publish(Leadership),
    /// The watch has missed something: begin another.
    Rewatch,
    /// Ask these members, as the round of this number; report each that confirms by
    /// [`Event::Confirmed`].
    Ask(u64, Ask, BTreeSet<String>),
    /// What the leader that asked is answered.
    Answer(Verdict),
    /// The application has left, and nothing is left to release.
    Done,
}

/// A call to the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    /// Make the Lease, if there is none.
    Create(Record),
    /// Write the Lease, if its version is still this one.
    Write(Option<Version>, Record),
}

#[derive(Debug)]
pub(crate) struct Core {
    node: NodeId,
    /// How the Lease calls this member.
    me: String,
    timing: Timing,
    flaw: Option<Flaw>,
    random: fastrand::Rng,
    intent: Intent,
    /// The application has spoken in the present vacancy.
    spoke: bool,
    leaving: bool,
    /// The application resigned, and the Lease may still name this member.
    releasing: bool,
    /// In whose favour it resigned.
    successor: Option<NodeId>,
    known: Known,
    /// When what is known of the Lease last became different.
    changed: Instant,
    /// When the API last told the Lease's state.
    heard: Instant,
    watching: bool,
    /// The watch has shown something: it begins with the Lease, if there is one.
    shown: bool,
    /// What is known may be out of date: look before the next write.
    doubt: bool,
    /// A version that the watch showed during the call that is under way, and that cannot be ordered.
    rumour: Option<Version>,
    highest: Term,
    spell: Option<Spell>,
    call: Option<Pending>,
    /// When this member last sent a write that makes or keeps it the leader.
    wrote: Option<Instant>,
    /// That write began a spell.
    began: bool,
    /// Such writes of which it is not known yet whether they were done.
    writes: Vec<Written>,
    /// The latest time of day that this member wrote.
    stamp: Option<Wall>,
    /// No call is made before this: a failure came.
    not_before: Instant,
    /// Failures in a row, conflicts apart.
    failures: u32,
    conflicts: u32,
    published: Leadership,
    failsafe: failsafe::Failsafe,
}

/// What is known of the Lease.
#[derive(Clone, Debug)]
enum Known {
    Nothing,
    /// There is none since this version, or since a later one.
    Absent(Option<Version>),
    Present(Snapshot),
}

impl Known {
    /// What is older than this is no news.
    fn version(&self) -> Option<&Version> {
        match self {
            Self::Nothing => None,
            Self::Absent(version) => version.as_ref(),
            Self::Present(seen) => Some(&seen.version),
        }
    }
}

/// One's own leadership.
#[derive(Clone, Copy, Debug)]
struct Spell {
    term: Term,
    until: Instant,
}

/// A write that makes or keeps its sender the leader, if it is done.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// The time of day that it wrote, which no other write of this member did.
    stamp: Wall,
    sent: Instant,
    term: Term,
    begins: bool,
}

/// The call that is under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    sent: Instant,
    purpose: Purpose,
    /// The watch told something newer meanwhile.
    overtaken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To see how the Lease stands; because the watch was silent, or for another reason.
    Look { silence: bool },
    /// To begin a spell of this term.
    Acquire(Term),
    /// To keep the spell of this term.
    Renew(Term),
    /// To give the Lease up.
    Release,
    /// To have a Lease at all, which nobody holds yet.
    Form,
}

impl Purpose {
    fn is_look(self) -> bool {
        matches!(self, Self::Look { .. })
    }
}

impl Core {
    pub(crate) fn new(
        node: NodeId,
        timing: Timing,
        now: Instant,
        seed: u64,
        flaw: Option<Flaw>,
    ) -> Self {
        Self {
            me: identity(&node),
            node,
            timing,
            flaw,
            random: fastrand::Rng::with_seed(seed),
            intent: Intent::default(),
            spoke: false,
            leaving: false,
            releasing: false,
            successor: None,
            known: Known::Nothing,
            changed: now,
            heard: now,
            watching: false,
            shown: false,
            doubt: false,
            rumour: None,
            highest: Term::default(),
            spell: None,
            call: None,
            wrote: None,
            began: false,
            writes: Vec::new(),
            stamp: None,
            not_before: now,
            failures: 0,
            conflicts: 0,
            published: Leadership::Vacant,
            failsafe: failsafe::Failsafe::default(),
        }
    }

    /// Takes a fact in and says what is to be done.
    ///
    /// Decisions rest on what is known, not on which event came last, so events may come twice, or
    /// late.
    #[must_use]
    pub(crate) fn step(&mut self, now: Now, event: Event) -> Vec<Action> {
        // First: what comes after the end of a spell does not prolong it.
        self.end_spell_in_time(now.at);
        self.end_promise_in_time(now.at);
        let mut actions: Vec<Action> = self.absorb(now.at, event).into_iter().collect();
        self.end_spell_in_time(now.at);
        let leadership = self.leadership(now);
        if leadership != self.published {
            if leadership == Leadership::Vacant {
                self.spoke = false;
            }
            self.published = leadership.clone();
            actions.push(Action::Publish(leadership));
        }
        actions.extend(self.ask(now.at));
        if self.call.is_none() {
            if self.is_done() {
                actions.push(Action::Done);
            } else if let Plan::Now(purpose) = self.plan(now) {
                actions.push(Action::Call(self.begin(now, purpose)));
            }
        }
        actions
    }

    /// When to send [`Event::Tick`], at the latest.
    pub(crate) fn wake_at(&self, now: Now) -> Instant {
        if self.leadership(now) != self.published {
            return now.at;
        }
        let mut at = now.at + self.timing.lease_duration;
        if let Some(spell) = self.spell {
            at = at.min(spell.until);
        }
        // Of a time that has passed, all has been said.
        let mut turn = |time: Instant| {
            if time > now.at {
                at = at.min(time);
            }
        };
        if let Known::Present(seen) = &self.known
            && matches!(self.published, Leadership::Following { .. })
        {
            turn(self.expiry(now, &seen.record));
        }
        if let Some(promise) = self.promised(now.at) {
            turn(promise.until);
            turn(self.silent_at());
        }
        if let Some(round) = self.asks_at(now.at) {
            at = at.min(round);
        }
        if self.call.is_none() {
            match self.plan(now) {
                Plan::Now(_) => at = now.at,
                Plan::At(planned) => at = at.min(planned),
            }
        }
        at
    }

    /// Whether automatic failover is paused, as far as is known.
    pub(crate) fn paused(&self) -> bool {
        matches!(&self.known, Known::Present(seen) if seen.record.paused)
    }

    fn leadership(&self, now: Now) -> Leadership {
        if let Some(Spell { term, until }) = self.spell {
            return Leadership::Leading {
                term,
                until: Some(until),
            };
        }
        let held = self.held_by_other(now);
        let promised = self.promised(now.at);
        // Who asked may lead by a later state of the Lease than is known, or by an earlier one. While
        // the API tells who holds it, nobody else is believed who was not believed before.
        let latest = promised.filter(|promise| promise.term == self.highest);
        let believed = |it: &failsafe::Promise| {
            now.at >= self.silent_at() || self.published.term() == Some(it.term)
        };
        let later =
            |it: &&failsafe::Promise| held.is_none_or(|(_, term)| term < it.term && believed(it));
        if let Some(promise) = latest.filter(later) {
            return Leadership::Following {
                leader: promise.leader.clone(),
                card: promise.card.clone(),
                term: promise.term,
            };
        }
        match held {
            Some((record, term)) => Leadership::Following {
                leader: record::node(record.holder.as_deref().unwrap_or_default()),
                card: record.holders_card(),
                term,
            },
            None => Leadership::Vacant,
        }
    }

    /// The Lease as somebody else holds it, and the term, if its holder may lead yet.
    fn held_by_other(&self, now: Now) -> Option<(&Record, Term)> {
        let Known::Present(Snapshot { record, .. }) = &self.known else {
            return None;
        };
        let other = record
            .holder
            .as_ref()
            .is_some_and(|holder| *holder != self.me);
        let lasts = now.at < self.expiry(now, record) || !self.is_told(record);
        // Others' programs know no terms.
        let term = record.term.unwrap_or(self.highest);
        (other && lasts && !self.is_outlived(term)).then_some((&**record, term))
    }

    /// From when on a Lease that somebody else holds may be taken: once this member has seen it
    /// unchanged for as long as it lasts, by its own clock.
    ///
    /// Source: client-go's leader election, which measures from what it observed, too.
    fn expiry(&self, now: Now, record: &Record) -> Instant {
        if self.flaw == Some(Flaw::TrustsOtherClocks) {
            let age = now.wall - record.renewed.unwrap_or(0);
            let left = self.duration(record).as_micros() as i64 - age;
            return now.at + Duration::from_micros(left.max(0) as u64);
        }
        self.changed + self.duration(record)
    }

    /// How long a Lease lasts that is not renewed: if it does not say so, as long as one's own.
    fn duration(&self, record: &Record) -> Duration {
        if record.duration.is_zero() {
            self.timing.lease_duration
        } else {
            record.duration
        }
    }

    /// From then on the API has told nothing for so long that the Lease's holder may be another.
    fn silent_at(&self) -> Instant {
        self.heard + self.timing.lease_duration
    }

    fn end_spell_in_time(&mut self, now: Instant) {
        if self.spell.is_some_and(|spell| now >= spell.until) {
            self.spell = None;
        }
    }

    /// After the application has left: nothing in the Lease, or on its way there, names this member.
    fn is_done(&self) -> bool {
        self.leaving && !self.doubt && !self.holds()
    }

    /// The Lease names this member, as far as is known, and by its own doing: whom somebody named by
    /// hand has to wait like all others until the claimant's lease has ended.
    fn holds(&self) -> bool {
        let Known::Present(Snapshot { record, .. }) = &self.known else {
            return false;
        };
        let me = Some(&self.me);
        let by_itself = record.claimant.as_ref() == me || self.flaw == Some(Flaw::TakesWhatNamesIt);
        record.holder.as_ref() == me && by_itself
    }
}

/// What to do next about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Now(Purpose),
    /// To think again at this time.
    At(Instant),
}

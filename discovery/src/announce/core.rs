//! Decides when to read, write, watch and wait: a pure state machine, see [`Core::step`].
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::config::AnnouncerConfig;
use super::leader::{Announcement, Leader};
use super::pace::{Pace, Repairs};
use super::plan::{Plan, Subject, Write};
use super::seen::{Seen, View};

#[cfg(test)]
mod tests;

/// A watch that ends sooner than this after it began was cut; one that is to be renewed as often may
/// last for half of its time.
const SHORT_WATCH: Duration = Duration::from_secs(1);

/// A fact for the core. What was not ordered, or ordered to be dropped, is not reported.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Whom the application wants to be announced.
    Leader(Option<Leader>),
    /// Time has passed.
    Tick,
    /// How a read ended: all objects of the selection.
    Read(Result<View, Failure>),
    /// How a write ended: the object as it is after it.
    Wrote(Result<Seen, Failure>),
    /// The watch has begun.
    Watching,
    /// An object has come or changed.
    Changed(Seen),
    /// An object has left.
    Gone(String),
    /// The watch has ended.
    Unwatched(Result<(), Failure>),
}

/// An order from the core.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// End the watch, if there is one, and read all objects of the selection.
    Read,
    /// Patch an object; leave the watch as it is.
    Write(Write),
    /// Report what changes after the last read, from where the watch was left.
    Watch,
    /// Drop whatever is under way.
    Drop,
    /// Tell the application.
    Tell(Announcement),
}

/// Why a call failed: what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// What was known is outdated: read again.
    Outdated(String),
    /// The API does not accept a patch: it is outdated, or wrong in itself.
    Rejected(String),
    /// The API asks to wait, for this long if it says so.
    Busy(Option<Duration>, String),
    /// The API was not heard, or not well: it may have done what was asked.
    Away(String),
    /// Refused for a reason that only people can change.
    Refused(String),
}

/// What stands in the way of calls at present.
#[derive(Clone, Debug)]
struct Trouble {
    refused: bool,
    reason: String,
}

/// How the announcement stands, as far as was last seen.
#[derive(Clone, Debug)]
enum Standing {
    Unknown,
    Wrong,
    Fought,
    Blocked(String),
    Superseded { higher: u64 },
    Right { since: Instant },
}

#[derive(Clone, Debug)]
enum Stage {
    /// Nothing is under way.
    Ready,
    Reading,
    /// With the object's name and version.
    Writing(String, String),
    /// Listens; with an instant, only until then, when something is to be written.
    Watching {
        until: Option<Instant>,
    },
    Pausing {
        until: Instant,
    },
}

/// One announcement, by a Service or by labels, while one node leads or not.
#[derive(Debug)]
pub(super) struct Core<S> {
    subject: S,
    config: AnnouncerConfig,
    rng: Rng,
    leader: Option<Leader>,
    stage: Stage,
    /// `None`: must be read.
    view: Option<View>,
    /// Since when the watch runs.
    heard_since: Option<Instant>,
    pace: Pace,
    repairs: Repairs,
    /// A write that was not accepted though nothing shows that its object had changed.
    rejected: Option<(String, String)>,
    trouble: Option<Trouble>,
    standing: Standing,
    told: Announcement,
}

impl<S: Subject> Core<S> {
    pub(super) fn new(subject: S, config: &AnnouncerConfig, rng: Rng) -> Self {
        Self {
            subject,
            config: config.clone(),
            rng,
            leader: None,
            stage: Stage::Ready,
            view: None,
            heard_since: None,
            pace: Pace::new(config),
            repairs: Repairs::new(config),
            rejected: None,
            trouble: None,
            standing: Standing::Unknown,
            told: Announcement::Idle,
        }
    }

    /// Absorbs a fact, then decides by what is known.
    #[must_use]
    pub(super) fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let leader = match &event {
            Event::Leader(leader) => leader.clone(),
            _ => self.leader.clone(),
        };
        if self.lead(now, leader) {
            actions.push(Action::Drop);
        } else {
            self.absorb(now, event);
        }
        actions.extend(self.decide(now));
        let announcement = self.announcement();
        if announcement != self.told {
            self.told = announcement.clone();
            actions.push(Action::Tell(announcement));
        }
        actions
    }

    /// What was told last.
    #[cfg(test)]
    pub(super) fn told(&self) -> &Announcement {
        &self.told
    }

    /// When to send [`Event::Tick`].
    #[must_use]
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let leader = self.leader.as_ref()?;
        let stage = match &self.stage {
            Stage::Pausing { until } => Some(*until),
            Stage::Watching { until } => *until,
            Stage::Ready | Stage::Reading | Stage::Writing(..) => None,
        };
        let relief = self.trouble.as_ref().and(self.heard_since);
        let relief = relief.map(|since| since + self.short_watch());
        [leader.until, stage, relief].into_iter().flatten().min()
    }

    fn absorb(&mut self, now: Instant, event: Event) {
        if self.has_been_heard(now) {
            self.trouble = None;
        }
        match event {
            Event::Leader(_) | Event::Tick => {}
            Event::Read(Ok(view)) => {
                self.view = Some(view);
                self.stage = Stage::Ready;
            }
            Event::Wrote(Ok(seen)) => {
                self.repairs.wrote(&seen.name, now);
                self.rejected = None;
                self.trouble = None;
                self.put(seen);
                self.stage = Stage::Ready;
            }
            Event::Watching => self.heard_since = Some(now),
            Event::Changed(seen) => self.put(seen),
            Event::Gone(name) => {
                if let Some(view) = &mut self.view {
                    view.remove(&name);
                }
            }
            Event::Unwatched(Ok(())) if self.has_been_heard(now) => {
                self.view = None;
                self.stage = Stage::Ready;
            }
            Event::Unwatched(Ok(())) => {
                self.suffer(now, Failure::Away("watches are cut at once".into()));
            }
            Event::Read(Err(failure))
            | Event::Wrote(Err(failure))
            | Event::Unwatched(Err(failure)) => self.suffer(now, failure),
        }
    }

    fn has_been_heard(&self, now: Instant) -> bool {
        self.heard_since
            .is_some_and(|since| now.saturating_duration_since(since) >= self.short_watch())
    }

    fn short_watch(&self) -> Duration {
        SHORT_WATCH.min(self.config.reread / 2)
    }

    /// Takes whom to announce, as long as the lease lasts. Another spell begins from nothing;
    /// answers whether something is under way that belongs to the past.
    fn lead(&mut self, now: Instant, leader: Option<Leader>) -> bool {
        let leader = leader.filter(|leader| leader.leads_at(now));
        let same = match (&self.leader, &leader) {
            (None, None) => true,
            (Some(before), Some(leader)) => before.same_spell(leader),
            _ => false,
        };
        self.leader = leader;
        if same {
            return false;
        }
        let was_busy = !matches!(self.stage, Stage::Ready);
        self.stage = Stage::Ready;
        self.view = None;
        self.heard_since = None;
        self.pace = Pace::new(&self.config);
        self.repairs = Repairs::new(&self.config);
        self.rejected = None;
        self.trouble = None;
        self.standing = Standing::Unknown;
        was_busy
    }

    fn put(&mut self, seen: Seen) {
        if let Some(view) = &mut self.view {
            view.insert(seen.name.clone(), seen);
        }
    }

    fn suffer(&mut self, now: Instant, failure: Failure) {
        let failure = self.judged(failure);
        let chance = self.rng.f64();
        let pause = match &failure {
            Failure::Outdated(_) | Failure::Rejected(_) => self.pace.conflicted(now, chance),
            Failure::Busy(pause, _) => self.pace.asked(now, *pause, chance),
            Failure::Away(_) => self.pace.failed(now, chance),
            Failure::Refused(_) => self.pace.refused(now, chance),
        };
        if !pause.is_zero() {
            self.note(failure);
        }
        self.view = None;
        self.heard_since = None;
        self.stage = Stage::Pausing { until: now + pause };
    }

    /// A patch that is rejected twice, for the same version of its object, is not outdated.
    fn judged(&mut self, failure: Failure) -> Failure {
        let (Failure::Rejected(reason), Stage::Writing(object, version)) = (&failure, &self.stage)
        else {
            return failure;
        };
        let this = Some((object.clone(), version.clone()));
        if self.rejected == this {
            return Failure::Refused(reason.clone());
        }
        self.rejected = this;
        failure
    }

    /// Keeps the first reason of its kind, so that an outage is told once, not in each of its forms.
    fn note(&mut self, failure: Failure) {
        let refused = matches!(failure, Failure::Refused(_));
        if self
            .trouble
            .as_ref()
            .is_some_and(|it| it.refused == refused)
        {
            return;
        }
        let (Failure::Outdated(reason)
        | Failure::Rejected(reason)
        | Failure::Busy(_, reason)
        | Failure::Away(reason)
        | Failure::Refused(reason)) = failure;
        self.trouble = Some(Trouble { refused, reason });
    }

    /// What to do next, unless something is under way already.
    fn decide(&mut self, now: Instant) -> Option<Action> {
        let leader = self.leader.as_ref()?;
        let watching = match &self.stage {
            Stage::Reading | Stage::Writing(..) => return None,
            Stage::Pausing { until } if now < *until => return None,
            Stage::Watching { .. } => true,
            Stage::Ready | Stage::Pausing { .. } => false,
        };
        let Some(view) = &self.view else {
            self.heard_since = None;
            self.stage = Stage::Reading;
            return Some(Action::Read);
        };
        let mut until = None;
        match self.subject.plan(view, &leader.member, leader.term) {
            Plan::Write(write) => {
                let ready_at = self.repairs.ready_at(&write.object, now);
                if ready_at <= now {
                    self.standing = Standing::Wrong;
                    self.stage = Stage::Writing(write.object.clone(), write.version.clone());
                    return Some(Action::Write(write));
                }
                self.standing = Standing::Fought;
                until = Some(ready_at);
            }
            Plan::Right => {
                if !matches!(self.standing, Standing::Right { .. }) {
                    self.standing = Standing::Right { since: now };
                }
            }
            Plan::Superseded { higher } => self.standing = Standing::Superseded { higher },
            Plan::Blocked(reason) => self.standing = Standing::Blocked(reason),
        }
        self.stage = Stage::Watching { until };
        (!watching).then_some(Action::Watch)
    }

    fn announcement(&self) -> Announcement {
        let Some(Leader { term, .. }) = self.leader else {
            return Announcement::Idle;
        };
        let trouble = self.trouble.as_ref().map(|it| it.reason.clone());
        let retrying = |reason| Announcement::Retrying { term, reason };
        match &self.standing {
            Standing::Unknown | Standing::Wrong => {
                trouble.map_or(Announcement::Pending { term }, retrying)
            }
            Standing::Fought => retrying(
                "somebody else changes it again and again, so it is put back after a pause".into(),
            ),
            Standing::Blocked(reason) => retrying(reason.clone()),
            Standing::Superseded { higher } => Announcement::Superseded {
                term,
                higher: *higher,
            },
            Standing::Right { since } => Announcement::Announced {
                term,
                at: *since,
                hindrance: trouble,
            },
        }
    }
}

//! Another program in the election, by the rules of client-go: it looks once per retry period, takes
//! a Lease that is empty or that it has seen unchanged for its own lease duration, and writes the
//! spec only.
//!
//! Source: client-go, tools/leaderelection.

use std::time::{Duration, Instant};

use super::{
    clock::Clock,
    queue::What,
    world::{MS, Micros, World, micros},
};
use crate::lease::record::Record;

pub(super) const NAME: &str = "controller-5d4f_lease";

pub(super) struct Foreign {
    clock: Clock,
    /// What it has observed, and since when that is so.
    observed: Option<(Record, Instant)>,
    /// Whether it is there, and wants to lead.
    pub(super) wants: bool,
    /// It is there no more, without having released the Lease.
    pub(super) gone: bool,
}

impl Foreign {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            observed: None,
            wants: false,
            gone: false,
        }
    }
}

impl World {
    pub(super) fn foreign_turn(&mut self) {
        let pause = self.retry_period() + self.rng.u64(0..100 * MS);
        self.later(pause, What::Foreign);
        let Some(mut foreign) = self.foreign.take() else {
            return;
        };
        if !foreign.gone && !self.faults.away {
            self.foreign_tries(&mut foreign);
        }
        self.foreign = Some(foreign);
    }

    fn foreign_tries(&mut self, foreign: &mut Foreign) {
        let now = foreign.clock.now(self.now);
        let Some(seen) = self.server.record().cloned() else {
            return;
        };
        let spec = Record {
            term: None,
            claimant: None,
            card: bytes::Bytes::new(),
            successor: None,
            last: None,
            paused: false,
            listed: None,
            ..seen.clone()
        };
        if foreign
            .observed
            .as_ref()
            .is_none_or(|(observed, _)| *observed != spec)
        {
            foreign.observed = Some((spec, now.at));
        }
        let since = foreign
            .observed
            .as_ref()
            .map_or(now.at, |(_, since)| *since);
        let holds = seen.holder.as_deref() == Some(NAME);
        let valid = now.at < since + self.timing.lease_duration;
        let next = if holds && !foreign.wants {
            self.give_up(None, self.now);
            Record {
                holder: None,
                duration: Duration::from_secs(1),
                acquired: Some(now.wall),
                renewed: Some(now.wall),
                ..seen
            }
        } else if foreign.wants && (holds || seen.holder.is_none() || !valid) {
            let until = foreign.clock.real(now.at + self.timing.renew_deadline);
            self.claim(None, until);
            Record {
                holder: Some(NAME.into()),
                duration: self.timing.lease_duration,
                acquired: if holds { seen.acquired } else { Some(now.wall) },
                renewed: Some(now.wall),
                transitions: seen.transitions + i32::from(!holds),
                ..seen
            }
        } else {
            return;
        };
        self.tell(0, &("the other program", &next));
        // Its own way to the API is short, so nothing comes between its look and its write.
        self.server.put(next);
        let seen = self.server.seen();
        self.tell_watches(&seen);
    }

    /// The other program ends, or is started again.
    pub(super) fn trouble_foreign(&mut self) {
        let roll = self.rng.u8(0..4);
        if let Some(foreign) = &mut self.foreign {
            match roll {
                0 => foreign.gone = !foreign.gone,
                _ => foreign.wants = !foreign.wants,
            }
        }
    }

    pub(super) fn add_foreign(&mut self, drift: f64) {
        let mut clock = Clock::drifting(&mut self.rng, drift);
        // It knows no other way to show that it lives than the time of day.
        clock.unstick();
        self.foreign = Some(Foreign::new(clock));
        let first: Micros = micros(self.timing.lease_duration) * 2;
        self.later(first, What::Foreign);
    }
}

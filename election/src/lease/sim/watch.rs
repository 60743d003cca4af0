//! Watches in a world: they begin with the Lease as it is, and tell its changes in order, late or
//! not at all, until they end.

use super::{
    queue::{Reach, What},
    world::{MS, Micros, World},
};
use crate::lease::core::{Event, Seen};

/// A watch as the server has it.
#[derive(Default)]
pub(super) struct Stream {
    /// Which one it is; what an earlier one told is not heard any more.
    id: u64,
    open: bool,
    /// Nothing comes any more, and nobody says so.
    pub(super) silent: bool,
    /// Everything comes later by this.
    pub(super) lag: Micros,
    /// When the last event arrives: none overtakes it.
    last: Micros,
    /// From a failed attempt to the next one.
    pause: Micros,
}

impl World {
    /// Attempts to open a watch, in place of the one that was.
    pub(super) fn open_watch(&mut self, n: usize) {
        let away = self.faults.away || self.nodes[n].cut;
        let fails = away || self.faults.no_watch || self.rng.u32(0..1000) < self.faults.lost;
        let transit = self.transit();
        let retry_period = self.retry_period();
        self.serial += 1;
        let (now, id) = (self.now, self.serial);
        let lag = if self.faults.lag > 0 && self.rng.bool() {
            self.rng.u64(0..self.faults.lag)
        } else {
            0
        };
        let life = self.nodes[n].life;
        if !self.nodes[n].watches {
            return;
        }
        let Some(running) = &mut self.nodes[n].running else {
            return;
        };
        let stream = &mut running.stream;
        if fails {
            let pause = stream.pause.max(retry_period);
            *stream = Stream {
                id,
                pause: (2 * pause).min(30_000 * MS),
                ..Stream::default()
            };
            let pause = self.rng.u64(pause..=pause * 3 / 2);
            self.later(pause, What::Watch(n, life, id));
            return;
        }
        *stream = Stream {
            id,
            open: true,
            lag,
            last: now + transit,
            ..Stream::default()
        };
        let begun = Reach::Watched(id, Event::Watch(true));
        self.later(transit, What::Reach(n, life, begun));
        let seen = self.server.seen();
        if let Seen::Present(_) = seen {
            self.tell_watch(n, &seen);
        }
    }

    /// A pause is over, unless another watch was begun meanwhile.
    pub(super) fn reopen_watch(&mut self, n: usize, id: u64) {
        let running = self.nodes[n].running.as_ref();
        if running.is_some_and(|running| running.stream.id == id) {
            self.open_watch(n);
        }
    }

    /// The Lease has changed.
    pub(super) fn tell_watches(&mut self, seen: &Seen) {
        for n in 0..self.nodes.len() {
            if self.rng.u32(0..1000) >= self.faults.lost_events {
                self.tell_watch(n, seen);
            }
        }
    }

    fn tell_watch(&mut self, n: usize, seen: &Seen) {
        let transit = self.transit();
        let (now, life) = (self.now, self.nodes[n].life);
        let Some(running) = &mut self.nodes[n].running else {
            return;
        };
        let stream = &mut running.stream;
        if !stream.open || stream.silent {
            return;
        }
        stream.last = (now + transit + stream.lag).max(stream.last + 1);
        let (id, after) = (stream.id, stream.last - now);
        let shown = Reach::Watched(id, Event::Shown(seen.clone()));
        self.later(after, What::Reach(n, life, shown));
    }

    /// Ends a watch, and its process hears of it.
    pub(super) fn cut_watch(&mut self, n: usize) {
        let (now, life) = (self.now, self.nodes[n].life);
        let Some(running) = &mut self.nodes[n].running else {
            return;
        };
        let stream = &mut running.stream;
        if !stream.open {
            return;
        }
        stream.open = false;
        let (id, after) = (stream.id, stream.last.saturating_sub(now) + 1);
        let ended = Reach::Watched(id, Event::Watch(false));
        self.later(after, What::Reach(n, life, ended));
    }

    /// What a watch tells has come to its process.
    pub(super) fn watched(&mut self, n: usize, id: u64, event: Event) {
        let running = self.nodes[n].running.as_ref();
        if running.is_none_or(|running| running.stream.id != id) {
            return;
        }
        let ended = matches!(event, Event::Watch(false));
        self.step(n, event);
        if ended {
            let (pause, life) = (self.retry_period() / 16, self.nodes[n].life);
            self.later(pause, What::Watch(n, life, id));
        }
    }
}

//! The network of a world: connections that open late, carry snapshots with loss and out of order,
//! and close.

use std::time::Instant;

use super::world::{MS, Micros, Reach, Weather, What, World, address};
use crate::timestamp::{
    core::Event,
    mesh::{ConnectionId, Failure, Greeting},
    message::{Address, State},
};

/// A connection as the network sees it.
pub(super) struct Wire {
    /// Who dialled, then who was dialled: each with the life that it is an end of.
    ends: [(usize, u64); 2],
    open: [bool; 2],
    /// When each end learns of it: nothing is read from it before.
    opened: [Micros; 2],
    /// When the last snapshot to each end arrives: its end does not overtake it.
    last: [Micros; 2],
}

impl World {
    pub(super) fn knock(
        &mut self,
        dialler: usize,
        life: u64,
        at: usize,
        address: Address,
        began: Instant,
    ) {
        if self.nodes[at].is_running() {
            let until = self.now + 1000 * MS;
            let stopped = self.nodes[at].stopped;
            let target = self.nodes[at].life;
            let greet = Reach::Greet {
                dialler,
                life,
                address: address.clone(),
                began,
                until,
            };
            self.later(0, What::Reach(at, target, greet));
            if stopped {
                // Reported as failed even if it is greeted in the end: the core bears both.
                let failed = Event::Failed(address, Failure::Silent);
                self.later(1000 * MS, What::Reach(dialler, life, Reach::Core(failed)));
            }
        } else {
            let failed = Event::Failed(address, Failure::Refused);
            let delay = self.transit();
            self.later(delay, What::Reach(dialler, life, Reach::Core(failed)));
        }
    }

    pub(super) fn connect(
        &mut self,
        from: (usize, u64),
        to: usize,
        address: &Address,
        began: Instant,
    ) {
        self.serial += 1;
        let id = ConnectionId(self.serial);
        let ends = [from, (to, self.nodes[to].life)];
        self.wires.insert(
            id,
            Wire {
                ends,
                open: [true; 2],
                opened: [self.now; 2],
                last: [self.now; 2],
            },
        );
        let here = self.nodes[to].clock.at(self.now);
        for (end, began) in [(0, began), (1, here)] {
            let (n, life) = ends[end];
            let other = ends[1 - end].0;
            let Some(node) = self.nodes[other].id() else {
                continue;
            };
            let greeting = Greeting {
                connection: id,
                began,
                dialled: (end == 0).then(|| address.clone()),
                node,
                address: self::address(other),
            };
            // Between a greeting and its report, a process may be stopped.
            let delay = self.transit();
            let wire = self.wires.get_mut(&id).expect("inserted above");
            wire.opened[end] = self.now + delay;
            wire.last[end] = self.now + delay;
            self.later(
                delay,
                What::Reach(n, life, Reach::Core(Event::Opened(greeting))),
            );
        }
    }

    pub(super) fn dial(&mut self, n: usize, local: Instant, address: Address) {
        let at = usize::from(address.1);
        let life = self.nodes[n].life;
        let flaky = self.weather == Weather::Storm && self.loss > 0 && self.rng.u8(..) < 8;
        if self.is_cut(n, at) || flaky {
            let failure = if flaky {
                Failure::Refused
            } else {
                Failure::Silent
            };
            let failed = Event::Failed(address, failure);
            self.later(500 * MS, What::Reach(n, life, Reach::Core(failed)));
        } else {
            let delay = self.transit();
            let knock = What::Knock {
                dialler: n,
                life,
                at,
                address,
                began: local,
            };
            self.later(delay, knock);
        }
    }

    /// Sends a snapshot from one end of a connection. Those of one sender may overtake each other.
    pub(super) fn send(&mut self, id: ConnectionId, end: usize, state: State) {
        let Some(wire) = self.wires.get(&id) else {
            return;
        };
        if !wire.open[end] {
            return;
        }
        let ((from, own), (to, life)) = (wire.ends[end], wire.ends[1 - end]);
        let listens = wire.open[1 - end];
        let mut delay = self.transit();
        if !listens && !self.is_cut(from, to) {
            // The other end's kernel resets what nobody there knows of.
            self.later(
                delay,
                What::Reach(from, own, Reach::Core(Event::Closed(id))),
            );
            return;
        }
        if self.is_cut(from, to) {
            // What TCP had in flight may come when the cut is healed, if anybody still listens.
            delay += self.rng.u64(0..6000 * MS);
        } else if self.loss > 0 && self.rng.u32(0..self.loss) == 0 {
            return;
        }
        let wire = self.wires.get_mut(&id).expect("seen above");
        let at = (self.now + delay).max(wire.opened[1 - end] + 1);
        wire.last[1 - end] = wire.last[1 - end].max(at);
        let reach = Reach::Core(Event::Heard(id, state));
        self.later(at - self.now, What::Reach(to, life, reach));
    }

    /// Closes one end; the other hears of it if the network lets it.
    pub(super) fn hang_up(&mut self, id: ConnectionId, end: usize) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        wire.open[end] = false;
        let (from, (to, life)) = (wire.ends[end].0, wire.ends[1 - end]);
        let (last, open) = (wire.last[1 - end], wire.open[1 - end]);
        if !open {
            self.wires.remove(&id);
        } else if !self.is_cut(from, to) {
            let delay = self.transit().max(last.saturating_sub(self.now) + 1);
            self.later(delay, What::Reach(to, life, Reach::Core(Event::Closed(id))));
        }
    }

    /// An end is closed, and its process knows.
    pub(super) fn shut(&mut self, id: ConnectionId, n: usize) {
        if let Some(end) = self.end_of(id, n)
            && let Some(wire) = self.wires.get_mut(&id)
        {
            wire.open[end] = false;
            if !wire.open[1 - end] {
                self.wires.remove(&id);
            }
        }
    }

    /// The open ends that a process has.
    pub(super) fn ends_of(&self, n: usize) -> Vec<(ConnectionId, usize)> {
        let ids = self.wires.keys();
        ids.filter_map(|id| Some((*id, self.end_of(*id, n)?)))
            .collect()
    }

    pub(super) fn end_of(&self, id: ConnectionId, n: usize) -> Option<usize> {
        let wire = self.wires.get(&id)?;
        let life = self.nodes[n].life;
        (0..2).find(|end| wire.ends[*end] == (n, life) && wire.open[*end])
    }

    pub(super) fn is_open(&self, id: ConnectionId, n: usize) -> bool {
        self.end_of(id, n).is_some()
    }

    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn transit(&mut self) -> Micros {
        self.rng.u64(100..self.delay)
    }
}

//! What goes wrong in a world, and what its people wish.

use super::{
    Weather,
    world::{MS, World},
};
use crate::lease::record::{Record, identity};

/// One thing happens, to somebody.
pub(super) fn trouble(world: &mut World, weather: Weather) {
    let size = world.nodes.len();
    let n = world.rng.usize(0..size);
    // Leaders have more than their share of it.
    let n = world.leader().filter(|_| world.rng.bool()).unwrap_or(n);
    match world.rng.u8(0..10) {
        0..3 => process(world, n),
        3..6 => application(world, n),
        6 => world.server.write_elsewhere(1),
        7 if world.rng.bool() => world.trouble_pauses(),
        7 => {
            let mut rng = world.rng.fork();
            world.nodes[n].clock.set(&mut rng);
        }
        _ => match weather {
            Weather::Calm => {}
            Weather::Hands if world.rng.bool() => hands(world),
            Weather::Foreign if world.rng.bool() => world.trouble_foreign(),
            _ => network(world, n),
        },
    }
}

/// A process ends, begins, or stops for a while.
pub(super) fn process(world: &mut World, n: usize) {
    let running = world.nodes[n].is_running();
    match world.rng.u8(0..6) {
        _ if !running => world.start(n),
        0 => world.crash(n),
        1 => {
            // Restarted before anybody knows that it was gone.
            world.crash(n);
            world.start(n);
        }
        2 if !world.nodes[n].stopped && world.nodes[n].takes_part() => world.leave(n),
        _ if !world.nodes[n].stopped => {
            let longest = [1000, 5000, 20_000][world.rng.usize(0..3)] * MS;
            let pause = world.rng.u64(50 * MS..longest);
            world.stop(n, pause);
        }
        _ => {}
    }
}

pub(super) fn application(world: &mut World, n: usize) {
    if world.nodes[n].stopped || !world.nodes[n].takes_part() {
        return;
    }
    match world.rng.u8(0..4) {
        0 | 1 => {
            let other = world.rng.usize(0..world.nodes.len());
            let successor = world.nodes[other].id().filter(|_| other != n);
            world.resign(n, successor);
            if world.rng.bool() {
                // It changes its mind at once.
                world.speak(n);
            }
        }
        2 => {
            world.nodes[n].stands = !world.nodes[n].stands;
            world.speak(n);
        }
        _ => {
            let card = format!("news {}", world.rng.u8(..));
            let running = world.nodes[n].running.as_mut();
            let event =
                running.and_then(|it| it.wish(|participant| participant.announce(card.into())));
            if let Some(event) = event {
                world.step(n, event);
            }
        }
    }
}

fn network(world: &mut World, n: usize) {
    match world.rng.u8(0..8) {
        0 | 1 => {
            world.faults.away = !world.faults.away;
            let away = world.faults.away;
            world.tell(
                0,
                &if away {
                    "the API is away"
                } else {
                    "the API is back"
                },
            );
            if away {
                (0..world.nodes.len()).for_each(|n| world.cut_watch(n));
            }
        }
        2 | 3 => world.cut_watch(n),
        4 => world.faults.no_watch = !world.faults.no_watch,
        5 => {
            if let Some(running) = &mut world.nodes[n].running {
                running.stream.silent = true;
            }
        }
        6 => {
            if let Some(running) = &mut world.nodes[n].running {
                running.stream.lag = world.rng.u64(0..5000 * MS);
            }
        }
        _ => {
            world.faults.delay = [20, 100, 1000, 3000][world.rng.usize(0..4)] * MS;
        }
    }
}

/// What people with kubectl do.
fn hands(world: &mut World) {
    match world.rng.u8(0..6) {
        0 | 1 => world.delete_lease(),
        2 => {
            let longest = [500, 4000][world.rng.usize(0..2)] * MS;
            for _ in 0..world.rng.u8(2..8) {
                world.delete_lease();
                let pause = world.rng.u64(0..longest);
                world.run_until(world.now + pause);
            }
        }
        3 => world.edit_lease(|record| record.holder = None),
        4 => {
            let other = world.rng.usize(0..world.nodes.len());
            if let Some(id) = world.nodes[other].id() {
                world.edit_lease(|record| record.holder = Some(identity(&id)));
            }
        }
        _ => world.edit_lease(|_| {}),
    }
}

impl World {
    /// Somebody deletes the Lease.
    pub(super) fn delete_lease(&mut self) {
        if let Some(seen) = self.server.delete() {
            self.tell(0, &"the Lease is deleted");
            self.forget_who_held();
            self.tell_watches(&seen);
        }
    }

    /// Somebody edits the Lease by hand, or not at all so that only its version moves.
    pub(super) fn edit_lease(&mut self, edit: impl FnOnce(&mut Record)) {
        if let Some(mut record) = self.server.record().cloned() {
            edit(&mut record);
            self.tell(0, &("by hand", &record));
            self.server.put(record);
            let seen = self.server.seen();
            self.tell_watches(&seen);
        }
    }
}

//! What goes wrong between a world's members and their Lease.

use super::{
    queue::What,
    world::{MS, World},
};
use crate::lease::record::{Record, identity};

/// Something happens to the ways to the API.
pub(super) fn network(world: &mut World, n: usize) {
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
pub(super) fn hands(world: &mut World) {
    match world.rng.u8(0..6) {
        0 | 1 => world.delete_lease(),
        2 => {
            let longest = [500, 4000][world.rng.usize(0..2)] * MS;
            let mut after = 0;
            for _ in 0..world.rng.u8(2..8) {
                world.later(after, What::Deletion);
                after += world.rng.u64(0..longest);
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

//! What must hold of each write while automatic failover is paused.

use super::world::World;
use crate::lease::record::{Record, node};

/// What who sees every write knows of who may take the Lease.
#[derive(Default)]
pub(super) struct Pauses {
    /// Who of us held it last, since it was made.
    pub(super) last: Option<usize>,
}

impl World {
    /// The Lease is gone, and what it said with it.
    pub(super) fn forget_who_held(&mut self) {
        self.pauses.last = None;
    }

    /// A member's write is done, by which it takes the Lease or does something else.
    pub(super) fn check_pause(&mut self, n: usize, before: Option<&Record>, begins: bool) {
        let after = self.server.record().expect("it was written");
        let paused = before.is_some_and(|before| before.paused);
        assert_eq!(after.paused, paused, "m{n} pauses or resumes by itself");
        let holds = after.holder.is_some();
        if paused && begins {
            let named = before.and_then(|before| before.successor.as_deref());
            let is_named = named.is_some_and(|named| node(named).member == self.nodes[n].name);
            assert!(
                self.pauses.last == Some(n) || is_named,
                "m{n} takes a paused Lease that m{:?} held last",
                self.pauses.last
            );
        }
        if holds {
            self.pauses.last = Some(n);
        }
    }
}

//! What became of the former primary, as far as this member has seen.

use std::time::{Duration, Instant};

use super::{Core, Inspection};
use crate::{Cause, Server};

/// A leader that hands over fences its server this shortly before it resigns. One that lost its
/// leadership has done so longer before others learn of that, since their clocks wait for longer.
const PLANNED: Duration = Duration::from_millis(500);

/// What was seen of the server that was last known to serve.
#[derive(Debug, Default)]
pub(super) struct Former {
    /// Its life when it was last seen as primary.
    run_id: Option<String>,
    /// Since when it answers, but not as primary.
    idle_since: Option<Instant>,
}

impl Former {
    /// It was asked then, and said this or nothing.
    pub(super) fn answered(&mut self, asked: Instant, result: &Result<Inspection, String>) {
        match result {
            Ok(said) if said.is_primary() => {
                self.run_id = Some(said.run_id.clone());
                self.idle_since = None;
            }
            Ok(_) => {
                self.idle_since.get_or_insert(asked);
            }
            Err(_) => {}
        }
    }
}

impl Core {
    /// This server serves now.
    pub(super) fn note_primary(&mut self, primary: &Server) {
        if self.last_primary.as_ref() != Some(primary) {
            self.former = Former::default();
            self.last_primary = Some(primary.clone());
        }
    }

    /// Told at the first look of a leader, before it has fenced anyone.
    pub(super) fn cause(&self) -> Cause {
        let Some(last) = self.last_primary.as_ref().map(|server| &server.name) else {
            return Cause::First;
        };
        if *last == self.config.server.name {
            return Cause::Regained;
        }
        let unled_since = self.unled_since;
        let member = self.members.get(last);
        let Some(theirs) = member.and_then(|member| member.answer_since(unled_since)) else {
            return Cause::ServerDown;
        };
        let run_id = self.former.run_id.as_ref();
        if run_id.is_some_and(|run_id| *run_id != theirs.run_id) {
            return Cause::ServerDown;
        }
        let idle_since = self.former.idle_since.unwrap_or(self.now);
        let was_fenced_long_before = idle_since + PLANNED <= unled_since;
        let is_late = self.now >= unled_since + self.config.handover_timeout;
        if theirs.is_primary() || was_fenced_long_before || is_late {
            Cause::LeaderLost
        } else {
            Cause::HandedOver
        }
    }
}

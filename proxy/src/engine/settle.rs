//! What is decided once per turn, from the state.

use std::time::{Duration, Instant};

use super::planted::{Bug, planted};
use super::session::Input;
use super::{Action, ClientId, Conn, Engine, LinkId};

/// How often idle clients and links are looked for.
const SWEEP: Duration = Duration::from_secs(1);

impl Engine {
    /// Decides about everything that something happened to.
    pub(crate) fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.tick(now);
        while !self.touched_clients.is_empty() || !self.touched_links.is_empty() {
            // First come, first served: clients may rely on the order among them.
            while let Some(id) = self.touched_clients.pop_front() {
                if let Some(session) = self.sessions.get_mut(id.0) {
                    session.touched = false;
                    self.settle_client(now, id);
                }
            }
            while let Some(id) = self.touched_links.pop_front() {
                if let Some(link) = self.links.get_mut(id.0) {
                    link.touched = false;
                    self.settle_link(now, id);
                }
            }
            if self.out_bytes > self.settings.output_buffer {
                self.cut_the_slowest();
            }
            if self.touched_clients.is_empty() && !self.starved.is_empty() && !self.is_crowded() {
                for id in std::mem::take(&mut self.starved) {
                    self.touch_client(id);
                }
            }
        }
        actions.append(&mut self.actions);
    }

    fn tick(&mut self, now: Instant) {
        self.check_until(now);
        while let Some(&(at, conn)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, conn));
            match conn {
                Conn::Client(id) => {
                    if let Some(session) = self.sessions.get_mut(id.0) {
                        session.timer = None;
                    }
                    self.touch_client(id);
                }
                Conn::Upstream(id) => {
                    if let Some(link) = self.links.get_mut(id.0) {
                        link.timer = None;
                    }
                    self.touch_link(id);
                }
            }
        }
        if self.orphans_leave_by().is_some_and(|by| by <= now) {
            self.cut_orphans();
        }
        if self.suspect.is_some_and(|until| until <= now) {
            self.suspect = None;
            self.free_stuck();
        }
        self.writes_paused = self.writes_paused.filter(|until| now < *until);
        if self.retry.is_some_and(|at| at <= now) {
            self.retry = None;
            self.free_stuck();
        }
        if self.probe_at.is_some_and(|at| at <= now) {
            self.probe(now);
        }
        if self.sweep_at <= now {
            self.sweep_at = now + SWEEP;
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.cool(now);
        self.warm(now);
        self.publish();
        let Some(timeout) = self.settings.idle_timeout else {
            return;
        };
        // As in Redis, not those who wait for something.
        let idle: Vec<_> = self
            .sessions
            .iter_mut()
            .filter(|session| {
                !session.waits_for_more() && now.saturating_duration_since(session.heard) >= timeout
            })
            .map(|session| {
                session.gone = true;
                session.id
            })
            .collect();
        for id in idle {
            self.touch_client(id);
        }
    }

    #[inline]
    fn settle_client(&mut self, now: Instant, id: ClientId) {
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        if session.gone {
            return self.remove(now, id);
        }
        if session.has_nothing_waiting() {
            if session.outstanding == 0 {
                // The time of what comes next begins with that.
                session.since = None;
            }
        } else if !session.closing {
            self.settle_waiting(now, id);
        }
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        if session.half_closed && session.waits_for_more() {
            return self.remove(now, id);
        }
        if session.leased && session.outstanding == 0 {
            self.release_lease(id);
        }
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        if session.outstanding == 0 && std::mem::take(&mut session.wanted) {
            // Somebody waits until it can have a link. Said once, or two that wait wake each other
            // for ever.
            self.free_stuck();
        }
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        let ends = self.stopping || session.half_closed || session.input == Input::Ended;
        if ends && !session.closing {
            session.closing |= session.is_finished(self.stopping);
        }
        if session.closing && session.out.is_empty() {
            self.actions.push(Action::Close(Conn::Client(id)));
            return self.remove_closed(now, id);
        }
        if !session.out.is_empty() {
            self.actions.push(Action::Flush(Conn::Client(id)));
        }
        if session.paused && self.may_read_client(id) {
            self.actions.push(Action::Resume(Conn::Client(id)));
        }
        let hold = self.settings.hold;
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        let timer = session
            .since
            .filter(|_| session.stuck)
            .map(|since| since + hold);
        let before = std::mem::replace(&mut session.timer, timer);
        self.set_timer(Conn::Client(id), before, timer);
    }

    /// Something waits: it goes on, if it can.
    fn settle_waiting(&mut self, now: Instant, id: ClientId) {
        let session = self.session(id);
        let withheld = session.withheld && session.since.is_some();
        let before = self.stats.requests + self.stats.replayed;
        self.pump(now, id);
        if withheld {
            self.stats.held += self.stats.requests + self.stats.replayed - before;
        }
        if !self.session(id).closing {
            self.restore_subscriptions(now, id);
        }
        let session = self.session(id);
        let held = session.stuck && session.outstanding == 0;
        let over = session
            .since
            .is_some_and(|since| since + self.settings.hold <= now);
        // Whoever has closed its half may have left for good: nothing is run for it later.
        let session = self.session(id);
        if held && (over || session.half_closed && session.withheld) {
            self.give_up(id);
            self.pump(now, id);
        }
    }

    /// Closes a client, whatever it waits for.
    pub(super) fn remove(&mut self, now: Instant, id: ClientId) {
        self.actions.push(Action::Close(Conn::Client(id)));
        self.remove_closed(now, id);
    }

    fn remove_closed(&mut self, now: Instant, id: ClientId) {
        if self.session(id).leased {
            self.leave_lease(now, id);
        }
        if planted(Bug::SkipDiscardSlot) {
            for link in self.links.iter_mut() {
                link.entries.retain(|entry| entry.client != Some(id));
            }
        }
        let session = self.sessions.remove(id.0).expect("a session that lives");
        self.set_timer(Conn::Client(id), session.timer, None);
        self.bytes -= session.counted;
        self.out_bytes -= session.out.len();
        self.stats.clients -= 1;
    }

    fn settle_link(&mut self, now: Instant, id: LinkId) {
        self.check_link(now, id);
        let Some(link) = self.links.get(id.0) else {
            return;
        };
        if !link.output().is_empty() {
            self.actions.push(Action::Flush(Conn::Upstream(id)));
        }
        if link.paused && self.may_read_link(id) {
            self.actions.push(Action::Resume(Conn::Upstream(id)));
        }
        let link = self.links.get_mut(id.0).expect("a link that lives");
        let timer = match link.phase {
            super::Phase::Connecting(by) | super::Phase::Retiring(by) => Some(by),
            super::Phase::Stale(by) if !link.draining => Some(by),
            _ => None,
        };
        let before = std::mem::replace(&mut link.timer, timer);
        self.set_timer(Conn::Upstream(id), before, timer);
    }

    fn is_crowded(&self) -> bool {
        self.bytes >= self.settings.worker_buffer
    }

    pub(super) fn may_read_client(&mut self, id: ClientId) -> bool {
        let crowded = self.is_crowded();
        let lost = self.primary.is_none() || self.suspect.is_some();
        let (most, most_out) = (self.settings.session_buffer, self.settings.session_output);
        let Some(session) = self.sessions.get_mut(id.0) else {
            return false;
        };
        let starves = crowded && (session.stuck || lost);
        let may = !session.closing
            && !starves
            && session.inbox.len() < most
            && session.out.len() < most_out;
        session.paused = !may;
        if starves {
            self.starved.push(id);
        }
        may
    }

    /// More waits for slow readers than the worker may hold: the one that is most behind goes.
    fn cut_the_slowest(&mut self) {
        let slowest = self
            .sessions
            .iter_mut()
            .max_by_key(|session| session.out.len());
        if let Some(session) = slowest {
            session.gone = true;
            let id = session.id;
            self.stats.cut += 1;
            self.touch_client(id);
        }
    }
}

impl super::Session {
    #[inline]
    pub(super) fn has_nothing_waiting(&self) -> bool {
        self.inbox.is_empty()
            && self.held.is_empty()
            && self.returned.is_empty()
            && self
                .subscriptions
                .as_ref()
                .is_none_or(|subscriptions| !subscriptions.restore)
    }

    /// Whether a client that sends nothing more, or must go, has all its answers.
    fn is_finished(&self, stopping: bool) -> bool {
        let answered = self.outstanding == 0
            && self.pending.is_none()
            && self.returned.is_empty()
            && self.held.is_empty();
        let relays = self.input == Input::Relay || self.subscriptions.is_some();
        let incomplete = self.inbox.is_empty() || self.scanner.scanned() > 0;
        answered && (incomplete || self.input == Input::Ended) || stopping && relays
    }
}

//! What a session decides, once per turn, from its state.

use std::time::{Duration, Instant};

use super::intake::Input;
use super::link::{Link, Phase};
use super::planted::{Bug, planted};
use super::requests::Requests;
use super::session::{Context, Refusal, Session};
use super::{Action, Conn, LinkId};

/// How long a session waits before it asks a server again that refused.
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes of the last reads, which may come on top of what a session keeps.
const SLACK: usize = 128 << 10;

impl Session {
    /// Decides from the state what is to be done. Returns whether the session lives on.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, actions: &mut Vec<Action>) -> bool {
        self.connect_at = self.connect_at.filter(|at| *at > cx.now);
        self.follow_refusal(cx);
        self.check_link(cx, actions);
        self.check_hold(cx);
        self.deliver();
        let finished = self.intake.input == Input::Ended || cx.stopping;
        self.closing |= self.requests.is_empty() && finished;
        self.closing |= self.intake.input == Input::Relay && cx.stopping;
        if self.gone || self.closing {
            return self.end(actions);
        }
        self.connect(cx, actions);
        self.flush(actions);
        self.resume(cx, actions);
        true
    }

    /// When to settle again, if nothing happens before.
    pub(super) fn wake_at(&self, hold: Duration) -> Option<Instant> {
        let connecting = match self.link.as_ref().map(|link| link.phase) {
            Some(Phase::Connecting(by)) => Some(by),
            _ => None,
        };
        let pausing = match self.refusal {
            Refusal::Pausing(until) if self.is_ready() => Some(until),
            _ => None,
        };
        let stale = self.link.as_ref().filter(|link| link.phase == Phase::Stale);
        if let Some(link) = stale {
            return link.linger_until;
        }
        let since = self.since.filter(|_| self.is_waiting());
        let held = since.map(|since| since + hold);
        [connecting, pausing, held, self.connect_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn check_link(&mut self, cx: &mut Context<'_>, actions: &mut Vec<Action>) {
        let Some(link) = &mut self.link else { return };
        match link.phase {
            Phase::Stale if self.requests.awaited().is_none() => self.abandon_link(cx, actions),
            Phase::Stale if !link.draining && link.linger_until <= Some(cx.now) => {
                link.draining = true;
                actions.push(Action::Drain(link.id));
            }
            Phase::Connecting(by) if by <= cx.now => {
                self.back_off(cx.now);
                self.abandon_link(cx, actions);
            }
            Phase::Doomed => self.abandon_link(cx, actions),
            Phase::Connecting(_) | Phase::Restoring(_) | Phase::Ready | Phase::Stale => {}
        }
    }

    fn flush(&self, actions: &mut Vec<Action>) {
        if !self.out.is_empty() {
            actions.push(Action::Flush(Conn::Client(self.id())));
        }
        if let Some(link) = &self.link
            && !self.link_output().is_empty()
        {
            actions.push(Action::Flush(Conn::Upstream(link.id)));
        }
    }

    fn abandon_link(&mut self, cx: &mut Context<'_>, actions: &mut Vec<Action>) {
        if let Some(link) = &self.link {
            actions.push(Action::Abandon(link.id));
        }
        self.lose_link(cx);
    }

    fn follow_refusal(&mut self, cx: &mut Context<'_>) {
        if self.refusal == Refusal::None {
            return;
        }
        self.refused = true;
        let most = cx.settings.session_buffer + cx.settings.replay_buffer + SLACK;
        if self.stored > cx.settings.session_buffer || self.requests.bytes() > most {
            return self.give_up(cx);
        }
        match self.refusal {
            Refusal::Draining if self.is_ready() && self.requests.drained() => {
                let again_at = cx.now + PAUSE;
                self.refusal = Refusal::Pausing(again_at);
                if self.spoiled {
                    self.doom_link();
                    self.connect_at = Some(again_at);
                }
            }
            Refusal::Pausing(until) if until <= cx.now && self.is_ready() => self.repeat(cx),
            Refusal::None | Refusal::Draining | Refusal::Pausing(_) => {}
        }
    }

    /// Whether requests wait for a primary that takes them.
    fn is_waiting(&self) -> bool {
        let taken = self.is_ready() && self.refusal == Refusal::None;
        !taken && !self.requests.is_empty()
    }

    fn check_hold(&mut self, cx: &mut Context<'_>) {
        if !self.is_waiting() {
            if !self.refused {
                self.since = None;
            }
            return;
        }
        let stuck =
            cx.target.is_none() || self.connect_at.is_some() || self.refusal != Refusal::None;
        self.withheld |= stuck;
        let since = *self.since.get_or_insert(cx.now);
        // Whoever has closed its half may have left for good: nothing is run for it later.
        if since + cx.settings.hold <= cx.now || (stuck && self.half_closed) {
            self.give_up(cx);
        }
    }

    /// Answers what waits: with its refusal, or that it did not run.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>) {
        let phase = self.link.as_ref().map(|link| link.phase);
        if phase == Some(Phase::Stale) && !planted(Bug::DenySent) {
            // What was sent over it has no answer yet, and gets one soon.
            return;
        }
        let draining = self.refusal == Refusal::Draining && self.is_ready();
        if std::mem::take(&mut self.withheld) {
            cx.stats.held += self.requests.count() as u64;
        }
        cx.stats.refused += self.requests.give_up(!draining);
        if self.intake.input == Input::Relay && !draining {
            self.close();
        }
        if self.spoiled {
            // No answer would be true: what followed the setting ran under it.
            self.close();
            self.requests = Requests::default();
        }
        self.refusal = Refusal::None;
        (self.since, self.refused, self.stored) = (None, false, 0);
    }

    fn end(&mut self, actions: &mut Vec<Action>) -> bool {
        if let Some(link) = self.link.take() {
            actions.push(match link.phase {
                Phase::Stale => Action::Abandon(link.id),
                _ => Action::Close(Conn::Upstream(link.id)),
            });
        }
        if self.gone || self.out.is_empty() {
            actions.push(Action::Close(Conn::Client(self.id())));
            return false;
        }
        actions.push(Action::Flush(Conn::Client(self.id())));
        true
    }

    fn connect(&mut self, cx: &mut Context<'_>, actions: &mut Vec<Action>) {
        if self.link.is_some() || self.connect_at.is_some() || self.requests.bytes() == 0 {
            return;
        }
        let Some(target) = cx.target else { return };
        *cx.serial += 1;
        let id = LinkId {
            slot: self.id().slot,
            serial: *cx.serial,
        };
        self.link = Some(Link::new(id, cx.now + cx.settings.connect_timeout));
        actions.push(Action::Connect(id, target.upstream.clone()));
    }

    fn resume(&mut self, cx: &Context<'_>, actions: &mut Vec<Action>) {
        if self.client_paused && self.may_read_client(cx.settings, cx.crowded) {
            actions.push(Action::Resume(Conn::Client(self.id())));
        }
        let paused = self
            .link
            .as_ref()
            .filter(|link| link.paused)
            .map(|link| link.id);
        if let Some(id) = paused
            && self.may_read_link(cx.settings)
        {
            actions.push(Action::Resume(Conn::Upstream(id)));
        }
    }
}

//! The ways to a server: over a shared link, over one of the session's own, alone.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::dispatch::Again;
use super::lease::Lease;
use super::link::{Entry, Kind, Lane};
use super::session::{Input, Pending};
use super::{ClientId, Engine, LinkId, texts};
use crate::commands::{Reads, Spec, TimeoutArg, Treat};

/// Bytes of a reply that is not whole, from which on they are written to the client.
const WORTH_A_WRITE: usize = 64 << 10;

impl Engine {
    /// Sends a command that leaves nothing in the connection.
    pub(super) fn send(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        kind: Kind,
        spec: Spec,
    ) -> bool {
        if self.session(id).leased {
            return self.send_to_lease(now, id, request, kind, spec);
        }
        let most = self.settings.session_buffer;
        if self.session(id).allowance(most) == 0 {
            return false;
        }
        // PFCOUNT, too, may have something to replicate.
        let writes = matches!(kind, Kind::Write | Kind::Script) || spec.reads == Reads::PrimaryOnly;
        if writes && self.writes_paused.is_some() {
            // The server will not read on where it meets a write.
            return self.send_to_lease(now, id, request, kind, spec);
        }
        let Some(link) = self.shared_link(now, id, Lane::of(kind), spec) else {
            return false;
        };
        self.push(now, id, link, request, kind, spec);
        true
    }

    /// Sends a command to the link that the session has, or gets, for itself.
    pub(super) fn send_to_lease(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        kind: Kind,
        spec: Spec,
    ) -> bool {
        let Lease::Ready(link) = self.lease(now, id) else {
            return false;
        };
        self.push(now, id, link, request, kind, spec);
        true
    }

    /// Sends a command that nothing may overtake or follow until it is answered.
    pub(super) fn send_alone(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        kind: Kind,
        spec: Spec,
        pending: Pending,
    ) -> bool {
        if self.session(id).outstanding > 0 || !self.send_to_lease(now, id, request, kind, spec) {
            return false;
        }
        self.session(id).pending = Some(Box::new(pending));
        true
    }

    /// Sends what ends or looks at a script that runs. While one does, a new connection cannot
    /// choose its database, so it is done in the first one, where links are warm.
    pub(super) fn send_aside(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
    ) -> bool {
        let session = self.session(id);
        let own = Arc::clone(&session.profile);
        let (pending, profile) = match session.leased && session.has_state() {
            true => (Pending::Alone, Arc::clone(&own)),
            false => (Pending::Aside, self.profiles.intern(own.without_database())),
        };
        self.session(id).profile = profile;
        let sent = self.send_alone(now, id, request, Kind::Write, spec, pending);
        self.session(id).profile = own;
        sent
    }

    pub(super) fn push(
        &mut self,
        now: Instant,
        id: ClientId,
        link: LinkId,
        request: &[u8],
        kind: Kind,
        spec: Spec,
    ) {
        let at = self.micros(now);
        let writes = match kind {
            Kind::Write | Kind::Script | Kind::Exec => true,
            Kind::Blocking => spec.treat != Treat::Wait,
            Kind::Sticky => spec.treat == Treat::Sticky,
            _ => false,
        };
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        if writes {
            session.wrote = Some(self.spell);
        }
        let mute = session.takes_no_reply();
        session.outstanding += 1;
        session.at = Some(link);
        let entry = Entry {
            client: Some(id),
            len: request.len(),
            at,
            kind,
            family: spec.family,
            mute,
            follows: false,
        };
        let link = self.links.get_mut(link.0).expect("a ready link");
        link.push(entry, request);
        let link = link.id;
        self.touch_link(link);
    }

    /// The proxy itself answers. False: others must be answered before.
    pub(super) fn answer(&mut self, id: ClientId, reply: impl Into<Cow<'static, [u8]>>) -> bool {
        if self.session(id).outstanding > 0 {
            return false;
        }
        if !self.session(id).takes_no_reply() {
            self.tell(id, &reply.into());
        }
        true
    }

    /// Adds a part of a reply. As long as that is not much, it is not worth a write of its own.
    pub(super) fn tell_in_part(&mut self, id: ClientId, bytes: &[u8]) {
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        if session.out.len() + bytes.len() >= WORTH_A_WRITE {
            return self.tell(id, bytes);
        }
        self.out_bytes += bytes.len();
        self.spares.lend(&mut session.out);
        session.out.extend(bytes);
    }

    /// Adds to what the client is sent.
    pub(super) fn tell(&mut self, id: ClientId, bytes: &[u8]) {
        self.out_bytes += bytes.len();
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        self.spares.lend(&mut session.out);
        session.out.extend(bytes);
        self.touch_client(id);
    }

    pub(super) fn send_blocking(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
        timeout: TimeoutArg,
        again: Option<Again>,
    ) -> bool {
        let words = super::arguments(request);
        let kind = match spec.reads {
            Reads::No => Kind::Blocking,
            Reads::PrimaryOnly | Reads::Anywhere => Kind::Query,
        };
        let session = self.session(id);
        if session.outstanding > 0 {
            return false;
        }
        let Lease::Ready(link) = self.lease(now, id) else {
            return false;
        };
        // It may be told to stop waiting.
        self.identify(now, link);
        let Ok(lasts) = crate::commands::blocks(timeout, &words) else {
            // The server will say what is wrong with it.
            return self.send_alone(now, id, request, kind, spec, Pending::Alone);
        };
        let Some(until) = again.and_then(|again| again.until) else {
            let until = lasts.map(|lasts| now + lasts);
            return self.send_alone(now, id, request, kind, spec, Pending::Blocking(until));
        };
        let left = until.map(|until| until.saturating_duration_since(now));
        let mut shorter = BytesMut::new();
        crate::commands::with_timeout(timeout, &words, left, &mut shorter)
            .expect("it has a timeout");
        self.send_alone(now, id, &shorter, kind, spec, Pending::Blocking(until))
    }

    /// WAIT asks about the writes of its own connection. A PUBLISH to nobody, on the same one,
    /// moves its mark to the end of the history, behind all that this client wrote.
    pub(super) fn send_wait(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
    ) -> bool {
        let session = self.session(id);
        if session.outstanding > 0 {
            return false;
        }
        let wrote = session.wrote;
        if wrote.is_some_and(|spell| spell != self.spell) && self.primary.is_some() {
            return self.answer(id, texts::WAIT_UNKNOWN);
        }
        let Lease::Ready(link) = self.lease(now, id) else {
            return false;
        };
        let mark = super::profile::request(&[b"PUBLISH", b"__bellwether__:wait", b""]);
        self.push_own(now, link, &mark, Kind::Ignore);
        self.send_alone(now, id, request, Kind::Blocking, spec, Pending::Alone)
    }

    /// A request of the engine's own.
    pub(super) fn push_own(&mut self, now: Instant, link: LinkId, request: &[u8], kind: Kind) {
        let entry = Entry {
            client: None,
            len: request.len(),
            at: self.micros(now),
            kind,
            family: texts::UNKNOWN_COMMAND.family,
            mute: true,
            follows: false,
        };
        let link = self.links.get_mut(link.0).expect("a link that lives");
        link.push(entry, request);
        let link = link.id;
        self.touch_link(link);
    }

    /// From here on one reply for each request is not the rule.
    pub(super) fn send_relay(&mut self, now: Instant, id: ClientId, request: &[u8]) -> bool {
        if self.session(id).outstanding > 0 {
            return false;
        }
        let Lease::Ready(link) = self.lease(now, id) else {
            return false;
        };
        self.session(id).input = Input::Relay;
        let link = self.links.get_mut(link.0).expect("a ready link");
        link.extend_relay(request);
        let link = link.id;
        self.touch_link(link);
        true
    }
}

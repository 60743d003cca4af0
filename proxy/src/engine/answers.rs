//! What a client is told, and what follows from it.

use super::link::{Entry, Kind};
use super::session::{Held, Pending};
use super::{ClientId, Engine, LinkId, texts};
use bellwether_resp::Limits;
use std::time::Instant;

impl Engine {
    /// Takes the awaited request back from its link: to be run again, or with this answer.
    ///
    /// `again` holds what the server said to it, if it refused it.
    pub(super) fn give_back(
        &mut self,
        id: LinkId,
        client: ClientId,
        again: Option<Option<Box<[u8]>>>,
        answer: &[u8],
    ) {
        let link = self.links.get_mut(id.0).expect("a link with requests");
        let session = self
            .sessions
            .get_mut(client.0)
            .expect("a session that lives");
        let pending = session.pending.take();
        let bytes = match pending.as_deref() {
            // Its cursor was rewritten for that server.
            Some(Pending::Scan { request, .. }) => Some(request.clone()),
            pending => link.awaited_bytes().map(|told| {
                let said = pending.and_then(|pending| pending.said(told));
                said.unwrap_or_else(|| told.into())
            }),
        };
        let entry = link.pop();
        let until = match pending.as_deref() {
            Some(Pending::Blocking(until)) => Some(*until),
            _ => None,
        };
        let mute = entry.mute;
        let (mut again, mut bytes) = (again, bytes);
        match entry.kind {
            Kind::Exec | Kind::Discard if again.is_some() && bytes.is_some() => {
                session.transaction = session.ending.take();
                session.watching |= session.transaction.as_ref().is_some_and(|it| it.watched);
            }
            Kind::Exec | Kind::Discard => session.ending = None,
            Kind::Multi | Kind::Queued if again.is_none() || bytes.is_none() => {
                // The rest must not run without it.
                let transaction = session.transaction.as_mut().or(session.ending.as_mut());
                if let Some(transaction) = transaction {
                    transaction.aborted = true;
                }
            }
            Kind::ExecNull => {
                // It stands for an EXEC, which answers null wherever it goes.
                session.transaction = session.ending.take();
                session.dirty = true;
                bytes = Some(super::profile::request(&[b"EXEC"]).as_ref().into());
                again = Some(None);
            }
            _ => {}
        }
        match (again, bytes) {
            (Some(refusal), Some(bytes)) => session.returned.push(Held::Request {
                bytes,
                refusal,
                until,
                mute,
            }),
            _ if mute => {}
            _ => {
                self.stats.unknown += u64::from(answer == texts::UNKNOWN);
                session.returned.push(Held::Answer(answer.to_vec().into()));
            }
        }
        session.outstanding -= 1;
        if session.outstanding == 0 && !session.leased {
            session.at = None;
        }
        link.release();
        self.touch_client(client);
        self.touch_link(id);
    }

    pub(super) fn deliver(
        &mut self,
        now: Instant,
        id: LinkId,
        client: ClientId,
        entry: Entry,
        frame: &[u8],
    ) {
        let ok = frame[0] != b'-';
        if !entry.mute {
            match self.rewritten(now, client, entry.kind, frame, ok) {
                Some(other) => self.tell(client, &other),
                None => self.tell(client, frame),
            }
        }
        self.finish(now, id, frame, ok);
    }

    /// What the client gets instead of this reply.
    fn rewritten(
        &mut self,
        now: Instant,
        client: ClientId,
        kind: Kind,
        frame: &[u8],
        ok: bool,
    ) -> Option<Vec<u8>> {
        let session = self.session(client);
        if kind == Kind::ExecNull && ok {
            let null: &[u8] = if session.profile.is_resp3() {
                b"_\r\n"
            } else {
                b"*-1\r\n"
            };
            return Some(null.to_vec());
        }
        match session.pending.as_deref()? {
            Pending::Denied(answer) => Some(answer.to_vec()),
            Pending::Info { section } if ok => {
                let section = *section;
                self.with_section(now, frame, section)
            }
            Pending::Scan { .. } if ok => self.with_mark(client, frame),
            Pending::Setting(_) if ok => self.with_number(client, frame),
            // It is answered when all that know have said what they do.
            Pending::Permission(_) if ok => Some(Vec::new()),
            Pending::Redirection if ok => self.with_redirection(client, frame),
            Pending::Numbers(places) if ok => {
                let places = places.clone();
                self.with_numbers(client, frame, &places)
            }
            _ => None,
        }
    }

    /// The awaited request is answered, and its client has the answer.
    pub(super) fn finish(&mut self, now: Instant, id: LinkId, frame: &[u8], ok: bool) {
        let clock = self.micros(now);
        let link = self.links.get_mut(id.0).expect("a link that sends");
        let entry = *link.entries.front().expect("an awaited request");
        let keeps = matches!(entry.kind, Kind::Multi | Kind::Queued);
        let session = entry
            .client
            .and_then(|client| self.sessions.get_mut(client.0));
        if let Some(session) = session {
            if matches!(entry.kind, Kind::Exec | Kind::ExecNull | Kind::Discard) {
                session.ending = None;
            }
            let transaction = session.transaction.as_mut().or(session.ending.as_mut());
            if keeps && let Some(transaction) = transaction {
                if frame == b"+QUEUED\r\n" {
                    transaction.count(link.awaited_bytes());
                }
                transaction.keep(link.awaited_bytes(), self.settings.replay_buffer);
            }
            session.answered(1, frame.len());
            session.since = None;
            if entry.kind == Kind::Multi && !ok && session.outstanding == 0 {
                session.transaction = None;
            }
        }
        self.metrics
            .answered(entry.family, clock.wrapping_sub(entry.at), 1);
        link.pop();
        link.release();
        self.touch_link(id);
        if let Some(client) = entry
            .client
            .filter(|client| self.sessions.get(client.0).is_some())
        {
            if let Some(pending) = self.session(client).pending.take() {
                match *pending {
                    Pending::Permission(errand) if ok => {
                        self.permitted(now, client, errand, entry.mute, frame);
                    }
                    pending => self.complete(id, client, pending, frame, ok),
                }
            }
            self.touch_client(client);
        }
    }

    /// What a session waited for has come.
    fn complete(&mut self, id: LinkId, client: ClientId, pending: Pending, frame: &[u8], ok: bool) {
        match pending {
            Pending::Setting(change) if ok => {
                let profile = self.session(client).profile.with(&change);
                if let Some(name) = change.name() {
                    self.session(client).identity.name = name.into();
                }
                let profile = self.profiles.intern(profile);
                if profile.is_authenticated() && self.session(client).admitted {
                    self.session(client).scanner.set_limits(Limits::default());
                }
                self.session(client).profile = std::sync::Arc::clone(&profile);
                self.links.get_mut(id.0).expect("a leased link").profile = profile;
            }
            Pending::Script(body) if ok => {
                if let Some(digest) = frame.strip_prefix(b"$40\r\n").and_then(|d| d.get(..40)) {
                    self.scripts.learn(digest, &body);
                }
            }
            Pending::Aside => self.release_lease(client),
            Pending::Sticky if ok => self.session(client).sticky = true,
            Pending::Tracking { state, .. } if ok => {
                self.session(client).tracking = state.map(Box::new);
            }
            _ => {}
        }
    }
}

//! From a server's bytes to replies, and each to its client.

use std::time::{Duration, Instant};

use bellwether_resp::{Limits, Value};
use bytes::Bytes;
use tracing::debug;

use super::link::{Entry, Fate, Kind, Link, Owner, Phase};
use super::planted::{Bug, planted};
use super::session::{Held, Pending};
use super::{ClientId, Engine, LinkId, texts};

/// From so many bytes on a reply that has come in part is delivered as it comes.
const PARTIAL: usize = 1 << 10;
/// A reply that must be looked at as a whole may be so large.
const COLLECT: usize = 64 << 20;
/// How long commands wait before they try a server again that refused.
const PAUSE: Duration = Duration::from_millis(50);

/// The server sent what is no reply, or one that nobody asked for.
#[derive(Debug)]
pub(super) struct Garbage;

impl Engine {
    /// Takes what came from a server.
    pub(super) fn link_bytes(&mut self, now: Instant, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(id.0) else {
            return;
        };
        let taken = if link.inbox.is_empty() {
            let taken = self.take_replies(now, id, bytes);
            if let (Ok(used), Some(link)) = (&taken, self.links.get_mut(id.0))
                && *used < bytes.len()
            {
                link.inbox.extend(&bytes[*used..]);
            }
            taken
        } else {
            let mut inbox = std::mem::take(&mut link.inbox);
            inbox.extend(bytes);
            let taken = self.take_replies(now, id, inbox.as_slice());
            if let (Ok(used), Some(link)) = (&taken, self.links.get_mut(id.0)) {
                inbox.consume(*used);
                link.inbox = inbox;
            }
            taken
        };
        if taken.is_err() {
            self.distrust(now, id);
        }
    }

    /// A server that says what it should not is not listened to any more.
    fn distrust(&mut self, now: Instant, id: LinkId) {
        if let Some(link) = self.links.get(id.0) {
            debug!(phase = ?link.phase, "a server sent what nobody asked for");
            let (server, owner) = (link.server, link.owner);
            let at = self.server_mut(server).failed(now);
            self.retry_at(at);
            self.server_lost(now, server, owner);
            self.doom(id);
        }
    }

    fn take_replies(&mut self, now: Instant, id: LinkId, bytes: &[u8]) -> Result<usize, Garbage> {
        let mut at = 0;
        loop {
            at += self.deliver_plain(now, id, &bytes[at..]);
            let rest = &bytes[at..];
            let Some(link) = self.links.get_mut(id.0) else {
                return Ok(bytes.len());
            };
            if rest.is_empty() || link.phase == Phase::Doomed {
                return Ok(bytes.len());
            }
            if let Some(client) = Self::relay_of(&self.sessions, link) {
                self.tell(client, rest);
                return Ok(bytes.len());
            }
            match link.scanner.scan(rest) {
                Ok(Some(len)) => {
                    self.take_reply(now, id, &rest[..len])?;
                    at += len;
                }
                Ok(None) => return Ok(at + self.take_partial(id, rest)?),
                Err(error) => {
                    debug!(%error, "a server broke the protocol");
                    return Err(Garbage);
                }
            }
        }
    }

    /// Delivers whole replies to plain commands, as long as they come. What lies side by side
    /// and goes to the same client is copied at once.
    #[inline]
    fn deliver_plain(&mut self, now: Instant, id: LinkId, bytes: &[u8]) -> usize {
        let clock = self.micros(now);
        let Some(link) = self.links.get_mut(id.0) else {
            return 0;
        };
        let usable = matches!(link.phase, Phase::Ready | Phase::Retiring(_));
        if !usable || link.partial.is_some() {
            return 0;
        }
        let mut at = 0;
        while at < bytes.len()
            && let Some(Entry { client, .. }) = link.entries.front().copied()
            && let Some(client) = client
        {
            let session = self.sessions.get_mut(client.0);
            if session
                .as_ref()
                .is_some_and(|session| !session.takes_replies_as_they_are())
            {
                break;
            }
            let from = at;
            let mut replies = 0;
            while let Some((first, run, len)) = link.take_run(client, &bytes[at..]) {
                self.metrics
                    .answered(first.family, clock.wrapping_sub(first.at), run);
                replies += run;
                at += len;
            }
            if replies == 0 {
                break;
            }
            if let Some(session) = session {
                self.spares.lend(&mut session.out);
                session.out.extend(&bytes[from..at]);
                session.answered(replies, at - from);
                session.since = None;
                self.out_bytes += at - from;
                if !session.touched {
                    session.touched = true;
                    self.touched_clients.push_back(client);
                }
            } else if planted(Bug::GiveToNext)
                && let Some(next) = link.entries.front().and_then(|entry| entry.client)
                && let Some(session) = self.sessions.get_mut(next.0)
            {
                session.out.extend(&bytes[from..at]);
                self.out_bytes += at - from;
            }
        }
        link.release();
        if matches!(link.phase, Phase::Retiring(_)) {
            self.touch_link(id);
        }
        at
    }

    /// A reply has come in part: what need not be looked at as a whole goes on at once.
    fn take_partial(&mut self, id: LinkId, rest: &[u8]) -> Result<usize, Garbage> {
        let link = self.links.get(id.0).expect("a link that sends");
        let scanned = link.scanner.scanned();
        let fate = match link.partial {
            Some(fate) => fate,
            None if scanned < PARTIAL => return Ok(0),
            None => match self.partial_fate(link, rest[0])? {
                Some(fate) => fate,
                None if rest.len() < COLLECT => return Ok(0),
                None => return Err(Garbage),
            },
        };
        let client = link.entries.front().and_then(|entry| entry.client);
        let begins = link.partial.is_none();
        if let Some(client) = client.filter(|_| fate == Fate::Deliver)
            && self.sessions.get(client.0).is_some()
        {
            let part = &rest[..scanned];
            let marked = if begins {
                self.with_mark(client, part)
            } else {
                None
            };
            self.tell(client, marked.as_deref().unwrap_or(part));
        }
        let link = self.links.get_mut(id.0).expect("a link that sends");
        link.partial = Some(fate);
        link.scanner.release(scanned);
        Ok(scanned)
    }

    /// `None`: it must be looked at as a whole.
    fn partial_fate(&self, link: &Link, first: u8) -> Result<Option<Fate>, Garbage> {
        if !matches!(link.phase, Phase::Ready | Phase::Retiring(_))
            || matches!(first, b'-' | b'>' | b'|')
        {
            return Ok(None);
        }
        let entry = link.awaited().ok_or(Garbage)?;
        let session = entry.client.and_then(|client| self.sessions.get(client.0));
        let Some(session) = session else {
            return Ok((!entry.kind.is_own()).then_some(Fate::Drop));
        };
        let rewritten = !matches!(
            session.pending.as_deref(),
            None | Some(
                Pending::Blocking(_) | Pending::Alone | Pending::Sticky | Pending::Scan { .. }
            )
        );
        let delivers = !rewritten
            && !session.is_collecting()
            && session.subscriptions.is_none()
            && entry.kind != Kind::ExecNull;
        Ok(match delivers {
            true if entry.mute => Some(Fate::Drop),
            true => Some(Fate::Deliver),
            false => None,
        })
    }

    /// A reply has ended.
    fn take_reply(&mut self, now: Instant, id: LinkId, frame: &[u8]) -> Result<(), Garbage> {
        let link = self.links.get_mut(id.0).expect("a link that sends");
        if let Some(fate) = link.partial.take() {
            let client = link.entries.front().and_then(|entry| entry.client);
            if let Some(client) = client.filter(|_| fate == Fate::Deliver)
                && self.sessions.get(client.0).is_some()
            {
                self.tell(client, frame);
            }
            self.finish(now, id, frame, true);
            return Ok(());
        }
        if matches!(link.phase, Phase::Connecting(_)) {
            return Err(Garbage);
        }
        if link.scanner.is_push() || self.is_message(id, frame) {
            return self.take_push(now, id, frame);
        }
        let link = self.links.get(id.0).expect("a link that sends");
        let Some(entry) = link.awaited().copied() else {
            return self.unasked(id, frame);
        };
        if entry.kind.is_own() {
            return self.take_own(now, id, entry.kind, frame);
        }
        let client = entry.client.expect("a client's request");
        let Some(session) = self.sessions.get(client.0) else {
            // It left: nobody else may get its reply.
            let link = self.links.get_mut(id.0).expect("a link that sends");
            link.pop();
            link.release();
            self.touch_link(id);
            return Ok(());
        };
        if entry.kind == Kind::Script
            && frame.starts_with(b"-NOSCRIPT ")
            && let Some(script) = link.awaited_bytes().and_then(|bytes| self.with_body(bytes))
        {
            self.give_back(id, client, Some(None), &[]);
            if let Some(Held::Request { bytes, .. }) = self.session(client).returned.last_mut() {
                *bytes = script;
            }
            return Ok(());
        }
        // An EXEC that is on its way says itself that nothing ran.
        let queued = matches!(entry.kind, Kind::Multi | Kind::Queued);
        let ends_soon = queued && link.sent_transaction() > 0;
        let refused = is_refused(entry.kind, frame) && !ends_soon;
        let known = link.awaited_bytes().is_some();
        if refused && known && entry.kind.trusts_refusal() {
            self.refused(now, id, client, entry, frame);
        } else if matches!(link.phase, Phase::Stale(_)) && !planted(Bug::DeliverStale) {
            let again = known && entry.kind.is_repeatable();
            let again = again && !ends_soon;
            self.give_back(id, client, again.then_some(None), texts::UNKNOWN);
        } else if session.is_collecting() {
            let again = known && entry.kind == Kind::Read || planted(Bug::RepeatWrites);
            self.give_back(id, client, again.then_some(None), frame);
        } else {
            self.deliver(now, id, client, entry, frame);
        }
        Ok(())
    }

    /// The same EVALSHA as an EVAL, if the script is known to the proxy.
    fn with_body(&self, request: &[u8]) -> Option<Box<[u8]>> {
        let words = super::arguments(request);
        let (name, rest) = words.split_first()?;
        let name: &[u8] = match name.to_ascii_uppercase().as_slice() {
            b"EVALSHA" => b"EVAL",
            b"EVALSHA_RO" => b"EVAL_RO",
            _ => return None,
        };
        let (digest, rest) = rest.split_first()?;
        let body = self.scripts.body(digest)?;
        let words: Vec<&[u8]> = [name, &body]
            .into_iter()
            .chain(rest.iter().map(Vec::as_slice))
            .collect();
        Some(Box::from(&super::profile::request(&words)[..]))
    }

    /// A reply without a request. Only who runs commands that are not known may cause such.
    fn unasked(&mut self, id: LinkId, frame: &[u8]) -> Result<(), Garbage> {
        let client = self.lessee(id).ok_or(Garbage)?;
        if !self.session(client).sticky {
            return Err(Garbage);
        }
        self.tell(client, frame);
        Ok(())
    }

    /// The awaited request did not run. It will, in its turn, as long as its client may wait.
    fn refused(&mut self, now: Instant, id: LinkId, client: ClientId, entry: Entry, frame: &[u8]) {
        let server = self.links.get(id.0).expect("a link that sends").server;
        if self.replicas.contains(&server) {
            // There are others.
            self.unfit(server, "it refuses reads");
            return self.give_back(id, client, Some(Some(frame.into())), &[]);
        }
        let session = self.session(client);
        session.since.get_or_insert(now);
        session.withheld = true;
        if self.primary == Some(server) {
            self.suspect(server, now + PAUSE);
        }
        if matches!(entry.kind, Kind::Multi | Kind::Queued) {
            // The server has marked the transaction as failed: it begins anew on another link.
            return self.doom(id);
        }
        self.give_back(id, client, Some(Some(frame.into())), &[]);
        if texts::is_unblocked(frame) {
            // The server closes it.
            self.doom(id);
        }
    }

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

    fn deliver(&mut self, now: Instant, id: LinkId, client: ClientId, entry: Entry, frame: &[u8]) {
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

    /// A reply to the engine itself.
    fn take_own(
        &mut self,
        now: Instant,
        id: LinkId,
        kind: Kind,
        frame: &[u8],
    ) -> Result<(), Garbage> {
        let link = self.links.get_mut(id.0).expect("a link that sends");
        link.pop();
        link.release();
        let (owner, phase, server) = (link.owner, link.phase, link.server);
        let error = frame[0] == b'-';
        match kind {
            Kind::Greeting if error && texts::is_temporary(frame) => return Err(Garbage),
            Kind::Greeting if error => self.rejected(now, id, frame),
            Kind::Greeting => {
                let Phase::Greeting(left) = phase else {
                    return if matches!(phase, Phase::Stale(_)) {
                        Ok(())
                    } else {
                        Err(Garbage)
                    };
                };
                link.phase = Phase::Greeting(left - 1);
                if left == 1 {
                    self.ready(id);
                }
            }
            Kind::Identify => {
                let text = std::str::from_utf8(&frame[1..]).unwrap_or_default();
                link.number = text.trim_end().parse().ok();
                self.free_stuck();
            }
            Kind::Ignore if error => {
                if let Owner::Leased(client) = owner
                    && let Some(session) = self.sessions.get_mut(client.0)
                    && let Some(pending) = &mut session.pending
                    && matches!(**pending, Pending::Alone)
                {
                    **pending = Pending::Denied(frame.into());
                }
            }
            Kind::Overlay => self.overlay(id, frame),
            Kind::Probe => self.probed(now, server, frame),
            _ => {}
        }
        self.touch_link(id);
        Ok(())
    }

    fn overlay(&mut self, id: LinkId, frame: &[u8]) {
        let of_strangers = self.links.get(id.0).is_some_and(|link| {
            std::sync::Arc::ptr_eq(&link.profile, &self.profile) && !link.profile.is_authenticated()
        });
        if of_strangers {
            self.learn_whether_auth_is_needed(frame.starts_with(b"-NOAUTH"));
            self.free_stuck();
        }
        if let Ok(reply) = Value::decode(&Bytes::copy_from_slice(frame)) {
            self.commands = std::sync::Arc::new(self.commands.overlay(&reply));
        }
    }

    /// The server does not accept what a new connection of this profile must say.
    fn rejected(&mut self, now: Instant, id: LinkId, frame: &[u8]) {
        let link = self.links.get(id.0).expect("a link that sends");
        debug!(error = %String::from_utf8_lossy(frame).trim_end(), "a server rejects a login");
        let (server, profile) = (link.server, std::sync::Arc::clone(&link.profile));
        if self.replicas.contains(&server) {
            // The primary serves this profile.
            if link.owner == Owner::Probe {
                self.trust_answers(server);
            }
            self.server_mut(server).reject(now, profile);
            return self.doom(id);
        }
        let at = self.server_mut(server).failed(now);
        self.retry_at(at);
        self.doom(id);
        for client in self.stuck.clone() {
            if let Some(session) = self.sessions.get(client.0)
                && std::sync::Arc::ptr_eq(&session.profile, &profile)
            {
                self.tell(client, frame);
                self.session(client).closing = true;
            }
        }
    }
}

/// Whether the server says that the command did not run, and may elsewhere.
fn is_refused(kind: Kind, frame: &[u8]) -> bool {
    let blocked = matches!(kind, Kind::Blocking | Kind::Query);
    texts::is_refusal(frame) || blocked && texts::is_unblocked(frame)
}

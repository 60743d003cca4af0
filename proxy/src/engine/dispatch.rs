//! From a client's bytes to requests, and each to where it belongs.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bellwether_resp::RequestScanner;
use bytes::BytesMut;

use super::lease::Lease;
use super::link::{Entry, Kind, Lane};
use super::planted::{Bug, planted};
use super::route::Replica;
use super::server::ServerId;
use super::session::{Held, Input, Pending, Replies, Session};
use super::{ClientId, Engine, LinkId, texts};
use crate::commands::{Commands, Family, Reads, Spec, TimeoutArg, Treat};
use crate::config::ReadFrom;

/// What became of the bytes at hand.
enum Step {
    Took(usize),
    /// They must wait.
    Wait,
}

/// The next whole command, and what it is.
#[inline]
fn next_command(
    scanner: &mut RequestScanner,
    commands: &Commands,
    bytes: &[u8],
) -> Option<(usize, Spec)> {
    let len = scanner.scan(bytes).ok()??;
    let spec = commands.find(scanner.arg(bytes, 0)?, scanner.arg(bytes, 1))?;
    Some((len, spec))
}

/// A request that is dispatched again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again {
    /// Until when it may block, if it had begun to.
    pub(super) until: Option<Option<Instant>>,
}

impl Engine {
    /// Takes what came from a client.
    #[inline]
    pub(super) fn client_bytes(&mut self, now: Instant, id: ClientId, bytes: &[u8]) {
        let Some(session) = self.sessions.get_mut(id.0) else {
            return;
        };
        session.heard = now;
        if session.closing || session.gone || session.input == Input::Ended {
            return;
        }
        let mut used = 0;
        if session.inbox.is_empty() && session.held.is_empty() {
            used = self.take_requests(now, id, bytes);
        }
        if used < bytes.len() {
            let session = self.sessions.get_mut(id.0).expect("a session that lives");
            self.spares.lend(&mut session.inbox);
            session.inbox.extend(&bytes[used..]);
            self.recount(id);
            self.touch_client(id);
        }
    }

    #[inline]
    pub(super) fn session(&mut self, id: ClientId) -> &mut Session {
        self.sessions.get_mut(id.0).expect("a session that lives")
    }

    /// Counts what waits in the session anew.
    pub(super) fn recount(&mut self, id: ClientId) {
        let session = self.session(id);
        let now = session.bytes_waiting();
        let before = std::mem::replace(&mut session.counted, now);
        self.bytes = self.bytes - before + now;
    }

    /// Deals with what waits in a session, as far as possible.
    pub(super) fn pump(&mut self, now: Instant, id: ClientId) {
        let session = self.session(id);
        if session.outstanding > 0 && session.is_collecting() {
            return self.recount(id);
        }
        for held in session.returned.drain(..).rev() {
            session.held.push_front(held);
        }
        while let Some(held) = self.session(id).held.pop_front() {
            if let Err(held) = self.take_held(now, id, held) {
                self.session(id).held.push_front(held);
                return self.recount(id);
            }
        }
        let mut inbox = std::mem::take(&mut self.session(id).inbox);
        let used = self.take_requests(now, id, inbox.as_slice());
        inbox.consume(used);
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        if inbox.is_empty() {
            self.spares.take_back(&mut inbox);
            session.held.shrink_to_fit();
            session.returned.shrink_to_fit();
        }
        session.inbox = inbox;
        self.recount(id);
    }

    fn take_held(&mut self, now: Instant, id: ClientId, held: Held) -> Result<(), Held> {
        match held {
            Held::Answer(answer) => {
                if self.session(id).outstanding > 0 {
                    return Err(Held::Answer(answer));
                }
                self.tell(id, &answer);
                Ok(())
            }
            Held::Request {
                refusal: Some(_), ..
            } if self.suspect.is_some() => {
                // The server that refused it is not asked again at once, whatever the link.
                self.stick(now, id);
                Err(held)
            }
            Held::Request {
                ref bytes,
                until,
                mute,
                ..
            } => {
                let session = self.session(id);
                let replies = session.replies;
                if mute && replies == Replies::On {
                    session.replies = Replies::Skip;
                }
                let words = super::arguments(bytes);
                let spec = self.spec(&words);
                if self.dispatch(now, id, bytes, spec, Some(Again { until })) {
                    self.stats.replayed += 1;
                    return Ok(());
                }
                self.session(id).replies = replies;
                Err(held)
            }
        }
    }

    fn spec(&self, words: &[Vec<u8>]) -> Spec {
        let arguments = words.iter().map(Vec::as_slice);
        let found = words.first().and_then(|name| {
            let subcommand = words.get(1).map(Vec::as_slice);
            self.commands.find(name, subcommand)
        });
        found
            .filter(|spec| spec.takes(words.len()))
            .map_or(texts::UNKNOWN_COMMAND, |spec| {
                spec.of_request(arguments.skip(1))
            })
    }

    /// Takes as many requests as can be dealt with now. Returns how many bytes are done with.
    #[inline]
    fn take_requests(&mut self, now: Instant, id: ClientId, bytes: &[u8]) -> usize {
        let mut at = self.take_plain(now, id, bytes);
        while at < bytes.len() {
            match self.take_next(now, id, &bytes[at..]) {
                Step::Took(n) => at += n,
                Step::Wait => break,
            }
            at += self.take_plain(now, id, &bytes[at..]);
        }
        at
    }

    /// The shared link that this session's plain commands go to now. While reads are split, that
    /// depends on the first one, which is then returned as well.
    #[inline]
    fn fast_link(
        &mut self,
        now: Instant,
        id: ClientId,
        bytes: &[u8],
    ) -> Option<(LinkId, Option<(usize, Spec)>)> {
        let session = self.sessions.get_mut(id.0)?;
        let plain = session.input == Input::Requests
            && !session.leased
            && session.transaction.is_none()
            && session.admitted
            && session.replies == Replies::On
            && session.may_send(self.settings.session_output);
        let known = self.needs_auth.is_some();
        if !plain || !known || self.suspect.is_some() || self.writes_paused.is_some() {
            return None;
        }
        let primary = self.primary?;
        let mut first = None;
        let link = match session.at {
            Some(at) if !planted(Bug::ReadOvertakes) => at,
            _ if self.settings.read_from != ReadFrom::Primary => {
                let (len, spec) = next_command(&mut session.scanner, &self.commands, bytes)?;
                first = Some((len, spec));
                self.split_link(now, id, primary, spec)?
            }
            _ => self.primary_link(id, primary)?,
        };
        let link = self.links.get(link.0)?;
        (link.is_ready() && !link.is_congested()).then_some((link.id, first))
    }

    /// Where a session that awaits no answers has this command run.
    #[inline]
    fn split_link(
        &mut self,
        now: Instant,
        id: ClientId,
        primary: ServerId,
        spec: Spec,
    ) -> Option<LinkId> {
        if spec.treat != Treat::Plain {
            return None;
        }
        if spec.reads == Reads::Anywhere && self.splits_reads() {
            match self.replica_link(now, id) {
                Replica::Link(link) => return Some(link),
                Replica::Soon => return None,
                Replica::None => {}
            }
        }
        self.primary_link(id, primary)
    }

    #[inline]
    fn primary_link(&self, id: ClientId, primary: ServerId) -> Option<LinkId> {
        let profile = &self.sessions.get(id.0)?.profile;
        self.server(primary).shared(profile, Lane::Plain)
    }

    /// Takes plain commands, as long as they come, to a shared link.
    #[inline]
    fn take_plain(&mut self, now: Instant, id: ClientId, bytes: &[u8]) -> usize {
        let Some((link, mut first)) = self.fast_link(now, id, bytes) else {
            return 0;
        };
        let clock = self.micros(now);
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        let link = self.links.get_mut(link.0).expect("a ready link");
        let replica = Some(link.server) != self.primary;
        let mut left = session.allowance(self.settings.session_buffer);
        let before = left;
        let (mut at, mut last) = (0, 0);
        let mut family = None;
        while left > 0 && at < bytes.len() {
            let next = first
                .take()
                .or_else(|| next_command(&mut session.scanner, &self.commands, &bytes[at..]));
            let Some((len, spec)) = next else {
                break;
            };
            if spec.treat != Treat::Plain || replica && spec.reads != Reads::Anywhere {
                break;
            }
            let kind = match spec.reads {
                Reads::No => {
                    session.wrote = Some(self.spell);
                    Kind::Write
                }
                Reads::PrimaryOnly | Reads::Anywhere => Kind::Read,
            };
            link.entries.push_back(Entry {
                client: Some(id),
                len,
                at: clock,
                kind,
                family: spec.family,
                mute: false,
                follows: family == Some(spec.family),
            });
            family = Some(spec.family);
            left -= 1;
            last = at;
            at += len;
        }
        if at > 0 {
            let taken = before - left;
            link.extend(&bytes[..at]);
            session.asked.note(&bytes[last..]);
            session.outstanding += taken;
            session.at = Some(link.id);
            self.stats.requests += u64::from(taken);
            let link = link.id;
            self.touch_link(link);
        }
        at
    }

    /// Takes the next request, or as much of it as is there.
    fn take_next(&mut self, now: Instant, id: ClientId, bytes: &[u8]) -> Step {
        let needs_auth = self
            .needs_auth
            .or(self.settings.password.as_ref().map(|_| true));
        let session = self.session(id);
        match session.input {
            Input::Ended => return Step::Took(bytes.len()),
            Input::Relay => return self.relay(now, id, bytes),
            Input::Stream => return self.stream(id, bytes),
            // What it waits for may change what may follow.
            Input::Requests if session.pending.is_some() => return Step::Wait,
            // What it may send depends on that.
            Input::Requests if needs_auth.is_none() => {
                self.stick(now, id);
                return Step::Wait;
            }
            Input::Requests | Input::Skip => {}
        }
        match session.scanner.scan(bytes) {
            Ok(Some(len)) if session.input == Input::Skip => {
                session.input = Input::Requests;
                Step::Took(len)
            }
            Ok(Some(len)) if session.scanner.is_empty() => Step::Took(len),
            Ok(Some(len)) => {
                let spec = self.scanned_spec(id, &bytes[..len], true);
                match self.dispatch(now, id, &bytes[..len], spec, None) {
                    true => Step::Took(len),
                    false => Step::Wait,
                }
            }
            Ok(None) => self.take_part(now, id, bytes),
            Err(error) => {
                let error = format!("-ERR {error}\r\n").into_bytes();
                self.refuse(id, error);
                Step::Took(bytes.len())
            }
        }
    }

    fn scanned_spec(&mut self, id: ClientId, request: &[u8], whole: bool) -> Spec {
        let session = self.sessions.get(id.0).expect("a session that lives");
        let scanner = &session.scanner;
        let argument = |i| scanner.arg(request, i);
        let found = argument(0).and_then(|name| self.commands.find(name, argument(1)));
        let count = scanner.count();
        found
            .filter(|spec| !whole || spec.takes(count))
            .map_or(texts::UNKNOWN_COMMAND, |spec| {
                spec.of_request((1..count).map_while(argument))
            })
    }

    /// The client broke a rule: that is the last that it hears, after its other answers.
    pub(super) fn refuse(&mut self, id: ClientId, error: Vec<u8>) {
        let session = self.session(id);
        session.input = Input::Ended;
        session.held.push_back(Held::Answer(error.into()));
        self.touch_client(id);
    }

    /// A request has come in part.
    fn take_part(&mut self, now: Instant, id: ClientId, bytes: &[u8]) -> Step {
        let session = self.session(id);
        let scanned = session.scanner.scanned();
        if session.input == Input::Skip {
            session.scanner.release(scanned);
            return if scanned > 0 {
                Step::Took(scanned)
            } else {
                Step::Wait
            };
        }
        if scanned == 0 || scanned + session.scanner.needed() < texts::LARGE {
            return Step::Wait;
        }
        let spec = self.scanned_spec(id, bytes, false);
        let most = self.settings.session_output;
        let session = self.session(id);
        let kind = match spec.treat {
            _ if !session.admitted => return self.refuse_large(id, bytes),
            Treat::Plain | Treat::Script if session.transaction.is_some() => Kind::Queued,
            Treat::Plain if spec.reads == Reads::No => Kind::Write,
            Treat::Plain => Kind::Read,
            Treat::Script => Kind::Script,
            _ => return self.refuse_large(id, bytes),
        };
        if !session.may_send(most) {
            return Step::Wait;
        }
        if session
            .transaction
            .as_ref()
            .is_some_and(|transaction| transaction.aborted)
        {
            if !self.answer_aborted(id, spec.treat) {
                return Step::Wait;
            }
            let session = self.session(id);
            session.input = Input::Skip;
            session.scanner.release(scanned);
            return Step::Took(scanned);
        }
        let Lease::Ready(link) = self.lease(now, id) else {
            return Step::Wait;
        };
        let session = self.session(id);
        session.input = Input::Stream;
        session.scanner.release(scanned);
        if let Some(transaction) = &mut session.transaction {
            transaction.lost = true;
        }
        self.push(now, id, link, &bytes[..scanned], kind, spec);
        self.links.get_mut(link.0).expect("a ready link").open = true;
        Step::Took(scanned)
    }

    /// A large request that must be collected, because it may change the state of the connection.
    fn refuse_large(&mut self, id: ClientId, bytes: &[u8]) -> Step {
        if bytes.len() < self.settings.session_buffer {
            return Step::Wait;
        }
        self.refuse(id, texts::TOO_LARGE.to_vec());
        Step::Took(bytes.len())
    }

    /// More of a large request.
    fn stream(&mut self, id: ClientId, bytes: &[u8]) -> Step {
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        let link = session.at.expect("a stream has a link");
        let link = self.links.get_mut(link.0).expect("a stream has a link");
        if link.is_congested() {
            return Step::Wait;
        }
        let (n, whole) = match session.scanner.scan(bytes) {
            Ok(Some(len)) => (len, true),
            Ok(None) => {
                let scanned = session.scanner.scanned();
                session.scanner.release(scanned);
                (scanned, false)
            }
            Err(error) => {
                // The server has the beginning of this request and will never see its end.
                let error = format!("-ERR {error}\r\n").into_bytes();
                let link = link.id;
                self.refuse(id, error);
                self.doom(link);
                return Step::Took(bytes.len());
            }
        };
        link.extend_open(&bytes[..n]);
        link.open = !whole;
        let link = link.id;
        if whole {
            session.input = Input::Requests;
        }
        self.touch_link(link);
        if n > 0 { Step::Took(n) } else { Step::Wait }
    }

    fn relay(&mut self, now: Instant, id: ClientId, mut bytes: &[u8]) -> Step {
        let session = self.sessions.get(id.0).expect("a session that lives");
        if self.monitors(session) {
            // RESET ends that. Then the proxy must know it.
            let session = self.session(id);
            match session.scanner.scan(bytes) {
                Ok(Some(len)) => {
                    let name = session.scanner.arg(bytes, 0).unwrap_or_default();
                    let resets = name.eq_ignore_ascii_case(b"RESET");
                    bytes = &bytes[..len];
                    if resets && self.reset(now, id) {
                        return Step::Took(len);
                    }
                }
                Ok(None) => return Step::Wait,
                Err(error) => {
                    self.refuse(id, format!("-ERR {error}\r\n").into_bytes());
                    return Step::Took(bytes.len());
                }
            }
        }
        let link = self.session(id).at.expect("a relay has a link");
        let link = self.links.get_mut(link.0).expect("a relay has a link");
        if link.is_congested() {
            return Step::Wait;
        }
        link.extend_relay(bytes);
        let link = link.id;
        self.touch_link(link);
        Step::Took(bytes.len())
    }

    /// Gives a request to where it belongs. False: it must wait, because others of its session are
    /// before it, or there is nobody to take it.
    pub(super) fn dispatch(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
        again: Option<Again>,
    ) -> bool {
        let session = self.sessions.get(id.0).expect("a session that lives");
        if !session.may_send(self.settings.session_output) {
            return false;
        }
        self.session(id).asked.note(request);
        let session = self.sessions.get(id.0).expect("a session that lives");
        let local = matches!(spec.treat, Treat::Quit | Treat::Reset);
        let done = if !session.admitted && !local {
            self.dispatch_stranger(now, id, request, spec)
        } else if session.transaction.is_some() && !local {
            self.dispatch_queued(now, id, request, spec)
        } else if session.is_confined() && !local && !spec.treat.is_subscription() {
            // The server refuses whatever is not allowed there.
            self.send_to_lease(now, id, request, Kind::Read, spec)
        } else {
            self.dispatch_open(now, id, request, spec, again)
        };
        if done && again.is_none() {
            self.stats.requests += 1;
        }
        done
    }

    fn dispatch_open(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
        again: Option<Again>,
    ) -> bool {
        match spec.treat {
            Treat::Plain | Treat::MayBlock => {
                let kind = match spec.reads {
                    Reads::No => Kind::Write,
                    Reads::PrimaryOnly | Reads::Anywhere => Kind::Read,
                };
                self.send(now, id, request, kind, spec)
            }
            Treat::Script => self.send(now, id, request, Kind::Script, spec),
            Treat::ScriptLoad => {
                let body = super::arguments(request).pop().unwrap_or_default();
                let pending = Pending::Script(body.into());
                self.send_alone(now, id, request, Kind::Query, spec, pending)
            }
            Treat::ScriptFlush => {
                self.scripts.forget();
                self.send(now, id, request, Kind::Write, spec)
            }
            Treat::Blocking { timeout } => {
                self.send_blocking(now, id, request, spec, timeout, again)
            }
            Treat::Wait => self.send_wait(now, id, request, spec),
            Treat::Select | Treat::Auth | Treat::Hello => self.send_setting(now, id, request, spec),
            Treat::Reset => self.reset(now, id),
            Treat::Quit => {
                let told = self.answer(id, texts::OK);
                if told {
                    self.session(id).input = Input::Ended;
                }
                told
            }
            Treat::Client => self.client_command(now, id, request, spec),
            Treat::Multi => self.begin_transaction(now, id, request, spec),
            // Without MULTI they are refused, wherever they run.
            Treat::Exec | Treat::Discard => self.send(now, id, request, Kind::Read, spec),
            Treat::Watch => self.watch(now, id, request, spec),
            Treat::Unwatch => self.unwatch(now, id, request, spec),
            Treat::Subscribe(space) => self.subscribe(now, id, request, spec, space),
            Treat::Unsubscribe(space) => self.unsubscribe(now, id, request, spec, space),
            Treat::Monitor | Treat::Relay => self.send_relay(now, id, request),
            Treat::Info => self.send_info(now, id, request, spec),
            Treat::Scan { cursor } => self.send_scan(now, id, request, spec, cursor),
            Treat::Alone if spec.family == Family::Scripting => {
                self.send_aside(now, id, request, spec)
            }
            Treat::Alone | Treat::Shutdown => {
                self.send_alone(now, id, request, Kind::Write, spec, Pending::Alone)
            }
            Treat::Sticky => self.send_alone(now, id, request, Kind::Sticky, spec, Pending::Sticky),
        }
    }

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
    fn send_aside(&mut self, now: Instant, id: ClientId, request: &[u8], spec: Spec) -> bool {
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

    /// Adds to what the client is sent.
    pub(super) fn tell(&mut self, id: ClientId, bytes: &[u8]) {
        self.out_bytes += bytes.len();
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        self.spares.lend(&mut session.out);
        session.out.extend(bytes);
        self.touch_client(id);
    }

    fn send_blocking(
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
    fn send_wait(&mut self, now: Instant, id: ClientId, request: &[u8], spec: Spec) -> bool {
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

impl Session {
    /// Whether the next command's reply is not wanted.
    fn takes_no_reply(&mut self) -> bool {
        match self.replies {
            Replies::On => false,
            Replies::Off => true,
            Replies::Skip => {
                self.replies = Replies::On;
                true
            }
        }
    }

    /// In RESP2, who has subscribed may do little else.
    fn is_confined(&self) -> bool {
        self.subscriptions.is_some() && !self.profile.is_resp3()
    }
}

impl Treat {
    fn is_subscription(self) -> bool {
        matches!(self, Self::Subscribe(_) | Self::Unsubscribe(_))
    }
}

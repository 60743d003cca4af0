//! From a client's bytes to requests.

use std::time::Instant;

use bellwether_resp::RequestScanner;

use super::dispatch::Again;
use super::lease::Lease;
use super::link::{Entry, Kind, Lane};
use super::planted::{Bug, planted};
use super::route::Replica;
use super::server::ServerId;
use super::session::{Held, Input, Replies, Session};
use super::{ClientId, Engine, LinkId, texts};
use crate::commands::{Commands, Reads, Spec, Treat};
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
}

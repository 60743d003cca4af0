//! From a server's bytes to replies, and each to its client.

use std::time::{Duration, Instant};

use tracing::debug;

use super::link::{Entry, Fate, Kind, Link, Phase};
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
            self.tell_in_part(client, marked.as_deref().unwrap_or(part));
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
}

/// Whether the server says that the command did not run, and may elsewhere.
fn is_refused(kind: Kind, frame: &[u8]) -> bool {
    let blocked = matches!(kind, Kind::Blocking | Kind::Query);
    texts::is_refusal(frame) || blocked && texts::is_unblocked(frame)
}

//! SUBSCRIBE and its family: confirmations are counted, messages pass.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;

use super::lease::Lease;
use super::link::{Kind, Owner};
use super::replies::Garbage;
use super::session::Pending;
use super::{ClientId, Engine, LinkId};
use crate::commands::{Space, Spec};

/// What a client has subscribed to.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    names: [BTreeSet<Bytes>; 3],
    /// All of it must be set up again on the next link.
    pub(super) restore: bool,
    /// So many confirmations of that are to come.
    restoring: usize,
}

impl Subscriptions {
    pub(super) fn is_restoring(&self) -> bool {
        self.restoring > 0
    }

    /// How many there are in a space.
    pub(super) fn count(&self, space: Space) -> usize {
        self.names[space as usize].len()
    }

    fn len(&self) -> usize {
        self.names.iter().map(BTreeSet::len).sum()
    }

    fn is_empty(&self) -> bool {
        self.names.iter().all(BTreeSet::is_empty)
    }
}

/// A message of the server that answers no request by itself.
enum Message {
    /// SUBSCRIBE's confirmation, of one name.
    Subscribed(Space, Bytes),
    Unsubscribed(Space, Option<Bytes>),
    Other,
}

impl Message {
    fn of(frame: &[u8]) -> Self {
        let Some((word, name)) = head(frame) else {
            return Self::Other;
        };
        let unsubscribed = |space| Self::Unsubscribed(space, name.clone());
        match word {
            b"unsubscribe" => unsubscribed(Space::Channel),
            b"punsubscribe" => unsubscribed(Space::Pattern),
            b"sunsubscribe" => unsubscribed(Space::Shard),
            _ => match (word, name) {
                (b"subscribe", Some(name)) => Self::Subscribed(Space::Channel, name),
                (b"psubscribe", Some(name)) => Self::Subscribed(Space::Pattern, name),
                (b"ssubscribe", Some(name)) => Self::Subscribed(Space::Shard, name),
                _ => Self::Other,
            },
        }
    }
}

/// The first two elements of `>3 $9 subscribe $4 name :1`, or of the same as an array.
fn head(frame: &[u8]) -> Option<(&[u8], Option<Bytes>)> {
    let (_, rest) = line(frame)?;
    let (word, rest) = bulk(rest)?;
    let name = bulk(rest).map(|(name, _)| Bytes::copy_from_slice(name));
    Some((word, name))
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    Some((bytes.get(..end.checked_sub(1)?)?, &bytes[end + 1..]))
}

fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = line(bytes)?;
    let length = std::str::from_utf8(header.strip_prefix(b"$")?).ok()?;
    let length: usize = length.parse().ok()?;
    Some((rest.get(..length)?, rest.get(length + 2..)?))
}

/// In RESP2 messages look like replies.
fn looks_like_a_message(frame: &[u8]) -> bool {
    const WORDS: [&[u8]; 9] = [
        b"message",
        b"pmessage",
        b"smessage",
        b"subscribe",
        b"psubscribe",
        b"ssubscribe",
        b"unsubscribe",
        b"punsubscribe",
        b"sunsubscribe",
    ];
    frame[0] == b'*' && head(frame).is_some_and(|(word, _)| WORDS.contains(&word))
}

impl Engine {
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
        _: Space,
    ) -> bool {
        let names = super::arguments(request).len() - 1;
        let pending = Pending::Subscription(u32::try_from(names).unwrap_or(u32::MAX));
        if self.session(id).outstanding == 0
            && let Lease::Ready(link) = self.lease(now, id)
        {
            // Messages to others may be redirected to it.
            self.identify(now, link);
        }
        self.send_alone(now, id, request, Kind::Sticky, spec, pending)
    }

    /// Without names it is about all there are, and answered once if there are none.
    pub(super) fn unsubscribe(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
        space: Space,
    ) -> bool {
        let known = self.session(id).subscriptions.as_ref();
        let all = known.map_or(0, |known| known.count(space)).max(1);
        let names = match super::arguments(request).len() - 1 {
            0 => all,
            names => names,
        };
        let pending = Pending::Subscription(u32::try_from(names).unwrap_or(u32::MAX));
        self.send_alone(now, id, request, Kind::Sticky, spec, pending)
    }

    /// Whether this reply of RESP2 is a message to a subscriber.
    pub(super) fn is_message(&self, id: LinkId, frame: &[u8]) -> bool {
        let Some(client) = self.lessee(id) else {
            return false;
        };
        let session = self.sessions.get(client.0).expect("a lessee that lives");
        let subscribes = matches!(session.pending.as_deref(), Some(Pending::Subscription(_)));
        (subscribes || session.subscriptions.is_some()) && looks_like_a_message(frame)
    }

    /// Who has leased the link, if it lives.
    pub(super) fn lessee(&self, id: LinkId) -> Option<ClientId> {
        let Owner::Leased(client) = self.links.get(id.0)?.owner else {
            return None;
        };
        self.sessions.get(client.0).is_some().then_some(client)
    }

    /// A message that answers no request by itself goes to whoever has leased the link.
    pub(super) fn take_push(
        &mut self,
        now: Instant,
        id: LinkId,
        frame: &[u8],
    ) -> Result<(), Garbage> {
        let Some(client) = self.lessee(id) else {
            return Ok(());
        };
        let message = Message::of(frame);
        let confirms = !matches!(message, Message::Other);
        let session = self.session(client);
        if let Some(subscriptions) = &mut session.subscriptions
            && subscriptions.restoring > 0
            && confirms
        {
            subscriptions.restoring -= 1;
            if subscriptions.restoring == 0 {
                self.resubscribed(id, client);
            }
            return Ok(());
        }
        if confirms {
            let subscriptions = session.subscriptions.get_or_insert_default();
            match message {
                Message::Subscribed(space, name) => {
                    subscriptions.names[space as usize].insert(name);
                }
                Message::Unsubscribed(space, Some(name)) => {
                    subscriptions.names[space as usize].remove(&name);
                }
                Message::Unsubscribed(_, None) | Message::Other => {}
            }
            if subscriptions.is_empty() {
                session.subscriptions = None;
            }
        }
        match self.broken_redirection(client, frame) {
            Some(own) => self.tell(client, &own),
            None => self.tell(client, frame),
        }
        let session = self.session(client);
        if let Some(Pending::Subscription(left)) = session.pending.as_deref_mut()
            && confirms
        {
            *left -= 1;
            if *left == 0 {
                self.finish(now, id, frame, true);
            }
        }
        Ok(())
    }

    /// Subscribes to everything again, on a new link.
    pub(super) fn resubscribe(&mut self, now: Instant, id: ClientId, link: LinkId) {
        let Some(subscriptions) = &mut self.session(id).subscriptions else {
            return;
        };
        if !std::mem::take(&mut subscriptions.restore) {
            return;
        }
        let mut requests = Vec::new();
        for (word, names) in ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"]
            .iter()
            .zip(&subscriptions.names)
        {
            if !names.is_empty() {
                let words: Vec<&[u8]> = std::iter::once(word.as_bytes())
                    .chain(names.iter().map(|name| &name[..]))
                    .collect();
                requests.extend_from_slice(&super::profile::request(&words));
            }
        }
        subscriptions.restoring = subscriptions.len();
        self.push_own(now, link, &requests, Kind::Resubscribe);
    }

    /// Everything is subscribed to again: says so, since messages may have been missed.
    fn resubscribed(&mut self, id: LinkId, client: ClientId) {
        let link = self.links.get_mut(id.0).expect("a leased link");
        if link
            .entries
            .front()
            .is_some_and(|entry| entry.kind == Kind::Resubscribe)
        {
            link.pop();
            link.release();
        }
        self.stats.resubscribed += 1;
        let subscriptions = self.session(client).subscriptions.as_ref();
        let all = subscriptions.map_or(0, |subscriptions| subscriptions.len());
        let notice = format!(">2\r\n$12\r\nresubscribed\r\n:{all}\r\n");
        self.tell(client, notice.as_bytes());
    }

    /// Subscriptions that were lost with their link need no command to be made again.
    pub(super) fn restore_subscriptions(&mut self, now: Instant, id: ClientId) {
        let lost = self.session(id).subscriptions.as_ref();
        if lost.is_some_and(|subscriptions| subscriptions.restore) {
            match self.lease(now, id) {
                Lease::Ready(_) | Lease::Wait => {}
            }
        }
    }
}

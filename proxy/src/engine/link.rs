//! A connection to a server, and the requests that were given to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bellwether_resp::{Limits, Scanner};

use super::buffer::Buffer;
use super::profile::Profile;
use super::{ClientId, LinkId, ServerId};
use crate::commands::Family;

/// Bytes that may wait to be sent over one link.
const CONGESTED: usize = 4 << 20;

/// A script can nest its reply as deep as Lua's stack, some 8,000 values.
const DEPTH: usize = 8192;

/// How far a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It must be connected by then.
    Connecting(Instant),
    /// Its state is being set up: replies to so many requests are still to come.
    Greeting(u32),
    /// It takes requests.
    Ready,
    /// Its replica is not one of the group any more: what it was asked, it may answer until then.
    Retiring(Instant),
    /// Its server is not the primary any more: nothing is sent, and only refusals count. So long,
    /// at most, it may still answer.
    Stale(Instant),
    /// It is to be closed.
    Doomed,
}

/// What shares a link: a script that runs for ever must not stand before what would stop it, nor
/// before what Redis answers meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Plain,
    Scripts,
}

impl Lane {
    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Script => Self::Scripts,
            _ => Self::Plain,
        }
    }
}

/// Who may use a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Every session of its profile, for what belongs to the lane.
    Shared(Lane),
    /// One session, until it has no state in it.
    Leased(ClientId),
    /// Nobody: it waits to be lent.
    Idle,
    /// The engine itself: it asks a replica how it is.
    Probe,
}

/// What is done with a reply that has come in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Deliver,
    Drop,
}

/// How a request is treated when it is answered, refused, or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It may have effects.
    Write,
    /// Running it twice does what running it once does.
    Read,
    /// It may have effects even if it ends with a refusal.
    Script,
    /// As a read, but its session waits for it, see [`Pending`](super::session::Pending).
    Query,
    /// Sets what a [`Profile`] keeps; its session waits for it.
    Setting,
    /// May wait in the server, and then have effects; its session waits for it.
    Blocking,
    /// Changes what the proxy cannot follow; its session waits for it.
    Sticky,
    Multi,
    /// Between MULTI and EXEC.
    Queued,
    /// WATCH and UNWATCH.
    Watch,
    Exec,
    /// A DISCARD that the proxy sent in place of an EXEC that must answer null.
    ExecNull,
    Discard,
    /// The engine's own, whose reply nobody needs.
    Ignore,
    /// The engine's own: subscriptions made again. It is answered by push messages alone.
    Resubscribe,
    /// The engine's own, to set the link up.
    Greeting,
    /// The engine's own: CLIENT ID.
    Identify,
    /// The engine's own: COMMAND.
    Overlay,
    /// The engine's own: how a replica is.
    Probe,
}

impl Kind {
    /// Answered by one reply that goes to the client as it is.
    pub(super) fn is_simple(self) -> bool {
        matches!(self, Self::Write | Self::Read | Self::Script)
    }

    /// Whether it may run again although it may have run.
    pub(super) fn is_repeatable(self) -> bool {
        matches!(
            self,
            Self::Read
                | Self::Query
                | Self::Setting
                | Self::Multi
                | Self::Queued
                | Self::Watch
                | Self::Discard
        )
    }

    /// Whether a refusal proves that it did not run.
    pub(super) fn trusts_refusal(self) -> bool {
        self.is_repeatable() || matches!(self, Self::Write | Self::Blocking)
    }

    /// Whether nobody waits for its reply.
    pub(super) fn is_own(self) -> bool {
        matches!(
            self,
            Self::Ignore
                | Self::Resubscribe
                | Self::Greeting
                | Self::Identify
                | Self::Overlay
                | Self::Probe
        )
    }
}

/// A request whose reply is to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Who asked; nobody, if the engine did.
    pub(super) client: Option<ClientId>,
    pub(super) len: usize,
    /// When it was given to the link, in microseconds of the engine's clock.
    pub(super) at: u32,
    pub(super) kind: Kind,
    pub(super) family: Family,
    /// The client does not want the reply.
    pub(super) mute: bool,
    /// As the entry before it, this is a plain command, and both are of one client, family and time.
    pub(super) follows: bool,
}

/// See the module. Positions count the bytes that were given to the link since it began.
///
/// ```text
/// log:      | answered | sent, kept to be sent again | to be sent |
///           start      answered                      sent         end
/// ```
///
/// `start` may be beyond `answered`: bytes that are too many to be kept.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) server: ServerId,
    pub(super) profile: Arc<Profile>,
    pub(super) phase: Phase,
    pub(super) owner: Owner,
    pub(super) scanner: Scanner,
    /// Bytes of a reply that could not be dealt with yet.
    pub(super) inbox: Buffer,
    pub(super) partial: Option<Fate>,
    pub(super) entries: VecDeque<Entry>,
    /// The last request is not complete: its further bytes are added as they come.
    pub(super) open: bool,
    log: Buffer,
    start: u64,
    answered: u64,
    sent: u64,
    /// What the server calls this connection.
    pub(super) number: Option<u64>,
    /// The driver was told to read what is left.
    pub(super) draining: bool,
    /// The driver wanted to read while it must not.
    pub(super) paused: bool,
    pub(super) touched: bool,
    pub(super) timer: Option<Instant>,
    /// When it was lent or shared last.
    pub(super) used: Instant,
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        server: ServerId,
        profile: Arc<Profile>,
        owner: Owner,
        now: Instant,
        connect_by: Instant,
    ) -> Self {
        Self {
            id,
            server,
            profile,
            phase: Phase::Connecting(connect_by),
            owner,
            scanner: Scanner::new(Limits {
                depth: DEPTH,
                ..Limits::default()
            }),
            inbox: Buffer::default(),
            partial: None,
            entries: VecDeque::new(),
            open: false,
            log: Buffer::default(),
            start: 0,
            answered: 0,
            sent: 0,
            number: None,
            draining: false,
            paused: false,
            touched: false,
            timer: None,
            used: now,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    fn end(&self) -> u64 {
        self.start + self.log.len() as u64
    }

    /// Bytes that were given to the link and are not sent.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        usize::try_from(self.end() - self.sent).expect("no more than is in memory")
    }

    /// Whether it takes no more for the time being.
    #[inline]
    pub(super) fn is_congested(&self) -> bool {
        self.waiting() >= CONGESTED
    }

    /// Whether those who waited for room may go on.
    pub(super) fn has_room(&self) -> bool {
        self.waiting() <= CONGESTED / 2
    }

    pub(super) fn output(&self) -> &[u8] {
        match self.phase {
            Phase::Greeting(_) | Phase::Ready | Phase::Retiring(_) => self.unsent(),
            Phase::Connecting(_) | Phase::Stale(_) | Phase::Doomed => &[],
        }
    }

    fn unsent(&self) -> &[u8] {
        let from = usize::try_from(self.sent - self.start).expect("no more than is in memory");
        &self.log.as_slice()[from..]
    }

    pub(super) fn push(&mut self, entry: Entry, bytes: &[u8]) {
        assert!(!self.open, "a request is not complete");
        self.entries.push_back(entry);
        self.log.extend(bytes);
    }

    /// Bytes of requests that were pushed to `entries`, all at once.
    #[inline]
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.log.extend(bytes);
    }

    /// More of the open request.
    pub(super) fn extend_open(&mut self, bytes: &[u8]) {
        let entry = self.entries.back_mut().expect("an open request");
        entry.len += bytes.len();
        self.log.extend(bytes);
    }

    /// Bytes without requests: those of a relay.
    pub(super) fn extend_relay(&mut self, bytes: &[u8]) {
        self.log.extend(bytes);
    }

    /// So many bytes were written. Of those, `keep` stay in memory, to be sent again.
    pub(super) fn written(&mut self, n: usize, keep: usize) {
        assert!(n <= self.waiting(), "wrote more than there was");
        self.sent += n as u64;
        let kept = usize::try_from(self.sent - self.start).expect("no more than is in memory");
        if kept > keep {
            self.log.consume(kept - keep);
            self.start += (kept - keep) as u64;
        }
    }

    /// The request whose reply comes next, if it was sent in full.
    #[inline]
    pub(super) fn awaited(&self) -> Option<&Entry> {
        let entry = self.entries.front()?;
        let complete = !self.open || self.entries.len() > 1;
        (complete && self.answered + entry.len as u64 <= self.sent).then_some(entry)
    }

    /// Takes whole replies to plain commands of this client, as long as they come, and each
    /// [follows](Entry::follows) the one before. Returns the first, how many they are, and how long.
    #[inline]
    pub(super) fn take_run(
        &mut self,
        client: ClientId,
        bytes: &[u8],
    ) -> Option<(Entry, u32, usize)> {
        let first = *self.entries.front()?;
        if first.client != Some(client) || !first.kind.is_simple() || first.mute {
            return None;
        }
        let (mut replies, mut at) = (0, 0);
        while at < bytes.len()
            && !matches!(bytes[at], b'-' | b'>' | b'|')
            && let Some(entry) = self.awaited()
            && (entry.follows || replies == 0)
        {
            let Ok(Some(len)) = self.scanner.scan(&bytes[at..]) else {
                break;
            };
            at += len;
            replies += 1;
            self.pop();
        }
        (replies > 0).then_some((first, replies, at))
    }

    /// The awaited request is answered. [`Link::release`] is to follow.
    #[inline]
    pub(super) fn pop(&mut self) -> Entry {
        let entry = self.entries.pop_front().expect("an awaited request");
        self.answered += entry.len as u64;
        entry
    }

    /// Forgets the bytes of what was answered.
    #[inline]
    pub(super) fn release(&mut self) {
        if self.answered > self.start {
            let n = usize::try_from(self.answered - self.start).expect("no more than is in memory");
            self.log.consume(n);
            self.start = self.answered;
        }
    }

    /// The bytes of the awaited request, unless they were too many to be kept.
    pub(super) fn awaited_bytes(&self) -> Option<&[u8]> {
        let entry = self.entries.front()?;
        let from = usize::try_from(self.answered.checked_sub(self.start)?).ok()?;
        self.log.as_slice().get(from..from + entry.len)
    }

    /// Whether the server has been asked what it calls this link, and has not said it yet.
    pub(super) fn is_learning(&self) -> bool {
        self.number.is_none()
            && self
                .entries
                .iter()
                .any(|entry| entry.kind == Kind::Identify)
    }

    /// Whether anything that was given to it has no answer.
    pub(super) fn is_busy(&self) -> bool {
        !self.entries.is_empty()
    }

    /// How many of the entries, from the first, belong to a transaction whose EXEC was sent.
    pub(super) fn sent_transaction(&self) -> usize {
        let mut end = self.answered;
        let sent = self.entries.iter().enumerate().filter(|(_, entry)| {
            end += entry.len as u64;
            entry.kind == Kind::Exec && end <= self.sent
        });
        sent.last().map_or(0, |(index, _)| index + 1)
    }
}

//! One client: what it asked, what it is to be sent, and the state that it has in its server.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether_resp::{Limits, RequestScanner};

use super::buffer::Buffer;
use super::client::{Asked, Errand, Tracking};
use super::profile::{Change, Profile};
use super::pubsub::Subscriptions;
use super::scan::Mark;
use super::{ClientId, LinkId};
use crate::control::{Answer, Question};

/// Requests of one session that may be unanswered.
const MOST_UNANSWERED: u32 = 16 << 10;
/// As long as the size of its replies is not known.
const FIRST_UNANSWERED: u32 = 256;

/// What was taken out of the stream of requests and replies, and waits for its turn.
#[derive(Debug)]
pub(super) enum Held {
    /// A request that did not run, or may run again.
    Request {
        bytes: Box<[u8]>,
        /// What the server said to it.
        refusal: Option<Box<[u8]>>,
        /// Until when it may block, if it had begun to.
        until: Option<Option<Instant>>,
        /// The client does not want the reply.
        mute: bool,
    },
    /// What the client is told, in its turn.
    Answer(Cow<'static, [u8]>),
}

impl Held {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Request { bytes, .. } => bytes.len(),
            Self::Answer(bytes) => bytes.len(),
        }
    }
}

/// What a session waits for, when it waits for a single command: nothing behind it is sent.
#[derive(Debug)]
pub(super) enum Pending {
    /// AUTH, HELLO, SELECT.
    Setting(Change),
    /// Until when it may block; `None`: for ever.
    Blocking(Option<Instant>),
    /// WAIT, or another that has the link to itself, and leaves nothing.
    Alone,
    /// As `Alone`, on a link in another database, which goes back at once.
    Aside,
    /// As `Alone`, but this is the answer.
    Denied(Box<[u8]>),
    /// Leaves state that cannot be set up again, if it succeeds.
    Sticky,
    /// CLIENT TRACKING: what is tracked if it succeeds. The server is told it in its own numbers.
    Tracking {
        state: Option<Tracking>,
        said: Box<[u8]>,
    },
    /// So many confirmations are to come.
    Subscription(u32),
    /// INFO: the reply gets the number of the proxy's clients and, if asked for, a section about it.
    Info { section: bool },
    /// The cursor in the reply gets this mark.
    Scan {
        mark: Option<Mark>,
        /// As the client sent it.
        request: Box<[u8]>,
    },
    /// The reply names this script.
    Script(Box<[u8]>),
    /// The server is asked whether this client may do what it wants to.
    Permission(Errand),
    /// Other workers are asked; this was found here.
    Control { errand: Errand, found: Answer },
    /// The client said this; the server is told it in its own numbers.
    Translated(Box<[u8]>),
    /// The reply names a connection, not a client.
    Redirection,
    /// EXEC, in whose reply this client's number belongs into these places.
    Numbers(Vec<u32>),
}

impl Pending {
    /// What the client said, if the server was told something else.
    pub(super) fn said(&self, told: &[u8]) -> Option<Box<[u8]>> {
        match self {
            Self::Tracking { said, .. } | Self::Translated(said) => Some(said.clone()),
            Self::Permission(errand) => Some(errand.said.clone()),
            Self::Setting(change) => change.said(told),
            _ => None,
        }
    }
}

/// Whether the client wants replies: CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replies {
    On,
    Off,
    /// Not that of the next command.
    Skip,
}

/// What becomes of the bytes that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Requests,
    /// The rest of a large request goes to its link as it comes.
    Stream,
    /// The rest of a request that was given up is thrown away.
    Skip,
    /// They are relayed unread.
    Relay,
    /// No more are taken: the client said so, quit, or broke the protocol.
    Ended,
}

/// A transaction that is open.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// MULTI and what was queued, as far as it was answered.
    pub(super) log: Vec<u8>,
    /// The lengths of its requests.
    pub(super) lengths: Vec<usize>,
    /// `log` must be sent again on the next link.
    pub(super) restore: bool,
    /// More than is kept.
    pub(super) lost: bool,
    /// Keys were watched when its EXEC was sent.
    pub(super) watched: bool,
    /// MULTI itself was not run: nothing that follows is, up to EXEC.
    pub(super) aborted: bool,
    /// It holds a SUBSCRIBE or the like: what EXEC answers cannot be followed.
    pub(super) unruly: bool,
    /// Commands that the server has queued.
    pub(super) queued: u32,
    /// It holds a CLIENT ID,
    pub(super) tells_number: bool,
    /// namely in these places.
    pub(super) numbers: Vec<u32>,
    /// EXEC pauses the server for so long.
    pub(super) pause: Option<Duration>,
}

/// What a client has told of itself, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// CLIENT ID.
    pub(crate) number: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) name: Box<[u8]>,
    pub(crate) library: Box<[u8]>,
    pub(crate) library_version: Box<[u8]>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: ClientId,
    pub(super) identity: Box<Identity>,
    pub(super) profile: Arc<Profile>,
    /// Whether it may do more than authenticate.
    pub(super) admitted: bool,

    pub(super) scanner: RequestScanner,
    pub(super) input: Input,
    /// What came and is not a request yet, or waits behind one that waits.
    pub(super) inbox: Buffer,
    /// What is to be dealt with before the inbox.
    pub(super) held: VecDeque<Held>,
    /// What will be, before `held`, once everything that was sent is answered.
    pub(super) returned: Vec<Held>,
    /// What the client is to be sent.
    pub(super) out: Buffer,

    /// The link that holds its unanswered requests, or that it has leased: never two at a time, so
    /// that replies come in order by themselves.
    pub(super) at: Option<LinkId>,
    pub(super) leased: bool,
    pub(super) outstanding: u32,
    /// What a reply is long, on average.
    reply_size: u32,
    pub(super) pending: Option<Box<Pending>>,
    pub(super) replies: Replies,

    pub(super) transaction: Option<Box<Transaction>>,
    /// One whose EXEC or DISCARD has no answer yet: if that did not run, it goes on.
    pub(super) ending: Option<Box<Transaction>>,
    pub(super) watching: bool,
    /// What it watched may have changed: its EXEC answers null.
    pub(super) dirty: bool,
    /// It has state in its link that the proxy cannot set up again.
    pub(super) sticky: bool,
    pub(super) subscriptions: Option<Box<Subscriptions>>,
    pub(super) tracking: Option<Box<Tracking>>,
    /// Messages to others are redirected to its link.
    pub(super) addressed: bool,
    /// Somebody waits until it has none of its requests in another link.
    pub(super) wanted: bool,
    /// In which spell it wrote last, see [`Engine`](super::Engine).
    pub(super) wrote: Option<u32>,

    /// Since when something waits for a primary that takes it.
    pub(super) since: Option<Instant>,
    /// It waits for one now.
    pub(super) stuck: bool,
    /// The wait was not just for a first connection.
    pub(super) withheld: bool,
    /// Bytes that are counted in the engine's sum.
    pub(super) counted: usize,

    /// When the client was heard last.
    pub(super) heard: Instant,
    pub(super) since_accept: Instant,
    /// What it asked last, for CLIENT LIST.
    pub(super) asked: Asked,
    /// What other workers have answered to a question about its next request.
    pub(super) found: Option<Box<(Question, Answer)>>,
    pub(super) half_closed: bool,
    pub(super) gone: bool,
    /// What is in `out` is delivered, then the client is closed.
    pub(super) closing: bool,
    pub(super) paused: bool,
    pub(super) touched: bool,
    pub(super) timer: Option<Instant>,
}

impl Session {
    pub(super) fn new(
        id: ClientId,
        identity: Identity,
        profile: Arc<Profile>,
        limits: Limits,
        now: Instant,
    ) -> Self {
        Self {
            id,
            identity: Box::new(identity),
            profile,
            admitted: true,
            scanner: RequestScanner::new(limits),
            input: Input::Requests,
            inbox: Buffer::default(),
            held: VecDeque::new(),
            returned: Vec::new(),
            out: Buffer::default(),
            at: None,
            leased: false,
            outstanding: 0,
            reply_size: 0,
            pending: None,
            replies: Replies::On,
            transaction: None,
            ending: None,
            watching: false,
            dirty: false,
            sticky: false,
            subscriptions: None,
            tracking: None,
            addressed: false,
            wanted: false,
            wrote: None,
            since: None,
            stuck: false,
            withheld: false,
            counted: 0,
            heard: now,
            since_accept: now,
            asked: Asked::default(),
            found: None,
            half_closed: false,
            gone: false,
            closing: false,
            paused: false,
            touched: false,
            timer: None,
        }
    }

    /// Whether something of it was refused or lost, so that its next answers must be kept.
    #[inline]
    pub(super) fn is_collecting(&self) -> bool {
        !self.returned.is_empty()
    }

    /// Whether nothing must be learned from its replies, or kept back.
    #[inline]
    pub(super) fn takes_replies_as_they_are(&self) -> bool {
        self.returned.is_empty() && self.pending.is_none() && self.subscriptions.is_none()
    }

    /// Whether it may give requests to links now.
    #[inline]
    pub(super) fn may_send(&self, session_output: usize) -> bool {
        self.pending.is_none()
            && self.returned.is_empty()
            && !self.closing
            && self.out.len() < session_output
    }

    /// Whether its link holds state that the proxy cannot set up again.
    pub(super) fn is_bound(&self) -> bool {
        self.sticky || self.tracking.is_some()
    }

    /// Whether its link holds state for it.
    pub(super) fn has_state(&self) -> bool {
        self.transaction.is_some()
            || self.watching
            || self.is_bound()
            || self.addressed
            || self.subscriptions.is_some()
            || matches!(self.input, Input::Relay | Input::Stream)
    }

    /// How many requests it may send now, so that a client that never reads costs little.
    #[inline]
    pub(super) fn allowance(&self, session_buffer: usize) -> u32 {
        let most = match self.reply_size {
            // It reads slowly: it is not stopped, since it may write before it reads, but others
            // need not suffer.
            _ if self.out.len() >= session_buffer => 1,
            0 => FIRST_UNANSWERED,
            size => u32::try_from(session_buffer / size as usize + 1)
                .unwrap_or(MOST_UNANSWERED)
                .min(MOST_UNANSWERED),
        };
        most.saturating_sub(self.outstanding)
    }

    /// So many requests were answered, by so many bytes.
    #[inline]
    pub(super) fn answered(&mut self, requests: u32, bytes: usize) {
        self.outstanding -= requests;
        if self.outstanding == 0 && !self.leased {
            self.at = None;
        }
        let size = u32::try_from(bytes / requests as usize)
            .unwrap_or(u32::MAX)
            .max(1);
        self.reply_size = match self.reply_size {
            0 => size,
            // It rises at once and falls slowly.
            known if size > known => size,
            known => known - (known - size) / 8,
        };
    }

    pub(super) fn bytes_waiting(&self) -> usize {
        let held = |held: &Held| held.len();
        self.inbox.len()
            + self.held.iter().map(held).sum::<usize>()
            + self.returned.iter().map(held).sum::<usize>()
    }

    /// Whether it waits for what may never come. When its client has ended its half, it is closed,
    /// as in Redis, which would otherwise hand to nobody what it was waiting for.
    pub(super) fn waits_for_more(&self) -> bool {
        let blocks = matches!(
            self.pending.as_deref(),
            Some(Pending::Blocking(_) | Pending::Alone | Pending::Denied(_))
        );
        blocks || self.subscriptions.is_some() || matches!(self.input, Input::Relay | Input::Stream)
    }
}

//! One client: what it asked, what it was answered, and its connection to the primary.

use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::command::Kind;
use super::intake::{Input, Intake};
use super::link::{Link, Phase};
use super::memory::Memory;
use super::planted::{Bug, planted};
use super::requests::{Entry, Requests};
use super::{ClientId, LinkId, Settings, Target};
use crate::stats::Stats;

/// How long a session waits before it connects again, doubling up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// Requests of one session that may be unanswered, besides those of the last read.
const MOST_REQUESTS: usize = 16_384;

/// What a session needs to know of its engine.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) settings: &'a Settings,
    pub(super) target: Option<&'a Target>,
    pub(super) stats: &'a mut Stats,
    /// Counts links, so that each has a number of its own.
    pub(super) serial: &'a mut u64,
    /// The worker holds as many bytes as it may.
    pub(super) crowded: bool,
    pub(super) stopping: bool,
}

/// How far a session is that had a command refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    None,
    /// Nothing more is sent until all that was sent is answered.
    Draining,
    /// Everything is sent again at this time, or to the next primary.
    Pausing(Instant),
}

/// See the module. Events are absorbed by methods of their own; [`Session::settle`] then decides
/// from the state.
#[derive(Debug)]
pub(super) struct Session {
    id: ClientId,
    pub(super) intake: Intake,
    pub(super) requests: Requests,
    /// What the client is to be sent.
    pub(super) out: Buffer,
    pub(super) link: Option<Link>,
    /// An earlier link has answered requests.
    pub(super) relinked: bool,
    answered_any: bool,
    pub(super) connect_at: Option<Instant>,
    backoff: Duration,

    memory: Memory,
    transaction: bool,
    watching: bool,
    pinned: bool,

    pub(super) refusal: Refusal,
    /// Bytes of replies that wait behind a refused request.
    pub(super) stored: usize,
    /// A setting behind a refused request took effect before its turn.
    pub(super) spoiled: bool,
    /// Since when something waits for a primary that takes it.
    pub(super) since: Option<Instant>,
    /// The primary refused something and has answered nothing since.
    pub(super) refused: bool,
    /// What waits had to: it did not just wait for its first connection.
    pub(super) withheld: bool,

    /// The client sends nothing more.
    pub(super) half_closed: bool,
    /// The client has left.
    pub(super) gone: bool,
    /// Nothing is taken in any more: what is in `out` is delivered, then the client is closed.
    pub(super) closing: bool,
    pub(super) client_paused: bool,
    pub(super) timer: Option<Instant>,
    pub(super) touched: bool,
}

impl Session {
    pub(super) fn new(id: ClientId) -> Self {
        Self {
            id,
            intake: Intake::new(),
            requests: Requests::default(),
            out: Buffer::default(),
            link: None,
            relinked: false,
            answered_any: false,
            connect_at: None,
            backoff: BACKOFF.0,
            memory: Memory::default(),
            transaction: false,
            watching: false,
            pinned: false,
            refusal: Refusal::None,
            stored: 0,
            spoiled: false,
            since: None,
            refused: false,
            withheld: false,
            half_closed: false,
            gone: false,
            closing: false,
            client_paused: false,
            timer: None,
            touched: false,
        }
    }

    pub(super) fn id(&self) -> ClientId {
        self.id
    }

    pub(super) fn has_link(&self, id: LinkId) -> bool {
        self.link.as_ref().is_some_and(|link| link.id == id)
    }

    // Events of the client.

    pub(super) fn client_bytes(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        if !self.closing {
            cx.stats.requests += self.intake.receive(bytes, &mut self.requests);
        }
    }

    /// The client sends nothing more, but still expects its replies.
    pub(super) fn client_finished(&mut self) {
        self.half_closed = true;
        match self.intake.input {
            // As in Redis, which would otherwise hand to nobody what the command was waiting for.
            Input::Requests | Input::Ended if !self.requests.any_blocks() => {
                self.intake.end(&mut self.requests);
            }
            Input::Requests | Input::Ended | Input::Relay => self.gone = true,
        }
    }

    pub(super) fn client_gone(&mut self) {
        self.gone = true;
    }

    /// Returns whether there is more to decide than before.
    pub(super) fn client_written(&mut self, n: usize) -> bool {
        self.out.consume(n);
        self.closing || self.client_paused || self.link.as_ref().is_some_and(|link| link.paused)
    }

    /// Whether to read from the client. When not, an [`Action::Resume`] follows later.
    pub(super) fn may_read_client(&mut self, settings: &Settings, crowded: bool) -> bool {
        let may = self.has_room(settings) && (self.is_ready() || !crowded);
        self.client_paused = !may;
        may
    }

    fn has_room(&self, settings: &Settings) -> bool {
        !self.closing
            && self.requests.waiting_bytes() < settings.session_buffer
            && self.requests.count() < MOST_REQUESTS
            && self.out.len() < settings.session_buffer
    }

    // Events of the link.

    pub(super) fn link_up(&mut self, cx: &mut Context<'_>) {
        let link = self.link.as_mut().expect("a link was connected");
        if !matches!(link.phase, Phase::Connecting(_)) {
            // It was given up while it was made.
            return;
        }
        self.backoff = BACKOFF.0;
        match self.memory.write(&mut link.greeting) {
            _ if planted(Bug::ForgetSettings) => self.link_ready(cx),
            0 => self.link_ready(cx),
            requests => link.phase = Phase::Restoring(requests),
        }
    }

    fn link_ready(&mut self, cx: &mut Context<'_>) {
        let link = self.link.as_mut().expect("a link became ready");
        link.phase = Phase::Ready;
        self.repeat(cx);
        if std::mem::take(&mut self.withheld) {
            cx.stats.held += self.requests.count() as u64;
        }
    }

    pub(super) fn repeat(&mut self, cx: &mut Context<'_>) {
        cx.stats.replayed += self.requests.resend();
        self.refusal = Refusal::None;
        (self.stored, self.spoiled) = (0, false);
    }

    pub(super) fn link_bytes(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        let restoring = self.is_restoring();
        if self.take_replies(bytes, cx).is_err() {
            self.doom_link();
            self.back_off(cx.now);
        } else if restoring && self.is_ready() {
            self.link_ready(cx);
        }
    }

    /// Returns whether there is more to decide than before.
    pub(super) fn link_written(&mut self, n: usize, settings: &Settings) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        if link.greeting.is_empty() {
            let relay = self.intake.input == Input::Relay;
            let keep = if relay { 0 } else { settings.replay_buffer };
            self.requests.written(n, keep);
        } else {
            link.greeting.consume(n);
        }
        self.client_paused || self.refusal != Refusal::None
    }

    /// The server closed the link, or it could not be connected, or nothing is left to be read
    /// from a stale one.
    pub(super) fn link_closed(&mut self, cx: &mut Context<'_>) {
        if self
            .link
            .as_ref()
            .is_some_and(|link| link.phase != Phase::Stale)
        {
            self.back_off(cx.now);
        }
        self.lose_link(cx);
    }

    /// Gives what was sent over the link its answer.
    pub(super) fn lose_link(&mut self, cx: &mut Context<'_>) {
        let cut = self.link.as_ref().is_some_and(Link::cut_a_reply);
        if cut || self.leaves_state() {
            self.close();
        }
        self.link = None;
        self.relinked |= self.answered_any;
        cx.stats.unknown += self.requests.lose();
        if cut {
            // Nothing can be said after half a reply.
            self.requests = Requests::default();
        }
    }

    /// The link is of no use any more.
    pub(super) fn doom_link(&mut self) {
        if let Some(link) = &mut self.link {
            link.phase = Phase::Doomed;
        }
    }

    pub(super) fn back_off(&mut self, now: Instant) {
        self.connect_at = Some(now + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }

    /// There is another primary, or none, from now on.
    pub(super) fn retarget(&mut self, linger_until: Instant) {
        self.connect_at = None;
        self.backoff = BACKOFF.0;
        if self.is_ready() {
            let link = self.link.as_mut().expect("a ready link");
            link.phase = Phase::Stale;
            link.linger_until = Some(linger_until);
        } else if self
            .link
            .as_ref()
            .is_some_and(|link| link.phase != Phase::Stale)
        {
            // No request was sent over it.
            self.doom_link();
        }
    }

    pub(super) fn may_read_link(&mut self, settings: &Settings) -> bool {
        let room = self.out.len() < settings.session_buffer;
        self.link.as_mut().is_some_and(|link| {
            link.paused = !room;
            room
        })
    }

    pub(super) fn link_output(&self) -> &[u8] {
        match &self.link {
            Some(link) if !link.greeting.is_empty() => link.greeting.as_slice(),
            Some(link) if link.phase == Phase::Ready => match self.refusal {
                Refusal::None => self.requests.unsent(),
                Refusal::Draining => self.requests.unsent_of_begun(),
                Refusal::Pausing(_) => &[],
            },
            _ => &[],
        }
    }

    // State of the client's connection.

    /// The awaited request is answered, and its reply is delivered.
    #[inline]
    pub(super) fn answered(&mut self, ok: bool) {
        let entry = self.requests.answered();
        self.answered_any = true;
        self.refused &= self.refusal != Refusal::None;
        if entry.kind != Kind::Plain {
            self.change_state(entry, ok);
        }
    }

    fn change_state(&mut self, entry: Entry, ok: bool) {
        match entry.kind {
            Kind::Exec | Kind::Discard => (self.transaction, self.watching) = (false, false),
            _ if !ok => {}
            // Its effect is due at EXEC: too rare to be followed.
            Kind::Setting if self.transaction => self.pinned = true,
            Kind::Setting => self
                .memory
                .learn(entry.learns.map_or_else(Memory::default, |m| *m)),
            Kind::Pinning => self.pinned = true,
            Kind::Multi => self.transaction = true,
            Kind::Watch => self.watching = true,
            Kind::Unwatch => self.watching = false,
            Kind::Reset => {
                self.memory = Memory::default();
                (self.transaction, self.watching, self.pinned) = (false, false, false);
            }
            Kind::Plain | Kind::Script | Kind::Blocking | Kind::Wait | Kind::Quit | Kind::Raw => {}
        }
    }

    fn has_state(&self) -> bool {
        self.transaction || self.watching || self.pinned
    }

    /// Whether the server would hold state that cannot be set up again, once it has run all that
    /// was sent; or still is at work on a command that blocks.
    fn leaves_state(&self) -> bool {
        let (mut transaction, mut watching, mut pinned) =
            (self.transaction, self.watching, self.pinned);
        for entry in self.requests.in_flight() {
            match entry.kind {
                Kind::Multi => transaction = true,
                Kind::Watch => watching = true,
                Kind::Unwatch => watching = false,
                Kind::Exec | Kind::Discard => (transaction, watching) = (false, false),
                Kind::Reset => (transaction, watching, pinned) = (false, false, false),
                Kind::Pinning | Kind::Blocking | Kind::Wait | Kind::Raw => return true,
                Kind::Plain | Kind::Script | Kind::Setting | Kind::Quit => {}
            }
        }
        transaction || watching || pinned
    }

    /// Whether the awaited command, just refused, can be sent again later, and whatever follows
    /// it on the link can be kept in order behind it.
    pub(super) fn may_repeat(&self) -> bool {
        let repeatable = |kind| matches!(kind, Kind::Plain | Kind::Blocking | Kind::Setting);
        let awaited = self.requests.awaited();
        awaited.is_some_and(|entry| entry.whole && repeatable(entry.kind))
            && !self.has_state()
            && (self.requests.holds_back()
                || self
                    .requests
                    .in_flight()
                    .all(|entry| repeatable(entry.kind) || entry.kind == Kind::Script))
    }

    pub(super) fn is_ready(&self) -> bool {
        self.link
            .as_ref()
            .is_some_and(|link| link.phase == Phase::Ready)
    }

    fn is_restoring(&self) -> bool {
        let phase = self.link.as_ref().map(|link| link.phase);
        matches!(phase, Some(Phase::Restoring(_)))
    }

    pub(super) fn relays(&self) -> bool {
        self.intake.input == Input::Relay && self.is_ready() && self.requests.relays()
    }

    /// Delivers what is in `out`, then ends the session.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Delivers the answers that are known and next in order.
    pub(super) fn deliver(&mut self) {
        while !self.link.as_ref().is_some_and(Link::cut_a_reply) {
            let Some(reply) = self.requests.take_final() else {
                return;
            };
            self.out.extend(&reply);
        }
    }
}

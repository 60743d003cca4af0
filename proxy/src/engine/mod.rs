//! Decides everything and touches no socket: bytes and events in, bytes and actions out.
//!
//! A worker's driver tells the engine what happened, as often as it likes within a turn, then
//! calls [`Engine::settle`] and carries out the actions, until there are none. Time comes in as an
//! argument. For now each session has a link of its own; to its callers links are numbered apart
//! from clients, so that they may be shared later.
#![deny(clippy::disallowed_methods)]

mod buffer;
mod command;
mod intake;
mod link;
mod memory;
mod planted;
mod replies;
mod requests;
mod session;
mod settle;
mod texts;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use session::{Context, Session};

pub(crate) use texts::TOO_MANY_CLIENTS;

use crate::config::ProxyConfig;
use crate::stats::Stats;
use crate::topology::{Topology, Upstream};

/// One client's connection. Numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId {
    pub(crate) slot: u32,
    serial: u64,
}

/// One connection to a server. Numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId {
    pub(crate) slot: u32,
    serial: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Conn {
    Client(ClientId),
    Upstream(LinkId),
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Connect; then report [`Engine::link_up`] or [`Engine::link_closed`].
    Connect(LinkId, Upstream),
    /// Write what [`Engine::output`] has, and report it by [`Engine::written`].
    Flush(Conn),
    /// Reading was not allowed, and is again.
    Resume(Conn),
    /// Read what is there without waiting, report it, then close and report that too. Until then
    /// the link is read as any other, though its server is not the primary any more.
    Drain(LinkId),
    /// Close, or stop connecting, and let nothing arrive that has not yet: when a cut network heals,
    /// a write that was given up must not run. Nothing more is reported.
    Abandon(LinkId),
    /// Close, or stop connecting. Nothing more is reported.
    Close(Conn),
}

/// The bounds that the engine keeps; see [`ProxyConfig`].
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) hold: Duration,
    pub(crate) linger: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) session_buffer: usize,
    pub(crate) replay_buffer: usize,
    pub(crate) worker_buffer: usize,
}

impl From<&ProxyConfig> for Settings {
    fn from(config: &ProxyConfig) -> Self {
        Self {
            hold: config.hold,
            linger: config.linger,
            connect_timeout: config.connect_timeout,
            session_buffer: config.session_buffer,
            replay_buffer: config.replay_buffer,
            worker_buffer: config.worker_buffer,
        }
    }
}

/// The primary that commands go to, in one spell of leadership.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    term: u64,
    upstream: Upstream,
}

impl Target {
    /// Whether connections to `self` are of no use once `newer` holds.
    fn is_replaced_by(&self, newer: &Self) -> bool {
        let same =
            self.upstream.host == newer.upstream.host && self.upstream.port == newer.upstream.port;
        !same || newer.term > self.term
    }
}

/// All sessions of one worker.
#[derive(Debug)]
pub(crate) struct Engine {
    settings: Settings,
    sessions: Vec<Option<Session>>,
    free: Vec<u32>,
    touched: Vec<u32>,
    timers: BTreeSet<(Instant, u32)>,
    serial: u64,
    /// Bytes of requests of all sessions.
    bytes: usize,
    /// Sessions that are not read from because of that.
    starved: Vec<u32>,
    target: Option<Target>,
    until: Option<Instant>,
    stopping: bool,
    stats: Stats,
}

impl Engine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            sessions: Vec::new(),
            free: Vec::new(),
            touched: Vec::new(),
            timers: BTreeSet::new(),
            serial: 0,
            bytes: 0,
            starved: Vec::new(),
            target: None,
            until: None,
            stopping: false,
            stats: Stats::default(),
        }
    }

    // Events.

    /// There is a new snapshot of the servers.
    pub(crate) fn topology(&mut self, now: Instant, topology: &Arc<Topology>) {
        self.until = topology.until;
        let upstream = topology.primary.clone();
        let term = topology.term;
        let target = upstream.map(|upstream| Target { term, upstream });
        self.aim(
            now,
            target.filter(|_| self.until.is_none_or(|until| now < until)),
        );
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            self.aim(now, None);
        }
        while let Some(&(at, slot)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, slot));
            if let Some(session) = &mut self.sessions[slot as usize] {
                session.timer = None;
            }
            self.touch(slot);
        }
    }

    /// A client has connected.
    pub(crate) fn client_accepted(&mut self) -> ClientId {
        self.serial += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            u32::try_from(self.sessions.len() - 1).expect("fewer sessions than 2^32")
        });
        let id = ClientId {
            slot,
            serial: self.serial,
        };
        self.sessions[slot as usize] = Some(Session::new(id));
        self.stats.accepted += 1;
        self.stats.clients += 1;
        id
    }

    /// Whether to read from this connection now. If not, [`Action::Resume`] follows.
    pub(crate) fn may_read(&mut self, conn: Conn) -> bool {
        let crowded = self.is_crowded();
        match conn {
            Conn::Client(id) => {
                let Some(session) = client(&mut self.sessions, id) else {
                    return false;
                };
                let may = session.may_read_client(&self.settings, crowded);
                if !may && crowded {
                    self.starved.push(id.slot);
                }
                may
            }
            Conn::Upstream(id) => {
                let settings = &self.settings;
                link(&mut self.sessions, id).is_some_and(|session| session.may_read_link(settings))
            }
        }
    }

    /// This came from the connection, read no later than `now`.
    pub(crate) fn received(&mut self, now: Instant, conn: Conn, bytes: &[u8]) {
        self.event(now, conn, |session, cx| match conn {
            Conn::Client(_) => session.client_bytes(bytes, cx),
            Conn::Upstream(_) => session.link_bytes(bytes, cx),
        });
    }

    /// The client sends no more, but may still read.
    pub(crate) fn client_finished(&mut self, now: Instant, id: ClientId) {
        self.event(now, Conn::Client(id), |session, _| {
            session.client_finished();
        });
    }

    /// The connection is broken, or a server has closed it, or could not be connected, or a
    /// draining link has nothing more to read.
    pub(crate) fn closed(&mut self, now: Instant, conn: Conn) {
        self.event(now, conn, |session, cx| match conn {
            Conn::Client(_) => session.client_gone(),
            Conn::Upstream(_) => session.link_closed(cx),
        });
    }

    /// A link is connected.
    pub(crate) fn link_up(&mut self, now: Instant, id: LinkId) {
        self.event(now, Conn::Upstream(id), Session::link_up);
    }

    /// So many bytes of [`Engine::output`] were written.
    pub(crate) fn written(&mut self, conn: Conn, n: usize) {
        let Some(session) = session(&mut self.sessions, conn) else {
            return;
        };
        let before = session.requests.bytes();
        let changed = match conn {
            Conn::Client(_) => session.client_written(n),
            Conn::Upstream(_) => session.link_written(n, &self.settings),
        };
        self.bytes = self.bytes - before + session.requests.bytes();
        if changed {
            self.touch(slot(conn));
        }
    }

    /// No more clients come. Sessions end when what they asked is answered.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.touch_all();
    }

    // Results.

    /// Decides about every session that something happened to.
    pub(crate) fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.tick(now);
        while let Some(slot) = self.touched.pop() {
            let (sessions, mut cx) = self.split(now);
            let Some(session) = &mut sessions[slot as usize] else {
                continue;
            };
            session.touched = false;
            let before = session.requests.bytes();
            let alive = session.settle(&mut cx, actions);
            let after = if alive { session.requests.bytes() } else { 0 };
            let wake = session.wake_at(cx.settings.hold).filter(|_| alive);
            let timer = std::mem::replace(&mut session.timer, wake);
            if !alive {
                sessions[slot as usize] = None;
                self.free.push(slot);
                self.stats.clients -= 1;
            }
            self.bytes = self.bytes - before + after;
            self.set_timer(slot, timer, wake);
        }
        if !self.starved.is_empty() && !self.is_crowded() {
            for slot in std::mem::take(&mut self.starved) {
                self.touch(slot);
            }
            self.settle(now, actions);
        }
    }

    /// What is to be written to the connection.
    pub(crate) fn output(&self, conn: Conn) -> &[u8] {
        let session = self
            .sessions
            .get(slot(conn) as usize)
            .and_then(Option::as_ref);
        match (conn, session) {
            (Conn::Client(id), Some(session)) if session.id() == id => session.out.as_slice(),
            (Conn::Upstream(id), Some(session)) if session.has_link(id) => session.link_output(),
            _ => &[],
        }
    }

    /// When to call [`Engine::settle`] at the latest.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let until = self.until.filter(|_| self.target.is_some());
        timer.into_iter().chain(until).min()
    }

    /// Whether the connection is part of a session.
    pub(crate) fn knows(&mut self, conn: Conn) -> bool {
        session(&mut self.sessions, conn).is_some()
    }

    /// The client whose requests wait for this link, if it is not read from because of that.
    pub(crate) fn withholds_from(&mut self, id: LinkId) -> Option<ClientId> {
        let session = link(&mut self.sessions, id)?;
        (session.withheld && session.client_paused).then(|| session.id())
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stats.clients == 0
    }

    fn aim(&mut self, now: Instant, target: Option<Target>) {
        let replaced = match (&self.target, &target) {
            (Some(old), Some(new)) => old.is_replaced_by(new),
            (old, new) => old.is_some() || new.is_some(),
        };
        self.target = target;
        if replaced {
            for session in self.sessions.iter_mut().flatten() {
                session.retarget(now + self.settings.linger);
            }
            self.touch_all();
        }
    }

    fn event(
        &mut self,
        now: Instant,
        conn: Conn,
        absorb: impl FnOnce(&mut Session, &mut Context<'_>),
    ) {
        if self.until.is_some_and(|until| until <= now) {
            self.tick(now);
        }
        let slot = slot(conn);
        let (sessions, mut cx) = self.split(now);
        let Some(session) = session(sessions, conn) else {
            return;
        };
        let before = session.requests.bytes();
        absorb(session, &mut cx);
        let after = session.requests.bytes();
        self.bytes = self.bytes - before + after;
        self.touch(slot);
    }

    /// The sessions, and what each of them needs to know of the rest.
    fn split(&mut self, now: Instant) -> (&mut [Option<Session>], Context<'_>) {
        let crowded = self.is_crowded();
        let cx = Context {
            now,
            crowded,
            settings: &self.settings,
            target: self.target.as_ref(),
            stats: &mut self.stats,
            serial: &mut self.serial,
            stopping: self.stopping,
        };
        (&mut self.sessions, cx)
    }

    fn is_crowded(&self) -> bool {
        self.bytes >= self.settings.worker_buffer
    }

    fn touch(&mut self, slot: u32) {
        if let Some(session) = &mut self.sessions[slot as usize]
            && !session.touched
        {
            session.touched = true;
            self.touched.push(slot);
        }
    }

    fn touch_all(&mut self) {
        for slot in 0..self.sessions.len() {
            self.touch(u32::try_from(slot).expect("fewer sessions than 2^32"));
        }
    }

    fn set_timer(&mut self, slot: u32, old: Option<Instant>, new: Option<Instant>) {
        if old != new {
            old.map(|at| self.timers.remove(&(at, slot)));
            new.map(|at| self.timers.insert((at, slot)));
        }
    }
}

fn slot(conn: Conn) -> u32 {
    match conn {
        Conn::Client(id) => id.slot,
        Conn::Upstream(id) => id.slot,
    }
}

fn session(sessions: &mut [Option<Session>], conn: Conn) -> Option<&mut Session> {
    match conn {
        Conn::Client(id) => client(sessions, id),
        Conn::Upstream(id) => link(sessions, id),
    }
}

fn client(sessions: &mut [Option<Session>], id: ClientId) -> Option<&mut Session> {
    let session = sessions.get_mut(id.slot as usize)?.as_mut()?;
    (session.id() == id).then_some(session)
}

fn link(sessions: &mut [Option<Session>], id: LinkId) -> Option<&mut Session> {
    let session = sessions.get_mut(id.slot as usize)?.as_mut()?;
    session.has_link(id).then_some(session)
}

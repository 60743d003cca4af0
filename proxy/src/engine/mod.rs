//! Decides everything and touches no socket: bytes and events in, bytes and actions out.
//!
//! A worker's driver tells the engine what happened, as often as it likes within a turn, then
//! calls [`Engine::settle`] and carries out the actions, until there are none. Time comes in as an
//! argument.
//!
//! A **session** is a client, a **link** a connection to a server. Plain commands of all sessions
//! with the same [`Profile`] share one link of each server; whoever has state in its connection
//! leases a link. What keeps replies in order is one rule: *all unanswered requests of a session
//! are in one link*. A session that needs another link waits until it has its answers.
//!
//! ```text
//! client → inbox → (held) → link's log → server
//! client ← out   ←          link       ← server
//! ```
#![deny(clippy::disallowed_methods)]

mod answers;
mod buffer;
mod client;
mod dispatch;
mod failover;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod info;
mod intake;
mod lease;
mod link;
mod local;
mod orphans;
mod own;
mod planted;
mod probe;
mod profile;
mod pubsub;
mod replies;
mod route;
mod scan;
mod seen;
mod send;
mod server;
mod session;
mod settle;
mod slab;
mod texts;
mod transaction;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bellwether_resp::{Limits, RequestScanner};

use buffer::Spares;
use link::{Link, Phase};
use planted::{Bug, planted};
use profile::Profiles;
use server::Server;
use session::{Input, Session};
use slab::{Key, Slab};

pub(crate) use client::{Filter, Selection};
pub(crate) use profile::Profile;
pub(crate) use session::Identity;
pub(crate) use texts::TOO_MANY_CLIENTS;

use server::ServerId;

use crate::commands::Commands;
use crate::config::{Balance, Orphans, ProxyConfig, ReadFrom};
use crate::control::Question;
use crate::metrics::Metrics;
use crate::scripts::Scripts;
use crate::stats::{Board, Stats};
use crate::topology::{Topology, Upstream};

/// One client's connection. Numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(pub(crate) Key);

/// One connection to a server. Numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) Key);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Conn {
    Client(ClientId),
    Upstream(LinkId),
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Connect; then report [`Engine::link_up`] or [`Engine::closed`].
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
    /// Ask all other workers this; then report [`Engine::informed`].
    Ask(ClientId, Question),
}

/// The bounds that the engine keeps; see [`ProxyConfig`].
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) orphans: Orphans,
    pub(crate) hold: Duration,
    pub(crate) linger: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) session_buffer: usize,
    pub(crate) session_output: usize,
    pub(crate) replay_buffer: usize,
    pub(crate) worker_buffer: usize,
    pub(crate) output_buffer: usize,
    pub(crate) pool_idle: usize,
    pub(crate) pool_warm: usize,
    pub(crate) pool_max: usize,
    pub(crate) read_from: ReadFrom,
    pub(crate) balance: Balance,
    pub(crate) max_lag_bytes: Option<u64>,
    pub(crate) probe_interval: Duration,
    pub(crate) password: Option<Arc<str>>,
    /// What every client begins as.
    pub(crate) profile: Profile,
}

impl From<&ProxyConfig> for Settings {
    fn from(config: &ProxyConfig) -> Self {
        let credentials = config.upstream_credentials.as_ref();
        Self {
            orphans: config.orphans,
            hold: config.hold,
            linger: config.linger,
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            session_buffer: config.session_buffer,
            session_output: config.session_output,
            replay_buffer: config.replay_buffer,
            worker_buffer: config.worker_buffer,
            output_buffer: config.output_buffer,
            pool_idle: config.pool_idle,
            pool_warm: config.pool_warm,
            pool_max: config.pool_max,
            read_from: config.read_from,
            balance: config.balance,
            max_lag_bytes: config.max_lag_bytes,
            probe_interval: config.probe_interval,
            password: config
                .password
                .as_ref()
                .map(|password| password.0.as_str().into()),
            profile: credentials.map_or_else(Profile::default, |credentials| {
                Profile::authenticated(credentials.user.as_deref(), &credentials.password.0)
            }),
        }
    }
}

/// All sessions and links of one worker.
#[derive(Debug)]
pub(crate) struct Engine {
    settings: Settings,
    commands: Arc<Commands>,
    sessions: Slab<Session>,
    links: Slab<Link>,
    profiles: Profiles,
    profile: Arc<Profile>,
    /// By [`ServerId`].
    servers: Vec<Option<Server>>,
    primary: Option<ServerId>,
    /// So many primaries there have been.
    spell: u32,
    replicas: Vec<ServerId>,
    /// Whose turn it is to read.
    turn: usize,
    /// Servers are asked then how they are, if reads are split.
    probe_at: Option<Instant>,
    until: Option<Instant>,
    /// When clients were closed last, because their primary was lost, if some of them may be left.
    orphaned_at: Option<Instant>,
    /// The primary seems not to be one any more: nothing is sent to it before then.
    suspect: Option<Instant>,
    /// The server takes no writes until then, or until CLIENT UNPAUSE, as a client asked it to.
    writes_paused: Option<Instant>,
    /// Whether the server knows those who have not authenticated; `None`: it was not asked yet.
    needs_auth: Option<bool>,
    /// A server may be connected again then.
    retry: Option<Instant>,

    touched_clients: VecDeque<ClientId>,
    touched_links: VecDeque<LinkId>,
    timers: BTreeSet<(Instant, Conn)>,
    sweep_at: Instant,
    /// Sessions that wait for a primary, a link or room in one.
    stuck: Vec<ClientId>,
    /// Sessions that are not read from because the worker holds as much as it may.
    starved: Vec<ClientId>,
    /// Links that are leased or wait to be.
    dedicated: usize,
    /// Workers beside this one.
    others: usize,

    /// Bytes of requests of all sessions.
    bytes: usize,
    /// Bytes that all sessions are to be sent.
    out_bytes: usize,
    spares: Spares,
    stopping: bool,
    began: Instant,
    numbers: Arc<AtomicU64>,
    scripts: Arc<Scripts>,
    /// Actions that were decided between two turns.
    actions: Vec<Action>,
    stats: Stats,
    metrics: Metrics,
    /// Where both are published, and as whose.
    board: Arc<Board>,
    worker: usize,
    /// Nothing was there when that was done last.
    resting: bool,
}

impl Engine {
    pub(crate) fn new(
        now: Instant,
        settings: Settings,
        commands: Arc<Commands>,
        numbers: Arc<AtomicU64>,
        scripts: Arc<Scripts>,
    ) -> Self {
        let mut profiles = Profiles::default();
        let profile = profiles.intern(settings.profile.clone());
        let needs_auth = profile.is_authenticated().then_some(false);
        Self {
            settings,
            commands,
            sessions: Slab::default(),
            links: Slab::default(),
            profiles,
            profile,
            servers: Vec::new(),
            primary: None,
            spell: 0,
            replicas: Vec::new(),
            turn: 0,
            probe_at: None,
            until: None,
            orphaned_at: None,
            suspect: None,
            writes_paused: None,
            needs_auth,
            retry: None,
            touched_clients: VecDeque::new(),
            touched_links: VecDeque::new(),
            timers: BTreeSet::new(),
            sweep_at: now,
            stuck: Vec::new(),
            starved: Vec::new(),
            dedicated: 0,
            others: 0,
            bytes: 0,
            out_bytes: 0,
            spares: Spares::default(),
            stopping: false,
            began: now,
            numbers,
            scripts,
            actions: Vec::new(),
            stats: Stats::default(),
            metrics: Metrics::default(),
            board: Arc::new(Board::new(1)),
            worker: 0,
            resting: true,
        }
    }

    // Events.

    /// There is a new snapshot of the servers.
    pub(crate) fn topology(&mut self, now: Instant, topology: &Topology) {
        self.aim(now, topology);
    }

    /// A client has connected.
    pub(crate) fn client_accepted(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> ClientId {
        self.check_until(now);
        let identity = Identity {
            number: self.numbers.fetch_add(1, Ordering::Relaxed) + 1,
            peer,
            local,
            name: Box::default(),
            library: Box::default(),
            library_version: Box::default(),
        };
        let admitted = self.settings.password.is_none();
        let limits = self.stranger_limits();
        let profile = Arc::clone(&self.profile);
        let key = self.sessions.insert(|key| {
            let mut session = Session::new(ClientId(key), identity, profile, limits, now);
            session.admitted = admitted;
            session
        });
        self.stats.accepted += 1;
        self.stats.clients += 1;
        self.admit_or_close(ClientId(key));
        ClientId(key)
    }

    /// Whether to read from this connection now. If not, [`Action::Resume`] follows.
    pub(crate) fn may_read(&mut self, conn: Conn) -> bool {
        match conn {
            Conn::Client(id) => self.may_read_client(id),
            Conn::Upstream(id) => self.may_read_link(id),
        }
    }

    /// This came from the connection, read no later than `now`.
    #[inline]
    pub(crate) fn received(&mut self, now: Instant, conn: Conn, bytes: &[u8]) {
        self.check_until(now);
        match conn {
            Conn::Client(id) => {
                self.stats.client_bytes_in += bytes.len() as u64;
                self.client_bytes(now, id, bytes);
            }
            Conn::Upstream(id) => {
                self.stats.server_bytes_in += bytes.len() as u64;
                self.link_bytes(now, id, bytes);
            }
        }
    }

    /// The client sends no more, but may still read.
    pub(crate) fn client_finished(&mut self, id: ClientId) {
        let Some(session) = self.sessions.get_mut(id.0) else {
            return;
        };
        session.half_closed = true;
        self.touch_client(id);
    }

    /// The connection is broken, or a server has closed it, or could not be connected, or a
    /// draining link has nothing more to read.
    pub(crate) fn closed(&mut self, now: Instant, conn: Conn) {
        self.check_until(now);
        match conn {
            Conn::Client(id) => {
                if let Some(session) = self.sessions.get_mut(id.0) {
                    session.gone = true;
                    self.touch_client(id);
                }
            }
            Conn::Upstream(id) => self.link_closed(now, id),
        }
    }

    /// A link is connected.
    pub(crate) fn link_up(&mut self, now: Instant, id: LinkId) {
        self.check_until(now);
        self.greet(now, id);
    }

    /// So many bytes of [`Engine::output`] were written.
    pub(crate) fn written(&mut self, conn: Conn, n: usize) {
        match conn {
            Conn::Client(id) => {
                self.stats.client_bytes_out += n as u64;
                let Some(session) = self.sessions.get_mut(id.0) else {
                    return;
                };
                session.out.consume(n);
                self.out_bytes -= n;
                if session.out.is_empty() {
                    self.spares.take_back(&mut session.out);
                }
                let link = session.at.filter(|_| session.leased);
                let waits = !session.inbox.is_empty() || !session.held.is_empty();
                if session.closing || session.paused || waits {
                    self.touch_client(id);
                }
                if let Some(link) = link {
                    self.touch_link(link);
                }
            }
            Conn::Upstream(id) => {
                self.stats.server_bytes_out += n as u64;
                self.link_written(id, n);
            }
        }
    }

    /// No more clients come. Sessions end when what they asked is answered.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        let all: Vec<_> = self.sessions.iter().map(|session| session.id).collect();
        for id in all {
            self.touch_client(id);
        }
    }

    // Results.

    /// What is to be written to the connection.
    pub(crate) fn output(&self, conn: Conn) -> &[u8] {
        match conn {
            Conn::Client(id) => match self.sessions.get(id.0) {
                Some(session) => session.out.as_slice(),
                None => &[],
            },
            Conn::Upstream(id) => self.links.get(id.0).map_or(&[], Link::output),
        }
    }

    /// When to call [`Engine::settle`] at the latest.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let rests = self.resting && self.is_at_rest();
        let sweep = (!rests).then_some(self.sweep_at);
        let suspect = self.suspect.filter(|_| !self.stuck.is_empty());
        let retry = self.retry.filter(|_| !self.stuck.is_empty());
        [
            timer,
            self.until,
            self.orphans_leave_by(),
            suspect,
            retry,
            self.writes_paused,
            self.probe_at,
            sweep,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether the connection is of any use.
    pub(crate) fn knows(&self, conn: Conn) -> bool {
        match conn {
            Conn::Client(id) => self.sessions.get(id.0).is_some(),
            Conn::Upstream(id) => self
                .links
                .get(id.0)
                .is_some_and(|link| link.phase != Phase::Doomed),
        }
    }

    /// Clients whose requests wait for a primary, and that are not read from because of that.
    pub(crate) fn withheld(&self) -> Vec<ClientId> {
        let unread = |id: &&ClientId| {
            let session = self.sessions.get(id.0);
            session.is_some_and(|session| session.paused && session.stuck)
        };
        self.stuck.iter().filter(unread).copied().collect()
    }

    #[cfg(test)]
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stats.clients == 0
    }

    fn is_at_rest(&self) -> bool {
        self.sessions.len() + self.links.len() == 0
    }

    // Bookkeeping.

    /// Acts on the end of leadership, if it has come.
    #[inline]
    pub(crate) fn check_until(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) && !planted(Bug::OutstayLease) {
            self.lose_leadership(now);
        }
    }

    #[inline]
    fn micros(&self, now: Instant) -> u32 {
        // Wraps after an hour, which no request lasts that is measured.
        now.saturating_duration_since(self.began).as_micros() as u32
    }

    #[inline]
    fn touch_client(&mut self, id: ClientId) {
        if let Some(session) = self.sessions.get_mut(id.0)
            && !session.touched
        {
            session.touched = true;
            self.touched_clients.push_back(id);
        }
    }

    #[inline]
    fn touch_link(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id.0)
            && !link.touched
        {
            link.touched = true;
            self.touched_links.push_back(id);
        }
    }

    /// Whatever sessions were waiting for, it may be there now.
    fn free_stuck(&mut self) {
        for id in std::mem::take(&mut self.stuck) {
            if let Some(session) = self.sessions.get_mut(id.0) {
                session.stuck = false;
            }
            self.touch_client(id);
        }
    }

    fn set_timer(&mut self, conn: Conn, old: Option<Instant>, new: Option<Instant>) {
        if old != new {
            old.map(|at| self.timers.remove(&(at, conn)));
            new.map(|at| self.timers.insert((at, conn)));
        }
    }
}

/// The arguments of one whole request.
fn arguments(request: &[u8]) -> Vec<Vec<u8>> {
    all_arguments(request)
}

/// The arguments of all requests.
fn all_arguments(mut requests: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut scanner = RequestScanner::new(Limits::default());
    while let Ok(Some(len)) = scanner.scan(requests) {
        match scanner.take_inline() {
            Some(words) => all.extend(words),
            None => all.extend(
                crate::commands::arguments(&requests[..len])
                    .into_iter()
                    .flatten()
                    .map(<[u8]>::to_vec),
            ),
        }
        requests = &requests[len..];
    }
    all
}

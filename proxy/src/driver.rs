//! Carries out what a worker's engine decides. It holds no policy.
//!
//! One task serves all connections of its worker. Each turn reads what is ready, lets the engine
//! decide, and then writes to every connection that has output, once.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep_until, timeout};
use tracing::{debug, trace, warn};

use crate::commands::Commands;
use crate::control::{Inquiry, Mail};
use crate::engine::{Action, Conn, Engine, LinkId, Settings, TOO_MANY_CLIENTS};
use crate::ready::{Readiness, ReadyList};
use crate::record::record;
use crate::scripts::Scripts;
use crate::socket::Socket;
use crate::stats::Board;
use crate::topology::{Topology, Upstream};

/// Bytes of one read.
const READ: usize = 128 << 10;
/// Reads from one connection in one turn, so that none keeps the others waiting.
const READS: usize = 4;
/// Reads of what is left in a connection that will be closed: 8 MiB, more than the system keeps.
const LAST_READS: usize = 128;
/// How long to wait when the system refuses to accept, mostly for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Redis's own error begins so.
const DENIED: &[u8] =
    b"-DENIED this proxy is in protected mode: it has no password, and serves only \
    clients of its own machine\r\n";

/// What the workers of a proxy share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) max_clients: usize,
    pub(crate) local_only: bool,
    pub(crate) clients: AtomicUsize,
}

/// What one worker is given.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) settings: Settings,
    pub(crate) commands: Arc<Commands>,
    /// Numbers the clients of all workers.
    pub(crate) numbers: Arc<AtomicU64>,
    /// Known to all workers.
    pub(crate) scripts: Arc<Scripts>,
    /// What this worker is to look at, and what the others are.
    pub(crate) list: Arc<ReadyList>,
    pub(crate) others: Vec<Arc<ReadyList>>,
    pub(crate) listener: std::net::TcpListener,
    /// Where that listens.
    pub(crate) listen: SocketAddr,
    pub(crate) topologies: watch::Receiver<Arc<Topology>>,
    /// When to have ended at the latest, once it is to end. Dropping the sender means: now.
    pub(crate) stop: watch::Receiver<Option<Instant>>,
    pub(crate) shared: Arc<Shared>,
    /// Where it publishes what it does, as which of the workers.
    pub(crate) board: Arc<Board>,
    pub(crate) worker: usize,
}

struct Driver {
    engine: Engine,
    clients: Vec<Option<Socket>>,
    links: Vec<Option<Socket>>,
    connecting: JoinSet<(LinkId, io::Result<TcpStream>)>,
    connect_timeout: Duration,
    list: Arc<ReadyList>,
    others: Vec<Arc<ReadyList>>,
    /// Questions of other workers that have no answer yet.
    inquiries: Vec<Arc<Inquiry>>,
    shared: Arc<Shared>,
    scratch: Box<[u8]>,
    /// Kept for their memory.
    ready: Vec<Arc<Readiness>>,
    actions: Vec<Action>,
}

/// Serves clients until it is told to stop.
///
/// # Errors
/// The runtime could not take the listener.
pub(crate) async fn run(assignment: Assignment) -> io::Result<()> {
    let mut listener = Some(TcpListener::from_std(assignment.listener)?);
    let (mut topologies, mut stop) = (assignment.topologies, assignment.stop);
    let mut recording = JoinSet::new();
    let mut driver = Driver {
        connect_timeout: assignment.settings.connect_timeout,
        engine: Engine::new(
            Instant::now(),
            assignment.settings,
            assignment.commands,
            assignment.numbers,
            assignment.scripts,
        ),
        clients: Vec::new(),
        links: Vec::new(),
        connecting: JoinSet::new(),
        list: Arc::clone(&assignment.list),
        others: assignment.others,
        inquiries: Vec::new(),
        shared: assignment.shared,
        scratch: vec![0; READ].into(),
        ready: Vec::new(),
        actions: Vec::new(),
    };
    if assignment.worker == 0 {
        let record = record(Arc::clone(&assignment.board), assignment.listen);
        recording.spawn(record);
    }
    driver
        .engine
        .publish_on(assignment.board, assignment.worker);
    driver.engine.expect_others(driver.others.len());
    let list = assignment.list;
    let _closes = Closes(Arc::clone(&list));
    let mut timer = Timer::new();
    let mut last = None;
    let mut accept_at = None;
    topologies.mark_changed();
    while last.is_none() || !driver.engine.is_empty() {
        timer.set(
            [driver.engine.wake_at(), last, accept_at]
                .into_iter()
                .flatten()
                .min(),
        );
        tokio::select! {
            biased;
            Ok(()) = topologies.changed() => {
                let topology = Arc::clone(&topologies.borrow_and_update());
                driver.topology(&topology);
            }
            changed = stop.changed(), if last.is_none() => {
                let deadline = *stop.borrow_and_update();
                last = Some(deadline.filter(|_| changed.is_ok()).unwrap_or_else(Instant::now));
                listener = None;
                driver.engine.stop();
            }
            () = timer.passed() => {
                let now = Instant::now();
                accept_at = accept_at.filter(|at| *at > now);
                if last.is_some_and(|last| last <= now) {
                    break;
                }
            }
            Some(connected) = driver.connecting.join_next() => {
                let (id, result) = connected.expect("connecting neither panics nor is aborted");
                driver.connected(id, result);
            }
            accepted = accept(listener.as_ref()), if accept_at.is_none() => match accepted {
                Ok(stream) => driver.accept(stream),
                Err(error) => {
                    warn!(%error, "cannot accept clients");
                    accept_at = Some(Instant::now() + ACCEPT_PAUSE);
                }
            },
            () = poll_fn(|cx| list.poll_any(cx)) => driver.serve_ready(),
        }
        driver.carry_out();
        if poll_fn(|cx| std::task::Poll::Ready(list.poll_any(cx).is_ready())).await {
            // Others of this thread, and the operating system's events, come first.
            tokio::task::yield_now().await;
        }
    }
    driver.engine.publish_counts();
    Ok(())
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn connect(to: Upstream, within: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((to.host.as_str(), to.port));
    let result = timeout(within, stream).await.map_err(io::Error::from);
    result.and_then(|connected| connected).inspect_err(|error| {
        debug!(server = to.name, host = to.host, port = to.port, %error, "cannot connect");
    })
}

/// One that has gone again is as good as a stranger.
fn is_local(stream: &TcpStream) -> bool {
    let peer = stream.peer_addr();
    peer.is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
}

impl Driver {
    fn topology(&mut self, topology: &Arc<Topology>) {
        let primary = topology
            .primary
            .as_ref()
            .map(|upstream| upstream.name.as_str());
        // A leader renews this with each heartbeat.
        trace!(term = topology.term, primary, "topology");
        if self.engine.replaces_primary(topology) {
            self.hear_links();
        }
        self.engine.topology(Instant::now(), topology);
    }

    /// Takes what servers have said already. After the next topology some of it would not be believed.
    fn hear_links(&mut self) {
        for slot in 0..self.links.len() {
            let Some(conn) = self.links[slot].as_ref().map(Socket::conn) else {
                continue;
            };
            for _ in 0..LAST_READS {
                let Some(socket) = sockets(&mut self.clients, &mut self.links, conn) else {
                    break;
                };
                if !self.engine.may_read(conn) {
                    break;
                }
                // An end, or an error, is heard in its turn.
                let Ok(n @ 1..) = socket.read_now(&mut self.scratch) else {
                    break;
                };
                let now = Instant::now();
                self.engine.received(now, conn, &self.scratch[..n]);
            }
        }
    }

    fn accept(&mut self, stream: TcpStream) {
        if self.shared.local_only && !is_local(&stream) {
            let said = stream.try_write(DENIED);
            debug!(?said, "refused a client of another machine: protected mode");
            return;
        }
        if self.shared.clients.fetch_add(1, Ordering::Relaxed) >= self.shared.max_clients {
            self.shared.clients.fetch_sub(1, Ordering::Relaxed);
            // As in Redis: said if it can be said at once.
            let said = stream.try_write(TOO_MANY_CLIENTS);
            debug!(
                limit = self.shared.max_clients,
                ?said,
                "refused a client: too many"
            );
            return;
        }
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = stream.peer_addr().unwrap_or(unknown);
        let local = stream.local_addr().unwrap_or(unknown);
        let id = self.engine.client_accepted(Instant::now(), peer, local);
        let conn = Conn::Client(id);
        match Socket::new(stream, self.list.readiness(conn)) {
            Ok(socket) => put(&mut self.clients, id.0.slot, socket),
            Err(error) => {
                debug!(%error, "lost a client at once");
                self.shared.clients.fetch_sub(1, Ordering::Relaxed);
                self.engine.closed(Instant::now(), conn);
            }
        }
    }

    fn connected(&mut self, id: LinkId, result: io::Result<TcpStream>) {
        let conn = Conn::Upstream(id);
        let now = Instant::now();
        match result.and_then(|stream| Socket::new(stream, self.list.readiness(conn))) {
            Ok(socket) if self.engine.knows(conn) => {
                self.forget_departed();
                put(&mut self.links, id.0.slot, socket);
                self.engine.link_up(now, id);
            }
            // It was given up in the meantime.
            Ok(_) => {}
            Err(_) => self.engine.closed(now, conn),
        }
    }

    /// What is held must not run for a client that left. Whoever is read from has been heard; of
    /// one whose buffer is full, the system tells.
    fn forget_departed(&mut self) {
        for client in self.engine.withheld() {
            let client = Conn::Client(client);
            if self
                .socket(client)
                .is_some_and(|socket| socket.is_finished())
            {
                debug!("a client left while its requests waited");
                self.broken(client);
            }
        }
    }

    fn serve_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for mail in self.list.take(&mut ready) {
            self.read_mail(mail);
        }
        for readiness in ready.drain(..) {
            self.serve(readiness.conn);
        }
        self.ready = ready;
    }

    fn read_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Asked(inquiry) => self.inquiries.push(inquiry),
            Mail::Answered(client, found) => self.engine.informed(client, found),
        }
    }

    fn serve(&mut self, conn: Conn) {
        if self.socket(conn).is_some_and(|socket| socket.blocked) {
            self.flush(conn);
        }
        for _ in 0..READS {
            if !self.engine.may_read(conn) {
                return;
            }
            let sockets = sockets(&mut self.clients, &mut self.links, conn);
            let Some(socket) = sockets.filter(|socket| !socket.finished) else {
                return;
            };
            let read = socket.read(&mut self.scratch);
            // The time is taken after the read: what was read later than `until` is not delivered.
            match (read, conn) {
                (None, _) => return,
                (Some(Ok(0)), Conn::Client(id)) => {
                    socket.finished = true;
                    return self.engine.client_finished(id);
                }
                (Some(Ok(0) | Err(_)), _) => return self.broken(conn),
                (Some(Ok(n)), _) => self
                    .engine
                    .received(Instant::now(), conn, &self.scratch[..n]),
            }
        }
        if let Some(socket) = self.socket(conn) {
            socket.list();
        }
    }

    /// Answers other workers, as far as the answers are known. They get them when this is dropped:
    /// that must wait until what was asked for is done.
    fn answer_others(&mut self) -> Vec<Arc<Inquiry>> {
        if self.inquiries.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let inquiries = std::mem::take(&mut self.inquiries).into_iter();
        let (answered, open) = inquiries.partition(|inquiry| {
            let answer = self.engine.asked(now, &inquiry.question);
            let known = answer.is_some();
            if let Some(answer) = answer {
                inquiry.answer(answer);
            }
            known
        });
        self.inquiries = open;
        answered
    }

    fn carry_out(&mut self) {
        let answered = self.answer_others();
        loop {
            let mut actions = std::mem::take(&mut self.actions);
            self.engine.settle(Instant::now(), &mut actions);
            if actions.is_empty() {
                self.actions = actions;
                break;
            }
            for action in actions.drain(..) {
                self.act(action);
            }
            self.actions = actions;
        }
        self.engine.publish_counts();
        drop(answered);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(id, to) => {
                let within = self.connect_timeout;
                self.connecting
                    .spawn(async move { (id, connect(to, within).await) });
            }
            Action::Flush(conn) => self.flush(conn),
            Action::Resume(conn) => {
                if let Some(socket) = self.socket(conn) {
                    socket.list();
                }
            }
            Action::Drain(id) => self.read_last(Conn::Upstream(id)),
            Action::Abandon(id) => {
                if let Some(socket) = self.take(Conn::Upstream(id)) {
                    socket.abandon();
                }
            }
            Action::Close(conn) => self.close(conn),
            Action::Ask(client, question) => {
                Inquiry::send(&self.list, &self.others, client, question);
            }
        }
    }

    fn flush(&mut self, conn: Conn) {
        // The engine may have decided to forward a moment before `until`. Whatever stops this thread
        // behind a look at the clock can let one write through that is too late, and no more.
        let forwards = matches!(conn, Conn::Upstream(_));
        if forwards {
            self.engine.check_until(Instant::now());
        }
        let Some(socket) = sockets(&mut self.clients, &mut self.links, conn) else {
            return;
        };
        socket.blocked = false;
        loop {
            let output = self.engine.output(conn);
            if output.is_empty() {
                return;
            }
            let all = output.len();
            match socket.write(output) {
                Some(Ok(n)) => {
                    self.engine.written(conn, n);
                    if forwards && n < all {
                        self.engine.check_until(Instant::now());
                    }
                }
                Some(Err(_)) => return self.broken(conn),
                None => {
                    socket.blocked = true;
                    return;
                }
            }
        }
    }

    fn broken(&mut self, conn: Conn) {
        match conn {
            Conn::Client(_) => {
                self.close(conn);
                self.engine.closed(Instant::now(), conn);
            }
            // A server may have answered before it closed.
            Conn::Upstream(_) => self.read_last(conn),
        }
    }

    /// Reads what is there and closes.
    fn read_last(&mut self, conn: Conn) {
        if let Some(socket) = self.take(conn) {
            for _ in 0..LAST_READS {
                match socket.read_now(&mut self.scratch) {
                    Ok(n @ 1..) => {
                        self.engine
                            .received(Instant::now(), conn, &self.scratch[..n]);
                    }
                    Ok(0) | Err(_) => break,
                }
            }
            socket.abandon();
        }
        self.engine.closed(Instant::now(), conn);
    }

    fn close(&mut self, conn: Conn) {
        if let Some(socket) = self.take(conn) {
            socket.close(&mut self.scratch);
        }
    }

    fn socket(&mut self, conn: Conn) -> Option<&mut Socket> {
        sockets(&mut self.clients, &mut self.links, conn)
    }

    fn take(&mut self, conn: Conn) -> Option<Socket> {
        self.socket(conn)?;
        match conn {
            Conn::Client(id) => {
                self.shared.clients.fetch_sub(1, Ordering::Relaxed);
                self.clients[id.0.slot as usize].take()
            }
            Conn::Upstream(id) => self.links[id.0.slot as usize].take(),
        }
    }
}

fn put(sockets: &mut Vec<Option<Socket>>, slot: u32, socket: Socket) {
    let slot = slot as usize;
    if sockets.len() <= slot {
        sockets.resize_with(slot + 1, || None);
    }
    sockets[slot] = Some(socket);
}

fn sockets<'a>(
    clients: &'a mut [Option<Socket>],
    links: &'a mut [Option<Socket>],
    conn: Conn,
) -> Option<&'a mut Socket> {
    let socket = match conn {
        Conn::Client(id) => clients.get_mut(id.0.slot as usize)?.as_mut()?,
        Conn::Upstream(id) => links.get_mut(id.0.slot as usize)?.as_mut()?,
    };
    (socket.conn() == conn).then_some(socket)
}

/// Lets nobody wait for a worker that has ended, even by a panic.
struct Closes(Arc<ReadyList>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// One timer for all that the worker waits for.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

impl Timer {
    fn new() -> Self {
        let sleep = Box::pin(sleep_until(tokio::time::Instant::now()));
        Self { sleep, at: None }
    }

    fn set(&mut self, at: Option<Instant>) {
        if let Some(at) = at.filter(|at| self.at != Some(*at)) {
            self.sleep.as_mut().reset(at.into());
        }
        self.at = at;
    }

    /// Never, if none is set.
    async fn passed(&mut self) {
        match self.at {
            Some(_) => self.sleep.as_mut().await,
            None => std::future::pending().await,
        }
        self.at = None;
    }
}

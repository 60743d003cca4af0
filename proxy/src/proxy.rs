//! Starting and ending a proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::commands::Commands;
use crate::config::ProxyConfig;
use crate::driver::{self, Assignment, Shared};
use crate::engine::Settings;
use crate::error::Error;
use crate::ready::ReadyList;
use crate::scripts::Scripts;
use crate::stats::{Board, FamilyStats, Stats, UpstreamStats};
use crate::topology::Topology;

/// Clients that may wait to be accepted, as the system allows.
const BACKLOG: i32 = 1024;

/// A running proxy.
///
/// Dropping it ends it at once: clients are closed, whatever they wait for. To let them finish,
/// use [`Proxy::shutdown`].
#[derive(Debug)]
pub struct Proxy {
    local_addr: SocketAddr,
    stop: watch::Sender<Option<Instant>>,
    ended: watch::Receiver<bool>,
    board: Arc<Board>,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

impl Proxy {
    /// Listens, and serves clients on threads of its own from then on. Needs no runtime.
    ///
    /// When the sender of `topologies` is dropped, the last topology holds until it ends.
    ///
    /// # Errors
    /// The settings make no sense, or the address or the threads cannot be had.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a caller needs neither afterwards"
    )]
    pub fn start(
        config: ProxyConfig,
        topologies: watch::Receiver<Arc<Topology>>,
    ) -> Result<Self, Error> {
        config.check()?;
        let listeners = listen(config.listen, config.workers).map_err(|source| Error::Listen {
            address: config.listen,
            source,
        })?;
        let local_addr = listeners[0].local_addr().map_err(Error::Worker)?;
        let (stop, stopped) = watch::channel(None);
        let (tell_end, ended) = watch::channel(false);
        let commands = Commands::new(&config.renames).map_err(Error::Renames)?;
        let commands = Arc::new(commands);
        let numbers = Arc::new(AtomicU64::new(0));
        let scripts = Arc::new(Scripts::default());
        let clients = AtomicUsize::new(0);
        let shared = Arc::new(Shared {
            max_clients: config.max_clients,
            local_only: config.local_only,
            clients,
        });
        let board = Arc::new(Board::new(config.workers));
        let lists: Vec<Arc<ReadyList>> = listeners.iter().map(|_| Arc::default()).collect();
        let start = |(worker, listener)| {
            let others = lists
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != worker);
            let assignment = Assignment {
                settings: Settings::from(&config),
                commands: Arc::clone(&commands),
                numbers: Arc::clone(&numbers),
                scripts: Arc::clone(&scripts),
                list: Arc::clone(&lists[worker]),
                others: others.map(|(_, list)| Arc::clone(list)).collect(),
                listener,
                listen: local_addr,
                topologies: topologies.clone(),
                stop: stopped.clone(),
                shared: Arc::clone(&shared),
                board: Arc::clone(&board),
                worker,
            };
            let (thread, ended) = spawn(assignment, config.batch, Ends(tell_end.clone()))?;
            Ok(Worker { thread, ended })
        };
        let workers: Result<Vec<_>, io::Error> =
            listeners.into_iter().enumerate().map(start).collect();
        let workers = workers.map_err(Error::Worker)?;
        info!(address = %local_addr, workers = workers.len(), "proxy listens");
        Ok(Self {
            local_addr,
            stop,
            ended,
            board,
            workers,
        })
    }

    /// Where clients connect, with the port that was taken if 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.board.stats()
    }

    /// How long servers took to answer, for each family of commands; families that nobody used are
    /// among them. Up to a second old.
    #[must_use]
    pub fn families(&self) -> Vec<FamilyStats> {
        self.board.families()
    }

    /// The servers that the topology names, the primary first. Up to a second old.
    #[must_use]
    pub fn upstreams(&self) -> Vec<UpstreamStats> {
        self.board.upstreams()
    }

    /// Waits until a worker has ended although nobody asked for it: a defect. Its clients are cut,
    /// and new ones are refused or served by fewer workers.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error says that all have ended.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Accepts no more clients, answers what was asked already, closes each client then, and
    /// returns when all are gone; after `within` those that remain are closed as they are.
    ///
    /// # Cancel safety
    /// Dropping the future ends the proxy at once.
    pub async fn shutdown(self, within: Duration) {
        self.stop.send_replace(Some(Instant::now() + within));
        for worker in self.workers {
            // An error says that the thread is gone already.
            let _ = worker.ended.await;
            if worker.thread.join().is_err() {
                error!("a worker of the proxy had panicked");
            }
        }
    }
}

/// Says so when its thread ends, even by a panic.
struct Ends(watch::Sender<bool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

fn spawn(
    assignment: Assignment,
    batch: bool,
    ends: Ends,
) -> io::Result<(JoinHandle<()>, oneshot::Receiver<()>)> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (end, ended) = oneshot::channel();
    let thread = thread::Builder::new().name("proxy".into()).spawn(move || {
        let _ends = ends;
        if batch {
            run_as_batch();
        }
        // One task reads from many sockets: the budget per task would cut its turns short.
        let served = tokio::task::unconstrained(driver::run(assignment));
        if let Err(error) = runtime.block_on(served) {
            error!(%error, "a worker of the proxy ended");
        }
        // Name lookups may still be under way; nobody waits for them.
        runtime.shutdown_background();
        // Fails only if nobody waits for the end.
        let _ = end.send(());
    })?;
    Ok((thread, ended))
}

/// Lets this thread wait for others that run, instead of interrupting them when it wakes up.
fn run_as_batch() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
            set_thread_priority_and_policy, thread_native_id,
        };
        let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
        // The place of niceness 0 on the crate's scale, which is that of every thread.
        let usual = 48u8.try_into().expect("a value of the scale");
        let priority = ThreadPriority::Crossplatform(usual);
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
            warn!(?error, "a worker keeps its scheduling policy");
        }
    }
}

/// One listener for each worker, all on one port.
fn listen(address: SocketAddr, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let first = bind(address, false)?;
    if workers == 1 {
        return Ok(vec![first]);
    }
    // A shared port would be shared with strangers too, so it must have been free before.
    let address = first.local_addr()?;
    drop(first);
    (0..workers).map(|_| bind(address, true)).collect()
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

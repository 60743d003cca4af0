use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use redis::{Connection, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

/// Where a [`Writer`] sends its next number.
pub trait Route: Send {
    /// An address; `None`: none is known at present. `failed` is the one that just failed.
    fn next(&mut self, failed: Option<SocketAddr>) -> Option<SocketAddr>;
}

/// Each address in turn.
#[derive(Clone, Debug)]
pub struct InTurn {
    addresses: Vec<SocketAddr>,
    turn: usize,
}

impl InTurn {
    /// Takes turns among these, of which there must be one.
    #[must_use]
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            addresses: addresses.into_iter().collect(),
            turn: 0,
        }
    }
}

impl Route for InTurn {
    fn next(&mut self, _failed: Option<SocketAddr>) -> Option<SocketAddr> {
        self.turn = (self.turn + 1) % self.addresses.len();
        Some(self.addresses[self.turn])
    }
}

/// How a [`Writer`] writes.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// The list that numbers are appended to.
    pub key: String,
    /// From one number to the next.
    pub pace: Duration,
    /// How long a number may stay unanswered.
    pub patience: Duration,
    /// What to log in with.
    pub password: Option<String>,
}

impl WriterOptions {
    /// A number a millisecond, as clients with a usual timeout write it.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            pace: Duration::from_millis(1),
            patience: Duration::from_secs(10),
            password: None,
        }
    }
}

/// Appends 1, 2, 3, … to a list, on a thread of its own, until it is [finished](Writer::finish).
///
/// A number that was sent and not acknowledged is not sent again.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Record>,
}

/// What a [`Writer`] saw.
#[derive(Debug, Default)]
pub struct Record {
    /// The list.
    pub key: String,
    /// Each acknowledged number, and when its acknowledgement came.
    pub acknowledged: Vec<(u64, Instant)>,
    /// When a number failed, which, and how. It may have been appended all the same.
    pub errors: Vec<(Instant, u64, String)>,
    /// How often connecting failed.
    pub refused: u64,
    /// When it ended.
    pub finished: Option<Instant>,
}

impl Writer {
    /// Begins to write.
    #[must_use]
    pub fn start(route: impl Route + 'static, options: WriterOptions) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || write(route, &options, &stopped));
        Self { stop, thread }
    }

    /// Ends after the number under way, and tells what was seen.
    ///
    /// # Panics
    ///
    /// If the writing thread did.
    #[must_use]
    pub fn finish(self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer does not panic")
    }
}

fn write(mut route: impl Route, options: &WriterOptions, stop: &AtomicBool) -> Record {
    let mut record = Record {
        key: options.key.clone(),
        ..Record::default()
    };
    let mut connections: HashMap<SocketAddr, Connection> = HashMap::new();
    let (mut number, mut failed) = (1, None);
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due = (due + options.pace).max(Instant::now());
        let Some(address) = route.next(failed.take()) else {
            due += Duration::from_millis(2);
            continue;
        };
        let connection = match connections.entry(address) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => match connect(address, options) {
                Ok(connection) => unknown.insert(connection),
                Err(_) => {
                    record.refused += 1;
                    failed = Some(address);
                    due += Duration::from_millis(2);
                    continue;
                }
            },
        };
        let append = redis::cmd("RPUSH")
            .arg(&options.key)
            .arg(number)
            .query::<u64>(connection);
        match append {
            Ok(_) => record.acknowledged.push((number, Instant::now())),
            Err(error) => {
                record
                    .errors
                    .push((Instant::now(), number, error.to_string()));
                connections.remove(&address);
                failed = Some(address);
            }
        }
        number += 1;
    }
    record.finished = Some(Instant::now());
    record
}

fn connect(address: SocketAddr, options: &WriterOptions) -> Result<Connection> {
    let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(password) = &options.password {
        settings = settings.set_password(password);
    }
    let info = ConnectionAddr::Tcp(address.ip().to_string(), address.port())
        .into_connection_info()?
        .set_redis_settings(settings);
    let connection = redis::Client::open(info)?.get_connection_with_timeout(options.patience)?;
    connection.set_read_timeout(Some(options.patience))?;
    connection.set_write_timeout(Some(options.patience))?;
    Ok(connection)
}

impl Record {
    /// The longest time without an acknowledgement from `since` on, the silence before the writer
    /// ended included, and when that time ended. `None` if nothing was acknowledged at all.
    #[must_use]
    pub fn gap(&self, since: Instant) -> Option<(Duration, Instant)> {
        let times = self.acknowledged.iter().map(|(_, at)| *at);
        let times: Vec<_> = times.chain(self.finished).collect();
        if self.acknowledged.is_empty() {
            return None;
        }
        let gaps = times.windows(2).map(|pair| (pair[1] - pair[0], pair[1]));
        gaps.filter(|(_, end)| *end >= since).max()
    }

    /// Reads the list back and compares.
    ///
    /// # Errors
    ///
    /// When the server cannot be read.
    pub fn compare(&self, from: &mut Connection) -> Result<Comparison> {
        let kept: Vec<u64> = redis::cmd("LRANGE")
            .arg(&self.key)
            .arg(0)
            .arg(-1)
            .query(from)
            .context("reading back")?;
        let set: BTreeSet<u64> = kept.iter().copied().collect();
        let missing = self
            .acknowledged
            .iter()
            .filter(|(number, _)| !set.contains(number));
        Ok(Comparison {
            missing: missing.copied().collect(),
            repeated: kept.len() - set.len(),
            in_order: kept.windows(2).all(|pair| pair[0] < pair[1]),
            kept: set,
        })
    }
}

/// What a list holds of what a [`Writer`] wrote.
#[derive(Debug)]
pub struct Comparison {
    /// Numbers that were acknowledged and are not there.
    pub missing: Vec<(u64, Instant)>,
    /// How many numbers too many there are.
    pub repeated: usize,
    /// Whether they are in the order in which they were sent.
    pub in_order: bool,
    /// What is there.
    pub kept: BTreeSet<u64>,
}

impl Comparison {
    /// Whether the missing numbers are the last ones before `until`: what an asynchronous failover
    /// may lose lies beyond its successor's offset, never before something that was kept.
    #[must_use]
    pub fn lost_only_the_tail(&self, acknowledged: &[(u64, Instant)], until: Instant) -> bool {
        let Some((first, _)) = self.missing.first() else {
            return true;
        };
        acknowledged
            .iter()
            .filter(|(number, at)| number >= first && *at < until)
            .all(|(number, _)| !self.kept.contains(number))
    }
}

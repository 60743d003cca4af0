//! Clients that a proxy must survive without the others noticing.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use bellwether_testkit::until;

const PATIENCE: Duration = Duration::from_secs(30);
/// After this long a write that makes no progress is given up, to look whether to end.
const BLOCKED: Duration = Duration::from_millis(50);
/// Who is cut comes again, but not in a hurry: that would be another kind of hostility.
const BEFORE_COMING_AGAIN: Duration = Duration::from_millis(100);

const SLOW_CLIENTS: usize = 200;
const RECONNECTS: u32 = 1000;
/// So many at one time, or waiting for one would slow down the next.
const RECONNECTING: u32 = 8;

#[derive(Clone, Copy, Debug)]
pub(super) enum Hostile {
    /// Asks again and again for the value of this key, and reads no answer.
    NeverReads(&'static str),
    /// 200 clients that send a byte a second each.
    Drips,
    /// 1,000 times a second: connect, PING, leave.
    Reconnects,
}

impl Hostile {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NeverReads(_) => "a client that never reads",
            Self::Drips => "200 clients that send a byte a second",
            Self::Reconnects => "1,000 reconnects a second",
        }
    }

    /// Begins, and returns when it is in full swing.
    pub(super) fn start(self, address: SocketAddr) -> Result<Crowd> {
        let shared = Arc::new(Shared::default());
        let count = match self {
            Self::Reconnects => RECONNECTING,
            Self::NeverReads(_) | Self::Drips => 1,
        };
        let threads = (0..count).map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || match self {
                Self::NeverReads(key) => never_read(address, key, &shared),
                Self::Drips => drip(address, &shared),
                Self::Reconnects => reconnect(address, &shared),
            })
        });
        let mut crowd = Crowd {
            shared: Arc::clone(&shared),
            threads: threads.collect(),
            began: Instant::now(),
        };
        let swing = until(PATIENCE, self.name(), || {
            let ended = crowd.threads.iter().any(JoinHandle::is_finished);
            (ended || shared.in_swing.load(Relaxed)).then_some(ended)
        })?;
        if swing {
            crowd.end()?;
            bail!("{} ended before their time", self.name());
        }
        crowd.began = Instant::now();
        shared.deeds.store(0, Relaxed);
        Ok(crowd)
    }
}

/// Hostile clients at work.
pub(super) struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
    began: Instant,
}

#[derive(Default)]
struct Shared {
    in_swing: AtomicBool,
    stop: AtomicBool,
    /// Times that a client was cut, or came and went.
    deeds: AtomicU64,
}

impl Crowd {
    /// Ends it; how often a client was cut, or came and went, per second.
    pub(super) fn end(&mut self) -> Result<f64> {
        let rate = self.shared.deeds.load(Relaxed) as f64 / self.began.elapsed().as_secs_f64();
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("hostile clients do not panic")?;
        }
        Ok(rate)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
    }
}

fn never_read(address: SocketAddr, key: &str, shared: &Shared) -> Result<()> {
    let request = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
    let requests = request.repeat(1000);
    while !shared.stop.load(Relaxed) {
        let mut client = TcpStream::connect(address)?;
        client.set_write_timeout(Some(BLOCKED))?;
        let mut written = 0;
        while !shared.stop.load(Relaxed) {
            match client.write(&requests.as_bytes()[written..]) {
                Ok(count) => written = (written + count) % requests.len(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    shared.in_swing.store(true, Relaxed);
                }
                Err(_) => {
                    shared.deeds.fetch_add(1, Relaxed);
                    shared.in_swing.store(true, Relaxed);
                    thread::sleep(BEFORE_COMING_AGAIN);
                    break;
                }
            }
        }
    }
    Ok(())
}

fn drip(address: SocketAddr, shared: &Shared) -> Result<()> {
    let request = b"*2\r\n$3\r\nGET\r\n$1000\r\n";
    let mut clients = Vec::new();
    for _ in 0..SLOW_CLIENTS {
        clients.push(TcpStream::connect(address)?);
    }
    shared.in_swing.store(true, Relaxed);
    let turns = request.iter().chain(std::iter::repeat(&b'x'));
    for byte in turns {
        for client in &mut clients {
            if shared.stop.load(Relaxed) {
                return Ok(());
            }
            if client.write_all(&[*byte]).is_err() {
                shared.deeds.fetch_add(1, Relaxed);
                *client = TcpStream::connect(address)?;
            }
            thread::sleep(Duration::from_secs(1) / u32::try_from(SLOW_CLIENTS)?);
        }
    }
    Ok(())
}

fn reconnect(address: SocketAddr, shared: &Shared) -> Result<()> {
    let pause = Duration::from_secs(1) * RECONNECTING / RECONNECTS;
    let mut next = Instant::now();
    while !shared.stop.load(Relaxed) {
        let mut client = TcpStream::connect(address)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.write_all(b"PING\r\n")?;
        client.read_exact(&mut [0; 7])?;
        drop(client);
        shared.deeds.fetch_add(1, Relaxed);
        shared.in_swing.store(true, Relaxed);
        next += pause;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

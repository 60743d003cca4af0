//! Memory, measured of this whole process: alone in its file.

mod support;

use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bellwether_testkit::{Redis, until};
use support::{Client, Front, PATIENCE, primary};

/// The size of the value, much more than a proxy may need to pass it on.
const SIZE: usize = 256 << 20;

/// What it may need.
const LITTLE: usize = 64 << 20;

/// What is measured is all that this process uses: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A proxy that pipes its server into a client that does not read would keep everything.
#[test]
fn a_large_value_passes_in_little_memory() {
    let _alone = alone();
    let mut memory = Memory::now();
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    upload(&mut client, &mut memory);
    // It has a connection for itself, which can wait for it.
    assert_eq!(client.ask("WATCH k"), "+OK\r\n");
    client.say(&["GET k"]);
    until_asked(&server, &mut memory);
    let mut left = SIZE + format!("${SIZE}\r\n\r\n").len();
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let n = client.stream.read(&mut buffer).unwrap();
        assert!(n > 0, "{left} bytes are missing");
        left -= n;
        memory.measure();
    }
    assert_eq!(client.ask("STRLEN k"), format!(":{SIZE}\r\n"));
    memory.check();
}

/// What is shared cannot wait for one of its clients, nor may the proxy keep everything for it.
#[test]
fn whoever_leaves_a_large_value_unread_is_cut() {
    let _alone = alone();
    let mut memory = Memory::now();
    let server = primary();
    let front = Front::start(|config| {
        config.session_output = 8 << 20;
        config.output_buffer = 8 << 20;
    });
    front.point_at(1, &server);
    let (mut client, mut other) = (front.client(), front.client());
    upload(&mut client, &mut memory);
    client.say(&["GET k"]);
    until(PATIENCE, "it to be cut", || {
        memory.measure();
        assert_eq!(other.ask("PING"), "+PONG\r\n");
        front.stats().cut == 1
    })
    .unwrap();
    front.until("only the other to be left", |stats| stats.clients == 1);
    assert_eq!(other.ask("STRLEN k"), format!(":{SIZE}\r\n"));
    memory.check();
}

fn upload(client: &mut Client, memory: &mut Memory) {
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${SIZE}\r\n").as_bytes());
    let chunk = vec![b'v'; 1 << 20];
    for _ in 0..SIZE / chunk.len() {
        client.send(&chunk);
        memory.measure();
    }
    client.send(b"\r\n");
    assert_eq!(client.text(), "+OK\r\n");
}

/// Waits until the server answers GET, and waits for the proxy, as that does for its client.
fn until_asked(server: &Redis, memory: &mut Memory) {
    until(PATIENCE, "the server to be asked", || {
        memory.measure();
        let list = server.command(&["CLIENT", "LIST"]);
        list.map(|list| list.contains(" cmd=get "))
    })
    .expect("in time");
}

/// Bytes of memory of this process, in which the proxy runs.
struct Memory {
    before: usize,
    most: usize,
}

impl Memory {
    fn now() -> Self {
        let now = resident();
        Self {
            before: now,
            most: now,
        }
    }

    fn measure(&mut self) {
        self.most = self.most.max(resident());
    }

    fn check(&self) {
        let more = self.most - self.before;
        assert!(more < LITTLE, "{} KiB more", more >> 10);
    }
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).expect("a second number");
    pages.parse::<usize>().expect("a number") * 4096
}

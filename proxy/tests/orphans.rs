//! Clients that are closed with their primary, over real sockets: a proxy whose process was stopped
//! past the end of its lead, and clients that find the next leader through a Service.

mod support;

use std::io::{BufRead, Write, stdin};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bellwether_proxy::{Orphans, Topology, Upstream};
use bellwether_testkit::{Process, Program, Redis, until};
use support::relay::Relay;
use support::{Client, Front, PATIENCE, batch, primary};

const UNKNOWN: &str = "-ERR outcome unknown";

/// How long a lead lasts without renewal: so long may the machine be too busy to renew it.
const LEASE: Duration = Duration::from_secs(5);

/// What names the server to the process that leads.
const SERVER: &str = "BELLWETHER_LEADS_FOR";

fn closing() -> Front {
    Front::start(|config| config.orphans = Orphans::Close)
}

/// A proxy in a process of its own: this test binary once more, running only [`lead`].
struct Leader {
    process: Process,
    address: SocketAddr,
}

impl Leader {
    fn of(server: &Redis) -> Self {
        let process = Program::new(std::env::current_exe().expect("this program has a path"))
            .args(["--exact", "lead", "--nocapture"])
            .env(SERVER, server.port().to_string())
            .typed()
            .captured()
            .spawn()
            .expect("a process");
        let line = process.lines().wait_for("leads on ", PATIENCE);
        let line = line.expect("a proxy that leads");
        let address = line.rsplit(' ').next().map(str::parse);
        let address = address.expect("a last word").expect("an address");
        Self { process, address }
    }

    fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// It is stopped until its lead has ended, and goes on. `meanwhile` runs when it has stopped.
    fn sleep_through_its_end(&mut self, meanwhile: impl FnOnce()) {
        self.process.stop().expect("stopped");
        let end = Instant::now() + LEASE;
        meanwhile();
        until(PATIENCE, "the end of the lead", || Instant::now() > end).expect("in time");
        self.process.cont().expect("it goes on");
    }
}

/// Not a test of its own: without the variable it returns at once. It leads as an election would
/// have it: a lead that has ended is not renewed.
#[test]
fn lead() {
    let Ok(port) = std::env::var(SERVER) else {
        return;
    };
    let front = closing();
    let publish = |until| {
        let primary = Upstream {
            name: "mine".into(),
            host: "127.0.0.1".into(),
            port: port.parse().unwrap(),
        };
        front.publish(Topology {
            term: 1,
            until: Some(until),
            primary: Some(primary),
            ..Topology::default()
        });
    };
    let mut end = Instant::now() + LEASE;
    publish(end);
    println!("\nleads on {}", front.proxy.local_addr());
    thread::scope(|scope| {
        // It goes when the test that wants it does.
        let wanted = scope.spawn(|| stdin().lock().lines().next().is_none());
        while !wanted.is_finished() {
            thread::sleep(LEASE / 50);
            let now = Instant::now();
            if now < end {
                end = now + LEASE;
                publish(end);
            }
        }
    });
}

/// What was read before is known to have been in time; everything else might come from a server that
/// has lost its role meanwhile, or go to one.
#[test]
fn a_stopped_leader_that_goes_on_neither_forwards_nor_delivers() {
    let server = primary();
    let mut leader = Leader::of(&server);
    let (mut idle, mut writes, mut queues) = (leader.client(), leader.client(), leader.client());
    let (mut blocks, mut listens) = (leader.client(), leader.client());
    assert_eq!(idle.ask("INCR n"), ":1\r\n");
    assert_eq!(writes.ask("INCR n"), ":2\r\n");
    assert_eq!(queues.ask("MULTI"), "+OK\r\n");
    assert_eq!(queues.ask("INCR n"), "+QUEUED\r\n");
    assert!(listens.ask("SUBSCRIBE c").contains("subscribe"));
    blocks.say(&["BLPOP q 0"]);
    until(PATIENCE, "a blocked client", || {
        let info = server.info("clients");
        info.is_ok_and(|info| info["blocked_clients"] == "1")
    })
    .unwrap();
    let (address, mut late) = (leader.address, None);
    leader.sleep_through_its_end(|| {
        // All of this waits in the system for the proxy, which is not to believe a word of it.
        writes.say(&["INCR n"]);
        queues.say(&["EXEC"]);
        let mut client = Client::to(address);
        client.say(&["INCR n"]);
        late = Some(client);
        server.command(&["RPUSH", "q", "taken"]).unwrap();
        server.command(&["PUBLISH", "c", "news"]).unwrap();
    });
    assert_eq!(idle.next(), None);
    assert_eq!(writes.next(), None);
    assert_eq!(queues.next(), None);
    assert_eq!(listens.next(), None);
    assert_eq!(late.expect("a client").next(), None);
    assert!(blocks.text().starts_with(UNKNOWN));
    assert_eq!(blocks.next(), None);
    // The server has seen the end of the proxy's connections, and whatever came before that.
    until(PATIENCE, "the end of the proxy's connections", || {
        let info = server.info("clients");
        info.is_ok_and(|info| info["connected_clients"] == "1")
    })
    .unwrap();
    assert_eq!(server.command(&["GET", "n"]).unwrap(), "2");
    let left = server.command(&["LLEN", "q"]).unwrap();
    assert_eq!(left, "0", "it was popped, so that its outcome is unknown");
    let mut again = leader.client();
    again.send(&batch(&["PING"]));
    assert_eq!(again.next(), None, "it leads no more");
    leader.process.close_input();
    leader.process.wait(PATIENCE).unwrap();
}

/// What one client of many wrote.
#[derive(Default)]
struct Written {
    acknowledged: Vec<u64>,
    unknown: Vec<u64>,
    /// How often a connection was closed before an answer.
    closed: usize,
}

/// Writes 1, 2, 3 and so on to a list, one by one. As many libraries do, it connects again and sends
/// again what a closed connection left unanswered, and takes an error as it is.
fn write(list: usize, service: SocketAddr, stop: &AtomicBool, answered: &AtomicU64) -> Written {
    let mut written = Written::default();
    let mut client = Client::to(service);
    let mut n = 1;
    while !stop.load(Ordering::Relaxed) {
        let request = batch(&[&format!("RPUSH list{list} {n}")]);
        let sent = client.stream.write_all(&request);
        let answer = sent.ok().and_then(|()| client.next());
        let Some(answer) = answer else {
            written.closed += 1;
            client = Client::to(service);
            continue;
        };
        match String::from_utf8_lossy(&answer) {
            ok if ok.starts_with(':') => written.acknowledged.push(n),
            error => {
                assert!(error.starts_with(UNKNOWN), "{error}");
                written.unknown.push(n);
            }
        }
        answered.fetch_add(1, Ordering::Relaxed);
        n += 1;
    }
    written
}

/// What is in the list of a client, in both servers.
fn stored(servers: &[Redis], list: usize) -> Vec<u64> {
    let name = format!("list{list}");
    let mut stored: Vec<u64> = Vec::new();
    for server in servers {
        let found = server.query(&["LRANGE", &name, "0", "-1"]).expect("a list");
        stored.extend(redis::from_redis_value::<Vec<u64>>(found).expect("numbers"));
    }
    stored.sort_unstable();
    stored
}

#[test]
fn clients_find_the_next_leader_through_the_service_and_write_nothing_twice() {
    const CLIENTS: usize = 8;
    const MOVES: u64 = 20;
    let servers = [primary(), primary()];
    let fronts = [closing(), closing()];
    fronts[0].point_at(1, &servers[0]);
    let address = |leader: usize| fronts[leader].proxy.local_addr();
    let service = Relay::to(address(0));
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let written: Vec<_> = thread::scope(|scope| {
        let start = |list| {
            let (stop, answered, service) = (&stop, &answered, service.address());
            scope.spawn(move || write(list, service, stop, answered))
        };
        let clients: Vec<_> = (0..CLIENTS).map(start).collect();
        for term in 2..2 + MOVES {
            let before = answered.load(Ordering::Relaxed);
            until(PATIENCE, "writes", || {
                answered.load(Ordering::Relaxed) > before + 100
            })
            .unwrap();
            let next = usize::from(term % 2 == 0);
            fronts[1 - next].point_nowhere(term);
            // For a while nobody leads, and whoever comes is sent away.
            service.lead_to(address(next));
            fronts[next].point_at(term, &servers[next]);
        }
        let before = answered.load(Ordering::Relaxed);
        until(PATIENCE, "writes after the last move", || {
            answered.load(Ordering::Relaxed) > before + 100
        })
        .unwrap();
        stop.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    for (list, written) in written.iter().enumerate() {
        let stored = stored(&servers, list);
        assert!(
            stored.is_sorted_by(|a, b| a < b),
            "written twice: {stored:?}"
        );
        for n in &written.acknowledged {
            assert!(stored.binary_search(n).is_ok(), "{n} of {list} is lost");
        }
        let told = written.acknowledged.len() + written.unknown.len();
        assert!(stored.len() <= told);
        assert!(written.closed > 0, "it was never closed");
    }
    let orphaned: u64 = fronts.iter().map(|front| front.stats().orphaned).sum();
    assert!(orphaned >= CLIENTS as u64 * MOVES / 2, "{orphaned}");
    let replayed: u64 = fronts.iter().map(|front| front.stats().replayed).sum();
    assert_eq!(replayed, 0);
}

//! What fifty clients under load see of a change of primary, and what is left of their writes.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bellwether_proxy::Stats;
use bellwether_testkit::{Redis, until};
use support::pair::{Change, Pair};
use support::wire::{self, Replies};
use support::{Front, PATIENCE, command};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

const CLIENTS: usize = 50;

/// Pairs of a write and a read in each pipeline.
const PAIRS: u64 = 8;

const UNKNOWN: &str = "-ERR outcome unknown: ";

#[test]
fn a_switchover_costs_nothing() {
    let run = Run::of(Change::Switchover, 3);
    assert!(run.stats.replayed > 0, "writes were refused and sent again");
    assert_eq!((run.stats.unknown, run.stats.refused), (0, 0));
    for (i, client) in run.clients.iter().enumerate() {
        let unknown = &client.unknown;
        assert!(unknown.is_empty(), "client {i}: outcomes: {unknown:?}");
        let stale = &client.stale;
        assert!(stale.is_empty(), "client {i}: overtaken: {stale:?}");
        let all: Vec<u64> = (1..=client.asked).collect();
        assert_eq!(
            client.acknowledged, all,
            "client {i}: every write succeeded"
        );
        assert_eq!(
            run.lists[i], all,
            "client {i}: every write ran once, in order"
        );
    }
}

#[test]
fn a_killed_primary_costs_only_what_was_on_its_way() {
    Run::of(Change::Kill, 2).check_losses();
}

#[test]
fn a_fenced_primary_costs_only_what_was_on_its_way() {
    Run::of(Change::Cut, 2).check_losses();
}

#[test]
fn a_hanging_primary_costs_only_what_was_on_its_way() {
    Run::of(Change::Hang, 2).check_losses();
}

/// What the clients saw, and what the servers had.
struct Run {
    clients: Vec<Client>,
    /// The list of each client, as the successor had it before it took writes: one for each change.
    inherited: Vec<Vec<Vec<u64>>>,
    /// The list of each client in the end.
    lists: Vec<Vec<u64>>,
    stats: Stats,
}

/// What one client saw.
#[derive(Debug, Default)]
struct Client {
    /// It wrote the numbers from 1 to this one.
    asked: u64,
    acknowledged: Vec<u64>,
    unknown: Vec<u64>,
    /// Writes behind which a read did not show them.
    stale: Vec<u64>,
}

impl Run {
    /// Runs clients through this many changes of the primary.
    fn of(how: Change, changes: usize) -> Self {
        let mut pair = Pair::start();
        // However slow this machine is.
        let front = Front::start(|config| {
            if how == Change::Switchover {
                config.linger = PATIENCE;
            }
        });
        pair.publish_to(&front);
        let load = Arc::new(Load::default());
        let clients = thread::spawn({
            let (load, proxy) = (Arc::clone(&load), front.proxy.local_addr());
            move || support::block_on(all(&load, proxy))
        });
        let mut inherited = Vec::new();
        for _ in 0..changes {
            load.until_more(&clients);
            pair.take_over(how, &front, |successor| inherited.push(lists(successor)));
            load.until_more(&clients);
            pair.heal(how);
        }
        load.until_more(&clients);
        load.stop.store(true, Ordering::SeqCst);
        let clients = clients.join().expect("no client panics");
        pair.wait_until_equal();
        let lists = [pair.primary(), pair.replica()].map(lists);
        assert!(lists[0] == lists[1], "the servers are equal in the end");
        let [lists, _] = lists;
        Self {
            clients: clients.expect("no client sees what it should not"),
            inherited,
            lists,
            stats: front.stats(),
        }
    }

    fn check_losses(&self) {
        let changes = self.inherited.len() as u64;
        for (i, client) in self.clients.iter().enumerate() {
            let list = &self.lists[i];
            let in_order = list.is_sorted_by(|a, b| a < b);
            assert!(
                in_order,
                "client {i}: nothing ran twice or out of order: {list:?}"
            );
            for inherited in &self.inherited {
                let kept = list.starts_with(&inherited[i]);
                assert!(kept, "client {i}: the successor had {:?}", inherited[i]);
            }
            let unknown = &client.unknown;
            assert!(
                unknown.len() as u64 <= changes * PAIRS,
                "client {i}: more are in doubt than were on their way: {unknown:?}"
            );
            for n in client
                .acknowledged
                .iter()
                .filter(|n| list.binary_search(n).is_err())
            {
                assert!(
                    self.could_be_lost(i, *n),
                    "client {i}: {n} was acknowledged, and the successor had it or wrote it"
                );
            }
        }
    }

    /// Whether an acknowledged write was one of those that a successor had not got: then the
    /// successor wrote only greater ones.
    fn could_be_lost(&self, client: usize, n: u64) -> bool {
        let list = &self.lists[client];
        self.inherited.iter().any(|inherited| {
            let inherited = &inherited[client];
            let next = list.get(inherited.len()).is_none_or(|next| n < *next);
            inherited.last().is_none_or(|last| *last < n) && next
        })
    }
}

fn lists(server: &Redis) -> Vec<Vec<u64>> {
    let list = |client| {
        let elements = server.command(&["LRANGE", &list(client), "0", "-1"]);
        let elements = elements.expect("a list");
        let numbers = elements.lines().map(|line| line.parse().expect("a number"));
        numbers.collect()
    };
    (0..CLIENTS).map(list).collect()
}

fn list(client: usize) -> String {
    format!("list-{client}")
}

/// What all clients share.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    /// Pipelines that were answered.
    answered: AtomicU64,
}

impl Load {
    /// Waits until the clients have got on, or are ended by what they saw.
    fn until_more<T>(&self, clients: &thread::JoinHandle<T>) {
        let goal = self.answered.load(Ordering::SeqCst) + 20 * CLIENTS as u64;
        until(PATIENCE, "progress of the clients", || {
            clients.is_finished() || self.answered.load(Ordering::SeqCst) >= goal
        })
        .expect("in time");
    }
}

async fn all(load: &Arc<Load>, proxy: SocketAddr) -> Result<Vec<Client>, String> {
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        let load = Arc::clone(load);
        tasks.spawn(async move {
            let client = client(&load, proxy, number).await;
            client
                .map(|client| (number, client))
                .map_err(|error| format!("client {number}: {error}"))
        });
    }
    let mut clients = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        clients.push(ended.map_err(|error| error.to_string())??);
    }
    clients.sort_unstable_by_key(|(number, _)| *number);
    Ok(clients.into_iter().map(|(_, client)| client).collect())
}

/// Appends numbers to its list and reads it, in pipelines, over one connection that must last.
async fn client(load: &Load, proxy: SocketAddr, number: usize) -> Result<Client, String> {
    let (mut writer, mut replies) = wire::connect(proxy).await.map_err(|e| e.to_string())?;
    let mut client = Client::default();
    let list = list(number);
    while !load.stop.load(Ordering::SeqCst) {
        let first = client.asked + 1;
        client.asked += PAIRS;
        let pipeline: Vec<u8> = (first..first + PAIRS)
            .flat_map(|n| {
                let write = command(&[b"RPUSH", list.as_bytes(), n.to_string().as_bytes()]);
                [write, command(&[b"LINDEX", list.as_bytes(), b"-1"])].concat()
            })
            .collect();
        writer
            .write_all(&pipeline)
            .await
            .map_err(|e| e.to_string())?;
        client.read(first, &mut replies).await?;
        load.answered.fetch_add(1, Ordering::SeqCst);
    }
    Ok(client)
}

impl Client {
    /// The replies to a pipeline: to each write, and to the read behind it.
    async fn read(&mut self, first: u64, replies: &mut Replies) -> Result<(), String> {
        let mut reads = Vec::new();
        for n in first..first + PAIRS {
            let reply = next(replies).await?;
            let written = reply.starts_with(':');
            if written {
                self.acknowledged.push(n);
            } else if reply.starts_with(UNKNOWN) {
                self.unknown.push(n);
            } else {
                return Err(format!("{reply} for write {n}"));
            }
            reads.push((n, written, next(replies).await?));
        }
        reads
            .into_iter()
            .try_for_each(|(n, written, read)| self.check_read(n, written, &read))
    }

    /// A read that was lost runs again. It may see what was sent behind it, as long as that is not
    /// known to have run only later.
    fn check_read(&mut self, n: u64, written: bool, read: &str) -> Result<(), String> {
        let latest = self.unknown.last().map_or(n, |unknown| n.max(*unknown));
        let last = read.lines().nth(1);
        let last = last.and_then(|last| last.parse::<u64>().ok());
        match last {
            Some(last) if (n..=latest).contains(&last) || !written && last < n => Ok(()),
            // What a server acknowledged that is lost since need not be there.
            _ if last.is_some_and(|last| last < n) || read == "$-1\r\n" => {
                self.stale.push(n);
                Ok(())
            }
            _ => Err(format!("{read} for the read after write {n}")),
        }
    }
}

async fn next(replies: &mut Replies) -> Result<String, String> {
    let reply = replies.next().await?.ok_or("closed")?;
    String::from_utf8(reply).map_err(|error| error.to_string())
}

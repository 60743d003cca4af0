//! Several nodes of one group in one process.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bellwether_raft::{Config, Consistency, Error, Group, Leadership, Member, Roster, Storage};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::counter::{Counter, add, sum};

/// Long enough for any wait on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Nodes by their place in the list of members.
#[derive(Debug, Default)]
pub(crate) struct Flock {
    pub(crate) members: Vec<Member>,
    /// Where the nodes keep their data, if they do.
    pub(crate) disk: Option<TempDir>,
    pub(crate) nodes: BTreeMap<usize, Group<Counter>>,
}

impl Flock {
    /// As many members, none of which runs.
    pub(crate) fn new(count: usize) -> Self {
        let member = |n| {
            let port = bellwether_testkit::ports::free().expect("there are free ports");
            Member::new(format!("node-{n}"), "127.0.0.1", port)
        };
        Self {
            members: (0..count).map(member).collect(),
            disk: None,
            nodes: BTreeMap::new(),
        }
    }

    /// As many nodes with data directories, all started.
    pub(crate) async fn on_disk(count: usize) -> Self {
        let mut flock = Self::new(count);
        flock.disk = Some(tempfile::tempdir().expect("there is room"));
        for n in 0..count {
            flock.start(n).await;
        }
        flock
    }

    /// As many nodes, all started.
    pub(crate) async fn running(count: usize) -> Self {
        let mut flock = Self::new(count);
        for n in 0..count {
            flock.start(n).await;
        }
        flock
    }

    pub(crate) fn config(&self, n: usize) -> Config {
        let member = &self.members[n];
        let listen = SocketAddr::from(([127, 0, 0, 1], member.port));
        let storage = match &self.disk {
            None => Storage::Memory,
            Some(disk) => Storage::Directory(disk.path().join(&member.name)),
        };
        Config::new("flock", &member.name, listen, storage)
    }

    pub(crate) async fn start(&mut self, n: usize) {
        let config = self.config(n);
        self.start_as(n, config).await;
    }

    pub(crate) async fn start_as(&mut self, n: usize, config: Config) {
        let roster = Roster::fixed(self.members.clone());
        let node = Group::start(config, roster, Counter::default()).await;
        self.nodes.insert(n, node.expect("it can start"));
    }

    /// The node that leads, once one does by its own account.
    pub(crate) async fn leader(&self) -> usize {
        let leads = |node: &Group<Counter>| {
            matches!(*node.leadership().borrow(), Leadership::Leading { .. })
        };
        until("a leader", async || {
            let found = self.nodes.iter().find(|(_, node)| leads(node));
            found.map(|(n, _)| *n)
        })
        .await
    }

    /// Adds a number at whoever leads; tries again while it is refused. What becomes unknown is
    /// told, never tried again.
    pub(crate) async fn add(&self, number: u64) -> Option<u64> {
        until("a proposal is taken", async || {
            for node in self.nodes.values() {
                match node.propose(add(number)).await {
                    Ok(reply) => return Some(Some(sum(&reply))),
                    Err(Error::Unknown) => return Some(None),
                    Err(_) => {}
                }
            }
            None
        })
        .await
    }

    /// The state of a node once it has caught up.
    pub(crate) async fn state(&self, n: usize) -> Counter {
        until("a linearizable read", async || {
            let read = self.nodes[&n].read(Consistency::Linearizable, Counter::clone);
            read.await.ok()
        })
        .await
    }
}

/// Waits until there is something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {LONG:?} in vain for {what}"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

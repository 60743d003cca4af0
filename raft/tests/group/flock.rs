//! Several nodes of one group in one process.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use bellwether_raft::{Config, Consistency, Error, Group, Leadership, Member, Roster, Storage};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::counter::{Counter, add, sum};

/// Long enough for any wait on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How long nodes wait that stand for election only after long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes by their place in the list of members.
#[derive(Debug, Default)]
pub(crate) struct Flock {
    pub(crate) members: Vec<Member>,
    /// Where the nodes keep their data, if they do.
    pub(crate) disk: Option<TempDir>,
    /// What discovery says, if there is one; two must agree to begin.
    pub(crate) discovery: Option<watch::Sender<BTreeSet<Member>>>,
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
            discovery: None,
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
        let mut config = Config::new("flock", &member.name, listen, storage);
        // A busy machine must not make every test one of elections.
        config.heartbeat = Duration::from_millis(150);
        config.election_min = Duration::from_millis(500);
        config.election_max = Duration::from_millis(1000);
        config
    }

    /// A node that stands for election only after so long that a test is over before: who leads then
    /// was elected first, or was handed leadership.
    pub(crate) fn patient(&self, n: usize) -> Config {
        let mut config = self.config(n);
        config.election_min = PATIENCE;
        config.election_max = PATIENCE + Duration::from_secs(5);
        config.proposal_timeout = LONG;
        config.peer_timeout = LONG;
        config
    }

    pub(crate) async fn start_patient(&mut self, n: usize) {
        self.start_as(n, self.patient(n)).await;
    }

    pub(crate) async fn start(&mut self, n: usize) {
        let config = self.config(n);
        self.start_as(n, config).await;
    }

    pub(crate) async fn start_as(&mut self, n: usize, config: Config) {
        let roster = match &self.discovery {
            None => Roster::fixed(self.members.clone()),
            Some(discovery) => Roster::discovered(discovery.subscribe(), 2),
        };
        // The port and the directory are free once the node that had them is gone.
        let node = until("a start", async || {
            let started = Group::start(config.clone(), roster.clone(), Counter::default());
            match started.await {
                Ok(node) => Some(node),
                Err(Error::Listen { .. }) => None,
                Err(Error::Data { what, .. }) if what.contains("another process") => None,
                Err(error) => panic!("{error}"),
            }
        });
        self.nodes.insert(n, node.await);
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

    /// Waits until these nodes, and no others, vote.
    pub(crate) async fn voters(&self, expected: &[usize]) {
        let expected: BTreeSet<_> = expected.iter().map(|n| self.nodes[n].id()).collect();
        until("the voters", async || {
            let leader = self.leader().await;
            let status = self.nodes[&leader].status();
            let voters: BTreeSet<_> = status.voters.iter().map(|peer| peer.id).collect();
            (voters == expected && status.learners.is_empty()).then_some(())
        })
        .await;
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

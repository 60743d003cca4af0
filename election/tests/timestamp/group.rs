use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bellwether_election::{
    Election, Error, Leadership, NodeId, Participant, Rank, Stats, Term, Timestamp,
    TimestampConfig, seat,
};
use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
    task::{JoinHandle, yield_now},
};

/// Long enough for any machine; only a failure takes as long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Members of one group, all within this process.
pub(crate) struct Group {
    pub(crate) nodes: Vec<Node>,
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) participant: Arc<Participant>,
    pub(crate) stats: watch::Receiver<Stats>,
    pub(crate) members: watch::Sender<BTreeSet<(String, u16)>>,
    pub(crate) task: JoinHandle<Result<(), Error>>,
    /// Where it runs, if that is not the test's own runtime.
    apart: Option<Handle>,
}

impl Group {
    /// Members that know of each other and stand in every vacancy.
    pub(crate) async fn start(count: usize) -> Self {
        let group = Self::unspoken(count).await;
        group.nodes.iter().for_each(Node::stand);
        group
    }

    /// Members that know of each other.
    pub(crate) async fn unspoken(count: usize) -> Self {
        let group = Self::islands(count).await;
        group.bridge();
        group
    }

    /// Members that do not know of each other.
    pub(crate) async fn islands(count: usize) -> Self {
        let nodes = (0..count).map(|n| Node::start(&format!("m{n}"))).collect();
        Self { nodes }
    }

    /// Tells all of all.
    pub(crate) fn bridge(&self) {
        let all: BTreeSet<_> = self.nodes.iter().map(Node::host_and_port).collect();
        for node in &self.nodes {
            node.members.send_replace(all.clone());
        }
    }

    /// Adds a member; the others learn of it when it dials them.
    pub(crate) async fn add(&mut self) -> usize {
        let node = Node::start(&format!("m{}", self.nodes.len()));
        let all = self.nodes.iter().map(Node::host_and_port).collect();
        node.members.send_replace(all);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The same for a member that runs on a thread of its own, for as long as the test.
    pub(crate) async fn add_apart(&mut self) -> usize {
        let (handle_in, handle) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the system has room for another");
            handle_in
                .send(runtime.handle().clone())
                .expect("the test waits for it");
            runtime.block_on(std::future::pending::<()>());
        });
        let handle = handle.recv().expect("the thread has started");
        let name = format!("m{}", self.nodes.len());
        let mut node = handle
            .spawn(async move { Node::start(&name) })
            .await
            .expect("it starts");
        node.apart = Some(handle);
        let all = self.nodes.iter().map(Node::host_and_port).collect();
        node.members.send_replace(all);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Waits until one leads and all others follow it.
    pub(crate) async fn leader(&self) -> usize {
        let agreed = || {
            let leader = self.nodes.iter().position(Node::leads)?;
            let follows = |node: &Node| match node.now() {
                Leadership::Following {
                    leader: followed,
                    term,
                    ..
                } => followed == self.nodes[leader].id && Some(term) == self.nodes[leader].term(),
                _ => false,
            };
            let others = self.nodes.iter().enumerate().filter(|(n, _)| *n != leader);
            others.map(|(_, node)| node).all(follows).then_some(leader)
        };
        eventually("one leads and all follow", || agreed().is_some()).await;
        agreed().expect("seen above, without a pause since")
    }

    /// Ends a member as a crash would: its sockets close, and it says nothing.
    pub(crate) async fn kill(&mut self, node: usize) {
        let node = self.nodes.remove(node);
        node.task.abort();
        assert!(node.task.await.is_err());
    }
}

impl Node {
    pub(crate) fn start(name: &str) -> Self {
        let config = TimestampConfig::new("flock", name, ([127, 0, 0, 1], 0).into());
        let (members, listed) = watch::channel(BTreeSet::new());
        let mut election = Timestamp::new(config, listed).expect("loopback can be listened on");
        let (participant, seat) = seat(format!("card of {name}").into());
        Self {
            id: election.node().clone(),
            address: election.local_addr(),
            participant: Arc::new(participant),
            stats: election.stats(),
            members,
            task: tokio::spawn(async move { election.run(seat).await }),
            apart: None,
        }
    }

    /// Campaigns whenever nobody leads.
    fn stand(&self) {
        let participant = Arc::downgrade(&self.participant);
        let mut leadership = self.participant.leadership();
        tokio::spawn(async move {
            loop {
                if *leadership.borrow_and_update() == Leadership::Vacant {
                    let Some(participant) = participant.upgrade() else {
                        return;
                    };
                    participant.campaign(Rank::default());
                }
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Makes its thread do nothing for a while.
    pub(crate) fn stop(&self, pause: Duration) {
        let apart = self.apart.as_ref().expect("it runs on a thread of its own");
        apart.spawn(async move { std::thread::sleep(pause) });
    }

    pub(crate) fn now(&self) -> Leadership {
        self.participant.leadership().borrow().clone()
    }

    pub(crate) fn leads(&self) -> bool {
        matches!(self.now(), Leadership::Leading { until: Some(until), .. } if Instant::now() < until)
    }

    pub(crate) fn term(&self) -> Option<Term> {
        self.now().term()
    }

    pub(crate) fn host_and_port(&self) -> (String, u16) {
        (self.address.ip().to_string(), self.address.port())
    }
}

/// Waits for a condition; fails if it does not come true.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < DEADLINE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        yield_now().await;
    }
}

//! Members of one election, all within this process.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bellwether_election::{Election, Error, Leadership, NodeId, Participant, Rank, Term, seat};
use bytes::Bytes;
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::sleep,
};

use crate::backend::Backend;

/// Long enough for any machine; only a failure takes as long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Members of one election, watched by a witness.
pub(crate) struct Flock {
    pub(crate) nodes: Vec<Node>,
    /// The highest term that was seen.
    pub(crate) last_term: Term,
    _surroundings: Box<dyn Any>,
}

/// A member and its application.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) participant: Arc<Participant>,
    stands: Arc<AtomicBool>,
    application: AbortHandle,
    pub(crate) task: JoinHandle<(Box<dyn Election>, Result<(), Error>)>,
}

impl Flock {
    /// Members that stand in every vacancy with the rank of their number.
    pub(crate) async fn standing(backend: Backend, count: usize) -> Self {
        let flock = Self::silent(backend, count).await;
        for node in &flock.nodes {
            node.stand(true);
        }
        flock
    }

    /// Members that do not stand, and say so in every vacancy.
    pub(crate) async fn silent(backend: Backend, count: usize) -> Self {
        let members = backend.members(count).await;
        let start = |(n, (id, election))| Node::start(id, election, n);
        Self {
            nodes: (0..).zip(members.elections).map(start).collect(),
            last_term: Term(0),
            _surroundings: members.surroundings,
        }
    }

    /// Waits until one leads, in a new term or in that last seen, and all others follow it.
    pub(crate) async fn leader(&mut self) -> usize {
        let leader = eventually("one leads and all follow", || self.agreed()).await;
        let term = self.nodes[leader].now().term().unwrap_or(self.last_term);
        assert!(term >= self.last_term, "{term} after {}", self.last_term);
        self.last_term = term;
        leader
    }

    /// The same, after an earlier spell has ended.
    pub(crate) async fn next_leader(&mut self) -> usize {
        let before = self.last_term;
        let later = || {
            let leader = self.agreed()?;
            (self.nodes[leader].now().term() > Some(before)).then_some(leader)
        };
        eventually("another spell", later).await;
        self.leader().await
    }

    fn agreed(&self) -> Option<usize> {
        let leaders: Vec<_> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].leads())
            .collect();
        assert!(leaders.len() <= 1, "{leaders:?} lead at one time");
        let leader = *leaders.first()?;
        let term = self.nodes[leader].now().term();
        let agrees = |(n, node): (usize, &Node)| match node.now() {
            Leadership::Following {
                leader: followed,
                card,
                term: followed_in,
            } => followed == self.nodes[leader].id && Some(followed_in) == term && !card.is_empty(),
            Leadership::Vacant | Leadership::Leading { .. } => n == leader,
        };
        self.nodes.iter().enumerate().all(agrees).then_some(leader)
    }

    /// Ends a member as a crash would: it says nothing.
    pub(crate) async fn kill(&mut self, node: usize) -> Node {
        let mut node = self.nodes.remove(node);
        node.task.abort();
        assert!((&mut node.task).await.is_err(), "it was killed");
        node
    }
}

impl Node {
    fn start(id: NodeId, mut election: Box<dyn Election>, rank: u8) -> Self {
        let (participant, seat) = seat(format!("card of {id}").into());
        let participant = Arc::new(participant);
        let stands = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(async move {
            let end = election.run(seat).await;
            (election, end)
        });
        let application = application(&participant, Arc::clone(&stands), rank);
        Self {
            id,
            application: tokio::spawn(application).abort_handle(),
            participant,
            stands,
            task,
        }
    }

    /// From now on, stands in every vacancy or in none; who leads goes on.
    pub(crate) fn stand(&self, stands: bool) {
        self.stands.store(stands, Ordering::SeqCst);
    }

    /// Stands no more, and gives up what it leads.
    pub(crate) fn withdraw(&self, successor: Option<NodeId>) {
        self.stand(false);
        self.participant.resign(successor);
    }

    /// The application leaves.
    pub(crate) fn leave(self) -> JoinHandle<(Box<dyn Election>, Result<(), Error>)> {
        self.application.abort();
        self.task
    }

    pub(crate) fn now(&self) -> Leadership {
        self.participant.leadership().borrow().clone()
    }

    pub(crate) fn leads(&self) -> bool {
        match self.now() {
            Leadership::Leading { until, .. } => until.is_none_or(|until| Instant::now() < until),
            Leadership::Vacant | Leadership::Following { .. } => false,
        }
    }

    /// What it knows as the leader's card.
    pub(crate) fn told(&self) -> Option<Bytes> {
        match self.now() {
            Leadership::Following { card, .. } => Some(card),
            Leadership::Vacant | Leadership::Leading { .. } => None,
        }
    }
}

/// Speaks in every vacancy, and again until it is heard: what is said may be about a former one.
fn application(
    participant: &Arc<Participant>,
    stands: Arc<AtomicBool>,
    rank: u8,
) -> impl Future<Output = ()> + Send + 'static {
    let participant = Arc::downgrade(participant);
    async move {
        let mut said = None;
        while let Some(participant) = participant.upgrade() {
            let mut leadership = participant.leadership();
            let vacant = *leadership.borrow_and_update() == Leadership::Vacant;
            let stands = stands.load(Ordering::SeqCst);
            if !vacant {
                said = None;
            } else if stands && said != Some(true) {
                participant.campaign(Rank(vec![rank]));
                said = Some(true);
            } else if !stands && said != Some(false) {
                participant.resign(None);
                said = Some(false);
            }
            drop(participant);
            tokio::select! {
                _ = leadership.changed() => {}
                () = sleep(Duration::from_millis(20)) => {}
            }
        }
    }
}

/// Waits for what the condition gives.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "waited {DEADLINE:?} in vain: {what}"
        );
        sleep(Duration::from_millis(2)).await;
    }
}

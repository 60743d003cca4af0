use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use bellwether_election::{
    Election, Error, Leadership, Lease, LeaseConfig, LeaseStatus, NodeId, Participant, Pauser,
    Rank, Term, seat,
};
use bellwether_testkit::kube::{Access, KubeApi, Link, Request, User};
use bytes::Bytes;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinHandle},
    time::sleep,
};

/// Long enough for any machine; only a failure takes as long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const LEASE: &str = "redis";

/// Candidates for one Lease, all within this process, each with a network of its own to the API.
pub(crate) struct Group {
    pub(crate) api: KubeApi,
    pub(crate) nodes: Vec<Node>,
    witness: Arc<Witness>,
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) link: Link,
    pub(crate) user: User,
    pub(crate) status: watch::Receiver<LeaseStatus>,
    pub(crate) pauser: Pauser,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) peers: watch::Receiver<BTreeMap<NodeId, bellwether_election::Peer>>,
    wishes: mpsc::UnboundedSender<Wish>,
    pub(crate) task: JoinHandle<Result<(), Error>>,
    application: AbortHandle,
    killed: bool,
}

enum Wish {
    Stand(bool),
    Resign(Option<NodeId>),
    Announce(Bytes),
    Leave,
}

/// Short times, so that the suite is.
pub(crate) fn quick(member: &str) -> LeaseConfig {
    let mut config = LeaseConfig::new(LEASE, member);
    config.lease_duration = Duration::from_secs(3);
    config.renew_deadline = Duration::from_secs(2);
    config.retry_period = Duration::from_millis(400);
    config.fence_timeout = Duration::from_millis(500);
    config
}

impl Group {
    /// An API without a Lease, and nobody.
    pub(crate) fn empty() -> Self {
        Self {
            api: KubeApi::start().expect("the API starts"),
            nodes: Vec::new(),
            witness: Arc::default(),
        }
    }

    /// Candidates for a Lease that was made by hand, so that nobody has to wait for it.
    pub(crate) async fn start(count: usize) -> Self {
        let mut group = Self::empty();
        group.put(&json!({}), &json!({}));
        group.join(count).await;
        group
    }

    /// The same with other candidates.
    pub(crate) async fn with(configure: impl Fn(&str) -> LeaseConfig, count: usize) -> Self {
        let mut group = Self::empty();
        group.put(&json!({}), &json!({}));
        for _ in 0..count {
            group.add(&configure, Access::all()).await;
        }
        group
    }

    pub(crate) async fn join(&mut self, count: usize) {
        for _ in 0..count {
            self.add(&quick, Access::all()).await;
        }
    }

    /// Adds a candidate that stands in every vacancy.
    pub(crate) async fn add(&mut self, configure: &impl Fn(&str) -> LeaseConfig, access: Access) {
        let number = self.nodes.len();
        let member = format!("redis-{number}");
        let link = self.api.new_link().expect("a port is free");
        let user = self.api.user(&member, access);
        let config = configure(&member);
        let client = client(&self.api.kubeconfig_by(&link, &user, "default")).await;
        let mut election = Lease::new(client, config).expect("the configuration is right");
        let (participant, seat) = seat(format!("card of {member}").into());
        let (wishes, wished) = mpsc::unbounded_channel();
        let (leadership, peers) = (participant.leadership(), participant.peers());
        let witness = Arc::clone(&self.witness);
        let application = tokio::spawn(application(number, participant, wished, witness));
        self.nodes.push(Node {
            id: election.node().clone(),
            link,
            user,
            status: election.status(),
            pauser: election.pauser(),
            leadership,
            peers,
            wishes,
            task: tokio::spawn(async move { election.run(seat).await }),
            application: application.abort_handle(),
            killed: false,
        });
    }

    /// Writes the Lease past everybody.
    pub(crate) fn put(&self, annotations: &Value, spec: &Value) {
        self.api
            .put(&json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": { "name": LEASE, "namespace": "default", "annotations": annotations },
                "spec": spec,
            }))
            .expect("the Lease is written");
    }

    pub(crate) fn lease(&self) -> Value {
        let lease = self.api.object("leases", "default", LEASE);
        lease.expect("the API answers").unwrap_or_default()
    }

    pub(crate) fn delete(&self) {
        let there = self.api.remove("leases", "default", LEASE);
        assert!(there.expect("the API deletes"), "there was a Lease");
    }

    /// Waits until one leads and all others that run follow it; returns its number.
    pub(crate) async fn leader(&self) -> usize {
        eventually("one leads and all follow", || {
            let running = || {
                self.nodes
                    .iter()
                    .filter(|node| !node.killed && !node.task.is_finished())
            };
            let leader = self.leading()?;
            let id = &self.nodes[leader].id;
            let follows = |node: &Node| match node.now() {
                Leadership::Following { leader, .. } => leader == *id,
                Leadership::Leading { .. } => node.id == *id,
                Leadership::Vacant => false,
            };
            running().all(follows).then_some(leader)
        })
        .await
    }

    /// The one who leads now.
    pub(crate) fn leading(&self) -> Option<usize> {
        self.nodes.iter().position(Node::leads)
    }

    /// Ends a candidate as a crash would, network and all.
    pub(crate) fn kill(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.killed = true;
        node.task.abort();
        node.application.abort();
        node.link.refuse().expect("the link is cut");
        self.witness.end(number, Instant::now());
    }

    /// That never two led at a time, and that each term was higher than the one before. Returns
    /// how many spells there were.
    pub(crate) fn judge(&self) -> usize {
        let mut spells = self.witness.spells().clone();
        spells.sort_by_key(|spell| spell.from);
        for pair in spells.windows(2) {
            let [before, after] = pair else {
                unreachable!("windows of two")
            };
            assert!(before.term < after.term, "terms grow: {spells:#?}");
            assert!(
                before.number == after.number || before.to <= after.from,
                "two led at a time: {spells:#?}"
            );
        }
        spells.len()
    }
}

impl Node {
    pub(crate) fn now(&self) -> Leadership {
        self.leadership.borrow().clone()
    }

    /// Whether it leads, and its lease has not run out.
    pub(crate) fn leads(&self) -> bool {
        match self.now() {
            _ if self.killed => false,
            Leadership::Leading { until, .. } => until.is_some_and(|until| Instant::now() < until),
            _ => false,
        }
    }

    pub(crate) fn term(&self) -> Option<Term> {
        self.now().term()
    }

    pub(crate) fn stand(&self, stands: bool) {
        self.wish(Wish::Stand(stands));
    }

    pub(crate) fn resign(&self, successor: Option<NodeId>) {
        self.wish(Wish::Resign(successor));
    }

    pub(crate) fn announce(&self, card: &'static str) {
        self.wish(Wish::Announce(card.into()));
    }

    pub(crate) fn leave(&self) {
        self.wish(Wish::Leave);
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.status.borrow().problem.clone()
    }

    fn wish(&self, wish: Wish) {
        self.wishes.send(wish).expect("the application runs");
    }
}

/// Stands in every vacancy, unless told otherwise, and bears witness of how it led.
async fn application(
    number: usize,
    participant: Participant,
    mut wishes: mpsc::UnboundedReceiver<Wish>,
    witness: Arc<Witness>,
) {
    let mut leadership = participant.leadership();
    let mut stands = true;
    loop {
        let now = leadership.borrow_and_update().clone();
        witness.see(number, &now);
        if now == Leadership::Vacant && stands {
            participant.campaign(Rank::default());
        }
        tokio::select! {
            news = leadership.changed() => if news.is_err() {
                return witness.end(number, Instant::now());
            },
            wish = wishes.recv() => match wish {
                Some(Wish::Stand(stand)) => stands = stand,
                Some(Wish::Resign(successor)) => {
                    stands = false;
                    // An application stops to lead before it resigns.
                    witness.resign(number, Instant::now());
                    participant.resign(successor);
                }
                Some(Wish::Announce(card)) => participant.announce(card),
                Some(Wish::Leave) | None => {
                    return witness.end(number, Instant::now());
                }
            },
        }
    }
}

/// Who led when.
#[derive(Default)]
struct Witness(Mutex<Vec<Spell>>);

#[derive(Clone, Debug)]
struct Spell {
    number: usize,
    term: Term,
    from: Instant,
    to: Instant,
    over: bool,
    resigned: bool,
}

impl Witness {
    fn spells(&self) -> MutexGuard<'_, Vec<Spell>> {
        self.0.lock().expect("nobody panics with it")
    }

    fn see(&self, number: usize, leadership: &Leadership) {
        let now = Instant::now();
        let Leadership::Leading { term, until } = *leadership else {
            return self.end(number, now);
        };
        let until = until.expect("a Lease has an end");
        let mut spells = self.spells();
        let of_node = spells.iter_mut().filter(|spell| spell.number == number);
        match of_node.last() {
            // Who resigns may read for a moment that it leads.
            Some(spell) if spell.term == term && spell.resigned => {}
            Some(spell) if spell.term == term && !spell.over => spell.to = until,
            _ => spells.push(Spell {
                number,
                term,
                from: now,
                to: until,
                over: false,
                resigned: false,
            }),
        }
    }

    fn resign(&self, number: usize, now: Instant) {
        self.end(number, now);
        for spell in self.spells().iter_mut() {
            spell.resigned |= spell.number == number;
        }
    }

    fn end(&self, number: usize, now: Instant) {
        for spell in self.spells().iter_mut() {
            if spell.number == number && !spell.over {
                spell.to = spell.to.min(now);
                spell.over = true;
            }
        }
    }
}

pub(crate) async fn client(kubeconfig: &str) -> kube::Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("it is a kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .expect("it can be used");
    config.default_retry = false;
    kube::Client::try_from(config).expect("it can be used")
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
        sleep(Duration::from_millis(5)).await;
    }
}

/// `true` as a condition.
pub(crate) fn when(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// What a request carried.
pub(crate) fn written(request: &Request) -> Value {
    request.body.clone().unwrap_or_default()
}

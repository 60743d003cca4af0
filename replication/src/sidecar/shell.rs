//! Carries out what the core decides, and tells it what came of it. Holds no policy.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::Future,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bellwether_election::{Leadership, Participant};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::{info, warn};

use super::{
    Decided, MemberStatus, SidecarConfig, Status, Switched, Tally,
    core::{Action, Core, Decision, Event, Order, Who},
};
use crate::{Address, Clients, Error, Instance, View};

/// How many decisions are kept for the operator.
const DECISIONS: usize = 32;

/// To how many addresses control connections are kept.
const OTHERS: usize = 64;

/// Makes the instance through which another member's server is asked and fenced. It is called once
/// for each address.
pub type Connect = Box<dyn Fn(&Address) -> Arc<dyn Instance> + Send>;

/// An agent beside one server.
pub struct Sidecar {
    config: SidecarConfig,
    core: Core,
    own: Arc<dyn Instance>,
    connect: Connect,
    others: HashMap<Address, Arc<dyn Instance>>,
    participant: Participant,
    members: watch::Receiver<BTreeMap<String, Address>>,
    paused: watch::Receiver<bool>,
    requests: mpsc::Receiver<Request>,
    waiting: Vec<oneshot::Sender<Result<Switched, String>>>,
    view: watch::Sender<View>,
    status: watch::Sender<Arc<Status>>,
    decisions: VecDeque<Decided>,
    decided: u64,
    tally: Tally,
    tasks: JoinSet<Event>,
    left: bool,
}

enum Request {
    Switchover {
        to: Option<String>,
        answer: oneshot::Sender<Result<Switched, String>>,
    },
    Leave,
}

/// How the rest of a program speaks with a [`Sidecar`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<View>,
    status: watch::Receiver<Arc<Status>>,
}

impl Handle {
    /// Whom clients may be brought to. Ends with no primary when the sidecar ends.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// What the sidecar knows and decides.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Makes another member's server primary without losing a write: the named one, or whichever
    /// follows most closely. Returns when it serves and this server follows it.
    ///
    /// # Errors
    ///
    /// Why it could not be done, in one line; the group is then as it was, or has a primary by
    /// election if the successor failed after the point of no return.
    ///
    /// # Cancel safety
    ///
    /// A switchover that has begun goes on.
    pub async fn switch_over(&self, to: Option<String>) -> Result<Switched, String> {
        let (answer, outcome) = oneshot::channel();
        let gone = || "the sidecar has ended".to_owned();
        let request = Request::Switchover { to, answer };
        self.requests.send(request).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    /// Asks the sidecar to hand over, if it leads, and to end: [`Sidecar::run`] then returns.
    pub async fn leave(&self) {
        // A sidecar that has ended needs no asking.
        let _ = self.requests.send(Request::Leave).await;
    }
}

impl Sidecar {
    /// An agent for the server `own`, which takes part in an election through `participant`.
    #[must_use]
    pub fn new(
        config: SidecarConfig,
        own: Arc<dyn Instance>,
        connect: Connect,
        participant: Participant,
    ) -> (Self, Handle) {
        let (request_sender, requests) = mpsc::channel(8);
        let (view, view_receiver) = watch::channel(View::default());
        let (status, status_receiver) = watch::channel(Arc::default());
        let handle = Handle {
            requests: request_sender,
            view: view_receiver,
            status: status_receiver,
        };
        let sidecar = Self {
            core: Core::new(config.clone(), now()),
            config,
            own,
            connect,
            others: HashMap::new(),
            participant,
            members: watch::channel(BTreeMap::new()).1,
            paused: watch::channel(false).1,
            requests,
            waiting: Vec::new(),
            view,
            status,
            decisions: VecDeque::new(),
            decided: 0,
            tally: Tally::default(),
            tasks: JoinSet::new(),
            left: false,
        };
        (sidecar, handle)
    }

    /// Takes members from discovery too, this one included: their names as the election calls them,
    /// and where their servers are. Nobody is waited for before the first of them are known, but
    /// that is, up to [`SidecarConfig::form_timeout`]. For elections that do not tell of every peer, and
    /// for members whose agents are not there. What an agent says of its server's address goes
    /// before what discovery says.
    #[must_use]
    pub fn with_members(mut self, members: watch::Receiver<BTreeMap<String, Address>>) -> Self {
        self.members = members;
        self.core.await_members();
        self
    }

    /// Learns whether an operator has paused automatic failover. While that is so this member gives
    /// leadership to another only when it is asked to, by [`Handle::switch_over`] and
    /// [`Handle::leave`]; where it would have given way to a better dataset, nobody leads. That the
    /// others do not take leadership from one that is gone is the election's part.
    #[must_use]
    pub fn with_pause(mut self, paused: watch::Receiver<bool>) -> Self {
        self.paused = paused;
        self
    }

    /// Works until [`Handle::leave`] is asked for and the server needs this agent no longer.
    ///
    /// # Panics
    ///
    /// If an [`Instance`] panics.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves the server as it is, as a crash would.
    pub async fn run(mut self) {
        let mut leadership = self.participant.leadership();
        let mut peers = self.participant.peers();
        leadership.mark_changed();
        let mut members = self.members.clone();
        members.mark_changed();
        let mut paused = self.paused.clone();
        paused.mark_changed();
        let own = Arc::clone(&self.own);
        // Whether the connection to the own server is worth watching: it answered.
        let mut connected = false;
        while !self.left {
            let wake = self
                .core
                .wake_at()
                .unwrap_or_else(|| now() + Duration::from_secs(1));
            let event = tokio::select! {
                Ok(()) = leadership.changed() => {
                    Event::Leadership(leadership.borrow_and_update().clone())
                }
                Ok(()) = peers.changed() => Event::Peers(peers.borrow_and_update().clone()),
                Ok(()) = members.changed() => {
                    Event::Members(members.borrow_and_update().clone())
                }
                Ok(()) = paused.changed() => Event::Paused(*paused.borrow_and_update()),
                Some(done) = self.tasks.join_next() => done.expect("no task panics"),
                Some(request) = self.requests.recv() => self.absorb_request(request),
                () = own.lost(), if connected => {
                    connected = false;
                    Event::Lost
                }
                () = tokio::time::sleep_until(wake.into()) => Event::Tick,
            };
            if let Event::Answer {
                who: Who::Own,
                answer,
                ..
            } = &event
            {
                connected = answer.is_ok();
            }
            for action in self.core.step(now(), event) {
                self.perform(action);
            }
            self.publish_status(&leadership.borrow(), *paused.borrow());
        }
        self.view.send_replace(View::default());
    }

    fn absorb_request(&mut self, request: Request) -> Event {
        match request {
            Request::Leave => Event::Leave,
            Request::Switchover { to, answer } => {
                self.waiting.push(answer);
                Event::Switchover { to }
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Campaign(rank) => self.participant.campaign(rank),
            Action::Resign(successor) => self.participant.resign(successor),
            Action::Announce(card) => self.participant.announce(card.encode()),
            Action::Ask(who) => self.ask(who),
            Action::Order(order) => self.order(order),
            Action::FenceMember { member, address } => self.fence_member(member, &address),
            Action::Publish(view) => {
                self.view.send_replace(view);
            }
            Action::Explain(decision) => self.explain(decision),
            Action::SwitchoverEnded(result) => {
                self.tally.switched(&result);
                // The refusal of a second one must not answer the first.
                let answer = match &result {
                    Err(_) => self.waiting.pop(),
                    Ok(_) => (!self.waiting.is_empty()).then(|| self.waiting.remove(0)),
                };
                if let Some(answer) = answer {
                    // Whoever asked may have left.
                    let _ = answer.send(result);
                }
            }
            Action::Left => self.left = true,
        }
    }

    fn ask(&mut self, who: Who) {
        let (instance, patience) = match &who {
            Who::Own => (Arc::clone(&self.own), self.config.down_after),
            Who::Member { address, .. } => (self.other(address), self.config.answer_timeout),
        };
        self.tasks.spawn(async move {
            let asked = now();
            let answer = Box::new(bounded(patience, instance.inspect()).await);
            Event::Answer { who, asked, answer }
        });
    }

    fn order(&mut self, order: Order) {
        let own = Arc::clone(&self.own);
        let (patience, pause) = (self.config.down_after, self.config.handover_timeout * 2);
        self.tasks.spawn(async move {
            let done = async {
                match &order {
                    Order::Promote(passport) => own.promote(passport).await,
                    Order::Stamp(passport) => own.stamp(passport).await,
                    Order::DemandReplicas(demand) => own.demand_replicas(*demand).await,
                    Order::Follow(address) => own.follow(address).await,
                    Order::Fence(clients) => own.fence(*clients).await,
                    Order::PauseWrites => own.pause_writes(pause).await,
                    Order::ResumeWrites => own.resume_writes().await,
                }
            };
            Event::Done(bounded(patience, done).await)
        });
    }

    fn fence_member(&mut self, member: String, address: &Address) {
        let (instance, patience) = (self.other(address), self.config.answer_timeout);
        self.tasks.spawn(async move {
            let result = bounded(patience, instance.fence(Clients::Cut)).await;
            Event::Fenced { member, result }
        });
    }

    fn other(&mut self, address: &Address) -> Arc<dyn Instance> {
        if self.others.len() >= OTHERS {
            // Addresses come and go; whoever is still there is connected to again.
            self.others.clear();
        }
        let connect = &self.connect;
        let instance = self
            .others
            .entry(address.clone())
            .or_insert_with(|| connect(address));
        Arc::clone(instance)
    }

    fn explain(&mut self, decision: Decision) {
        let Decision {
            kind,
            what,
            why,
            grave,
        } = decision;
        if grave {
            warn!(why, "{what}");
        } else {
            info!(why, "{what}");
        }
        if self.decisions.len() == DECISIONS {
            self.decisions.pop_front();
        }
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at_ms = since_1970.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        self.decided += 1;
        self.tally.decided(kind);
        self.decisions.push_back(Decided {
            number: self.decided,
            at_ms,
            kind,
            what,
            why,
        });
    }

    fn publish_status(&self, leadership: &Leadership, paused: bool) {
        let (name, leader) = match leadership {
            Leadership::Vacant => ("vacant", None),
            Leadership::Following { leader, .. } => ("following", Some(leader.member.clone())),
            Leadership::Leading { .. } => ("leading", Some(self.config.server.name.clone())),
        };
        let view = self.view.borrow();
        let (server, trouble) = match self.core.own().map(|answer| &answer.result) {
            None => (None, Some("the own server has not answered yet".to_owned())),
            Some(Err(error)) => (None, Some(error.clone())),
            Some(Ok(own)) => {
                let not_whole = own.whole().err().map(str::to_owned);
                (Some(own.clone()), self.core.trouble().or(not_whole))
            }
        };
        let members = self.core.answers().map(|(name, member)| {
            let status = MemberStatus {
                redis: member.address.clone(),
                connected: member.agent.is_some(),
                server: member.respondent.latest().cloned(),
            };
            (name.clone(), status)
        });
        self.status.send_replace(Arc::new(Status {
            leadership: name.to_owned(),
            leader,
            term: leadership.term(),
            paused,
            primary: view.primary.clone(),
            replicas: view.replicas.clone(),
            server,
            trouble,
            members: members.collect(),
            decisions: self.decisions.iter().cloned().collect(),
            tally: self.tally.clone(),
        }));
    }
}

/// Every question and order ends in bounded time, with an error if need be.
async fn bounded<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, String> {
    match timeout(patience, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}

fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

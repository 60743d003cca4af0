//! A world: nodes, a clock for each, and a queue of what happens when.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use bellwether_election::NodeId;
use fastrand::Rng;
use uuid::Uuid;

use super::{
    checks::Ledger,
    election::{Mesh, Seat, Vote},
    faults::Plan,
    network::{Network, Path},
    server::{Process, Server, address_of, node_at},
};
use crate::{
    Clients, Inspection, Link, Server as Named, View,
    sidecar::{
        SidecarConfig,
        core::{Action, Core, Event, Flaw, Order, Who},
    },
};

/// World time in microseconds.
pub(super) type Time = u64;

pub(super) const MS: Time = 1_000;
pub(super) const SECOND: Time = 1_000 * MS;

/// What happens at some time.
#[derive(Debug)]
pub(super) enum Happening {
    Step {
        node: usize,
        life: u64,
        event: Event,
    },
    Tick {
        node: usize,
        life: u64,
        at: Time,
    },
    Arrive(Message),
    Reply {
        node: usize,
        task: u64,
        outcome: Outcome,
    },
    Replicate {
        server: usize,
        at: Time,
    },
    CopyArrives {
        server: usize,
        stamp: u64,
    },
    Loaded {
        server: usize,
        run: u64,
    },
    Write,
    Vote(Vote),
    Fault(super::faults::Fault),
    Look,
}

/// A question or an order on its way to a server.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) from: usize,
    to: usize,
    task: u64,
    pub(super) sent: Time,
    work: Work,
}

#[derive(Clone, Debug)]
enum Work {
    Inspect,
    Obey(Order),
    Fence,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Said(Box<Inspection>),
    Done,
    Failed(String),
}

/// What an agent waits for.
#[derive(Debug)]
enum Task {
    Ask { who: Who, asked: Instant },
    Order,
    Fence { member: String },
}

struct Scheduled {
    at: Time,
    number: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A machine's clock: it is off, and it drifts.
#[derive(Clone, Copy, Debug)]
struct Clock {
    offset: u64,
    parts_per_million: u64,
}

pub(super) struct Node {
    pub(super) agent: Option<Agent>,
    pub(super) server: Server,
    clock: Clock,
    /// When it was told to be primary of late.
    pub(super) promotions: Vec<Time>,
    /// Messages that a stopped server will read when it goes on.
    queued: VecDeque<Message>,
}

pub(super) struct Agent {
    /// Counts the lives of agents.
    pub(super) life: u64,
    pub(super) id: NodeId,
    pub(super) core: Core,
    pub(super) stopped: bool,
    /// Since when it runs, or is stopped.
    pub(super) runs_since: Time,
    pub(super) seat: Seat,
    pub(super) view: View,
    pub(super) leaving: bool,
    /// The primary that it last showed.
    pub(super) last_primary: Option<usize>,
    /// Whom it last told its server to follow.
    pub(super) followed: Option<usize>,
    /// In whose favour it resigned in the switchover that is under way.
    pub(super) handed_over: Option<NodeId>,
    /// When the switchovers began that have not ended.
    pub(super) switchovers: Vec<Time>,
    /// What happened while it was stopped.
    inbox: Vec<Event>,
    tasks: HashMap<u64, Task>,
    /// Whether its shell watches the connection to its server.
    watches: bool,
    tick: Time,
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) plan: Plan,
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    pub(super) mesh: Mesh,
    pub(super) ledger: Ledger,
    pub(super) flaw: Option<Flaw>,
    /// Whether a vote is scheduled.
    pub(super) voting: bool,
    pub(super) violation: Option<String>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    number: u64,
    epoch: Instant,
    trace: bool,
}

impl World {
    pub(super) fn new(seed: u64, flaw: Option<Flaw>, epoch: Instant, trace: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let mut world = Self {
            now: 0,
            network: Network::whole(plan.nodes),
            mesh: Mesh::new(plan.nodes),
            ledger: Ledger::new(plan.nodes),
            nodes: Vec::new(),
            rng,
            plan,
            flaw,
            voting: false,
            violation: None,
            queue: BinaryHeap::new(),
            number: 0,
            epoch,
            trace,
        };
        world.note(|world| format!("{:?}", world.plan));
        world.populate();
        world
    }

    /// Runs to the end, or to the first violation.
    pub(super) fn run(mut self) -> Result<Time, String> {
        while let Some(Reverse(Scheduled { at, what, .. })) = self.queue.pop() {
            self.now = at;
            self.happen(what);
            if let Some(violation) = self.violation.take() {
                self.note(|_| format!("VIOLATION {violation}"));
                return Err(format!("{} ms: {violation}", self.now / MS));
            }
            if self.ledger.ended {
                break;
            }
        }
        Ok(self.now)
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Step { node, life, event } => self.step(node, life, event),
            Happening::Tick { node, life, at } => {
                if self.agent(node, life).is_some_and(|agent| agent.tick == at) {
                    self.step(node, life, Event::Tick);
                }
            }
            Happening::Arrive(message) => self.arrive(message),
            Happening::Reply {
                node,
                task,
                outcome,
            } => self.reply(node, task, outcome),
            Happening::Replicate { server, at } => {
                if self.nodes[server].server.due == at {
                    self.replicate(server);
                }
            }
            Happening::CopyArrives { server, stamp } => self.copy_arrives(server, stamp),
            Happening::Loaded { server, run } => self.loaded(server, run),
            Happening::Write => self.write(),
            Happening::Vote(vote) => self.vote(vote),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Look => self.look(),
        }
    }

    pub(super) fn after(&mut self, delay: Time, what: Happening) {
        self.number += 1;
        self.queue.push(Reverse(Scheduled {
            at: self.now + delay,
            number: self.number,
            what,
        }));
    }

    pub(super) fn note(&self, text: impl FnOnce(&Self) -> String) {
        if self.trace {
            println!("{:>9.3} {}", self.now as f64 / MS as f64, text(self));
        }
    }

    pub(super) fn violate(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// A time on the way of a message: mostly short.
    pub(super) fn delay(&mut self) -> Time {
        if self.rng.u8(..) < 6 {
            self.rng.u64(MS..self.plan.slowness)
        } else {
            self.rng.u64(20..2 * MS)
        }
    }

    /// Whether what happens with this chance happens; never in a world without faults.
    pub(super) fn mishap(&mut self, one_in: u64) -> bool {
        !self.plan.planned_only() && self.rng.u64(..one_in) == 0
    }

    // Clocks.

    pub(super) fn local(&self, node: usize, at: Time) -> Instant {
        let clock = &self.nodes[node].clock;
        let drift = at * clock.parts_per_million / 1_000_000;
        self.epoch + Duration::from_micros(clock.offset + at + drift)
    }

    /// When the node's clock shows `local`, or a little later.
    fn global(&self, node: usize, local: Instant) -> Time {
        let clock = &self.nodes[node].clock;
        let since =
            local.saturating_duration_since(self.epoch + Duration::from_micros(clock.offset));
        let micros = u64::try_from(since.as_micros()).expect("short worlds");
        micros * 1_000_000 / (1_000_000 + clock.parts_per_million) + 2
    }

    // Agents.

    pub(super) fn add_node(&mut self, server: Server) {
        let clock = Clock {
            offset: self.rng.u64(..100 * SECOND),
            parts_per_million: self.rng.u64(..2_000),
        };
        self.nodes.push(Node {
            agent: None,
            server,
            clock,
            promotions: Vec::new(),
            queued: VecDeque::new(),
        });
    }

    pub(super) fn agent(&self, node: usize, life: u64) -> Option<&Agent> {
        self.nodes[node]
            .agent
            .as_ref()
            .filter(|agent| agent.life == life)
    }

    pub(super) fn start_agent(&mut self, node: usize) {
        self.number += 1;
        let life = self.number;
        let mut config = SidecarConfig::new(Named {
            name: name_of(node),
            address: address_of(node),
        });
        config.probe_interval = Duration::from_millis(self.plan.probe_ms);
        let mut core = Core::new(config, self.local(node, self.now));
        core.flaw = self.flaw;
        let id = NodeId {
            member: name_of(node),
            incarnation: Uuid::from_u128(u128::from(life)),
        };
        self.note(|_| format!("{} agent starts", name_of(node)));
        self.nodes[node].agent = Some(Agent {
            life,
            id,
            core,
            stopped: false,
            runs_since: self.now,
            seat: Seat::new(self.now),
            view: View::default(),
            leaving: false,
            last_primary: None,
            followed: None,
            handed_over: None,
            switchovers: Vec::new(),
            inbox: Vec::new(),
            tasks: HashMap::new(),
            watches: false,
            tick: 0,
        });
        self.ledger.agent_started(node);
        self.step(node, life, Event::Tick);
        self.relink(node, false);
    }

    pub(super) fn end_agent(&mut self, node: usize) {
        if self.nodes[node].agent.take().is_some() {
            self.note(|_| format!("{} agent ends", name_of(node)));
            self.relink(node, true);
        }
    }

    pub(super) fn stop_agent(&mut self, node: usize) {
        if let Some(agent) = &mut self.nodes[node].agent
            && !agent.stopped
        {
            agent.stopped = true;
            agent.runs_since = self.now;
            self.note(|_| format!("{} agent stops", name_of(node)));
            self.relink(node, false);
        }
    }

    pub(super) fn continue_agent(&mut self, node: usize) {
        let now = self.now;
        let Some(agent) = self.nodes[node]
            .agent
            .as_mut()
            .filter(|agent| agent.stopped)
        else {
            return;
        };
        agent.stopped = false;
        let stopped_for = now - std::mem::replace(&mut agent.runs_since, now);
        let (life, inbox) = (agent.life, std::mem::take(&mut agent.inbox));
        self.note(|_| format!("{} agent goes on", name_of(node)));
        for event in inbox {
            self.step(node, life, event);
        }
        self.step(node, life, Event::Tick);
        self.unstall(node, stopped_for);
        self.relink(node, false);
    }

    pub(super) fn step(&mut self, node: usize, life: u64, event: Event) {
        let local = self.local(node, self.now);
        let Some(agent) = self.nodes[node]
            .agent
            .as_mut()
            .filter(|agent| agent.life == life)
        else {
            return;
        };
        if agent.stopped {
            agent.inbox.push(event);
            return;
        }
        if let Event::Answer {
            who: Who::Own,
            answer,
            ..
        } = &event
        {
            agent.watches = answer.is_ok();
        }
        if self.trace {
            trace_event(self.now, node, &event);
        }
        let actions = agent.core.step(local, event);
        let wake = agent
            .core
            .wake_at()
            .unwrap_or(local + Duration::from_secs(1));
        let at = self.global(node, wake).max(self.now + 1);
        self.ledger.stepped(node, self.now);
        if let Some(agent) = &mut self.nodes[node].agent
            && agent.tick != at
        {
            agent.tick = at;
            self.after(at - self.now, Happening::Tick { node, life, at });
        }
        let left = actions.contains(&Action::Left);
        for action in actions {
            if self.trace {
                trace_action(self.now, node, &action);
            }
            self.perform(node, action);
        }
        if left {
            self.end_agent(node);
        }
        self.check_pace(node);
    }

    fn perform(&mut self, node: usize, action: Action) {
        self.ledger.count(node, &action, self.now);
        match action {
            Action::Campaign(rank) => self.campaign(node, rank),
            Action::Resign(successor) => {
                if let Some(agent) = &mut self.nodes[node].agent {
                    agent.handed_over = successor.clone().filter(|_| agent.seat.leads());
                }
                self.resign(node, successor);
            }
            Action::Announce(card) => self.announce(node, card.encode()),
            Action::Ask(who) => {
                let (to, patience) = match &who {
                    Who::Own => (node, SECOND),
                    Who::Member { address, .. } => (node_at(address).expect("a node"), 200 * MS),
                };
                let asked = self.local(node, self.now);
                self.send(node, to, patience, Work::Inspect, Task::Ask { who, asked });
            }
            Action::Order(order) => {
                self.check_lease(node, &order);
                if let (Order::Follow(address), Some(agent)) = (&order, &mut self.nodes[node].agent)
                {
                    agent.followed = node_at(address);
                }
                self.send(node, node, SECOND, Work::Obey(order), Task::Order);
            }
            Action::FenceMember { member, address } => {
                let to = node_at(&address).expect("a node");
                self.send(node, to, 200 * MS, Work::Fence, Task::Fence { member });
            }
            Action::Publish(view) => self.publish(node, view),
            Action::Explain(_) | Action::Left => {}
            Action::SwitchoverEnded(result) => self.switchover_ended(node, result),
        }
    }

    // Messages to servers.

    fn send(&mut self, from: usize, to: usize, patience: Time, work: Work, task: Task) {
        self.number += 1;
        let number = self.number;
        let agent = self.nodes[from].agent.as_mut().expect("it acts");
        agent.tasks.insert(number, task);
        let failed = Outcome::Failed(format!("no answer within {} ms", patience / MS));
        let late = Happening::Reply {
            node: from,
            task: number,
            outcome: failed,
        };
        self.after(patience, late);
        let message = Message {
            from,
            to,
            task: number,
            sent: self.now,
            work,
        };
        let delay = self.delay();
        self.after(delay, Happening::Arrive(message));
    }

    fn arrive(&mut self, message: Message) {
        let Message { from, to, task, .. } = message;
        if !self.network.reaches(Path::Orders, from, to) {
            return;
        }
        match self.nodes[to].server.process {
            Process::Stopped => self.nodes[to].queued.push_back(message),
            Process::Dead => {
                let delay = self.delay();
                let outcome = Outcome::Failed("refused".into());
                self.after(
                    delay,
                    Happening::Reply {
                        node: from,
                        task,
                        outcome,
                    },
                );
            }
            Process::Running => self.handle(&message),
        }
    }

    fn handle(&mut self, message: &Message) {
        let (from, to, task) = (message.from, message.to, message.task);
        let outcome = match &message.work {
            Work::Inspect => Outcome::Said(Box::new(self.nodes[to].server.inspection())),
            Work::Fence => self.fence(from, to),
            Work::Obey(order) => match self.obey(message, order) {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Failed(error),
            },
        };
        let delay = self.delay();
        let outcome = match outcome {
            Outcome::Done | Outcome::Failed(_) if self.mishap(40) => {
                self.note(|_| format!("{} answer is lost", name_of(to)));
                Outcome::Failed("connection lost".into())
            }
            outcome => outcome,
        };
        let node = from;
        let reply = Happening::Reply {
            node,
            task,
            outcome,
        };
        self.after(delay, reply);
    }

    fn fence(&mut self, from: usize, to: usize) -> Outcome {
        let now = self.now;
        let server = &mut self.nodes[to].server;
        if server.loading {
            return Outcome::Failed("LOADING".into());
        }
        if server.primary {
            server.fenced_by = Some((from, now));
        }
        server.fence(Clients::Cut, now);
        self.note(|_| format!("{} server is fenced by {}", name_of(to), name_of(from)));
        self.lose_connection(to);
        Outcome::Done
    }

    /// The agent beside a server loses its connection to it.
    fn lose_connection(&mut self, node: usize) {
        if let Some(agent) = &mut self.nodes[node].agent
            && agent.watches
        {
            agent.watches = false;
            let life = agent.life;
            let delay = self.delay();
            self.after(
                delay,
                Happening::Step {
                    node,
                    life,
                    event: Event::Lost,
                },
            );
        }
    }

    fn obey(&mut self, message: &Message, order: &Order) -> Result<(), String> {
        let (node, now) = (message.to, self.now);
        let was_primary = self.nodes[node].server.primary;
        if *order == Order::Promote && !was_primary && !self.nodes[node].server.loading {
            self.check_promotion(message);
        }
        self.number += 1;
        let fresh = self.number;
        let server = &mut self.nodes[node].server;
        let stamp = server.stamp;
        server.obey(order, fresh, now)?;
        let moved = server.stamp != stamp;
        if matches!(order, Order::Follow(_)) {
            server.fenced_by = None;
        }
        self.note(|_| format!("{} server obeys {order:?}", name_of(node)));
        if moved {
            self.connect_soon(node);
        }
        Ok(())
    }

    fn reply(&mut self, node: usize, task: u64, outcome: Outcome) {
        let Some(agent) = &mut self.nodes[node].agent else {
            return;
        };
        let life = agent.life;
        let Some(task) = agent.tasks.remove(&task) else {
            return;
        };
        let result = |outcome| match outcome {
            Outcome::Failed(error) => Err(error),
            _ => Ok(()),
        };
        let event = match task {
            Task::Ask { who, asked } => {
                if let (Who::Member { address, .. }, Outcome::Said(said)) = (&who, &outcome) {
                    let of = node_at(address).expect("a node");
                    self.ledger.heard(node, of, said);
                }
                let answer = match outcome {
                    Outcome::Said(inspection) => Ok(*inspection),
                    Outcome::Failed(error) => Err(error),
                    Outcome::Done => unreachable!("a question was asked"),
                };
                Event::Answer { who, asked, answer }
            }
            Task::Order => Event::Done(result(outcome)),
            Task::Fence { member } => Event::Fenced {
                member,
                result: result(outcome),
            },
        };
        self.step(node, life, event);
    }

    // Servers.

    pub(super) fn kill_server(&mut self, node: usize) {
        if self.nodes[node].server.process == Process::Dead {
            return;
        }
        self.note(|_| format!("{} server dies", name_of(node)));
        let now = self.now;
        let server = &mut self.nodes[node].server;
        server.process = Process::Dead;
        server.process_since = now;
        server.disconnect(now);
        for message in std::mem::take(&mut self.nodes[node].queued) {
            self.arrive(message);
        }
        self.lose_connection(node);
        self.replicas_notice(node);
    }

    pub(super) fn stop_server(&mut self, node: usize) {
        let now = self.now;
        let server = &mut self.nodes[node].server;
        if server.runs() {
            server.process = Process::Stopped;
            server.process_since = now;
            self.note(|_| format!("{} server stops", name_of(node)));
        }
    }

    pub(super) fn continue_server(&mut self, node: usize) {
        let now = self.now;
        let server = &mut self.nodes[node].server;
        if server.process != Process::Stopped {
            return;
        }
        server.process = Process::Running;
        server.process_since = now;
        let writable = server.accepts_writes(now);
        self.note(|_| format!("{} server goes on", name_of(node)));
        // A write that was sent before it stopped runs now, and is not acknowledged.
        if writable && self.rng.bool() {
            let write = self.ledger.unacknowledged();
            self.nodes[node].server.write(write, now);
        }
        for message in std::mem::take(&mut self.nodes[node].queued) {
            self.handle(&message);
        }
        self.connect_soon(node);
        self.replicas_notice(node);
        let (run, loading) = (self.nodes[node].server.run, self.nodes[node].server.loading);
        if loading {
            self.after(20 * MS, Happening::Loaded { server: node, run });
        }
    }

    pub(super) fn start_server(&mut self, node: usize, mut server: Server) {
        let now = self.now;
        server.priority = self.nodes[node].server.priority;
        server.changed = now;
        self.note(|_| {
            let (data, plain) = (server.data.position(), server.plain);
            format!(
                "{} server starts with {} keys at {data}, plain: {plain}",
                name_of(node),
                server.data.keys()
            )
        });
        let (run, loading) = (server.run, server.loading);
        self.nodes[node].server = server;
        if loading {
            let time = self.rng.u64(5 * MS..200 * MS);
            self.after(time, Happening::Loaded { server: node, run });
        }
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Replicas see the end of a connection, or that more arrives.
    pub(super) fn replicas_notice(&mut self, primary: usize) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].server.of == Some(primary) && node != primary {
                let lag = self.rng.u64(50..self.plan.lag);
                self.replicate_after(lag, node);
            }
        }
    }

    fn connect_soon(&mut self, node: usize) {
        let delay = self.delay();
        self.replicate_after(delay, node);
        self.replicas_notice(node);
    }

    fn replicate_after(&mut self, delay: Time, server: usize) {
        let (at, now) = (self.now + delay, self.now);
        let due = &mut self.nodes[server].server.due;
        // What is due earlier looks after this too.
        if *due <= now || at < *due {
            *due = at;
            self.after(delay, Happening::Replicate { server, at });
        }
    }

    fn replicate(&mut self, node: usize) {
        let server = &self.nodes[node].server;
        let Some(of) = server.of.filter(|of| *of != node) else {
            return;
        };
        if !server.runs() || server.primary || server.loading {
            return;
        }
        let reachable = self.network.reaches(Path::Streams, node, of)
            && self.network.reaches(Path::Streams, of, node);
        let now = self.now;
        self.number += 1;
        let fresh = self.number;
        let Ok([server, primary]) = self.nodes.get_disjoint_mut([node, of]) else {
            unreachable!("two nodes");
        };
        let (server, primary) = (&mut server.server, &mut primary.server);
        let before = (server.link, server.data.offset());
        if primary.process == Process::Dead {
            if server.link != Link::Down {
                server.disconnect(now);
            }
            return self.retry(node);
        }
        if !reachable || primary.process == Process::Stopped {
            let silent = now.saturating_sub(server.heard) > self.plan.link_timeout;
            if silent && server.link != Link::Down {
                server.disconnect(now);
            }
            return self.retry(node);
        }
        let some = 1 + self.rng.usize(..8);
        let next = server.replicate(primary, some, fresh, now);
        if server.link != before.0 || server.data.offset() != before.1 {
            let state = (server.link, server.data.position());
            self.note(|_| format!("{} replicates: {:?} {}", name_of(node), state.0, state.1));
            self.replicas_notice(node);
        }
        let lag = self.rng.u64(50..self.plan.lag);
        match next {
            super::server::Next::Wait => {}
            super::server::Next::Pull => self.replicate_after(lag, node),
            super::server::Next::Retry => self.retry(node),
            super::server::Next::Copy => {
                let time = self.rng.u64(5 * MS..250 * MS);
                let stamp = self.nodes[node].server.stamp;
                self.after(
                    time,
                    Happening::CopyArrives {
                        server: node,
                        stamp,
                    },
                );
            }
        }
    }

    fn retry(&mut self, node: usize) {
        let pause = self.rng.u64(50 * MS..SECOND);
        self.replicate_after(pause, node);
    }

    fn copy_arrives(&mut self, node: usize, stamp: u64) {
        let server = &self.nodes[node].server;
        let (Some(of), Some(copy)) = (server.of, server.incoming()) else {
            return;
        };
        if server.stamp != stamp || server.loading || !server.runs() {
            return;
        }
        let alive = server.is_attached_to(&self.nodes[of].server)
            && self.network.reaches(Path::Streams, node, of);
        if !alive {
            let now = self.now;
            self.nodes[node].server.disconnect(now);
            return self.retry(node);
        }
        let empty = !copy.has_data();
        self.check_overwriting(node, of, empty);
        let now = self.now;
        let server = &mut self.nodes[node].server;
        server.begin_loading(now);
        let run = server.run;
        self.note(|_| format!("{} loads the copy", name_of(node)));
        let time = self.rng.u64(2 * MS..100 * MS);
        self.after(time, Happening::Loaded { server: node, run });
    }

    fn loaded(&mut self, node: usize, run: u64) {
        let now = self.now;
        let server = &mut self.nodes[node].server;
        if server.run != run || !server.runs() || !server.loading {
            return;
        }
        server.end_loading(now);
        self.note(|world| {
            let data = &world.nodes[node].server.data;
            format!(
                "{} has loaded {} keys at {}",
                name_of(node),
                data.keys(),
                data.position()
            )
        });
        self.connect_soon(node);
    }

    // Clients.

    fn write(&mut self) {
        if !self.ledger.calm {
            let pause = self.rng.u64(..2 * self.plan.write_every);
            self.after(pause, Happening::Write);
        }
        let from = self.rng.usize(..self.nodes.len());
        let local = self.local(from, self.now);
        let Some(agent) = self.nodes[from]
            .agent
            .as_ref()
            .filter(|agent| !agent.stopped)
        else {
            return;
        };
        let Some(primary) = &agent.view.primary else {
            return;
        };
        if agent.view.until.is_some_and(|until| local >= until) {
            return;
        }
        let to = node_at(&primary.address).expect("a node");
        if self.network.reaches(Path::Orders, from, to)
            && self.nodes[to].server.accepts_writes(self.now)
        {
            let others =
                (0..self.nodes.len()).any(|other| other != to && self.nodes[other].server.primary);
            let write = self.ledger.acknowledge(others);
            let now = self.now;
            self.nodes[to].server.write(write, now);
            self.replicas_notice(to);
        }
    }
}

pub(super) fn name_of(node: usize) -> String {
    char::from(b'a' + u8::try_from(node).expect("few nodes")).to_string()
}

fn trace_event(now: Time, node: usize, event: &Event) {
    let text = match event {
        Event::Answer { who, answer, .. } => format!("{who:?} says {answer:?}"),
        Event::Tick => return,
        other => format!("{other:?}"),
    };
    println!(
        "{:>9.3} {} <- {text}",
        now as f64 / MS as f64,
        name_of(node)
    );
}

fn trace_action(now: Time, node: usize, action: &Action) {
    if !matches!(action, Action::Ask(_)) {
        println!(
            "{:>9.3} {} -> {action:?}",
            now as f64 / MS as f64,
            name_of(node)
        );
    }
}

//! A world: nodes, a clock for each, and a queue of what happens when.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use bellwether_election::Flock;
use fastrand::Rng;

use super::{
    agent::Agent,
    bug::Bug,
    data::Entry,
    election::Vote,
    faults::Fault,
    ledger::{Ledger, Tale},
    mesh::Mesh,
    message::{Message, Outcome},
    network::{Network, Path},
    pauses,
    plan::{Elected, Plan},
    server::{Server, node_at},
};
use crate::sidecar::core::{Action, Event};

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
    /// An agent learns whether failover is paused.
    TellPause {
        node: usize,
        life: u64,
    },
    /// Discovery tells an agent of all members.
    List {
        node: usize,
        life: u64,
    },
    Fault(Fault),
    Look,
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
pub(super) struct Clock {
    pub(super) offset: u64,
    pub(super) parts_per_million: u64,
}

pub(super) struct Node {
    pub(super) agent: Option<Agent>,
    pub(super) server: Server,
    pub(super) clock: Clock,
    /// When its server was told to be primary of late, since that started.
    pub(super) promotions: Vec<Time>,
    /// Messages that a stopped server will read when it goes on.
    pub(super) queued: VecDeque<Message>,
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) plan: Plan,
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    pub(super) mesh: Mesh,
    pub(super) ledger: Ledger,
    pub(super) bug: Option<Bug>,
    /// The candidates, in worlds that a Lease is about.
    pub(super) flock: Option<Flock>,
    /// Whether a vote is scheduled.
    pub(super) voting: bool,
    pub(super) violation: Option<String>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    pub(super) number: u64,
    pub(super) epoch: Instant,
    pub(super) trace: bool,
}

impl World {
    pub(super) fn new(
        seed: u64,
        elected: Elected,
        bug: Option<Bug>,
        epoch: Instant,
        trace: bool,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut plan = Plan::draw(&mut rng, elected);
        plan.pause = pauses::draw(seed).filter(|_| elected == Elected::ByLease);
        let flock = plan
            .by_lease
            .map(|lease| lease.flock(seed, plan.nodes, bug));
        let mut world = Self {
            now: 0,
            network: Network::whole(plan.nodes),
            mesh: Mesh::new(plan.nodes),
            ledger: Ledger::new(plan.nodes),
            nodes: Vec::new(),
            rng,
            plan,
            bug,
            flock,
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
    pub(super) fn run(mut self) -> Result<Tale, String> {
        loop {
            let next = self.queue.peek().map(|Reverse(next)| next.at);
            if let Some(at) = self.flock_is_due(next) {
                self.now = at;
            } else if let Some(Reverse(Scheduled { at, what, .. })) = self.queue.pop() {
                self.now = at;
                self.hear_flock();
                self.happen(what);
            } else {
                break;
            }
            self.hear_flock();
            if let Some(violation) = self.violation.take() {
                self.note(|_| format!("VIOLATION {violation}"));
                return Err(format!("{} ms: {violation}", self.now / MS));
            }
            if self.ledger.ended {
                break;
            }
        }
        Ok(self.ledger.tale())
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
            Happening::TellPause { node, life } => self.deliver_pause(node, life),
            Happening::List { node, life } => self.list(node, life),
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
        if let Some(flock) = &self.flock {
            return flock.local(node, at);
        }
        let clock = &self.nodes[node].clock;
        let drift = at * clock.parts_per_million / 1_000_000;
        self.epoch + Duration::from_micros(clock.offset + at + drift)
    }

    /// When the node's clock shows `local`, or a little later.
    pub(super) fn global(&self, node: usize, local: Instant) -> Time {
        if let Some(flock) = &self.flock {
            return flock.real(node, local);
        }
        let clock = &self.nodes[node].clock;
        let since =
            local.saturating_duration_since(self.epoch + Duration::from_micros(clock.offset));
        let micros = u64::try_from(since.as_micros()).expect("short worlds");
        micros * 1_000_000 / (1_000_000 + clock.parts_per_million) + 2
    }

    // Clients.

    fn write(&mut self) {
        if !self.ledger.calm {
            let pause = self.rng.u64(..2 * self.plan.write_every);
            self.after(pause, Happening::Write);
        }
        if self.flock.is_some() {
            return self.write_by_port();
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
            && self.has_replicas_enough(to)
        {
            let others =
                (0..self.nodes.len()).any(|other| other != to && self.nodes[other].server.primary);
            let write = self.ledger.acknowledge(others);
            let now = self.now;
            self.nodes[to].server.write(Entry::Write(write), now);
            self.replicas_notice(to);
        }
    }
}

pub(super) fn name_of(node: usize) -> String {
    char::from(b'a' + u8::try_from(node).expect("few nodes")).to_string()
}

pub(super) fn trace_event(now: Time, node: usize, event: &Event) {
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

pub(super) fn trace_action(now: Time, node: usize, action: &Action) {
    if !matches!(action, Action::Ask(_)) {
        println!(
            "{:>9.3} {} -> {action:?}",
            now as f64 / MS as f64,
            name_of(node)
        );
    }
}

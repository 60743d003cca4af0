//! Agents: a core each, and the shell around it.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use bellwether_election::{Leadership, NodeId};
use uuid::Uuid;

use super::{
    bug::Bug,
    data::GROUP,
    election::Seat,
    message::{Task, Work},
    port::Waiting,
    server::{Server, node_at},
    world::{Clock, Happening, Node, SECOND, Time, World, name_of, trace_action, trace_event},
};
use crate::{
    Server as Named, View,
    passport::Issue,
    sidecar::{
        SidecarConfig,
        core::{Action, Core, Event, Order, Who},
    },
};

pub(super) struct Agent {
    /// Counts the lives of agents.
    pub(super) life: u64,
    pub(super) id: NodeId,
    pub(super) core: Core,
    pub(super) stopped: bool,
    /// Since when it runs, or is stopped.
    pub(super) runs_since: Time,
    /// When it last went on after it was stopped.
    pub(super) resumed: Option<Time>,
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
    /// When it last knew of a primary that serves, or began.
    pub(super) unserved_since: Time,
    /// When it first gave way to whom it cannot see, since nobody serves.
    pub(super) gave_way: Option<Time>,
    /// In which run it last heard that its server was primary or had a link to one, and when.
    pub(super) in_step: Option<(u64, Time)>,
    /// Whether it was told that failover is paused.
    pub(super) knows_of_pause: bool,
    /// What its candidate said last of that.
    pub(super) tells_pause: bool,
    /// When it gave leadership up of late.
    pub(super) resigned: Vec<Time>,
    /// What its server's passport has to be later than, when it serves.
    pub(super) exceeds: Option<Issue>,
    /// Whether the promoted server was told to demand replicas; what became of that is not known.
    pub(super) demanded: bool,
    /// What happened while it was stopped.
    pub(super) inbox: Vec<Event>,
    /// What waits at its leader port, then.
    pub(super) waiting: Waiting,
    pub(super) tasks: HashMap<u64, Task>,
    /// Whether its shell watches the connection to its server.
    pub(super) watches: bool,
    pub(super) tick: Time,
}

impl World {
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
        let server = Named {
            name: name_of(node),
            address: self.address(node),
        };
        let mut config = SidecarConfig::new(GROUP, server);
        config.min_replicas_to_write = self.plan.min_replicas;
        config.form_timeout = Duration::from_micros(self.plan.form_timeout);
        config.probe_interval = Duration::from_millis(self.plan.probe_ms);
        let mut core = Core::new(config, self.local(node, self.now));
        core.flaw = match self.bug {
            Some(Bug::Sidecar(flaw)) => Some(flaw),
            _ => None,
        };
        if self.flock.is_some() {
            core.await_members();
        }
        let id = self.enter(node).unwrap_or_else(|| NodeId {
            member: name_of(node),
            incarnation: Uuid::from_u128(u128::from(life)),
        });
        self.note(|_| format!("{} agent starts", name_of(node)));
        self.nodes[node].agent = Some(Agent {
            life,
            id,
            core,
            stopped: false,
            runs_since: self.now,
            resumed: None,
            seat: Seat::new(self.now),
            view: View::default(),
            leaving: false,
            last_primary: None,
            followed: None,
            handed_over: None,
            switchovers: Vec::new(),
            unserved_since: self.now,
            gave_way: None,
            in_step: None,
            knows_of_pause: false,
            tells_pause: false,
            resigned: Vec::new(),
            exceeds: None,
            demanded: false,
            inbox: Vec::new(),
            waiting: Waiting::default(),
            tasks: HashMap::new(),
            watches: false,
            tick: 0,
        });
        self.ledger.agent_started(node);
        self.step(node, life, Event::Tick);
        self.relink(node, false);
        self.tell_pause(node);
        if self.flock.is_some() {
            let delay = self.discovery_lag();
            self.after(delay, Happening::List { node, life });
        }
    }

    /// Discovery tells where all servers are, the own one included.
    pub(super) fn list(&mut self, node: usize, life: u64) {
        if self.agent(node, life).is_none() {
            return;
        }
        let all = 0..self.nodes.len();
        let members = all
            .map(|node| (name_of(node), self.address(node)))
            .collect();
        self.ledger.listed(node, self.now);
        let all = (0..self.nodes.len()).collect();
        if let Some(flock) = &mut self.flock {
            flock.list(node, all);
        }
        self.step(node, life, Event::Members(members));
    }

    /// How late discovery is.
    pub(super) fn discovery_lag(&mut self) -> Time {
        if self.flock.is_some() && self.rng.u8(..4) == 0 {
            self.rng.u64(..SECOND)
        } else {
            self.delay()
        }
    }

    pub(super) fn end_agent(&mut self, node: usize) {
        if let Some(flock) = &mut self.flock {
            flock.crash(node);
        }
        self.forget_agent(node);
    }

    /// The sidecar has left; its candidate ends when it has released the Lease.
    fn depart(&mut self, node: usize) {
        if let Some(flock) = &mut self.flock {
            flock.leave(node);
        }
        self.forget_agent(node);
    }

    fn forget_agent(&mut self, node: usize) {
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
            if let Some(flock) = &mut self.flock {
                flock.stop(node);
            }
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
        agent.resumed = Some(now);
        let stopped_for = now - std::mem::replace(&mut agent.runs_since, now);
        let (life, inbox) = (agent.life, std::mem::take(&mut agent.inbox));
        self.note(|_| format!("{} agent goes on", name_of(node)));
        // Its threads come to their turns in any order.
        let (port, candidate) = (self.rng.bool(), self.rng.bool());
        if port {
            self.continue_port(node);
        }
        if let Some(flock) = self.flock.as_mut().filter(|_| candidate) {
            flock.resume(node);
        }
        for event in inbox {
            self.step(node, life, event);
        }
        self.step(node, life, Event::Tick);
        if let Some(flock) = self.flock.as_mut() {
            flock.resume(node);
        }
        self.continue_port(node);
        if self.agent(node, life).is_some() {
            self.unstall(node, stopped_for);
        }
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
        if let Event::Paused(paused) = event {
            agent.knows_of_pause = paused;
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
        // As its core judges, by what it shows after this.
        if let Some(agent) = &mut self.nodes[node].agent
            && agent.knows_who_serves(node)
        {
            agent.unserved_since = self.now;
            agent.gave_way = None;
        }
        if left {
            self.depart(node);
        }
        self.check_pace(node);
    }

    pub(super) fn perform(&mut self, node: usize, action: Action) {
        self.ledger.count(node, &action, self.now);
        match action {
            Action::Campaign(rank) => self.campaign(node, rank),
            Action::Resign(successor) => {
                self.check_resignation(node, successor.as_ref());
                if let Some(agent) = &mut self.nodes[node].agent {
                    if successor
                        .as_ref()
                        .is_some_and(|node| node.incarnation.is_nil())
                    {
                        agent.gave_way.get_or_insert(self.now);
                    }
                    agent.handed_over = successor.clone().filter(|_| agent.seat.leads());
                }
                self.resign(node, successor);
            }
            Action::Announce(card) => self.announce(node, card.encode()),
            Action::Ask(who) => {
                let (work, asked) = (Work::Inspect, self.local(node, self.now));
                match who.clone() {
                    Who::Own => self.send_home(node, work, Task::Ask { who, asked }),
                    Who::Member { address, .. } => {
                        self.send_to(node, &address, work, Task::Ask { who, asked });
                    }
                }
            }
            Action::Order(order) => {
                self.check_lease(node, &order);
                self.check_passport(node, &order);
                self.note_demand(node, &order);
                if let Order::Follow(address) = &order {
                    self.check_following(node, node_at(address).expect("a node"));
                }
                self.send_home(node, Work::Obey(order), Task::Order);
            }
            Action::FenceMember { member, address } => {
                self.send_to(node, &address, Work::Fence, Task::Fence { member });
            }
            Action::Publish(view) => self.publish(node, view),
            Action::Explain(_) | Action::Left => {}
            Action::SwitchoverEnded(result) => self.switchover_ended(node, result),
        }
    }
}

impl Agent {
    fn knows_who_serves(&self, node: usize) -> bool {
        let shown = self.view.primary.as_ref().and_then(|p| node_at(&p.address));
        match &self.seat.told {
            Leadership::Vacant => false,
            Leadership::Following { .. } => self.seat.told_serving,
            // What is shown without an end is only kept until another serves.
            Leadership::Leading { until, .. } => {
                let serves = until.is_none() || self.view.until.is_some();
                shown == Some(node) && serves && !self.seat.resigned
            }
        }
    }
}

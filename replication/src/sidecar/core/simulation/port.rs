//! Clients of a group that is led by a Lease. Most come through the leader port of some node, which
//! forwards only while that leads, and looks at the clock before each write and at each reply; some
//! write to a server directly, and are promised nothing.

use bellwether_election::Term;

use super::{
    bug::Bug,
    data::Entry,
    message::{Outcome, Task, Work},
    world::{World, name_of},
};

/// So many requests wait at the port of a stopped process.
const MOST_WAITING: u32 = 4;

/// What waits at a leader port while its process is stopped.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    requests: u32,
    /// Writes that were done in this term.
    done: Vec<(u32, Term)>,
}

impl World {
    /// Somebody writes, somewhere.
    pub(super) fn write_by_port(&mut self) {
        let anywhere = self.rng.usize(..self.nodes.len());
        if self.rng.u8(..10) == 0 {
            return self.write_directly(anywhere);
        }
        let open = (0..self.nodes.len()).find(|node| self.shows_itself(*node).is_some());
        let node = open.filter(|_| self.rng.u8(..8) > 0).unwrap_or(anywhere);
        self.request(node);
    }

    fn write_directly(&mut self, node: usize) {
        let server = &self.nodes[node].server;
        let apart = server.data.is_foreign();
        if server.accepts_writes(self.now) && self.has_replicas_enough(node) && !apart {
            let write = self.ledger.unacknowledged();
            let now = self.now;
            self.nodes[node].server.write(Entry::Write(write), now);
            self.replicas_notice(node);
        }
    }

    /// The term in which the port of this node forwards, whatever the time is.
    fn shows_itself(&self, node: usize) -> Option<Term> {
        let view = &self.nodes[node].agent.as_ref()?.view;
        let own = view.primary.as_ref()?.name == name_of(node);
        (own && view.until.is_some()).then_some(view.term)
    }

    /// The term in which the port of this node forwards now.
    pub(super) fn forwards(&self, node: usize) -> Option<Term> {
        let agent = self.nodes[node].agent.as_ref()?;
        let in_time = agent.view.until > Some(self.local(node, self.now));
        let looks = !matches!(self.bug, Some(Bug::PortIgnoresUntil));
        let open = !agent.stopped && (in_time || !looks);
        self.shows_itself(node).filter(|_| open)
    }

    /// A client asks this node's port for a write.
    fn request(&mut self, node: usize) {
        if let Some(agent) = &mut self.nodes[node].agent
            && agent.stopped
        {
            let waiting = &mut agent.waiting.requests;
            *waiting = (*waiting + 1).min(MOST_WAITING);
            return;
        }
        let Some(term) = self.forwards(node) else {
            return;
        };
        self.check_port(node, "forwards");
        let write = self.ledger.unacknowledged();
        let task = Task::Forward { write, term };
        self.send_home(node, Work::Write(write), task);
    }

    /// A write arrives at a server.
    pub(super) fn write_arrives(&mut self, node: usize, write: u32) -> Outcome {
        if !self.nodes[node].server.accepts_writes(self.now) || !self.has_replicas_enough(node) {
            return Outcome::Failed("READONLY".into());
        }
        let now = self.now;
        let server = &mut self.nodes[node].server;
        server.write(Entry::Write(write), now);
        let (history, offset) = (server.data.id, server.data.offset());
        self.ledger.done(write, history, offset);
        self.replicas_notice(node);
        Outcome::Done
    }

    /// A write was done, and the port may say so while it still leads.
    pub(super) fn write_done(&mut self, node: usize, write: u32, term: Term) {
        if let Some(agent) = &mut self.nodes[node].agent
            && agent.stopped
        {
            return agent.waiting.done.push((write, term));
        }
        if self.forwards(node) == Some(term) {
            self.check_port(node, "acknowledges");
            self.ledger.acknowledged(write);
        }
    }

    /// The port's process goes on: what waited there is looked at.
    pub(super) fn continue_port(&mut self, node: usize) {
        let Some(agent) = &mut self.nodes[node].agent else {
            return;
        };
        let Waiting { requests, done } = std::mem::take(&mut agent.waiting);
        for (write, term) in done {
            self.write_done(node, write, term);
        }
        for _ in 0..requests {
            self.request(node);
        }
    }

    /// A port lets something through: then nobody else leads, nor does another port.
    fn check_port(&mut self, node: usize, what: &str) {
        let Some(flock) = &self.flock else { return };
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        let leads = |other: &usize| flock.acts(*other) && self.nodes[*other].agent.is_some();
        if let Some(other) = others.clone().find(leads) {
            let (who, them) = (name_of(node), name_of(other));
            return self.violate(format!("the port of {who} {what} while {them} leads"));
        }
        if let Some(other) = others.clone().find(|other| self.forwards(*other).is_some()) {
            let (who, them) = (name_of(node), name_of(other));
            self.violate(format!(
                "the ports of {who} and {them} are open at one time"
            ));
        }
    }

    /// Of all ports, at most one is open.
    pub(super) fn check_ports(&mut self) {
        let open = (0..self.nodes.len()).find(|node| self.forwards(*node).is_some());
        if let Some(node) = open {
            self.check_port(node, "is open");
        }
    }
}

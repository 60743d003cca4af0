//! What goes wrong in a world, and is repaired.

use super::{
    data::{Data, Entry},
    election::Vote,
    network::Path,
    plan::{Kept, Weather},
    server::{Process, Server},
    world::{Happening, MS, Node, World, name_of},
};
use crate::sidecar::core::Event;

/// Something goes wrong, or right again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Whatever the weather brings.
    Strike,
    KillServer(usize),
    StartServer {
        node: usize,
        kept: Kept,
        plain: bool,
    },
    StopServer(usize),
    ContinueServer(usize),
    KillAgent(usize),
    StartAgent(usize),
    StopAgent(usize),
    ContinueAgent(usize),
    /// Cuts these nodes off from the others; or only their agents.
    Isolate {
        nodes: u32,
        open: bool,
        all: bool,
    },
    Cut {
        path: Path,
        from: usize,
        to: usize,
        open: bool,
    },
    Switchover {
        to: Option<usize>,
        anywhere: usize,
    },
    Leave(usize),
    /// A user of the primary removes all keys, or the passport with all functions.
    Flush(Entry),
    /// A pod that is down comes back with a new address.
    Move(usize),
    /// Something happens between the API and all members, or one.
    Api(usize),
    /// Somebody deletes the Lease.
    DeleteLease,
    /// The API is there again.
    ApiRelents,
    /// The API cannot be reached from one node, or can again.
    CutFromApi {
        node: usize,
        open: bool,
    },
    /// An operator pauses automatic failover, or resumes it.
    Pause(bool),
    /// All is repaired.
    End,
}

impl World {
    pub(super) fn populate(&mut self) {
        let (nodes, troubled) = (self.plan.nodes, self.plan.troubled);
        let history = self.fresh();
        for node in 0..nodes {
            let mut data = Data::empty(self.fresh());
            if self.plan.old_data && self.rng.u8(..3) > 0 {
                data = Data::empty(history);
                let length = self.rng.u32(1..20);
                let old = |write| Entry::Write(u32::MAX - write);
                data.log = (1..=length).map(old).collect();
            }
            if self.plan.foreign == Some(node) {
                data = Data::foreign(self.fresh());
            }
            let run = self.fresh();
            self.add_node(Server::started(run, data, 0));
            if self.plan.lame == Some(node) {
                self.nodes[node].server.priority = 0;
            }
            self.after(50 * MS, Happening::Loaded { server: node, run });
            let start = self.rng.u64(..300 * MS);
            self.after(start, Happening::Fault(Fault::StartAgent(node)));
        }
        let planned = self.plan.planned_only();
        match &mut self.flock {
            None => self.after(0, Happening::Vote(Vote::Beat)),
            Some(flock) if !planned && self.rng.u8(..3) > 0 => flock.trouble(),
            Some(_) => {}
        }
        self.after(0, Happening::Write);
        self.after(0, Happening::Look);
        for _ in 0..self.plan.faults {
            let at = self.rng.u64(500 * MS..troubled);
            self.after(at, Happening::Fault(Fault::Strike));
        }
        self.plan_pauses();
        self.after(troubled, Happening::Fault(Fault::End));
    }

    /// Whose agent leads, if one does.
    pub(super) fn leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|node| {
            let agent = self.nodes[*node].agent.as_ref();
            agent.is_some_and(|agent| agent.seat.leads() && !agent.stopped)
        })
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        let repaired = self.ledger.healing.is_some();
        if repaired && !matches!(fault, Fault::StartAgent(_)) {
            return;
        }
        match fault {
            Fault::KillServer(node) => self.kill_server(node),
            Fault::StartServer { node, kept, plain } => self.boot(node, kept, plain),
            Fault::StopServer(node) => self.stop_server(node),
            Fault::ContinueServer(node) => self.continue_server(node),
            Fault::KillAgent(node) => self.end_agent(node),
            Fault::StartAgent(node) => {
                if self.nodes[node].agent.is_none() {
                    self.start_agent(node);
                }
            }
            Fault::StopAgent(node) => self.stop_agent(node),
            Fault::ContinueAgent(node) => self.continue_agent(node),
            Fault::Strike => self.strike(),
            Fault::Isolate { nodes, open, all } => self.isolate(nodes, open, all),
            Fault::Cut {
                path,
                from,
                to,
                open,
            } => {
                self.note(|_| {
                    format!(
                        "{path:?} from {} to {} open: {open}",
                        name_of(from),
                        name_of(to)
                    )
                });
                self.set_path(path, from, to, open);
            }
            Fault::Switchover { to, anywhere } => self.switch_over(to, anywhere),
            Fault::Leave(node) => self.leave(node),
            Fault::Flush(entry) => self.flush(entry),
            Fault::Move(node) => self.move_pod(node),
            Fault::CutFromApi { node, open } => {
                self.note(|_| format!("{} reaches the API: {open}", name_of(node)));
                self.reach_api(node, open);
            }
            Fault::Api(node) => {
                if let Some(flock) = &mut self.flock {
                    flock.strike(node);
                }
            }
            Fault::DeleteLease => {
                if let Some(flock) = &mut self.flock {
                    flock.delete_lease();
                }
            }
            Fault::ApiRelents => {
                if let Some(flock) = &mut self.flock {
                    flock.relent();
                }
            }
            Fault::Pause(paused) => self.pause(paused),
            Fault::End => self.heal(),
        }
    }

    fn boot(&mut self, node: usize, kept: Kept, plain: bool) {
        if self.nodes[node].server.process != Process::Dead {
            return;
        }
        let (fresh, run) = (self.fresh(), self.fresh());
        let old = self.nodes[node].server.data.clone();
        let data = match kept {
            Kept::Nothing => Data::empty(fresh),
            Kept::Writes => old.renamed(fresh),
            Kept::Snapshot => {
                let most = self.rng.usize(..=old.log.len());
                let data = old.snapshot(most);
                if plain { data.continued(fresh) } else { data }
            }
        };
        let mut server = Server::started(run, data, self.now);
        server.primary = plain;
        server.plain = plain;
        self.start_server(node, server);
    }

    fn isolate(&mut self, nodes: u32, open: bool, all: bool) {
        self.note(|_| format!("cut {nodes:05b} open: {open}, all: {all}"));
        let side = |node: usize| nodes >> node & 1;
        let now = self.now;
        for node in (0..self.nodes.len()).filter(|node| all && side(*node) == 1) {
            self.reach_api(node, open);
        }
        for a in 0..self.nodes.len() {
            for b in 0..a {
                if side(a) != side(b) {
                    if all {
                        self.network.set_all(a, b, open, now);
                    } else {
                        self.network.set(Path::Agents, a, b, open, now);
                    }
                    self.relink_pair(a, b, false);
                }
            }
        }
    }

    /// All agents hear of it, each in its own time.
    fn move_pod(&mut self, node: usize) {
        let down = self.nodes[node].server.process == Process::Dead;
        if !down || self.nodes[node].agent.is_some() {
            return;
        }
        self.nodes[node].server.moves += 1;
        self.note(|world| format!("{} moves to {}", name_of(node), world.address(node)));
        self.ledger.moved(node);
        for other in 0..self.nodes.len() {
            let Some(life) = self.nodes[other].agent.as_ref().map(|agent| agent.life) else {
                continue;
            };
            let lag = self.discovery_lag();
            self.after(lag, Happening::List { node: other, life });
        }
    }

    fn reach_api(&mut self, node: usize, open: bool) {
        self.network.keeper[node] = open;
        if let Some(flock) = &mut self.flock {
            flock.cut(node, !open);
        }
        self.relink(node, false);
    }

    fn switch_over(&mut self, to: Option<usize>, anywhere: usize) {
        let node = self.leader().unwrap_or(anywhere);
        let now = self.now;
        let busy = |node: &Node| {
            node.agent
                .as_ref()
                .is_some_and(|a| !a.switchovers.is_empty())
        };
        if self.plan.planned_only() && self.nodes.iter().any(busy) {
            return;
        }
        let Some(agent) = &mut self.nodes[node].agent else {
            return;
        };
        if agent.stopped || agent.leaving {
            return;
        }
        agent.switchovers.push(now);
        let life = agent.life;
        let to = to.map(name_of);
        self.step(node, life, Event::Switchover { to });
    }

    fn leave(&mut self, node: usize) {
        // Who plans well restarts one after the other.
        let nodes = self.nodes.len();
        let since = self.now.saturating_sub(500 * MS);
        let together = |a| (0..a).all(|b| self.mesh.connected_since(a, b, since));
        let calm = (0..nodes).all(together) && !self.nodes.iter().any(is_switching);
        if self.plan.planned_only() && !calm {
            return;
        }
        if let Some(agent) = &mut self.nodes[node].agent
            && !agent.stopped
        {
            agent.leaving = true;
            let life = agent.life;
            self.step(node, life, Event::Leave);
        }
    }

    fn flush(&mut self, entry: Entry) {
        let now = self.now;
        let primary =
            (0..self.nodes.len()).find(|node| self.nodes[*node].server.accepts_writes(now));
        if let Some(node) = primary.filter(|node| !self.nodes[*node].server.data.is_foreign()) {
            self.note(|_| format!("{} gets {entry:?}", name_of(node)));
            self.nodes[node].server.write(entry, now);
            self.replicas_notice(node);
        }
    }

    fn heal(&mut self) {
        self.note(|_| "all is repaired".to_owned());
        self.pause(false);
        for a in 0..self.nodes.len() {
            for b in 0..a {
                let now = self.now;
                self.network.set_all(a, b, true, now);
                self.network.keeper.fill(true);
                self.relink_pair(a, b, false);
            }
        }
        for node in 0..self.nodes.len() {
            self.continue_server(node);
            self.continue_agent(node);
            let kept = match self.plan.weather {
                Weather::Blackouts => self.plan.kept,
                _ => Kept::Snapshot,
            };
            self.boot(node, kept, false);
            let leaving = self.nodes[node]
                .agent
                .as_ref()
                .is_some_and(|agent| agent.leaving);
            if leaving {
                self.end_agent(node);
            }
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].agent.is_none() {
                // Only after its former life was noticed to be over.
                self.after(30 * MS, Happening::Fault(Fault::StartAgent(node)));
            }
        }
        if let Some(flock) = &mut self.flock {
            flock.heal();
        }
        self.ledger.healing = Some(self.now);
        self.after(40 * MS, Happening::Look);
    }
}

fn is_switching(node: &Node) -> bool {
    let agent = node.agent.as_ref();
    agent.is_some_and(|agent| agent.leaving || !agent.switchovers.is_empty())
}

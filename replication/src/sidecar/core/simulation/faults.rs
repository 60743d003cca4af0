//! What a world is like, and what goes wrong in it.

use fastrand::Rng;

use super::{
    data::{Data, Entry},
    election::Vote,
    lease::Lease,
    network::Path,
    server::{Process, Server},
    world::{Happening, MS, Node, SECOND, Time, World, name_of},
};
use crate::sidecar::core::Event;

/// What kinds of faults there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Only what an operator asks for.
    Planned,
    Crashes,
    Stops,
    Cuts,
    /// Everything restarts, and users empty what they can.
    Blackouts,
    Everything,
}

/// How leadership comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elected {
    /// By whatever keeps the contract of an election.
    Anyhow,
    ByLease,
}

/// What a seed decides beforehand.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    weather: Weather,
    /// Leadership has an end.
    pub(super) lease: bool,
    /// A minority has no leader.
    pub(super) quorum: bool,
    /// Servers are restarted as writable primaries too.
    pub(super) plain: bool,
    /// Candidates race for a Lease, and know of each other by discovery alone.
    pub(super) by_lease: Option<Lease>,
    /// How many replicas a primary is to have.
    pub(super) min_replicas: u32,
    /// How long members are waited for.
    pub(super) form_timeout: Time,
    /// What most servers keep when they are restarted.
    kept: Kept,
    /// Whose server has a dataset of another group.
    foreign: Option<usize>,
    /// The servers start with data from before.
    old_data: bool,
    pub(super) probe_ms: u64,
    /// The most that a write takes to a replica.
    pub(super) lag: Time,
    /// When a replica gives up a silent connection.
    pub(super) link_timeout: Time,
    pub(super) write_every: Time,
    /// When faults end.
    pub(super) troubled: Time,
    faults: usize,
    /// The most that a slow message takes.
    pub(super) slowness: Time,
    pub(super) lame: Option<usize>,
    /// When an operator first pauses failover, in worlds where candidates race.
    pub(super) pause: Option<Time>,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng, elected: Elected) -> Self {
        let plan = Self::draw_any(rng);
        match elected {
            Elected::Anyhow => plan,
            Elected::ByLease => plan.by_lease(rng),
        }
    }

    /// The same group with a Lease. Servers are waited for longer than the election takes to notice
    /// that a leader died.
    fn by_lease(self, rng: &mut Rng) -> Self {
        let lease = Lease::draw(rng);
        let lasts = lease.lasts();
        Self {
            lease: true,
            quorum: false,
            by_lease: Some(lease),
            form_timeout: self.form_timeout + lasts,
            troubled: self.troubled + 2 * lasts,
            ..self
        }
    }

    fn draw_any(rng: &mut Rng) -> Self {
        let nodes = rng.usize(2..=5);
        let weather = match rng.u8(..14) {
            0 | 1 | 13 => Weather::Planned,
            2 | 3 => Weather::Crashes,
            4 | 5 => Weather::Stops,
            6 | 7 => Weather::Cuts,
            8..=10 => Weather::Blackouts,
            _ => Weather::Everything,
        };
        // Of a copy, so that what is drawn next does not depend on it.
        let min_replicas = u32::from(rng.clone().u8(..).is_multiple_of(3));
        let some = |rng: &mut Rng| (nodes > 2 && rng.u8(..8) == 0).then(|| rng.usize(..nodes));
        Self {
            nodes,
            weather,
            by_lease: None,
            min_replicas,
            form_timeout: rng.u64(500 * MS..2 * SECOND),
            kept: [Kept::Nothing, Kept::Writes, Kept::Writes, Kept::Snapshot][rng.usize(..4)],
            foreign: some(rng),
            lease: rng.bool(),
            quorum: nodes > 2 && rng.u8(..4) == 0,
            plain: weather == Weather::Crashes && rng.u8(..3) == 0,
            old_data: rng.u8(..4) == 0,
            probe_ms: 100 * rng.u64(1..=2),
            lag: rng.u64(MS..100 * MS),
            link_timeout: rng.u64(300 * MS..3 * SECOND),
            write_every: rng.u64(10 * MS..60 * MS),
            troubled: rng.u64(2 * SECOND..5 * SECOND),
            faults: rng.usize(2..14),
            slowness: rng.u64(2 * MS..90 * MS),
            lame: some(rng),
            pause: None,
        }
    }

    pub(super) fn stops(&self) -> bool {
        matches!(self.weather, Weather::Stops | Weather::Everything)
    }

    pub(super) fn planned_only(&self) -> bool {
        self.weather == Weather::Planned
    }
}

/// What a restarted server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    /// All, under a new history: an append-only file.
    Writes,
    /// What there was some time ago, and its position: a snapshot.
    Snapshot,
}

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
    fn leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|node| {
            let agent = self.nodes[*node].agent.as_ref();
            agent.is_some_and(|agent| agent.seat.leads() && !agent.stopped)
        })
    }

    /// Something goes wrong somewhere; every other time where it hurts most.
    fn strike(&mut self) {
        use Weather::{Blackouts, Crashes, Cuts, Everything, Planned, Stops};
        let leader = self.leader().filter(|_| self.rng.bool());
        let node = leader.unwrap_or_else(|| self.rng.usize(..self.plan.nodes));
        let kinds: &[u8] = match self.plan.weather {
            Planned => &[0, 0, 1],
            Crashes => &[0, 2, 2, 3, 4, 11, 12],
            Stops => &[0, 5, 6, 7, 8],
            Cuts => &[0, 9, 9, 10, 13],
            Blackouts => &[0, 2, 3, 4, 14, 14, 15, 16, 17, 17],
            Everything => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
        };
        if self.flock.is_some() && !self.plan.planned_only() {
            match self.rng.u8(..12) {
                0..3 => return self.strike_api(node),
                3 => return self.reschedule(node),
                _ => {}
            }
        }
        let kind = kinds[self.rng.usize(..kinds.len())];
        let short = self.rng.u64(20 * MS..600 * MS);
        let long = self.rng.u64(100 * MS..3 * SECOND);
        let span = if self.rng.bool() { short } else { long };
        let faults = match kind {
            0 => {
                let to = self.rng.bool().then(|| self.rng.usize(..self.plan.nodes));
                vec![(0, Fault::Switchover { to, anywhere: node })]
            }
            1 => vec![
                (0, Fault::Leave(node)),
                (span + SECOND, Fault::StartAgent(node)),
            ],
            2 => vec![(0, Fault::KillServer(node)), (span, self.restart(node))],
            3 => vec![(0, Fault::KillAgent(node)), (span, Fault::StartAgent(node))],
            4 => vec![
                (0, Fault::KillServer(node)),
                (0, Fault::KillAgent(node)),
                (span, self.restart(node)),
                (long, Fault::StartAgent(node)),
            ],
            5 => vec![
                (0, Fault::StopServer(node)),
                (span, Fault::ContinueServer(node)),
            ],
            6 => vec![
                (0, Fault::StopAgent(node)),
                (span, Fault::ContinueAgent(node)),
            ],
            7 => vec![
                (0, Fault::StopServer(node)),
                (0, Fault::StopAgent(node)),
                (span, Fault::ContinueServer(node)),
                (long, Fault::ContinueAgent(node)),
            ],
            8 => vec![
                (0, Fault::StopServer(node)),
                (short, Fault::KillAgent(node)),
                (span + SECOND, Fault::ContinueServer(node)),
                (long + SECOND, Fault::StartAgent(node)),
            ],
            11 => {
                let at_once = self.rng.u64(MS..20 * MS);
                vec![(0, Fault::KillServer(node)), (at_once, self.restart(node))]
            }
            12 => self.amnesia(node, span),
            14 => self.blackout(span),
            15 => vec![(0, Fault::Flush(Entry::Flush))],
            16 => vec![(0, Fault::Flush(Entry::FlushFunctions))],
            17 => self.left_behind(node),
            13 => {
                let deaf = |open| Fault::Isolate {
                    nodes: 1 << node,
                    open,
                    all: false,
                };
                vec![(0, deaf(false)), (SECOND + long, deaf(true))]
            }
            9 => {
                let nodes = self.rng.u32(1..(1 << self.plan.nodes) - 1);
                let isolate = |open| Fault::Isolate {
                    nodes,
                    open,
                    all: true,
                };
                vec![(0, isolate(false)), (span, isolate(true))]
            }
            _ => {
                let to = (node + self.rng.usize(1..self.plan.nodes)) % self.plan.nodes;
                let path = [Path::Agents, Path::Orders, Path::Streams][self.rng.usize(..3)];
                let cut = |open| Fault::Cut {
                    path,
                    from: node,
                    to,
                    open,
                };
                vec![(0, cut(false)), (span, cut(true))]
            }
        };
        for (delay, fault) in faults {
            self.after(delay, Happening::Fault(fault));
        }
    }

    /// A pod ends, or all do, and is started again elsewhere.
    fn reschedule(&mut self, node: usize) {
        let all = self.rng.u8(..3) == 0;
        let span = self.rng.u64(10 * MS..SECOND);
        let nodes = if all {
            0..self.plan.nodes
        } else {
            node..node + 1
        };
        for node in nodes {
            let back = span + self.rng.u64(MS..200 * MS);
            let faults = [
                (0, Fault::KillServer(node)),
                (0, Fault::KillAgent(node)),
                (span, Fault::Move(node)),
                (back, self.restart(node)),
                (back + self.rng.u64(..100 * MS), Fault::StartAgent(node)),
            ];
            for (delay, fault) in faults {
                self.after(delay, Happening::Fault(fault));
            }
        }
    }

    fn strike_api(&mut self, node: usize) {
        let short = self.rng.u64(20 * MS..600 * MS);
        let long = self.rng.u64(100 * MS..3 * SECOND);
        let span = if self.rng.bool() { short } else { long };
        match self.rng.u8(..5) {
            0..2 => {
                self.after(0, Happening::Fault(Fault::Api(node)));
                self.after(span, Happening::Fault(Fault::ApiRelents));
            }
            2..4 => {
                let cut = |open| Happening::Fault(Fault::CutFromApi { node, open });
                self.after(0, cut(false));
                self.after(span, cut(true));
            }
            _ => self.after(0, Happening::Fault(Fault::DeleteLease)),
        }
    }

    /// A node comes back empty where it can see nobody, and then meets agents that know of no
    /// leader.
    fn amnesia(&mut self, node: usize, span: Time) -> Vec<(Time, Fault)> {
        let alone = |open| Fault::Isolate {
            nodes: 1 << node,
            open,
            all: true,
        };
        let mut faults = vec![
            (0, alone(false)),
            (0, Fault::KillServer(node)),
            (0, Fault::KillAgent(node)),
            (
                20 * MS,
                Fault::StartServer {
                    node,
                    kept: Kept::Nothing,
                    plain: false,
                },
            ),
            (30 * MS, Fault::StartAgent(node)),
            (30 * MS + span, alone(true)),
        ];
        for other in (0..self.plan.nodes).filter(|other| *other != node) {
            if self.rng.u8(..4) > 0 {
                faults.push((0, Fault::KillAgent(other)));
                faults.push((span + 200 * MS, Fault::StartAgent(other)));
            }
        }
        faults
    }

    /// Every process is gone, at once or one after the other, the leader last or when it happens; and
    /// they come back together or when they like.
    fn blackout(&mut self, span: Time) -> Vec<(Time, Fault)> {
        let mut faults = Vec::new();
        let last = self.leader().filter(|_| self.rng.bool());
        let gradual = self.rng.bool();
        let apart = [200 * MS, 2 * SECOND][self.rng.usize(..2)];
        for node in 0..self.plan.nodes {
            let end = match gradual {
                true if last == Some(node) => span,
                true => self.rng.u64(..span),
                false => 0,
            };
            faults.push((end, Fault::KillServer(node)));
            faults.push((end, Fault::KillAgent(node)));
            let back = span + self.rng.u64(MS..apart);
            faults.push((back, self.restart(node)));
            faults.push((back + self.rng.u64(..300 * MS), Fault::StartAgent(node)));
        }
        faults
    }

    /// A node misses what happens before everything is gone, and all come back together.
    fn left_behind(&mut self, stale: usize) -> Vec<(Time, Fault)> {
        let mut faults = vec![(0, Fault::KillServer(stale)), (0, Fault::KillAgent(stale))];
        if self.rng.bool() {
            faults.push((300 * MS, Fault::Flush(Entry::Flush)));
        }
        let end = self.rng.u64(500 * MS..SECOND);
        for node in 0..self.plan.nodes {
            let back = end + self.rng.u64(10 * MS..100 * MS);
            faults.extend([
                (end, Fault::KillServer(node)),
                (end, Fault::KillAgent(node)),
                (back, self.restart(node)),
                (back + self.rng.u64(..100 * MS), Fault::StartAgent(node)),
            ]);
        }
        faults
    }

    fn restart(&mut self, node: usize) -> Fault {
        let kept = [Kept::Nothing, self.plan.kept, Kept::Writes, Kept::Snapshot];
        let kept = match self.plan.weather {
            Weather::Blackouts => self.plan.kept,
            _ => kept[self.rng.usize(..4)],
        };
        let plain = self.plan.plain && self.rng.bool();
        Fault::StartServer { node, kept, plain }
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

//! Something goes wrong somewhere: what, where and for how long.

use super::{
    data::Entry,
    faults::Fault,
    network::Path,
    plan::{Kept, Weather},
    world::{Happening, MS, SECOND, Time, World},
};

impl World {
    /// Something goes wrong somewhere; every other time where it hurts most.
    pub(super) fn strike(&mut self) {
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
}

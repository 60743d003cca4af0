//! Which agents hear each other.

use super::{
    election::Vote,
    network::Path,
    world::{Happening, MS, Time, World},
};

/// Which agents hear each other.
#[derive(Debug)]
pub(super) struct Mesh(Vec<Vec<Link>>);

#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) up: bool,
    /// What it will be soon.
    pub(super) wanted: bool,
    pub(super) since: Time,
    pub(super) stamp: u64,
}

impl Mesh {
    pub(super) fn new(nodes: usize) -> Self {
        Self(vec![vec![Link::default(); nodes]; nodes])
    }

    pub(super) fn link(&mut self, a: usize, b: usize) -> &mut Link {
        &mut self.0[a.min(b)][a.max(b)]
    }

    pub(super) fn connects(&self, a: usize, b: usize) -> bool {
        self.0[a.min(b)][a.max(b)].up
    }

    /// Whether these two have been connected since `since`.
    pub(super) fn connected_since(&self, a: usize, b: usize, since: Time) -> bool {
        let link = &self.0[a.min(b)][a.max(b)];
        link.up && link.since <= since
    }
}

impl World {
    /// The agent was started, ended, stopped, continued, cut off or reconnected.
    pub(super) fn relink(&mut self, node: usize, died: bool) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.relink_pair(node, other, died);
        }
        self.decide_soon();
    }

    pub(super) fn relink_pair(&mut self, a: usize, b: usize, died: bool) {
        let should = self.should_connect(a, b);
        let hear = self.network.converse(a, b);
        if let Some(flock) = &mut self.flock {
            flock.part(a, b, !hear);
        }
        let link = self.mesh.link(a, b);
        if link.wanted == should && !died {
            return;
        }
        link.wanted = should;
        link.stamp += 1;
        if link.up == should {
            return;
        }
        let stamp = link.stamp;
        let delay = match (should, died) {
            (true, _) => self.rng.u64(5 * MS..200 * MS),
            (false, true) => self.rng.u64(MS..5 * MS),
            (false, false) => self.rng.u64(900 * MS..1100 * MS),
        };
        self.after(delay, Happening::Vote(Vote::Link { a, b, stamp }));
    }

    pub(super) fn should_connect(&self, a: usize, b: usize) -> bool {
        let heard = if self.flock.is_some() {
            self.network.keeper[a] && self.network.keeper[b]
        } else {
            self.network.converse(a, b)
        };
        self.runs(a) && self.runs(b) && heard
    }

    /// The agents that hear each other, directly or through others.
    pub(super) fn groups(&self) -> Vec<Vec<usize>> {
        let mut left: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].agent.is_some())
            .collect();
        let mut groups = Vec::new();
        while let Some(first) = left.pop() {
            let mut group = vec![first];
            let mut next = 0;
            while next < group.len() {
                let from = group[next];
                left.retain(|node| {
                    let connected = self.mesh.connects(from, *node);
                    if connected {
                        group.push(*node);
                    }
                    !connected
                });
                next += 1;
            }
            groups.push(group);
        }
        groups
    }

    /// Cuts or joins one way between two nodes.
    pub(super) fn set_path(&mut self, path: Path, from: usize, to: usize, open: bool) {
        let now = self.now;
        self.network.set(path, from, to, open, now);
        self.relink_pair(from, to, false);
    }
}

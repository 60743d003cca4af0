//! Who reaches whom, and since when.

use super::world::Time;

/// What is cut off from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Agent to agent, for the election.
    Agents,
    /// Agent to another node's server.
    Orders,
    /// Server to its primary.
    Streams,
}

const PATHS: [Path; 3] = [Path::Agents, Path::Orders, Path::Streams];

#[derive(Debug)]
struct Way {
    open: bool,
    since: Time,
}

#[derive(Debug)]
pub(super) struct Network {
    nodes: usize,
    ways: Vec<Way>,
    /// Which nodes reach what keeps the lease.
    pub(super) keeper: Vec<bool>,
}

impl Network {
    pub(super) fn whole(nodes: usize) -> Self {
        let ways = (0..PATHS.len() * nodes * nodes)
            .map(|_| Way {
                open: true,
                since: 0,
            })
            .collect();
        Self {
            nodes,
            ways,
            keeper: vec![true; nodes],
        }
    }

    fn index(&self, path: Path, from: usize, to: usize) -> usize {
        (path as usize * self.nodes + from) * self.nodes + to
    }

    pub(super) fn reaches(&self, path: Path, from: usize, to: usize) -> bool {
        from == to || self.ways[self.index(path, from, to)].open
    }

    /// Whether `to` could be reached at every moment since `since`.
    pub(super) fn reached_since(&self, path: Path, from: usize, to: usize, since: Time) -> bool {
        let way = &self.ways[self.index(path, from, to)];
        from == to || way.open && way.since <= since
    }

    /// Whether the two agents hear each other.
    pub(super) fn converse(&self, a: usize, b: usize) -> bool {
        self.reaches(Path::Agents, a, b) && self.reaches(Path::Agents, b, a)
    }

    pub(super) fn set(&mut self, path: Path, from: usize, to: usize, open: bool, now: Time) {
        let index = self.index(path, from, to);
        if self.ways[index].open != open {
            self.ways[index] = Way { open, since: now };
        }
    }

    /// Opens or closes everything between these two.
    pub(super) fn set_all(&mut self, a: usize, b: usize, open: bool, now: Time) {
        for path in PATHS {
            self.set(path, a, b, open, now);
            self.set(path, b, a, open, now);
        }
    }
}

//! How servers live and die, and how replicas copy their primaries.

use super::{
    data::Entry,
    network::Path,
    server::{Next, Process, Server},
    world::{Happening, MS, SECOND, Time, World, name_of},
};
use crate::Link;

impl World {
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
            self.nodes[node].server.write(Entry::Write(write), now);
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
        server.moves = self.nodes[node].server.moves;
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
        self.nodes[node].promotions.clear();
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

    pub(super) fn connect_soon(&mut self, node: usize) {
        let delay = self.delay();
        self.replicate_after(delay, node);
        self.replicas_notice(node);
    }

    pub(super) fn replicate_after(&mut self, delay: Time, server: usize) {
        let (at, now) = (self.now + delay, self.now);
        let due = &mut self.nodes[server].server.due;
        // What is due earlier looks after this too.
        if *due <= now || at < *due {
            *due = at;
            self.after(delay, Happening::Replicate { server, at });
        }
    }

    pub(super) fn replicate(&mut self, node: usize) {
        let server = &self.nodes[node].server;
        let Some(of) = server.of.filter(|of| *of != node) else {
            return;
        };
        if !server.runs() || server.primary || server.loading {
            return;
        }
        let reachable = self.network.reaches(Path::Streams, node, of)
            && self.network.reaches(Path::Streams, of, node)
            && server.of_moves == self.nodes[of].server.moves;
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
            Next::Wait => {}
            Next::Pull => self.replicate_after(lag, node),
            Next::Retry => self.retry(node),
            Next::Copy => {
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

    pub(super) fn retry(&mut self, node: usize) {
        let pause = self.rng.u64(50 * MS..SECOND);
        self.replicate_after(pause, node);
    }

    pub(super) fn copy_arrives(&mut self, node: usize, stamp: u64) {
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
        let copy = copy.clone();
        self.check_overwriting(node, of, &copy);
        let now = self.now;
        let server = &mut self.nodes[node].server;
        server.begin_loading(now);
        let run = server.run;
        self.note(|_| format!("{} loads the copy", name_of(node)));
        let time = self.rng.u64(2 * MS..100 * MS);
        self.after(time, Happening::Loaded { server: node, run });
    }

    pub(super) fn loaded(&mut self, node: usize, run: u64) {
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
}

//! A primary and its replica, and how one takes over from the other.

use bellwether_proxy::{Topology, Upstream};
use bellwether_testkit::{Boot, Data, Redis, until};

use super::{Front, PATIENCE, fenced, primary};

/// How the primary changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Writes are paused until the replica has them all, and refused from then on: nothing is lost.
    Switchover,
    /// The primary is fenced, and its clients are cut: what they were not answered is in doubt.
    Cut,
    /// The primary gets SIGKILL.
    Kill,
    /// The primary hangs, with its connections open, until the other has taken over.
    Hang,
}

/// Two servers, of which one copies the other.
pub(crate) struct Pair {
    servers: [Redis; 2],
    primary: usize,
    term: u64,
}

impl Pair {
    /// A primary and a replica in sync.
    pub(crate) fn start() -> Self {
        let servers = [primary(), fenced()];
        follow(&servers[1], &servers[0]);
        Self {
            servers,
            primary: 0,
            term: 1,
        }
    }

    pub(crate) fn primary(&self) -> &Redis {
        &self.servers[self.primary]
    }

    pub(crate) fn primary_mut(&mut self) -> &mut Redis {
        &mut self.servers[self.primary]
    }

    pub(crate) fn replica(&self) -> &Redis {
        &self.servers[1 - self.primary]
    }

    pub(crate) fn replica_mut(&mut self) -> &mut Redis {
        &mut self.servers[1 - self.primary]
    }

    /// Tells the proxy who is primary now, and who is not.
    pub(crate) fn publish_to(&self, front: &Front) {
        front.publish(Topology {
            term: self.term,
            primary: Some(upstream(self.primary())),
            replicas: vec![upstream(self.replica())],
            ..Topology::default()
        });
    }

    /// Makes the replica the primary, and tells the proxy last. `promoting` sees the replica when
    /// it gets nothing more from the former primary, before it takes writes.
    pub(crate) fn take_over(&mut self, how: Change, front: &Front, promoting: impl FnOnce(&Redis)) {
        let (from, to) = (self.primary, 1 - self.primary);
        match how {
            Change::Switchover => {
                pause_until_equal(&self.servers[from], &self.servers[to]);
                fence(&self.servers[from], &[]);
            }
            Change::Cut => fence(&self.servers[from], &["normal", "pubsub"]),
            Change::Kill => self.servers[from].kill().expect("killed"),
            Change::Hang => self.servers[from].stop().expect("stopped"),
        }
        if how == Change::Kill {
            let received_all = || {
                let info = self.servers[to].info("replication");
                info.is_ok_and(|info| info["master_link_status"] == "down")
            };
            until(PATIENCE, "the end of the stream", received_all).expect("in time");
        }
        self.command(to, &["REPLICAOF", "127.0.0.1", "1"]);
        promoting(&self.servers[to]);
        self.command(to, &["REPLICAOF", "NO", "ONE"]);
        self.primary = to;
        self.term += 1;
        self.publish_to(front);
    }

    /// Makes the former primary a replica of its successor, in sync.
    pub(crate) fn heal(&mut self, how: Change) {
        let former = self.replica_mut();
        match how {
            Change::Switchover | Change::Cut => {}
            Change::Kill | Change::Hang => {
                let again = former.restart(Data::Keep, Boot::ReplicaOfNowhere);
                again.expect("a server that starts again");
            }
        }
        follow(self.replica(), self.primary());
    }

    /// Waits until the replica has every write that was answered so far.
    pub(crate) fn wait_until_equal(&self) {
        equal_offsets(self.primary(), self.replica());
    }

    fn command(&self, server: usize, words: &[&str]) {
        self.servers[server].command(words).expect("obeyed");
    }
}

/// One of the topology's servers.
pub(crate) fn upstream(server: &Redis) -> Upstream {
    Upstream {
        name: format!("server {}", server.port()),
        host: "127.0.0.1".into(),
        port: server.port(),
    }
}

/// Makes `replica` a copy of `primary`, and waits until it is one that gets each write at once.
pub(crate) fn follow(replica: &Redis, primary: &Redis) {
    let port = primary.port();
    replica
        .command(&["REPLICAOF", "127.0.0.1", &port.to_string()])
        .expect("a replica");
    let follows = || replica.role().is_ok_and(|role| role.follows(port));
    until(PATIENCE, "the replica to be in sync", follows).expect("in time");
    // Only from its first acknowledgement on does a replica get each write at once.
    let online = || {
        let info = primary.info("replication");
        info.is_ok_and(|info| {
            info.get("slave0")
                .is_some_and(|s| s.contains("state=online"))
        })
    };
    until(PATIENCE, "the replica to be online", online).expect("in time");
}

/// Refuses writes from now on, and closes clients of these types: safety rule 5.
pub(crate) fn fence(server: &Redis, cut: &[&str]) {
    let mut transaction = redis::pipe();
    let transaction = transaction.atomic();
    for words in [
        "CONFIG SET replica-read-only yes",
        "CLIENT UNPAUSE",
        "REPLICAOF 127.0.0.1 1",
    ] {
        let mut words = words.split(' ');
        transaction.cmd(words.next().expect("a name"));
        for word in words {
            transaction.arg(word);
        }
    }
    for kind in cut {
        transaction.cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind);
    }
    let mut connection = server.connect().expect("a connection for orders");
    let _: redis::Value = transaction.query(&mut connection).expect("fenced");
    assert!(!server.role().expect("a role").is_primary());
}

fn pause_until_equal(from: &Redis, to: &Redis) {
    from.command(&["CLIENT", "PAUSE", "60000", "WRITE"])
        .expect("paused");
    equal_offsets(from, to);
}

fn equal_offsets(primary: &Redis, replica: &Redis) {
    let equal = || {
        let offset = |server: &Redis| server.info("replication").map_err(|e| e.to_string());
        let (sent, got) = (offset(primary)?, offset(replica)?);
        let (sent, got) = (&sent["master_repl_offset"], &got["slave_repl_offset"]);
        if sent == got {
            Ok(())
        } else {
            Err(format!("{sent} sent, {got} received"))
        }
    };
    until(PATIENCE, "equal offsets", equal).expect("in time");
}

//! Which ports a node uses.

use anyhow::{Result, ensure};

/// The highest first port: the last port of the last node still exists.
pub(crate) const LAST_BASE: i64 = 65_535 - 5 * 10;

/// The ports of one node, all on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    /// Clients that read and write.
    pub(crate) clients: u16,
    /// Clients that only read, and may read what is a little old.
    pub(crate) reads: u16,
    /// The redis-server itself.
    pub(crate) redis: u16,
    /// The other agents.
    pub(crate) peers: u16,
    /// Health, status, switchover.
    pub(crate) admin: u16,
}

impl Ports {
    /// Ports on which nobody listens: those of node `number` counted from `base`, or any.
    ///
    /// # Errors
    ///
    /// Names the port that is in use, if it was asked for.
    pub(crate) fn choose(base: Option<u16>, number: usize) -> Result<Self> {
        let Some(base) = base else {
            return Self::each(|_| bellwether_testkit::ports::free());
        };
        let node = u16::try_from(number - 1)?;
        Self::each(|kind| {
            let port = base + 10 * kind + node;
            let free = std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
            ensure!(free, "port {port} is in use: choose another --base-port");
            Ok(port)
        })
    }

    /// The name by which the group knows the node: in a fixed list, its address for peers.
    pub(crate) fn member(&self) -> String {
        format!("127.0.0.1:{}", self.peers)
    }

    fn each(mut port: impl FnMut(u16) -> Result<u16>) -> Result<Self> {
        Ok(Self {
            clients: port(0)?,
            reads: port(1)?,
            redis: port(2)?,
            peers: port(3)?,
            admin: port(4)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_port_of_the_last_node_exists() {
        assert!(LAST_BASE + 10 * 4 + 4 <= i64::from(u16::MAX));
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = bellwether_testkit::ports::free().unwrap();
        let _listener = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
        let error = Ports::choose(Some(taken - 1), 2).unwrap_err().to_string();
        assert!(
            error.contains(&taken.to_string()) && error.contains("--base-port"),
            "{error}"
        );
    }
}

//! Hosts in network namespaces of this machine, joined by a bridge that can be cut. Needs root.

use std::net::IpAddr;

/// A host of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its network namespace, named as by `ip netns`.
    pub namespace: String,
    /// Where the other hosts reach it.
    pub address: IpAddr,
    /// Where this process reaches it, whatever is cut.
    pub management: IpAddr,
}

//! What can go wrong with a proxy as a whole.

use std::io;
use std::net::SocketAddr;

/// Why a proxy could not start. What happens to a single session never ends a proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings contradict each other or make no sense. Fix them.
    #[error("proxy settings: {0}")]
    Config(&'static str),
    /// The renamed commands contradict each other or what Redis has. Fix them.
    #[error("renames: {0}")]
    Renames(String),
    /// The address to listen on is taken or not ours. Choose another one, or try again later.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused a thread or its event queue. Give up, or try again later.
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
}

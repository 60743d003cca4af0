use std::{io, net::SocketAddr};

/// Why the HTTP face of a node cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on: fix the configuration.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address as it was configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

use std::io;

/// Why an election ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work: fix it.
    #[error("{0}")]
    Config(String),
    /// The address for peers cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address as it was configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

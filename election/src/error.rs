use std::io;

/// Why an election ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work: fix what it says. Trying again does not help.
    #[error("{0}")]
    Config(String),
    /// The address for peers cannot be listened on: free it or choose another. Trying again may
    /// help, if what listens there is about to end.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address as it was configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// What this member keeps in its data directory cannot be read or written, now or any more.
    /// Somebody has to look.
    #[error("what the election keeps cannot be used")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

use crate::Address;

/// Why a server did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answers at that address: nothing was done. Try again later.
    #[error("{address} cannot be reached")]
    Unreachable {
        /// The server.
        address: Address,
        /// What the connection said.
        source: bellwether_resp::Error,
    },
    /// The server did not answer in time or hung up half-way. The command may still run: inspect
    /// before anything else is decided.
    #[error("{address} did not answer, outcome unknown")]
    Unknown {
        /// The server.
        address: Address,
        /// What the connection said.
        source: bellwether_resp::Error,
    },
    /// The server answered with an error: nothing was done. Its text tells what to change, such as
    /// the password.
    #[error("{address} refused {command}: {reason}")]
    Refused {
        /// The server.
        address: Address,
        /// What was asked.
        command: &'static str,
        /// The server's words.
        reason: String,
    },
    /// The server's answer makes no sense, or its role is not what it was told to be.
    #[error("{address} answered {command} in an unexpected way: {reason}")]
    Unexpected {
        /// The server.
        address: Address,
        /// What was asked.
        command: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
}

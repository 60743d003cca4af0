//! What runs in the background of a program, for as long as the program.

use tokio::task::{JoinError, JoinSet};

/// The tasks of an agent, none of which should end by itself.
pub type Tasks = JoinSet<anyhow::Result<()>>;

/// What it means that one of them, or another part that should not, has ended.
#[must_use]
pub fn premature(ended: Option<Result<anyhow::Result<()>, JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => anyhow::Error::new(error).context("a task panicked"),
        Some(Ok(Ok(()))) | None => anyhow::anyhow!("a task ended that never should"),
    }
}

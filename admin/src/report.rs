use std::time::Duration;

use tokio::sync::oneshot;

/// What a node says of itself: the whole of it, published anew at each change.
///
/// Dropping the `watch` channel's sender says that the node's main loop is gone: neither live nor
/// ready, whatever the last report said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether the main loop is alive. An orchestrator restarts a node that is not.
    pub live: bool,
    /// Whether clients may be sent here; otherwise why not, in one line.
    pub ready: Result<(), String>,
    /// What `/status` shows.
    pub status: serde_json::Value,
}

/// Someone wants leadership to move.
///
/// Until it is answered or dropped, every further wish is refused as one too many; dropping it
/// says that nobody could carry it out.
#[derive(Debug)]
pub struct SwitchoverRequest {
    /// The member that shall take over; `None` leaves the choice to the application.
    pub to: Option<String>,
    /// Takes what came of it, or one line that says why it was refused.
    pub answer: oneshot::Sender<Result<SwitchoverDone, String>>,
}

/// A switchover that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchoverDone {
    /// The member that led before.
    pub from: String,
    /// The member that leads now.
    pub to: String,
    /// How long it took, from the request to the new primary.
    pub took: Duration,
}

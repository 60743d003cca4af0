use std::time::Duration;

use tokio::sync::oneshot;

/// What someone wants of the node, handed to the application.
///
/// Until one is answered or dropped, every further one of its kind is refused as one too many;
/// dropping it says that nobody could carry it out. Pausing and resuming are one kind.
#[derive(Debug)]
pub enum Request {
    /// Leadership shall move.
    Switchover {
        /// The member that shall take over; `None` leaves the choice to the application.
        to: Option<String>,
        /// Takes what came of it.
        answer: Answer<SwitchoverDone>,
    },
    /// No failover shall happen by itself until [`Request::Resume`]. Whoever has paused already
    /// answers that it is done.
    Pause {
        /// Takes that it is so now.
        answer: Answer<()>,
    },
    /// Failovers may happen by themselves again. Whoever is not paused answers that it is done.
    Resume {
        /// Takes that it is so now.
        answer: Answer<()>,
    },
}

/// Takes what came of a request, or one line that says why it was refused.
pub type Answer<T> = oneshot::Sender<Result<T, String>>;

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

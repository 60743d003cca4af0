//! What `/metrics` tells of an agent: worked out when it is asked for. A recorder would go on telling
//! what was true when something last happened.

mod table;
mod text;
mod values;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};

use bellwether_admin::Report;
use bellwether_replication::{Handle, Status, View};
use tokio::sync::watch;

use values::values;

/// The figures of an agent. Cheap to clone.
#[derive(Clone, Default)]
pub struct Figures {
    source: Arc<OnceLock<(String, Handle)>>,
    outside: Option<Arc<dyn Fn() -> Outside + Send + Sync>>,
}

/// What an agent has to do with the Kubernetes API, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Of each state that failsafe may be in, whether it is; empty without failsafe.
    pub failsafe: Vec<(&'static str, bool)>,
    /// Calls of the election that went well.
    pub calls: u64,
    /// Calls of the election that came to nothing.
    pub failures: u64,
    /// When the election's last call went well.
    pub answered: Option<Instant>,
    /// Events that the API has taken.
    pub told: u64,
    /// Events that nobody will see: too many at a time, too old, or not permitted.
    pub dropped: u64,
}

/// What figures are worked out from.
struct Snapshot<'a> {
    own: &'a str,
    view: &'a View,
    status: &'a Status,
    report: &'a Report,
    outside: Option<Outside>,
}

impl Figures {
    /// With those of the Kubernetes API.
    #[must_use]
    pub fn with_outside(mut self, outside: impl Fn() -> Outside + Send + Sync + 'static) -> Self {
        self.outside = Some(Arc::new(outside));
        self
    }

    /// From now on they are those of this member's sidecar.
    ///
    /// # Panics
    ///
    /// If they are another one's already.
    pub fn follow(&self, own: &str, handle: &Handle) {
        let source = (own.to_owned(), handle.clone());
        assert!(self.source.set(source).is_ok(), "an agent has one sidecar");
    }

    /// What they are now, in Prometheus's text format.
    pub(crate) fn render(&self, reports: &watch::Receiver<Arc<Report>>) -> String {
        let (own, view, status) = match self.source.get() {
            Some((own, handle)) => {
                let status = Arc::clone(&handle.status().borrow());
                (own.as_str(), handle.view().borrow().clone(), status)
            }
            None => ("", View::default(), Arc::default()),
        };
        let report = Arc::clone(&reports.borrow());
        let snapshot = Snapshot {
            own,
            view: &view,
            status: &status,
            report: &report,
            outside: self.outside.as_ref().map(|outside| outside()),
        };
        let now = tokio::time::Instant::now().into_std();
        text::render(&values(&snapshot, now))
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}

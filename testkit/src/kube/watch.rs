//! Watches: the changes of a selection as lines of JSON, for as long as somebody reads them.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::call::{Call, Target};
use super::list::{any_version, number};
use super::resource::Resource;
use super::selector::Selection;
use super::status::{Cause, Failure};
use super::store::{Change, Store, with_version};

/// How often a watch that allows it is told the current version, as by a real server.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// How long a watch lasts that does not say: the least that a real server gives.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// A watch that has been accepted and is about to run.
pub(crate) struct Watch {
    resource: &'static Resource,
    namespace: String,
    selection: Selection,
    /// Events that come first: what existed, or why there is nothing.
    first: Vec<Bytes>,
    changes: Option<mpsc::Receiver<Arc<Change>>>,
    bookmarks: bool,
    /// Up to where everything that concerns the watch has been sent.
    seen: u64,
    /// What the client knows of that.
    told: u64,
    end: Instant,
}

impl Watch {
    /// # Errors
    ///
    /// 400 or 422 for parameters that make no sense. A version that is compacted is no error here,
    /// but an event, as from a real server.
    pub(crate) fn open(
        store: &mut Store,
        resource: &'static Resource,
        target: &Target,
        call: &Call,
    ) -> Result<Self, Failure> {
        let lasts = number(call, "timeoutSeconds")?.filter(|seconds| *seconds > 0);
        let lasts = lasts.map_or(LONGEST, Duration::from_secs);
        check(call)?;
        let from = any_version(call)?;
        let mut watch = Self {
            resource,
            namespace: target.namespace.clone(),
            selection: Selection::of(call, resource)?,
            first: Vec::new(),
            changes: None,
            bookmarks: call.flag("allowWatchBookmarks"),
            seen: store.revision(),
            told: store.revision(),
            end: Instant::now() + lasts,
        };
        if from > 0 && call.parameter("sendInitialEvents").is_empty() {
            match store.changes(from) {
                Ok(changes) => {
                    watch.changes = Some(changes);
                    (watch.seen, watch.told) = (from, from);
                }
                Err(expired) => watch.first = vec![event("ERROR", &expired.status)],
            }
            return Ok(watch);
        }
        // Without a version, everything is meant to come first, unless that is ruled out.
        if call.parameter("sendInitialEvents").is_empty() || call.flag("sendInitialEvents") {
            let existing = store.all(resource, &watch.namespace);
            let existing = existing.iter().map(|(_, object)| object);
            let selected = existing.filter(|object| watch.selection.matches(object));
            watch.first = selected.map(|object| event("ADDED", object)).collect();
            if watch.bookmarks {
                let end = watch.bookmark(true);
                watch.first.push(end);
            }
        }
        watch.changes = Some(store.changes(watch.seen)?);
        Ok(watch)
    }

    /// Sends events until the time is over or nobody reads them. A change of `nudge` makes a
    /// bookmark come at once.
    pub(crate) async fn run(
        mut self,
        events: mpsc::Sender<Bytes>,
        mut nudge: watch::Receiver<u64>,
    ) {
        for event in std::mem::take(&mut self.first) {
            if events.send(event).await.is_err() {
                return;
            }
        }
        let Some(mut changes) = self.changes.take() else {
            return;
        };
        let mut next_bookmark = Instant::now() + BOOKMARKS;
        loop {
            let event = tokio::select! {
                biased;
                () = events.closed() => return,
                change = changes.recv() => match change {
                    Some(change) => self.event(&change),
                    // Too slow: what was missed has to be read anew.
                    None => return,
                },
                () = sleep_until(self.end) => {
                    if let Some(bookmark) = self.news() {
                        // The receiver may be gone; then this watch is at its end too.
                        let _ = events.send(bookmark).await;
                    }
                    return;
                }
                () = sleep_until(next_bookmark) => {
                    next_bookmark = Instant::now() + BOOKMARKS;
                    self.news()
                }
                Ok(()) = nudge.changed() => self.bookmarks.then(|| self.bookmark(false)),
            };
            if let Some(event) = event
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    }

    /// How a change looks to this watch, if it concerns it: what leaves the selection is deleted to
    /// it, what enters is added.
    fn event(&mut self, change: &Change) -> Option<Bytes> {
        // A watch may begin in the future.
        if change.revision <= self.seen {
            return None;
        }
        // Versions are shared by everything, so that any change tells how far we are.
        self.seen = change.revision;
        let key = &change.key;
        let ours = key.plural == self.resource.plural
            && (self.namespace.is_empty() || key.namespace == self.namespace);
        if !ours {
            return None;
        }
        let selected = |object: &Option<Arc<Value>>| {
            let object = object.as_ref();
            object
                .filter(|object| self.selection.matches(object))
                .cloned()
        };
        let event = match (selected(&change.before), selected(&change.after)) {
            (None, None) => return None,
            (None, Some(after)) => event("ADDED", &after),
            (Some(_), Some(after)) => event("MODIFIED", &after),
            (Some(before), None) => {
                let gone = with_version(Value::clone(&before), change.revision);
                event("DELETED", &gone)
            }
        };
        self.told = self.seen;
        Some(event)
    }

    /// A bookmark, if there is anything to tell by it.
    fn news(&mut self) -> Option<Bytes> {
        let is_due = self.bookmarks && self.seen > self.told;
        is_due.then(|| self.bookmark(false))
    }

    fn bookmark(&mut self, end_of_initial: bool) -> Bytes {
        self.told = self.seen;
        let mut object = json!({
            "kind": self.resource.kind,
            "apiVersion": self.resource.api_version(),
            "metadata": {"resourceVersion": self.seen.to_string()},
        });
        if end_of_initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        event("BOOKMARK", &object)
    }
}

/// The rules between parameters (`apis/meta/internalversion/validation`).
fn check(call: &Call) -> Result<(), Failure> {
    let field = "resourceVersionMatch";
    let is_initial = !call.parameter("sendInitialEvents").is_empty();
    let detail = match call.parameter(field) {
        "" if !is_initial => return Ok(()),
        "NotOlderThan" if is_initial => return Ok(()),
        _ if is_initial => {
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        }
        _ => "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
    };
    let cause = Cause::forbidden(field, detail);
    Err(Failure::invalid_options("ListOptions", &[cause]))
}

/// One line of the stream.
pub(crate) fn event(kind: &str, object: &Value) -> Bytes {
    let mut line = json!({"type": kind, "object": object}).to_string();
    line.push('\n');
    line.into()
}

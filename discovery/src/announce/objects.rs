//! The calls to the API, of which each has a timeout.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::time::{Instant, timeout_at};

use super::config::AnnouncerConfig;
use super::core::{Event, Failure};
use super::plan::{Subject, Write};
use super::seen::{Seen, View};
use crate::kube::api::{self, Asked, within};

/// More pods than this are a selector gone wrong.
const MAX_OBJECTS: u32 = 1024;

/// Who has changed an object, as its managed fields show it.
const FIELD_MANAGER: &str = "bellwether";

/// Which objects are meant.
#[derive(Clone, Debug)]
pub(super) enum Selection {
    /// One, by its name.
    Named(String),
    /// Those that a label selector matches.
    Labelled(String),
}

impl Selection {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Labelled(_) => None,
        }
    }

    fn listed(&self) -> ListParams {
        match self {
            Self::Named(name) => ListParams::default().fields(&by_name(name)),
            Self::Labelled(labels) => ListParams::default().labels(labels),
        }
    }

    fn watched(&self) -> WatchParams {
        match self {
            Self::Named(name) => WatchParams::default().fields(&by_name(name)),
            Self::Labelled(labels) => WatchParams::default().labels(labels),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Named(text) | Self::Labelled(text)) = self;
        write!(f, "{text:?}")
    }
}

/// With this, a permission for one name covers lists and watches, too.
fn by_name(name: &str) -> String {
    format!("metadata.name={name}")
}

/// A selection of objects in one namespace.
#[derive(Clone)]
pub(super) struct Objects<S: Subject> {
    subject: S,
    api: Api<S::Object>,
    selection: Selection,
    namespace: String,
    timeout: Duration,
    reread: Duration,
}

impl<S: Subject> Objects<S> {
    pub(super) fn new(
        subject: S,
        client: Client,
        namespace: &str,
        selection: Selection,
        config: &AnnouncerConfig,
    ) -> Self {
        Self {
            subject,
            api: Api::namespaced(client, namespace),
            selection,
            namespace: namespace.into(),
            timeout: config.timeout,
            reread: config.reread,
        }
    }

    /// Reads all of them, with the version from which a watch goes on.
    ///
    /// By a list even for one object: its version is that of the moment, while a watch from an
    /// object's own version is refused as too old after the API server was restarted, until somebody
    /// happens to write that object.
    pub(super) fn read(&self) -> BoxFuture<'static, Result<(View, String), Failure>> {
        let this = self.clone();
        async move {
            let asked = this.asked("list", this.selection.name());
            let params = this.selection.listed().limit(MAX_OBJECTS);
            let list = within(this.timeout, &asked, this.api.list(&params)).await;
            let list = list.map_err(|failure| judge(&failure))?;
            if list.metadata.continue_.is_some_and(|it| !it.is_empty()) {
                return Err(Failure::Refused(format!(
                    "{} matches more than {MAX_OBJECTS} {} in namespace {:?}",
                    this.selection,
                    S::RESOURCE,
                    this.namespace
                )));
            }
            let seen = list.items.into_iter().map(|it| this.subject.see(it));
            let view = seen.map(|seen| (seen.name.clone(), seen)).collect();
            Ok((view, list.metadata.resource_version.unwrap_or_default()))
        }
        .boxed()
    }

    /// Patches one of them. If the future fails or is dropped, the patch may still take effect.
    pub(super) fn write(&self, write: Write) -> BoxFuture<'static, Result<Seen, Failure>> {
        let this = self.clone();
        async move {
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.into()),
                ..PatchParams::default()
            };
            let patch = Patch::Json::<()>(write.patch);
            let asked = this.asked("patch", Some(&write.object));
            let patched = this.api.patch(&write.object, &params, &patch);
            match within(this.timeout, &asked, patched).await {
                Ok(object) => Ok(this.subject.see(object)),
                Err(failure) => Err(match failure.status() {
                    // A failed test is answered with 422, and so is what can never be accepted.
                    Some(422) => Failure::Rejected(failure.to_string()),
                    // What is gone is not what was seen.
                    Some(404) => Failure::Outdated(failure.to_string()),
                    _ => judge(&failure),
                }),
            }
        }
        .boxed()
    }

    /// What happens after `version`, until the watch has to be renewed.
    pub(super) fn watch(&self, version: String) -> BoxStream<'static, Event> {
        let this = self.clone();
        let events = async move {
            match this.open(&version).await {
                Ok(events) => stream::iter([Event::Watching]).chain(events).boxed(),
                Err(failure) => stream::iter([Event::Unwatched(Err(failure))]).boxed(),
            }
        };
        stream::once(events).flatten().boxed()
    }

    async fn open(&self, version: &str) -> Result<BoxStream<'static, Event>, Failure> {
        let seconds = u32::try_from(self.reread.as_secs()).unwrap_or(u32::MAX);
        let mut params = self.selection.watched().timeout(seconds);
        // Nothing is resumed from where a watch has ended.
        params.bookmarks = false;
        let asked = self.asked("watch", self.selection.name());
        let events = within(self.timeout, &asked, self.api.watch(&params, version)).await;
        // The server ends the watch in time. If it does not, it has gone silent.
        let silent_at = Instant::now() + self.reread + self.timeout;
        let watch = Watch {
            subject: self.subject.clone(),
            events: events.map_err(|failure| judge(&failure))?.boxed(),
            silent_at,
            asked,
        };
        let next = async |mut watch: Watch<S>| Some((watch.next().await, watch));
        Ok(stream::unfold(watch, next).boxed())
    }

    fn asked(&self, verb: &'static str, name: Option<&str>) -> Asked {
        Asked {
            verb,
            resource: S::RESOURCE,
            name: name.map(Into::into),
            namespace: self.namespace.clone(),
        }
    }
}

/// A watch that runs. After [`Event::Unwatched`] it is of no more use.
struct Watch<S: Subject> {
    subject: S,
    events: BoxStream<'static, kube::Result<WatchEvent<S::Object>>>,
    silent_at: Instant,
    asked: Asked,
}

impl<S: Subject> Watch<S> {
    async fn next(&mut self) -> Event {
        loop {
            let Ok(event) = timeout_at(self.silent_at, self.events.next()).await else {
                let silent = format!("cannot {}: the API has gone silent", self.asked);
                return Event::Unwatched(Err(Failure::Away(silent)));
            };
            let error = match event {
                None => return Event::Unwatched(Ok(())),
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    return Event::Changed(self.subject.see(object));
                }
                Some(Ok(WatchEvent::Deleted(object))) => {
                    return Event::Gone(self.subject.see(object).name);
                }
                Some(Ok(WatchEvent::Bookmark(_))) => continue,
                Some(Ok(WatchEvent::Error(status))) => kube::Error::Api(status),
                Some(Err(error)) => error,
            };
            return Event::Unwatched(Err(judge(&api::explain(&error, &self.asked))));
        }
    }
}

fn judge(failure: &api::Failure) -> Failure {
    let reason = failure.to_string();
    match failure.status() {
        // A conflict, and a version that is no more.
        Some(409 | 410) => Failure::Outdated(reason),
        Some(429) => Failure::Busy(failure.retry_after(), reason),
        _ if failure.needs_action() => Failure::Refused(reason),
        _ => Failure::Away(reason),
    }
}

//! Runs one core: waits, steps, carries out. All policy is the core's.

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::core::{Action, Core, Event, Failure};
use super::leader::{Announcement, Leader};
use super::objects::Objects;
use super::plan::Subject;
use super::seen::{Seen, View};

/// One core with what it has under way.
pub(super) struct Shell<'a, S: Subject> {
    core: Core<S>,
    objects: Objects<S>,
    call: Option<Call>,
    watch: Option<BoxStream<'static, Event>>,
    /// Of the last read: from there a watch goes on.
    version: String,
    tell: &'a (dyn Fn(Announcement) + Send + Sync),
}

enum Call {
    Read(BoxFuture<'static, Result<(View, String), Failure>>),
    Write(BoxFuture<'static, Result<Seen, Failure>>),
}

impl<'a, S: Subject> Shell<'a, S> {
    pub(super) fn new(
        core: Core<S>,
        objects: Objects<S>,
        tell: &'a (dyn Fn(Announcement) + Send + Sync),
    ) -> Self {
        Self {
            core,
            objects,
            call: None,
            watch: None,
            version: String::new(),
            tell,
        }
    }

    /// Runs until nobody can tell of a leader any more.
    pub(super) async fn run(mut self, mut leader: watch::Receiver<Option<Leader>>) {
        leader.mark_changed();
        loop {
            let wake_at = self.core.wake_at().map(Instant::from_std);
            // Whether this node still leads is known before anything else is done.
            let event = tokio::select! {
                biased;
                news = leader.changed() => match news {
                    Ok(()) => Event::Leader(leader.borrow_and_update().clone()),
                    Err(_) => break,
                },
                () = until(wake_at) => Event::Tick,
                event = self.next() => event,
            };
            for action in self.core.step(Instant::now().into_std(), event) {
                self.perform(action);
            }
        }
    }

    /// What comes of what is under way; a call before the watch.
    async fn next(&mut self) -> Event {
        let event = match (&mut self.call, &mut self.watch) {
            (Some(Call::Read(read)), _) => Event::Read(read.await.map(|(view, version)| {
                self.version = version;
                view
            })),
            (Some(Call::Write(write)), _) => Event::Wrote(write.await),
            (None, Some(watch)) => {
                let event = watch.next().await.unwrap_or(Event::Unwatched(Ok(())));
                if matches!(event, Event::Unwatched(_)) {
                    self.watch = None;
                }
                return event;
            }
            (None, None) => std::future::pending().await,
        };
        self.call = None;
        event
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Read => {
                self.watch = None;
                self.call = Some(Call::Read(self.objects.read()));
            }
            Action::Write(write) => {
                let (resource, object) = (S::RESOURCE, &write.object);
                tracing::info!(
                    resource,
                    object,
                    because = write.because,
                    "announcing the leader"
                );
                self.call = Some(Call::Write(self.objects.write(write)));
            }
            Action::Watch => {
                let version = &self.version;
                self.watch
                    .get_or_insert_with(|| self.objects.watch(version.clone()));
            }
            Action::Drop => {
                self.watch = None;
                self.call = None;
            }
            Action::Tell(announcement) => {
                log(S::RESOURCE, &announcement);
                (self.tell)(announcement);
            }
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Each state is told as it begins, so an outage is one line.
fn log(resource: &str, announcement: &Announcement) {
    match announcement {
        Announcement::Idle | Announcement::Pending { .. } => {
            tracing::debug!(resource, ?announcement, "the leader's announcement");
        }
        Announcement::Announced {
            term, hindrance, ..
        } => match hindrance {
            None => tracing::info!(resource, term, "the leader is announced"),
            Some(hindrance) => {
                tracing::warn!(
                    resource,
                    term,
                    hindrance,
                    "changes to it would be seen late"
                );
            }
        },
        Announcement::Retrying { term, reason } => {
            tracing::warn!(resource, term, reason, "the leader is not announced");
        }
        Announcement::Superseded { term, higher } => {
            tracing::warn!(resource, term, higher, "a higher term was announced");
        }
    }
}

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, sleep_until};

use crate::KubernetesConfig;
use crate::kube::api::Failure;
use crate::kube::course::{Course, End, Next};
use crate::kube::endpoint::Endpoint;
use crate::kube::feed::{Change, Feed};
use crate::kube::roster::Objects;

/// What came of following a feed.
#[derive(Debug)]
pub(crate) enum Happening {
    /// This is all there is.
    Listed(Objects),
    /// An object is new or has changed.
    Put(String, Vec<Endpoint>),
    /// An object is no more.
    Gone(String),
    /// An outage has begun; told once.
    Outage(Failure),
    /// It is over.
    Recovered,
}

/// Lists, watches, and begins again, for ever: the shell of [`Course`].
pub(crate) struct Follow {
    feed: Arc<dyn Feed>,
    course: Course,
    /// A watch that the API has not ended by then is taken for lost.
    patience: Duration,
    phase: Phase,
}

enum Phase {
    Idle,
    Listing(Request<(Objects, String)>),
    Starting(Request<BoxStream<'static, Change>>),
    Watching {
        changes: BoxStream<'static, Change>,
        until: Instant,
    },
}

/// A request that is under way outlives a call that is dropped.
type Request<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

impl Follow {
    pub(crate) fn new(feed: Arc<dyn Feed>, config: &KubernetesConfig) -> Self {
        Self {
            feed,
            course: Course::new(config, now()),
            patience: config.max_silence + config.timeout,
            phase: Phase::Idle,
        }
    }

    /// Waits for the next thing that matters.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: between its waits everything is kept in `self`.
    pub(crate) async fn next(&mut self) -> Happening {
        loop {
            let happening = match &mut self.phase {
                Phase::Idle => {
                    let (at, next) = self.course.next();
                    sleep_until(at.into()).await;
                    self.begin(next);
                    None
                }
                Phase::Listing(request) => {
                    let answer = request.await;
                    self.listed(answer)
                }
                Phase::Starting(request) => {
                    let answer = request.await;
                    self.started(answer)
                }
                Phase::Watching { changes, until } => {
                    let change = tokio::select! {
                        biased;
                        change = changes.next() => change,
                        () = sleep_until(*until) => None,
                    };
                    self.changed(change)
                }
            };
            if let Some(happening) = happening {
                return happening;
            }
        }
    }

    fn begin(&mut self, next: Next) {
        let feed = Arc::clone(&self.feed);
        self.phase = match next {
            Next::List => Phase::Listing(Box::pin(async move { feed.list().await })),
            Next::Watch(version) => {
                Phase::Starting(Box::pin(async move { feed.watch(&version).await }))
            }
        };
    }

    fn listed(&mut self, answer: Result<(Objects, String), Failure>) -> Option<Happening> {
        self.phase = Phase::Idle;
        match answer {
            Ok((objects, version)) => {
                self.course.listed(version);
                Some(Happening::Listed(objects))
            }
            Err(failure) => self.failed(failure),
        }
    }

    fn started(
        &mut self,
        answer: Result<BoxStream<'static, Change>, Failure>,
    ) -> Option<Happening> {
        self.phase = Phase::Idle;
        match answer {
            Ok(changes) => {
                let until = Instant::now() + self.patience;
                self.phase = Phase::Watching { changes, until };
                self.course.stands(now()).then_some(Happening::Recovered)
            }
            Err(failure) => self.failed(failure),
        }
    }

    fn changed(&mut self, change: Option<Change>) -> Option<Happening> {
        let end = match change {
            Some(Change::Put {
                object,
                endpoints,
                version,
            }) => {
                self.course.reached(version);
                return Some(Happening::Put(object, endpoints));
            }
            Some(Change::Gone { object, version }) => {
                self.course.reached(version);
                return Some(Happening::Gone(object));
            }
            Some(Change::Reached(version)) => {
                self.course.reached(version);
                return None;
            }
            Some(Change::Astray(why)) => {
                tracing::debug!(why, "everything is listed anew");
                End::Astray
            }
            Some(Change::Cut(failure)) => {
                tracing::debug!(%failure, "the watch is cut");
                End::Over
            }
            None => End::Over,
        };
        self.phase = Phase::Idle;
        self.course.ended(now(), end, fastrand::f64());
        None
    }

    fn failed(&mut self, failure: Failure) -> Option<Happening> {
        if self.course.failed(now(), &failure, fastrand::f64()) {
            return Some(Happening::Outage(failure));
        }
        tracing::debug!(%failure, "the Kubernetes API still does not do what it is asked");
        None
    }
}

/// Never, if there is no time.
pub(crate) async fn sleep_until_some(at: Option<std::time::Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}

/// By the runtime's clock, which tests can stop.
pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

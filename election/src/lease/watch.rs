//! The watch on the Lease: keeps one open, and tells what it shows.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{api::WatchParams, core::WatchEvent};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::lease::{
    api::{LeaseApi, chain},
    core::{Event, Seen},
    object,
    record::Version,
};

/// From one attempt to the next one at most.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Told {
    Event(Event),
    /// It cannot be opened; or can again.
    Problem(Option<String>),
}

/// A watch that is kept open by a task of its own, until it is dropped.
pub(crate) struct Watch {
    task: JoinHandle<()>,
    told: mpsc::Receiver<Told>,
}

impl Watch {
    pub(crate) fn open(api: LeaseApi, pause: Duration) -> Self {
        let (telling, told) = mpsc::channel(16);
        let task = tokio::spawn(keep(api, pause, telling));
        Self { task, told }
    }

    /// What is told next.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Told {
        let told = self.told.recv().await;
        told.expect("the task tells for as long as it is listened to")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Opens one watch after the other.
async fn keep(api: LeaseApi, first_pause: Duration, telling: mpsc::Sender<Told>) {
    let mut pause = first_pause;
    loop {
        match open(&api).await {
            Ok(changes) => {
                pause = first_pause;
                let begun = [Told::Problem(None), Told::Event(Event::Watch(true))];
                for told in begun {
                    if telling.send(told).await.is_err() {
                        return;
                    }
                }
                if follow(changes, &telling).await.is_none() {
                    return;
                }
                if telling
                    .send(Told::Event(Event::Watch(false)))
                    .await
                    .is_err()
                {
                    return;
                }
                // Watches end by themselves every few minutes: without a wait, unless that
                // repeats itself.
                sleep(first_pause / 16).await;
            }
            Err(words) => {
                if telling.send(Told::Problem(Some(words))).await.is_err() {
                    return;
                }
                let drawn_out = pause.mul_f64(1.0 + 0.5 * fastrand::f64());
                sleep(drawn_out).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

type Changes = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<Lease>>> + Send>>;

async fn open(api: &LeaseApi) -> Result<Changes, String> {
    let parameters = WatchParams::default()
        .disable_bookmarks()
        .fields(&format!("metadata.name={}", api.name));
    // Without a version: it begins with the Lease as it is now, if there is one, so that nothing
    // falls between a read and the watch, and no version can be too old.
    match timeout(api.call_timeout, api.api.watch(&parameters, "")).await {
        Ok(Ok(changes)) => Ok(Box::pin(changes)),
        Ok(Err(kube::Error::Api(status))) => Err(api.explain("watch", &status)),
        Ok(Err(error)) => Err(format!("the watch failed: {}", chain(&error))),
        Err(_) => Err("the API server did not answer the request for a watch".into()),
    }
}

/// Tells what a watch shows until it ends; `None` if nobody listens any more.
async fn follow(mut changes: Changes, telling: &mpsc::Sender<Told>) -> Option<()> {
    while let Some(change) = changes.next().await {
        let seen = match change {
            Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)) => {
                object::snapshot(&lease).map(Seen::Present)
            }
            Ok(WatchEvent::Deleted(lease)) => {
                let version = lease.metadata.resource_version.map(Version);
                Some(Seen::Absent(version))
            }
            Ok(WatchEvent::Bookmark(_)) => None,
            Ok(WatchEvent::Error(status)) => {
                tracing::debug!(%status.message, "the watch on the Lease was ended");
                return Some(());
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the watch on the Lease broke");
                return Some(());
            }
        };
        if let Some(seen) = seen {
            telling.send(Told::Event(Event::Shown(seen))).await.ok()?;
        }
    }
    Some(())
}

//! What to ask the API next and when, after how the last requests went: a pure core.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use crate::KubernetesConfig;
use crate::backoff::{Backoff, jittered};
use crate::kube::api::Failure;

/// A watch that lives for less is not resumed at once, lest something between us and the API
/// that cuts each of them makes us ask without end.
const LONG: Duration = Duration::from_secs(1);

/// The API may ask for longer; we come back after this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    List,
    /// From this version on, which is what is known.
    Watch(String),
}

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In time, by being cut, or in silence: it goes on where it was.
    Over,
    /// Its version is no more (410), or it made no sense: everything is listed anew.
    Astray,
}

/// Between which requests the watch is.
#[derive(Debug)]
pub(crate) struct Course {
    refused_interval: Duration,
    /// Of requests that failed. It is an outage until a watch stands, not until a list came:
    /// where only the watch fails, lists go on at the pace of this.
    failures: Backoff,
    /// Of watches that did not live long.
    cuts: Backoff,
    version: Option<String>,
    at: Instant,
    /// When the watch began, while there is one.
    began: Option<Instant>,
}

impl Course {
    pub(crate) fn new(config: &KubernetesConfig, now: Instant) -> Self {
        Self {
            refused_interval: config.refused_interval,
            failures: Backoff::new(config.max_retry_interval),
            cuts: Backoff::new(config.max_retry_interval),
            version: None,
            at: now,
            began: None,
        }
    }

    pub(crate) fn next(&self) -> (Instant, Next) {
        let next = match &self.version {
            Some(version) => Next::Watch(version.clone()),
            None => Next::List,
        };
        (self.at, next)
    }

    /// A list came, of this version.
    pub(crate) fn listed(&mut self, version: String) {
        self.version = Some(version);
    }

    /// The watch stands; tells whether that ends an outage.
    pub(crate) fn stands(&mut self, now: Instant) -> bool {
        self.began = Some(now);
        let recovered = self.failures.in_outage();
        self.failures.succeeded();
        recovered
    }

    /// What is known is now of this version.
    pub(crate) fn reached(&mut self, version: String) {
        self.version = Some(version);
    }

    /// The watch ended; `chance` is from 0 to 1.
    pub(crate) fn ended(&mut self, now: Instant, end: End, chance: f64) {
        if end == End::Astray {
            self.version = None;
        }
        let lived = self.began.take().map(|began| now - began);
        self.at = match lived {
            Some(lived) if lived >= LONG => {
                self.cuts.succeeded();
                now
            }
            _ => now + self.cuts.failed(chance),
        };
    }

    /// A request failed; tells whether that begins an outage. `chance` is from 0 to 1.
    pub(crate) fn failed(&mut self, now: Instant, failure: &Failure, chance: f64) -> bool {
        // A version may be too old after an outage, and where watching is not permitted, listing
        // may be.
        self.version = None;
        if failure.status() == Some(410) {
            self.ended(now, End::Astray, chance);
            return false;
        }
        let known = self.failures.in_outage();
        let pause = self.failures.failed(chance);
        self.at = now
            + if failure.needs_action() {
                jittered(self.refused_interval, chance)
            } else {
                let asked = failure.retry_after().unwrap_or_default();
                pause.max(asked.min(LONGEST_PAUSE))
            };
        !known
    }
}

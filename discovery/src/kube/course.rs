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

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
mod tests {
    use super::*;
    use crate::Source;
    use crate::kube::api::{Asked, explain};
    use kube::core::Status;

    const SECOND: Duration = Duration::from_secs(1);

    fn course() -> (Course, Instant) {
        let mut config = KubernetesConfig::new(Source::Service("redis".into()), 6379);
        config.refused_interval = 10 * SECOND;
        config.max_retry_interval = 2 * SECOND;
        let now = Instant::now();
        (Course::new(&config, now), now)
    }

    fn failure(code: u16, retry_after: u32) -> Failure {
        let status: Status = serde_json::from_value(serde_json::json!({
            "code": code, "details": { "retryAfterSeconds": retry_after },
        }))
        .unwrap();
        let asked = Asked {
            verb: "list",
            resource: "pods",
            name: None,
            namespace: "flock".into(),
        };
        explain(&kube::Error::Api(status.boxed()), &asked)
    }

    fn watch(version: &str) -> Next {
        Next::Watch(version.into())
    }

    #[test]
    fn a_list_then_a_watch_that_goes_on_where_it_was() {
        let (mut course, now) = course();
        assert_eq!(course.next(), (now, Next::List));
        course.listed("7".into());
        assert_eq!(course.next(), (now, watch("7")));
        assert!(!course.stands(now), "there was no outage");
        course.reached("9".into());
        let later = now + 30 * SECOND;
        course.ended(later, End::Over, 0.0);
        assert_eq!(course.next(), (later, watch("9")));
        course.stands(later);
        let later = later + 30 * SECOND;
        course.ended(later, End::Astray, 0.0);
        assert_eq!(course.next(), (later, Next::List));
    }

    #[test]
    fn watches_that_are_cut_at_once_slow_down() {
        let (mut course, mut now) = course();
        course.listed("7".into());
        let mut pauses = Vec::new();
        for _ in 0..7 {
            course.stands(now);
            course.ended(now, End::Over, 0.0);
            let (at, next) = course.next();
            assert_eq!(next, watch("7"));
            pauses.push((at - now).as_millis());
            now = at;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        course.stands(now);
        course.ended(now + SECOND, End::Over, 0.0);
        course.stands(now + SECOND);
        course.ended(now + SECOND, End::Over, 0.0);
        assert_eq!(course.next().0, now + SECOND + SECOND / 10);
    }

    #[test]
    fn an_outage_is_told_once_and_ends_with_a_watch() {
        let (mut course, now) = course();
        assert!(course.failed(now, &failure(500, 0), 0.0));
        assert_eq!(course.next(), (now + SECOND / 10, Next::List));
        assert!(!course.failed(now, &failure(403, 0), 0.0));
        course.listed("7".into());
        assert!(
            !course.failed(now, &failure(500, 0), 0.0),
            "the list came, but not the watch"
        );
        course.listed("7".into());
        assert!(course.stands(now));
        assert!(course.failed(now, &failure(500, 0), 0.0), "a new outage");
    }

    #[test]
    fn who_is_refused_asks_slowly_and_who_is_asked_to_wait_waits() {
        for (code, retry_after, chance, pause) in [
            (403, 0, 0.0, 10 * SECOND),
            (401, 0, 1.0, 5 * SECOND),
            (404, 0, 0.0, 10 * SECOND),
            (429, 7, 0.0, 7 * SECOND),
            (503, 0, 0.0, SECOND / 10),
            (503, 3600, 1.0, 30 * SECOND),
        ] {
            let (mut course, now) = course();
            course.listed("7".into());
            assert!(course.failed(now, &failure(code, retry_after), chance));
            assert_eq!(course.next(), (now + pause, Next::List), "{code}");
        }
    }

    #[test]
    fn a_version_that_is_no_more_is_no_outage() {
        let (mut course, now) = course();
        course.listed("7".into());
        assert!(!course.failed(now, &failure(410, 0), 0.0));
        assert_eq!(course.next(), (now + SECOND / 10, Next::List));
        course.listed("8".into());
        assert!(!course.stands(now), "there was no outage");
    }
}

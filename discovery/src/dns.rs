use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until, timeout};

use crate::pace::Pace;
use crate::zone::{Answer, Zone};
use crate::{Discovery, Error, Members, Query};

/// How DNS is asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DnsConfig {
    /// The servers to ask, with names taken as absolute and without the hosts file. Empty, the
    /// default: those of the system (`/etc/resolv.conf`), with its search domains and hosts file,
    /// which are read anew after each failure.
    pub servers: Vec<SocketAddr>,
    /// How long one question may take in total, with all its retries, search domains and its
    /// change to TCP. Default: 2 s. A lost packet is sent again after a third of it.
    pub timeout: Duration,
    /// Ask again not sooner than this after an answer, however short its TTL. Default: 250 ms.
    pub min_interval: Duration,
    /// Ask again not later than this, however long the TTL. Default: 30 s.
    pub max_interval: Duration,
    /// Ask again not later than this when there were no members, whatever the resolver says of
    /// negative answers. Default: 1 s.
    pub max_empty_interval: Duration,
    /// While nobody answers, ask again after pauses that double, with jitter, from 100 ms up to
    /// this. Default: 2 s.
    pub max_retry_interval: Duration,
    /// An answer with more members is refused. Default: 1024.
    pub max_members: usize,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            min_interval: Duration::from_millis(250),
            max_interval: Duration::from_secs(30),
            max_empty_interval: Duration::from_secs(1),
            max_retry_interval: Duration::from_secs(2),
            max_members: 1024,
        }
    }
}

impl DnsConfig {
    fn check(&self) -> Result<(), Error> {
        let invalid = |what: String| Err(Error::Invalid(what));
        for (name, value) in [
            ("timeout", self.timeout),
            ("min_interval", self.min_interval),
            ("max_retry_interval", self.max_retry_interval),
        ] {
            if value.is_zero() {
                return invalid(format!("{name} must be longer than zero"));
            }
        }
        for (name, value) in [
            ("max_interval", self.max_interval),
            ("max_empty_interval", self.max_empty_interval),
        ] {
            if value < self.min_interval {
                let min = self.min_interval;
                return invalid(format!(
                    "{name} ({value:?}) is shorter than min_interval ({min:?})"
                ));
            }
        }
        if self.max_members == 0 {
            return invalid("max_members must be more than zero".into());
        }
        Ok(())
    }
}

/// Members as DNS names them: a headless Service, or any name with A, AAAA or SRV records.
///
/// A name that does not exist, or has no such records, is a group without members. Every other
/// failure (silence, SERVFAIL, REFUSED, one of the two address families, one of the search
/// domains) leaves the last answer standing: a part of the members is never taken for the whole.
/// A resolver that never answers AAAA questions is therefore never heard.
///
/// The names are those of [`Query`].
pub struct Dns {
    query: Query,
    config: DnsConfig,
    pace: Pace,
    /// Read at the first question and after each failure.
    zone: Option<Zone>,
    last: Option<Members>,
    next: Instant,
    /// The question under way outlives a call that is dropped.
    asking: Option<Asking>,
}

type Asking = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;

impl Dns {
    /// Asks nothing yet.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the name is none or the configuration contradicts itself.
    pub fn new(query: Query, config: DnsConfig) -> Result<Self, Error> {
        config.check()?;
        // Shown to be good here, so that the questions cannot fail for it.
        query.to_string().parse::<Query>()?;
        Ok(Self {
            pace: Pace::new(&config),
            query,
            config,
            zone: None,
            last: None,
            next: Instant::now(),
            asking: None,
        })
    }

    /// Waits for its time, asks, and returns what came.
    async fn ask(&mut self) -> Result<Answer, Error> {
        if self.asking.is_none() {
            sleep_until(self.next).await;
            let zone = match &self.zone {
                Some(zone) => zone.clone(),
                None => self
                    .zone
                    .insert(Zone::new(&self.query, &self.config)?)
                    .clone(),
            };
            let query = self.query.clone();
            let question = async move { zone.ask(&query).await };
            self.asking = Some(within(self.config.timeout, &self.query, question));
        }
        let Some(asking) = &mut self.asking else {
            unreachable!("it was just set");
        };
        let answer = asking.await;
        self.asking = None;
        answer.and_then(|answer| self.bounded(answer))
    }

    fn bounded(&self, answer: Answer) -> Result<Answer, Error> {
        if answer.members.len() > self.config.max_members {
            return Err(Error::TooMany {
                query: self.query.to_string(),
                found: answer.members.len(),
                limit: self.config.max_members,
            });
        }
        Ok(answer)
    }

    /// The members, if they are news.
    fn absorb(&mut self, answer: Answer) -> Option<Members> {
        if self.pace.in_outage() {
            tracing::info!(query = %self.query, "DNS answers again");
        }
        let Answer { members, ttl } = answer;
        self.next = Instant::now() + self.pace.answered(ttl, members.is_empty());
        if self.last.as_ref() == Some(&members) {
            return None;
        }
        self.last = Some(members.clone());
        Some(members)
    }

    /// The error, if it begins an outage.
    fn suffer(&mut self, error: Error) -> Option<Error> {
        let known = self.pace.in_outage();
        self.next = Instant::now() + self.pace.failed(fastrand::f64());
        self.zone = None;
        if known {
            tracing::debug!(query = %self.query, %error, "DNS still does not answer");
            return None;
        }
        Some(error)
    }
}

#[async_trait]
impl Discovery for Dns {
    async fn changed(&mut self) -> Result<Members, Error> {
        loop {
            match self.ask().await {
                Ok(answer) => {
                    if let Some(members) = self.absorb(answer) {
                        return Ok(members);
                    }
                }
                Err(error) => {
                    if let Some(error) = self.suffer(error) {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns")
            .field("query", &self.query)
            .field("config", &self.config)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// hickory's own timeout is for each try; this one is for all.
fn within(
    limit: Duration,
    query: &Query,
    question: impl Future<Output = Result<Answer, Error>> + Send + 'static,
) -> Asking {
    let query = query.to_string();
    Box::pin(async move {
        let answer = timeout(limit, question).await;
        answer.unwrap_or_else(|elapsed| {
            let source = elapsed.into();
            Err(Error::Unanswered { query, source })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(change: impl FnOnce(&mut DnsConfig)) -> String {
        let mut config = DnsConfig::default();
        change(&mut config);
        let query = "srv://redis".parse().expect("it is a query");
        Dns::new(query, config)
            .expect_err("it cannot work")
            .to_string()
    }

    #[test]
    fn contradictions_are_named() {
        assert_eq!(
            complaint(|config| config.max_interval = Duration::from_millis(100)),
            "max_interval (100ms) is shorter than min_interval (250ms)"
        );
        assert_eq!(
            complaint(|config| config.timeout = Duration::ZERO),
            "timeout must be longer than zero"
        );
        assert_eq!(
            complaint(|config| config.max_members = 0),
            "max_members must be more than zero"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_timeout_holds_in_total() {
        let query: Query = "srv://redis".parse().unwrap();
        let began = Instant::now();
        let limit = Duration::from_secs(2);
        let late = within(limit, &query, std::future::pending())
            .await
            .unwrap_err();
        assert_eq!(late.to_string(), "srv://redis is not answered");
        assert!(began.elapsed() < limit + Duration::from_millis(100));
    }

    #[test]
    fn a_bad_name_is_refused_at_once() {
        let query = Query::Services { name: "a b".into() };
        Dns::new(query, DnsConfig::default()).unwrap_err();
    }
}

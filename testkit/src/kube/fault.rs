//! Faults by request: delayed, dropped, refused, never answered.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;

use super::record::Request;
use super::reply::Reply;
use super::status::Failure;

/// What is done to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It waits so long before it takes effect, which it does even if its client is gone by then.
    Delay(Duration),
    /// It takes effect at once; the answer waits.
    DelayAnswer(Duration),
    /// The connection is closed, and nothing has happened.
    DropBefore,
    /// It takes effect, and the connection is closed instead of an answer.
    DropAfter,
    /// It has no effect and is never answered.
    Hang,
    /// It takes effect and is never answered.
    HangAfter,
    /// It has no effect and is refused.
    Refuse(Refusal),
    /// It takes effect, and is refused all the same. A real server does so with 504 when its etcd
    /// answers late.
    RefuseAfter(Refusal),
    /// A watch is accepted and then never says anything. Other requests are not touched.
    SilentWatch,
}

/// How a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 409, of a version that is not current.
    Conflict,
    /// 410, of a version that is too old.
    Expired,
    /// 429 with a Status and Retry-After in seconds.
    TooManyRequests(u64),
    /// 429 as of API priority and fairness: plain text, Retry-After of one second.
    Overloaded,
    /// 500.
    Internal,
    /// 502 of a load balancer: HTML.
    BadGateway,
    /// 503.
    Unavailable,
    /// 504, of a request that took too long inside the server; see [`Act::RefuseAfter`].
    Timeout,
}

/// A fault: what is done, to which requests, and how often.
///
/// ```
/// use bellwether_testkit::kube::{Act, Fault, Refusal};
///
/// // Every second renewal meets a conflict.
/// let fault = Fault::new(Act::Refuse(Refusal::Conflict))
///     .verbs(&["update"])
///     .resource("leases")
///     .every(2);
/// ```
pub struct Fault {
    act: Act,
    verbs: Vec<String>,
    resource: Option<String>,
    user: Option<String>,
    filter: Option<Filter>,
    frequency: Frequency,
    /// How many requests fitted.
    seen: u64,
    /// To how many of these it was done.
    struck: u64,
}

type Filter = Box<dyn Fn(&Request) -> bool + Send + Sync>;

enum Frequency {
    Always,
    First(u64),
    Every(u64),
    Chance(f64, fastrand::Rng),
}

impl Fault {
    /// Does this to every request.
    #[must_use]
    pub fn new(act: Act) -> Self {
        Self {
            act,
            verbs: Vec::new(),
            resource: None,
            user: None,
            filter: None,
            frequency: Frequency::Always,
            seen: 0,
            struck: 0,
        }
    }

    /// Only to these verbs.
    #[must_use]
    pub fn verbs(mut self, verbs: &[&str]) -> Self {
        self.verbs = verbs.iter().map(|verb| (*verb).into()).collect();
        self
    }

    /// Only to requests about this resource, by its plural.
    #[must_use]
    pub fn resource(mut self, plural: &str) -> Self {
        self.resource = Some(plural.into());
        self
    }

    /// Only to requests of the user of this name.
    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        self.user = Some(name.into());
        self
    }

    /// Only to requests of which this holds.
    #[must_use]
    pub fn matching(mut self, filter: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Box::new(filter));
        self
    }

    /// Only to the first `count` requests that fit.
    #[must_use]
    pub fn first(mut self, count: u64) -> Self {
        self.frequency = Frequency::First(count);
        self
    }

    /// Only to each `nth` request that fits, beginning with the `nth`.
    ///
    /// # Panics
    ///
    /// If `nth` is 0.
    #[must_use]
    pub fn every(mut self, nth: u64) -> Self {
        assert!(nth > 0, "there is no request between the requests");
        self.frequency = Frequency::Every(nth);
        self
    }

    /// To each request that fits with this probability, drawn from a seed.
    #[must_use]
    pub fn chance(mut self, probability: f64, seed: u64) -> Self {
        self.frequency = Frequency::Chance(probability, fastrand::Rng::with_seed(seed));
        self
    }

    fn strikes(&mut self, request: &Request) -> bool {
        let fits = (self.verbs.is_empty() || self.verbs.iter().any(|verb| verb == request.verb))
            && self
                .resource
                .as_ref()
                .is_none_or(|of| *of == request.resource)
            && (self.user.is_none() || self.user == request.user)
            && self.filter.as_ref().is_none_or(|filter| filter(request));
        if !fits {
            return false;
        }
        self.seen += 1;
        let strikes = match &mut self.frequency {
            Frequency::Always => true,
            Frequency::First(count) => self.seen <= *count,
            Frequency::Every(nth) => self.seen.is_multiple_of(*nth),
            Frequency::Chance(probability, random) => random.f64() < *probability,
        };
        self.struck += u64::from(strikes);
        strikes
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("act", &self.act)
            .field("verbs", &self.verbs)
            .field("resource", &self.resource)
            .field("user", &self.user)
            .field("seen", &self.seen)
            .field("struck", &self.struck)
            .finish_non_exhaustive()
    }
}

/// A fault that was set, by which it can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(u64);

/// The faults that are set now.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Set>);

#[derive(Debug, Default)]
struct Set {
    faults: Vec<(FaultId, Fault)>,
    next: u64,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) -> FaultId {
        let mut set = self.set();
        let id = FaultId(set.next);
        set.next += 1;
        set.faults.push((id, fault));
        id
    }

    pub(crate) fn remove(&self, id: FaultId) {
        self.set().faults.retain(|(other, _)| *other != id);
    }

    pub(crate) fn clear(&self) {
        self.set().faults.clear();
    }

    pub(crate) fn struck(&self, id: FaultId) -> u64 {
        let set = self.set();
        let fault = set.faults.iter().find(|(other, _)| *other == id);
        fault.map_or(0, |(_, fault)| fault.struck)
    }

    /// What is to be done to a request, in the order in which the faults were set.
    pub(crate) fn strike(&self, request: &Request) -> Vec<Act> {
        let mut set = self.set();
        let faults = set.faults.iter_mut();
        let striking = faults.filter_map(|(_, fault)| {
            let strikes = fault.strikes(request);
            strikes.then(|| fault.act.clone())
        });
        striking.collect()
    }

    fn set(&self) -> MutexGuard<'_, Set> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refusal {
    pub(crate) fn reply(self, request: &Request) -> Reply {
        let (group, resource, name) = (&request.group, &request.resource, &request.name);
        let failure = match self {
            Self::Unauthorized => Failure::unauthorized(),
            Self::Forbidden => Failure::forbidden(group, resource, name, "as the test wants it"),
            Self::Conflict => Failure::modified_as(group, resource, name),
            Self::Expired => Failure::expired("too old resource version: as the test wants it"),
            Self::TooManyRequests(seconds) => Failure::too_many_requests(seconds),
            Self::Internal => Failure::internal("as the test wants it"),
            Self::Unavailable => Failure::unavailable(),
            Self::Timeout => Failure::late(),
            Self::Overloaded => {
                let text = "Too many requests, please try again later.\n";
                return Reply {
                    retry_after: 1,
                    ..Reply::text(
                        StatusCode::TOO_MANY_REQUESTS,
                        "text/plain; charset=utf-8",
                        text,
                    )
                };
            }
            Self::BadGateway => {
                let text = "<html><body><h1>502 Bad Gateway</h1></body></html>\n";
                return Reply::text(StatusCode::BAD_GATEWAY, "text/html", text);
            }
        };
        failure.into()
    }
}

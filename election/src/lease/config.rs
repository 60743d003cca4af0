use std::time::Duration;

use secrecy::ExposeSecret;

use crate::{Error, lease::failsafe::Failsafe};

/// No time may be longer: a group that waits for an hour waits for a typing error.
pub(crate) const MAX_TIME: Duration = Duration::from_secs(3600);

/// Shorter periods would load the API server more than they gain.
const MIN_RETRY_PERIOD: Duration = Duration::from_millis(50);

/// How a member of an election by Lease is called and timed.
///
/// [`new`](Self::new) fills in the defaults; all fields may then be changed. All members should
/// have the same times.
///
/// The defaults: a leader that dies is replaced after `lease_duration`, 6 s, plus one
/// `retry_period`. The three times are a trade: shorter ones replace a dead leader sooner, and end
/// a healthy leader's spell in shorter troubles of the API server. Six seconds tolerate three
/// renewals in a row that come to nothing, and end well before the patience of most clients.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaseConfig {
    /// The namespace of the Lease. `None` (the default): that of the service account, or of the
    /// kubeconfig's context.
    pub namespace: Option<String>,
    /// The name of the Lease: a DNS subdomain. It is made when it does not exist.
    pub name: String,
    /// This member's name, unique in the group and stable over restarts, usually the pod's. 1 to
    /// 255 bytes.
    pub member: String,
    /// For how long the Lease has to stay unchanged before others take it. Default 6 s. Whole
    /// seconds, as that is how a Lease says it.
    pub lease_duration: Duration,
    /// For how long a member leads after it sent its last acknowledged renewal. Default 4 s.
    pub renew_deadline: Duration,
    /// How often a leader renews, and a follower without a watch looks. Default 1 s. A call to the
    /// API that takes longer than four fifths of this has failed.
    pub retry_period: Duration,
    /// For how long the application may take to stop leading, once its lease has ended. Default
    /// 1 s.
    pub fence_timeout: Duration,
    /// By how much one member's clock may run faster than another's: 0.05 means 5 % (the default,
    /// far more than a clock that is kept by NTP or by nobody drifts). At most 1.
    ///
    /// Only the rate matters: what time of day a clock shows is never looked at.
    pub clock_drift: f64,
    /// By how much waiting times are drawn out at random, so that members do not ask in step: 0.2
    /// means by up to a fifth (the default). At most 1.
    pub jitter: f64,
    /// Keeps a leader through an outage of the API, for as long as all members confirm it. Default
    /// `None`: it leads until its lease has run out. See [`Lease`](crate::Lease) for what it takes.
    pub failsafe: Option<Failsafe>,
}

/// The times of a [`LeaseConfig`], as the core needs them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) lease_duration: Duration,
    pub(crate) renew_deadline: Duration,
    pub(crate) retry_period: Duration,
    pub(crate) clock_drift: f64,
    pub(crate) jitter: f64,
}

impl LeaseConfig {
    /// A configuration with default times, for the Lease of this name.
    #[must_use]
    pub fn new(name: impl Into<String>, member: impl Into<String>) -> Self {
        Self {
            namespace: None,
            name: name.into(),
            member: member.into(),
            lease_duration: Duration::from_secs(6),
            renew_deadline: Duration::from_secs(4),
            retry_period: Duration::from_secs(1),
            fence_timeout: Duration::from_secs(1),
            clock_drift: 0.05,
            jitter: 0.2,
            failsafe: None,
        }
    }

    /// Checks what must hold of single fields and between fields. Whoever takes part by this
    /// configuration checks it, too.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the fields and the rule.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        if let Some(namespace) = &self.namespace {
            check_label("namespace", namespace)?;
        }
        check_subdomain("name", &self.name)?;
        if self.member.is_empty() || self.member.len() > 255 {
            return wrong("member must have 1 to 255 bytes".into());
        }
        if self.member.chars().any(char::is_control) {
            return wrong("member must not have control characters".into());
        }
        let in_a_list = |char: char| char != ',' && !char.is_whitespace();
        if self.failsafe.is_some() && !self.member.chars().all(in_a_list) {
            return wrong("member must not have commas or spaces, with failsafe".into());
        }
        let secret = self.failsafe.as_ref().and_then(|it| it.secret.as_ref());
        if secret.is_some_and(|secret| secret.expose_secret().is_empty()) {
            return wrong("the secret of failsafe must not be empty".into());
        }
        for (field, share) in [("clock_drift", self.clock_drift), ("jitter", self.jitter)] {
            if !(0.0..=1.0).contains(&share) {
                return wrong(format!("{field} ({share}) must be between 0 and 1"));
            }
        }
        for (field, time) in [
            ("lease_duration", self.lease_duration),
            ("renew_deadline", self.renew_deadline),
            ("retry_period", self.retry_period),
            ("fence_timeout", self.fence_timeout),
        ] {
            if time > MAX_TIME {
                return wrong(format!("{field} ({time:?}) must be at most {MAX_TIME:?}"));
            }
        }
        if self.retry_period < MIN_RETRY_PERIOD {
            return wrong(format!(
                "retry_period ({:?}) must be at least {MIN_RETRY_PERIOD:?}",
                self.retry_period
            ));
        }
        if self.lease_duration.subsec_nanos() != 0 || self.lease_duration.is_zero() {
            return wrong(format!(
                "lease_duration ({:?}) must be whole seconds, 1 or more",
                self.lease_duration
            ));
        }
        // A renewal that fails has to leave room for another one.
        let two_tries = self.retry_period.mul_f64(2.0 * (1.0 + self.jitter));
        if self.renew_deadline <= two_tries {
            return wrong(format!(
                "renew_deadline ({:?}) must be longer than two of retry_period with jitter ({two_tries:?})",
                self.renew_deadline
            ));
        }
        let needed = (self.renew_deadline + self.fence_timeout).mul_f64(1.0 + self.clock_drift);
        if self.lease_duration < needed {
            return wrong(format!(
                "lease_duration ({:?}) must be at least (renew_deadline + fence_timeout) times (1 + clock_drift), which is {needed:?}",
                self.lease_duration
            ));
        }
        Ok(())
    }

    pub(crate) fn timing(&self) -> Timing {
        Timing {
            lease_duration: self.lease_duration,
            renew_deadline: self.renew_deadline,
            retry_period: self.retry_period,
            clock_drift: self.clock_drift,
            jitter: self.jitter,
        }
    }

    /// After this long, a call to the API has failed: below the retry period, so that calls do not
    /// pile up, with room left for what comes between two of them.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.retry_period * 4 / 5
    }
}

/// What a namespace may be called.
///
/// Source: RFC 1123 labels, as Kubernetes checks them.
fn check_label(field: &str, name: &str) -> Result<(), Error> {
    if name.len() <= 63 && is_label(name) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{field} ({name:?}) must have 1 to 63 characters a-z, 0-9 and -, with no - at either end"
    )))
}

/// What a Lease may be called.
fn check_subdomain(field: &str, name: &str) -> Result<(), Error> {
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{field} ({}) must have 1 to 253 characters a-z, 0-9, - and ., and start and end each part with a letter or digit",
        shown(name)
    )))
}

/// Names that are wrong because they are too long are not repeated whole.
fn shown(name: &str) -> String {
    match name.char_indices().nth(80) {
        None => format!("{name:?}"),
        Some((end, _)) => format!("{:?}..., {} bytes", &name[..end], name.len()),
    }
}

fn is_label(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !part.is_empty() && part.bytes().all(allowed) && !part.starts_with('-') && !part.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(change: impl FnOnce(&mut LeaseConfig)) -> String {
        let mut config = LeaseConfig::new("redis", "redis-0");
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_hold() {
        LeaseConfig::new("redis.leader", "redis-0").check().unwrap();
    }

    #[test]
    fn a_broken_relation_names_the_fields_and_the_rule() {
        let said = complaint(|c| c.lease_duration = Duration::from_secs(5));
        for part in ["lease_duration", "renew_deadline", "fence_timeout", "5.25s"] {
            assert!(said.contains(part), "{said}");
        }
        let said = complaint(|c| c.renew_deadline = Duration::from_millis(2400));
        assert!(
            said.contains("renew_deadline") && said.contains("retry_period"),
            "{said}"
        );
        let said = complaint(|c| c.lease_duration = Duration::from_millis(6500));
        assert!(said.contains("whole seconds"), "{said}");
        assert!(complaint(|c| c.retry_period = Duration::ZERO).contains("retry_period"));
        assert!(complaint(|c| c.renew_deadline = Duration::MAX).contains("at most"));
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(complaint(|c| c.clock_drift = share).contains("clock_drift"));
            assert!(complaint(|c| c.jitter = share).contains("jitter"));
        }
    }

    #[test]
    fn names_are_those_that_kubernetes_takes() {
        for name in ["", "Redis", "redis/leader", "-redis", "redis-", "a..b", "ä"] {
            assert!(
                complaint(|c| c.name = name.into()).starts_with("name ("),
                "{name}"
            );
        }
        assert!(complaint(|c| c.name = "x".repeat(254)).contains("254 bytes"));
        assert!(complaint(|c| c.namespace = Some("a.b".into())).starts_with("namespace ("));
        assert!(complaint(|c| c.namespace = Some("x".repeat(64))).starts_with("namespace ("));
        assert!(complaint(|c| c.member = String::new()).starts_with("member "));
        assert!(complaint(|c| c.member = "x".repeat(256)).starts_with("member "));
        assert!(complaint(|c| c.member = "a\nb".into()).starts_with("member "));
    }
}

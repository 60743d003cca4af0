use std::collections::BTreeMap;
use std::time::Duration;

use crate::Error;
use crate::announce::names;
use crate::kube::selector;

/// What stands for the pod's name in a selector.
pub(super) const POD: &str = "{pod}";

/// No time may be longer: what waits for a day waits for a typing error.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// Which Service is pointed at the leader, and how.
///
/// [`new`](Self::new) fills in the defaults; all fields may then be changed. All nodes of a group
/// should have the same configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AnnouncerConfig {
    /// The namespace of the Service and the pods. `None`, the default: that of the client, which in
    /// a pod is the pod's own.
    pub namespace: Option<String>,
    /// The Service's name. It must exist, best without a selector of its own; it is not created.
    pub service: String,
    /// The labels that the Service shall select, all of them and no other; `{pod}` in a value stands
    /// for the name of the leader's pod. Default: `statefulset.kubernetes.io/pod-name: {pod}`, a
    /// label that each pod of a StatefulSet has. A selector without `{pod}` is allowed only if it
    /// contains the key and primary value of [`role_label`](Self::role_label).
    pub selector: BTreeMap<String, String>,
    /// Also label the pods by their role. Default: `None`, which needs no permission on pods.
    pub role_label: Option<RoleLabel>,
    /// The annotation that holds the term, on the Service and on labelled pods. Default:
    /// `bellwether.dev/term`. Two groups that share pods must not share it.
    pub term_annotation: String,
    /// How long one call may take. Default: 5 s, so that an API that is slow and well still works.
    pub timeout: Duration,
    /// The watch is renewed, and what it watches read again, each time this has passed. Default:
    /// 30 s. A watch that has gone silent is noticed after this and `timeout`. At least 1 s; parts
    /// of a second are dropped.
    pub reread: Duration,
    /// While the API fails, try again after pauses that double, with jitter, from 100 ms up to this.
    /// Default: 2 s.
    pub max_retry_interval: Duration,
    /// While the API refuses for reasons that only people can change, such as a missing permission,
    /// try again after pauses that double, with jitter, from 100 ms up to this. Default: 10 s. At
    /// least `max_retry_interval`. The API may ask for a pause up to six times as long.
    pub max_refused_interval: Duration,
    /// What someone else has changed is put back at once, and if it is changed again and again,
    /// after pauses that double from 1 s up to this, so that two controllers do not fight without
    /// measure. Default: 30 s. Twice as long without a change ends the fight.
    pub max_repair_interval: Duration,
}

/// A label that tells the role of each pod.
///
/// [`new`](Self::new) fills in the defaults; all fields may then be changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RoleLabel {
    /// The label's key. Default: `bellwether.dev/role`.
    pub key: String,
    /// The value that the leader's pod gets. Default: `primary`.
    pub primary: String,
    /// The value that every other pod gets which has the primary value or none; other values are
    /// left alone. Default: `replica`.
    pub replica: String,
    /// The label selector of the group's pods, as `kubectl --selector` takes it. It must not contain
    /// `key`, and at most 1024 pods may match.
    pub pods: String,
}

impl AnnouncerConfig {
    /// The configuration for a Service, with defaults.
    #[must_use]
    pub fn new(service: impl Into<String>) -> Self {
        let pod_name = "statefulset.kubernetes.io/pod-name";
        Self {
            namespace: None,
            service: service.into(),
            selector: [(pod_name.into(), POD.into())].into(),
            role_label: None,
            term_annotation: "bellwether.dev/term".into(),
            timeout: Duration::from_secs(5),
            reread: Duration::from_secs(30),
            max_retry_interval: Duration::from_secs(2),
            max_refused_interval: Duration::from_secs(10),
            max_repair_interval: Duration::from_secs(30),
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_text().map_err(Error::Invalid)?;
        self.check_times().map_err(Error::Invalid)
    }

    fn check_text(&self) -> Result<(), String> {
        good("service", &self.service, names::dns_label)?;
        if let Some(namespace) = &self.namespace {
            good("namespace", namespace, names::dns_label)?;
        }
        good("term_annotation", &self.term_annotation, names::key)?;
        if self.selector.is_empty() {
            return Err(
                "selector must have at least one label: without any, a Service selects \
                        nothing"
                    .into(),
            );
        }
        for (key, value) in &self.selector {
            good("selector key", key, names::key)?;
            if names::value(&value.replace(POD, "x")).is_err() {
                good("selector value", value, names::value)?;
            }
        }
        if let Some(role) = &self.role_label {
            role.check()?;
        }
        let by_pod = self.selector.values().any(|value| value.contains(POD));
        let by_role = self
            .role_label
            .as_ref()
            .is_some_and(|role| self.selector.get(&role.key) == Some(&role.primary));
        if !by_pod && !by_role {
            return Err(format!(
                "selector must contain {POD} in a value, or role_label's key with its primary \
                 value: else it is the same whoever leads"
            ));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), String> {
        for (field, time, least) in [
            ("timeout", self.timeout, Duration::from_millis(1)),
            ("reread", self.reread, Duration::from_secs(1)),
            (
                "max_retry_interval",
                self.max_retry_interval,
                Duration::from_millis(100),
            ),
            (
                "max_repair_interval",
                self.max_repair_interval,
                Duration::from_secs(1),
            ),
        ] {
            if time < least || time > MAX_TIME {
                return Err(format!(
                    "{field} ({time:?}) must be between {least:?} and {MAX_TIME:?}"
                ));
            }
        }
        if self.max_refused_interval < self.max_retry_interval
            || self.max_refused_interval > MAX_TIME
        {
            return Err(format!(
                "max_refused_interval ({:?}) must be between max_retry_interval ({:?}) and {MAX_TIME:?}",
                self.max_refused_interval, self.max_retry_interval
            ));
        }
        Ok(())
    }
}

impl RoleLabel {
    /// The default label for the pods that a label selector matches.
    #[must_use]
    pub fn new(pods: impl Into<String>) -> Self {
        Self {
            key: "bellwether.dev/role".into(),
            primary: "primary".into(),
            replica: "replica".into(),
            pods: pods.into(),
        }
    }

    fn check(&self) -> Result<(), String> {
        good("role_label's key", &self.key, names::key)?;
        for (field, value) in [
            ("role_label's primary", &self.primary),
            ("role_label's replica", &self.replica),
        ] {
            good(field, value, names::value)?;
            if value.is_empty() {
                return Err(format!("{field} must not be empty"));
            }
        }
        if self.primary == self.replica {
            let value = &self.primary;
            return Err(format!(
                "role_label's primary and replica are both {value:?}"
            ));
        }
        let pods = &self.pods;
        selector::check(pods).map_err(|why| format!("role_label's pods {pods:?}: {why}"))?;
        if keys(pods).any(|key| key == self.key) {
            return Err(format!(
                "role_label's pods {pods:?} must not contain its key {:?}: pods would leave the \
                 selection as they are labelled",
                self.key
            ));
        }
        Ok(())
    }
}

/// The keys of a label selector that is well formed.
fn keys(selector: &str) -> impl Iterator<Item = &str> {
    let ends = |char: char| "=!( ".contains(char);
    selector.split(',').filter_map(move |requirement| {
        let text = requirement.trim().trim_start_matches('!');
        text.split(ends).next()
    })
}

fn good(
    field: &str,
    text: &str,
    check: impl FnOnce(&str) -> Result<(), &'static str>,
) -> Result<(), String> {
    check(text).map_err(|allowed| format!("{field} {text:?} must be {allowed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(change: impl FnOnce(&mut AnnouncerConfig)) -> String {
        let mut config = AnnouncerConfig::new("redis-leader");
        config.role_label = Some(RoleLabel::new("app=redis"));
        config.check().expect("the defaults hold");
        change(&mut config);
        config.check().expect_err("it cannot work").to_string()
    }

    fn of_role(change: impl FnOnce(&mut RoleLabel)) -> String {
        complaint(|config| change(config.role_label.as_mut().expect("it is set")))
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(
            complaint(|config| config.service = "Redis".into()),
            "service \"Redis\" must be 1 to 63 lower-case letters, digits and '-', with a letter \
             or digit at both ends"
        );
        for (said, field) in [
            (
                complaint(|c| c.namespace = Some(String::new())),
                "namespace",
            ),
            (
                complaint(|c| c.term_annotation = "a/b/c".into()),
                "term_annotation",
            ),
            (
                complaint(|c| c.selector = [("a".into(), "{pod} x".into())].into()),
                "selector value \"{pod} x\"",
            ),
            (
                complaint(|c| c.selector = [("a b".into(), POD.into())].into()),
                "selector key",
            ),
            (complaint(|c| c.selector.clear()), "selector"),
            (of_role(|role| role.key.clear()), "role_label's key"),
            (of_role(|role| role.primary.clear()), "role_label's primary"),
            (
                of_role(|role| role.replica = "a b".into()),
                "role_label's replica",
            ),
            (
                of_role(|role| role.replica = "primary".into()),
                "both \"primary\"",
            ),
            (of_role(|role| role.pods = " ".into()), "every pod"),
            (
                of_role(|role| role.pods = "bellwether.dev/role=primary".into()),
                "must not contain its key",
            ),
            (
                of_role(|role| role.pods = "app, !bellwether.dev/role".into()),
                "must not contain its key",
            ),
            (
                of_role(|role| role.pods = "app==,=".into()),
                "role_label's pods \"app==,=\": ",
            ),
        ] {
            assert!(said.contains(field), "{said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn a_selector_must_tell_leaders_apart() {
        let said = complaint(|c| c.selector = [("app".into(), "redis".into())].into());
        assert!(said.contains("whoever leads"), "{said}");

        let mut config = AnnouncerConfig::new("redis-leader");
        config.selector = [("bellwether.dev/role".into(), "primary".into())].into();
        config.check().expect_err("nobody sets that label");
        config.role_label = Some(RoleLabel::new("app=redis"));
        config.check().expect("the label tells who leads");
        config.selector = [("app".into(), "x-{pod}".into())].into();
        config.check().expect("the pod tells who leads");
    }

    #[test]
    fn times_are_bounded_and_relations_named() {
        let second = Duration::from_secs(1);
        for (said, field) in [
            (complaint(|c| c.timeout = Duration::ZERO), "timeout"),
            (complaint(|c| c.reread = second / 2), "reread"),
            (
                complaint(|c| c.max_retry_interval = Duration::MAX),
                "max_retry_interval",
            ),
            (
                complaint(|c| c.max_repair_interval = second / 2),
                "max_repair_interval",
            ),
        ] {
            assert!(said.starts_with(field), "{said}");
        }
        assert_eq!(
            complaint(|c| c.max_refused_interval = second),
            "max_refused_interval (1s) must be between max_retry_interval (2s) and 86400s"
        );
    }
}

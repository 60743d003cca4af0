//! The Service's selector.
#![deny(clippy::disallowed_methods)]

use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::config::{AnnouncerConfig, POD};
use super::names;
use super::plan::{Plan, Subject, Write};
use super::seen::{Labels, Mark, Seen, View};

/// Points one Service at the leader's pod.
#[derive(Clone, Debug)]
pub(super) struct Selector {
    service: String,
    namespace: String,
    template: Labels,
    annotation: String,
}

impl Selector {
    pub(super) fn new(config: &AnnouncerConfig, namespace: &str) -> Self {
        Self {
            service: config.service.clone(),
            namespace: namespace.into(),
            template: config.selector.clone(),
            annotation: config.term_annotation.clone(),
        }
    }

    /// The template with the pod's name filled in, if that makes labels of it.
    fn filled(&self, pod: &str) -> Result<Labels, String> {
        let filled = self.template.iter().map(|(key, value)| {
            let value = value.replace(POD, pod);
            match names::value(&value) {
                Ok(()) => Ok((key.clone(), value)),
                Err(allowed) => Err(format!(
                    "the selector's value {value:?} for the pod {pod:?} must be {allowed}"
                )),
            }
        });
        filled.collect()
    }
}

impl Subject for Selector {
    type Object = Service;

    const RESOURCE: &'static str = "services";

    fn see(&self, service: Service) -> Seen {
        let spec = service.spec.unwrap_or_default();
        Seen {
            external: spec.type_.as_deref() == Some("ExternalName"),
            ..Seen::new(service.metadata, spec.selector, &self.annotation)
        }
    }

    fn plan(&self, view: &View, pod: &str, term: u64) -> Plan {
        let (service, namespace) = (&self.service, &self.namespace);
        let Some(seen) = view.get(service) else {
            return Plan::Blocked(format!(
                "there is no Service {service:?} in the namespace {namespace:?}: create it"
            ));
        };
        if let Some(higher) = seen.mark.term().filter(|mark| *mark > term) {
            return Plan::Superseded { higher };
        }
        if seen.external {
            return Plan::Blocked(format!(
                "the Service {service:?} in the namespace {namespace:?} is of type ExternalName, \
                 for which Kubernetes ignores the selector: make it a ClusterIP"
            ));
        }
        let labels = match self.filled(pod) {
            Ok(labels) => labels,
            Err(reason) => return Plan::Blocked(reason),
        };
        let marked = seen.mark == Mark::Term(term);
        if marked && seen.labels == labels {
            return Plan::Right;
        }
        Plan::Write(Write {
            object: service.clone(),
            version: seen.version.clone(),
            because: because(seen, marked),
            patch: seen.patch(
                (&["spec", "selector"], json!(labels)),
                &self.annotation,
                term,
            ),
        })
    }
}

fn because(seen: &Seen, marked: bool) -> String {
    match &seen.mark {
        Mark::Unreadable(text) => format!("its term {text:?} is unreadable and counts as none"),
        Mark::None => "it has no term".into(),
        Mark::Term(_) if marked => "someone has changed its selector".into(),
        Mark::Term(earlier) => format!("its term is {earlier}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
    const TERM: &str = "bellwether.dev/term";

    /// What is decided about a Service with this spec and these annotations, for pod `r-1` and
    /// term 5.
    fn plan_for(pod: &str, spec: &Value, annotations: &Value) -> (Value, Plan) {
        let mut config = AnnouncerConfig::new("leader");
        config.check().unwrap();
        config.selector.insert("app".into(), "redis".into());
        let subject = Selector::new(&config, "prod");
        let service = json!({
            "metadata": {"name": "leader", "resourceVersion": "9", "annotations": annotations},
            "spec": spec,
        });
        let seen = subject.see(serde_json::from_value(service.clone()).unwrap());
        let view = [(seen.name.clone(), seen)].into();
        (service, subject.plan(&view, pod, 5))
    }

    fn plan(spec: &Value, annotations: &Value) -> Plan {
        plan_for("r-1", spec, annotations).1
    }

    fn right() -> Value {
        json!({"selector": {"app": "redis", POD_NAME: "r-1"}, "type": "ClusterIP"})
    }

    #[test]
    fn what_is_right_is_left_alone() {
        assert_eq!(plan(&right(), &json!({TERM: "5"})), Plan::Right);
        let headless = json!({"selector": {"app": "redis", POD_NAME: "r-1"}, "clusterIP": "None"});
        assert_eq!(plan(&headless, &json!({TERM: "5"})), Plan::Right);
    }

    #[test]
    fn a_higher_term_is_never_overwritten() {
        let higher = Plan::Superseded { higher: 6 };
        assert_eq!(plan(&right(), &json!({TERM: "6"})), higher);
        assert_eq!(plan(&json!({}), &json!({TERM: "6"})), higher);
    }

    #[test]
    fn all_else_is_written_wholly() {
        let other = json!({"selector": {"app": "redis", POD_NAME: "r-0"}});
        let extra = json!({"selector": {"app": "redis", POD_NAME: "r-1", "x": "y"}});
        for (spec, annotations, because) in [
            (right(), json!({TERM: "4"}), "its term is 4"),
            (right(), json!(null), "it has no term"),
            (right(), json!({"a": "b"}), "it has no term"),
            (
                right(),
                json!({TERM: "five"}),
                "its term \"five\" is unreadable and counts as none",
            ),
            (
                other,
                json!({TERM: "5"}),
                "someone has changed its selector",
            ),
            (
                extra,
                json!({TERM: "5"}),
                "someone has changed its selector",
            ),
            (json!({}), json!({TERM: "3", "a": "b"}), "its term is 3"),
        ] {
            let (mut service, plan) = plan_for("r-1", &spec, &annotations);
            let Plan::Write(write) = plan else {
                panic!("{plan:?}");
            };
            assert_eq!(
                (write.object.as_str(), write.version.as_str()),
                ("leader", "9")
            );
            assert_eq!(write.because, because);
            json_patch::patch(&mut service, &write.patch).unwrap();
            assert_eq!(service["spec"]["selector"], right()["selector"]);
            assert_eq!(service["metadata"]["annotations"][TERM], "5");
            let kept = &service["metadata"]["annotations"]["a"];
            assert_eq!(kept, annotations.get("a").unwrap_or(&Value::Null));

            service["metadata"]["resourceVersion"] = json!("10");
            json_patch::patch(&mut service, &write.patch)
                .expect_err("the object is not the one that was seen");
        }
    }

    #[test]
    fn what_cannot_work_is_said() {
        let external = json!({"type": "ExternalName", "externalName": "example.com"});
        for (pod, spec, said) in [
            ("r-1", external, "ExternalName"),
            ("r.1-", right(), "must be at most 63 letters"),
            (&"x".repeat(64), right(), "must be at most 63 letters"),
        ] {
            let (_, plan) = plan_for(pod, &spec, &json!(null));
            let Plan::Blocked(reason) = plan else {
                panic!("{plan:?}");
            };
            assert!(reason.contains(said) && !reason.contains('\n'), "{reason}");
        }
        let subject = Selector::new(&AnnouncerConfig::new("leader"), "prod");
        let missing = "there is no Service \"leader\" in the namespace \"prod\": create it";
        let plan = subject.plan(&View::new(), "r-1", 5);
        assert_eq!(plan, Plan::Blocked(missing.into()));
    }
}

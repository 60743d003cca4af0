//! The role label of pods.
#![deny(clippy::disallowed_methods)]

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::config::{AnnouncerConfig, RoleLabel};
use super::plan::{Plan, Subject, Write};
use super::seen::{Mark, Seen, View};

/// Labels the leader's pod as primary and all others as replicas.
///
/// The others come first, and each of them is marked with the new term even if its label is right
/// already. With that mark its version changes, so that a write of an older leader, which may still
/// be under way to it, fails from then on. Only then the leader's pod is labelled: two primaries are
/// never made, but for a short time there may be none.
#[derive(Clone, Debug)]
pub(super) struct Roles {
    role: RoleLabel,
    namespace: String,
    annotation: String,
}

impl Roles {
    /// `None` when no role label is asked for.
    pub(super) fn new(config: &AnnouncerConfig, namespace: &str) -> Option<Self> {
        Some(Self {
            role: config.role_label.clone()?,
            namespace: namespace.into(),
            annotation: config.term_annotation.clone(),
        })
    }

    /// The label selector of the pods.
    pub(super) fn pods(&self) -> &str {
        &self.role.pods
    }

    fn value<'a>(&self, pod: &'a Seen) -> Option<&'a str> {
        pod.labels.get(&self.role.key).map(String::as_str)
    }

    /// Whether a pod that does not lead still has to be told so.
    fn is_untold(&self, pod: &Seen, term: u64) -> bool {
        match self.value(pod) {
            None => true,
            Some(value) if value == self.role.primary => true,
            Some(value) if value == self.role.replica => pod.mark != Mark::Term(term),
            // A role that is none of ours.
            Some(_) => false,
        }
    }

    fn write(&self, pod: &Seen, value: &str, term: u64) -> Plan {
        let key = self.role.key.as_str();
        let labels = ["metadata", "labels"];
        let patch = if pod.labels.is_empty() {
            pod.patch((&labels, json!({ key: value })), &self.annotation, term)
        } else {
            let path = [labels[0], labels[1], key];
            pod.patch((&path, json!(value)), &self.annotation, term)
        };
        let found = self.value(pod);
        let because = match &pod.mark {
            Mark::Unreadable(text) => {
                format!("its role is {found:?}, its term {text:?} is unreadable and counts as none")
            }
            mark => format!("its role is {found:?}, its term {:?}", mark.term()),
        };
        Plan::Write(Write {
            object: pod.name.clone(),
            version: pod.version.clone(),
            patch,
            because,
        })
    }
}

impl Subject for Roles {
    type Object = Pod;

    const RESOURCE: &'static str = "pods";

    fn see(&self, pod: Pod) -> Seen {
        let mut metadata = pod.metadata;
        let labels = metadata.labels.take();
        Seen::new(metadata, labels, &self.annotation)
    }

    fn plan(&self, view: &View, pod: &str, term: u64) -> Plan {
        let highest = view.values().filter_map(|pod| pod.mark.term()).max();
        if let Some(higher) = highest.filter(|mark| *mark > term) {
            return Plan::Superseded { higher };
        }
        let untold = |other: &&Seen| other.name != pod && self.is_untold(other, term);
        let is_primary = |other: &&Seen| self.value(other) == Some(self.role.primary.as_str());
        let others = || view.values().filter(untold);
        if let Some(other) = others().find(is_primary).or_else(|| others().next()) {
            return self.write(other, &self.role.replica, term);
        }
        let Some(leader) = view.get(pod) else {
            return Plan::Blocked(format!(
                "no pod {pod:?} matches {:?} in the namespace {:?}",
                self.role.pods, self.namespace
            ));
        };
        if is_primary(&leader) && leader.mark == Mark::Term(term) {
            return Plan::Right;
        }
        self.write(leader, &self.role.primary, term)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ROLE: &str = "bellwether.dev/role";
    const TERM: &str = "bellwether.dev/term";

    /// Pods with a name, a role (or none) and a term (or none).
    type Pods<'a> = &'a [(&'a str, &'a str, &'a str)];

    fn subject() -> Roles {
        let mut config = AnnouncerConfig::new("leader");
        config.role_label = Some(RoleLabel::new("app=redis"));
        Roles::new(&config, "prod").unwrap()
    }

    fn objects(pods: Pods) -> Vec<Value> {
        let one = |(name, role, term): &(&str, &str, &str)| {
            let mut pod = json!({"metadata": {
                "name": name,
                "resourceVersion": "1",
                "labels": {"app": "redis"},
            }});
            if !role.is_empty() {
                pod["metadata"]["labels"][ROLE] = json!(role);
            }
            if !term.is_empty() {
                pod["metadata"]["annotations"] = json!({TERM: term});
            }
            pod
        };
        pods.iter().map(one).collect()
    }

    /// What `leader` writes in term 5, step by step, and where that ends.
    fn carried_out(leader: &str, pods: Pods) -> (Vec<String>, Plan) {
        let subject = subject();
        let mut objects = objects(pods);
        let mut written = Vec::new();
        loop {
            let see = |object: &Value| subject.see(serde_json::from_value(object.clone()).unwrap());
            let view: View = objects
                .iter()
                .map(see)
                .map(|s| (s.name.clone(), s))
                .collect();
            let plan = subject.plan(&view, leader, 5);
            let Plan::Write(write) = plan else {
                return (written, plan);
            };
            let name = |object: &&mut Value| object["metadata"]["name"] == write.object.as_str();
            let object = objects.iter_mut().find(name).unwrap();
            json_patch::patch(object, &write.patch).unwrap();
            let metadata = &object["metadata"];
            assert_eq!(metadata["annotations"][TERM], "5");
            assert_eq!(metadata["labels"]["app"], "redis");
            let role = metadata["labels"][ROLE].as_str().unwrap();
            written.push(format!("{}={role}", write.object));
            assert!(written.len() < 10, "{written:?}");
        }
    }

    fn check(leader: &str, pods: Pods, written: &[&str]) {
        assert_eq!(
            carried_out(leader, pods),
            (
                written.iter().copied().map(String::from).collect(),
                Plan::Right
            )
        );
    }

    #[test]
    fn primaries_are_demoted_first_and_the_leader_comes_last() {
        check(
            "b",
            &[("a", "replica", "4"), ("b", "", ""), ("c", "primary", "4")],
            &["c=replica", "a=replica", "b=primary"],
        );
        check(
            "a",
            &[("a", "", ""), ("b", "", "")],
            &["b=replica", "a=primary"],
        );
    }

    #[test]
    fn what_is_right_is_left_alone() {
        check("a", &[("a", "primary", "5"), ("b", "replica", "5")], &[]);
        check("a", &[("a", "primary", "5"), ("w", "witness", "")], &[]);
    }

    #[test]
    fn changes_by_others_are_undone() {
        check(
            "a",
            &[("a", "", "5"), ("b", "replica", "5")],
            &["a=primary"],
        );
        check(
            "a",
            &[("a", "primary", ""), ("b", "replica", "x")],
            &["b=replica", "a=primary"],
        );
        check(
            "a",
            &[("a", "primary", "5"), ("b", "primary", "5")],
            &["b=replica"],
        );
        check(
            "a",
            &[("a", "primary", "5"), ("b", "replica", "5"), ("c", "", "")],
            &["c=replica"],
        );
        check("a", &[("a", "witness", "5")], &["a=primary"]);
    }

    #[test]
    fn a_higher_term_on_any_pod_stops_all() {
        let plan = carried_out("a", &[("a", "", ""), ("b", "", ""), ("c", "x", "6")]);
        assert_eq!(plan, (vec![], Plan::Superseded { higher: 6 }));
    }

    #[test]
    fn a_leader_outside_of_the_selection_is_told() {
        let (written, plan) = carried_out("z", &[("a", "primary", "4")]);
        assert_eq!(written, ["a=replica"]);
        let said = "no pod \"z\" matches \"app=redis\" in the namespace \"prod\"";
        assert_eq!(plan, Plan::Blocked(said.into()));
    }

    #[test]
    fn a_pod_without_any_label_gets_one() {
        let subject = subject();
        let mut object = json!({"metadata": {"name": "a", "resourceVersion": "1"}});
        let seen = subject.see(serde_json::from_value(object.clone()).unwrap());
        let Plan::Write(write) = subject.plan(&[("a".into(), seen)].into(), "a", 5) else {
            panic!("there is something to write");
        };
        json_patch::patch(&mut object, &write.patch).unwrap();
        assert_eq!(object["metadata"]["labels"], json!({ROLE: "primary"}));
    }
}

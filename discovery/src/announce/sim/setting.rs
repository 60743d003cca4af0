//! What a world consists of: one Service, or some pods.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};

use super::super::config::{AnnouncerConfig, RoleLabel};
use super::super::plan::Subject;
use super::super::roles::Roles;
use super::super::selector::Selector;

pub(super) const TERM: &str = "bellwether.dev/term";
const ROLE: &str = "bellwether.dev/role";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";

pub(super) type Objects = BTreeMap<String, Value>;

pub(super) trait Setting: Subject {
    fn start(config: &AnnouncerConfig) -> Self;

    /// The names of the objects for so many nodes.
    fn names(nodes: usize) -> Vec<String>;

    /// An object as it is created.
    fn fresh() -> Value;

    /// Somebody changes an object, but not its term.
    fn edit(rng: &mut Rng, object: &mut Value);

    fn is_right(objects: &Objects, pod: &str, term: u64) -> bool;

    /// What holds at any time in a world without other hands.
    fn check(objects: &Objects);
}

/// A node's pod.
pub(super) fn pod(node: usize) -> String {
    format!("r-{node}")
}

pub(super) fn config() -> AnnouncerConfig {
    let mut config = AnnouncerConfig::new("leader");
    config.role_label = Some(RoleLabel::new("app=redis"));
    config
}

fn has_term(object: &Value, term: u64) -> bool {
    object["metadata"]["annotations"][TERM] == term.to_string().as_str()
}

impl Setting for Selector {
    fn start(config: &AnnouncerConfig) -> Self {
        Self::new(config, "prod")
    }

    fn names(_: usize) -> Vec<String> {
        vec!["leader".into()]
    }

    fn fresh() -> Value {
        json!({"metadata": {}, "spec": {"ports": []}})
    }

    fn edit(rng: &mut Rng, service: &mut Value) {
        let selector = &mut service["spec"]["selector"];
        match rng.u8(0..4) {
            0 => *selector = json!(null),
            1 => *selector = json!({POD_NAME: pod(rng.usize(0..4))}),
            2 => selector["app"] = json!("redis"),
            _ => service["spec"]["ports"] = json!([{"port": rng.u16(1..)}]),
        }
    }

    fn is_right(objects: &Objects, pod: &str, term: u64) -> bool {
        let service = &objects["leader"];
        has_term(service, term) && service["spec"]["selector"] == json!({POD_NAME: pod})
    }

    fn check(_: &Objects) {}
}

impl Setting for Roles {
    fn start(config: &AnnouncerConfig) -> Self {
        Self::new(config, "prod").expect("it was asked for")
    }

    fn names(nodes: usize) -> Vec<String> {
        (0..nodes).map(pod).collect()
    }

    fn fresh() -> Value {
        json!({"metadata": {"labels": {"app": "redis"}}})
    }

    fn edit(rng: &mut Rng, object: &mut Value) {
        let labels = &mut object["metadata"]["labels"];
        match rng.u8(0..4) {
            0 => {
                let labels = labels.as_object_mut().expect("it has labels");
                labels.remove(ROLE);
            }
            1 => labels[ROLE] = json!("primary"),
            2 => labels[ROLE] = json!("replica"),
            _ => labels["other"] = json!(rng.u8(..).to_string()),
        }
    }

    fn is_right(objects: &Objects, pod: &str, term: u64) -> bool {
        objects.iter().all(|(name, object)| {
            let role = if name == pod { "primary" } else { "replica" };
            has_term(object, term) && object["metadata"]["labels"][ROLE] == role
        })
    }

    fn check(objects: &Objects) {
        let is_primary = |object: &&Value| object["metadata"]["labels"][ROLE] == "primary";
        let primaries = objects.values().filter(is_primary).count();
        assert!(primaries <= 1, "{primaries} primaries: {objects:?}");
    }
}

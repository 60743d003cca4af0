//! What an event of `events.k8s.io` may say, and what of it may change
//! (`pkg/apis/core/validation/events.go` in Kubernetes, which names fields as the core group does).

use serde_json::Value;

use super::status::Cause;

/// The longest action, reason or instance, in bytes.
const WORD: usize = 128;
/// The longest note, in bytes.
const NOTE: usize = 1024;

/// Fields that stay as they were created, with the names by which they are refused.
const IMMUTABLE: [(&str, &str); 9] = [
    ("regarding", "involvedObject"),
    ("reason", "reason"),
    ("note", "message"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

/// What is wrong with an event.
pub(crate) fn faults(event: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    // About what is in no namespace; what is in another one is not looked at.
    let regarding = &event["regarding"]["namespace"];
    let namespace = event["metadata"]["namespace"].as_str();
    let is_apart = regarding.as_str().unwrap_or_default().is_empty();
    if is_apart && !matches!(namespace, Some("default" | "kube-system")) {
        let detail = "does not match event.namespace";
        let field = "involvedObject.namespace";
        causes.push(Cause::invalid(field, regarding, detail));
    }
    if event["eventTime"].is_null() {
        causes.push(Cause::required("eventTime", ""));
    }
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    if text("reportingController").is_empty() {
        causes.push(Cause::required("reportingController", ""));
    }
    for field in ["reportingInstance", "action", "reason"] {
        match text(field).len() {
            0 => causes.push(Cause::required(field, "")),
            length if length > WORD => {
                let detail = format!("can have at most {WORD} characters");
                causes.push(Cause::invalid(field, &"".into(), &detail));
            }
            _ => {}
        }
    }
    if text("note").len() > NOTE {
        let detail = format!("can have at most {NOTE} characters");
        causes.push(Cause::invalid("message", &"".into(), &detail));
    }
    if !matches!(text("type"), "Normal" | "Warning") {
        let detail = format!("has invalid value: {}", text("type"));
        causes.push(Cause::invalid("type", &"".into(), &detail));
    }
    causes
}

/// What is wrong with a change.
pub(crate) fn changes(live: &Value, event: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let series = &event["series"];
    if !series.is_null() && *series != live["series"] {
        if series["count"].as_u64().is_none_or(|count| count < 2) {
            let detail = "should be at least 2";
            causes.push(Cause::invalid("series.count", &"".into(), detail));
        }
        if series["lastObservedTime"].is_null() {
            causes.push(Cause::required("series.lastObservedTime", ""));
        }
    }
    for (field, name) in IMMUTABLE {
        if event[field] != live[field] {
            let detail = "field is immutable";
            causes.push(Cause::invalid(name, &event[field], detail));
        }
    }
    causes
}

//! Deletion: at once, gracefully, or as soon as the last finalizer is gone
//! (`apiserver/pkg/registry/rest/delete.go`).

use std::sync::Arc;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::call::Call;
use super::resource::Resource;
use super::selector::Selection;
use super::status::Failure;
use super::store::{Key, Store, with_version};
use super::write::{Outcome, Write, text};

/// How long a pod that runs on a node may take to end, unless it says otherwise, in seconds.
const GRACE: i64 = 30;

impl Store {
    /// DELETE of one object.
    pub(crate) fn delete(&mut self, write: &Write<'_>) -> Outcome {
        let (resource, name) = (write.resource, &write.target.name);
        let key = write.key(name);
        let live = self.get(&key);
        let live = live.ok_or_else(|| Failure::not_found(resource, name))?;
        let options = options(write.call)?;
        check_preconditions(resource, &live, &options)?;
        self.end(write, &key, &live, &options)
    }

    /// DELETE of a collection: all objects that are selected.
    ///
    /// # Errors
    ///
    /// 400 for selectors or options that cannot be read.
    pub(crate) fn delete_all(&mut self, write: &Write<'_>) -> Result<Value, Failure> {
        let selection = Selection::of(write.call, write.resource)?;
        let options = options(write.call)?;
        let mut deleted = Vec::new();
        for (key, live) in self.all(write.resource, &write.target.namespace) {
            if selection.matches(&live) {
                self.end(write, &key, &live, &options)?;
                deleted.push(Value::clone(&live));
            }
        }
        Ok(json!({
            "kind": format!("{}List", write.resource.kind),
            "apiVersion": write.resource.api_version(),
            "metadata": {"resourceVersion": self.revision().to_string()},
            "items": deleted,
        }))
    }

    fn end(&mut self, write: &Write<'_>, key: &Key, live: &Arc<Value>, options: &Value) -> Outcome {
        let resource = write.resource;
        let grace = grace(resource, live, options);
        let finalizers = |of: &Value| of["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        let is_held = finalizers(&live["metadata"])
            || resource.kind == "Namespace" && finalizers(&live["spec"]);
        if grace > 0 || is_held {
            return self.mark(write, key, live, grace);
        }
        if !write.is_dry() {
            self.commit(key, None);
        }
        let answer = if resource.returns_deleted {
            with_version(Value::clone(live), self.revision())
        } else {
            json!({
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": {
                    "name": key.name,
                    "group": resource.group,
                    "kind": resource.plural,
                    "uid": live["metadata"]["uid"],
                },
            })
        };
        Ok((StatusCode::OK, Arc::new(answer)))
    }

    /// Says that an object shall end, and leaves it to its kubelet, its controller or its finalizers
    /// to end it.
    fn mark(&mut self, write: &Write<'_>, key: &Key, live: &Arc<Value>, grace: i64) -> Outcome {
        let marked = live["metadata"]["deletionGracePeriodSeconds"].as_i64();
        if marked.is_some_and(|marked| marked <= grace) {
            return Ok((StatusCode::OK, Arc::clone(live)));
        }
        let mut object = Value::clone(live);
        let end = Timestamp::now() + SignedDuration::from_secs(grace);
        let metadata = &mut object["metadata"];
        metadata["deletionTimestamp"] = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        if write.resource.kind == "Namespace" {
            object["status"]["phase"] = "Terminating".into();
        } else {
            metadata["deletionGracePeriodSeconds"] = grace.into();
        }
        self.store(write, key, object, StatusCode::OK)
    }
}

/// Whether it was to be deleted, and nothing holds it any more.
pub(crate) fn is_finished(resource: &Resource, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let is_empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    metadata.get("deletionTimestamp").is_some()
        && is_empty(&metadata["finalizers"])
        && (resource.kind != "Namespace" || is_empty(&object["spec"]["finalizers"]))
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}

fn check_preconditions(resource: &Resource, live: &Value, options: &Value) -> Result<(), Failure> {
    for (field, what, hint) in [
        ("uid", "UID", "deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "modified"),
    ] {
        let is = text(&live["metadata"][field]);
        let wanted = options["preconditions"][field].as_str();
        if let Some(wanted) = wanted.filter(|wanted| *wanted != is) {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record \
                 ({is}). The object might have been {hint}"
            );
            let name = text(&live["metadata"]["name"]);
            return Err(Failure::conflict_of_kind(resource, &name, &why));
        }
    }
    Ok(())
}

/// Only pods on a node end gracefully.
fn grace(resource: &Resource, live: &Value, options: &Value) -> i64 {
    let on_node = !text(&live["spec"]["nodeName"]).is_empty();
    let over = matches!(
        live["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    if resource.kind != "Pod" || !on_node || over {
        return 0;
    }
    let asked = options["gracePeriodSeconds"].as_i64();
    let own = live["spec"]["terminationGracePeriodSeconds"].as_i64();
    asked.or(own).unwrap_or(GRACE)
}

/// `DeleteOptions` come in the body, or else in the query.
fn options(call: &Call) -> Result<Value, Failure> {
    if !call.body.is_empty() {
        return serde_json::from_slice(&call.body).map_err(|error| {
            let why = format!("couldn't get version/kind; json parse error: {error}");
            Failure::bad_request(&why)
        });
    }
    let seconds = call.parameter("gracePeriodSeconds");
    if seconds.is_empty() {
        return Ok(json!({}));
    }
    let seconds: i64 = seconds
        .parse()
        .map_err(|error| Failure::bad_request(&format!("gracePeriodSeconds: {error}")))?;
    Ok(json!({"gracePeriodSeconds": seconds}))
}

//! Server-side apply as a request: what is wanted is merged by field into what is there.

use std::sync::Arc;

use serde_json::{Value, json};

use super::shape;
use super::status::{Cause, Failure};
use super::store::Store;
use super::write::{Outcome, Write};

impl Store {
    /// PATCH by apply. A missing object is created.
    pub(crate) fn apply(&mut self, write: &Write<'_>) -> Outcome {
        let (resource, name) = (write.resource, &write.target.name);
        let by = write.call.parameter("fieldManager");
        if by.is_empty() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(Failure::invalid_options("PatchOptions", &[cause]));
        }
        let wanted = wanted(write)?;
        let key = write.key(name);
        let live = self.get(&key);
        let base = live.as_deref().cloned().unwrap_or_else(|| json!({}));
        let force = write.call.flag("force");
        let before = self.owners.get(&key).cloned().unwrap_or_default();
        let (mut object, owners) = before.apply(by, &base, &wanted, force)?;
        // What is the system's is not merged by field; a version, if given, is a precondition.
        object["apiVersion"] = wanted["apiVersion"].clone();
        object["kind"] = wanted["kind"].clone();
        for field in ["name", "namespace", "resourceVersion", "uid"] {
            if let Some(value) = wanted["metadata"].get(field) {
                object["metadata"][field] = value.clone();
            }
        }
        let object = shape::typed(resource, object).map_err(|why| Failure::bad_request(&why))?;
        let (code, answer) = match &live {
            Some(live) => self.replace(write, &key, live, object)?,
            None => self.insert_by_update(write, name, object)?,
        };
        if write.is_dry() || owners == before {
            return Ok((code, answer));
        }
        self.owners.insert(key.clone(), owners);
        // A real server keeps the owners in the object, so that even a change of these is a write.
        let is_unchanged = live.is_some_and(|live| Arc::ptr_eq(&live, &answer));
        let answer = if is_unchanged {
            let stored = self.commit(&key, Some(Value::clone(&answer)));
            stored.expect("an object was written")
        } else {
            answer
        };
        Ok((code, answer))
    }
}

fn wanted(write: &Write<'_>) -> Result<Value, Failure> {
    let wanted: Value = serde_json::from_slice(&write.call.body)
        .map_err(|error| Failure::bad_request(&format!("error decoding patch: {error}")))?;
    if !wanted["metadata"]["managedFields"].is_null() {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    let resource = write.resource;
    let (version, kind) = (&wanted["apiVersion"], &wanted["kind"]);
    if *version != resource.api_version() || kind != resource.kind {
        let (version, kind) = (version.as_str(), kind.as_str());
        let (version, kind) = (version.unwrap_or("/"), kind.unwrap_or_default());
        let message = format!("invalid object type: {version}, Kind={kind}");
        return Err(Failure::bad_request(&message));
    }
    let mut wanted = shape::decode(resource, wanted.to_string().as_bytes())?;
    write.place(&mut wanted)?;
    if wanted["metadata"].get("name").is_none() {
        wanted["metadata"]["name"] = write.target.name.clone().into();
    }
    write.check_name(&wanted)?;
    // Lists are compared whole, and those that are there are filled in.
    shape::fill_lists(resource, &mut wanted);
    Ok(wanted)
}

//! Create, update, patch and delete, with the checks of an API server in its order
//! (`apiserver/pkg/registry/generic/registry/store.go`).

use std::sync::Arc;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::call::{Call, Target};
use super::patch;
use super::resource::Resource;
use super::shape;
use super::status::{Cause, Failure};
use super::store::{Key, Store, with_version};

/// What a write answers.
pub(crate) type Outcome = Result<(StatusCode, Arc<Value>), Failure>;

/// How long a pod that runs on a node may take to end, unless it says otherwise, in seconds.
const GRACE: i64 = 30;

/// A write on its way: to what, by whom, and whether for show only.
pub(crate) struct Write<'a> {
    pub(crate) resource: &'static Resource,
    pub(crate) target: &'a Target,
    pub(crate) call: &'a Call,
}

impl Write<'_> {
    fn key(&self, name: &str) -> Key {
        let namespace = if self.resource.namespaced {
            &self.target.namespace
        } else {
            ""
        };
        Key {
            plural: self.resource.plural,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn is_dry(&self) -> bool {
        !self.call.parameter("dryRun").is_empty()
    }

    fn to_status(&self) -> bool {
        self.target.subresource == "status"
    }

    /// The field manager: what the request says, or the name of the program.
    fn manager(&self) -> &str {
        let named = self.call.parameter("fieldManager");
        let agent = self.call.user_agent.split('/').next().unwrap_or_default();
        if named.is_empty() { agent } else { named }
    }

    fn decode(&self) -> Result<Value, Failure> {
        let content_type = content_type(self.call);
        if !matches!(content_type, "application/json" | "") {
            return Err(Failure::unsupported_media_type("application/json"));
        }
        shape::decode(self.resource, &self.call.body)
    }

    /// The namespace in the body must be the one in the path, or absent.
    fn place(&self, object: &mut Value) -> Result<(), Failure> {
        let metadata = &mut object["metadata"];
        if !self.resource.namespaced {
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.remove("namespace");
            }
            return Ok(());
        }
        match metadata["namespace"].as_str() {
            None => metadata["namespace"] = self.target.namespace.clone().into(),
            Some(namespace) if namespace == self.target.namespace => {}
            Some(_) => {
                let message = "the namespace of the provided object does not match the namespace \
                               sent on the request";
                return Err(Failure::bad_request(message));
            }
        }
        Ok(())
    }

    /// The name in the body must be the one in the path.
    fn check_name(&self, object: &Value) -> Result<(), Failure> {
        let of_path = &self.target.name;
        let message = match object["metadata"]["name"].as_str() {
            Some(name) if name == of_path => return Ok(()),
            Some(name) => {
                format!(
                    "the name of the object ({name}) does not match the name on the URL ({of_path})"
                )
            }
            None => {
                format!(
                    "the name of the object ({of_path} based on URL) was undeterminable: name must be provided"
                )
            }
        };
        Err(Failure::bad_request(&message))
    }
}

/// Without parameters.
pub(crate) fn content_type(call: &Call) -> &str {
    let first = call.content_type.split(';').next();
    first.unwrap_or_default().trim()
}

impl Store {
    /// POST.
    pub(crate) fn create(&mut self, write: &Write<'_>) -> Outcome {
        let mut object = write.decode()?;
        write.place(&mut object)?;
        let prefix = object["metadata"]["generateName"].as_str();
        if let (Some(prefix), None) = (prefix, object["metadata"]["name"].as_str()) {
            object["metadata"]["name"] = format!("{prefix}{}", random_letters(5)).into();
        }
        let name = text(&object["metadata"]["name"]);
        self.insert(write, &name, object)
    }

    /// Writes an object that is not there yet.
    fn insert(&mut self, write: &Write<'_>, name: &str, mut object: Value) -> Outcome {
        let resource = write.resource;
        self.check_namespace(write, name)?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in [
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "generation",
            ] {
                metadata.remove(field);
            }
        }
        object["metadata"]["uid"] = random_uid().into();
        object["metadata"]["creationTimestamp"] = shape::now().into();
        shape::fill(resource, &mut object);
        check(resource, name, &shape::faults(resource, &object))?;
        let key = write.key(name);
        if self.get(&key).is_some() {
            return Err(Failure::already_exists(resource, name));
        }
        if write.call.verb == "create" && object["metadata"].get("resourceVersion").is_some() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Failure::new(500, "", message, Value::Null));
        }
        self.store(write, &key, object, StatusCode::CREATED)
    }

    /// PUT.
    pub(crate) fn update(&mut self, write: &Write<'_>) -> Outcome {
        let mut object = write.decode()?;
        write.place(&mut object)?;
        write.check_name(&object)?;
        let (resource, name) = (write.resource, &write.target.name);
        let key = write.key(name);
        let live = self.get(&key);
        let uid = text(&object["metadata"]["uid"]);
        let live_uid = live.as_ref().map(|live| text(&live["metadata"]["uid"]));
        let live_uid = live_uid.unwrap_or_default();
        match live {
            None if !resource.create_on_update || write.to_status() => {
                Err(Failure::not_found(resource, name))
            }
            _ if !uid.is_empty() && uid != live_uid => {
                let path = format!("/registry/{}/{}/{name}", key.plural, key.namespace);
                let why = format!(
                    "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, \
                     AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in \
                     object meta: {live_uid}"
                );
                Err(Failure::conflict(resource, name, &why))
            }
            None => self.insert_by_update(write, name, object),
            Some(live) => self.replace(write, &key, &live, object),
        }
    }

    /// A PUT to a missing object. The version that it carries is not looked at.
    fn insert_by_update(&mut self, write: &Write<'_>, name: &str, mut object: Value) -> Outcome {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        self.insert(write, name, object)
    }

    /// PATCH.
    pub(crate) fn patch(&mut self, write: &Write<'_>) -> Outcome {
        let (resource, name) = (write.resource, &write.target.name);
        let content_type = content_type(write.call);
        if content_type == patch::APPLY {
            return self.apply(write);
        }
        if ![patch::JSON, patch::MERGE, patch::STRATEGIC].contains(&content_type) {
            // Says which are accepted.
            patch::apply(content_type, &Value::Null, &[])?;
        }
        let key = write.key(name);
        let live = self.get(&key);
        let live = live.ok_or_else(|| Failure::not_found(resource, name))?;
        let object = patch::apply(content_type, &live, &write.call.body)?;
        let shown = Value::String(object.to_string());
        let mut object = shape::typed(resource, object).map_err(|why| {
            let cause = Cause::invalid("patch", &shown, &why);
            Failure::invalid_as("", "", json!({}), &[cause])
        })?;
        write.place(&mut object)?;
        write.check_name(&object)?;
        self.replace(write, &key, &live, object)
    }

    /// Server-side apply.
    fn apply(&mut self, write: &Write<'_>) -> Outcome {
        let (resource, name) = (write.resource, &write.target.name);
        let by = write.call.parameter("fieldManager");
        if by.is_empty() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            let details = json!({"group": "meta.k8s.io", "kind": "PatchOptions"});
            let what = "PatchOptions.meta.k8s.io";
            return Err(Failure::invalid_as(what, "", details, &[cause]));
        }
        let wanted: Value = serde_json::from_slice(&write.call.body).map_err(|error| {
            let message = format!("error decoding patch: {error}");
            Failure::bad_request(&message)
        })?;
        if wanted["apiVersion"] != resource.api_version() || wanted["kind"] != resource.kind {
            let message = "invalid object type: apiVersion and kind must be those of the resource";
            return Err(Failure::bad_request(message));
        }
        let mut wanted = shape::decode(resource, wanted.to_string().as_bytes())?;
        write.place(&mut wanted)?;
        if wanted["metadata"].get("name").is_none() {
            wanted["metadata"]["name"] = name.clone().into();
        }
        write.check_name(&wanted)?;
        let key = write.key(name);
        let live = self.get(&key);
        let mut base = json!({});
        if let Some(live) = &live {
            base = Value::clone(live);
        }
        let force = write.call.flag("force");
        let owners = self.owners.get(&key).cloned().unwrap_or_default();
        let (mut object, owners) = owners.apply(by, &base, &wanted, force)?;
        // What the system sets is not merged by field; a version, if given, is a precondition.
        object["apiVersion"] = wanted["apiVersion"].clone();
        object["kind"] = wanted["kind"].clone();
        for field in ["name", "namespace", "resourceVersion", "uid"] {
            if let Some(value) = wanted["metadata"].get(field) {
                object["metadata"][field] = value.clone();
            }
        }
        let object = shape::typed(resource, object).map_err(|why| Failure::bad_request(&why))?;
        let outcome = match live {
            Some(live) => self.replace(write, &key, &live, object),
            None if object["metadata"].get("uid").is_some() => Err(Failure::conflict(
                resource,
                name,
                "uid mismatch: no existing object was found",
            )),
            None => self.insert_by_update(write, name, object),
        }?;
        if !write.is_dry() {
            self.owners.insert(key, owners);
        }
        Ok(outcome)
    }

    /// Puts a new state in place of the live one, if its version allows it.
    fn replace(
        &mut self,
        write: &Write<'_>,
        key: &Key,
        live: &Arc<Value>,
        mut object: Value,
    ) -> Outcome {
        let (resource, name) = (write.resource, &key.name);
        let field = "metadata.resourceVersion";
        match object["metadata"]["resourceVersion"]
            .as_str()
            .map(str::parse)
        {
            None | Some(Ok(0)) if resource.unconditional_update => {}
            None | Some(Ok(0)) => {
                let cause = Cause::invalid(field, &0.into(), "must be specified for an update");
                return Err(Failure::invalid(resource, name, &[cause]));
            }
            Some(Ok::<u64, _>(version)) => {
                if text(&live["metadata"]["resourceVersion"]).parse() != Ok(version) {
                    return Err(Failure::modified(resource, name));
                }
            }
            Some(Err(error)) => {
                return Err(Failure::new(500, "", &error.to_string(), Value::Null));
            }
        }
        let new_uid = object["metadata"].get("uid");
        if new_uid.is_some_and(|uid| *uid != live["metadata"]["uid"]) {
            let cause = Cause::invalid(
                "metadata.uid",
                &object["metadata"]["uid"],
                "field is immutable",
            );
            return Err(Failure::invalid(resource, name, &[cause]));
        }
        keep(write, live, &mut object);
        check(resource, name, &shape::faults(resource, &object))?;
        if is_finished(&object) && !write.is_dry() {
            self.commit(key, None);
            return Ok((StatusCode::OK, Arc::new(object)));
        }
        let version = live["metadata"]["resourceVersion"].clone();
        object["metadata"]["resourceVersion"] = version;
        if object == **live {
            // Nothing would change, so nothing is written, and the version stays.
            return Ok((StatusCode::OK, Arc::clone(live)));
        }
        self.store(write, key, object, StatusCode::OK)
    }

    fn store(&mut self, write: &Write<'_>, key: &Key, object: Value, code: StatusCode) -> Outcome {
        if write.is_dry() {
            return Ok((code, Arc::new(object)));
        }
        let before = self.get(key);
        let owners = self.owners.entry(key.clone()).or_default();
        owners.written(write.manager(), before.as_deref(), &object);
        let stored = self.commit(key, Some(object));
        Ok((code, stored.expect("an object was written")))
    }

    /// DELETE of one object.
    pub(crate) fn delete(&mut self, write: &Write<'_>) -> Outcome {
        let (resource, name) = (write.resource, &write.target.name);
        let key = write.key(name);
        let live = self.get(&key);
        let live = live.ok_or_else(|| Failure::not_found(resource, name))?;
        let options = delete_options(write.call)?;
        for (field, what) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let wanted = options["preconditions"][field].as_str();
            let is = text(&live["metadata"][field]);
            if let Some(wanted) = wanted.filter(|wanted| *wanted != is) {
                let hint = if field == "uid" {
                    "deleted and then recreated"
                } else {
                    "modified"
                };
                let why = format!(
                    "the {what} in the precondition ({wanted}) does not match the {what} in \
                     record ({is}). The object might have been {hint}"
                );
                return Err(Failure::conflict(resource, name, &why));
            }
        }
        let grace = grace(resource, &live, &options);
        let held = live["metadata"].get("finalizers").is_some();
        if grace > 0 || held {
            return self.mark_deleted(write, &key, &live, grace);
        }
        if write.is_dry() {
            return Ok((StatusCode::OK, live));
        }
        self.commit(&key, None);
        if resource.kind == "Namespace" {
            self.empty_namespace(name);
        }
        let gone = with_version(Value::clone(&live), self.revision());
        let answer = if resource.returns_deleted {
            gone
        } else {
            let uid = &live["metadata"]["uid"];
            json!({
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": {
                    "name": name,
                    "group": resource.group,
                    "kind": resource.plural,
                    "uid": uid,
                },
            })
        };
        Ok((StatusCode::OK, Arc::new(answer)))
    }

    /// Says that an object shall end, and leaves it to its kubelet, or its finalizers, to end it.
    fn mark_deleted(
        &mut self,
        write: &Write<'_>,
        key: &Key,
        live: &Arc<Value>,
        grace: i64,
    ) -> Outcome {
        let marked = live["metadata"]["deletionGracePeriodSeconds"].as_i64();
        if marked.is_some_and(|marked| marked <= grace) {
            return Ok((StatusCode::OK, Arc::clone(live)));
        }
        let mut object = Value::clone(live);
        let end = Timestamp::now() + SignedDuration::from_secs(grace);
        let end = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        object["metadata"]["deletionTimestamp"] = end.into();
        object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        self.store(write, key, object, StatusCode::OK)
    }

    /// What would be garbage collection's work.
    fn empty_namespace(&mut self, namespace: &str) {
        for resource in super::resource::RESOURCES.iter().filter(|r| r.namespaced) {
            for (key, _) in self.all(resource, namespace) {
                self.commit(&key, None);
            }
        }
    }

    /// Nothing is created in a namespace that is not there.
    fn check_namespace(&self, write: &Write<'_>, name: &str) -> Result<(), Failure> {
        if !write.resource.namespaced {
            return Ok(());
        }
        let namespaces = Resource::named("namespaces").expect("it is in the table");
        let namespace = &write.target.namespace;
        let key = Key {
            plural: namespaces.plural,
            namespace: String::new(),
            name: namespace.clone(),
        };
        let Some(found) = self.get(&key) else {
            return Err(Failure::not_found(namespaces, namespace));
        };
        if found["metadata"].get("deletionTimestamp").is_some() {
            let resource = write.resource;
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being \
                 terminated"
            );
            return Err(Failure::forbidden(
                resource.group,
                resource.plural,
                name,
                &why,
            ));
        }
        Ok(())
    }
}

/// Keeps of the live object what a write of this kind may not change.
fn keep(write: &Write<'_>, live: &Value, object: &mut Value) {
    let resource = write.resource;
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        put(&mut object["metadata"], field, live["metadata"].get(field));
    }
    if write.to_status() {
        put(object, "spec", live.get("spec"));
    } else if resource.has_status {
        put(object, "status", live.get("status"));
    }
    if resource.kind == "EndpointSlice" {
        let content = |slice: &Value| {
            let labels = slice["metadata"]["labels"].clone();
            let mut slice = slice.clone();
            slice["metadata"] = labels;
            slice
        };
        if content(live) != content(object) {
            let generation = live["metadata"]["generation"].as_u64().unwrap_or(0);
            object["metadata"]["generation"] = (generation + 1).into();
        }
    }
}

fn put(object: &mut Value, field: &str, value: Option<&Value>) {
    match value {
        Some(value) => object[field] = value.clone(),
        None => {
            object.as_object_mut().and_then(|map| map.remove(field));
        }
    }
}

/// Whether it was to be deleted and the last finalizer is gone.
fn is_finished(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    metadata.get("deletionTimestamp").is_some()
        && metadata.get("finalizers").is_none()
        && grace == 0
}

/// Only pods on a node end gracefully.
fn grace(resource: &Resource, live: &Value, options: &Value) -> i64 {
    if resource.kind != "Pod" {
        return 0;
    }
    let on_node = !text(&live["spec"]["nodeName"]).is_empty();
    let over = matches!(
        live["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    if !on_node || over {
        return 0;
    }
    let asked = options["gracePeriodSeconds"].as_i64();
    let own = live["spec"]["terminationGracePeriodSeconds"].as_i64();
    asked.or(own).unwrap_or(GRACE)
}

/// `DeleteOptions` come in the body, or else in the query.
fn delete_options(call: &Call) -> Result<Value, Failure> {
    if !call.body.is_empty() {
        return serde_json::from_slice(&call.body)
            .map_err(|error| Failure::bad_request(&error.to_string()));
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

fn check(resource: &Resource, name: &str, causes: &[Cause]) -> Result<(), Failure> {
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid(resource, name, causes))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn random_letters(count: usize) -> String {
    // As Kubernetes has it: nothing that spells a word, or is mistaken for another.
    let alphabet = b"bcdfghjklmnpqrstvwxz2456789";
    let letter = || char::from(alphabet[fastrand::usize(..alphabet.len())]);
    (0..count).map(|_| letter()).collect()
}

fn random_uid() -> String {
    let bits = fastrand::u128(..);
    // Version 4, variant 1.
    let bits = bits & !(0xf << 76) | (4 << 76);
    let bits = bits & !(3 << 62) | (2 << 62);
    let hex = format!("{bits:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

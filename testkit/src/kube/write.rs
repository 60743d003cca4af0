//! Create, update and patch, with the checks of an API server in its order
//! (`apiserver/pkg/registry/generic/registry/store.go`).

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Call, Target};
use super::delete::is_finished;
use super::names;
use super::patch;
use super::resource::Resource;
use super::rules;
use super::shape;
use super::status::{Cause, Failure};
use super::store::{Key, Store};

/// What a write answers.
pub(crate) type Outcome = Result<(StatusCode, Arc<Value>), Failure>;

/// A write on its way.
pub(crate) struct Write<'a> {
    pub(crate) resource: &'static Resource,
    pub(crate) target: &'a Target,
    pub(crate) call: &'a Call,
}

impl Write<'_> {
    pub(crate) fn key(&self, name: &str) -> Key {
        Key::new(self.resource, &self.target.namespace, name)
    }

    /// Whether it is only to be tried.
    pub(crate) fn is_dry(&self) -> bool {
        !self.call.parameter("dryRun").is_empty()
    }

    /// The namespace in the body must be the one in the path, or absent.
    pub(crate) fn place(&self, object: &mut Value) -> Result<(), Failure> {
        let metadata = &mut object["metadata"];
        if !self.resource.namespaced {
            put(metadata, "namespace", None);
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
    pub(crate) fn check_name(&self, object: &Value) -> Result<(), Failure> {
        let of_path = &self.target.name;
        let message = match object["metadata"]["name"].as_str() {
            Some(name) if name == of_path => return Ok(()),
            Some(name) => format!(
                "the name of the object ({name}) does not match the name on the URL ({of_path})"
            ),
            None => format!(
                "the name of the object ({of_path} based on URL) was undeterminable: name must be \
                 provided"
            ),
        };
        Err(Failure::bad_request(&message))
    }

    fn decode(&self) -> Result<Value, Failure> {
        if !matches!(self.call.media_type(), "application/json" | "") {
            return Err(Failure::unsupported_media_type());
        }
        shape::decode(self.resource, &self.call.body)
    }

    /// The field manager: what the request says, or the name of the program.
    fn manager(&self) -> &str {
        let named = self.call.parameter("fieldManager");
        let agent = self.call.user_agent.split('/').next().unwrap_or_default();
        if named.is_empty() { agent } else { named }
    }

    fn to_status(&self) -> bool {
        self.target.subresource == "status"
    }

    /// Whether a namespace is said to be empty, as its controller says.
    fn to_finalize(&self) -> bool {
        self.target.subresource == "finalize"
    }
}

impl Store {
    /// POST.
    pub(crate) fn create(&mut self, write: &Write<'_>) -> Outcome {
        let mut object = write.decode()?;
        write.place(&mut object)?;
        let prefix = object["metadata"]["generateName"].as_str();
        if let (Some(prefix), None) = (prefix, object["metadata"]["name"].as_str()) {
            object["metadata"]["name"] = format!("{prefix}{}", names::random()).into();
        }
        let name = text(&object["metadata"]["name"]);
        self.insert(write, &name, object)
    }

    /// PUT.
    pub(crate) fn update(&mut self, write: &Write<'_>) -> Outcome {
        let mut object = write.decode()?;
        write.place(&mut object)?;
        write.check_name(&object)?;
        let (resource, name) = (write.resource, &write.target.name);
        let key = write.key(name);
        let live = self.get(&key);
        let creates = resource.create_on_update && write.target.subresource.is_empty();
        if live.is_none() && !creates {
            return Err(Failure::not_found(resource, name));
        }
        let uid = text(&object["metadata"]["uid"]);
        let live_uid = live.as_ref().map(|live| text(&live["metadata"]["uid"]));
        let live_uid = live_uid.unwrap_or_default();
        if !uid.is_empty() && uid != live_uid {
            let path = format!("/registry/{}/{}/{name}", key.plural, key.namespace);
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, \
                 AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in \
                 object meta: {live_uid}"
            );
            return Err(Failure::conflict(resource, name, &why));
        }
        match live {
            Some(live) => self.replace(write, &key, &live, object),
            None => self.insert_by_update(write, name, object),
        }
    }

    /// PATCH.
    pub(crate) fn patch(&mut self, write: &Write<'_>) -> Outcome {
        let (resource, name) = (write.resource, &write.target.name);
        let media_type = write.call.media_type();
        match media_type {
            patch::APPLY => return self.apply(write),
            patch::JSON | patch::MERGE | patch::STRATEGIC => {}
            _ => return Err(Failure::unsupported_patch()),
        }
        if !write.call.parameter("force").is_empty() {
            let detail = "may not be specified for non-apply patch";
            let cause = Cause::forbidden("force", detail);
            return Err(Failure::invalid_options("PatchOptions", &[cause]));
        }
        let key = write.key(name);
        let live = self.get(&key);
        let live = live.ok_or_else(|| Failure::not_found(resource, name))?;
        let object = patch::apply(media_type, &live, &write.call.body)?;
        let shown = Value::String(object.to_string());
        let mut object = shape::typed(resource, object).map_err(|why| {
            let cause = Cause::invalid("patch", &shown, &why);
            Failure::invalid_as("", "", json!({}), &[cause])
        })?;
        write.place(&mut object)?;
        write.check_name(&object)?;
        self.replace(write, &key, &live, object)
    }

    /// Writes an object that is not there yet.
    fn insert(&mut self, write: &Write<'_>, name: &str, mut object: Value) -> Outcome {
        let resource = write.resource;
        self.check_namespace(write, name)?;
        let metadata = &mut object["metadata"];
        put(metadata, "deletionTimestamp", None);
        put(metadata, "deletionGracePeriodSeconds", None);
        metadata["uid"] = names::random_uid().into();
        metadata["creationTimestamp"] = shape::now().into();
        shape::fill(resource, &mut object, None);
        check(resource, name, &rules::faults(resource, &object))?;
        let key = write.key(name);
        if self.get(&key).is_some() {
            return Err(Failure::already_exists(resource, name));
        }
        if object["metadata"].get("resourceVersion").is_some() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Failure::new(500, "", message, Value::Null));
        }
        self.store(write, &key, object, StatusCode::CREATED)
    }

    /// Writes to a missing object. The version that it carries is not looked at.
    pub(crate) fn insert_by_update(
        &mut self,
        write: &Write<'_>,
        name: &str,
        mut object: Value,
    ) -> Outcome {
        put(&mut object["metadata"], "resourceVersion", None);
        self.insert(write, name, object)
    }

    /// Puts a new state in place of the live one, if its version allows it.
    pub(crate) fn replace(
        &mut self,
        write: &Write<'_>,
        key: &Key,
        live: &Arc<Value>,
        mut object: Value,
    ) -> Outcome {
        let (resource, name) = (write.resource, &key.name);
        let live_version = &live["metadata"]["resourceVersion"];
        match text(&object["metadata"]["resourceVersion"]).as_str() {
            "" | "0" if resource.unconditional_update => {}
            "" | "0" => return Err(Failure::version_required(resource, name)),
            version if version == live_version => {}
            version if version.parse::<u64>().is_err() => {
                return Err(Failure::no_version("", version));
            }
            _ => return Err(Failure::modified(resource, name)),
        }
        object["metadata"]["resourceVersion"] = live_version.clone();
        let mut causes = Vec::new();
        let uid = &object["metadata"]["uid"];
        if !uid.is_null() && *uid != live["metadata"]["uid"] {
            causes.push(Cause::invalid("metadata.uid", uid, "field is immutable"));
        }
        keep(write, live, &mut object);
        shape::fill(resource, &mut object, Some(live));
        causes.extend(rules::faults(resource, &object));
        causes.extend(rules::changes(resource, live, &object));
        check(resource, name, &causes)?;
        if is_finished(resource, &object) {
            if !write.is_dry() {
                self.commit(key, None);
            }
            return Ok((StatusCode::OK, Arc::new(object)));
        }
        if object == **live {
            // Nothing would change, so nothing is written, and the version stays.
            return Ok((StatusCode::OK, Arc::clone(live)));
        }
        self.store(write, key, object, StatusCode::OK)
    }

    /// Commits a state that has been checked, unless that is only tried.
    pub(crate) fn store(
        &mut self,
        write: &Write<'_>,
        key: &Key,
        object: Value,
        code: StatusCode,
    ) -> Outcome {
        if write.is_dry() {
            return Ok((code, Arc::new(object)));
        }
        let before = self.get(key);
        let owners = self.owners.entry(key.clone()).or_default();
        owners.written(write.manager(), before.as_deref(), &object);
        let stored = self.commit(key, Some(object));
        Ok((code, stored.expect("an object was written")))
    }

    /// Nothing is created in a namespace that is not there.
    fn check_namespace(&self, write: &Write<'_>, name: &str) -> Result<(), Failure> {
        if !write.resource.namespaced {
            return Ok(());
        }
        let namespaces = Resource::named("namespaces").expect("it is in the table");
        let namespace = &write.target.namespace;
        match self.get(&Key::new(namespaces, "", namespace)) {
            None => Err(Failure::not_found(namespaces, namespace)),
            Some(found) if found["metadata"].get("deletionTimestamp").is_some() => {
                Err(Failure::terminating(write.resource, name, namespace))
            }
            Some(_) => Ok(()),
        }
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
    if write.to_finalize() {
        let finalizers = object["spec"].get("finalizers").cloned();
        put(object, "spec", live.get("spec"));
        put(&mut object["spec"], "finalizers", finalizers.as_ref());
    }
    if write.to_status() {
        put(object, "spec", live.get("spec"));
    } else if resource.has_status {
        put(object, "status", live.get("status"));
    }
    let generation = live["metadata"]["generation"].as_u64();
    if let Some(generation) = generation.filter(|_| content(live) != content(object)) {
        object["metadata"]["generation"] = (generation + 1).into();
    }
}

/// What is not metadata or status; each change of it is a generation.
fn content(object: &Value) -> Value {
    let mut content = object.clone();
    content["metadata"] = object["metadata"]["labels"].clone();
    put(&mut content, "status", None);
    content
}

fn put(object: &mut Value, field: &str, value: Option<&Value>) {
    match value {
        Some(value) => object[field] = value.clone(),
        None => {
            object.as_object_mut().and_then(|map| map.remove(field));
        }
    }
}

fn check(resource: &Resource, name: &str, causes: &[Cause]) -> Result<(), Failure> {
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid(resource, name, causes))
    }
}

/// The text of a field; empty when it is missing.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

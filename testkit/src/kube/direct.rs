//! The objects as a test sees and makes them: past users, faults and the record.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::{Method, Uri};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::KubeApi;
use super::call::Call;
use super::reply::Payload;
use super::resource::{RESOURCES, Resource};

/// How long one access may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl KubeApi {
    /// Creates a namespace, unless it exists. [`remove`](Self::remove) removes it, with all that is
    /// in it.
    ///
    /// # Errors
    ///
    /// When it has no valid name.
    pub fn add_namespace(&self, name: &str) -> Result<()> {
        if self.object("namespaces", "", name)?.is_none() {
            let metadata = json!({"name": name});
            self.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))?;
        }
        Ok(())
    }

    /// Creates an object, or replaces it whatever its version; with its status, which clients
    /// write separately. Faults and permissions do not touch this, and it is not recorded.
    ///
    /// # Errors
    ///
    /// When the server refuses it.
    pub fn put(&self, object: &Value) -> Result<Value> {
        let resource = resource_of(object)?;
        let namespace = object["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default");
        let name = object["metadata"]["name"]
            .as_str()
            .context("it has no name")?;
        if self.object(resource.plural, namespace, name)?.is_some() {
            return self.update(resource.plural, namespace, name, |live| {
                let version = live["metadata"]["resourceVersion"].clone();
                *live = object.clone();
                live["metadata"]["resourceVersion"] = version;
            });
        }
        let path = resource.path(namespace, None);
        let mut new = object.clone();
        if let Some(metadata) = new["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        let created = self.done(&Method::POST, &path, &new)?;
        self.put_status(resource, &created, object.get("status"))
    }

    /// Changes an object, as [`put`](Self::put) does.
    ///
    /// # Errors
    ///
    /// When it does not exist, or the server refuses what came of it.
    pub fn update(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Value),
    ) -> Result<Value> {
        let resource = resource_named(plural)?;
        let path = resource.path(namespace, Some(name));
        loop {
            let live = self.object(plural, namespace, name)?;
            let live = live.with_context(|| format!("there is no {plural} {name}"))?;
            let mut object = live.clone();
            change(&mut object);
            let (code, answer) = self.call(&Method::PUT, &path, &object)?;
            match code {
                200 => return self.put_status(resource, &answer, object.get("status")),
                // Somebody else was faster.
                409 => {}
                _ => bail!("{path} cannot be updated: {}", answer["message"]),
            }
        }
    }

    /// Whether an object is there, and what it is.
    ///
    /// # Errors
    ///
    /// When the server does not know such a resource.
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
        let path = resource_named(plural)?.path(namespace, Some(name));
        let (code, answer) = self.call(&Method::GET, &path, &Value::Null)?;
        match code {
            200 => Ok(Some(answer)),
            404 => Ok(None),
            _ => bail!("{path} cannot be read: {}", answer["message"]),
        }
    }

    /// All objects of a resource in a namespace, or, if that is empty, in all.
    ///
    /// # Errors
    ///
    /// When the server does not know such a resource.
    pub fn objects(&self, plural: &str, namespace: &str) -> Result<Vec<Value>> {
        let path = resource_named(plural)?.path(namespace, None);
        let list = self.done(&Method::GET, &path, &Value::Null)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Removes an object at once, without grace or finalizers; a namespace with all that is in it.
    /// Says whether it was there.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub fn remove(&self, plural: &str, namespace: &str, name: &str) -> Result<bool> {
        if plural == "namespaces" {
            return self.remove_namespace(name);
        }
        let Some(object) = self.object(plural, namespace, name)? else {
            return Ok(false);
        };
        if object["metadata"].get("finalizers").is_some() {
            self.update(plural, namespace, name, |object| {
                object["metadata"]["finalizers"] = json!([]);
            })?;
        }
        // With the last finalizer, it may be gone already.
        self.delete(plural, namespace, name, &json!({"gracePeriodSeconds": 0}))?;
        Ok(true)
    }

    /// Does what the namespace controller would.
    fn remove_namespace(&self, name: &str) -> Result<bool> {
        if !self.delete("namespaces", "", name, &json!({}))? {
            return Ok(false);
        }
        for resource in RESOURCES.iter().filter(|resource| resource.namespaced) {
            for object in self.objects(resource.plural, name)? {
                let inner = object["metadata"]["name"].as_str().unwrap_or_default();
                self.remove(resource.plural, name, inner)?;
            }
        }
        let namespaces = resource_named("namespaces")?;
        if let Some(mut namespace) = self.object("namespaces", "", name)? {
            namespace["spec"] = json!({"finalizers": []});
            let path = format!("{}/finalize", namespaces.path("", Some(name)));
            self.done(&Method::PUT, &path, &namespace)?;
        }
        Ok(true)
    }

    /// Removes everything but what a real server makes for itself.
    pub(crate) fn empty(&self) -> Result<()> {
        let is_own = |namespace: &str| namespace == "default" || namespace.starts_with("kube-");
        for namespace in self.objects("namespaces", "")? {
            let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
            if !is_own(name) {
                self.remove_namespace(name)?;
            }
        }
        for resource in RESOURCES.iter().filter(|resource| resource.namespaced) {
            for object in self.objects(resource.plural, "default")? {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                if name != "kubernetes" {
                    self.remove(resource.plural, "default", name)?;
                }
            }
        }
        Ok(())
    }

    /// Deletes an object as `kubectl delete` does: a pod on a node stays, with deletionTimestamp
    /// set, until it is [`remove`](Self::remove)d. Says whether it was there.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub fn terminate(&self, plural: &str, namespace: &str, name: &str) -> Result<bool> {
        self.delete(plural, namespace, name, &json!({}))
    }

    fn delete(&self, plural: &str, namespace: &str, name: &str, options: &Value) -> Result<bool> {
        let path = resource_named(plural)?.path(namespace, Some(name));
        let (code, answer) = self.call(&Method::DELETE, &path, options)?;
        match code {
            200 => Ok(true),
            404 => Ok(false),
            _ => bail!("{path} cannot be deleted: {}", answer["message"]),
        }
    }

    fn put_status(
        &self,
        resource: &Resource,
        object: &Value,
        status: Option<&Value>,
    ) -> Result<Value> {
        match status {
            Some(status) if resource.has_status && object["status"] != *status => {
                let mut object = object.clone();
                object["status"] = status.clone();
                let metadata = &object["metadata"];
                let namespace = metadata["namespace"].as_str().unwrap_or_default();
                let name = metadata["name"].as_str().unwrap_or_default();
                let path = format!("{}/status", resource.path(namespace, Some(name)));
                self.done(&Method::PUT, &path, &object)
            }
            _ => Ok(object.clone()),
        }
    }

    fn done(&self, method: &Method, path: &str, body: &Value) -> Result<Value> {
        let (code, answer) = self.call(method, path, body)?;
        let is_done = (200..300).contains(&code);
        ensure!(is_done, "{method} {path}: {code}: {}", answer["message"]);
        Ok(answer)
    }

    /// Asks the backend, past the front.
    fn call(&self, method: &Method, path: &str, body: &Value) -> Result<(u16, Value)> {
        let body = match body {
            Value::Null => Bytes::new(),
            body => body.to_string().into(),
        };
        let uri: Uri = path
            .parse()
            .with_context(|| format!("{path:?} is no path"))?;
        let call = Call::bare(method, &uri, body);
        let (answer, answered) = mpsc::sync_channel(1);
        let backend = Arc::clone(&self.front.backend);
        self.thread.runtime.spawn(async move {
            // Who asked may have stopped waiting.
            let _ = answer.send(backend.answer(call).await);
        });
        let reply = answered.recv_timeout(PATIENCE).context("no answer")?;
        let Payload::Whole(bytes) = reply.body else {
            bail!("{path} is answered by a watch");
        };
        let code = reply.code.as_u16();
        Ok((code, serde_json::from_slice(&bytes)?))
    }
}

fn resource_of(object: &Value) -> Result<&'static Resource> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    Resource::of_kind(version, kind).with_context(|| format!("{version} {kind} is not served"))
}

fn resource_named(plural: &str) -> Result<&'static Resource> {
    Resource::named(plural).with_context(|| format!("{plural} are not served"))
}

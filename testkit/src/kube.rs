//! A Kubernetes API under test, with the semantics on which leader election, discovery and
//! announcing stand, and with the faults that they must survive.
//!
//! [`KubeApi`] serves leases, endpointslices, pods, services, events and namespaces over TLS to
//! users with bearer tokens. It is told apart in two: a front (TLS, users and what they may do, the
//! record of requests, faults) and, behind it, a store of our own.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use bellwether_testkit::kube::{Access, Act, Fault, KubeApi, Refusal};
//!
//! let api = KubeApi::start()?;
//! let user = api.user("system:serviceaccount:default:redis-0", Access::all());
//! let kubeconfig = api.kubeconfig(&user); // For kube::Config::from_custom_kubeconfig.
//! let id = api.add_fault(Fault::new(Act::Refuse(Refusal::Conflict)).verbs(&["update"]).every(2));
//! api.link().silence()?; // A black hole …
//! api.link().heal()?; // … and its end.
//! api.remove_fault(id);
//! assert!(api.requests().iter().all(|request| request.what() != "update leases"));
//! # Ok(())
//! # }
//! ```

mod access;
mod apply;
mod call;
mod fault;
mod front;
mod gate;
mod link;
mod list;
mod memory;
mod names;
mod patch;
mod record;
mod reply;
mod resource;
mod selector;
mod shape;
mod status;
mod store;
mod tls;
mod watch;
mod watches;
mod write;

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{Method, Uri};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub use self::access::{Access, User};
pub use self::fault::{Act, Fault, FaultId, Refusal};
pub use self::link::Link;
pub use self::record::Request;

use self::call::Call;
use self::front::Front;
use self::memory::Memory;
use self::reply::Payload;
use self::resource::Resource;
use self::tls::Identity;
use self::watches::Mood;

/// How long a direct access may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Kubernetes API on a free port of 127.0.0.1, with users, a record of requests, and faults.
///
/// Its methods are synchronous and can be called from asynchronous tests, too: they wait only for
/// the server's own thread. It ends when it is dropped.
#[derive(Debug)]
pub struct KubeApi {
    front: Arc<Front>,
    memory: Arc<Memory>,
    identity: Identity,
    link: Link,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KubeApi {
    /// Starts one with the namespace `default` and no other object.
    ///
    /// # Errors
    ///
    /// When no port is free, or the system refuses sockets.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let memory = Arc::new(Memory::default());
        let front = Arc::new(Front::new(Arc::clone(&memory) as _));
        let identity = Identity::new()?;
        let tls = Arc::clone(&identity.server);
        let link = Link::open(runtime.handle(), Arc::clone(&front), tls)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            // Either the stop was asked for, or the value that could ask is gone.
            let _ = runtime.block_on(stopped);
        });
        let api = Self {
            front,
            memory,
            identity,
            link,
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        };
        api.add_namespace("default")?;
        Ok(api)
    }

    /// The URL of the API.
    #[must_use]
    pub fn url(&self) -> String {
        self.link.url()
    }

    /// The certificate of the authority that signed the server's, in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.identity.ca
    }

    /// A new user of this name who may do this.
    #[must_use]
    pub fn user(&self, name: &str, access: Access) -> User {
        self.front.users().add(name, access)
    }

    /// From now on the user may do this, and nothing else.
    pub fn permit(&self, user: &User, access: Access) {
        self.front.users().permit(user, access);
    }

    /// From now on the user's token is unknown.
    pub fn forget_user(&self, user: &User) {
        self.front.users().remove(user);
    }

    /// A kubeconfig in YAML by which a client is this user, in the namespace `default`.
    #[must_use]
    pub fn kubeconfig(&self, user: &User) -> String {
        self.kubeconfig_by(&self.link, user, "default")
    }

    /// As [`kubeconfig`](Self::kubeconfig), by a link of its own and in another namespace.
    #[must_use]
    pub fn kubeconfig_by(&self, link: &Link, user: &User, namespace: &str) -> String {
        let ca = BASE64_STANDARD.encode(&self.identity.ca);
        let (url, name, token) = (link.url(), &user.name, &user.token);
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: testkit\n\
             \x20 cluster:\n\
             \x20   server: {url}\n\
             \x20   certificate-authority-data: {ca}\n\
             users:\n\
             - name: {name:?}\n\
             \x20 user:\n\
             \x20   token: {token}\n\
             contexts:\n\
             - name: testkit\n\
             \x20 context:\n\
             \x20   cluster: testkit\n\
             \x20   user: {name:?}\n\
             \x20   namespace: {namespace}\n\
             current-context: testkit\n"
        )
    }

    /// The way by which all clients come that have no link of their own.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Another way, on a port of its own.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub fn new_link(&self) -> Result<Link> {
        let tls = Arc::clone(&self.identity.server);
        Link::open(&self.runtime, Arc::clone(&self.front), tls)
    }

    /// Sets a fault, beside those that are set.
    #[expect(clippy::must_use_candidate, reason = "many faults stay to the end")]
    pub fn add_fault(&self, fault: Fault) -> FaultId {
        self.front.faults.add(fault)
    }

    /// Takes a fault back.
    pub fn remove_fault(&self, id: FaultId) {
        self.front.faults.remove(id);
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.front.faults.clear();
    }

    /// To how many requests a fault that is set was done.
    #[must_use]
    pub fn struck(&self, id: FaultId) -> u64 {
        self.front.faults.struck(id)
    }

    /// All requests since the start, or since they were forgotten, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.front.record.all()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.front.record.forget();
    }

    /// The watches that run now.
    #[must_use]
    pub fn watches(&self) -> Vec<Request> {
        self.front.watches.all()
    }

    /// Ends running watches as their timeout would.
    pub fn end_watches(&self, which: impl Fn(&Request) -> bool) {
        self.front.watches.set(Mood::Ended, which);
    }

    /// Cuts running watches in the midst of the stream.
    pub fn cut_watches(&self, which: impl Fn(&Request) -> bool) {
        self.front.watches.set(Mood::Broken, which);
    }

    /// Ends running watches with an event that says 410, Expired.
    pub fn expire_watches(&self, which: impl Fn(&Request) -> bool) {
        self.front.watches.set(Mood::Expired, which);
    }

    /// Makes running watches silent; their connections stay. [`Act::SilentWatch`] does so to those
    /// that come.
    pub fn silence_watches(&self, which: impl Fn(&Request) -> bool) {
        self.front.watches.set(Mood::Silent, which);
    }

    /// Lets silent watches go on. What they missed comes now.
    pub fn revive_watches(&self, which: impl Fn(&Request) -> bool) {
        self.front.watches.set(Mood::Flowing, which);
    }

    /// Makes all running watches that allow bookmarks get one now.
    pub fn bookmark(&self) {
        self.memory.bookmark();
    }

    /// Forgets the history, so that a watch from an older version meets 410.
    pub fn compact(&self) {
        self.memory.store().compact();
    }

    /// Creates a namespace, unless it exists.
    ///
    /// # Errors
    ///
    /// When it has no valid name.
    pub fn add_namespace(&self, name: &str) -> Result<()> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.put(&namespace).map(drop)
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
        let created = self.done(&Method::POST, &path, object)?;
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

    /// All objects of a resource in a namespace.
    ///
    /// # Errors
    ///
    /// When the server does not know such a resource.
    pub fn objects(&self, plural: &str, namespace: &str) -> Result<Vec<Value>> {
        let path = resource_named(plural)?.path(namespace, None);
        let list = self.done(&Method::GET, &path, &Value::Null)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Deletes an object at once, without grace. Says whether it was there.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub fn remove(&self, plural: &str, namespace: &str, name: &str) -> Result<bool> {
        self.delete(plural, namespace, name, &json!({"gracePeriodSeconds": 0}))
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
        let (answer, answered) = std_mpsc::sync_channel(1);
        let backend = Arc::clone(&self.front.backend);
        self.runtime.spawn(async move {
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

impl Drop for KubeApi {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the Kubernetes API on {} has panicked", self.link.address());
        }
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

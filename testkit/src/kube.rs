//! A Kubernetes API under test, with the semantics on which leader election, discovery and
//! announcing stand, and with the faults that they must survive.
//!
//! [`KubeApi`] serves leases, endpointslices, pods, services, events (of `events.k8s.io`) and
//! namespaces over TLS to users with bearer tokens. It has two parts: a front (TLS, users and what
//! they may do, the record of requests, faults) and, behind it, a store of our own. Where
//! `KUBEBUILDER_ASSETS` names a folder with `etcd` and `kube-apiserver`, the front stands before
//! these instead, so that the same tests show whether our store behaves as the real one.
//!
//! What our store leaves out: admission beyond namespaces, most of the validation and defaults of
//! pods and services, `managedFields` (owners are known, and conflicts of apply told, but lists are
//! owned whole), events as the core group shows them, protobuf and YAML, tables and partial
//! metadata, and the controllers: nobody makes endpointslices of Services and pods, or runs pods.
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
mod delete;
mod direct;
mod events;
mod fault;
mod front;
mod gate;
mod link;
mod list;
mod memory;
mod names;
mod owners;
mod patch;
mod real;
mod record;
mod reply;
mod resource;
mod rules;
mod selector;
mod shape;
mod status;
mod store;
mod thread;
mod tls;
mod watch;
mod watches;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

pub use self::access::{Access, User};
pub use self::fault::{Act, Fault, FaultId, Refusal};
pub use self::link::Link;
pub use self::record::Request;

use self::front::Front;
use self::memory::Memory;
use self::real::Real;
use self::reply::Backend;
use self::thread::Thread;
use self::tls::Identity;
use self::watches::Mood;

/// A Kubernetes API on a free port of 127.0.0.1, with users, a record of requests, and faults.
///
/// Its methods are synchronous and can be called from asynchronous tests, too: they wait only for
/// the server's own thread. It ends when it is dropped.
#[derive(Debug)]
pub struct KubeApi {
    front: Arc<Front>,
    behind: Behind,
    identity: Identity,
    link: Link,
    thread: Thread,
}

/// What is behind the front.
#[derive(Debug)]
enum Behind {
    Memory(Arc<Memory>),
    Real(Real),
}

impl KubeApi {
    /// Starts one with the namespace `default` and no other object, on a real API server if
    /// `KUBEBUILDER_ASSETS` names one. (That has namespaces and a Service `kubernetes` of its own.)
    ///
    /// # Errors
    ///
    /// When no port is free, the system refuses sockets, or the real server does not start.
    pub fn start() -> Result<Self> {
        Self::start_on(real::assets().as_deref())
    }

    /// Starts one on our own store in any case, for tests of what only that can do.
    ///
    /// # Errors
    ///
    /// When no port is free, or the system refuses sockets.
    pub fn start_in_memory() -> Result<Self> {
        Self::start_on(None)
    }

    fn start_on(assets: Option<&Path>) -> Result<Self> {
        let thread = Thread::start()?;
        let (behind, backend): (_, Arc<dyn Backend>) = match assets {
            Some(assets) => {
                let real = Real::borrow(assets, &thread.runtime)?;
                (Behind::Real(real.clone()), Arc::new(real))
            }
            None => {
                let memory = Arc::new(Memory::default());
                (Behind::Memory(Arc::clone(&memory)), memory)
            }
        };
        let front = Arc::new(Front::new(backend));
        let identity = Identity::new()?;
        let tls = Arc::clone(&identity.server);
        let link = Link::open(&thread.runtime, Arc::clone(&front), tls)?;
        let api = Self {
            front,
            behind,
            identity,
            link,
            thread,
        };
        api.add_namespace("default")?;
        Ok(api)
    }

    /// Whether a real API server is behind it.
    #[must_use]
    pub fn is_real(&self) -> bool {
        matches!(self.behind, Behind::Real(_))
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
        Link::open(&self.thread.runtime, Arc::clone(&self.front), tls)
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

    /// As [`requests`](Self::requests), of those that came at or after an instant.
    #[must_use]
    pub fn requests_since(&self, then: Instant) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.at >= then);
        requests
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

    /// Makes all running watches that allow bookmarks get one now, instead of each minute.
    ///
    /// # Panics
    ///
    /// On a real API server, which takes no such orders.
    pub fn bookmark(&self) {
        self.memory().bookmark();
    }

    /// Forgets the history, so that a watch from an older version meets 410. Running watches go on.
    ///
    /// # Panics
    ///
    /// On a real API server, which takes no such orders.
    pub fn compact(&self) {
        self.memory().store().compact();
    }

    fn memory(&self) -> &Memory {
        match &self.behind {
            Behind::Memory(memory) => memory,
            Behind::Real(_) => panic!("only our own store can do that; see KubeApi::is_real"),
        }
    }

    fn restart(&mut self) -> Result<()> {
        self.thread.end();
        self.thread = Thread::start()?;
        Ok(())
    }
}

impl Drop for KubeApi {
    fn drop(&mut self) {
        if let Behind::Real(real) = &self.behind {
            let real = real.clone();
            // The next test gets it empty, and nothing of this one may come late into it: what is
            // delayed or hangs ends with its thread.
            match self.restart().and_then(|()| self.empty()) {
                Ok(()) => real.give_back(),
                Err(error) => eprintln!("the real API server is not used again: {error:#}"),
            }
        }
    }
}

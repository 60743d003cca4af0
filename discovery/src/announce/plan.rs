//! What to do about what is seen: the seam between the one loop and the two things it announces by.
#![deny(clippy::disallowed_methods)]

use std::fmt::Debug;

use json_patch::Patch;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::Resource;
use kube::core::NamespaceResourceScope;

use super::seen::{Seen, View};

/// What the announcement consists in: a Service's selector, or labels of pods.
pub(super) trait Subject: Clone + Send + Sync + 'static {
    /// The kind of object that is read, watched and patched.
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;

    /// The kind's name in a Role.
    const RESOURCE: &'static str;

    /// Reduces an object to what matters here.
    fn see(&self, object: Self::Object) -> Seen;

    /// Decides about all objects of the selection, for the pod that leads in `term`. It is asked
    /// again after each write and each change, so one step at a time is enough.
    fn plan(&self, view: &View, pod: &str, term: u64) -> Plan;
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plan {
    /// All is as it shall be.
    Right,
    /// This comes next.
    Write(Write),
    /// A higher term was here.
    Superseded { higher: u64 },
    /// What is seen must change before anything can be done.
    Blocked(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Write {
    /// The object's name, and the resourceVersion that the patch tests.
    pub(super) object: String,
    pub(super) version: String,
    pub(super) patch: Patch,
    /// For the log: what was found.
    pub(super) because: String,
}

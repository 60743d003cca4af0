//! What was asked, by whom, and what was answered.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use super::call::Call;

/// How many requests are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 100_000;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Request {
    /// When its body had arrived.
    pub at: Instant,
    /// As RBAC has it: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: &'static str,
    /// API group; empty for the core, and for what is no resource.
    pub group: String,
    /// Plural of the resource; empty for what is none, such as `/version`.
    pub resource: String,
    /// Such as `status`; mostly empty.
    pub subresource: String,
    /// Empty for all namespaces.
    pub namespace: String,
    /// Empty for a collection; of a list or a watch, the one name that its field selector allows.
    pub name: String,
    /// Name of the user; `None` if the token is missing or unknown.
    pub user: Option<String>,
    /// Path and query as they came.
    pub path: String,
    /// Content type of the body; of a patch, its kind.
    pub content_type: String,
    /// The body, if it is JSON.
    pub body: Option<Value>,
    /// Status that was answered; `None` as long as it is not, or when it never was.
    pub status: Option<u16>,
}

impl Request {
    pub(crate) fn new(call: &Call, user: Option<String>) -> Self {
        let target = call.target.clone().unwrap_or_default();
        let path = call.uri.path_and_query().map(ToString::to_string);
        Self {
            at: Instant::now(),
            verb: call.verb,
            group: target.group,
            resource: target.resource,
            subresource: target.subresource,
            namespace: target.namespace,
            name: target.name,
            user,
            path: path.unwrap_or_default(),
            content_type: call.content_type.clone(),
            body: serde_json::from_slice(&call.body).ok(),
            status: None,
        }
    }

    /// Whether it is a request to write.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch" | "head")
    }

    /// Verb and resource, such as `watch leases` or `update pods/status`.
    #[must_use]
    pub fn what(&self) -> String {
        let (verb, resource) = (self.verb, &self.resource);
        if self.subresource.is_empty() {
            format!("{verb} {resource}")
        } else {
            format!("{verb} {resource}/{}", self.subresource)
        }
    }
}

/// All requests, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    requests: VecDeque<Request>,
    /// Number of the first request that is kept.
    first: usize,
}

impl Record {
    /// Keeps a request, and gives its number.
    pub(crate) fn open(&self, request: Request) -> usize {
        let mut kept = self.kept();
        kept.requests.push_back(request);
        if kept.requests.len() > REMEMBERED {
            kept.requests.pop_front();
            kept.first += 1;
        }
        kept.first + kept.requests.len() - 1
    }

    pub(crate) fn answered(&self, number: usize, status: u16) {
        let mut kept = self.kept();
        let place = number.checked_sub(kept.first);
        if let Some(request) = place.and_then(|place| kept.requests.get_mut(place)) {
            request.status = Some(status);
        }
    }

    pub(crate) fn all(&self) -> Vec<Request> {
        self.kept().requests.iter().cloned().collect()
    }

    pub(crate) fn forget(&self) {
        let mut kept = self.kept();
        kept.first += kept.requests.len();
        kept.requests.clear();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Calls to the Kubernetes API, and what their failures mean.

use std::{error::Error as StdError, future::Future, pin::Pin, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::Status,
};
use tokio::time::timeout;

use crate::lease::{
    core::{Call, Failure, Seen},
    object,
    record::Version,
};

/// Who the API says made a change.
const FIELD_MANAGER: &str = "bellwether";

/// One Lease, and how to call the API about it.
#[derive(Clone)]
pub(crate) struct LeaseApi {
    pub(crate) api: Api<Lease>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) call_timeout: Duration,
}

/// Why a call came to nothing: for the core, and in words.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) failure: Failure,
    pub(crate) words: String,
}

/// A call that is under way.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Seen, Trouble>> + Send>>;

impl LeaseApi {
    pub(crate) fn new(client: Client, namespace: String, name: String, timeout: Duration) -> Self {
        Self {
            api: Api::namespaced(client, &namespace),
            namespace,
            name,
            call_timeout: timeout,
        }
    }

    pub(crate) fn call(&self, call: Call) -> Answer {
        let this = self.clone();
        Box::pin(async move { this.bounded(verb(&call), this.perform(call)).await })
    }

    /// Sets an annotation of the Lease, or removes it, if its version is still this one.
    pub(crate) async fn annotate(
        &self,
        version: &Version,
        key: &str,
        text: Option<&str>,
    ) -> Result<(), Trouble> {
        let patch = Patch::Merge(object::annotation(version, key, text));
        let parameters = as_manager();
        let patched = self.api.patch(&self.name, &parameters, &patch);
        self.bounded("patch", patched).await.map(drop)
    }

    async fn bounded<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Trouble> {
        match timeout(self.call_timeout, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.trouble(verb, &error)),
            Err(_) => Err(Trouble {
                failure: Failure::Lost,
                words: format!(
                    "the API server did not answer \"{verb} {}\" within {:?}",
                    self.lease(),
                    self.call_timeout
                ),
            }),
        }
    }

    async fn perform(&self, call: Call) -> Result<Seen, kube::Error> {
        let lease = match call {
            Call::Read => match self.api.get_opt(&self.name).await? {
                Some(lease) => lease,
                None => return Ok(Seen::Absent(None)),
            },
            Call::Create(record) => {
                let parameters = PostParams {
                    field_manager: Some(FIELD_MANAGER.into()),
                    ..PostParams::default()
                };
                let lease = object::lease(&self.name, &record);
                self.api.create(&parameters, &lease).await?
            }
            Call::Write(version, record) => {
                let parameters = as_manager();
                let patch = Patch::Merge(object::patch(version.as_ref(), &record));
                self.api.patch(&self.name, &parameters, &patch).await?
            }
        };
        // A Lease without a version is none that could be written to.
        Ok(object::snapshot(&lease).map_or(Seen::Absent(None), Seen::Present))
    }

    fn trouble(&self, verb: &'static str, error: &kube::Error) -> Trouble {
        let kube::Error::Api(status) = error else {
            return Trouble {
                failure: Failure::Lost,
                words: format!("\"{verb} {}\" failed: {}", self.lease(), chain(error)),
            };
        };
        Trouble {
            failure: failure(verb, status),
            words: self.explain(verb, status),
        }
    }

    /// A refusal in words: what is missing, and what the server said.
    pub(crate) fn explain(&self, verb: &str, status: &Status) -> String {
        let (lease, namespace) = (self.lease(), &self.namespace);
        let message = &status.message;
        match status.code {
            401 => format!(
                "the API server does not know this client, so it may not {verb} {lease}: {message}"
            ),
            403 => format!(
                "not permitted to {verb} {lease}: a Role in namespace {namespace:?} must allow the verb {verb:?} on resource \"leases\" of group \"coordination.k8s.io\" ({message})"
            ),
            404 if verb == "create" => {
                format!("cannot create {lease}: namespace {namespace:?} does not exist ({message})")
            }
            code => format!("\"{verb} {lease}\" was refused with {code}: {message}"),
        }
    }

    pub(crate) fn lease(&self) -> String {
        format!("Lease {}/{}", self.namespace, self.name)
    }
}

fn as_manager() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    }
}

fn verb(call: &Call) -> &'static str {
    match call {
        Call::Read => "get",
        Call::Create(_) => "create",
        Call::Write(..) => "patch",
    }
}

/// What to do about a refusal.
///
/// Source: the status codes of the Kubernetes API conventions. What a server answers with 5xx may
/// have been done.
fn failure(verb: &str, status: &Status) -> Failure {
    match status.code {
        409 => Failure::Conflict,
        404 if verb == "patch" => Failure::Conflict,
        410 => Failure::Busy(None),
        429 => Failure::Busy(retry_after(status)),
        500.. => Failure::Lost,
        _ => Failure::Denied,
    }
}

fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        // Many errors of this library say their cause themselves.
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    words.replace('\n', " ")
}

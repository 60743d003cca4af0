//! The calls to the API, in `events.k8s.io/v1`.

use std::time::Duration;

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Error,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::timeout;

use super::{
    note::{About, Note},
    outbox::{Call, Outcome},
};
use crate::Settings;

/// Who tells: the name under which these events can be found.
const CONTROLLER: &str = "bellwether.dev/lease";

/// For one call. Nobody waits for it but the next event.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest that the API takes, in bytes.
const LONGEST_INSTANCE: usize = 128;

/// Tells the API.
pub(crate) struct Publisher {
    events: Api<Event>,
    leases: Api<Lease>,
    namespace: String,
    member: String,
    pod_uid: Option<String>,
    lease: String,
}

impl Publisher {
    pub(crate) fn new(client: Client, settings: &Settings) -> Self {
        let namespace = settings.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        Self {
            events: Api::namespaced(client.clone(), &namespace),
            leases: Api::namespaced(client, &namespace),
            namespace,
            member: settings.member.clone(),
            pod_uid: settings.pod_uid.clone(),
            lease: settings.lease.clone(),
        }
    }

    pub(crate) async fn publish(&self, call: &Call) -> Outcome {
        match timeout(PATIENCE, self.call(call)).await {
            Ok(Ok(())) => Outcome::Told,
            Ok(Err(error)) => outcome(call, error),
            Err(_) => Outcome::Failed("the Kubernetes API does not answer".to_owned()),
        }
    }

    async fn call(&self, call: &Call) -> Result<(), Error> {
        match call {
            Call::Create(note) => {
                let event = self.event(note).await;
                self.events.create(&PostParams::default(), &event).await?;
            }
            Call::Repeat {
                first,
                count,
                at_ms,
            } => {
                let last = MicroTime(time(*at_ms));
                let series = json!({ "series": { "count": count, "lastObservedTime": last } });
                let (name, params) = (self.name(first), PatchParams::default());
                self.events
                    .patch(&name, &params, &Patch::Merge(series))
                    .await?;
            }
        }
        Ok(())
    }

    async fn event(&self, note: &Note) -> Event {
        let (pod, lease) = (self.pod(), self.lease().await);
        let (regarding, related) = match note.about {
            About::Pod => (pod, lease),
            About::Lease => (lease, pod),
        };
        let kind = if note.warns { "Warning" } else { "Normal" };
        let instance = self.member.chars().take(LONGEST_INSTANCE).collect();
        Event {
            metadata: ObjectMeta {
                name: Some(self.name(note)),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(time(note.at_ms))),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(instance),
            action: Some(note.action.to_owned()),
            reason: Some(note.reason.to_owned()),
            type_: Some(kind.to_owned()),
            note: Some(note.text.clone()),
            regarding: Some(regarding),
            related: Some(related),
            ..Event::default()
        }
    }

    /// The same for the same event, so that one that was told without an answer is not told twice.
    fn name(&self, note: &Note) -> String {
        let about = match note.about {
            About::Pod => "pod",
            About::Lease => "lease",
        };
        let Note { at_ms, number, .. } = note;
        format!("{}.{about}.{at_ms:x}.{number:x}", self.member)
    }

    fn pod(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(self.member.clone()),
            namespace: Some(self.namespace.clone()),
            uid: self.pod_uid.clone(),
            ..ObjectReference::default()
        }
    }

    /// With its uid, by which `kubectl describe` finds what belongs to it; without, if that cannot be
    /// had.
    async fn lease(&self) -> ObjectReference {
        let found = self.leases.get(&self.lease).await;
        ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            name: Some(self.lease.clone()),
            namespace: Some(self.namespace.clone()),
            uid: found.ok().and_then(|lease| lease.metadata.uid),
            ..ObjectReference::default()
        }
    }
}

fn outcome(call: &Call, error: Error) -> Outcome {
    let (code, why) = match error {
        Error::Api(status) => (status.code, status.message),
        error => return Outcome::Failed(error.to_string()),
    };
    match (call, code) {
        (Call::Create(_), 409) => Outcome::Told,
        (_, 401 | 403) => Outcome::Forbidden(why),
        // Of another writer, of too many requests, or of a server that is in trouble.
        (_, 409 | 429 | 500..) => Outcome::Failed(why),
        _ => Outcome::Refused(why),
    }
}

fn time(at_ms: u64) -> Timestamp {
    let at_ms = i64::try_from(at_ms).ok();
    let time = at_ms.and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok());
    time.unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use bellwether_testkit::kube::{Access, Act, Fault, KubeApi, Refusal};
    use clap::Parser as _;
    use kube::config::{KubeConfigOptions, Kubeconfig};

    use super::*;

    async fn publisher(api: &KubeApi, access: Access) -> Publisher {
        let kubeconfig = api.kubeconfig(&api.user("redis-1", access));
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options);
        let mut config = config.await.unwrap();
        config.default_retry = false;
        // Refused if another test was faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(config).unwrap();
        let flags = ["--lease", "redis", "--headless-service", "redis"];
        let flags = flags
            .iter()
            .chain(&["--member", "redis-1", "--pod-uid", "6f2c"]);
        let settings = Settings::parse_from(std::iter::once(&"bellwether-lease").chain(flags));
        Publisher::new(client, &settings)
    }

    fn note(number: u64) -> Note {
        Note {
            about: About::Pod,
            warns: true,
            reason: "FailedOver",
            action: "Promote",
            text: "redis-1: serve in term 7".to_owned(),
            at_ms: 1_795_000_000_000,
            number,
        }
    }

    /// On a real server too, where one is named.
    #[tokio::test]
    async fn an_event_is_made_once_and_counted_up() {
        let api = KubeApi::start().unwrap();
        let publisher = publisher(&api, Access::all()).await;
        let create = Call::Create(note(1));
        for _ in 0..2 {
            // The second time as if the first had not been answered.
            assert_eq!(publisher.publish(&create).await, Outcome::Told);
        }
        let repeat = |count, first| Call::Repeat {
            first,
            count,
            at_ms: 1_795_000_060_000,
        };
        assert_eq!(publisher.publish(&repeat(2, note(1))).await, Outcome::Told);
        let gone = publisher.publish(&repeat(2, note(9))).await;
        assert!(matches!(gone, Outcome::Refused(_)), "{gone:?}");
        let name = publisher.name(&note(1));
        let event = api.object("events", "default", &name).unwrap().unwrap();
        assert_eq!(event["series"]["count"], 2, "{event}");
        assert_eq!(event["note"], "redis-1: serve in term 7");
        assert_eq!(event["regarding"]["uid"], "6f2c");
        assert_eq!(event["related"]["name"], "redis");
    }

    #[tokio::test]
    async fn what_came_of_a_call_says_what_to_do_next() {
        let api = KubeApi::start().unwrap();
        let permitted = publisher(&api, Access::all()).await;
        let access = Access::all().deny(&["create"], "events.k8s.io", "events");
        let forbidden = publisher(&api, access).await;
        let call = Call::Create(note(1));
        let outcome = forbidden.publish(&call).await;
        assert!(matches!(outcome, Outcome::Forbidden(_)), "{outcome:?}");
        for refusal in [Refusal::TooManyRequests(1), Refusal::Unavailable] {
            let fault = Fault::new(Act::Refuse(refusal)).resource("events");
            let id = api.add_fault(fault);
            let outcome = permitted.publish(&call).await;
            assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
            api.remove_fault(id);
        }
        let long = Note {
            text: "x".repeat(1025),
            ..note(2)
        };
        let outcome = permitted.publish(&Call::Create(long)).await;
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        api.link().silence().unwrap();
        let outcome = permitted.publish(&call).await;
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
}

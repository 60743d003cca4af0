//! An API with a Service, and nodes that announce.

use std::time::{Duration, Instant};

use bellwether_discovery::{Announcement, Announcer, AnnouncerConfig, Leader};
use bellwether_testkit::kube::{Access, KubeApi, Link, Request, User};
use bellwether_testkit::until;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const SERVICE: &str = "redis-leader";
pub(crate) const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
pub(crate) const TERM: &str = "bellwether.dev/term";

/// One node of a group, whose name is its pod's.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) user: User,
    pub(crate) link: Link,
    leader: watch::Sender<Option<Leader>>,
    announcement: watch::Receiver<Announcement>,
    task: JoinHandle<()>,
}

/// Patient, so that a busy machine is not taken for a silent server, and quick in what is bounded
/// only for the sake of others.
pub(crate) fn config() -> AnnouncerConfig {
    let mut config = AnnouncerConfig::new(SERVICE);
    config.timeout = PATIENCE;
    config.max_retry_interval = SECOND / 5;
    config.max_refused_interval = SECOND / 2;
    config.max_repair_interval = SECOND;
    config
}

/// The Role that the documentation shows.
pub(crate) fn role() -> Access {
    Access::none()
        .allow(&["list", "watch", "patch"], "", "services")
        .named(&[SERVICE])
        .allow(&["list", "watch", "patch"], "", "pods")
        .within("default")
}

/// An API with a Service that selects this.
pub(crate) fn api(selector: &Value) -> KubeApi {
    let api = KubeApi::start().expect("it starts");
    put_service(&api, selector);
    api
}

pub(crate) fn put_service(api: &KubeApi, selector: &Value) {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": "default"},
        "spec": {"selector": selector, "ports": [{"port": 6379}]},
    });
    api.put(&service).expect("it is a Service");
}

pub(crate) fn edit_service(api: &KubeApi, edit: impl FnMut(&mut Value)) {
    api.update("services", "default", SERVICE, edit)
        .expect("it is there");
}

/// The Service's selector and term.
pub(crate) fn seen(api: &KubeApi) -> (Value, Value) {
    let service = api.object("services", "default", SERVICE);
    let service = service.expect("it answers").unwrap_or_default();
    (
        service["spec"]["selector"].clone(),
        service["metadata"]["annotations"][TERM].clone(),
    )
}

/// Waits until the Service points at this pod and at no other label, in this term.
pub(crate) fn points_at(api: &KubeApi, pod: &str, term: u64) {
    let expected = (json!({POD_NAME: pod}), json!(term.to_string()));
    let what = format!("the Service to point at {pod} in term {term}");
    until(PATIENCE, &what, || {
        let seen = seen(api);
        if seen == expected {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .expect("it comes to that");
}

/// What was asked, without doubles, in alphabetical order.
pub(crate) fn verbs(api: &KubeApi) -> Vec<String> {
    let mut verbs: Vec<String> = api.requests().iter().map(Request::what).collect();
    verbs.sort();
    verbs.dedup();
    verbs
}

pub(crate) fn patches(api: &KubeApi) -> usize {
    let requests = api.requests();
    requests.iter().filter(|it| it.verb == "patch").count()
}

/// Waits until so many watches have begun since the requests were forgotten.
pub(crate) fn watched(api: &KubeApi, times: usize) {
    until(PATIENCE, "a watch", || {
        let requests = api.requests();
        requests.iter().filter(|it| it.verb == "watch").count() >= times
    })
    .expect("watches are renewed");
}

impl Node {
    pub(crate) async fn start(api: &KubeApi, name: &str, config: AnnouncerConfig) -> Self {
        Self::with(api, name, role(), config).await
    }

    pub(crate) async fn with(
        api: &KubeApi,
        name: &str,
        access: Access,
        config: AnnouncerConfig,
    ) -> Self {
        let user = api.user(&format!("system:serviceaccount:default:{name}"), access);
        let link = api.new_link().expect("there is a port");
        let kubeconfig = api.kubeconfig_by(&link, &user, "default");
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).expect("it is YAML");
        let options = KubeConfigOptions::default();
        let mut client = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .expect("it is a kubeconfig");
        client.default_retry = false;
        let client = Client::try_from(client).expect("it suffices");
        let mut announcer = Announcer::new(client, config).expect("it can work");
        let announcement = announcer.announcement();
        let (leader, leaders) = watch::channel(None);
        let task = tokio::spawn(async move { announcer.run(leaders).await });
        Self {
            name: name.into(),
            user,
            link,
            leader,
            announcement,
            task,
        }
    }

    pub(crate) fn lead(&self, term: u64) {
        self.lead_until(term, None);
    }

    pub(crate) fn lead_until(&self, term: u64, until: Option<Instant>) {
        self.leader.send_replace(Some(Leader {
            member: self.name.clone(),
            term,
            until,
        }));
    }

    pub(crate) fn depose(&self) {
        self.leader.send_replace(None);
    }

    pub(crate) fn told(&self) -> Announcement {
        self.announcement.borrow().clone()
    }

    /// Waits until this is told.
    pub(crate) fn tells(&self, what: &str, is_it: impl Fn(&Announcement) -> bool) -> Announcement {
        let told = until(PATIENCE, what, || {
            let told = self.told();
            if is_it(&told) {
                Ok(told)
            } else {
                Err(format!("{told:?}"))
            }
        });
        told.expect("it is told")
    }

    /// Waits until it is announced, and nothing hinders it.
    pub(crate) fn is_announced(&self, announced: u64) {
        self.tells("it to be announced", |told| {
            matches!(told, Announcement::Announced { term, hindrance: None, .. }
                if *term == announced)
        });
    }

    pub(crate) fn is_superseded_by(&self, term: u64) {
        self.tells(
            "it to be superseded",
            |told| matches!(told, Announcement::Superseded { higher, .. } if *higher == term),
        );
    }

    /// Waits until it is told why it is not announced; the reason contains these words.
    pub(crate) fn says(&self, words: &[&str]) {
        self.tells("a reason", |told| {
            let Announcement::Retrying { reason, .. } = told else {
                return false;
            };
            assert!(!reason.contains('\n'), "{reason}");
            words.iter().all(|word| reason.contains(word))
        });
    }

    /// Ends it as an application does.
    pub(crate) async fn end(self) {
        drop(self.leader);
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("it ends in time").expect("without a panic");
        assert_eq!(*self.announcement.borrow(), Announcement::Idle);
    }
}

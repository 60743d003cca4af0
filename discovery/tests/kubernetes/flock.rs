use std::net::IpAddr;
use std::time::Duration;

use bellwether_discovery::{
    Discovery, Error, Kubernetes, KubernetesConfig, Member, Members, Source,
};
use bellwether_testkit::kube::{Access, KubeApi, Request, User};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// Long enough on a busy machine for whatever shall happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An API, and who asks it.
pub(crate) struct Flock {
    pub(crate) api: KubeApi,
    pub(crate) shaun: User,
}

impl Flock {
    /// One in which all is permitted that the documentation says has to be, and no more.
    pub(crate) fn new() -> Self {
        Self::on(KubeApi::start().expect("an API starts"))
    }

    /// The same where a real server can do nothing for the test.
    pub(crate) fn in_memory() -> Self {
        Self::on(KubeApi::start_in_memory().expect("an API starts"))
    }

    fn on(api: KubeApi) -> Self {
        let shaun = api.user("system:serviceaccount:default:shaun", permitted());
        Self { api, shaun }
    }

    pub(crate) async fn client(&self) -> Client {
        let kubeconfig = self.api.kubeconfig(&self.shaun);
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).expect("it is YAML");
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.expect("it is a kubeconfig");
        config.default_retry = false;
        Client::try_from(config).expect("it suffices")
    }

    pub(crate) async fn discovery(&self, config: KubernetesConfig) -> Kubernetes {
        Kubernetes::new(self.client().await, config).expect("the configuration is good")
    }

    /// Of a slice of the Service `redis`.
    pub(crate) fn slice(&self, name: &str, kind: &str, endpoints: &[Value]) {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": kind,
            "metadata": {
                "name": name, "namespace": "default",
                "labels": { "kubernetes.io/service-name": "redis" },
            },
            "endpoints": endpoints,
            "ports": [{ "name": "redis", "port": 6379, "protocol": "TCP" }],
        });
        self.api.put(&slice).expect("it is a slice");
    }

    pub(crate) fn lists(&self) -> usize {
        let requests = self.api.requests();
        requests
            .iter()
            .filter(|request| request.verb == "list")
            .count()
    }

    /// What was asked so far, each once and in the order of its first time.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked: Vec<String> = Vec::new();
        for what in self.api.requests().iter().map(Request::what) {
            if !asked.contains(&what) {
                asked.push(what);
            }
        }
        asked
    }
}

/// As the documentation of [`Kubernetes`] says.
pub(crate) fn permitted() -> Access {
    Access::none()
        .allow(&["list", "watch"], "discovery.k8s.io", "endpointslices")
        .allow(&["list", "watch"], "", "pods")
        .within("default")
}

/// Patient, so that a busy machine is not taken for a silent API; and who goes is told soon.
pub(crate) fn patient(source: Source) -> KubernetesConfig {
    let mut config = KubernetesConfig::new(source, 6379);
    config.timeout = PATIENCE;
    config.linger = Duration::from_millis(300);
    config
}

pub(crate) fn service() -> KubernetesConfig {
    patient(Source::Service("redis".into()))
}

/// A ready endpoint of the pod with this number.
pub(crate) fn endpoint(number: u8, address: &str) -> Value {
    json!({
        "addresses": [address],
        "conditions": { "ready": true, "serving": true, "terminating": false },
        "targetRef": { "kind": "Pod", "name": format!("redis-{number}"), "namespace": "default" },
    })
}

/// The ready endpoints of pods whose addresses end with their number.
pub(crate) fn endpoints(numbers: impl IntoIterator<Item = u8>) -> Vec<Value> {
    let numbers = numbers.into_iter();
    numbers
        .map(|number| endpoint(number, &format!("10.0.0.{number}")))
        .collect()
}

pub(crate) fn member(number: u8, host: &str) -> Member {
    Member {
        name: format!("redis-{number}"),
        host: host.into(),
        port: 6379,
    }
}

/// Pods whose addresses end with their number.
pub(crate) fn members(numbers: impl IntoIterator<Item = u8>) -> Members {
    let numbers = numbers.into_iter();
    numbers
        .map(|number| member(number, &IpAddr::from([10, 0, 0, number]).to_string()))
        .collect()
}

pub(crate) async fn next(discovery: &mut Kubernetes) -> Result<Members, Error> {
    let next = tokio::time::timeout(2 * PATIENCE, discovery.changed()).await;
    next.expect("something happens in time")
}

/// Waits until the members are these, over others on the way but no error.
pub(crate) async fn until_they_are(discovery: &mut Kubernetes, expected: &Members) {
    loop {
        let found = next(discovery).await.expect("there is no outage");
        if found == *expected {
            return;
        }
    }
}

pub(crate) async fn nothing_for(time: Duration, discovery: &mut Kubernetes) {
    let news = tokio::time::timeout(time, discovery.changed()).await;
    assert!(news.is_err(), "{news:?} is no news");
}

/// Calls until the condition holds, and nothing is news meanwhile.
pub(crate) async fn nothing_until(discovery: &mut Kubernetes, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        news = discovery.changed() => panic!("{news:?} is no news"),
        done = tokio::time::timeout(PATIENCE, wait) => done.expect("it holds in time"),
    }
}

/// The error and its cause, as a program would log them.
pub(crate) fn line(error: &Error) -> String {
    let source = std::error::Error::source(error).expect("there is a cause");
    let line = format!("{error}: {source}");
    assert!(!line.contains('\n'), "{line}");
    line
}

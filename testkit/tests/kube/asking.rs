//! An independent client of the Kubernetes API under test: kube's own, used raw, so that statuses
//! and bodies are seen as they came.

use std::time::Duration;

use bellwether_testkit::kube::{Access, KubeApi, User};
use futures_util::{AsyncBufReadExt, StreamExt};
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long anything may take, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
pub(crate) const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(crate) const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A client of one user.
pub(crate) struct Asker {
    client: Client,
}

impl Asker {
    /// One who may do everything.
    pub(crate) async fn new(api: &KubeApi) -> Self {
        Self::of(api, &api.user("asker", Access::all())).await
    }

    pub(crate) async fn of(api: &KubeApi, user: &User) -> Self {
        Self::from(&api.kubeconfig(user)).await
    }

    pub(crate) async fn from(kubeconfig: &str) -> Self {
        Self {
            client: client(kubeconfig).await,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, "", &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(Method::POST, path, "application/json", body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(Method::PUT, path, "application/json", body).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> (u16, Value) {
        self.ask(Method::DELETE, path, "application/json", options)
            .await
    }

    /// `kind` is json, merge, strategic-merge or apply.
    pub(crate) async fn patch(&self, kind: &str, path: &str, body: &Value) -> (u16, Value) {
        let format = if kind == "apply" { "yaml" } else { "json" };
        let kind = format!("application/{kind}-patch+{format}");
        self.ask(Method::PATCH, path, &kind, body).await
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> (u16, Value) {
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let (status, text) = self
            .try_ask(method, path, content_type, body)
            .await
            .expect("an answer");
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// As [`ask`](Self::ask), with any body, and without an answer if the connection is cut.
    pub(crate) async fn try_ask(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<(u16, String), kube::Error> {
        let mut request = Request::builder().method(method).uri(path);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let request = request.body(body.into()).expect("it is a request");
        let response = timeout(PATIENCE, self.client.send(request))
            .await
            .expect("in time")?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await?;
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The whole answer to a GET.
    pub(crate) async fn raw(&self, path: &str) -> http::Response<kube::client::Body> {
        let request = Request::get(path)
            .body(Vec::new().into())
            .expect("it is a request");
        timeout(PATIENCE, self.client.send(request))
            .await
            .expect("in time")
            .expect("an answer")
    }

    /// A watch, whose events come as type and object.
    pub(crate) async fn watch(&self, path: &str) -> Events {
        let request = Request::get(path)
            .body(Vec::new())
            .expect("it is a request");
        let lines = timeout(PATIENCE, self.client.request_stream(request));
        let lines = lines.await.expect("in time").expect("it is accepted");
        Events {
            lines: Box::pin(
                lines
                    .lines()
                    .map(|line| line.map_err(|error| error.to_string())),
            ),
        }
    }
}

/// The events of a watch.
pub(crate) struct Events {
    lines: futures_util::stream::BoxStream<'static, Result<String, String>>,
}

impl Events {
    /// The next event that is no bookmark, which come when they like.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        loop {
            let (kind, object) = self
                .any()
                .await
                .expect("the watch goes on")
                .expect("it is whole");
            if kind != "BOOKMARK" {
                return (kind, object);
            }
        }
    }

    /// Type, name and version of the next event that is no bookmark.
    pub(crate) async fn seen(&mut self) -> (String, String, String) {
        let (kind, object) = self.next().await;
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        (kind, text("name"), text("resourceVersion"))
    }

    /// The next event; `None` when the watch has ended, an error when it was cut.
    pub(crate) async fn any(&mut self) -> Option<Result<(String, Value), String>> {
        let line = timeout(PATIENCE, self.lines.next())
            .await
            .expect("in time")?;
        Some(line.map(|line| {
            let event: Value = serde_json::from_str(&line).expect("an event is JSON");
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            (kind, event["object"].clone())
        }))
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn is_silent(&mut self, time: Duration) -> bool {
        timeout(time, self.lines.next()).await.is_err()
    }
}

/// kube's own client.
pub(crate) async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("it is YAML");
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("it is a kubeconfig");
    // It would ask again by itself when it is refused for the moment.
    config.default_retry = false;
    Client::try_from(config).expect("it suffices")
}

/// A lease of this name.
pub(crate) fn lease(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// The version of an object.
pub(crate) fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"]
        .as_str()
        .expect("it has a version")
}

/// Code, reason and message of a Status.
pub(crate) fn refusal(answer: &(u16, Value)) -> (u16, &str, &str) {
    let (code, status) = answer;
    assert_eq!(status["kind"], "Status", "{status}");
    assert_eq!(status["status"], "Failure", "{status}");
    assert_eq!(status["code"], *code, "{status}");
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    (*code, text("reason"), text("message"))
}

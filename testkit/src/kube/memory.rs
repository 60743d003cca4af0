//! Our own API server behind the front: a store in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::call::{Call, Target};
use super::list;
use super::reply::{Backend, Reply};
use super::resource::{RESOURCES, Resource};
use super::status::Failure;
use super::store::{Key, Store};
use super::watch::Watch;
use super::write::Write;

/// How many events may wait for a client that reads slowly.
const WAITING: usize = 16;

/// The store, and the nudge by which all watches send a bookmark.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    store: Mutex<Store>,
    nudge: watch::Sender<u64>,
}

#[async_trait]
impl Backend for Memory {
    async fn answer(&self, call: Call) -> Reply {
        let answer = match &call.target {
            Some(target) => self.about(target, &call),
            None => discovery(&call),
        };
        answer.unwrap_or_else(Reply::from)
    }
}

impl Memory {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every running watch that allows it send a bookmark.
    pub(crate) fn bookmark(&self) {
        self.nudge.send_modify(|count| *count += 1);
    }

    fn about(&self, target: &Target, call: &Call) -> Result<Reply, Failure> {
        let resource = target.served().ok_or_else(Failure::no_such_path)?;
        check_path(resource, target, call)?;
        let mut store = self.store();
        let write = Write {
            resource,
            target,
            call,
        };
        let (code, object) = match call.verb {
            "watch" => {
                let watch = Watch::open(&mut store, resource, target, call)?;
                let (events, lines) = mpsc::channel(WAITING);
                tokio::spawn(watch.run(events, self.nudge.subscribe()));
                return Ok(Reply::stream(lines));
            }
            "list" => {
                let list = list::list(&store, resource, target, call)?;
                return Ok(Reply::json(StatusCode::OK, &list));
            }
            "deletecollection" => {
                let list = store.delete_all(&write)?;
                return Ok(Reply::json(StatusCode::OK, &list));
            }
            "get" => {
                list::version(&store, call)?;
                let key = Key::new(resource, &target.namespace, &target.name);
                let found = store.get(&key);
                let found = found.ok_or_else(|| Failure::not_found(resource, &target.name))?;
                (StatusCode::OK, found)
            }
            "create" => store.create(&write)?,
            "update" => store.update(&write)?,
            "patch" => store.patch(&write)?,
            _ => store.delete(&write)?,
        };
        Ok(Reply::json(code, &object))
    }
}

/// Refuses what the router of an API server would not route, or not answer.
fn check_path(resource: &Resource, target: &Target, call: &Call) -> Result<(), Failure> {
    match target.subresource.as_str() {
        "" => {}
        "status" if resource.has_status => {}
        "finalize" if resource.kind == "Namespace" => {}
        _ => return Err(Failure::no_such_path()),
    }
    let has_namespace = !resource.namespaced || !target.namespace.is_empty();
    // In a list or a watch, the name comes from a selector.
    let is_named = !target.name.is_empty();
    let is_routed = match call.verb {
        "list" | "watch" | "deletecollection" => target.subresource.is_empty(),
        "create" => has_namespace && !is_named,
        "get" | "patch" => has_namespace && is_named && target.subresource != "finalize",
        "update" => has_namespace && is_named,
        "delete" => has_namespace && is_named && target.subresource.is_empty(),
        _ => false,
    };
    if !is_routed {
        return Err(Failure::method_not_allowed());
    }
    if !accepts_json(&call.accept) {
        return Err(Failure::not_acceptable());
    }
    Ok(())
}

fn accepts_json(accept: &str) -> bool {
    let kinds = accept
        .split(',')
        .map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let served = ["", "*/*", "application/*", "application/json"];
    kinds.into_iter().any(|kind| served.contains(&kind))
}

/// `/version`, health, and which resources there are.
fn discovery(call: &Call) -> Result<Reply, Failure> {
    if call.method != Method::GET {
        return Err(Failure::method_not_allowed());
    }
    let ok = |value: Value| Ok(Reply::json(StatusCode::OK, &value));
    let path: Vec<&str> = call
        .uri
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    match &path[..] {
        ["version"] => ok(json!({
            "major": "1",
            "minor": "33",
            "gitVersion": "v1.33.0+testkit",
            "gitCommit": "",
            "gitTreeState": "",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": "",
            "platform": "",
        })),
        ["healthz" | "livez" | "readyz"] => Ok(Reply::text(
            StatusCode::OK,
            "text/plain; charset=utf-8",
            "ok",
        )),
        ["api"] => ok(json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["api", "v1"] => ok(resources("", "v1")),
        ["apis"] => {
            let groups = ["coordination.k8s.io", "discovery.k8s.io", "events.k8s.io"];
            let groups: Vec<Value> = groups.iter().map(|group| api_group(group)).collect();
            ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", group] if RESOURCES.iter().any(|r| r.group == *group) => ok(api_group(group)),
        ["apis", group, "v1"] if RESOURCES.iter().any(|r| r.group == *group) => {
            ok(resources(group, "v1"))
        }
        _ => no_such_page(),
    }
}

/// What is not of the API is answered without a Status.
fn no_such_page() -> Result<Reply, Failure> {
    let text = "404 page not found\n";
    Ok(Reply::text(
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        text,
    ))
}

fn api_group(group: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": group,
        "versions": [version],
        "preferredVersion": version,
    })
}

fn resources(group: &str, version: &str) -> Value {
    let verbs = [
        "create", "delete", "get", "list", "patch", "update", "watch",
    ];
    let ours = RESOURCES.iter().filter(|r| r.group == group);
    let list: Vec<Value> = ours
        .clone()
        .map(|resource| {
            let short = Some(resource.short).filter(|short| !short.is_empty());
            json!({
                "name": resource.plural,
                "singularName": resource.singular,
                "shortNames": short.into_iter().collect::<Vec<_>>(),
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": verbs,
            })
        })
        .collect();
    let of = ours.clone().next().map(Resource::api_version);
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": of.unwrap_or_else(|| version.into()),
        "resources": list,
    })
}

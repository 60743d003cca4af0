//! The Role among the manifests permits what the agents do through a whole life, and nothing else.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{
    kube::{Access, Request},
    until,
};
use serde_json::Value;

use crate::scene::{PATIENCE, Scene, Setting, play};

/// One permission: a verb on a resource of a group, by name if the rule has names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    verb: String,
    group: String,
    resource: String,
    name: Option<String>,
}

impl Permission {
    /// Whether this request needed it, and was granted.
    fn was_used(&self, request: &Request) -> bool {
        let done = request.status.is_some_and(|code| code < 300);
        let here = self.verb == request.verb
            && self.group == request.group
            && self.resource == request.resource
            && request.subresource.is_empty();
        done && here && self.name.as_ref().is_none_or(|name| *name == request.name)
    }
}

/// Those of the Role, and the access that they make.
fn role() -> Result<(BTreeSet<Permission>, Access)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/base");
    let text = fs::read_to_string(folder.join("access.yaml"))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    let role = documents.iter().find(|document| document["kind"] == "Role");
    let rules = role.context("no Role")?["rules"].as_array();
    let mut permissions = BTreeSet::new();
    let mut access = Access::none();
    for rule in rules.context("no rules")? {
        let (names, verbs) = (texts(&rule["resourceNames"]), texts(&rule["verbs"]));
        for (group, resource) in product(&texts(&rule["apiGroups"]), &texts(&rule["resources"])) {
            let words: Vec<_> = verbs.iter().map(String::as_str).collect();
            access = access.allow(&words, &group, &resource);
            if !names.is_empty() {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                access = access.named(&names);
            }
            let named = names.iter().cloned().map(Some);
            let named: Vec<_> = match names[..] {
                [] => vec![None],
                _ => named.collect(),
            };
            for (verb, name) in product(&verbs, &named) {
                permissions.insert(Permission {
                    verb,
                    group: group.clone(),
                    resource: resource.clone(),
                    name,
                });
            }
        }
    }
    Ok((permissions, access.within("default")))
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn product<A: Clone, B: Clone>(a: &[A], b: &[B]) -> Vec<(A, B)> {
    let pairs = a
        .iter()
        .flat_map(|a| b.iter().map(|b| (a.clone(), b.clone())));
    pairs.collect()
}

/// Hands over from one to another.
fn switch_over(scene: &Scene) -> Result<()> {
    until(PATIENCE, "a hand-over", || {
        let leader = scene.announced().context("nobody is announced")?;
        let (code, body) = scene.pods[leader].ask("POST", "/switchover")?;
        ensure!(code == 200, "{code} {body}");
        Ok(())
    })?;
    scene.settled().map(drop)
}

#[test]
fn the_role_permits_what_is_done_and_nothing_else() -> Result<()> {
    let (permissions, access) = role()?;
    ensure!(!permissions.is_empty());
    let setting = Setting {
        access: Some(access),
        ..Setting::default()
    };
    play(&setting, |scene| {
        let leader = scene.settled()?;
        scene.set("kept", "1")?;
        ensure!(scene.api.remove("leases", "default", "redis")?);
        until(PATIENCE, "the Lease is made anew", || {
            scene
                .api
                .object("leases", "default", "redis")?
                .context("it is gone")
        })?;
        // Some other may lead for it.
        scene.settled()?;
        scene.pods[leader].redis.kill()?;
        scene.settled_without(&[leader])?;
        scene.pods[leader].restart(bellwether_testkit::Data::Keep)?;
        scene.settled()?;
        // The same again within minutes is told as a series.
        let unused = |scene: &Scene| {
            let requests = scene.api.requests();
            let used = |permission: &&Permission| requests.iter().any(|r| permission.was_used(r));
            let unused = permissions.iter().filter(|permission| !used(permission));
            unused.cloned().collect::<Vec<_>>()
        };
        for _ in 0..6 {
            if unused(scene).is_empty() {
                break;
            }
            switch_over(scene)?;
        }
        until(PATIENCE, "each permission is used", || {
            let unused = unused(scene);
            ensure!(unused.is_empty(), "nobody needs {unused:#?}");
            Ok(())
        })?;
        let requests = scene.api.requests();
        let refused = requests.iter().find(|request| request.status == Some(403));
        ensure!(refused.is_none(), "it takes more: {refused:#?}");
        ensure!(
            scene.pods[scene.settled()?]
                .redis
                .command(&["GET", "kept"])?
                == "1"
        );
        Ok(())
    })
}

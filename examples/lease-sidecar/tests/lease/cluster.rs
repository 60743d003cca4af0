//! What the cluster and its people do to the group.

use anyhow::{Result, ensure};
use bellwether_testkit::{Writer, kube::Access, mounts_or_skip, until};
use serde_json::json;

use crate::scene::{PATIENCE, POD_LABEL, Scene, Setting, play};

#[test]
fn a_service_that_was_edited_is_put_right() -> Result<()> {
    play(&Setting::default(), |scene| {
        let leader = scene.settled()?;
        let writer = scene.writer("numbers");
        scene
            .api
            .update("services", "default", "redis-leader", |service| {
                service["spec"]["selector"] = json!({ "app": "redis" });
            })?;
        until(PATIENCE, "the Service names the leader again", || {
            scene.announced() == Some(leader)
        })?;
        let service = scene.api.object("services", "default", "redis-leader")?;
        let selector = service.unwrap_or_default()["spec"]["selector"].clone();
        ensure!(
            selector == json!({ POD_LABEL: scene.pods[leader].name }),
            "{selector}"
        );
        // Somebody points it at another pod, whose port forwards nothing; or takes it away.
        let other = scene.pods[(leader + 1) % 3].name.clone();
        for wrong in [json!({ POD_LABEL: other }), json!(null)] {
            scene
                .api
                .update("services", "default", "redis-leader", |service| {
                    service["spec"]["selector"] = wrong.clone();
                })?;
            until(PATIENCE, "the Service names the leader again", || {
                scene.announced() == Some(leader)
            })?;
        }
        ensure!(scene.settled()? == leader, "the leader stays");
        nothing_lost(scene, leader, writer)
    })
}

/// All that a client was told is written is there, once it has written some more.
fn nothing_lost(scene: &Scene, leader: usize, writer: Writer) -> Result<()> {
    let redis = &scene.pods[leader].redis;
    let length = || anyhow::Ok(redis.command(&["LLEN", "numbers"])?.parse::<u64>()?);
    let already = length()?;
    until(PATIENCE, "more writes", || {
        length().is_ok_and(|now| now > already)
    })?;
    let record = writer.finish();
    let kept = record.compare(&mut redis.connect()?)?;
    ensure!(kept.missing.is_empty(), "missing: {:?}", kept.missing);
    Ok(())
}

#[test]
fn pods_are_labelled_by_their_role() -> Result<()> {
    let setting = Setting {
        flags: ["--role-label", "role", "--role-pods", "app=redis"]
            .map(Into::into)
            .into(),
        ..Setting::default()
    };
    let role = |scene: &Scene, index: usize| {
        let pod = scene.api.object("pods", "default", &scene.pods[index].name);
        let pod = pod.ok().flatten().unwrap_or_default();
        pod["metadata"]["labels"]["role"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let labelled = |scene: &Scene, leader: usize| {
        until(PATIENCE, "all pods are labelled", || {
            (0..3).all(|index| {
                role(scene, index)
                    == if index == leader {
                        "primary"
                    } else {
                        "replica"
                    }
            })
        })
    };
    play(&setting, |scene| {
        let leader = scene.settled()?;
        let writer = scene.writer("numbers");
        labelled(scene, leader)?;
        for name in [&scene.pods[leader].name, &scene.pods[(leader + 1) % 3].name] {
            scene.api.update("pods", "default", name, |pod| {
                pod["metadata"]["labels"] = json!({ "app": "redis", POD_LABEL: name });
            })?;
        }
        labelled(scene, leader)?;
        nothing_lost(scene, leader, writer)?;
        scene.pods[leader].agent.terminate()?;
        let next = scene.settled_without(&[leader])?;
        labelled(scene, next)
    })
}

#[test]
fn who_loses_its_permission_is_replaced() -> Result<()> {
    play(&Setting::default(), |scene| {
        let old = scene.settled()?;
        let () = scene.set("kept", "1")?;
        scene.api.permit(
            &scene.pods[old].user,
            Access::all().deny(&["patch"], "coordination.k8s.io", "leases"),
        );
        let next = until(PATIENCE, "another leads", || {
            scene.announced().filter(|next| *next != old)
        })?;
        ensure!(scene.settled()? == next, "it stays");
        ensure!(
            scene.pods[next].redis.command(&["GET", "kept"])? == "1",
            "data is kept"
        );
        let (_, status) = scene.pods[old].get("/status")?;
        ensure!(status.contains("not permitted to patch"), "{status}");
        scene.api.permit(&scene.pods[old].user, Access::all());
        Ok(())
    })
}

/// Of what a running group may be forbidden, all that is not the Lease's stops no writes.
#[test]
fn a_permission_that_is_lost_is_shown_and_costs_no_data() -> Result<()> {
    let setting = Setting {
        flags: ["--role-label", "role", "--role-pods", "app=redis"]
            .map(Into::into)
            .into(),
        ..Setting::default()
    };
    play(&setting, |scene| {
        let leader = scene.settled()?;
        let writer = scene.writer("numbers");
        for (group, resource, part) in [
            ("discovery.k8s.io", "endpointslices", "/discovery/problem"),
            ("", "services", "/service/problem"),
            ("", "pods", "/service/problem"),
        ] {
            let problem = || -> Result<String> {
                let (_, status) = scene.pods[leader].get("/status")?;
                let status: serde_json::Value = serde_json::from_str(&status)?;
                let problem = status.pointer(part).cloned().unwrap_or_default();
                Ok(problem.as_str().unwrap_or_default().to_owned())
            };
            for pod in &scene.pods {
                let access = Access::all().deny(&["*"], group, resource);
                scene.api.permit(&pod.user, access);
                // What was permitted before goes on until the next request.
                pod.link.break_off()?;
            }
            if resource != "endpointslices" {
                // So that there is something to be done.
                let name = match resource {
                    "pods" => &scene.pods[leader].name,
                    _ => "redis-leader",
                };
                scene.api.update(resource, "default", name, |object| {
                    object["metadata"]["labels"]["role"] = json!("lost");
                    object["spec"]["selector"] = json!({ "app": "lost" });
                })?;
            }
            until(PATIENCE, "it is shown", || {
                let problem = problem()?;
                ensure!(problem.contains(resource), "{resource}: {problem:?}");
                anyhow::Ok(())
            })?;
            for pod in &scene.pods {
                scene.api.permit(&pod.user, Access::all());
            }
            until(PATIENCE, "it is healed", || {
                let problem = problem()?;
                ensure!(problem.is_empty(), "{resource}: {problem}");
                anyhow::Ok(())
            })?;
        }
        let leader = scene.settled()?;
        nothing_lost(scene, leader, writer)
    })
}

#[test]
fn agents_find_the_api_by_their_service_account() -> Result<()> {
    if !mounts_or_skip("agents_find_the_api_by_their_service_account") {
        return Ok(());
    }
    let setting = Setting {
        service_account: true,
        ..Setting::default()
    };
    play(&setting, |scene| {
        let leader = scene.settled()?;
        let () = scene.set("kept", "1")?;
        scene.pods[leader].agent.terminate()?;
        let next = scene.settled_without(&[leader])?;
        let kept = scene.pods[next].redis.command(&["GET", "kept"])?;
        ensure!(kept == "1", "{kept}");
        for pod in &scene.pods {
            let requests = scene.api.requests();
            let mine = |user: &String| *user == pod.user.name;
            ensure!(
                requests
                    .iter()
                    .any(|request| request.user.as_ref().is_some_and(mine)),
                "{} asked by its own account",
                pod.name
            );
        }
        Ok(())
    })
}

#[test]
fn an_agent_ends_at_once_while_the_api_is_silent() -> Result<()> {
    play(&Setting::default(), |scene| {
        let leader = scene.settled()?;
        let other = (leader + 1) % 3;
        scene.pods[other].agent.kill()?;
        scene.pods[other].link.silence()?;
        let before = scene.pods[other].log().len();
        scene.pods[other].restart_agent()?;
        let said = |scene: &Scene| scene.pods[other].log()[before..].to_owned();
        until(PATIENCE, "it has begun", || {
            said(scene).contains("the others reach this member here")
        })?;
        scene.pods[other].agent.terminate()?;
        let status = scene.pods[other].agent.wait(PATIENCE)?;
        ensure!(status.success(), "{status}");
        // It takes two seconds for each of two Services to be given up.
        let said = said(scene);
        ensure!(
            !said.contains("--leader-service cannot be checked"),
            "{said}"
        );
        Ok(())
    })
}

#[test]
fn a_service_that_does_not_exist_ends_an_agent_with_one_line() -> Result<()> {
    play(&Setting::default(), |scene| {
        let leader = scene.settled()?;
        let () = scene.set("kept", "1")?;
        let other = (leader + 1) % 3;
        scene.pods[other].agent.kill()?;
        scene.api.remove("services", "default", "redis-leader")?;
        let before = scene.pods[other].log().len();
        scene.pods[other].restart_agent()?;
        let status = scene.pods[other].agent.wait(PATIENCE)?;
        let log = scene.pods[other].log();
        let last = log[before..].lines().last().unwrap_or_default();
        ensure!(status.code() == Some(2), "{status}: {last}");
        let complaint = "--leader-service: there is no Service \"redis-leader\" in namespace";
        ensure!(last.contains(complaint), "{last}");
        // Those who run go on.
        let kept = scene.pods[leader].redis.command(&["GET", "kept"])?;
        ensure!(kept == "1" && scene.pods[leader].role()?.is_primary());
        Ok(())
    })
}

#[test]
fn a_pod_with_a_new_address_stays_a_member() -> Result<()> {
    let setting = Setting {
        persistent: true,
        ..Setting::default()
    };
    play(&setting.clone(), |scene| {
        let leader = scene.settled()?;
        let () = scene.set("kept", "1")?;
        let moved = (leader + 1) % 3;
        scene.reschedule(&setting, moved)?;
        scene.tell_members()?;
        ensure!(scene.settled()? == leader, "the leader stays");
        // The leader itself.
        scene.reschedule(&setting, leader)?;
        scene.tell_members()?;
        let next = scene.settled()?;
        ensure!(
            scene.pods[next].redis.command(&["GET", "kept"])? == "1",
            "data is kept"
        );
        // All at once.
        for index in 0..3 {
            scene.reschedule(&setting, index)?;
        }
        scene.tell_members()?;
        let next = scene.settled()?;
        ensure!(
            scene.pods[next].redis.command(&["GET", "kept"])? == "1",
            "data is kept"
        );
        Ok(())
    })
}

//! What the cluster and its people do to the group.

use anyhow::{Result, ensure};
use bellwether_testkit::{kube::Access, until};
use serde_json::json;

use crate::scene::{PATIENCE, POD_LABEL, Scene, Setting, play};

#[test]
fn a_service_that_was_edited_is_put_right() -> Result<()> {
    play(&Setting::default(), |scene| {
        let leader = scene.settled()?;
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
        Ok(())
    })
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
        labelled(scene, leader)?;
        for name in [&scene.pods[leader].name, &scene.pods[(leader + 1) % 3].name] {
            scene.api.update("pods", "default", name, |pod| {
                pod["metadata"]["labels"] = json!({ "app": "redis", POD_LABEL: name });
            })?;
        }
        labelled(scene, leader)?;
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

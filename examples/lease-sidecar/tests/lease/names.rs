//! Members that are reached by their names in DNS, as by default.

use std::{net::Ipv4Addr, thread, time::Duration};

use anyhow::{Result, ensure};
use bellwether_testkit::{mounts_or_skip, until};

use crate::scene::{PATIENCE, Scene, Setting, in_dns, play};

fn by_names() -> Setting {
    Setting {
        names: true,
        persistent: true,
        ..Setting::default()
    }
}

/// Plays a scene by names, if programs can be given a name server here.
fn play_by_names(name: &str, scene: impl FnOnce(&mut Scene, &Setting) -> Result<()>) -> Result<()> {
    if !mounts_or_skip(name) {
        return Ok(());
    }
    let setting = by_names();
    play(&setting, |stage| scene(stage, &setting))
}

/// One leads, all follow it by its name, and all have this.
fn all_have(scene: &Scene, key: &str, value: &str) -> Result<usize> {
    let leader = scene.settled()?;
    for pod in &scene.pods {
        until(PATIENCE, "it has what was written", || {
            let found = pod.redis.command(&["GET", key])?;
            ensure!(found == value, "{} has {found}", pod.name);
            Ok(())
        })?;
    }
    Ok(leader)
}

#[test]
fn members_follow_and_fail_over_by_name() -> Result<()> {
    play_by_names("members_follow_and_fail_over_by_name", |scene, _| {
        let first = scene.settled()?;
        let () = scene.set("kept", "1")?;
        scene.pods[first].redis.kill()?;
        let second = scene.settled_without(&[first])?;
        scene.pods[second].agent.terminate()?;
        let third = scene.settled_without(&[first, second])?;
        ensure!(third != second, "it handed over");
        let kept = scene.pods[third].redis.command(&["GET", "kept"])?;
        ensure!(kept == "1", "{kept}");
        Ok(())
    })
}

#[test]
fn a_name_leads_to_a_pods_new_address() -> Result<()> {
    play_by_names("a_name_leads_to_a_pods_new_address", |scene, setting| {
        let leader = scene.settled()?;
        let () = scene.set("kept", "1")?;
        scene.reschedule(setting, (leader + 1) % 3)?;
        scene.tell_members()?;
        ensure!(all_have(scene, "kept", "1")? == leader, "the leader stays");
        scene.reschedule(setting, leader)?;
        scene.tell_members()?;
        all_have(scene, "kept", "1")?;
        let () = scene.set("kept", "2")?;
        // All at once.
        for index in 0..3 {
            scene.reschedule(setting, index)?;
        }
        scene.tell_members()?;
        all_have(scene, "kept", "2").map(drop)
    })
}

/// Each pod gets the address of another one, and DNS goes on telling where they were: a name leads to
/// another member, or to oneself.
#[test]
fn names_that_lead_to_other_members_harm_nobody() -> Result<()> {
    play_by_names(
        "names_that_lead_to_other_members_harm_nobody",
        |scene, setting| {
            scene.settled()?;
            for round in ["1", "2"] {
                let () = scene.set("kept", round)?;
                let moves: Vec<_> = (0..3)
                    .map(|index| (index, Ipv4Addr::from(scene.pods[(index + 1) % 3].octets())))
                    .collect();
                scene.reschedule_at(setting, &moves)?;
                scene.tell_endpoints()?;
                // As long as caches may tell the old ones.
                thread::sleep(Duration::from_secs(12));
                scene.tell_names()?;
                all_have(scene, "kept", round)?;
            }
            Ok(())
        },
    )
}

/// Whoever takes over meanwhile may be the one whom the others do not find: they follow it once they
/// do.
#[test]
fn a_name_that_does_not_resolve_for_a_while_costs_no_data() -> Result<()> {
    let name = "a_name_that_does_not_resolve_for_a_while_costs_no_data";
    play_by_names(name, |scene, setting| {
        let leader = scene.settled()?;
        let () = scene.set("kept", "1")?;
        let lost = (leader + 1) % 3;
        scene_dns(scene).remove(&in_dns(&scene.pods[lost].name))?;
        scene.reschedule(setting, lost)?;
        scene.tell_endpoints()?;
        // It finds the others, and is waited for by the write.
        let () = scene.set("kept", "2")?;
        scene.pods[leader].redis.kill()?;
        let next = until(PATIENCE, "another leads", || {
            scene.announced().filter(|next| *next != leader)
        })?;
        scene.tell_names()?;
        ensure!(scene.settled_without(&[leader])? == next, "it stays");
        for index in (0..3).filter(|index| *index != leader) {
            let kept = scene.pods[index].redis.command(&["GET", "kept"])?;
            ensure!(kept == "2", "{index} has {kept}");
        }
        Ok(())
    })
}

/// Redis resolves names in its main thread.
#[test]
fn a_silent_name_server_costs_no_data() -> Result<()> {
    play_by_names("a_silent_name_server_costs_no_data", |scene, setting| {
        let leader = scene.settled()?;
        let () = scene.set("kept", "1")?;
        scene_dns(scene).silence();
        thread::sleep(Duration::from_secs(3));
        ensure!(scene.settled()? == leader, "nothing happens");
        let () = scene.set("kept", "2")?;
        scene.pods[leader].redis.kill()?;
        let since = std::time::Instant::now();
        let announced = until(Duration::from_secs(30), "another leads", || {
            scene.announced().filter(|next| *next != leader)
        });
        println!(
            "with a silent name server: {announced:?} after {:?}",
            since.elapsed()
        );
        scene_dns(scene).revive();
        let next = scene.settled_without(&[leader])?;
        let kept = scene.pods[next].redis.command(&["GET", "kept"])?;
        ensure!(kept == "2", "{kept}");
        scene.reschedule(setting, leader)?;
        scene.tell_members()?;
        all_have(scene, "kept", "2").map(drop)
    })
}

fn scene_dns(scene: &Scene) -> &bellwether_testkit::DnsServer {
    scene.dns.as_ref().expect("members are reached by names")
}

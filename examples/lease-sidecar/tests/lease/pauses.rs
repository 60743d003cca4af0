//! Automatic failover is paused: nobody takes over by itself, operators go on as before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Boot, Data, kube::Access, until};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene, Setting, play};

/// Two lease durations: without a pause, another would lead after one.
const LONG: Duration = Duration::from_secs(12);

fn status(scene: &Scene, index: usize) -> Result<Value> {
    let (_, status) = scene.pods[index].get("/status")?;
    serde_json::from_str(&status).context(status)
}

fn all_know(scene: &Scene, paused: bool) -> Result<()> {
    until(PATIENCE, "all know of it", || {
        let told = |index| status(scene, index).is_ok_and(|status| status["paused"] == paused);
        (0..scene.pods.len()).all(told)
    })
}

/// Pauses at any member, and waits until all know.
fn pause(scene: &Scene, at: usize) -> Result<()> {
    let (code, words) = scene.pods[at].ask("POST", "/pause")?;
    ensure!(
        (code, words.as_str()) == (200, "paused\n"),
        "{code} {words}"
    );
    all_know(scene, true)
}

fn resume(scene: &Scene, at: usize) -> Result<()> {
    let (code, words) = scene.pods[at].ask("POST", "/resume")?;
    ensure!(
        (code, words.as_str()) == (200, "resumed\n"),
        "{code} {words}"
    );
    Ok(())
}

/// For as long, no other member's server becomes primary, and none is announced.
fn nobody_takes_over_from(scene: &Scene, primary: usize) -> Result<()> {
    let until = Instant::now() + LONG;
    while Instant::now() < until {
        for (index, pod) in scene.pods.iter().enumerate() {
            let other = index != primary && pod.role().is_ok_and(|role| role.is_primary());
            ensure!(!other, "{} is primary although it is paused", pod.name);
        }
        let announced = scene.announced();
        ensure!(announced == Some(primary), "announced: {announced:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn keeps_its_files() -> Setting {
    Setting {
        persistent: true,
        ..Setting::default()
    }
}

#[test]
fn a_killed_server_is_waited_for_while_paused() -> Result<()> {
    play(&keeps_its_files(), |scene| {
        let primary = scene.settled()?;
        let follower = (primary + 1) % 3;
        let () = scene.set("kept", "1")?;
        pause(scene, follower)?;
        // It is shown everywhere, and nothing else has changed.
        let lease = scene.api.object("leases", "default", "redis")?;
        let lease = lease.unwrap_or_default();
        let by = lease["metadata"]["annotations"]["bellwether.dev/paused"].as_str();
        ensure!(
            by.is_some_and(|by| by.ends_with(&scene.pods[follower].name)),
            "{lease}"
        );
        for pod in &scene.pods {
            until(PATIENCE, "it is ready, and says that it is paused", || {
                let ready = pod.get("/readyz")?;
                let words = "ok; automatic failover is paused\n".to_owned();
                ensure!(ready == (200, words), "{ready:?}");
                Ok(())
            })?;
            let (_, figures) = pod.get("/metrics")?;
            ensure!(figures.contains("bellwether_paused 1"), "{figures}");
            ensure!(pod.log().contains("automatic failover is paused"));
        }
        until(PATIENCE, "an Event tells of it", || {
            let events = scene.api.objects("events", "default")?;
            ensure!(events.iter().any(|event| event["reason"] == "Paused"));
            Ok(())
        })?;
        let () = scene.set("while", "paused")?;
        scene.pods[primary].redis.kill()?;
        nobody_takes_over_from(scene, primary)?;
        let (code, words) = scene.pods[follower].get("/readyz")?;
        ensure!(
            code == 503 && words.contains("automatic failover is paused"),
            "{code} {words}"
        );
        // It comes back with its files, and is primary again.
        scene.pods[primary]
            .redis
            .restart(Data::Keep, Boot::ReplicaOfNowhere)?;
        ensure!(scene.settled()? == primary, "another leads");
        for (key, value) in [("kept", "1"), ("while", "paused")] {
            let kept = scene.pods[primary].redis.command(&["GET", key])?;
            ensure!(kept == value, "{key} is {kept}");
        }
        resume(scene, primary)?;
        all_know(scene, false)?;
        ensure!(scene.settled()? == primary, "that it ends moves nothing");
        Ok(())
    })
}

#[test]
fn a_resume_fails_over_at_once() -> Result<()> {
    play(&Setting::default(), |scene| {
        let primary = scene.settled()?;
        let () = scene.set("kept", "1")?;
        pause(scene, primary)?;
        // Who pauses again is told that it is so.
        pause(scene, primary)?;
        scene.pods[primary].redis.kill()?;
        nobody_takes_over_from(scene, primary)?;
        // A server that comes back with nothing does not lead while others have the data, nor do they.
        scene.pods[primary]
            .redis
            .restart(Data::Empty, Boot::ReplicaOfNowhere)?;
        until(PATIENCE, "it says why it does not lead", || {
            scene.pods[primary].get("/status").is_ok_and(|(_, status)| {
                status.contains("so nobody else leads until it is resumed")
            })
        })?;
        let (code, words) = scene.pods[primary].ask("POST", "/switchover")?;
        ensure!(code == 409 && words.contains("resume"), "{code} {words}");
        nobody_takes_over_from(scene, primary)?;
        let since = Instant::now();
        resume(scene, (primary + 1) % 3)?;
        let next = scene.settled()?;
        println!("settled {:?} after it was resumed", since.elapsed());
        ensure!(next != primary, "who is empty leads");
        let kept = scene.pods[next].redis.command(&["GET", "kept"])?;
        ensure!(kept == "1", "{kept}");
        Ok(())
    })
}

#[test]
fn a_killed_agent_is_waited_for_and_operators_may_switch_over() -> Result<()> {
    play(&Setting::default(), |scene| {
        let first = scene.settled()?;
        let () = scene.set("kept", "1")?;
        pause(scene, first)?;
        let run_id = scene.pods[first].redis.info("server")?["run_id"].clone();
        scene.pods[first].agent.kill()?;
        nobody_takes_over_from(scene, first)?;
        scene.pods[first].restart_agent()?;
        ensure!(scene.settled()? == first, "another leads");
        ensure!(scene.pods[first].redis.info("server")?["run_id"] == run_id);
        // What is asked for is done.
        let second = (first + 1) % 3;
        let path = format!("/switchover?to={}", scene.pods[second].name);
        let switched = until(PATIENCE, "it switches over", || {
            let (code, words) = scene.pods[first].ask("POST", &path)?;
            ensure!(code == 200, "{code} {words}");
            Ok(words)
        })?;
        ensure!(switched.contains(&scene.pods[second].name), "{switched}");
        ensure!(scene.settled()? == second, "it leads");
        // An orderly end is asked for, too.
        scene.pods[second].agent.terminate()?;
        let third = scene.settled_without(&[second])?;
        ensure!(third != second, "somebody leads");
        let kept = scene.pods[third].redis.command(&["GET", "kept"])?;
        ensure!(kept == "1", "{kept}");
        ensure!(status(scene, third)?["paused"] == true, "it goes on");
        Ok(())
    })
}

#[test]
fn a_pause_by_hand_holds_for_a_pod_that_dies() -> Result<()> {
    play(&Setting::default(), |scene| {
        let primary = scene.settled()?;
        let () = scene.set("kept", "1")?;
        let annotate = |scene: &Scene, text: Value| {
            scene.api.update("leases", "default", "redis", |lease| {
                lease["metadata"]["annotations"]["bellwether.dev/paused"] = text.clone();
            })
        };
        annotate(scene, json!("true"))?;
        all_know(scene, true)?;
        scene.pods[primary].agent.kill()?;
        scene.pods[primary].redis.kill()?;
        nobody_takes_over_from(scene, primary)?;
        annotate(scene, json!("false"))?;
        let next = scene.settled_without(&[primary])?;
        ensure!(next != primary, "another leads");
        let kept = scene.pods[next].redis.command(&["GET", "kept"])?;
        ensure!(kept == "1", "{kept}");
        Ok(())
    })
}

#[test]
fn who_may_not_pause_is_told_why() -> Result<()> {
    let mut token = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut token, b"open-sesame\n")?;
    let setting = Setting {
        flags: vec![
            "--admin-token-file".into(),
            token.path().display().to_string(),
        ],
        ..Setting::default()
    };
    play(&setting, |scene| {
        let leader = scene.settled()?;
        let pod = &scene.pods[leader];
        for path in ["/pause", "/resume"] {
            let (code, words) = pod.ask("POST", path)?;
            ensure!(code == 401, "{code} {words}");
            let (code, words) = pod.ask_with("Authorization: Bearer guess\r\n", "POST", path)?;
            ensure!(code == 401, "{code} {words}");
        }
        let bearing = |path: &str| {
            let pod = &scene.pods[leader];
            pod.ask_with("Authorization: Bearer open-sesame\r\n", "POST", path)
        };
        let one_line = |refused: (u16, String), why: &str| {
            let (code, words) = refused;
            let is_one = words.lines().count() == 1 && words.contains(why);
            ensure!(code == 409 && is_one, "{code} {words}");
            anyhow::Ok(())
        };
        let patches = |may: bool| {
            let all = Access::all();
            let access = match may {
                true => all,
                false => all.deny(&["patch"], "coordination.k8s.io", "leases"),
            };
            scene.api.permit(&scene.pods[leader].user, access);
        };
        patches(false);
        one_line(bearing("/pause")?, "not permitted to patch Lease")?;
        patches(true);
        ensure!(bearing("/pause")?.0 == 200);
        scene.pods[leader].link.refuse()?;
        one_line(bearing("/resume")?, "failed")?;
        scene.pods[leader].link.heal()?;
        until(PATIENCE, "the API is back", || {
            let (code, words) = bearing("/resume")?;
            ensure!(code == 200, "{code} {words}");
            Ok(())
        })?;
        all_know(scene, false)
    })
}

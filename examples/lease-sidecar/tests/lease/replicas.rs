//! A group whose primary demands a replica.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bellwether_testkit::until;

use crate::scene::{PATIENCE, Setting, play};

fn demanding() -> Setting {
    Setting {
        flags: ["--min-replicas-to-write", "1", "--members", "3"]
            .map(String::from)
            .into(),
        ..Setting::default()
    }
}

#[test]
fn a_group_that_demands_replicas_hands_over_without_loss_and_fails_over() -> Result<()> {
    play(&demanding(), |scene| {
        let first = scene.settled()?;
        let demand = ["CONFIG", "GET", "min-replicas-to-write"];
        let writer = scene.writer("numbers");
        thread::sleep(Duration::from_millis(500));
        let since = Instant::now();
        scene.pods[first].agent.terminate()?;
        let second = scene.settled_without(&[first])?;
        scene.pods[first].agent.wait(PATIENCE)?;
        scene.set("after the hand-over", "v")?;
        thread::sleep(Duration::from_millis(300));
        let record = writer.finish();
        let (gap, _) = record.gap(since).expect("something was acknowledged");
        let kept = record.compare(&mut scene.pods[second].redis.connect()?)?;
        ensure!(kept.missing.is_empty(), "missing: {:?}", kept.missing);
        println!("gap {gap:?} of the hand-over");
        let said = scene.pods[second].redis.command(&demand)?;
        ensure!(said.ends_with('1'), "{said}");

        scene.pods[first].restart_agent()?;
        ensure!(scene.settled()? == second, "the primary stays");
        let writer = scene.writer("more");
        thread::sleep(Duration::from_millis(500));
        let since = Instant::now();
        scene.pods[second].redis.kill()?;
        let third = scene.settled_without(&[second])?;
        scene.set("after the failover", "v")?;
        let (gap, _) = writer.finish().gap(since).expect("some were");
        println!("gap {gap:?} of the failover");
        let said = scene.pods[third].redis.command(&demand)?;
        ensure!(said.ends_with('1'), "{said}");
        Ok(())
    })
}

/// The agent dies, and nobody but the clients of the server itself can reach it.
#[test]
fn an_abandoned_primary_is_written_to_only_while_it_has_a_replica() -> Result<()> {
    play(&demanding(), |scene| {
        let old = scene.settled()?;
        scene.set("before", "v")?;
        let [second, third] = [(old + 1) % 3, (old + 2) % 3];
        for pod in &mut scene.pods {
            pod.agent.kill()?;
        }
        let write = ["SET", "direct", "v"];
        scene.pods[old].redis.command(&write)?;
        // As the next leader and the third agent would.
        let (host, port) = (
            scene.pods[second].ip.to_string(),
            scene.pods[second].redis.port(),
        );
        scene.pods[second]
            .redis
            .command(&["REPLICAOF", "NO", "ONE"])?;
        let follow = ["REPLICAOF", &host, &port.to_string()];
        scene.pods[third].redis.command(&follow)?;
        let since = Instant::now();
        until(PATIENCE, "it refuses writes", || {
            let reply = scene.pods[old].redis.command(&write);
            let error = reply.err().context("it takes them")?;
            ensure!(format!("{error:#}").contains("NOREPLICAS"), error);
            Ok(())
        })?;
        println!("refused after {:?}", since.elapsed());
        ensure!(scene.pods[old].role()?.is_primary(), "nobody fenced it");
        for pod in &mut scene.pods {
            pod.restart_agent()?;
        }
        scene.settled()?;
        scene.set("after", "v")
    })
}

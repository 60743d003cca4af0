//! Whose data counts.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use bellwether_testkit::{Boot, Data, until};

use crate::scene::{PATIENCE, Setting, play};

#[test]
fn an_empty_server_does_not_lead_while_there_is_data() -> Result<()> {
    play(&Setting::default(), |scene| {
        let old = scene.settled()?;
        let () = scene.set("kept", "1")?;
        // Only the agent of the empty one runs: it has the Lease for itself. Another server still
        // has the data, as a replica.
        let (empty, other) = ((old + 1) % 3, (old + 2) % 3);
        scene.pods[other].agent.kill()?;
        scene.pods[old].agent.kill()?;
        scene.pods[old].redis.kill()?;
        scene.pods[empty].agent.kill()?;
        scene.pods[empty]
            .redis
            .restart(Data::Empty, Boot::ReplicaOfNowhere)?;
        scene.pods[empty].restart_agent()?;
        thread::sleep(Duration::from_secs(9));
        ensure!(
            !scene.pods[empty].role()?.is_primary(),
            "it leads with nothing"
        );
        scene.pods[other].restart_agent()?;
        ensure!(
            scene.settled_without(&[old])? == other,
            "who has data leads"
        );
        until(PATIENCE, "the empty one has it, too", || {
            scene.pods[empty]
                .redis
                .command(&["GET", "kept"])
                .is_ok_and(|value| value == "1")
        })
    })
}

/// Everything ends and starts anew, whoever was left behind first: the newest leads, or nobody.
fn a_stale_server_first(setting: &Setting) -> Result<()> {
    play(setting, |scene| {
        for round in 0..3 {
            let first = scene.settled()?;
            let () = scene.set("round", &format!("{round} all"))?;
            // One is left behind, and then another leads in a later term.
            let stale = (first + 1) % 3;
            scene.pods[stale].agent.kill()?;
            scene.pods[stale].redis.kill()?;
            scene.pods[first].agent.terminate()?;
            let newest = scene.settled_without(&[first, stale])?;
            let () = scene.set("round", &format!("{round} newest"))?;
            until(PATIENCE, "it is on disk", || {
                scene.pods[newest].redis.command(&["GET", "round"]).is_ok()
            })?;
            for index in 0..3 {
                scene.pods[index].agent.kill()?;
                // An orderly end, as of a node that is shut down, so that an RDB is written, too.
                if index != stale {
                    let _ = scene.pods[index].redis.command(&["SHUTDOWN", "SAVE"]);
                    scene.pods[index].redis.kill()?;
                }
            }
            scene.pods[stale].restart(Data::Keep)?;
            thread::sleep(Duration::from_secs(3));
            ensure!(
                !scene.pods[stale].role()?.is_primary(),
                "the stale one leads"
            );
            for index in [first, newest] {
                scene.pods[index].restart(Data::Keep)?;
            }
            let next = scene.settled()?;
            let round_now = scene.pods[next].redis.command(&["GET", "round"])?;
            ensure!(round_now == format!("{round} newest"), "{round_now}");
        }
        Ok(())
    })
}

#[test]
fn a_stale_server_first_with_append_only_files() -> Result<()> {
    a_stale_server_first(&Setting {
        persistent: true,
        ..Setting::default()
    })
}

#[test]
fn a_stale_server_first_with_snapshots() -> Result<()> {
    a_stale_server_first(&Setting::default())
}

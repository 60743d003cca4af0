//! A replica whose dataset is not whole is not ready.

use anyhow::{Result, ensure};
use bellwether_testkit::{Boot, Data, until};

use crate::scene::{PATIENCE, Scene, Setting, play};

/// Waits until a pod is not ready, for a reason with these words.
fn is_not_ready(scene: &Scene, index: usize, words: &str) -> Result<()> {
    until(PATIENCE, words, || {
        let (code, reason) = scene.pods[index].get("/readyz")?;
        ensure!(code == 503 && reason.contains(words), "{code} {reason}");
        ensure!(reason.trim().lines().count() == 1, "{reason}");
        let (code, reason) = scene.pods[index].get("/replica")?;
        ensure!(code == 503, "{code} {reason}");
        Ok(())
    })
}

fn is_ready(scene: &Scene, index: usize) -> Result<()> {
    until(PATIENCE, "it is ready", || {
        let (code, reason) = scene.pods[index].get("/readyz")?;
        ensure!(code == 200, "{code} {reason}");
        Ok(())
    })
}

/// Tells a pod's server.
fn configure(scene: &Scene, index: usize, name: &str, value: &str) -> Result<()> {
    let answer = scene.pods[index]
        .redis
        .command(&["CONFIG", "SET", name, value])?;
    ensure!(answer == "OK", "{name} {value}: {answer}");
    Ok(())
}

/// Something that takes a while to be copied or loaded.
fn fill(scene: &Scene, primary: usize) -> Result<()> {
    let value = "0123456789".repeat(400);
    for number in 0..100 {
        let set = ["SET", &format!("key-{number}"), &value];
        ensure!(scene.pods[primary].redis.command(&set)? == "OK");
    }
    scene.set("last", "key")
}

#[test]
fn a_replica_that_syncs_is_not_ready() -> Result<()> {
    play(&Setting::default(), |scene| {
        let primary = scene.settled()?;
        fill(scene, primary)?;
        let replica = (primary + 1) % 3;
        is_ready(scene, replica)?;
        // Microseconds for each key that is copied.
        configure(scene, primary, "rdb-key-save-delay", "50000")?;
        let server = &mut scene.pods[replica].redis;
        server.restart(Data::Empty, Boot::ReplicaOfNowhere)?;
        is_not_ready(scene, replica, "syncing")?;
        is_ready(scene, replica)
    })
}

/// The primary lets it wait for others that might want a copy, too. It is empty meanwhile.
#[test]
fn a_replica_that_waits_for_its_copy_is_not_ready() -> Result<()> {
    play(&Setting::default(), |scene| {
        let primary = scene.settled()?;
        scene.set("one", "key")?;
        let replica = (primary + 1) % 3;
        is_ready(scene, replica)?;
        configure(scene, primary, "repl-diskless-sync", "yes")?;
        configure(scene, primary, "repl-diskless-sync-delay", "3600")?;
        let server = &mut scene.pods[replica].redis;
        server.restart(Data::Empty, Boot::ReplicaOfNowhere)?;
        is_not_ready(scene, replica, "no link")?;
        is_ready(scene, primary)?;
        configure(scene, primary, "repl-diskless-sync-delay", "0")?;
        is_ready(scene, replica)
    })
}

#[test]
fn a_replica_that_loads_is_not_ready() -> Result<()> {
    let setting = Setting {
        persistent: true,
        // Microseconds for each key that is read from disk; and meanwhile it answers often.
        redis: [
            "--key-load-delay",
            "30000",
            "--loading-process-events-interval-bytes",
            "1024",
        ]
        .map(Into::into)
        .into(),
        ..Setting::default()
    };
    play(&setting, |scene| {
        let primary = scene.settled()?;
        fill(scene, primary)?;
        let replica = (primary + 1) % 3;
        is_ready(scene, replica)?;
        // As a snapshot, which is loaded key by key.
        until(PATIENCE, "another snapshot has ended", || {
            scene.pods[replica]
                .redis
                .command(&["BGREWRITEAOF"])
                .map(drop)
        })?;
        until(PATIENCE, "the snapshot", || {
            let info = scene.pods[replica]
                .redis
                .command(&["INFO", "persistence"])?;
            let done = ["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"];
            ensure!(done.iter().all(|line| info.contains(line)), "{info}");
            Ok(())
        })?;
        let server = &mut scene.pods[replica].redis;
        server.restart(Data::Keep, Boot::ReplicaOfNowhere)?;
        is_not_ready(scene, replica, "loading")?;
        is_ready(scene, replica)
    })
}

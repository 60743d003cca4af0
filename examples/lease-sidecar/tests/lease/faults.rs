//! Parts of the group die, hang, and lose the API.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bellwether_testkit::{Record, Redis, Writer, until};

use crate::scene::{PATIENCE, Scene, Setting, play};

/// Lets clients write for a while.
fn warm_up(writer: &Writer) {
    let _ = writer;
    thread::sleep(Duration::from_millis(500));
}

/// What a client saw of a fault at `since`, and that what it lost is what asynchronous replication
/// may lose: the last writes before the fault.
fn judge(record: &Record, primary: &Redis, since: Instant) -> Result<Duration> {
    let (gap, _) = record.gap(since).expect("something was acknowledged");
    let kept = record.compare(&mut primary.connect()?)?;
    ensure!(kept.repeated == 0 && kept.in_order, "{kept:?}");
    ensure!(
        kept.lost_only_the_tail(&record.acknowledged, since + gap),
        "lost {} in the midst",
        kept.missing.len()
    );
    println!(
        "gap {gap:?}, {} of {} missing",
        kept.missing.len(),
        record.acknowledged.len()
    );
    Ok(gap)
}

/// Does something to the primary's pod and waits until the group has settled without it.
fn fault(
    scene: &mut Scene,
    act: impl FnOnce(&mut Scene, usize) -> Result<()>,
    without: bool,
) -> Result<Duration> {
    let primary = scene.settled()?;
    let writer = scene.writer("numbers");
    warm_up(&writer);
    let since = Instant::now();
    act(scene, primary)?;
    let gone: &[usize] = if without { &[primary] } else { &[] };
    let next = scene.settled_without(gone)?;
    ensure!(next != primary || !without, "another leads");
    thread::sleep(Duration::from_millis(300));
    let record = writer.finish();
    judge(&record, &scene.pods[next].redis, since)
}

#[test]
fn a_killed_server_is_replaced_by_its_living_agents_resignation() -> Result<()> {
    play(&Setting::default(), |scene| {
        fault(
            scene,
            |scene, primary| scene.pods[primary].redis.kill(),
            true,
        )?;
        Ok(())
    })
}

#[test]
fn a_terminated_agent_hands_over_without_loss() -> Result<()> {
    play(&Setting::default(), |scene| {
        let primary = scene.settled()?;
        let writer = scene.writer("numbers");
        warm_up(&writer);
        let since = Instant::now();
        scene.pods[primary].agent.terminate()?;
        let next = scene.settled_without(&[primary])?;
        let status = scene.pods[primary].agent.wait(PATIENCE)?;
        ensure!(status.success(), "{status}");
        thread::sleep(Duration::from_millis(300));
        let record = writer.finish();
        judge(&record, &scene.pods[next].redis, since)?;
        let kept = record.compare(&mut scene.pods[next].redis.connect()?)?;
        ensure!(kept.missing.is_empty(), "missing: {:?}", kept.missing);
        Ok(())
    })
}

#[test]
fn a_pod_that_dies_is_replaced_when_its_lease_runs_out() -> Result<()> {
    play(&Setting::default(), |scene| {
        fault(
            scene,
            |scene, primary| {
                scene.pods[primary].agent.kill()?;
                scene.pods[primary].redis.kill()
            },
            true,
        )?;
        Ok(())
    })
}

#[test]
fn a_stopped_server_is_replaced() -> Result<()> {
    play(&Setting::default(), |scene| {
        fault(
            scene,
            |scene, primary| scene.pods[primary].redis.stop(),
            true,
        )?;
        Ok(())
    })
}

#[test]
fn a_killed_agent_beside_a_living_server_ends_its_primary() -> Result<()> {
    play(&Setting::default(), |scene| {
        let mut old = 0;
        fault(
            scene,
            |scene, primary| {
                old = primary;
                scene.pods[primary].agent.kill()
            },
            true,
        )?;
        until(PATIENCE, "the old primary is fenced", || {
            scene.pods[old].role().is_ok_and(|role| !role.is_primary())
        })
    })
}

#[test]
fn a_stopped_agent_forwards_nothing_when_it_goes_on() -> Result<()> {
    play(&Setting::default(), |scene| {
        let old = scene.settled()?;
        let port = std::net::SocketAddr::new(scene.pods[old].ip, scene.leader_port);
        let client = redis::Client::open(format!("redis://{port}"))?;
        let mut client = client.get_connection_with_timeout(PATIENCE)?;
        client.set_read_timeout(Some(PATIENCE))?;
        let () = redis::cmd("SET").arg("before").arg(1).query(&mut client)?;
        scene.pods[old].agent.stop()?;
        // What is read after the end of the lease goes nowhere.
        let sent = thread::spawn(move || {
            redis::cmd("SET")
                .arg("late")
                .arg(1)
                .query::<()>(&mut client)
        });
        let next = until(PATIENCE, "another leads", || {
            scene.announced().filter(|next| *next != old)
        })?;
        until(PATIENCE, "the old server is fenced", || {
            scene.pods[old].role().is_ok_and(|role| !role.is_primary())
        })?;
        scene.pods[old].agent.cont()?;
        let answer = sent.join().expect("the client does not panic");
        ensure!(
            answer.is_err(),
            "a write was acknowledged by a leader that was"
        );
        ensure!(scene.settled()? == next, "the new leader stays");
        for pod in &scene.pods {
            ensure!(
                pod.redis.command(&["EXISTS", "late"])? == "0",
                "{} has it",
                pod.name
            );
            ensure!(
                pod.redis.command(&["EXISTS", "before"])? == "1",
                "{} lost it",
                pod.name
            );
        }
        Ok(())
    })
}

#[test]
fn without_the_api_writes_stop_at_the_deadline_and_come_back() -> Result<()> {
    play(&Setting::default(), |scene| {
        let primary = scene.settled()?;
        let writer = scene.writer("numbers");
        warm_up(&writer);
        for pod in &scene.pods {
            pod.link.refuse()?;
        }
        let since = Instant::now();
        until(PATIENCE, "the primary is fenced", || {
            scene.pods[primary]
                .role()
                .is_ok_and(|role| !role.is_primary())
        })?;
        println!("fenced after {:?}", since.elapsed());
        // Longer than any lease: nobody else leads either.
        thread::sleep(Duration::from_secs(7));
        for pod in &scene.pods {
            ensure!(
                !pod.role()?.is_primary(),
                "{} leads without the API",
                pod.name
            );
            let (status, reason) = pod.get("/readyz")?;
            ensure!(status == 503, "{} is ready: {reason}", pod.name);
        }
        for pod in &scene.pods {
            pod.link.heal()?;
        }
        let healed = Instant::now();
        let next = scene.settled()?;
        println!("settled {:?} after the API was back", healed.elapsed());
        thread::sleep(Duration::from_millis(300));
        let record = writer.finish();
        judge(&record, &scene.pods[next].redis, since)?;
        let kept = record.compare(&mut scene.pods[next].redis.connect()?)?;
        ensure!(kept.missing.is_empty(), "missing: {:?}", kept.missing);
        Ok(())
    })
}

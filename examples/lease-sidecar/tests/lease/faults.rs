//! Parts of the group die, hang, and lose the API.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bellwether_testkit::{InTurn, Record, Redis, Writer, WriterOptions, until};

use crate::scene::{PATIENCE, Scene, Setting, from_environment, play};

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

/// Whoever asks `/primary`, as a balancer does, is not sent to a server that is fenced already.
#[test]
fn during_a_hand_over_only_a_primary_is_called_one() -> Result<()> {
    play(&Setting::default(), |scene| {
        for _ in 0..3 {
            let old = &scene.pods[scene.settled()?];
            ensure!(old.get("/primary")?.0 == 200, "it leads");
            let ended = AtomicBool::new(false);
            let watch = || -> Result<u64> {
                let mut answers = 0;
                while !ended.load(Ordering::Relaxed) {
                    let before = old.redis.role()?.is_primary();
                    let (status, _) = old.get("/primary")?;
                    let after = old.redis.role()?.is_primary();
                    ensure!(
                        before || after || status != 200,
                        "called primary, and fenced"
                    );
                    answers += 1;
                }
                Ok(answers)
            };
            let answers = thread::scope(|scope| {
                let watching = scope.spawn(watch);
                let (status, said) = old.ask("POST", "/switchover")?;
                ended.store(true, Ordering::Relaxed);
                ensure!(status == 200, "{status}: {said}");
                watching.join().expect("the watch does not panic")
            })?;
            ensure!(answers > 0, "it was asked");
        }
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

/// What a client saw that ignores the NetworkPolicy and goes on writing to the server whose agent is
/// gone: from when the new primary has acknowledged its first write, the old one acknowledges none.
fn judge_direct(scene: &Scene, next: usize, direct: &Record, first: Instant) -> Result<()> {
    let acknowledged = &direct.acknowledged;
    let later = acknowledged.iter().filter(|(_, at)| *at > first).count();
    // One may have been answered before, and be seen after.
    ensure!(
        later <= 1,
        "{later} acknowledged by the old primary beside the new one"
    );
    let kept = direct.compare(&mut scene.pods[next].redis.connect()?)?;
    ensure!(kept.repeated == 0 && kept.in_order, "{kept:?}");
    ensure!(
        kept.lost_only_the_tail(acknowledged, first),
        "lost {} in the midst",
        kept.missing.len()
    );
    let last = acknowledged
        .last()
        .map(|(_, at)| first.saturating_duration_since(*at));
    println!(
        "directly: {} acknowledged, {} of them missing, the last {last:?} before the new primary's first",
        acknowledged.len(),
        kept.missing.len()
    );
    Ok(())
}

/// The primary's agent is gone, and its server lives: never two that acknowledge, neither by the
/// leader ports nor by the servers themselves.
fn without_agent(act: impl FnOnce(&mut Scene, usize) -> Result<()>) -> Result<()> {
    // A busy machine may take long to answer, and who does not answer is not waited for.
    let setting = Setting {
        flags: ["--answer-timeout", "2s"].map(Into::into).into(),
        ..Setting::default()
    };
    play(&setting, |scene| {
        let old = scene.settled()?;
        let direct = Writer::start(
            InTurn::new([scene.pods[old].redis.address()]),
            WriterOptions::new("direct"),
        );
        let writer = scene.writer("numbers");
        warm_up(&writer);
        let since = Instant::now();
        act(scene, old)?;
        let next = until(PATIENCE, "another leads", || {
            scene.announced().filter(|next| *next != old)
        })?;
        ensure!(scene.settled_without(&[old])? == next, "it stays");
        until(PATIENCE, "the old primary is fenced", || {
            scene.pods[old].role().is_ok_and(|role| !role.is_primary())
        })?;
        thread::sleep(Duration::from_millis(300));
        let (record, direct) = (writer.finish(), direct.finish());
        judge(&record, &scene.pods[next].redis, since)?;
        let (_, first) = record.gap(since).expect("something was acknowledged");
        judge_direct(scene, next, &direct, first)?;
        // The agent goes on, or a new one begins.
        if scene.pods[old].agent.exit_status()?.is_some() {
            scene.pods[old].restart_agent()?;
        } else {
            scene.pods[old].agent.cont()?;
        }
        ensure!(scene.settled()? == next, "the new leader stays");
        Ok(())
    })
}

#[test]
fn a_killed_agent_beside_a_living_server_ends_its_primary() -> Result<()> {
    without_agent(|scene, old| scene.pods[old].agent.kill())
}

#[test]
fn a_stopped_agent_beside_a_living_server_ends_its_primary() -> Result<()> {
    without_agent(|scene, old| scene.pods[old].agent.stop())
}

/// Another agent is there at once, as of a kubelet, but the API does not tell it who leads.
#[test]
fn a_new_agent_that_learns_nothing_fences_what_the_old_one_led() -> Result<()> {
    play(&Setting::default(), |scene| {
        let old = scene.settled()?;
        let () = scene.set("kept", "1")?;
        let direct = Writer::start(
            InTurn::new([scene.pods[old].redis.address()]),
            WriterOptions::new("direct"),
        );
        warm_up(&direct);
        scene.pods[old].agent.kill()?;
        scene.pods[old].link.silence()?;
        let since = Instant::now();
        scene.pods[old].restart_agent()?;
        until(PATIENCE, "the new agent fences its server", || {
            let said = scene.pods[old].log();
            said.contains("a former agent of this group made it primary")
                && scene.pods[old].role().is_ok_and(|role| !role.is_primary())
        })?;
        println!("fenced after {:?}", since.elapsed());
        let next = scene.settled_without(&[old])?;
        let acknowledged = direct.finish().acknowledged;
        let kept = scene.pods[next].redis.command(&["GET", "kept"])?;
        ensure!(kept == "1" && !acknowledged.is_empty(), "{kept}");
        scene.pods[old].link.heal()?;
        ensure!(scene.settled()? == next, "the new leader stays");
        Ok(())
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

/// For how long the API is away, unless the environment says otherwise; longer than any lease.
const AWAY: u64 = 10;

#[test]
fn without_the_api_writes_stop_at_the_deadline_and_come_back() -> Result<()> {
    let given = from_environment("BELLWETHER_OUTAGE")?;
    let away = Duration::from_secs(given.unwrap_or(AWAY));
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
        // Nobody else leads either.
        while since.elapsed() < away {
            for pod in &scene.pods {
                let leads = pod.role().is_ok_and(|role| role.is_primary());
                ensure!(!leads, "{} leads without the API", pod.name);
            }
            thread::sleep(Duration::from_millis(50));
        }
        for pod in &scene.pods {
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
        let acknowledged = record.acknowledged.iter().map(|(_, at)| *at);
        let last = acknowledged.clone().filter(|at| *at < healed).max();
        let first = acknowledged.filter(|at| *at >= healed).min();
        let last = last.map(|at| at.saturating_duration_since(since));
        let first = first.map(|at| at.saturating_duration_since(healed));
        println!("the last write {last:?} after it went, the first {first:?} after it was back");
        // The deadline, and a second for a busy machine to read an answer.
        ensure!(
            last < Some(Duration::from_secs(5)),
            "writes went on for {last:?}"
        );
        // Speed is judged where it is asked for: by a soak, on a machine that does nothing else.
        ensure!(
            given.is_none() || first < Some(Duration::from_secs(5)),
            "writes were back after {first:?}"
        );
        judge(&record, &scene.pods[next].redis, since)?;
        let kept = record.compare(&mut scene.pods[next].redis.connect()?)?;
        ensure!(kept.missing.is_empty(), "missing: {:?}", kept.missing);
        Ok(())
    })
}

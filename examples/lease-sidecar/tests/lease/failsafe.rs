//! An outage of the API, with `--failsafe`.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bellwether_testkit::{ports, until};
use serde_json::Value;

use crate::scene::{PATIENCE, Scene, Setting, play};

/// A scene that notices its own thread being held up for as long says nothing about interruptions.
const STALL: Duration = Duration::from_millis(500);

/// For how long the API is away: more than three leases. `BELLWETHER_OUTAGE=60` makes it a minute.
fn outage() -> Duration {
    let seconds = std::env::var("BELLWETHER_OUTAGE").ok();
    let seconds = seconds.map_or(20, |text| {
        text.parse()
            .expect("BELLWETHER_OUTAGE is a number of seconds")
    });
    Duration::from_secs(seconds)
}

/// Three pods whose agents ask each other, once the Lease says so.
fn play_with_failsafe(scene: impl FnOnce(&mut Scene) -> Result<()>) -> Result<()> {
    let port = ports::free()?;
    let flags = ["--failsafe", "--peer-listen", &format!("{{ip}}:{port}")];
    let setting = Setting {
        flags: flags.map(str::to_owned).to_vec(),
        ..Setting::default()
    };
    play(&setting, |stage| {
        stage.settled()?;
        until(PATIENCE, "the Lease lists all members", || {
            let listed =
                lease(stage)?["metadata"]["annotations"]["bellwether.dev/failsafe"].clone();
            ensure!(listed == "redis-0,redis-1,redis-2", "{listed}");
            Ok(())
        })?;
        scene(stage)
    })
}

fn lease(scene: &Scene) -> Result<Value> {
    let lease = scene.api.object("leases", "default", "redis")?;
    lease.context("there is no Lease")
}

/// What an agent says of failsafe.
fn failsafe(scene: &Scene, pod: usize) -> Result<Value> {
    let (_, status) = scene.pods[pod].get("/status")?;
    let status: Value = serde_json::from_str(&status)?;
    Ok(status["lease"]["failsafe"].clone())
}

/// Cuts some off from the API; clients write on as if nothing were, whatever happens in the middle of
/// the outage, and nobody takes the Lease.
fn nobody_notices(
    cut: impl Fn(usize) -> Vec<usize>,
    meanwhile: impl Fn(&mut Scene, usize) -> Result<()>,
) -> Result<()> {
    // What a machine that is too busy interrupts is played again.
    for _ in 0..5 {
        let mut told = false;
        play_with_failsafe(|scene| {
            let primary = scene.settled()?;
            let before = lease(scene)?["spec"].clone();
            let writer = scene.writer("numbers");
            thread::sleep(STALL);
            for pod in cut(primary) {
                scene.pods[pod].link.refuse()?;
            }
            let begun = Instant::now();
            let mut stalled = stalls(outage() / 2);
            meanwhile(scene, primary)?;
            stalled |= stalls(outage() / 2);
            let confirmed = failsafe(scene, primary)?;
            let promised = failsafe(scene, (primary + 1) % 3)?["promised_to"].clone();
            let after = lease(scene)?["spec"].clone();
            for pod in cut(primary) {
                scene.pods[pod].link.heal()?;
            }
            let settled = scene.settled()?;
            let record = writer.finish();
            if stalled {
                println!("too busy: {} errors, {settled} leads", record.errors.len());
                return Ok(());
            }
            told = true;
            ensure!(settled == primary, "{settled} leads instead of {primary}");
            ensure!(
                record.errors.is_empty() && record.refused == 0,
                "{:?}",
                record.errors
            );
            ensure!(confirmed["asking"] == true, "{confirmed}");
            ensure!(promised == scene.pods[primary].name, "{promised}");
            for field in ["holderIdentity", "leaseTransitions"] {
                ensure!(before[field] == after[field], "{before} became {after}");
            }
            let kept = record.compare(&mut scene.pods[primary].redis.connect()?)?;
            ensure!(kept.missing.is_empty(), "missing: {:?}", kept.missing);
            let (gap, _) = record.gap(begun).context("nothing was written")?;
            println!("longest gap {gap:?}, {} written", record.acknowledged.len());
            until(PATIENCE, "nobody is asked any more", || {
                let asking = failsafe(scene, primary)?["asking"].clone();
                ensure!(asking == false, "{asking}");
                Ok(())
            })
        })?;
        if told {
            return Ok(());
        }
    }
    anyhow::bail!("this machine is too busy to tell")
}

/// Lets time pass; whether this thread was held up meanwhile.
fn stalls(time: Duration) -> bool {
    let end = Instant::now() + time;
    let (mut stalled, mut last) = (false, Instant::now());
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
        stalled |= last.elapsed() > STALL;
        last = Instant::now();
    }
    stalled
}

#[test]
fn without_the_api_a_confirmed_primary_writes_on_and_restarted_agents_confirm_it() -> Result<()> {
    nobody_notices(
        |_| vec![0, 1, 2],
        |scene, primary| {
            let other = (primary + 1) % 3;
            scene.pods[other].restart_agent()?;
            until(PATIENCE, "the new agent promises", || {
                let promised = failsafe(scene, other)?["promised_to"].clone();
                ensure!(promised == scene.pods[primary].name, "{promised}");
                Ok(())
            })
        },
    )
}

#[test]
fn a_confirmed_primary_that_alone_lost_the_api_is_not_replaced() -> Result<()> {
    nobody_notices(|primary| vec![primary], |_, _| Ok(()))
}

#[test]
fn with_one_member_silent_writes_stop_at_the_deadline_and_nobody_else_leads() -> Result<()> {
    play_with_failsafe(|scene| {
        let primary = scene.settled()?;
        let silent = (primary + 1) % 3;
        let writer = scene.writer("numbers");
        thread::sleep(STALL);
        scene.pods[silent].agent.stop()?;
        for pod in &scene.pods {
            pod.link.refuse()?;
        }
        let since = Instant::now();
        until(PATIENCE, "the primary is fenced", || {
            let role = scene.pods[primary].role();
            role.is_ok_and(|role| !role.is_primary())
        })?;
        println!("fenced after {:?}", since.elapsed());
        // Longer than any lease or promise.
        let end = Instant::now() + Duration::from_secs(8);
        while Instant::now() < end {
            for pod in &scene.pods {
                ensure!(!pod.role()?.is_primary(), "{} leads", pod.name);
            }
            thread::sleep(Duration::from_millis(50));
        }
        ensure!(
            scene.pods[primary]
                .log()
                .contains("not all members confirm"),
            "it is said"
        );
        scene.pods[silent].agent.cont()?;
        for pod in &scene.pods {
            pod.link.heal()?;
        }
        let next = scene.settled()?;
        thread::sleep(STALL);
        let record = writer.finish();
        let kept = record.compare(&mut scene.pods[next].redis.connect()?)?;
        ensure!(kept.missing.is_empty(), "missing: {:?}", kept.missing);
        Ok(())
    })
}

/// Who is confirmed leads on; who gave the Lease up could not be followed by anybody.
#[test]
fn a_switchover_is_refused_while_the_api_is_away() -> Result<()> {
    play_with_failsafe(|scene| {
        let primary = scene.settled()?;
        for pod in &scene.pods {
            pod.link.refuse()?;
        }
        until(PATIENCE, "the members are asked", || {
            let asking = failsafe(scene, primary)?["asking"].clone();
            ensure!(asking == true, "{asking}");
            Ok(())
        })?;
        let (code, line) = scene.pods[primary].ask("POST", "/switchover")?;
        ensure!(
            code == 409 && line.contains("does not acknowledge"),
            "{code} {line}"
        );
        for pod in &scene.pods {
            pod.link.heal()?;
        }
        scene.settled().map(drop)
    })
}

/// The API is silent, so that whoever asks it something waits.
#[test]
fn an_agent_that_is_restarted_meanwhile_confirms_before_it_has_asked_the_api() -> Result<()> {
    for _ in 0..5 {
        let mut told = false;
        play_with_failsafe(|scene| {
            let primary = scene.settled()?;
            let restarted = (primary + 1) % 3;
            for pod in &scene.pods {
                pod.link.silence()?;
            }
            until(PATIENCE, "the members are asked", || {
                let asking = failsafe(scene, primary)?["asking"].clone();
                ensure!(asking == true, "{asking}");
                Ok(())
            })?;
            let before = scene.pods[restarted].log().len();
            scene.pods[restarted].restart_agent()?;
            let (mut promised, mut gave_up) = (None, None);
            until(PATIENCE, "its first question is given up", || {
                let log = scene.pods[restarted].log();
                let log = log.get(before..).unwrap_or(&log);
                promised = log.find("promised not to take");
                gave_up = log.find("cannot be checked");
                ensure!(gave_up.is_some(), "{log}");
                Ok(())
            })?;
            println!("promised at {promised:?}, given up at {gave_up:?}");
            // A primary that this machine is too slow for asks nobody any more.
            told = promised.is_some() && promised < gave_up;
            for pod in &scene.pods {
                pod.link.heal()?;
            }
            scene.settled().map(drop)
        })?;
        if told {
            return Ok(());
        }
    }
    anyhow::bail!("it does not confirm")
}

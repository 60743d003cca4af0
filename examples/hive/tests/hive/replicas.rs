//! A primary that demands replicas stops by itself when it is cut off from them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bellwether_testkit::{Group, GroupOptions, Network, networks_or_skip, until};

use crate::scene::{PATIENCE, ask, client, http, replicated_write, settled, three, with_group};

fn demanding() -> GroupOptions {
    GroupOptions {
        flags: ["--min-replicas-to-write", "1"].map(String::from).into(),
        ..three()
    }
}

/// What a client is told that writes to the server itself, whatever the agent does.
fn refusal(group: &Group, index: usize) -> Result<String> {
    let reply = group.nodes[index].redis.command(&["SET", "direct", "v"]);
    match reply {
        Ok(_) => anyhow::bail!("{index} takes writes"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// Cuts the primary off, does something to it, and waits until it refuses writes by itself.
fn cut_off(test: &str, act: impl Fn(&mut Group, usize) -> Result<()>) -> Result<()> {
    if !networks_or_skip(test) {
        return Ok(());
    }
    let network = Network::new(3)?;
    let options = GroupOptions {
        hosts: network.hosts().to_vec(),
        ..demanding()
    };
    with_group(&options, |group| {
        let old = settled(group)?;
        // Right after its first copy, Redis sends a replica nothing for up to a second.
        replicated_write(group, old, "before the cut")?;
        let others = [(old + 1) % 3, (old + 2) % 3];
        network.partition(&[&[old], &others])?;
        let cut = Instant::now();
        act(group, old)?;
        let said = until(PATIENCE, "the old primary refuses", || refusal(group, old))?;
        println!("refused {:?} after the cut", cut.elapsed());
        ensure!(said.contains("NOREPLICAS"), "{said}");
        ensure!(
            group.nodes[old].redis.role()?.is_primary(),
            "it was fenced, which proves nothing"
        );
        // The others have a primary, and a replica of it.
        ask::<()>(group.nodes[others[0]].proxy, &["SET", "after", "v"])?;
        ensure!(refusal(group, old)?.contains("NOREPLICAS"), "it stays so");
        network.heal()?;
        group.nodes[old].restart_agent()?;
        let primary = settled(group)?;
        for node in &group.nodes {
            let value = |key| until(PATIENCE, key, || node.redis.command(&["GET", key]));
            ensure!(value("after")? == "v", "the others' write is kept");
        }
        replicated_write(group, primary, "after it healed")
    })
}

#[test]
fn a_primary_that_is_cut_off_without_its_agent_stops() -> Result<()> {
    cut_off(
        "a_primary_that_is_cut_off_without_its_agent_stops",
        |group, old| group.nodes[old].agent.kill(),
    )
}

/// Neither side can know of the other, but only one of them takes writes.
#[test]
fn a_primary_that_is_cut_off_with_its_agent_stops() -> Result<()> {
    cut_off("a_primary_that_is_cut_off_with_its_agent_stops", |_, _| {
        Ok(())
    })
}

/// Clients of the proxy wait out the time until the first replica follows.
#[test]
fn a_switchover_is_not_seen_by_clients() -> Result<()> {
    with_group(&demanding(), |group| {
        let mut primary = settled(group)?;
        for round in 0..3 {
            let at = group.nodes[(primary + 1) % 3].proxy;
            let mut client = client(at)?;
            let (code, body) = http(group.nodes[primary].admin, "POST /switchover")?;
            ensure!(code == 200, "{code}: {body}");
            let () = redis::cmd("SET")
                .arg("round")
                .arg(round)
                .query(&mut client)?;
            let next = settled(group)?;
            ensure!(next != primary, "{next} stays");
            primary = next;
            let demand = ["CONFIG", "GET", "min-replicas-*"];
            let said = group.nodes[primary].redis.command(&demand)?;
            let lines: Vec<_> = said.lines().collect();
            for pair in [
                ["min-replicas-to-write", "1"],
                ["min-replicas-max-lag", "2"],
            ] {
                ensure!(lines.chunks(2).any(|found| found == pair), "{said}");
            }
        }
        Ok(())
    })
}

/// The last one left takes no writes, says so, and is written to again as soon as it has a replica.
#[test]
fn the_last_one_left_waits_for_a_replica() -> Result<()> {
    with_group(&demanding(), |group| {
        let old = settled(group)?;
        replicated_write(group, old, "kept")?;
        let [last, other] = [(old + 1) % 3, (old + 2) % 3];
        for gone in [other, old] {
            group.nodes[gone].agent.kill()?;
            group.nodes[gone].redis.kill()?;
        }
        until(PATIENCE, "the last one says it", || {
            let (code, body) = http(group.nodes[last].admin, "GET /readyz")?;
            ensure!(
                code == 503 && body.contains("refuses writes"),
                "{code} {body}"
            );
            Ok(())
        })?;
        ensure!(
            refusal(group, last)?.contains("NOREPLICAS"),
            "it takes none"
        );
        let kept: String = ask(group.nodes[last].proxy, &["GET", "kept"])?;
        ensure!(kept == "kept", "it is read from");
        group.nodes[other].restart_redis_empty(bellwether_testkit::Boot::ReplicaOfNowhere)?;
        group.nodes[other].restart_agent()?;
        ask::<()>(group.nodes[last].proxy, &["SET", "again", "v"])?;
        until(Duration::from_secs(60), "it is ready again", || {
            let (code, body) = http(group.nodes[last].admin, "GET /readyz")?;
            ensure!(code == 200, "{code} {body}");
            Ok(())
        })
    })
}

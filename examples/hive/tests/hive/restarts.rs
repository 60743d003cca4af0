//! A primary's server that is killed and back at once without its data, as a container without a
//! volume is, must not wipe the others.

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Boot, Group, InTurn, Writer, WriterOptions, until};

use crate::scene::{PATIENCE, kept, replicated_write, settled, three, with_group};

/// How often, unless the environment says otherwise.
const ROUNDS: u64 = 5;

pub(crate) fn from_environment(name: &str) -> Result<Option<u64>> {
    let value = std::env::var(name).ok();
    let number = value.map(|value| value.parse().with_context(|| format!("{name}={value}")));
    number.transpose()
}

#[test]
fn a_primary_back_without_data_wipes_nobody() -> Result<()> {
    let rounds = from_environment("BELLWETHER_RESTARTS")?.unwrap_or(ROUNDS);
    with_group(&three(), |group| {
        settled(group)?;
        let route = InTurn::new(group.nodes.iter().map(|node| node.proxy));
        let writer = Writer::start(route, WriterOptions::new("numbers"));
        for round in 0..rounds {
            let old = settled(group)?;
            replicated_write(group, old, &format!("round-{round}"))?;
            group.nodes[old].restart_redis_empty(Boot::ReplicaOfNowhere)?;
            settled(group)?;
            has_all(group, round).with_context(|| format!("round {round}, primary was {old}"))?;
        }
        let primary = settled(group)?;
        // Each restart may lose its tail, so there may be several holes.
        kept(&writer.finish(), &group.nodes[primary].redis)?;
        Ok(())
    })
}

/// Not how servers of Bellwether boot: whether data survives depends on who is quicker, the
/// election or the replicas' reconnecting, so only one primary at the end is demanded.
#[test]
fn a_primary_back_plainly_ends_with_one_primary() -> Result<()> {
    with_group(&three(), |group| {
        let old = settled(group)?;
        replicated_write(group, old, "round-0")?;
        group.nodes[old].restart_redis_empty(Boot::Plain)?;
        settled(group)?;
        match has_all_now(group, 0) {
            Ok(()) => println!("booted plainly: the data survived"),
            Err(error) => println!("booted plainly: {error:#}"),
        }
        Ok(())
    })
}

fn has_all(group: &Group, last: u64) -> Result<()> {
    until(PATIENCE, "all data on every node", || {
        has_all_now(group, last)
    })
}

fn has_all_now(group: &Group, last: u64) -> Result<()> {
    for node in &group.nodes {
        for round in 0..=last {
            let value = node.redis.command(&["GET", &format!("round-{round}")])?;
            ensure!(value == "kept", "{} has no round {round}", node.name);
        }
    }
    Ok(())
}

//! Data that agents find when they start is kept, wherever it is (safety rules 6 and 7).

use anyhow::{Result, ensure};
use bellwether_testkit::{Boot, Data, Group, GroupOptions, until};

use crate::scene::{
    PATIENCE, ask, replicated_write, settled, settled_without, status, three, with_group,
};

fn has(group: &Group, key: &str, value: &str) -> Result<()> {
    until(PATIENCE, &format!("{key} everywhere"), || {
        for node in &group.nodes {
            let found = node.redis.command(&["GET", key])?;
            ensure!(found == value, "{} has {found}", node.name);
        }
        Ok(())
    })
}

#[test]
fn what_former_agents_made_primary_is_fenced_and_keeps_its_data_when_agents_restart() -> Result<()>
{
    with_group(&three(), |group| {
        let primary = settled(group)?;
        let _: String = ask(group.nodes[primary].proxy, &["SET", "old", "data"])?;
        has(group, "old", "data")?;
        for node in &mut group.nodes {
            node.agent.kill()?;
        }
        // Nobody but the primary has it, and nobody could have told.
        for (index, node) in group.nodes.iter().enumerate() {
            if index != primary {
                node.redis.command(&["REPLICAOF", "127.0.0.1", "1"])?;
            }
        }
        group.nodes[primary]
            .redis
            .command(&["SET", "late", "data"])?;
        for node in &mut group.nodes {
            node.restart_agent()?;
        }
        let now = settled(group)?;
        ensure!(now == primary, "{primary} was ahead, now {now}");
        has(group, "old", "data")?;
        has(group, "late", "data")?;
        let decisions = status(group.nodes[now].admin)?["decisions"].to_string();
        ensure!(
            decisions.contains("a former agent of this group made it primary"),
            "{decisions}"
        );
        Ok(())
    })
}

#[test]
fn a_plainly_booted_empty_server_is_fenced() -> Result<()> {
    with_group(
        &GroupOptions {
            nodes: 2,
            ..three()
        },
        |group| {
            let primary = settled(group)?;
            let other = 1 - primary;
            let _: String = ask(group.nodes[primary].proxy, &["SET", "old", "data"])?;
            group.nodes[other].agent.kill()?;
            group.nodes[other].restart_redis_empty(Boot::Plain)?;
            group.nodes[other].restart_agent()?;
            ensure!(settled(group)? == primary);
            has(group, "old", "data")
        },
    )
}

#[test]
fn a_server_with_data_joins_an_empty_group() -> Result<()> {
    with_group(&three(), |group| {
        let primary = settled(group)?;
        let newcomer = (primary + 1) % 3;
        group.nodes[newcomer].agent.kill()?;
        settled_without(group, &[newcomer])?;
        let server = &group.nodes[newcomer].redis;
        server.command(&["REPLICAOF", "NO", "ONE"])?;
        server.command(&["SET", "brought", "along"])?;
        group.nodes[newcomer].restart_agent()?;
        let now = settled(group)?;
        ensure!(now == newcomer, "{newcomer} has the data, {now} is primary");
        has(group, "brought", "along")
    })
}

/// The only server that is left is empty, and serves: those who return with data must not follow
/// it.
#[test]
fn those_who_return_with_data_do_not_follow_an_empty_primary() -> Result<()> {
    with_group(&persistent(), |group| {
        settled(group)?;
        let _: String = ask(group.nodes[0].proxy, &["SET", "old", "data"])?;
        has(group, "old", "data")?;
        for node in &mut group.nodes[..2] {
            node.agent.kill()?;
            node.redis.kill()?;
        }
        group.nodes[2].restart_redis_empty(Boot::ReplicaOfNowhere)?;
        let alone = settled_without(group, &[0, 1])?;
        ensure!(alone == 2, "{alone} is primary");
        for node in &mut group.nodes[..2] {
            node.redis.restart(Data::Keep, Boot::ReplicaOfNowhere)?;
            node.restart_agent()?;
        }
        let now = settled(group)?;
        ensure!(now != 2, "the empty server is primary");
        has(group, "old", "data")
    })
}

/// A power cut: every process is gone at once, and the files stay.
#[test]
fn all_nodes_killed_at_once_return_with_what_they_had() -> Result<()> {
    with_group(&persistent(), |group| {
        let primary = settled(group)?;
        let _: String = ask(group.nodes[0].proxy, &["SET", "old", "data"])?;
        replicated_write(group, primary, "last")?;
        for node in &mut group.nodes {
            node.agent.kill()?;
            node.redis.kill()?;
        }
        for node in &mut group.nodes {
            node.redis.restart(Data::Keep, Boot::ReplicaOfNowhere)?;
            node.restart_agent()?;
        }
        settled(group)?;
        has(group, "old", "data")?;
        has(group, "last", "kept")
    })
}

fn persistent() -> GroupOptions {
    let mut options = three();
    options.redis = ["--appendonly", "yes", "--appendfsync", "always"]
        .map(str::to_owned)
        .to_vec();
    options
}

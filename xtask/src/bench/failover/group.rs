//! One try with a group of Bellwether's hive.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{
    Boot, Group, GroupOptions, InTurn, Node, Record, Role, Writer, WriterOptions, until,
};

use crate::cargo::{cargo, root};

use super::{Fault, Outcome, judge};

const PATIENCE: Duration = Duration::from_secs(30);

/// How long things stay as they are: before a fault, and after the group has recovered from it.
const CALM: Duration = Duration::from_millis(700);

/// How long a stopped process stays stopped.
const STOPPED: Duration = Duration::from_secs(4);

/// Builds the agent as it is meant to be run.
pub(super) fn build_agent() -> Result<PathBuf> {
    let status = cargo("build --release --locked --package bellwether-hive")
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the agent cannot be built");
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release/bellwether-hive"))
}

/// A group, a writer through the nodes that stay well, one through the node that does not, and a
/// fault at the primary's node.
pub(super) fn try_fault(agent: &Path, fault: Fault, logs: Option<&Path>) -> Result<Outcome> {
    let began = Instant::now();
    let mut group = Group::start(&GroupOptions::three(agent))?;
    let outcome = measure(&mut group, began, fault);
    if let Some(logs) = logs {
        let missing = outcome.as_ref().map_or(0, |outcome| outcome.missing);
        let name = format!(
            "{:?}-{}-missing-{missing}.log",
            fault,
            began.elapsed().as_nanos()
        );
        std::fs::write(logs.join(name), group.logs())?;
    }
    outcome.with_context(|| format!("{}\n{}", fault.name(), group.logs()))
}

fn measure(group: &mut Group, began: Instant, fault: Fault) -> Result<Outcome> {
    let primary = group.formed(PATIENCE)?;
    for node in &group.nodes {
        until(PATIENCE, "every node to serve", || serves(node))?;
    }
    let formed = began.elapsed();
    // After a full copy Redis may begin the stream of writes up to a second late. That is no part
    // of any fault here.
    until(PATIENCE, "the replicas to be in step", || {
        in_step(group, primary)
    })?;

    let well = group
        .nodes
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != primary);
    let route = InTurn::new(well.map(|(_, node)| node.proxy));
    let writer = Writer::start(route, WriterOptions::new("well"));
    let mut hurt = WriterOptions::new("hurt");
    // It does not give up before a stopped node continues, so that what it hears then is counted.
    hurt.patience = PATIENCE;
    let hurt = Writer::start(InTurn::new([group.nodes[primary].proxy]), hurt);
    thread::sleep(CALM);

    let fault_at = Instant::now();
    let continued_at = strike(&mut group.nodes[primary], fault)?;
    let gone = matches!(
        fault,
        Fault::RedisKilled | Fault::NodeKilled | Fault::AgentKilled | Fault::Planned
    );
    if gone {
        // The other two must be one primary and its replica.
        until(PATIENCE, "the others to form a group", || {
            others_formed(group, primary)
        })?;
    } else {
        group.formed(PATIENCE)?;
    }
    thread::sleep(CALM);
    let (record, hurt) = (writer.finish(), hurt.finish());

    let primaries = count_primaries(group);
    let serving = serving(group)?;
    let mut connection = group.nodes[serving].redis.connect()?;
    let mut outcome = judge(
        &record,
        &record.compare(&mut connection)?,
        fault_at,
        formed,
        primaries,
    );
    if let Some(continued_at) = continued_at {
        let kept = hurt.compare(&mut connection)?;
        let late = kept
            .missing
            .iter()
            .filter(|(_, at)| *at >= continued_at)
            .count();
        if late > 0 {
            let complaint =
                format!("{late} writes acknowledged after the old primary continued, and lost");
            outcome.violations.push(complaint);
        }
    }
    if fault == Fault::Planned {
        planned(&mut outcome, &record);
    }
    Ok(outcome)
}

/// A planned change must not be noticed by clients of other nodes.
fn planned(outcome: &mut Outcome, record: &Record) {
    for (_, number, error) in &record.errors {
        outcome
            .violations
            .push(format!("planned, but {number} failed: {error}"));
    }
    if outcome.missing > 0 {
        outcome.violations.push(format!(
            "planned, but {} writes are missing",
            outcome.missing
        ));
    }
}

/// Does it, and undoes what only stops; when it was undone.
fn strike(node: &mut Node, fault: Fault) -> Result<Option<Instant>> {
    match fault {
        Fault::None => thread::sleep(CALM),
        Fault::RedisKilled => node.redis.kill()?,
        Fault::NodeKilled => {
            node.agent.kill()?;
            node.redis.kill()?;
        }
        Fault::AgentKilled => node.agent.kill()?,
        Fault::Planned => node.agent.terminate()?,
        Fault::RedisRestartedEmpty => node.restart_redis_empty(Boot::ReplicaOfNowhere)?,
        Fault::RedisRestartedPlainly => node.restart_redis_empty(Boot::Plain)?,
        Fault::RedisStopped => {
            node.redis.stop()?;
            thread::sleep(STOPPED);
            let now = Instant::now();
            node.redis.cont()?;
            return Ok(Some(now));
        }
        Fault::AgentStopped => {
            node.agent.stop()?;
            thread::sleep(STOPPED);
            let now = Instant::now();
            node.agent.cont()?;
            return Ok(Some(now));
        }
        Fault::NodeStopped => {
            node.agent.stop()?;
            node.redis.stop()?;
            thread::sleep(STOPPED);
            let now = Instant::now();
            node.redis.cont()?;
            node.agent.cont()?;
            return Ok(Some(now));
        }
    }
    Ok(None)
}

fn serves(node: &Node) -> Result<()> {
    let client = redis::Client::open(format!("redis://{}", node.proxy))?;
    let mut connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let _: u64 = redis::cmd("RPUSH")
        .arg("formed")
        .arg(1)
        .query(&mut connection)?;
    Ok(())
}

/// Whether every server has what every node has written.
fn in_step(group: &Group, primary: usize) -> Result<()> {
    let expected = group.nodes.len().to_string();
    for (index, node) in group.nodes.iter().enumerate() {
        let found = node.redis.command(&["LLEN", "formed"])?;
        ensure!(
            found == expected,
            "{index} has {found}, the primary {primary} {expected}"
        );
    }
    Ok(())
}

/// Whether the nodes besides `gone` have one primary that the others follow.
fn others_formed(group: &Group, gone: usize) -> Result<()> {
    let serving = serving(group)?;
    ensure!(serving != gone, "the old primary still serves");
    let port = group.nodes[serving].redis.port();
    for (index, role) in group.roles().into_iter().enumerate() {
        let follows = index == serving || index == gone || role?.follows(port);
        ensure!(follows, "{index} does not follow");
    }
    Ok(())
}

fn count_primaries(group: &Group) -> usize {
    let roles = group.roles();
    roles
        .iter()
        .filter(|role| role.as_ref().is_ok_and(Role::is_primary))
        .count()
}

/// The first server that says it is primary.
fn serving(group: &Group) -> Result<usize> {
    let roles = group.roles();
    let found = roles
        .iter()
        .position(|role| role.as_ref().is_ok_and(Role::is_primary));
    found.context("there is no primary")
}

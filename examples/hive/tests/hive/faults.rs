//! Each fault at the primary's node once, under load: one primary afterwards, and nothing lost
//! but what an asynchronous failover must lose.

use std::time::Instant;

use anyhow::{Result, ensure};
use bellwether_testkit::{
    Boot, Comparison, Data, Group, GroupOptions, InTurn, Record, Writer, WriterOptions, until,
};

use crate::scene::{
    PATIENCE, ask, grows, kept, one_tail, ready, replicated_write, settled, settled_without, three,
    with_group,
};

/// Writers of three kinds, by the list that each appends to.
struct Writers {
    /// Through the nodes that stay well.
    well: Writer,
    /// Through the node that does not.
    hurt: Writer,
    /// To the primary's server itself, by no proxy.
    direct: Writer,
}

struct Records {
    well: Record,
    hurt: Record,
    direct: Record,
}

impl Writers {
    fn start(group: &Group, primary: usize) -> Self {
        let others = (0..group.nodes.len()).filter(|index| *index != primary);
        let others = InTurn::new(others.map(|index| group.nodes[index].proxy));
        // These wait for whatever a stopped node says when it continues.
        let patient = |key| {
            let mut options = WriterOptions::new(key);
            options.patience = PATIENCE;
            options
        };
        let node = &group.nodes[primary];
        Self {
            well: Writer::start(others, patient("well")),
            hurt: Writer::start(InTurn::new([node.proxy]), patient("hurt")),
            direct: Writer::start(InTurn::new([node.redis.address()]), patient("direct")),
        }
    }

    fn finish(self) -> Records {
        Records {
            well: self.well.finish(),
            hurt: self.hurt.finish(),
            direct: self.direct.finish(),
        }
    }
}

/// Forms a group, writes, strikes and undoes what was done, then judges; the fault's own steps
/// return the primary after it, and when a stopped one continued.
fn suffers(
    fault: impl FnOnce(&mut Group, usize) -> Result<(usize, Option<Instant>)>,
) -> Result<()> {
    with_group(&three(), |group| {
        let old = settled(group)?;
        let writers = Writers::start(group, old);
        for key in ["well", "hurt", "direct"] {
            grows(&group.nodes[old].redis, key, 100)?;
        }
        let (new, continued) = fault(group, old)?;
        let now = settled(group)?;
        ensure!(
            now == new,
            "{new} was primary before {old} came back, now {now}"
        );
        grows(&group.nodes[now].redis, "well", 100)?;
        let records = writers.finish();
        let server = &group.nodes[now].redis;
        for record in [&records.well, &records.hurt, &records.direct] {
            let kept = kept(record, server)?;
            one_tail(record, &kept)?;
            if let Some(continued) = continued {
                none_lost_since(continued, record, &kept)?;
            }
        }
        Ok(())
    })
}

/// Nothing that was acknowledged after the old primary continued is missing; but the one command
/// that it was in the midst of when it was stopped, it ends and answers first.
fn none_lost_since(continued: Instant, record: &Record, kept: &Comparison) -> Result<()> {
    let mut since = record
        .acknowledged
        .iter()
        .filter(|(_, at)| *at >= continued);
    let first = since.next().map(|(number, _)| *number);
    let late = kept.missing.iter().filter(|(_, at)| *at >= continued);
    let late: Vec<_> = late.map(|(number, _)| *number).collect();
    ensure!(
        late.iter().all(|number| Some(*number) == first),
        "{}: acknowledged after the old primary continued, and lost: {late:?}",
        record.key
    );
    Ok(())
}

#[test]
fn redis_killed() -> Result<()> {
    suffers(|group, old| {
        group.nodes[old].redis.kill()?;
        let new = settled_without(group, &[old])?;
        grows(&group.nodes[new].redis, "well", 100)?;
        grows(&group.nodes[new].redis, "hurt", 100)?;
        group.nodes[old]
            .redis
            .restart(Data::Keep, Boot::ReplicaOfNowhere)?;
        Ok((new, None))
    })
}

#[test]
fn node_killed() -> Result<()> {
    suffers(|group, old| {
        let node = &mut group.nodes[old];
        node.agent.kill()?;
        node.redis.kill()?;
        let new = settled_without(group, &[old])?;
        grows(&group.nodes[new].redis, "well", 100)?;
        group.nodes[old]
            .redis
            .restart(Data::Keep, Boot::ReplicaOfNowhere)?;
        group.nodes[old].restart_agent()?;
        Ok((new, None))
    })
}

#[test]
fn redis_stopped_and_continued() -> Result<()> {
    suffers(|group, old| {
        group.nodes[old].redis.stop()?;
        let new = settled_without(group, &[old])?;
        grows(&group.nodes[new].redis, "well", 100)?;
        let continued = Instant::now();
        group.nodes[old].redis.cont()?;
        Ok((new, Some(continued)))
    })
}

#[test]
fn node_stopped_and_continued() -> Result<()> {
    suffers(|group, old| {
        let node = &mut group.nodes[old];
        node.agent.stop()?;
        node.redis.stop()?;
        let new = settled_without(group, &[old])?;
        grows(&group.nodes[new].redis, "well", 100)?;
        let continued = Instant::now();
        let node = &mut group.nodes[old];
        node.redis.cont()?;
        node.agent.cont()?;
        Ok((new, Some(continued)))
    })
}

#[test]
fn agent_killed() -> Result<()> {
    suffers(|group, old| {
        group.nodes[old].agent.kill()?;
        let new = settled_without(group, &[old])?;
        grows(&group.nodes[new].redis, "well", 100)?;
        group.nodes[old].restart_agent()?;
        Ok((new, None))
    })
}

#[test]
fn agent_stopped_and_continued() -> Result<()> {
    suffers(|group, old| {
        group.nodes[old].agent.stop()?;
        let new = settled_without(group, &[old])?;
        grows(&group.nodes[new].redis, "well", 100)?;
        let continued = Instant::now();
        group.nodes[old].agent.cont()?;
        Ok((new, Some(continued)))
    })
}

/// A planned end loses nothing of anybody, and clients of other nodes do not notice it.
#[test]
fn agent_terminated() -> Result<()> {
    with_group(&three(), |group| {
        let old = settled(group)?;
        let writers = Writers::start(group, old);
        grows(&group.nodes[old].redis, "well", 100)?;
        group.nodes[old].agent.terminate()?;
        let ended = group.nodes[old].agent.wait(PATIENCE)?;
        ensure!(ended.success(), "the agent ended with {ended}");
        let new = settled_without(group, &[old])?;
        grows(&group.nodes[new].redis, "well", 100)?;
        group.nodes[old].restart_agent()?;
        let now = settled(group)?;
        ensure!(now == new, "{new} was primary, now {now}");
        let records = writers.finish();
        for record in [&records.well, &records.hurt, &records.direct] {
            let kept = kept(record, &group.nodes[now].redis)?;
            let missing = kept.missing.len();
            ensure!(missing == 0, "{}: {missing} missing", record.key);
        }
        let errors = &records.well.errors;
        ensure!(errors.is_empty() && records.well.refused == 0, "{errors:?}");
        Ok(())
    })
}

/// Every node in turn is ended in order and started anew without its data, as when its image is
/// replaced: nothing is lost.
#[test]
fn rolled_over_node_by_node() -> Result<()> {
    with_group(&three(), |group| {
        settled(group)?;
        let route = InTurn::new(group.nodes.iter().map(|node| node.proxy));
        let writer = Writer::start(route, WriterOptions::new("numbers"));
        for index in 0..3 {
            let primary = settled(group)?;
            grows(&group.nodes[primary].redis, "numbers", 100)?;
            let node = &mut group.nodes[index];
            node.agent.terminate()?;
            let ended = node.agent.wait(PATIENCE)?;
            ensure!(ended.success(), "the agent ended with {ended}");
            node.redis.terminate()?;
            node.restart_redis_empty(Boot::ReplicaOfNowhere)?;
            node.restart_agent()?;
        }
        let primary = settled(group)?;
        let record = writer.finish();
        let kept = kept(&record, &group.nodes[primary].redis)?;
        ensure!(kept.missing.is_empty(), "{} missing", kept.missing.len());
        // A client learns by its next command that the node it was connected to has ended.
        ensure!(record.errors.len() <= 3, "{:?}", record.errors);
        Ok(())
    })
}

/// What happens to a replica's node is nothing to clients of the others.
#[test]
fn a_replicas_node_killed_and_back() -> Result<()> {
    with_group(&three(), |group| {
        let primary = settled(group)?;
        let replica = (primary + 1) % 3;
        let others = (0..3).filter(|index| *index != replica);
        let route = InTurn::new(others.map(|index| group.nodes[index].proxy));
        let writer = Writer::start(route, WriterOptions::new("well"));
        grows(&group.nodes[primary].redis, "well", 100)?;
        let node = &mut group.nodes[replica];
        node.agent.kill()?;
        node.redis.kill()?;
        grows(&group.nodes[primary].redis, "well", 1500)?;
        let node = &mut group.nodes[replica];
        node.restart_redis_empty(Boot::ReplicaOfNowhere)?;
        node.restart_agent()?;
        ensure!(settled(group)? == primary, "the primary stays");
        let record = writer.finish();
        let kept = kept(&record, &group.nodes[primary].redis)?;
        ensure!(kept.missing.is_empty() && record.errors.is_empty());
        Ok(())
    })
}

#[test]
fn two_nodes_of_five_killed_at_once() -> Result<()> {
    with_group(
        &GroupOptions {
            nodes: 5,
            ..three()
        },
        |group| {
            let old = settled(group)?;
            let other = (old + 1) % 5;
            let well = (0..5).filter(|index| ![old, other].contains(index));
            let route = InTurn::new(well.map(|index| group.nodes[index].proxy));
            let writer = Writer::start(route, WriterOptions::new("well"));
            grows(&group.nodes[old].redis, "well", 100)?;
            for index in [old, other] {
                group.nodes[index].agent.kill()?;
                group.nodes[index].redis.kill()?;
            }
            let new = settled_without(group, &[old, other])?;
            grows(&group.nodes[new].redis, "well", 100)?;
            let record = writer.finish();
            let kept = kept(&record, &group.nodes[new].redis)?;
            one_tail(&record, &kept)
        },
    )
}

/// Of two, the one that is left serves alone; what comes back follows it.
#[test]
fn the_last_of_two_serves() -> Result<()> {
    with_group(
        &GroupOptions {
            nodes: 2,
            ..three()
        },
        |group| {
            let mut old = settled(group)?;
            for round in 0..3 {
                let new = 1 - old;
                let _: u64 = ask(group.nodes[new].proxy, &["INCR", "round"])?;
                replicated_write(group, old, "last")?;
                let node = &mut group.nodes[old];
                node.agent.kill()?;
                node.redis.kill()?;
                let found: u64 = ask(group.nodes[new].proxy, &["INCR", "round"])?;
                ensure!(found == 2 * round + 2, "{found} in round {round}");
                group.nodes[old].restart_redis_empty(Boot::ReplicaOfNowhere)?;
                group.nodes[old].restart_agent()?;
                until(PATIENCE, "the agent that is back", || {
                    ready(group.nodes[old].admin)
                })?;
                ensure!(settled(group)? == new, "{new} stays primary");
                old = new;
            }
            Ok(())
        },
    )
}

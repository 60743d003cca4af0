//! Three hosts whose network is cut and healed. There is no quorum: each side has a primary.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{
    Group, GroupOptions, InTurn, Network, Record, Role, Writer, WriterOptions, networks_or_skip,
    until,
};

use crate::{
    restarts::from_environment,
    scene::{PATIENCE, grows, kept, replicated_write, settled, three, with_group},
};

/// How long healing may take in a soak.
const HEALED_WITHIN: Duration = Duration::from_secs(2);

/// Hosts on one side of a cut; the first is or becomes its primary.
type Side = Vec<usize>;

/// Cuts into these sides, chosen by who is primary; the sides go on writing. Returns whose writes
/// were kept.
fn cut_and_healed(test: &str, sides: impl Fn(usize) -> Vec<Side>) -> Result<()> {
    if !networks_or_skip(test) {
        return Ok(());
    }
    let soak = from_environment("BELLWETHER_PARTITIONS")?;
    for round in 0..soak.unwrap_or(1) {
        let network = Network::new(3)?;
        let options = GroupOptions {
            hosts: network.hosts().to_vec(),
            ..three()
        };
        with_group(&options, |group| {
            let sides = sides(settled(group)?);
            let healed = play(group, &network, &sides)?;
            println!("round {round}: healed after {healed:?}");
            ensure!(
                soak.is_none() || healed <= HEALED_WITHIN,
                "{healed:?} to heal"
            );
            Ok(())
        })?;
    }
    Ok(())
}

fn play(group: &Group, network: &Network, sides: &[Side]) -> Result<Duration> {
    let writers: Vec<_> = sides
        .iter()
        .map(|side| {
            let route = InTurn::new(side.iter().map(|index| group.nodes[*index].proxy));
            Writer::start(route, WriterOptions::new(&key(side)))
        })
        .collect();
    let primary = settled(group)?;
    for side in sides {
        grows(&group.nodes[primary].redis, &key(side), 100)?;
    }
    // Right after its first copy, Redis sends a replica nothing for up to a second.
    replicated_write(group, primary, "before the cut")?;
    let cut: Vec<&[usize]> = sides.iter().map(Vec::as_slice).collect();
    network.partition(&cut)?;
    for side in sides {
        let primary = until(PATIENCE, "a primary on each side", || {
            primary_of(group, side)
        })?;
        grows(&group.nodes[primary].redis, &key(side), 200)?;
    }
    let since = Instant::now();
    network.heal()?;
    let primary = group.formed(PATIENCE)?;
    let healed = since.elapsed();
    for side in sides {
        grows(&group.nodes[primary].redis, &key(side), 100)?;
    }
    ensure!(settled(group)? == primary, "it stays");
    let records: Vec<_> = writers.into_iter().map(Writer::finish).collect();
    for (side, record) in sides.iter().zip(&records) {
        judge(group, primary, side, record).with_context(|| format!("side {side:?}"))?;
    }
    let most = sides.iter().map(Vec::len).max().unwrap_or(0);
    let kept = sides.iter().find(|side| side.contains(&primary));
    let kept = kept.context("it is on some side")?;
    ensure!(kept.len() == most, "{kept:?} kept its writes");
    Ok(healed)
}

/// The side of the primary keeps every write; another loses what it wrote during the cut, and says
/// so.
fn judge(group: &Group, primary: usize, side: &Side, record: &Record) -> Result<()> {
    let kept = kept(record, &group.nodes[primary].redis)?;
    if side.contains(&primary) {
        return Ok(());
    }
    ensure!(!kept.missing.is_empty(), "it wrote during the cut");
    for index in side {
        let log = group.nodes[*index].log();
        let dropped = log.lines().find(|line| drops_bytes(line));
        println!("{index}: {dropped:?}");
        ensure!(dropped.is_some(), "what {index} dropped is not logged");
    }
    Ok(())
}

/// Such as `WARN drop 512 bytes of writes why="the own server is at …:900, which …"`.
fn drops_bytes(line: &str) -> bool {
    let rest = line.split_once("drop ").map(|(_, rest)| rest);
    let number = rest.and_then(|rest| rest.split_once(" bytes of writes"));
    line.contains("WARN") && number.is_some_and(|(bytes, _)| bytes.parse::<u64>().is_ok())
}

fn primary_of(group: &Group, side: &Side) -> Result<usize> {
    let roles = group.roles();
    let is_primary = |index: &usize| roles[*index].as_ref().is_ok_and(Role::is_primary);
    let primaries: Vec<_> = side.iter().copied().filter(is_primary).collect();
    ensure!(primaries.len() == 1, "{roles:?}");
    let port = group.nodes[primaries[0]].redis.port();
    for index in side {
        let follows = roles[*index].as_ref().is_ok_and(|role| role.follows(port));
        ensure!(*index == primaries[0] || follows, "{roles:?}");
    }
    Ok(primaries[0])
}

fn key(side: &Side) -> String {
    format!("side-{side:?}")
}

#[test]
fn the_primary_alone_is_cut_off() -> Result<()> {
    cut_and_healed("the_primary_alone_is_cut_off", |primary| {
        vec![vec![primary], vec![(primary + 1) % 3, (primary + 2) % 3]]
    })
}

#[test]
fn a_replica_alone_is_cut_off() -> Result<()> {
    cut_and_healed("a_replica_alone_is_cut_off", |primary| {
        vec![vec![primary, (primary + 1) % 3], vec![(primary + 2) % 3]]
    })
}

#[test]
fn all_three_are_cut_off() -> Result<()> {
    cut_and_healed("all_three_are_cut_off", |_| vec![vec![0], vec![1], vec![2]])
}

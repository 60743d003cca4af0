//! What is done to groups.

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use bellwether_testkit::networks_or_skip;

use crate::flock::Flock;

type Scene = fn() -> Result<()>;

pub(crate) const ALL: &[(&str, Scene)] = &[
    ("the_leader_is_killed", the_leader_is_killed),
    (
        "the_leader_is_stopped_and_continues",
        the_leader_is_stopped_and_continues,
    ),
    ("the_leader_is_cut_off", the_leader_is_cut_off),
    ("the_leader_is_told_to_go", the_leader_is_told_to_go),
    (
        "processes_without_disks_are_replaced_one_by_one",
        replaced_one_by_one,
    ),
    (
        "processes_with_disks_are_killed_at_any_moment",
        killed_at_any_moment,
    ),
];

fn the_leader_is_killed() -> Result<()> {
    let mut flock = Flock::of_three(None)?;
    flock.write()?;
    let leader = flock.leader()?;
    flock.kill(leader)?;
    println!("  next acknowledged {:.0?} after the kill", flock.gap()?);
    flock.check()
}

fn the_leader_is_stopped_and_continues() -> Result<()> {
    let mut flock = Flock::of_three(None)?;
    flock.write()?;
    let leader = flock.leader()?;
    let mut stopped = flock.nodes[leader].take();
    let process = stopped.as_mut().expect("it leads");
    process.stop()?;
    println!("  next acknowledged {:.0?} after the stop", flock.gap()?);
    let process = stopped.as_mut().expect("as above");
    process.cont()?;
    flock.nodes[leader] = stopped;
    // It must take nothing as its own any more that the others do not have.
    for _ in 0..20 {
        flock.write()?;
    }
    flock.check()
}

fn the_leader_is_cut_off() -> Result<()> {
    if !networks_or_skip("the_leader_is_cut_off") {
        return Ok(());
    }
    let mut flock = Flock::on_network()?;
    flock.write()?;
    let leader = flock.leader()?;
    let network = flock.network.take().expect("it is on one");
    let others: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
    network.partition(&[&others])?;
    let cut_off = flock.nodes[leader].take();
    println!("  next acknowledged {:.0?} after the cut", flock.gap()?);
    flock.nodes[leader] = cut_off;
    // It may take some, of which nobody knows what becomes, until its lease ends.
    flock.refuses(leader)?;
    network.heal()?;
    for _ in 0..20 {
        flock.write()?;
    }
    flock.check()
}

fn the_leader_is_told_to_go() -> Result<()> {
    let mut flock = Flock::of_three(None)?;
    // It hands over only to who has answered it.
    for _ in 0..20 {
        flock.write()?;
    }
    let leader = flock.leader()?;
    flock.node(leader)?.terminate()?;
    let mut going = flock.nodes[leader].take().expect("it leads");
    println!("  next acknowledged {:.0?} after the signal", flock.gap()?);
    let status = going.wait(Duration::from_secs(60))?;
    ensure!(status.success(), "it ended with {status}");
    flock.check()
}

fn replaced_one_by_one() -> Result<()> {
    let mut flock = Flock::of_three(None)?;
    flock.write()?;
    for n in 0..3 {
        flock.kill(n)?;
        flock.write()?;
        flock.start(n)?;
        // Until it votes, the group cannot lose another.
        flock.settle(n)?;
    }
    flock.check()
}

fn killed_at_any_moment() -> Result<()> {
    let mut flock = Flock::of_three(Some(tempfile::tempdir()?))?;
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..10 {
        for _ in 0..random.u8(1..10) {
            flock.write()?;
        }
        let leader = flock.leader()?;
        for _ in 0..random.u8(..20) {
            flock.write_blindly(leader)?;
        }
        sleep(Duration::from_micros(random.u64(..5000)));
        // All at once as often as one of them.
        let victims = if random.bool() {
            0..3
        } else {
            leader..leader + 1
        };
        for n in victims.clone() {
            flock.kill(n)?;
        }
        for n in victims {
            flock.start(n)?;
        }
    }
    flock.check()
}

//! Each client gets its own replies, all of them, in the order in which it asked: while clients
//! pipeline at random depths, leave in the middle, and the primary changes every two seconds.
//!
//! `BELLWETHER_IDENTITY_SECONDS` says for how long (20), `BELLWETHER_IDENTITY_SEED` where the seeds
//! begin (1). A seed fixes what the clients ask and how the primary changes, not when.

mod client;
mod ledger;
#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client::{Tally, World};
use support::Front;
use support::pair::{Change, Pair};

const CLIENTS: u64 = 200;

/// From one change of the primary to the next, at least.
const PERIOD: Duration = Duration::from_secs(2);

#[test]
fn no_client_gets_a_reply_that_is_not_its_own() {
    let whole = Duration::from_secs(number("BELLWETHER_IDENTITY_SECONDS", 20));
    let part = (whole / 10).max(Duration::from_secs(10)).min(whole);
    let end = Instant::now() + whole;
    let mut seed = number("BELLWETHER_IDENTITY_SEED", 1);
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        match run(seed, left.min(part)) {
            Ok((tally, changes)) => println!("seed {seed}: {changes} changes, {tally:?}"),
            Err(error) => panic!("BELLWETHER_IDENTITY_SEED={seed}: {error}"),
        }
        seed += 1;
    }
}

/// One proxy and one pair of servers with all clients. Returns what they did, and how often the
/// primary changed.
fn run(seed: u64, period: Duration) -> Result<(Tally, u64), String> {
    let mut pair = Pair::start();
    let front = Front::start(|_| {});
    pair.publish_to(&front);
    let world = Arc::new(World {
        proxy: front.proxy.local_addr(),
        seed,
        stop: AtomicBool::new(false),
        losses: AtomicU64::new(0),
    });
    let clients = thread::spawn({
        let world = Arc::clone(&world);
        move || support::block_on(client::all(&world, CLIENTS))
    });
    let changes = change_primaries(&mut pair, &front, &world, period, || clients.is_finished());
    world.stop.store(true, Ordering::SeqCst);
    let tally = clients.join().map_err(|_| "a client panicked")??;
    if tally.replies < CLIENTS * changes || tally.aborted == 0 || changes == 0 {
        return Err(format!(
            "too little was tried: {changes} changes, {tally:?}"
        ));
    }
    Ok((tally, changes))
}

fn change_primaries(
    pair: &mut Pair,
    front: &Front,
    world: &World,
    period: Duration,
    failed: impl Fn() -> bool,
) -> u64 {
    const HOW: [Change; 3] = [Change::Switchover, Change::Kill, Change::Cut];
    let begun = Instant::now();
    let mut changes = 0;
    while begun.elapsed() < period && !failed() {
        let next = Instant::now() + PERIOD;
        let how = HOW[usize::try_from(world.seed + changes).expect("a small number") % HOW.len()];
        let loses = how != Change::Switchover;
        if loses {
            world.losses.fetch_add(1, Ordering::SeqCst);
        }
        pair.take_over(how, front, |_| {});
        if loses {
            world.losses.fetch_add(1, Ordering::SeqCst);
        }
        pair.heal(how);
        changes += 1;
        // The period is what is tested, not what is waited for; a slow machine takes longer.
        while Instant::now() < next && !failed() {
            thread::sleep(Duration::from_millis(10));
        }
    }
    changes
}

fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
        Err(_) => default,
    }
}

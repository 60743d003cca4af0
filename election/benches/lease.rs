//! How long nobody leads, by default times, against the Kubernetes API of the testkit.
//!
//! `cargo xtask bench lease`, or `cargo bench -p bellwether-election --features kube --bench lease`.
//! Each line is one fault, done several times; it ends with 1 if two ever led at a time, if a
//! healthy leader was lost, or if a limit was missed.

#[path = "../tests/lease/group.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod group;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use bellwether_election::LeaseConfig;
use bellwether_testkit::kube::{Act, Fault, Refusal};
use tokio::time::sleep;

use group::{Group, LEASE, eventually};

/// How long an outage lasts.
const OUTAGE: Duration = Duration::from_secs(30);

fn default(member: &str) -> LeaseConfig {
    LeaseConfig::new(LEASE, member)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let LeaseConfig {
        lease_duration,
        retry_period,
        ..
    } = default("");
    let crash = lease_duration + retry_period;
    let recovery = Duration::from_secs(3);
    let mut table = Table { missed: false };
    println!(
        "{:44} {:>4} {:>10} {:>10} {:>10}",
        "", "runs", "median", "worst", "limit"
    );

    table.row(
        "released, taken over",
        releases(20).await,
        Duration::from_millis(200),
        Figure::Median,
    );
    table.row("killed, taken over", kills(5).await, crash, Figure::Worst);
    let away = |group: &Group| {
        for node in &group.nodes {
            node.link.refuse().expect("cut");
        }
    };
    let silent = |group: &Group| {
        for node in &group.nodes {
            node.link.silence().expect("cut");
        }
    };
    let slow = |group: &Group| {
        group
            .api
            .add_fault(Fault::new(Act::Delay(Duration::from_secs(3))));
    };
    table.row(
        "API away for 30 s, led after it is back",
        outages(3, away).await,
        recovery,
        Figure::Worst,
    );
    table.row(
        "API silent for 30 s, led after it is back",
        outages(3, silent).await,
        recovery,
        Figure::Worst,
    );
    table.row(
        "API slow by 3 s for 30 s, led after it is quick",
        outages(3, slow).await,
        recovery,
        Figure::Worst,
    );
    for (name, refusal) in [
        ("409", Refusal::Conflict),
        ("429", Refusal::TooManyRequests(1)),
    ] {
        let spells = refused(refusal, false).await;
        println!("{name} to every second renewal for 30 s: {spells} spell(s), 1 expected");
        table.missed |= spells != 1;
        let spells = refused(refusal, true).await;
        println!("{name} to half of all calls, at random, for 30 s: {spells} spell(s)");
    }
    if table.missed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// From the release until another leads.
async fn releases(runs: usize) -> Vec<Duration> {
    let group = Group::with(default, 3).await;
    let mut took = Vec::new();
    for _ in 0..runs {
        let leader = group.leader().await;
        let since = Instant::now();
        group.nodes[leader].resign(None);
        eventually("another leads", || {
            group.leading().filter(|now| *now != leader)
        })
        .await;
        took.push(since.elapsed());
        group.nodes[leader].stand(true);
    }
    group.leader().await;
    group.judge();
    took
}

/// From the death of the holder until another leads.
async fn kills(runs: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..runs {
        let mut group = Group::with(default, 3).await;
        let leader = group.leader().await;
        let since = Instant::now();
        group.kill(leader);
        eventually("another leads", || group.leading()).await;
        took.push(since.elapsed());
        group.judge();
    }
    took
}

/// From the end of an outage until one leads.
async fn outages(runs: usize, trouble: impl Fn(&Group)) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..runs {
        let group = Group::with(default, 3).await;
        group.leader().await;
        trouble(&group);
        sleep(OUTAGE).await;
        assert_eq!(group.leading(), None, "nobody renews");
        let since = Instant::now();
        group.api.clear_faults();
        for node in &group.nodes {
            node.link.heal().expect("the link heals");
        }
        eventually("one leads", || group.leading()).await;
        took.push(since.elapsed());
        group.leader().await;
        group.judge();
    }
    took
}

/// Spells in half a minute of refusals.
async fn refused(refusal: Refusal, half: bool) -> usize {
    let group = Group::with(default, 3).await;
    group.leader().await;
    let fault = Fault::new(Act::Refuse(refusal));
    group.api.add_fault(if half {
        fault.chance(0.5, 1)
    } else {
        fault.verbs(&["patch"]).every(2)
    });
    sleep(OUTAGE).await;
    group.api.clear_faults();
    group.leader().await;
    group.judge()
}

struct Table {
    missed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Figure {
    Median,
    Worst,
}

impl Table {
    fn row(&mut self, name: &str, mut took: Vec<Duration>, limit: Duration, judged: Figure) {
        took.sort();
        let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
        let figure = if judged == Figure::Median {
            median
        } else {
            worst
        };
        let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        let verdict = if figure <= limit { "" } else { "MISSED" };
        self.missed |= figure > limit;
        println!(
            "{name:44} {:>4} {:>10} {:>10} {:>10} {verdict}",
            took.len(),
            ms(median),
            ms(worst),
            ms(limit)
        );
    }
}

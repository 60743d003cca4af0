//! What `/metrics` tells of real agents, through a switchover and a failover.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use bellwether_testkit::{Group, Scrape, until};

use crate::scene::{PATIENCE, ask, http, settled, settled_without, three, with_group};

/// A name without `bellwether_`, labels, and what it should be.
type Figure<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

fn scrape(group: &Group, index: usize) -> Result<Scrape> {
    let (code, body) = http(group.nodes[index].admin, "GET /metrics")?;
    ensure!(code == 200, "{code} {body}");
    Scrape::parse(&body)
}

/// Waits until a node's figures are these.
fn tells(group: &Group, index: usize, figures: &[Figure<'_>]) -> Result<()> {
    until(PATIENCE, &format!("{index} tells {figures:?}"), || {
        let scrape = scrape(group, index)?;
        for (name, labels, wanted) in figures {
            let found = scrape.value(&format!("bellwether_{name}"), labels);
            ensure!(found == Some(*wanted), "{name} {labels:?}: {found:?}");
        }
        Ok(())
    })
}

fn is_primary(group: &Group, index: usize) -> Result<()> {
    let figures: [Figure<'_>; 7] = [
        ("ready", &[], 1.0),
        ("leader", &[], 1.0),
        ("role", &[("role", "primary")], 1.0),
        ("role", &[("role", "neither")], 0.0),
        ("server_up", &[], 1.0),
        ("server_fenced", &[], 0.0),
        ("members", &[], 3.0),
    ];
    tells(group, index, &figures)?;
    let scrape = scrape(group, index)?;
    let remaining = scrape.value("bellwether_lease_remaining_seconds", &[]);
    ensure!(
        remaining.is_some_and(|seconds| seconds > 0.0),
        "remains {remaining:?}"
    );
    let own_lag = scrape.value("bellwether_lag_bytes", &[]);
    ensure!(own_lag.is_none(), "{own_lag:?}");
    Ok(())
}

fn is_replica(group: &Group, index: usize) -> Result<()> {
    let figures: [Figure<'_>; 6] = [
        ("ready", &[], 1.0),
        ("leader", &[], 0.0),
        ("role", &[("role", "replica")], 1.0),
        ("role", &[("role", "primary")], 0.0),
        ("lease_remaining_seconds", &[], 0.0),
        ("lag_bytes", &[], 0.0),
    ];
    tells(group, index, &figures)
}

#[test]
fn figures_follow_what_happens() -> Result<()> {
    with_group(&three(), |group| {
        let first = settled(group)?;
        let (a, b) = ((first + 1) % 3, (first + 2) % 3);
        is_primary(group, first)?;
        is_replica(group, a)?;
        is_replica(group, b)?;
        for replica in [a, b] {
            let member = [("member", group.nodes[replica].name.as_str())];
            let figures: [Figure<'_>; 2] = [
                ("member_up", &member, 1.0),
                ("member_lag_bytes", &member, 0.0),
            ];
            tells(group, first, &figures)?;
        }
        let _: String = ask(group.nodes[first].proxy, &["SET", "one", "key"])?;
        tells(group, a, &[("server_keys", &[], 1.0)])?;

        let to = format!("POST /switchover?to={}", group.nodes[a].name);
        let (code, body) = http(group.nodes[first].admin, &to)?;
        ensure!(code == 200, "{code} {body}");
        is_primary(group, a)?;
        is_replica(group, first)?;
        let done: [Figure<'_>; 2] = [
            ("switchovers_total", &[("result", "done")], 1.0),
            ("decisions_total", &[("kind", "handed_over")], 1.0),
        ];
        tells(group, first, &done)?;
        let took = scrape(group, first)?.value("bellwether_switchover_seconds_total", &[]);
        ensure!(took.is_some_and(|took| took > 0.0), "took {took:?}");

        let killed = settled(group)?;
        group.nodes[killed].redis.kill()?;
        let down: [Figure<'_>; 3] = [
            ("ready", &[], 0.0),
            ("server_up", &[], 0.0),
            ("role", &[("role", "neither")], 1.0),
        ];
        tells(group, killed, &down)?;
        let next = settled_without(group, &[killed])?;
        is_primary(group, next)?;
        let member = [("member", group.nodes[killed].name.as_str())];
        tells(group, next, &[("member_up", &member, 0.0)])?;
        let scrape = scrape(group, next)?;
        let cause = [("cause", "server_down")];
        let failovers = scrape.value("bellwether_failovers_total", &cause);
        ensure!(failovers.is_some_and(|times| times >= 1.0), "{failovers:?}");
        Ok(())
    })
}

#[test]
fn all_that_is_told_is_documented_and_the_other_way_round() -> Result<()> {
    with_group(&three(), |group| {
        let primary = settled(group)?;
        let _: String = ask(group.nodes[primary].proxy, &["SET", "one", "key"])?;
        let documented = documented(|line| !line.contains("`bellwether-lease`"));
        until(PATIENCE, "as documented", || {
            let mut told = BTreeSet::new();
            for index in 0..3 {
                let scrape = scrape(group, index)?;
                told.extend(scrape.names().iter().map(|name| (*name).to_owned()));
            }
            let (more, less) = (&told - &documented, &documented - &told);
            ensure!(more.is_empty() && less.is_empty(), "+ {more:?} - {less:?}");
            Ok(())
        })
    })
}

/// The names in the tables of `METRICS.md`, from lines of which this is true.
fn documented(counts: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let lines = include_str!("../../METRICS.md").lines();
    let names = lines.filter(|line| counts(line)).filter_map(|line| {
        let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
        Some(name.to_owned())
    });
    names.collect()
}

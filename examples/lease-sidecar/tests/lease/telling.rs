//! What the cluster's people are told: Kubernetes Events and metrics.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{
    Scrape,
    kube::{Access, Act, Fault},
    until,
};
use serde_json::Value;

use crate::scene::{PATIENCE, Scene, Setting, play};

const EVENTS: &str = "events.k8s.io";

/// The events about an object with this reason.
fn events(scene: &Scene, kind: &str, name: &str, reason: &str) -> Result<Vec<Value>> {
    let mut events = scene.api.objects("events", "default")?;
    events.retain(|event| {
        let about = &event["regarding"];
        about["kind"] == kind && about["name"] == name && event["reason"] == reason
    });
    Ok(events)
}

fn told(scene: &Scene, kind: &str, name: &str, reason: &str) -> Result<Value> {
    until(PATIENCE, &format!("{reason} of {kind} {name}"), || {
        let found = events(scene, kind, name, reason)?;
        let all = || scene.api.objects("events", "default");
        found
            .into_iter()
            .next()
            .with_context(|| format!("{:#?}", all()))
    })
}

fn uid(scene: &Scene, plural: &str, name: &str) -> Result<Value> {
    let object = scene.api.object(plural, "default", name)?;
    Ok(object.context("it is gone")?["metadata"]["uid"].clone())
}

#[test]
fn events_tell_of_a_hand_over_and_of_a_failover() -> Result<()> {
    play(&Setting::default(), |scene| {
        let first = scene.settled()?;
        let name = scene.pods[first].name.clone();
        let event = told(scene, "Pod", &name, "BecamePrimary")?;
        ensure!(event["type"] == "Normal", "{event}");
        ensure!(
            event["regarding"]["uid"] == uid(scene, "pods", &name)?,
            "{event}"
        );
        ensure!(event["related"]["kind"] == "Lease", "{event}");
        ensure!(event["reportingInstance"] == name.as_str(), "{event}");
        let event = told(scene, "Lease", "redis", "BecamePrimary")?;
        ensure!(
            event["regarding"]["uid"] == uid(scene, "leases", "redis")?,
            "{event}"
        );
        ensure!(event["related"]["name"] == name.as_str(), "{event}");
        let note = event["note"].as_str().unwrap_or_default();
        ensure!(
            note.starts_with(&format!("{name}: serve in term")),
            "{note}"
        );

        let (code, body) = scene.pods[first].ask("POST", "/switchover")?;
        ensure!(code == 200, "{code} {body}");
        told(scene, "Pod", &name, "HandedOver")?;
        let second = scene.settled()?;
        let heir = &scene.pods[second].name;
        // On a machine so busy that a hand-over takes long, it looks like a failover.
        until(PATIENCE, "another primary is told", || {
            let took_over = events(scene, "Pod", heir, "TookOver")?.len();
            let failed_over = events(scene, "Pod", heir, "FailedOver")?.len();
            println!("took over {took_over}, failed over {failed_over}");
            ensure!(took_over + failed_over > 0);
            Ok(())
        })?;
        scene.set("kept", "1")?;
        scene.pods[second].redis.kill()?;
        let third = scene.settled_without(&[second])?;
        let event = told(scene, "Pod", &scene.pods[third].name, "FailedOver")?;
        ensure!(event["type"] == "Warning", "{event}");
        told(scene, "Lease", "redis", "FailedOver")?;
        told(scene, "Pod", &scene.pods[second].name, "LeadershipGivenUp")?;
        Ok(())
    })
}

#[test]
fn an_agent_that_ends_has_told_that_it_handed_over() -> Result<()> {
    play(&Setting::default(), |scene| {
        let leader = scene.settled()?;
        scene.pods[leader].agent.terminate()?;
        let status = scene.pods[leader].agent.wait(PATIENCE)?;
        ensure!(status.success(), "{status}");
        let name = &scene.pods[leader].name;
        ensure!(!events(scene, "Pod", name, "HandingOver")?.is_empty());
        Ok(())
    })
}

#[test]
fn an_api_that_takes_no_events_delays_nothing() -> Result<()> {
    play(&Setting::default(), |scene| {
        let fault = Fault::new(Act::Hang).resource("events");
        let id = scene.api.add_fault(fault);
        let leader = scene.settled()?;
        scene.set("kept", "1")?;
        scene.pods[leader].redis.kill()?;
        let next = scene.settled_without(&[leader])?;
        ensure!(scene.api.objects("events", "default")?.is_empty());
        let other = (0..3).find(|index| ![leader, next].contains(index));
        let other = &mut scene.pods[other.context("there are three")?].agent;
        other.terminate()?;
        ensure!(other.wait(PATIENCE)?.success(), "it ends all the same");
        scene.api.remove_fault(id);
        // Late, but with the time at which it happened.
        told(scene, "Pod", &scene.pods[next].name, "FailedOver")?;
        Ok(())
    })
}

#[test]
fn who_may_not_tell_says_so_once() -> Result<()> {
    let setting = Setting {
        access: Some(Access::all().deny(&["create", "patch"], EVENTS, "events")),
        ..Setting::default()
    };
    play(&setting, |scene| {
        let leader = scene.settled()?;
        until(PATIENCE, "a refusal", || {
            let (_, body) = scene.pods[leader].get("/metrics")?;
            let label = [("result", "dropped")];
            let dropped = Scrape::parse(&body)?.value("bellwether_events_total", &label);
            ensure!(dropped.is_some_and(|dropped| dropped >= 1.0), "{dropped:?}");
            Ok(())
        })?;
        for _ in 0..2 {
            let leader = scene.settled()?;
            let (code, body) = scene.pods[leader].ask("POST", "/switchover")?;
            ensure!(code == 200, "{code} {body}");
        }
        scene.settled()?;
        for pod in &scene.pods {
            let (log, said) = (pod.log(), "Kubernetes Events are not told");
            let times = log.lines().filter(|line| line.contains(said)).count();
            ensure!(times <= 1, "{} says it {times} times", pod.name);
            until(PATIENCE, "it is ready all the same", || {
                let (code, reason) = pod.get("/readyz")?;
                ensure!(code == 200, "{code} {reason}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn metrics_tell_of_a_failover_and_of_the_api() -> Result<()> {
    play(&Setting::default(), |scene| {
        let leader = scene.settled()?;
        scene.set("kept", "1")?;
        scene.pods[leader].redis.kill()?;
        let next = scene.settled_without(&[leader])?;
        let failover: &[(&str, &str)] = &[("cause", "server_down")];
        until(PATIENCE, "figures of the new leader", || {
            let (code, body) = scene.pods[next].get("/metrics")?;
            ensure!(code == 200, "{code} {body}");
            let scrape = Scrape::parse(&body)?;
            let value = |name: &str, labels: &[(&str, &str)]| {
                let name = format!("bellwether_{name}");
                scrape
                    .value(&name, labels)
                    .with_context(|| format!("no {name}"))
            };
            ensure!(value("leader", &[])? == 1.0);
            ensure!(value("role", &[("role", "primary")])? == 1.0);
            ensure!(value("failovers_total", failover)? >= 1.0);
            let remaining = value("lease_remaining_seconds", &[])?;
            ensure!(remaining > 0.0 && remaining <= 4.0, "{remaining}");
            ensure!(value("api_calls_total", &[("result", "ok")])? >= 1.0);
            ensure!(value("api_answered_seconds", &[])? < PATIENCE.as_secs_f64());
            ensure!(value("events_total", &[("result", "told")])? >= 1.0);
            ensure!(value("paused", &[])? == 0.0);
            ensure!(value("member_up", &[("member", &scene.pods[leader].name)])? == 0.0);
            let page = include_str!("../../../hive/METRICS.md");
            let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
            let documented: BTreeSet<_> = rows.filter_map(|row| row.split('`').next()).collect();
            let names = scrape.names();
            let secret: Vec<_> = names.difference(&documented).collect();
            ensure!(secret.is_empty(), "not documented: {secret:?}");
            for name in ["bellwether_api_calls_total", "bellwether_events_total"] {
                ensure!(documented.contains(name) && names.contains(name), "{name}");
            }
            Ok(())
        })
    })
}

/// It has nothing to ask for: the watch shows it the leader's renewals.
#[test]
fn who_follows_hears_of_the_api_without_asking() -> Result<()> {
    play(&Setting::default(), |scene| {
        let leader = scene.settled()?;
        let began = Instant::now();
        until(PATIENCE, "it was heard of since", || {
            let (_, body) = scene.pods[(leader + 1) % 3].get("/metrics")?;
            let scrape = Scrape::parse(&body)?;
            let heard = scrape.value("bellwether_api_answered_seconds", &[]);
            let (heard, elapsed) = (heard.context("it is there")?, began.elapsed());
            ensure!(elapsed > Duration::from_secs(5), "after some renewals");
            ensure!(heard < elapsed.as_secs_f64(), "{heard} s ago, {elapsed:?}");
            Ok(())
        })
    })
}

#[test]
fn a_failover_for_want_of_an_agent_is_told_as_one() -> Result<()> {
    play(&Setting::default(), |scene| {
        let leader = scene.settled()?;
        scene.set("kept", "1")?;
        scene.pods[leader].agent.kill()?;
        let next = scene.settled_without(&[leader])?;
        let (_, body) = scene.pods[next].get("/metrics")?;
        let scrape = Scrape::parse(&body)?;
        for (name, label) in [
            ("bellwether_failovers_total", ("cause", "leader_lost")),
            ("bellwether_fences_total", ("whose", "other")),
        ] {
            let times = scrape.value(name, &[label]);
            ensure!(times.is_some_and(|times| times >= 1.0), "{name}: {times:?}");
        }
        Ok(())
    })
}

/// What is told of a lease is as of now, not as of the last renewal.
#[test]
fn the_rest_of_a_lease_shrinks_while_the_api_is_away() -> Result<()> {
    play(&Setting::default(), |scene| {
        let leader = scene.settled()?;
        for pod in &scene.pods {
            pod.link.refuse()?;
        }
        let mut last = f64::MAX;
        until(Duration::from_secs(30), "the lease runs out", || {
            let (_, body) = scene.pods[leader].get("/metrics")?;
            let scrape = Scrape::parse(&body)?;
            let remaining = scrape.value("bellwether_lease_remaining_seconds", &[]);
            let remaining = remaining.context("no lease")?;
            assert!(remaining <= last.max(4.0), "{remaining} after {last}");
            last = remaining;
            let primary = scrape.value("bellwether_role", &[("role", "primary")]);
            ensure!(remaining == 0.0 && primary == Some(0.0), "{remaining}");
            Ok(())
        })
    })
}

/// Whoever asked for it.
#[test]
fn a_pause_is_told_when_it_begins_and_ends() -> Result<()> {
    play(&Setting::default(), |scene| {
        scene.settled()?;
        let shows = |paused: f64| {
            until(PATIENCE, &format!("paused is {paused}"), || {
                for pod in &scene.pods {
                    let (_, body) = pod.get("/metrics")?;
                    let found = Scrape::parse(&body)?.value("bellwether_paused", &[]);
                    ensure!(found == Some(paused), "{}: {found:?}", pod.name);
                }
                Ok(())
            })
        };
        shows(0.0)?;
        for (value, paused, reason) in [
            (Value::from("true"), 1.0, "Paused"),
            (Value::Null, 0.0, "Resumed"),
        ] {
            scene.api.update("leases", "default", "redis", |lease| {
                lease["metadata"]["annotations"]["bellwether.dev/paused"] = value.clone();
            })?;
            shows(paused)?;
            let event = told(scene, "Lease", "redis", reason)?;
            ensure!(event["related"]["kind"] == "Pod", "{event}");
        }
        Ok(())
    })
}

//! SIGTERM at every moment: the agent ends in order, in bounded time, and with one line at most.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Group, GroupOptions, Process, until};
use nix::sys::signal::Signal;

use crate::scene::{Lone, LoneOptions, PATIENCE, http, ready, settled, three, turn, with_group};

/// The default of --shutdown-timeout is 5 s; the rest is for a busy machine.
const BOUND: Duration = Duration::from_secs(15);

fn ends(agent: &mut Process) -> Result<Option<i32>> {
    let since = Instant::now();
    let status = agent.wait(PATIENCE)?;
    ensure!(since.elapsed() < BOUND, "it took {:?}", since.elapsed());
    status.code().with_context(|| format!("{status}")).map(Some)
}

fn ends_well(agent: &mut Process) -> Result<()> {
    let code = ends(agent)?;
    ensure!(code == Some(0), "exit code {code:?}");
    Ok(())
}

/// At its start, while the group forms, and when it has formed.
#[test]
fn terminated_at_any_moment_of_forming() -> Result<()> {
    for pause in [0, 5, 20, 60, 150, 400, 1000] {
        with_group(&three(), |group| {
            // Each in turn, so that the first signals find agents that wait for the others.
            for node in &mut group.nodes {
                std::thread::sleep(Duration::from_millis(pause));
                until(PATIENCE, "the program to run", || node.log_has_begun())?;
                node.agent.terminate()?;
            }
            for node in &mut group.nodes {
                ends_well(&mut node.agent).with_context(|| format!("after {pause} ms"))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

trait Begun {
    fn log_has_begun(&self) -> bool;
}

impl Begun for bellwether_testkit::Node {
    /// The first that it logs is that clients are listened for.
    fn log_has_begun(&self) -> bool {
        self.log().contains("clients are brought")
    }
}

#[test]
fn terminated_twice_in_a_row() -> Result<()> {
    with_group(&three(), |group| {
        let primary = settled(group)?;
        let agent = &mut group.nodes[primary].agent;
        agent.terminate()?;
        agent.signal(Signal::SIGTERM).or_else(ended)?;
        agent.signal(Signal::SIGINT).or_else(ended)?;
        ends_well(agent)?;
        one_left_serves(group, primary)
    })
}

/// The second signal may come when all is over.
#[expect(clippy::unnecessary_wraps, reason = "takes the place of a result")]
fn ended(_: anyhow::Error) -> Result<()> {
    Ok(())
}

fn one_left_serves(group: &Group, gone: usize) -> Result<()> {
    for (index, node) in group.nodes.iter().enumerate() {
        if index != gone {
            until(PATIENCE, "another primary", || ready(node.admin))?;
        }
    }
    Ok(())
}

/// All at once: each may be the other's successor.
#[test]
fn all_terminated_at_once() -> Result<()> {
    with_group(&three(), |group| {
        settled(group)?;
        for node in &mut group.nodes {
            node.agent.terminate()?;
        }
        for node in &mut group.nodes {
            ends(&mut node.agent)?;
        }
        let codes = group.nodes.iter_mut().map(|node| node.agent.exit_status());
        println!("ended with {:?}", codes.collect::<Result<Vec<_>>>()?);
        Ok(())
    })
}

/// The last one has nobody to hand over to, and does not wait for anybody.
#[test]
fn the_last_one_terminated() -> Result<()> {
    with_group(
        &GroupOptions {
            nodes: 1,
            ..three()
        },
        |group| {
            settled(group)?;
            group.nodes[0].agent.terminate()?;
            ends_well(&mut group.nodes[0].agent)
        },
    )
}

#[test]
fn terminated_while_its_server_is_down() -> Result<()> {
    with_server(|node| node.redis.kill())
}

#[test]
fn terminated_while_its_server_hangs() -> Result<()> {
    with_server(|node| node.redis.stop())
}

fn with_server(trouble: impl Fn(&mut Lone) -> Result<()>) -> Result<()> {
    let _turn = turn();
    bellwether_testkit::install::redis_server()?;
    for serving in [false, true] {
        let mut node = LoneOptions::alone()?.start()?;
        if serving {
            until(PATIENCE, "readiness", || ready(node.admin))?;
        } else {
            until(PATIENCE, "the agent", || http(node.admin, "GET /livez"))?;
        }
        trouble(&mut node)?;
        node.agent.terminate()?;
        ends(&mut node.agent).with_context(|| node.log())?;
    }
    Ok(())
}

/// Nobody is known and nothing is advertised: the agent waits for an address, and ends.
#[test]
fn terminated_before_anybody_is_known() -> Result<()> {
    let _turn = turn();
    bellwether_testkit::install::redis_server()?;
    let dns = bellwether_testkit::DnsServer::start()?;
    let mut node = LoneOptions::alone()?.start()?;
    node.agent.kill()?;
    let port = bellwether_testkit::ports::free()?;
    let program = bellwether_testkit::Program::new(crate::scene::AGENT)
        .args(["--listen", &node.proxy.to_string()])
        .args(["--admin-listen", &node.admin.to_string()])
        .args(["--peer-listen", &format!("127.0.0.1:{port}")])
        .args(["--peers", "dns://nobody.test:1"])
        .args(["--dns-servers", &dns.address().to_string()])
        .captured();
    let mut agent = program.spawn()?;
    until(PATIENCE, "a reason", || {
        let (code, body) = http(node.admin, "GET /readyz")?;
        ensure!(code == 503 && body.contains("address"), "{code} {body}");
        Ok(())
    })?;
    agent.terminate()?;
    ends_well(&mut agent)
}

//! Groups from cold: who is primary, and what clients of every node can do.

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{
    Boot, Group, GroupOptions, Network, Options, Program, Redis, install, networks_or_skip, ports,
    until,
};

use crate::scene::{
    AGENT, Lone, LoneOptions, PATIENCE, ask, http, logs, ready, settled, status, three, turn,
    with_group,
};

fn forms(nodes: usize) -> Result<()> {
    with_group(&GroupOptions { nodes, ..three() }, |group| {
        let primary = settled(group)?;
        serves_everywhere(group, primary)
    })
}

/// Any proxy takes writes and reads them back; every read port answers from a server that knows.
fn serves_everywhere(group: &Group, primary: usize) -> Result<()> {
    for (index, node) in group.nodes.iter().enumerate() {
        let (key, value) = (format!("by-{index}"), format!("value-{index}"));
        let _: String = ask(node.proxy, &["SET", &key, &value])?;
        for other in &group.nodes {
            let read: String = ask(other.proxy, &["GET", &key])?;
            ensure!(read == value, "{} read {read}", other.name);
            until(PATIENCE, "the write to be read", || {
                let read: Option<String> = ask(other.reads, &["GET", &key])?;
                ensure!(
                    read.as_ref() == Some(&value),
                    "{} read {read:?}",
                    other.name
                );
                Ok(())
            })?;
        }
    }
    for (index, node) in group.nodes.iter().enumerate() {
        // Each brings its readers to its own server, if that is a replica. Views follow a little
        // later than servers.
        until(PATIENCE, "readers to be at the right server", || {
            let info: String = ask(node.reads, &["INFO", "server"])?;
            let own = info.contains(&format!("tcp_port:{}\r", node.redis.port()));
            ensure!(own == (index != primary), "{index}: {info}");
            Ok(())
        })?;
        let info: String = ask(node.proxy, &["INFO", "server"])?;
        let port = group.nodes[primary].redis.port();
        ensure!(
            info.contains(&format!("tcp_port:{port}\r")),
            "{index}: {info}"
        );
    }
    Ok(())
}

#[test]
fn two_form_a_group() -> Result<()> {
    forms(2)
}

#[test]
fn three_form_a_group() -> Result<()> {
    forms(3)
}

#[test]
fn five_form_a_group() -> Result<()> {
    forms(5)
}

#[test]
fn one_serves_alone() -> Result<()> {
    with_group(
        &GroupOptions {
            nodes: 1,
            ..three()
        },
        |group| {
            settled(group)?;
            let node = &group.nodes[0];
            let _: String = ask(node.proxy, &["SET", "a", "1"])?;
            let read: String = ask(node.reads, &["GET", "a"])?;
            ensure!(read == "1", "no replica: the primary answers readers");
            Ok(())
        },
    )
}

/// Agents whose servers are not there yet say so, and serve when they are.
#[test]
fn servers_that_start_after_their_agents() -> Result<()> {
    with_group(&three(), |group| {
        for node in &mut group.nodes {
            node.agent.kill()?;
            node.redis.kill()?;
        }
        for node in &mut group.nodes {
            node.restart_agent()?;
        }
        for node in &group.nodes {
            until(PATIENCE, "the missing server to show", || {
                let (code, body) = http(node.admin, "GET /readyz")?;
                let address = node.redis.address().to_string();
                ensure!(code == 503 && body.contains(&address), "{code} {body}");
                Ok(())
            })?;
        }
        for node in &mut group.nodes {
            node.restart_redis_empty(Boot::ReplicaOfNowhere)?;
        }
        let primary = settled(group)?;
        serves_everywhere(group, primary)
    })
}

/// Four agents that all know each other's addresses, two of each group.
#[test]
fn groups_of_different_names_never_mix() -> Result<()> {
    let _turn = turn();
    install::redis_server()?;
    let peers = (0..4)
        .map(|_| Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?))))
        .collect::<Result<Vec<_>>>()?;
    let all: Vec<_> = peers.iter().map(ToString::to_string).collect();
    let nodes = peers
        .iter()
        .enumerate()
        .map(|(index, peer)| {
            let mut options = LoneOptions::at(*peer, all.join(","));
            let name = ["red", "blue"][index % 2];
            options.flags = vec!["--group".to_owned(), name.to_owned()];
            options.start()
        })
        .collect::<Result<Vec<_>>>()?;
    apart(&nodes).with_context(|| logs(&nodes))
}

fn apart(nodes: &[Lone]) -> Result<()> {
    let primary_of = |colour: [usize; 2]| {
        until(PATIENCE, "a primary and its replica", || {
            let [a, b] = colour.map(|index| &nodes[index]);
            let of = |p: &Lone, r: &Lone| p.is_primary() && r.follows(p);
            match (of(a, b), of(b, a)) {
                (true, _) => Ok(colour[0]),
                (_, true) => Ok(colour[1]),
                _ => Err(format!("{:?} {:?}", a.redis.role(), b.redis.role())),
            }
        })
    };
    let (red, blue) = (primary_of([0, 2])?, primary_of([1, 3])?);
    for (index, node) in nodes.iter().enumerate() {
        let colour = ["red", "blue"][index % 2];
        let _: String = ask(node.proxy, &["SET", "colour", colour])?;
    }
    for (index, node) in nodes.iter().enumerate() {
        let read: String = ask(node.proxy, &["GET", "colour"])?;
        ensure!(read == ["red", "blue"][index % 2], "{index} reads {read}");
        let members = status(node.admin)?["members"].clone();
        let members = members.as_object().context("members")?.len();
        ensure!(members == 1, "{index} knows {members} others");
        until(PATIENCE, "readiness", || ready(node.admin))?;
    }
    // Nothing has moved meanwhile.
    ensure!(primary_of([0, 2])? == red && primary_of([1, 3])? == blue);
    Ok(())
}

/// Without a password, and not told otherwise, an agent serves its own machine only.
#[test]
fn protected_mode_refuses_other_machines() -> Result<()> {
    if !networks_or_skip("protected_mode_refuses_other_machines") {
        return Ok(());
    }
    let _turn = turn();
    install::redis_server()?;
    let network = Network::new(1)?;
    let host = &network.hosts()[0];
    let redis = Redis::start(Options {
        host: Some(host.clone()),
        ..Options::default()
    })?;
    let port = ports::free()?;
    let _agent = Program::new(AGENT)
        .args(["--redis", &format!("127.0.0.1:{}", redis.port())])
        .args(["--listen", &format!("0.0.0.0:{port}")])
        .args(["--peers", &format!("{}:3000", host.address)])
        .namespace(&host.namespace)
        .spawn()?;
    let outside = SocketAddr::new(host.management, port);
    until(PATIENCE, "another machine to be refused", || {
        // Said before anything is asked.
        let mut said = String::new();
        TcpStream::connect(outside)?.read_to_string(&mut said)?;
        ensure!(said.starts_with("-DENIED "), "{said}");
        Ok(())
    })?;
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    host.run(|| {
        let _: String = ask(own, &["SET", "a", "1"])?;
        Ok(())
    })
}

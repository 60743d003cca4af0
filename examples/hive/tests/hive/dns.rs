//! Agents that find each other by a real name server, as in a headless Service.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{
    Boot, Data, DnsServer, InTurn, Writer, WriterOptions, install, ports, until,
};

use crate::scene::{Lone, LoneOptions, PATIENCE, ask, grows, kept, logs, turn};

const NAME: &str = "hive.test";
const TTL: Duration = Duration::from_secs(1);

/// A record, and an agent on an address of its own; all with the same peer port.
fn node(number: u8, port: u16, dns: &DnsServer) -> Result<Lone> {
    let peer = SocketAddr::new(address(number), port);
    let mut options = LoneOptions::at(peer, format!("dns://{NAME}:{port}"));
    options.flags = vec!["--dns-servers".to_owned(), dns.address().to_string()];
    options.start()
}

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, number).into()
}

fn records(dns: &DnsServer, numbers: &[u8]) -> Result<()> {
    let addresses: Vec<_> = numbers.iter().copied().map(address).collect();
    dns.set_addresses(NAME, TTL, &addresses)
}

/// Waits for one primary that all these follow; which one.
fn formed(nodes: &[Lone]) -> Result<usize> {
    until(PATIENCE, "one primary that all follow", || {
        let primaries: Vec<_> = (0..nodes.len())
            .filter(|i| nodes[*i].is_primary())
            .collect();
        ensure!(primaries.len() == 1, "primaries: {primaries:?}");
        let primary = &nodes[primaries[0]];
        for (index, node) in nodes.iter().enumerate() {
            let well = index == primaries[0] || node.follows(primary);
            ensure!(well, "{index}: {:?}", node.redis.role());
        }
        Ok(primaries[0])
    })
}

#[test]
fn found_by_dns_and_not_disturbed_by_it() -> Result<()> {
    let _turn = turn();
    install::redis_server()?;
    let (dns, port) = (DnsServer::start()?, ports::free()?);
    let mut nodes = Vec::new();
    play(&mut nodes, &dns, port).with_context(|| logs(&nodes))
}

fn play(nodes: &mut Vec<Lone>, dns: &DnsServer, port: u16) -> Result<()> {
    // One by one: each starts before its record is there, as a pod does.
    for number in [2, 3, 4] {
        nodes.push(node(number, port, dns)?);
        let known: Vec<u8> = (2..=number).collect();
        records(dns, &known)?;
        formed(nodes)?;
        let _: u64 = ask(nodes[0].proxy, &["INCR", "nodes"])?;
    }
    let primary = formed(nodes)?;
    let route = InTurn::new(nodes.iter().map(|node| node.proxy));
    let writer = Writer::start(route, WriterOptions::new("numbers"));
    grows(&nodes[primary].redis, "numbers", 100)?;

    // A record that is gone says nothing of an agent that is there.
    records(dns, &[2, 3])?;
    let asked = dns.queries();
    until(PATIENCE, "the agents to ask again", || {
        dns.queries() >= asked + 12
    })?;
    ensure!(
        formed(nodes)? == primary,
        "a removed record moved the primary"
    );

    // Nor does a name server that is silent, that fails, or that knows nobody.
    dns.silence();
    until(PATIENCE, "an agent to say that nobody answers", || {
        nodes.iter().all(|node| node.log().contains("WARN"))
    })?;
    let asked = dns.queries();
    until(PATIENCE, "the agents to ask again", || {
        dns.queries() >= asked + 6
    })?;
    dns.fail();
    until(PATIENCE, "the agents to ask again", || {
        dns.queries() >= asked + 18
    })?;
    dns.revive();
    dns.remove(NAME)?;
    let asked = dns.queries();
    until(PATIENCE, "the agents to ask again", || {
        dns.queries() >= asked + 12
    })?;
    ensure!(
        formed(nodes)? == primary,
        "a failing name server moved the primary"
    );
    let record = writer.finish();
    let kept = kept(&record, &nodes[primary].redis)?;
    ensure!(
        kept.missing.is_empty() && record.errors.is_empty(),
        "{:?}",
        record.errors
    );

    // Without its help the group still replaces a primary.
    dns.silence();
    nodes[primary].redis.kill()?;
    let _: u64 = ask(nodes[(primary + 1) % 3].proxy, &["INCR", "nodes"])?;
    nodes[primary]
        .redis
        .restart(Data::Keep, Boot::ReplicaOfNowhere)?;
    let now = formed(nodes)?;
    ensure!(now != primary, "the restarted server is primary");
    let count: u64 = ask(nodes[0].proxy, &["GET", "nodes"])?;
    ensure!(count == 4, "{count}");
    Ok(())
}

/// Without a name nobody is known; when it appears, those who know each other merge.
#[test]
fn agents_that_start_before_the_name_exists() -> Result<()> {
    let _turn = turn();
    install::redis_server()?;
    let (dns, port) = (DnsServer::start()?, ports::free()?);
    let nodes = [2, 3, 4].map(|number| node(number, port, &dns));
    let nodes = nodes.into_iter().collect::<Result<Vec<_>>>()?;
    let scene = || {
        until(PATIENCE, "each agent to have asked", || dns.queries() >= 12)?;
        records(&dns, &[2, 3, 4])?;
        formed(&nodes)?;
        let _: String = ask(nodes[0].proxy, &["SET", "a", "1"])?;
        let read: String = ask(nodes[2].proxy, &["GET", "a"])?;
        ensure!(read == "1");
        Ok(())
    };
    scene().with_context(|| logs(&nodes))
}

//! One try with Redis Sentinel: three servers, three sentinels, and a client that asks them.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{
    Boot, Options, Redis, Role, Route, Sentinel, Writer, WriterOptions, until,
};

use super::{Fault, Outcome, judge};

const PATIENCE: Duration = Duration::from_secs(60);
const CALM: Duration = Duration::from_millis(700);
const DOWN_AFTER: Duration = Duration::from_millis(1000);

/// What a client library does: stay with a primary until it fails, then ask the sentinels.
struct Ask {
    sentinels: Vec<SocketAddr>,
    known: Option<SocketAddr>,
}

impl Route for Ask {
    fn next(&mut self, failed: Option<SocketAddr>) -> Option<SocketAddr> {
        if failed.is_some() || self.known.is_none() {
            self.known = self
                .sentinels
                .iter()
                .find_map(|sentinel| primary_by(*sentinel).ok());
        }
        self.known
    }
}

fn primary_by(sentinel: SocketAddr) -> Result<SocketAddr> {
    let brief = Duration::from_millis(200);
    let client = redis::Client::open(format!("redis://{sentinel}"))?;
    let mut connection = client.get_connection_with_timeout(brief)?;
    connection.set_read_timeout(Some(brief))?;
    let (host, port): (String, u16) = redis::cmd("SENTINEL")
        .arg("get-master-addr-by-name")
        .arg(Sentinel::GROUP)
        .query(&mut connection)?;
    Ok(SocketAddr::new(host.parse()?, port))
}

pub(super) fn try_fault(fault: Fault) -> Result<Outcome> {
    let began = Instant::now();
    let mut servers = start_servers()?;
    let mut sentinels = Sentinel::three(servers[0].address(), 2, DOWN_AFTER)?;
    let formed = began.elapsed();

    let route = Ask {
        sentinels: sentinels.iter().map(Sentinel::address).collect(),
        known: None,
    };
    let mut options = WriterOptions::new("well");
    // Short, as a client that cares sets it: a hung primary is given up soon.
    options.patience = Duration::from_millis(250);
    let writer = Writer::start(route, options);
    thread::sleep(CALM);

    let fault_at = Instant::now();
    strike(&mut servers, &mut sentinels, fault)?;
    if fault != Fault::None {
        until(PATIENCE, "another primary", || taken_over(&servers))?;
    }
    thread::sleep(CALM * 3);
    let record = writer.finish();
    let stopped = matches!(fault, Fault::RedisStopped | Fault::NodeStopped);
    if stopped {
        servers[0].cont()?;
        sentinels[0].process().cont()?;
    }
    if !matches!(fault, Fault::None | Fault::RedisKilled | Fault::NodeKilled) {
        // The old one learns within seconds that it is no longer primary.
        until(PATIENCE, "the old primary to follow", || {
            ensure!(primaries(&servers) == 1, "several primaries");
            Ok::<_, anyhow::Error>(())
        })?;
    }
    let primaries = primaries(&servers);
    let serving = servers
        .iter()
        .position(is_primary)
        .context("there is no primary")?;
    let mut connection = servers[serving].connect()?;
    let comparison = record.compare(&mut connection)?;
    Ok(judge(&record, &comparison, fault_at, formed, primaries))
}

fn start_servers() -> Result<Vec<Redis>> {
    let primary = Redis::start(Options {
        boot: Boot::Plain,
        ..Options::default()
    })?;
    let mut servers = vec![primary];
    for _ in 0..2 {
        let replica = Redis::fresh()?;
        let port = servers[0].port().to_string();
        replica.command(&["REPLICAOF", "127.0.0.1", &port])?;
        servers.push(replica);
    }
    Ok(servers)
}

fn strike(servers: &mut [Redis], sentinels: &mut [Sentinel], fault: Fault) -> Result<()> {
    match fault {
        Fault::None => thread::sleep(CALM),
        Fault::RedisKilled => servers[0].kill()?,
        Fault::NodeKilled => {
            sentinels[0].process().kill()?;
            servers[0].kill()?;
        }
        Fault::RedisStopped => servers[0].stop()?,
        Fault::NodeStopped => {
            sentinels[0].process().stop()?;
            servers[0].stop()?;
        }
        Fault::Planned => {
            let client = redis::Client::open(format!("redis://{}", sentinels[0].address()))?;
            let mut connection = client.get_connection()?;
            let failover = redis::cmd("SENTINEL")
                .arg("FAILOVER")
                .arg(Sentinel::GROUP)
                .query(&mut connection);
            let _: String = failover?;
        }
        other => anyhow::bail!("{} is not for Sentinel", other.name()),
    }
    Ok(())
}

fn taken_over(servers: &[Redis]) -> Result<()> {
    ensure!(
        servers[1..].iter().any(is_primary),
        "no replica was promoted"
    );
    Ok(())
}

fn is_primary(server: &Redis) -> bool {
    server
        .role_within(Duration::from_millis(200))
        .as_ref()
        .is_ok_and(Role::is_primary)
}

fn primaries(servers: &[Redis]) -> usize {
    servers.iter().filter(|server| is_primary(server)).count()
}

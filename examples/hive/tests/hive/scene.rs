//! What every scene needs: a group or a single node, clients, and a judgement of what was kept.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{
    Comparison, Group, GroupOptions, Options, Process, Program, Record, Redis, Role, install,
    ports, until,
};
use serde_json::Value;
use tempfile::NamedTempFile;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_bellwether-hive");

/// Far more than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Held by the scene whose turn it is.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays a scene with a group; a failure shows what the agents logged.
pub(crate) fn with_group(
    options: &GroupOptions,
    scene: impl FnOnce(&mut Group) -> Result<()>,
) -> Result<()> {
    let _turn = turn();
    install::redis_server()?;
    let mut group = Group::start(options)?;
    scene(&mut group).with_context(|| group.logs())
}

pub(crate) fn three() -> GroupOptions {
    GroupOptions::three(AGENT)
}

/// Waits until there is one primary that all follow and every agent is ready; which one.
pub(crate) fn settled(group: &Group) -> Result<usize> {
    for node in &group.nodes {
        until(PATIENCE, &format!("{} to be ready", node.name), || {
            ready(node.admin)
        })?;
    }
    group.formed(PATIENCE)
}

/// Waits until another server than `gone` is primary, all that can be asked follow it, and no
/// other one is primary; which one.
pub(crate) fn settled_without(group: &Group, gone: &[usize]) -> Result<usize> {
    until(PATIENCE, "the others to have one primary", || {
        let roles = group.roles();
        let primaries: Vec<_> = (0..roles.len())
            .filter(|index| roles[*index].as_ref().is_ok_and(Role::is_primary))
            .collect();
        ensure!(primaries.len() == 1, "{roles:?}");
        let primary = primaries[0];
        ensure!(!gone.contains(&primary), "the old primary still serves");
        let port = group.nodes[primary].redis.port();
        for (index, role) in roles.iter().enumerate() {
            let counts = index != primary && !gone.contains(&index);
            let follows = role.as_ref().is_ok_and(|role| role.follows(port));
            ensure!(!counts || follows, "{index}: {role:?}");
        }
        Ok(primary)
    })
}

pub(crate) fn client(address: SocketAddr) -> Result<redis::Connection> {
    let client = redis::Client::open(format!("redis://{address}"))?;
    let connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// A command on a connection of its own; retried until it is answered without an error.
pub(crate) fn ask<T: redis::FromRedisValue>(address: SocketAddr, words: &[&str]) -> Result<T> {
    until(PATIENCE, &words.join(" "), || {
        let reply = redis::cmd(words[0])
            .arg(&words[1..])
            .query(&mut client(address)?);
        reply.with_context(|| format!("{words:?} at {address}"))
    })
}

/// Waits until a server's list has grown by `more` from what it is now.
pub(crate) fn grows(server: &Redis, key: &str, more: u64) -> Result<()> {
    let length = || Ok::<u64, anyhow::Error>(server.command(&["LLEN", key])?.parse()?);
    let before = length()?;
    until(PATIENCE, &format!("{key} to grow"), || {
        let now = length()?;
        ensure!(now >= before + more, "from {before} to {now}");
        Ok(())
    })
}

/// Sets `key` to "kept" on every server.
pub(crate) fn replicated_write(group: &Group, primary: usize, key: &str) -> Result<()> {
    let mut connection = group.nodes[primary].redis.connect()?;
    let () = redis::cmd("SET")
        .arg(key)
        .arg("kept")
        .query(&mut connection)?;
    let others = group.nodes.len() - 1;
    let copies: usize = redis::cmd("WAIT")
        .arg(others)
        .arg(20_000)
        .query(&mut connection)?;
    ensure!(copies == others, "{copies} replicas have {key}");
    Ok(())
}

/// What a server has of what a writer wrote: nothing twice, and in order what was acknowledged. A
/// number that failed may have been appended all the same, and late.
pub(crate) fn kept(record: &Record, server: &Redis) -> Result<Comparison> {
    let mut connection = server.connect()?;
    let kept = record.compare(&mut connection)?;
    let (key, errors) = (&record.key, record.errors.len());
    let (acknowledged, missing) = (record.acknowledged.len(), kept.missing.len());
    println!("{key}: {acknowledged} acknowledged, {missing} missing, {errors} errors");
    ensure!(kept.repeated == 0, "{key}: {} repeated", kept.repeated);
    let failed: BTreeSet<u64> = record.errors.iter().map(|error| error.1).collect();
    let list = redis::cmd("LRANGE")
        .arg(key)
        .arg(0)
        .arg(-1)
        .query(&mut connection);
    let mut list: Vec<u64> = list?;
    list.retain(|number| !failed.contains(number));
    let disorder = list.windows(2).find(|pair| pair[0] > pair[1]);
    ensure!(disorder.is_none(), "{key}: {disorder:?}");
    Ok(kept)
}

/// What is missing is one run of acknowledged numbers, as an asynchronous failover loses its tail:
/// nothing was kept in the midst of it.
pub(crate) fn one_tail(record: &Record, kept: &Comparison) -> Result<()> {
    let lost = |number: u64| !kept.kept.contains(&number);
    let holes = record
        .acknowledged
        .windows(2)
        .filter(|pair| !lost(pair[0].0) && lost(pair[1].0))
        .count();
    ensure!(holes <= 1, "{}: {holes} holes", record.key);
    Ok(())
}

/// Speaks HTTP: the request's first line without the version; status and body.
pub(crate) fn http(address: SocketAddr, request: &str) -> Result<(u16, String)> {
    http_with(address, request, "")
}

/// The same with more headers, each with its line end.
pub(crate) fn http_with(
    address: SocketAddr,
    request: &str,
    headers: &str,
) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\
         {headers}\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}

pub(crate) fn ready(admin: SocketAddr) -> Result<()> {
    let (status, body) = http(admin, "GET /readyz")?;
    ensure!(status == 200, "{status} {body}");
    Ok(())
}

pub(crate) fn status(admin: SocketAddr) -> Result<Value> {
    let (status, body) = http(admin, "GET /status")?;
    ensure!(status == 200, "{status} {body}");
    Ok(serde_json::from_str(&body)?)
}

/// A server and an agent that are not part of a [`Group`].
pub(crate) struct Lone {
    pub(crate) redis: Redis,
    pub(crate) agent: Process,
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: NamedTempFile,
}

/// How to start a [`Lone`].
pub(crate) struct LoneOptions {
    pub(crate) peer: SocketAddr,
    pub(crate) peers: String,
    pub(crate) flags: Vec<String>,
    pub(crate) log: &'static str,
    pub(crate) password: Option<String>,
}

impl LoneOptions {
    /// On this machine, its only peer.
    pub(crate) fn alone() -> Result<Self> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        Ok(Self::at(peer, peer.to_string()))
    }

    pub(crate) fn at(peer: SocketAddr, peers: String) -> Self {
        Self {
            peer,
            peers,
            flags: Vec::new(),
            log: "debug",
            password: None,
        }
    }

    pub(crate) fn start(self) -> Result<Lone> {
        let host: IpAddr = self.peer.ip();
        let redis = Redis::start(Options {
            bind: Some(host),
            password: self.password,
            ..Options::default()
        })?;
        let proxy = SocketAddr::new(host, ports::free()?);
        let admin = SocketAddr::new(host, ports::free()?);
        let log = NamedTempFile::new()?;
        let program = Program::new(AGENT)
            .args(["--redis", &redis.address().to_string()])
            .args(["--listen", &proxy.to_string()])
            .args(["--admin-listen", &admin.to_string()])
            .args(["--peer-listen", &self.peer.to_string()])
            .args(["--peers", &self.peers])
            .args(["--advertise", &host.to_string()])
            .args(self.flags)
            .env("RUST_LOG", self.log)
            .log(log.path());
        let agent = program.spawn()?;
        Ok(Lone {
            redis,
            agent,
            proxy,
            admin,
            log,
        })
    }
}

impl Lone {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap_or_else(|error| error.to_string())
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.redis.role().is_ok_and(|role| role.is_primary())
    }

    pub(crate) fn follows(&self, primary: &Self) -> bool {
        let role = self.redis.role();
        role.is_ok_and(|role| role.follows(primary.redis.port()))
    }
}

/// The logs of several, for a failure to show.
pub(crate) fn logs(nodes: &[Lone]) -> String {
    let log = |node: &Lone| format!("--- {}\n{}", node.proxy, node.log());
    nodes.iter().map(log).collect()
}

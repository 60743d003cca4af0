use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{Boot, Host, Options, Process, Program, Redis, Role, ports, until};

/// How to start a [`Group`].
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// The agent's program.
    pub agent: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// More flags for every agent.
    pub flags: Vec<String>,
    /// More of the environment of every agent, by name and value.
    pub environment: Vec<(String, String)>,
    /// More arguments for every server.
    pub redis: Vec<String>,
    /// A password for every server, which the agents get by environment.
    pub password: Option<String>,
    /// On which hosts; empty: all on this machine.
    pub hosts: Vec<Host>,
    /// What `--peers` says; by default the list of all.
    pub peers: Option<String>,
}

impl GroupOptions {
    /// Three nodes on this machine.
    #[must_use]
    pub fn three(agent: impl Into<PathBuf>) -> Self {
        Self {
            agent: agent.into(),
            nodes: 3,
            flags: Vec::new(),
            environment: Vec::new(),
            redis: Vec::new(),
            password: None,
            hosts: Vec::new(),
            peers: None,
        }
    }
}

/// Some redis-servers, each with an agent beside it, as processes.
#[derive(Debug)]
pub struct Group {
    /// In the order of their ports.
    pub nodes: Vec<Node>,
    dir: TempDir,
}

/// A redis-server and its agent.
#[derive(Debug)]
pub struct Node {
    /// The server.
    pub redis: Redis,
    /// The agent.
    pub agent: Process,
    /// What the group calls it.
    pub name: String,
    /// Where clients are brought to the primary.
    pub proxy: SocketAddr,
    /// Where clients are brought to a replica.
    pub reads: SocketAddr,
    /// The agent's admin port.
    pub admin: SocketAddr,
    program: Program,
    log: PathBuf,
}

impl Group {
    /// Starts servers and agents, and waits for nothing but the servers to answer.
    ///
    /// # Errors
    ///
    /// When a program cannot be started.
    pub fn start(options: &GroupOptions) -> Result<Self> {
        let dir = TempDir::new()?;
        let on = |index: usize| options.hosts.get(index);
        let address =
            |index: usize| on(index).map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |h| h.address);
        let peer_ports = (0..options.nodes)
            .map(|_| ports::free())
            .collect::<Result<Vec<_>>>()?;
        let names: Vec<_> = (0..options.nodes)
            .map(|index| SocketAddr::new(address(index), peer_ports[index]).to_string())
            .collect();
        let peers = options.peers.clone().unwrap_or_else(|| names.join(","));
        let mut nodes = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let redis = Redis::start(Options {
                host: on(index).cloned(),
                password: options.password.clone(),
                args: options.redis.clone(),
                ..Options::default()
            })?;
            nodes.push(Node::start(
                dir.path(),
                options,
                index,
                name,
                &peers,
                redis,
            )?);
        }
        Ok(Self { nodes, dir })
    }

    /// Where the agents' logs are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until exactly one server is primary and all others follow it with a link; which one.
    ///
    /// # Errors
    ///
    /// Shows what each server is if that does not come about in time.
    pub fn formed(&self, within: Duration) -> Result<usize> {
        until(within, "one primary that all follow", || self.primary())
    }

    /// The one primary that all others follow.
    ///
    /// # Errors
    ///
    /// Shows what each server is if there is none.
    pub fn primary(&self) -> Result<usize> {
        let roles = self.roles();
        let primaries: Vec<_> = (0..roles.len())
            .filter(|index| roles[*index].as_ref().is_ok_and(Role::is_primary))
            .collect();
        ensure!(
            primaries.len() == 1,
            "{} primaries: {roles:?}",
            primaries.len()
        );
        let primary = primaries[0];
        let port = self.nodes[primary].redis.port();
        for (index, role) in roles.iter().enumerate() {
            let follows = role.as_ref().is_ok_and(|role| role.follows(port));
            ensure!(
                index == primary || follows,
                "{index} does not follow {primary}: {role:?}"
            );
        }
        Ok(primary)
    }

    /// What each server says it is; a stopped one takes a fifth of a second to be given up.
    #[must_use]
    pub fn roles(&self) -> Vec<Result<Role>> {
        let brief = Duration::from_millis(200);
        self.nodes
            .iter()
            .map(|node| node.redis.role_within(brief))
            .collect()
    }

    /// The logs of all agents, for a failed test to show.
    #[must_use]
    pub fn logs(&self) -> String {
        let log = |node: &Node| {
            let (redis, text) = (node.redis.address(), node.log());
            format!("--- {} (redis {redis})\n{text}", node.name)
        };
        self.nodes.iter().map(log).collect()
    }
}

impl Node {
    fn start(
        dir: &Path,
        options: &GroupOptions,
        index: usize,
        name: &str,
        peers: &str,
        redis: Redis,
    ) -> Result<Self> {
        let host = options.hosts.get(index);
        let reach = host.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |host| host.management);
        let bind = host.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |_| {
            Ipv4Addr::UNSPECIFIED.into()
        });
        let peer = SocketAddr::new(bind, name.parse::<SocketAddr>()?.port());
        let [proxy, reads, admin] = [ports::free()?, ports::free()?, ports::free()?];
        let log = dir.join(format!("agent-{index}.log"));
        let at = |port| SocketAddr::new(bind, port).to_string();
        let mut program = Program::new(&options.agent)
            .args(["--redis", &format!("127.0.0.1:{}", redis.port())])
            .args(["--listen", &at(proxy), "--replica-listen", &at(reads)])
            .args(["--peer-listen", &peer.to_string(), "--peers", peers])
            .args(["--admin-listen", &at(admin), "--protected-mode", "no"])
            .args(&options.flags)
            .env("RUST_LOG", "debug")
            .log(&log);
        if let Some(host) = host {
            program = program.namespace(&host.namespace);
            program = program.args(["--advertise", &host.address.to_string()]);
        }
        if let Some(password) = &options.password {
            program = program
                .args(["--redis-password-from", "env:GROUP_PASSWORD"])
                .env("GROUP_PASSWORD", password);
        }
        for (name, value) in &options.environment {
            program = program.env(name, value);
        }
        let agent = program.spawn()?;
        Ok(Self {
            redis,
            agent,
            name: name.to_owned(),
            proxy: (reach, proxy).into(),
            reads: (reach, reads).into(),
            admin: (reach, admin).into(),
            program,
            log,
        })
    }

    /// What its agents have logged, over all their restarts; if that cannot be read, why.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string())
    }

    /// Kills the agent if it runs, and starts it again.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn restart_agent(&mut self) -> Result<()> {
        self.agent.kill()?;
        self.agent = self.program.spawn().context("the agent")?;
        Ok(())
    }

    /// Restarts the server on its port without its data, booted so.
    ///
    /// # Errors
    ///
    /// As [`Redis::restart`].
    pub fn restart_redis_empty(&mut self, boot: Boot) -> Result<()> {
        self.redis.restart(crate::Data::Empty, boot)
    }
}

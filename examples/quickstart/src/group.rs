//! The processes of the group: started, hurt on request, and ended with us.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use anyhow::{Context, Result, bail};
use bellwether_testkit::{Boot, Data, Options as Server, Process, Program, Redis, install};
use tempfile::TempDir;

use crate::{
    AGENT, Options, PARENT,
    command::{Deed, Part},
    ports::Ports,
};

/// A group of nodes, each a redis-server and an agent. Dropping it kills all of them; the kernel
/// does so if this process is killed.
#[derive(Debug)]
pub struct Group {
    pub(crate) nodes: Vec<Node>,
    /// Holds the logs. After the nodes, so that it is removed when they have ended.
    pub(crate) dir: TempDir,
}

/// What a process does at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    Paused,
    Ended(ExitStatus),
}

#[derive(Debug)]
pub(crate) struct Node {
    /// Counts from 1.
    pub(crate) number: usize,
    pub(crate) ports: Ports,
    redis: Redis,
    redis_paused: bool,
    agent: Process,
    agent_paused: bool,
    agent_program: Program,
    agent_log: PathBuf,
}

impl Group {
    /// Gets redis-server if it is missing and may be installed, and starts every process.
    ///
    /// # Errors
    ///
    /// When redis-server is missing, a port is in use, or a process does not start.
    pub fn start(options: &Options) -> Result<Self> {
        install::redis_server()?;
        let dir = tempfile::Builder::new()
            .prefix("bellwether-")
            .tempdir()
            .context("cannot make a temporary directory")?;
        let ports = (1..=options.nodes)
            .map(|number| Ports::choose(options.base_port, number))
            .collect::<Result<Vec<_>>>()?;
        let peers = ports
            .iter()
            .map(Ports::member)
            .collect::<Vec<_>>()
            .join(",");
        let nodes = ports
            .iter()
            .zip(1..)
            .map(|(ports, number)| {
                let dir = dir.path().join(format!("node-{number}"));
                Node::start(number, *ports, &peers, &dir)
            })
            .collect::<Result<_>>()?;
        Ok(Self { nodes, dir })
    }

    pub(crate) fn node(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number - 1]
    }
}

impl Node {
    fn start(number: usize, ports: Ports, peers: &str, dir: &Path) -> Result<Self> {
        // A server boots as a replica of nowhere; who may take writes is for the agents to agree.
        let redis = Redis::start(Server {
            port: Some(ports.redis),
            dir: Some(dir.to_owned()),
            boot: Boot::ReplicaOfNowhere,
            ..Server::default()
        })?;
        let agent_log = dir.join("agent.log");
        let this_program = env::current_exe().context("cannot find this program's file")?;
        let agent_program = Program::new(this_program)
            .args(agent_arguments(&ports, peers))
            .env(PARENT, std::process::id().to_string())
            .log(&agent_log);
        Ok(Self {
            number,
            ports,
            redis,
            redis_paused: false,
            agent: agent_program.spawn()?,
            agent_paused: false,
            agent_program,
            agent_log,
        })
    }

    /// Does it and says so in a line.
    ///
    /// # Errors
    ///
    /// When it cannot be done; a line for whoever typed it.
    pub(crate) fn suffer(&mut self, deed: Deed, part: Part) -> Result<String> {
        if deed != Deed::Restart
            && let Life::Ended(_) = self.life(part)?
        {
            bail!("node {}: its {part} does not run", self.number);
        }
        match deed {
            Deed::Kill => self.process(part).kill()?,
            Deed::Pause => self.process(part).stop()?,
            Deed::Continue => self.process(part).cont()?,
            Deed::Restart => self.restart(part)?,
        }
        let paused = match part {
            Part::Redis => &mut self.redis_paused,
            Part::Agent => &mut self.agent_paused,
        };
        *paused = deed == Deed::Pause;
        Ok(format!("node {}: {part} {deed}", self.number))
    }

    fn restart(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Redis => self.redis.restart(Data::Keep, Boot::ReplicaOfNowhere),
            Part::Agent => {
                self.agent.kill()?;
                self.agent = self.agent_program.spawn()?;
                Ok(())
            }
        }
    }

    pub(crate) fn life(&mut self, part: Part) -> Result<Life> {
        let paused = match part {
            Part::Redis => self.redis_paused,
            Part::Agent => self.agent_paused,
        };
        Ok(match self.process(part).exit_status()? {
            Some(status) => Life::Ended(status),
            None if paused => Life::Paused,
            None => Life::Running,
        })
    }

    fn process(&mut self, part: Part) -> &mut Process {
        match part {
            Part::Redis => self.redis.process(),
            Part::Agent => &mut self.agent,
        }
    }

    /// The end of what the agent logged.
    pub(crate) fn last_words(&self) -> Result<String> {
        let log = fs::read_to_string(&self.agent_log).context("cannot read an agent's log")?;
        let lines: Vec<_> = log.lines().collect();
        Ok(lines[lines.len().saturating_sub(5)..].join("\n"))
    }
}

/// The flags of `bellwether-hive`.
fn agent_arguments(ports: &Ports, peers: &str) -> Vec<String> {
    let flags = [
        ("--group", "quickstart".to_owned()),
        ("--advertise", "127.0.0.1".to_owned()),
        ("--redis", local(ports.redis)),
        ("--listen", local(ports.clients)),
        ("--replica-listen", local(ports.reads)),
        ("--peer-listen", local(ports.peers)),
        ("--admin-listen", local(ports.admin)),
        ("--peers", peers.to_owned()),
    ];
    let flags = flags
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value]);
    std::iter::once(AGENT.to_owned()).chain(flags).collect()
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

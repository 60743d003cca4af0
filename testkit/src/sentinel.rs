use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::redis::{directory, ping};
use crate::{Process, Program, ports, reply, until};

/// How long sentinels may take to start and to find each other.
const PATIENCE: Duration = Duration::from_secs(60);

/// Redis Sentinel, for comparison: `redis-server --sentinel` on a free port of 127.0.0.1.
///
/// Dropping it kills it.
#[derive(Debug)]
pub struct Sentinel {
    process: Process,
    address: SocketAddr,
    dir: TempDir,
}

impl Sentinel {
    /// What the sentinels call the group that they watch.
    pub const GROUP: &str = "mymaster";

    /// Starts three that watch a primary, and waits until each knows the other two and
    /// `replicas` replicas. They call a server down when it was silent for `down_after`; two must
    /// agree.
    ///
    /// # Errors
    ///
    /// When they cannot be started or do not find each other in a minute.
    pub fn three(primary: SocketAddr, replicas: usize, down_after: Duration) -> Result<Vec<Self>> {
        let sentinels = (0..3)
            .map(|_| Self::start(primary, 2, down_after))
            .collect::<Result<Vec<_>>>()?;
        for sentinel in &sentinels {
            until(PATIENCE, "the sentinels to find all", || {
                sentinel.knows(2, replicas)
            })?;
        }
        Ok(sentinels)
    }

    /// Starts one that needs `quorum` sentinels to call the primary down. Its failover timeout is
    /// ten times `down_after`.
    ///
    /// # Errors
    ///
    /// When it ends at once, or does not answer in a minute.
    pub fn start(primary: SocketAddr, quorum: u32, down_after: Duration) -> Result<Self> {
        let port = ports::free()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let (_, dir) = directory(None)?;
        let dir = dir.context("a fresh directory is temporary")?;
        let path = dir.path().join("sentinel.conf");
        fs::write(
            &path,
            configuration(address, dir.path(), primary, quorum, down_after),
        )?;
        let mut process = Program::new("redis-server")
            .arg(&path)
            .arg("--sentinel")
            .log(dir.path().join("sentinel.log"))
            .spawn()?;
        until(PATIENCE, "a sentinel to answer", || {
            match process.exit_status() {
                Ok(None) => ping(address),
                ended => Err(anyhow::anyhow!("it ended: {ended:?}")),
            }
        })?;
        Ok(Self {
            process,
            address,
            dir,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has logged.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.path().join("sentinel.log"))?)
    }

    /// Which server it holds for the primary.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn primary(&self) -> Result<SocketAddr> {
        let reply = self.command(&["SENTINEL", "get-master-addr-by-name", Self::GROUP])?;
        Ok(reply.replace('\n', ":").parse()?)
    }

    fn knows(&self, sentinels: usize, replicas: usize) -> Result<()> {
        let fields = self.command(&["SENTINEL", "master", Self::GROUP])?;
        let fields: Vec<&str> = fields.lines().collect();
        let count = |name| {
            let pair = fields.chunks_exact(2).find(|pair| pair[0] == name);
            pair.and_then(|pair| pair[1].parse::<usize>().ok())
                .unwrap_or(0)
        };
        let (others, slaves) = (count("num-other-sentinels"), count("num-slaves"));
        ensure!(
            others >= sentinels && slaves >= replicas,
            "{} knows {others} sentinels and {slaves} replicas",
            self.address
        );
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Result<String> {
        let timeout = Duration::from_secs(5);
        let mut connection = redis::Client::open(format!("redis://{}", self.address))?
            .get_connection_with_timeout(timeout)?;
        connection.set_read_timeout(Some(timeout))?;
        let (name, args) = words.split_first().context("a command has a name")?;
        Ok(reply::text(
            &redis::cmd(name).arg(args).query(&mut connection)?,
        ))
    }
}

fn configuration(
    own: SocketAddr,
    dir: &Path,
    primary: SocketAddr,
    quorum: u32,
    down_after: Duration,
) -> String {
    let group = Sentinel::GROUP;
    format!(
        "bind {}\nport {}\ndir {}\n\
         sentinel monitor {group} {} {} {quorum}\n\
         sentinel down-after-milliseconds {group} {}\n\
         sentinel failover-timeout {group} {}\n\
         sentinel parallel-syncs {group} 10\n",
        own.ip(),
        own.port(),
        dir.display(),
        primary.ip(),
        primary.port(),
        down_after.as_millis(),
        10 * down_after.as_millis(),
    )
}

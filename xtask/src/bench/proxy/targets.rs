//! The proxies under test, each in front of the same server.

use std::{
    fs,
    io::{Read, Write},
    iter,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bellwether_testkit::{Process, Program, install, ports, until};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::{
    bench::Lacking,
    cargo::{cargo, root},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy that others made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Peer {
    /// In TCP mode: it passes bytes on, a server connection for each client.
    Haproxy,
    /// Also known as twemproxy.
    Nutcracker,
}

impl Peer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nutcracker => "nutcracker",
        }
    }

    pub(super) fn install(self) -> Result<()> {
        install::tool(self.name(), self.name()).context(Lacking)
    }

    /// Starts it with one thread.
    pub(super) fn start(self, server: SocketAddr) -> Result<Target> {
        let dir = TempDir::with_prefix("bellwether-peer-")?;
        let address = free_address()?;
        let config = dir.path().join("config");
        let program = Program::new(self.name());
        let (text, program) = match self {
            Self::Haproxy => (
                haproxy(address, server),
                program.arg("-db").arg("-f").arg(&config),
            ),
            Self::Nutcracker => (
                nutcracker(address, server),
                program
                    .arg("--conf-file")
                    .arg(&config)
                    .args(["--stats-addr", "127.0.0.1"])
                    .args(["--stats-port", &ports::free()?.to_string()]),
            ),
        };
        fs::write(&config, text)?;
        let mut target = Target::start(self.name(), &program, address)?;
        target.config = Some(dir);
        Ok(target)
    }
}

fn haproxy(address: SocketAddr, server: SocketAddr) -> String {
    format!(
        "global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen redis
    bind {address}
    maxconn 4000
    server redis {server}
"
    )
}

fn nutcracker(address: SocketAddr, server: SocketAddr) -> String {
    format!(
        "redis:
  listen: {address}
  redis: true
  hash: fnv1a_64
  distribution: modula
  auto_eject_hosts: false
  preconnect: true
  server_connections: 1
  backlog: 1024
  servers:
   - {server}:1
"
    )
}

/// Builds our own as it is meant to be run, unless it is given.
pub(super) fn ours(given: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    let status = cargo("build --release --locked --package bellwether-proxy --example proxy")
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the proxy cannot be built");
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release/examples/proxy"))
}

/// A proxy that runs, until it is dropped.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) process: Process,
    config: Option<TempDir>,
}

impl Target {
    /// Starts our own with one worker; `program` may be a tool that runs it.
    pub(super) fn ours(program: Program, server: SocketAddr, flags: &str) -> Result<Self> {
        let address = free_address()?;
        let program = program
            .args(["--primary", &server.to_string()])
            .args(["--listen", &address.to_string()])
            .args(["--workers", "1"])
            .args(flags.split_whitespace());
        let name: Vec<_> = iter::once("bellwether")
            .chain(flags.split_whitespace())
            .collect();
        Self::start(&name.join(" "), &program, address)
    }

    fn start(name: &str, program: &Program, address: SocketAddr) -> Result<Self> {
        let mut target = Self {
            name: name.to_owned(),
            address,
            process: program.clone().captured().spawn()?,
            config: None,
        };
        target.wait_until_it_serves()?;
        Ok(target)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        let what = format!("{} to serve", self.name);
        let ended = until(PATIENCE, &what, || match self.process.exit_status() {
            Ok(None) => asks(self.address).map(|()| None),
            Ok(Some(status)) => Ok(Some(Ok(status))),
            Err(error) => Ok(Some(Err(error))),
        })?;
        let Some(status) = ended.transpose()? else {
            return Ok(());
        };
        // Its last words may still be on their way; without any, the status must do.
        let _ = self.process.lines().wait_for("", Duration::from_secs(1));
        bail!(
            "{} ended with {status}: {}",
            self.name,
            self.process.lines().all().join("\n")
        )
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, ports::free()?).into())
}

/// Gets any answer. By GET, because it is the one command that every proxy knows.
fn asks(address: SocketAddr) -> Result<()> {
    let timeout = Duration::from_secs(1);
    let mut connection = TcpStream::connect_timeout(&address, timeout)?;
    connection.set_read_timeout(Some(timeout))?;
    connection.write_all(b"*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n")?;
    let mut first = [0];
    connection.read_exact(&mut first)?;
    ensure!(first == *b"$", "answered with {:?}", char::from(first[0]));
    Ok(())
}

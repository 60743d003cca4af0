use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};
use tempfile::TempDir;

use crate::{Host, Process, Program, Role, ports, reply, until};

/// How long a server may take to start, or to answer a command: an overloaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server is when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boot {
    /// A replica of 127.0.0.1:1, where nobody is: it refuses writes until it is promoted. The way
    /// every server of Bellwether starts.
    #[default]
    ReplicaOfNowhere,
    /// A writable primary.
    Plain,
}

/// What becomes of the data when a server is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// The files stay. (A server without persistence has none to load.)
    Keep,
    /// Its data directory is emptied, as by a container without a volume.
    Empty,
}

/// How to start a [`Redis`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where to listen; `None`: a [free](ports::free) port.
    pub port: Option<u16>,
    /// On which address to listen; `None`: 127.0.0.1, or every address of `host`.
    pub bind: Option<IpAddr>,
    /// Holds its log and data; `None`: a fresh one that is removed with the server.
    pub dir: Option<PathBuf>,
    /// What it is when it starts.
    pub boot: Boot,
    /// Whether it keeps its data on disk, in an append-only file.
    pub persistent: bool,
    /// What clients and replicas must say; also said by [`Redis::connect`].
    pub password: Option<String>,
    /// More arguments, such as `["--maxmemory", "1mb"]`.
    pub args: Vec<String>,
    /// On which host of a [`Network`](crate::Network); `None`: on this machine.
    pub host: Option<Host>,
    /// What stands in place of what for it, as by [`Program::mounted`].
    pub mounts: Vec<(PathBuf, PathBuf)>,
}

/// A real redis-server under test.
///
/// Dropping it kills it, stopped or not, and removes its directory unless that was given.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    program: Program,
    address: SocketAddr,
    password: Option<String>,
    dir: PathBuf,
    _temporary: Option<TempDir>,
}

impl Redis {
    /// Starts one and waits until it answers, be it with LOADING or NOAUTH.
    ///
    /// # Errors
    ///
    /// When redis-server is missing, ends at once (shows its log) or does not answer.
    pub fn start(options: Options) -> Result<Self> {
        let port = match options.port {
            Some(port) => port,
            None => ports::free()?,
        };
        let (dir, temporary) = directory(options.dir)?;
        fs::create_dir_all(data_dir(&dir))?;
        let mut program = Program::new("redis-server")
            .log(dir.join("redis.log"))
            .args(["--port", &port.to_string(), "--save", ""])
            .args([
                "--appendonly",
                if options.persistent { "yes" } else { "no" },
            ])
            .args(["--repl-diskless-sync", "no", "--protected-mode", "no"])
            .arg("--dir")
            .arg(data_dir(&dir));
        if major_version()? >= 7 {
            program = program.args(["--enable-debug-command", "yes"]);
        }
        if let Some(password) = &options.password {
            program = program.args(["--requirepass", password, "--masterauth", password]);
        }
        let (bind, reach) = match &options.host {
            Some(host) => (Ipv4Addr::UNSPECIFIED.into(), host.management),
            None => (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()),
        };
        program = program.args(["--bind", &options.bind.unwrap_or(bind).to_string()]);
        if let Some(host) = &options.host {
            program = program.namespace(&host.namespace);
        }
        program = program.args(&options.args);
        for (source, over) in &options.mounts {
            program = program.mounted(source, over);
        }
        let reach = options
            .bind
            .filter(|ip| !ip.is_unspecified())
            .unwrap_or(reach);
        let process = booted(&program, options.boot).spawn()?;
        let mut server = Self {
            process,
            program,
            address: (reach, port).into(),
            password: options.password,
            dir,
            _temporary: temporary,
        };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// Starts one with default [`Options`]: a free port on 127.0.0.1, a replica of nowhere.
    ///
    /// # Errors
    ///
    /// As [`Redis::start`].
    pub fn fresh() -> Result<Self> {
        Self::start(Options::default())
    }

    /// Where this process reaches it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Holds `redis.log` and `data/`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it has logged, over all its restarts.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.join("redis.log"))?)
    }

    /// Its process, for what has no method here.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sends SIGKILL and reaps it.
    ///
    /// # Errors
    ///
    /// As [`Process::kill`].
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Sends SIGSTOP: it hangs, with its connections open.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop()
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn cont(&mut self) -> Result<()> {
        self.process.cont()
    }

    /// Sends SIGTERM, upon which it shuts down in order, and waits for that.
    ///
    /// # Errors
    ///
    /// When it has ended before, or does not within 30 s.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.terminate()?;
        self.process.wait(PATIENCE)
    }

    /// Kills it if it runs, starts it again on the same port and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`Redis::start`].
    pub fn restart(&mut self, data: Data, boot: Boot) -> Result<()> {
        self.kill()?;
        if data == Data::Empty {
            fs::remove_dir_all(data_dir(&self.dir))?;
            fs::create_dir_all(data_dir(&self.dir))?;
        }
        self.process = booted(&self.program, boot).spawn()?;
        self.wait_until_it_answers()
    }

    /// A connection of redis-rs, with timeouts of 30 s. LOADING, READONLY and the like are the
    /// caller's to see.
    ///
    /// # Errors
    ///
    /// When it does not accept, or refuses the password.
    pub fn connect(&self) -> Result<redis::Connection> {
        self.connect_within(PATIENCE)
    }

    /// A connection of redis-rs on which connecting and each command may take `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Redis::connect`].
    pub fn connect_within(&self, timeout: Duration) -> Result<redis::Connection> {
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let address = ConnectionAddr::Tcp(self.address.ip().to_string(), self.port());
        let info = address.into_connection_info()?.set_redis_settings(settings);
        let connection = redis::Client::open(info)?
            .get_connection_with_timeout(timeout)
            .with_context(|| format!("cannot connect to {}", self.address))?;
        connection.set_read_timeout(Some(timeout))?;
        connection.set_write_timeout(Some(timeout))?;
        Ok(connection)
    }

    /// Runs one command on a connection of its own; the reply as `redis-cli` would print it raw:
    /// numbers in decimal, elements on lines of their own, nil as `(nil)`.
    ///
    /// # Errors
    ///
    /// When it answers with an error, or not within 30 s.
    pub fn command(&self, words: &[&str]) -> Result<String> {
        Ok(reply::text(&self.query(words)?))
    }

    /// As [`Redis::command`]; the reply as it came.
    ///
    /// # Errors
    ///
    /// As [`Redis::command`].
    pub fn query(&self, words: &[&str]) -> Result<redis::Value> {
        let (name, args) = words.split_first().context("a command has a name")?;
        let reply = redis::cmd(name).arg(args).query(&mut self.connect()?);
        reply.with_context(|| format!("{name} on {}", self.address))
    }

    /// What ROLE says.
    ///
    /// # Errors
    ///
    /// As [`Redis::command`], or when the reply is none of a primary or replica.
    pub fn role(&self) -> Result<Role> {
        reply::role(&self.query(&["ROLE"])?)
    }

    /// What ROLE says, if it does so in time.
    ///
    /// # Errors
    ///
    /// As [`Redis::role`].
    pub fn role_within(&self, timeout: Duration) -> Result<Role> {
        reply::role(&redis::cmd("ROLE").query(&mut self.connect_within(timeout)?)?)
    }

    /// The fields of a section of INFO.
    ///
    /// # Errors
    ///
    /// As [`Redis::command`].
    pub fn info(&self, section: &str) -> Result<BTreeMap<String, String>> {
        Ok(reply::info(&self.command(&["INFO", section])?))
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let what = format!("redis-server on {} to answer", self.address);
        let ended = until(PATIENCE, &what, || match self.process.exit_status() {
            Ok(None) => ping(self.address).map(|()| None),
            ended => Ok(Some(ended)),
        })?;
        match ended {
            None => Ok(()),
            Some(status) => bail!("redis-server ended: {:?}\n{}", status?, self.log()?),
        }
    }
}

fn booted(program: &Program, boot: Boot) -> Program {
    match boot {
        Boot::ReplicaOfNowhere => program.clone().args(["--replicaof", "127.0.0.1", "1"]),
        Boot::Plain => program.clone(),
    }
}

fn data_dir(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// The given directory, or a fresh one that is removed when the second value is dropped.
pub(crate) fn directory(given: Option<PathBuf>) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(dir) = given {
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        return Ok((dir, None));
    }
    let fresh = tempfile::Builder::new()
        .prefix("bellwether-redis-")
        .tempdir()?;
    Ok((fresh.path().to_owned(), Some(fresh)))
}

/// Any reply will do: it tells that the server serves.
pub(crate) fn ping(address: SocketAddr) -> Result<()> {
    let timeout = Duration::from_secs(1);
    let mut connection = TcpStream::connect_timeout(&address, timeout)?;
    connection.set_read_timeout(Some(timeout))?;
    connection.write_all(b"PING\r\n")?;
    let mut first = [0];
    connection.read_exact(&mut first)?;
    ensure!(matches!(first[0], b'+' | b'-'), "strange reply {first:?}");
    Ok(())
}

/// Of the installed redis-server: some options came with version 7.
fn major_version() -> Result<u32> {
    let output = Command::new("redis-server").arg("--version").output();
    let output = output.context("redis-server cannot be run; install::redis_server() gets it")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_once("v=").map(|(_, version)| version);
    version
        .and_then(|version| version.split('.').next())
        .and_then(|major| major.parse().ok())
        .with_context(|| format!("cannot find the version in {text:?}"))
}

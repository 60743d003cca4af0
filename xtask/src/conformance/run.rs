//! One run of one unit against servers of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use bellwether_testkit::{Boot, Options, Process, Program, Redis, ports, until};

use super::{
    log::{Case, Log},
    suite::Suite,
};

/// How long a unit may take; the longest takes some 50 s on two cores.
const UNIT: Duration = Duration::from_secs(600);

/// How long no case may end; the longest takes some 45 s.
const CASE: Duration = Duration::from_secs(150);

/// How many cases of a unit may hang before the rest of it is given up.
const HANGS: usize = 5;

/// The suite looks for a port of its own in so many below its base port.
const PORTS_BELOW_BASE: u16 = 32;

/// Cases that look at the server's process although nothing says so, and leave its configuration
/// changed where they break off, so that the cases behind them fail.
pub(super) const LEFT_OUT: [&str; 1] = ["SRANDMEMBER with a dict containing long chain"];

/// What the suite connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Direct,
    Proxy,
}

/// All that runs have in common.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) suite: Suite,
    /// The proxy's program.
    pub(super) proxy: PathBuf,
    /// More arguments for it.
    pub(super) flags: Vec<String>,
    /// Where logs are left.
    pub(super) keep: Option<PathBuf>,
}

impl Runner {
    /// Removes what an earlier call of the program has left of a unit.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be removed.
    pub(super) fn remove_logs(&self, unit: &str) -> Result<()> {
        match self.kept(unit) {
            Some(kept) if kept.exists() => fs::remove_dir_all(&kept)
                .with_context(|| format!("cannot remove {}", kept.display())),
            _ => Ok(()),
        }
    }

    /// Where the logs of a unit are left, if they are.
    fn kept(&self, unit: &str) -> Option<PathBuf> {
        let keep = self.keep.as_ref()?;
        Some(keep.join(unit.replace('/', "__")))
    }

    /// Runs a unit; `name` tells its logs from those of its other runs. Where a case hangs, the unit
    /// runs again without it, so that those behind it have their say too.
    ///
    /// # Errors
    ///
    /// When a program cannot be started. Whatever happens to the unit is in its log.
    pub(super) fn run(&self, unit: &str, route: Route, name: &str) -> Result<Log> {
        let mut hung: Vec<Case> = Vec::new();
        loop {
            let name = match hung.len() {
                0 => name.to_owned(),
                without => format!("{name}-without-{without}"),
            };
            let mut log = self.once(unit, route, &name, &hung)?;
            match log.hung() {
                Some(case) if hung.len() < HANGS => hung.push(case.clone()),
                _ => {
                    log.insert_hung(hung);
                    return Ok(log);
                }
            }
        }
    }

    /// Runs a unit without some cases, against a fresh server.
    fn once(&self, unit: &str, route: Route, name: &str, without: &[Case]) -> Result<Log> {
        let place = self.suite.lay_out()?;
        let logs = match self.kept(unit) {
            Some(kept) => kept.join(name),
            None => place.path().join("logs"),
        };
        fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let server = server(&logs)?;
        let (port, proxy) = match route {
            Route::Direct => (server.port(), None),
            Route::Proxy => self.front(server.address(), &logs)?,
        };
        let output = logs.join("suite.log");
        let suite = suite(unit, place.path(), port, without)?;
        let mut suite = suite.log(&output).spawn()?;
        let ended = suite.wait(UNIT);
        suite.kill()?;
        let text = fs::read(&output).context("the suite's output")?;
        let mut log = Log::read(&String::from_utf8_lossy(&text));
        if let Err(error) = ended {
            log.cut(&format!("{error:#}"));
        }
        if let Some(status) = proxy.map_or(Ok(None), |mut proxy| proxy.exit_status())? {
            log.insert_failure("(the proxy goes on)", format!("it ended: {status}"));
        }
        Ok(log)
    }

    /// Starts the proxy in front of a server.
    fn front(&self, server: SocketAddr, logs: &Path) -> Result<(u16, Option<Process>)> {
        let port = ports::free()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut proxy = Program::new(&self.proxy)
            .args(["--primary", &server.to_string()])
            .args(["--listen", &address.to_string()])
            .args(&self.flags)
            .log(logs.join("proxy.log"))
            .spawn()?;
        let what = format!("{} to listen", self.proxy.display());
        let listens = until(Duration::from_secs(30), &what, || {
            match proxy.exit_status() {
                Ok(None) => TcpStream::connect(address).map(|_| Ok(())),
                Ok(Some(status)) => Ok(Err(anyhow!("the proxy ended: {status}"))),
                Err(error) => Ok(Err(error)),
            }
        })?;
        let said = || fs::read_to_string(logs.join("proxy.log")).unwrap_or_default();
        listens.with_context(said)?;
        Ok((port, Some(proxy)))
    }
}

/// A server as the suite expects it to be.
fn server(logs: &Path) -> Result<Redis> {
    let args = [
        "--enable-protected-configs",
        "yes",
        "--enable-module-command",
        "yes",
    ];
    Redis::start(Options {
        boot: Boot::Plain,
        dir: Some(logs.join("server")),
        args: args.map(str::to_owned).to_vec(),
        ..Options::default()
    })
}

fn suite(unit: &str, place: &Path, port: u16, without: &[Case]) -> Result<Program> {
    let base = ports::free()? + PORTS_BELOW_BASE;
    let mut program = Program::new("env")
        .args(["--chdir".as_ref(), place.as_os_str()])
        // Colours would stand in what is read.
        .args(["TERM=dumb", "tclsh", "tests/test_helper.tcl"])
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .args(["--baseport", &base.to_string(), "--single", unit])
        .args(["--timeout", &CASE.as_secs().to_string()])
        // Go on behind a case that breaks off.
        .arg("--durable");
    let hung = without.iter().map(|case| case.name.as_str());
    for case in LEFT_OUT.into_iter().chain(hung) {
        program = program.args(["--skiptest", case]);
    }
    Ok(program)
}

//! Child processes that are killed, stopped and continued on purpose, and never left behind.
//!
//! Dropping a [`Process`] kills it. Should this process itself end by SIGKILL, the kernel kills
//! the children: each is started by util-linux's `setpriv --pdeathsig KILL`, which costs no
//! `unsafe`. That signal is sent when the *thread* that spawned the child ends, so all are spawned
//! from one thread that lives as long as this process. (A child whose parent dies within the
//! millisecond before `setpriv` has set this stays behind.)

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::{Lines, until};

/// How long the last lines of a process that has ended are waited for, if its children live on.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Mounts each pair of paths up to `--`, and becomes the program that the rest names.
const MOUNT: &str =
    r#"while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@""#;

/// Where a child's standard output and error go.
#[derive(Clone, Debug, Default)]
enum Output {
    #[default]
    Discarded,
    Inherited,
    Log(PathBuf),
    Lines,
}

/// What to run and how; [`Program::spawn`] runs it, as often as wanted.
#[derive(Clone, Debug)]
pub struct Program {
    path: OsString,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    output: Output,
    typed: bool,
    namespace: Option<String>,
    mounts: Vec<(PathBuf, PathBuf)>,
}

impl Program {
    /// A program by path, or by name to be found in `PATH`.
    #[must_use]
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        Self {
            path: path.as_ref().into(),
            args: Vec::new(),
            environment: Vec::new(),
            output: Output::default(),
            typed: false,
            namespace: None,
            mounts: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    /// Sets an environment variable, on top of those of this process.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Appends standard output and error to a file. Without this, [`Program::captured`] or
    /// [`Program::inherited`], they are discarded.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.output = Output::Log(path.into());
        self
    }

    /// Keeps the lines of standard output and error in memory, for [`Process::lines`].
    #[must_use]
    pub fn captured(mut self) -> Self {
        self.output = Output::Lines;
        self
    }

    /// Writes to this process's own standard output and error.
    #[must_use]
    pub fn inherited(mut self) -> Self {
        self.output = Output::Inherited;
        self
    }

    /// Gives it a standard input for [`Process::type_line`], instead of an empty one.
    #[must_use]
    pub fn typed(mut self) -> Self {
        self.typed = true;
        self
    }

    /// Runs it in a network namespace, named as by `ip netns`. Needs root.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// Runs it where a file or a directory stands in place of another, for this process alone: such
    /// as another `/etc/resolv.conf`. Both have to exist. Needs root; see
    /// [`mounts_or_skip`](crate::mounts_or_skip).
    #[must_use]
    pub fn mounted(mut self, source: impl Into<PathBuf>, over: impl Into<PathBuf>) -> Self {
        self.mounts.push((source.into(), over.into()));
        self
    }

    /// Starts it, in a process group of its own, so that Ctrl-C at the terminal reaches only us.
    ///
    /// # Errors
    ///
    /// When `setpriv` (or `nsenter`) or the log file cannot be opened. A program that does not exist
    /// is reported by its exit, with status 127.
    pub fn spawn(&self) -> Result<Process> {
        let mut child = spawn_for_life(self.command()?)
            .with_context(|| format!("cannot start {}", self.path.display()))?;
        let lines = Lines::default();
        if let Some(stdout) = child.stdout.take() {
            lines.read_from(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            lines.read_from(stderr);
        }
        Ok(Process {
            name: self.path.to_string_lossy().into_owned(),
            stdin: child.stdin.take(),
            child,
            ended: None,
            lines,
        })
    }

    fn command(&self) -> Result<Command> {
        let mut command = match &self.namespace {
            Some(name) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{name}"));
                command.arg("setpriv");
                command
            }
            None => Command::new("setpriv"),
        };
        command.args(["--pdeathsig", "KILL", "--"]);
        if !self.mounts.is_empty() {
            // All of these exec, so that the process stays the one that was spawned.
            command.args(["unshare", "--mount", "--", "sh", "-ec", MOUNT, "sh"]);
            for (source, over) in &self.mounts {
                command.args([source, over]);
            }
            command.arg("--");
        }
        command
            .arg(&self.path)
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(if self.typed {
                Stdio::piped()
            } else {
                Stdio::null()
            });
        match &self.output {
            Output::Discarded => command.stdout(Stdio::null()).stderr(Stdio::null()),
            Output::Inherited => command.stdout(Stdio::inherit()).stderr(Stdio::inherit()),
            Output::Lines => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
            Output::Log(path) => {
                let log = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("cannot open {}", path.display()))?;
                command.stdout(log.try_clone()?).stderr(log)
            }
        };
        Ok(command)
    }
}

/// A running, or ended, child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    stdin: Option<ChildStdin>,
    lines: Lines,
}

impl Process {
    /// Its process id, also after its end.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote, if it was spawned as [`Program::captured`].
    #[must_use]
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Writes a line to its standard input, if it was spawned as [`Program::typed`].
    ///
    /// # Errors
    ///
    /// When it has no such input or does not read it any more.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("spawned without `typed`")?;
        writeln!(stdin, "{line}").with_context(|| format!("{} does not read", self.name))
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// How it ended; `None` while it runs or is stopped.
    ///
    /// # Errors
    ///
    /// When the system cannot say.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let ended = self.child.try_wait();
            self.ended = ended.with_context(|| format!("cannot wait for {}", self.name))?;
        }
        Ok(self.ended)
    }

    /// Waits for its end, and until what it wrote has been read.
    ///
    /// # Errors
    ///
    /// When it has not ended `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let status = until(within, &what, || self.exit_status().transpose())?;
        self.lines.drain(LAST_WORDS);
        status
    }

    /// Sends SIGKILL to its process group, which a stopped process obeys too, and reaps it.
    /// Does nothing once its end is known.
    ///
    /// # Errors
    ///
    /// When the signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        // Until it is reaped, the id of its group is certain to be its own.
        if self.ended.is_none() {
            killpg(self.id()?, Signal::SIGKILL)
                .with_context(|| format!("cannot kill {}", self.name))?;
            self.ended = Some(self.child.wait()?);
        }
        Ok(())
    }

    /// Sends SIGSTOP and waits until it has stopped: from then on it does nothing, yet the kernel
    /// still accepts connections and data for it.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let status = format!("/proc/{}/status", self.pid());
        until(Duration::from_secs(10), "SIGSTOP to act", || {
            std::fs::read_to_string(&status)
                .is_ok_and(|text| text.lines().any(|line| line.starts_with("State:\tT")))
        })
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn cont(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends SIGTERM and does not wait; [`Process::wait`] does.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Sends a signal to it alone, not to its children.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // Only an unreaped id is certain to be its own.
        let ended = self.exit_status()?;
        ensure!(ended.is_none(), "{} has ended", self.name);
        kill(self.id()?, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    fn id(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.pid())?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Spawns from a thread that never ends, as the module's docs say.
fn spawn_for_life(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                // The caller waits for the answer, so somebody receives it.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = mpsc::sync_channel(1);
    spawner.send((command, answer)).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}

//! The proxy over a fixed topology: for trying it out, for the benchmark and for conformance.
//!
//! `cargo run --release -p bellwether-proxy --example proxy -- --primary 127.0.0.1:6379`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether_proxy::{
    Balance, Credentials, Error, Orphans, Password, Proxy, ProxyConfig, ReadFrom, Topology,
    Upstream,
};
use clap::{CommandFactory, Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long clients may take to get their last answers when the proxy ends.
const DRAIN: Duration = Duration::from_secs(5);

const PASSWORD: &str = "BELLWETHER_PASSWORD";
const UPSTREAM_PASSWORD: &str = "BELLWETHER_UPSTREAM_PASSWORD";

/// A RESP proxy in front of a primary and its replicas, which do not change.
///
/// Logs as RUST_LOG says. Durations are written as 100ms, 1s or 2m; sizes in bytes. Passwords come
/// from the environment or from a file.
#[derive(Debug, Parser)]
#[command(name = "proxy", allow_negative_numbers = true)]
struct Flags {
    /// The server that takes writes.
    #[arg(long, value_name = "HOST:PORT", value_parser = upstream)]
    primary: Upstream,

    /// A copy of it; may be given several times.
    #[arg(long, value_name = "HOST:PORT", value_parser = upstream)]
    replica: Vec<Upstream>,

    /// How long there is a primary; afterwards there is none [default: for ever].
    #[arg(long, value_name = "DURATION")]
    lead_for: Option<humantime::Duration>,

    /// Where clients connect.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7000")]
    listen: SocketAddr,

    /// Threads that serve clients [default: 1 on two cores or fewer, else half of the cores].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,

    /// Whether worker threads run under the scheduler's batch policy: less CPU where clients, proxy
    /// and server share few cores.
    #[arg(long, value_name = "yes|no", default_value = "yes")]
    batch: YesNo,

    /// What becomes of clients while there is no primary.
    #[arg(long, value_name = "WHAT", default_value = "hold")]
    orphans: Fate,

    /// How long a request may wait for a primary.
    #[arg(long, value_name = "DURATION", default_value_t = defaults().hold.into())]
    hold: humantime::Duration,

    /// How long a former primary may still refuse what it was sent.
    #[arg(long, value_name = "DURATION", default_value_t = defaults().linger.into())]
    linger: humantime::Duration,

    /// How long connecting to a server may take, and how long one that is asked how it is may be
    /// silent.
    #[arg(long, value_name = "DURATION", default_value_t = defaults().connect_timeout.into())]
    connect_timeout: humantime::Duration,

    /// How long a client may say nothing before it is closed [default: for ever].
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<humantime::Duration>,

    /// Clients that may be connected at a time.
    #[arg(long, value_name = "N", default_value_t = defaults().max_clients)]
    max_clients: usize,

    /// As Redis's: with "yes", and no password given, clients are served only from this machine.
    #[arg(long, value_name = "yes|no", default_value = "yes")]
    protected_mode: YesNo,

    /// Requests of one client that may wait, at least 131072.
    #[arg(long, value_name = "BYTES", default_value_t = defaults().session_buffer)]
    session_buffer: usize,

    /// Replies that one client may leave unread before nothing more is read from it.
    #[arg(long, value_name = "BYTES", default_value_t = defaults().session_output)]
    session_output: usize,

    /// Unanswered requests that are kept for each connection to a server, to be sent again.
    #[arg(long, value_name = "BYTES", default_value_t = defaults().replay_buffer)]
    replay_buffer: usize,

    /// Requests of one worker that may wait for a primary.
    #[arg(long, value_name = "BYTES", default_value_t = defaults().worker_buffer)]
    worker_buffer: usize,

    /// Replies of one worker that may wait for slow readers; beyond, the slowest one is cut.
    #[arg(long, value_name = "BYTES", default_value_t = defaults().output_buffer)]
    output_buffer: usize,

    /// Connections of one worker that may wait to be lent to a client.
    #[arg(long, value_name = "N", default_value_t = defaults().pool_idle)]
    pool_idle: usize,

    /// Connections of one worker that are made before they are lent.
    #[arg(long, value_name = "N", default_value_t = defaults().pool_warm)]
    pool_warm: usize,

    /// Connections of one worker that may be lent at a time.
    #[arg(long, value_name = "N", default_value_t = defaults().pool_max)]
    pool_max: usize,

    /// Which servers answer reads.
    #[arg(long, value_name = "SERVERS", default_value = "primary")]
    read_from: From,

    /// Which of several replicas does.
    #[arg(long, value_name = "RULE", default_value = "round-robin")]
    balance: Rule,

    /// A replica that is more of the history behind its primary gets no reads [default: any lag
    /// will do].
    #[arg(long, value_name = "BYTES")]
    max_lag: Option<u64>,

    /// How often replicas are asked how they are, if reads go to them.
    #[arg(long, value_name = "DURATION", default_value_t = defaults().probe_interval.into())]
    probe_interval: humantime::Duration,

    /// Holds the password that clients must know, which may also be in BELLWETHER_PASSWORD
    /// [default: what clients say by AUTH goes to the servers].
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,

    /// Who the proxy is to its servers; needs a password [default: the default user].
    #[arg(long, value_name = "NAME")]
    upstream_user: Option<String>,

    /// Holds the password that the proxy says to its servers, which may also be in
    /// BELLWETHER_UPSTREAM_PASSWORD [default: none].
    #[arg(long, value_name = "PATH")]
    upstream_password_file: Option<PathBuf>,

    /// What `rename-command` in the servers' configuration did; may be given several times. Without
    /// a new name the command is gone.
    #[arg(long, value_name = "OLD=[NEW]", value_parser = rename)]
    rename: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum YesNo {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// The primary, always.
    Primary,
    /// A replica that is fit and connected, else the primary.
    PreferReplica,
    /// A replica as long as one is fit, else the primary.
    Replicas,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rule {
    /// Each in its turn.
    RoundRobin,
    /// The one that owes the fewest answers.
    LeastPending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fate {
    /// They stay, and what they ask waits.
    Hold,
    /// They are closed, and whoever comes then.
    Close,
}

fn defaults() -> ProxyConfig {
    ProxyConfig::new(([127, 0, 0, 1], 7000).into())
}

/// Why the program does not run.
#[derive(Debug)]
struct Refusal {
    code: u8,
    line: String,
}

impl Flags {
    /// `environment` is asked for passwords.
    fn config(&self, environment: impl Fn(&str) -> Option<String>) -> Result<ProxyConfig, String> {
        let mut config = ProxyConfig::new(self.listen);
        if let Some(workers) = self.workers {
            config.workers = workers;
        }
        config.batch = self.batch == YesNo::Yes;
        config.orphans = match self.orphans {
            Fate::Hold => Orphans::Hold,
            Fate::Close => Orphans::Close,
        };
        config.hold = self.hold.into();
        config.linger = self.linger.into();
        config.connect_timeout = self.connect_timeout.into();
        config.idle_timeout = self.idle_timeout.map(Into::into);
        config.max_clients = self.max_clients;
        config.session_buffer = self.session_buffer;
        config.session_output = self.session_output;
        config.replay_buffer = self.replay_buffer;
        config.worker_buffer = self.worker_buffer;
        config.output_buffer = self.output_buffer;
        config.pool_idle = self.pool_idle;
        config.pool_warm = self.pool_warm;
        config.pool_max = self.pool_max;
        config.read_from = match self.read_from {
            From::Primary => ReadFrom::Primary,
            From::PreferReplica => ReadFrom::PreferReplica,
            From::Replicas => ReadFrom::Replicas,
        };
        config.balance = match self.balance {
            Rule::RoundRobin => Balance::RoundRobin,
            Rule::LeastPending => Balance::LeastPending,
        };
        config.max_lag_bytes = self.max_lag;
        config.probe_interval = self.probe_interval.into();
        let file = self.password_file.as_deref();
        config.password = password("--password-file", file, PASSWORD, &environment)?;
        config.local_only = self.protected_mode == YesNo::Yes && config.password.is_none();
        config.upstream_credentials = self.credentials(&environment)?;
        // The library's own order: what the server calls it, then what it is.
        for (old, new) in &self.rename {
            let (name, own) = if new.is_empty() {
                (old, new)
            } else {
                (new, old)
            };
            let before = config.renames.insert(name.clone(), own.clone());
            if before.is_some() {
                return Err(format!("--rename: {name} is given twice"));
            }
        }
        Ok(config)
    }

    fn credentials(
        &self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Credentials>, String> {
        let (flag, file) = (
            "--upstream-password-file",
            self.upstream_password_file.as_deref(),
        );
        let password = password(flag, file, UPSTREAM_PASSWORD, environment)?;
        let user = self.upstream_user.clone();
        match (user, password) {
            (Some(_), None) => Err(format!(
                "--upstream-user needs a password, by {flag} or {UPSTREAM_PASSWORD}"
            )),
            (_, None) => Ok(None),
            (user, Some(password)) => Ok(Some(Credentials { user, password })),
        }
    }

    fn topology(&self) -> Topology {
        Topology {
            term: 1,
            until: self.lead_for.map(|lasts| Instant::now() + *lasts),
            primary: Some(self.primary.clone()),
            replicas: self.replica.clone(),
        }
    }
}

/// A password from a file or the environment.
fn password(
    flag: &str,
    file: Option<&Path>,
    variable: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Password>, String> {
    let (source, text) = match (file, environment(variable)) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(format!("{flag} and {variable} are both given")),
        (None, Some(text)) => (variable, text),
        (Some(path), None) => {
            let text = std::fs::read_to_string(path);
            (
                flag,
                text.map_err(|error| format!("{flag} {}: {error}", path.display()))?,
            )
        }
    };
    // Editors and secret stores end a file with a line break.
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(format!("{source}: the password is empty"));
    }
    Ok(Some(Password(text.to_owned())))
}

/// A server by its address, which is also its name.
fn upstream(address: &str) -> Result<Upstream, String> {
    let parsed = address.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then(|| (host.to_owned(), port))
    });
    let (host, port) = parsed.ok_or("must be HOST:PORT, with a port from 1 to 65535")?;
    Ok(Upstream {
        name: address.to_owned(),
        host,
        port,
    })
}

fn rename(text: &str) -> Result<(String, String), String> {
    let (old, new) = text
        .split_once('=')
        .filter(|(old, _)| !old.is_empty())
        .ok_or("must be OLD=NEW, or OLD= for a command that is gone")?;
    Ok((old.to_owned(), new.to_owned()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) if error.use_stderr() => return fail(&misused(&one_line(&error.to_string()))),
        Err(help) => help.exit(),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let (_publish, topologies) = watch::channel(Arc::new(flags.topology()));
    let started = flags
        .config(|name| std::env::var(name).ok())
        .map_err(|line| misused(&line))
        .and_then(|config| Proxy::start(config, topologies).map_err(|error| refusal(&error)));
    let proxy = match started {
        Ok(proxy) => proxy,
        Err(refusal) => return fail(&refusal),
    };
    println!("clients connect to {}", proxy.local_addr());
    tokio::select! {
        () = terminated() => {}
        () = proxy.ended() => return fail(&Refusal {
            code: 1,
            line: "a worker of the proxy ended".to_owned(),
        }),
    }
    proxy.shutdown(DRAIN).await;
    ExitCode::SUCCESS
}

/// Ends at the first SIGTERM or SIGINT.
async fn terminated() {
    let listen = |kind| signal(kind).expect("a signal handler can be set");
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn fail(refusal: &Refusal) -> ExitCode {
    eprintln!("proxy: {}", refusal.line);
    ExitCode::from(refusal.code)
}

/// What is given makes no sense.
fn misused(line: &str) -> Refusal {
    Refusal {
        code: 2,
        line: line.to_owned(),
    }
}

fn refusal(error: &Error) -> Refusal {
    match error {
        Error::Config(problem) => misused(&with_flags(problem)),
        Error::Renames(problem) => misused(&format!("--rename: {problem}")),
        Error::Listen { .. } => Refusal {
            code: 1,
            line: format!("--listen: {}", with_source(error)),
        },
        _ => Refusal {
            code: 1,
            line: with_source(error),
        },
    }
}

fn with_source(error: &Error) -> String {
    let source = std::error::Error::source(error);
    let source = source.map_or_else(String::new, |source| format!(": {source}"));
    format!("{error}{source}")
}

/// The library's complaint, with flags in place of its fields.
fn with_flags(problem: &str) -> String {
    let command = Flags::command();
    let is_flag = |word: &str| command.get_arguments().any(|flag| flag.get_id() == word);
    let words = problem.split(' ').map(|word| {
        let name = word.trim_end_matches(',');
        match is_flag(name) {
            true => format!("--{}{}", name.replace('_', "-"), &word[name.len()..]),
            false => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The first paragraph of a complaint of clap's, without its usage and hints.
fn one_line(text: &str) -> String {
    let paragraph: Vec<_> = text
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect();
    paragraph.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn read(line: &str) -> Result<Flags, clap::Error> {
        let words = line.split_whitespace().map(OsString::from);
        Flags::try_parse_from([OsString::from("proxy")].into_iter().chain(words))
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn config(line: &str) -> ProxyConfig {
        let flags = read(&format!("--primary a:1 {line}")).expect("good flags");
        flags.config(nothing).expect("a good configuration")
    }

    /// The one line, with exit code 2, that these flags are refused with.
    fn complaint(line: &str) -> String {
        let flags = match read(&format!("--listen 127.0.0.1:0 {line}")) {
            Ok(flags) => flags,
            Err(error) => {
                assert!(error.use_stderr());
                return one_line(&error.to_string());
            }
        };
        let config = match flags.config(nothing) {
            Ok(config) => config,
            Err(line) => return line,
        };
        let (_publish, topologies) = watch::channel(Arc::new(flags.topology()));
        let error = Proxy::start(config, topologies).expect_err("a bad configuration");
        let refusal = refusal(&error);
        assert_eq!(refusal.code, 2);
        refusal.line
    }

    #[test]
    fn clap_accepts_the_definition() {
        Flags::command().debug_assert();
    }

    #[test]
    fn what_is_not_given_stays_as_the_library_has_it() {
        let mut expected = defaults();
        expected.local_only = true;
        assert_eq!(format!("{:?}", config("")), format!("{expected:?}"));
    }

    #[test]
    fn each_flag_arrives() {
        let given = config(
            "--listen 127.0.0.1:7001 --workers 3 --batch no --orphans close --hold 2s --linger 50ms \
             --connect-timeout 3s --idle-timeout 1m --max-clients 7 --protected-mode no \
             --session-buffer 200001 --session-output 200002 --replay-buffer 200003 \
             --worker-buffer 200004 --output-buffer 200005 --pool-idle 9 --pool-warm 8 \
             --pool-max 10 --read-from prefer-replica --balance least-pending --max-lag 11 \
             --probe-interval 12ms --rename BLPOP=WAITPOP --rename FLUSHALL=",
        );
        let mut expected = ProxyConfig::new(([127, 0, 0, 1], 7001).into());
        (expected.workers, expected.batch) = (3, false);
        expected.orphans = Orphans::Close;
        expected.hold = Duration::from_secs(2);
        expected.linger = Duration::from_millis(50);
        expected.connect_timeout = Duration::from_secs(3);
        expected.idle_timeout = Some(Duration::from_secs(60));
        (expected.max_clients, expected.local_only) = (7, false);
        (expected.session_buffer, expected.session_output) = (200_001, 200_002);
        expected.replay_buffer = 200_003;
        (expected.worker_buffer, expected.output_buffer) = (200_004, 200_005);
        (expected.pool_idle, expected.pool_warm, expected.pool_max) = (9, 8, 10);
        expected.read_from = ReadFrom::PreferReplica;
        expected.balance = Balance::LeastPending;
        expected.max_lag_bytes = Some(11);
        expected.probe_interval = Duration::from_millis(12);
        let renames = [("WAITPOP", "BLPOP"), ("FLUSHALL", "")];
        expected.renames = renames
            .map(|(name, own)| (name.to_owned(), own.to_owned()))
            .into();
        assert_eq!(format!("{given:?}"), format!("{expected:?}"));
        assert_eq!(config("--read-from replicas").read_from, ReadFrom::Replicas);
        let flags = read("--primary a:1 --replica [::1]:2 --replica c:3").expect("good flags");
        assert_eq!(flags.topology().until, None);
        let hosts = flags.topology().replicas.into_iter().map(|it| it.host);
        assert_eq!(hosts.collect::<Vec<_>>(), ["::1", "c"]);
        let flags = read("--primary a:1 --lead-for 2s").expect("good flags");
        let until = flags.topology().until.expect("an end");
        assert!(until <= Instant::now() + Duration::from_secs(2));
    }

    #[test]
    fn passwords_come_from_files_or_the_environment() {
        let file = std::env::temp_dir().join(format!("bellwether-flags-{}", std::process::id()));
        std::fs::write(&file, "secret\n").expect("a file");
        let path = file.display();
        let given = config(&format!(
            "--password-file {path} --upstream-password-file {path} --upstream-user ann"
        ));
        let flags = read(&format!("--primary a:1 --password-file {path}")).expect("good flags");
        let both = flags.config(|name| Some(name.to_owned()));
        std::fs::remove_file(&file).expect("removed");
        let secret = Password("secret".to_owned());
        assert_eq!(given.password, Some(secret.clone()));
        assert!(!given.local_only, "a password protects");
        let credentials = Credentials {
            user: Some("ann".to_owned()),
            password: secret,
        };
        assert_eq!(given.upstream_credentials, Some(credentials));
        let line = both.expect_err("two passwords");
        assert!(
            line.contains("--password-file") && line.contains(PASSWORD),
            "{line}"
        );

        let flags = read("--primary a:1").expect("good flags");
        let given = flags
            .config(|name| Some(name.to_owned()))
            .expect("passwords");
        assert_eq!(given.password, Some(Password(PASSWORD.to_owned())));
        let upstream = given.upstream_credentials.expect("credentials");
        assert_eq!(upstream.password, Password(UPSTREAM_PASSWORD.to_owned()));
        let empty = flags.config(|_| Some("\n".to_owned())).expect_err("empty");
        assert!(empty.contains(PASSWORD), "{empty}");
    }

    #[test]
    fn a_complaint_is_one_line_that_names_the_flag() {
        for (line, flag) in [
            ("", "--primary"),
            ("--primary nowhere", "--primary"),
            ("--primary a:0", "--primary"),
            ("--primary a:1 --replica :1", "--replica"),
            ("--primary a:1 --listen x", "--listen"),
            ("--primary a:1 --workers -1", "--workers"),
            ("--primary a:1 --workers=x", "--workers"),
            ("--primary a:1 --workers 0", "--workers"),
            ("--primary a:1 --hold 5", "--hold"),
            ("--primary a:1 --lead-for ever", "--lead-for"),
            ("--primary a:1 --orphans adopt", "--orphans"),
            ("--primary a:1 --idle-timeout 0s", "--idle-timeout"),
            ("--primary a:1 --connect-timeout 0s", "--connect-timeout"),
            ("--primary a:1 --probe-interval 0s", "--probe-interval"),
            ("--primary a:1 --session-buffer 10", "--session-buffer"),
            ("--primary a:1 --worker-buffer 10", "--worker-buffer"),
            ("--primary a:1 --output-buffer 10", "--output-buffer"),
            ("--primary a:1 --pool-max 0", "--pool-max"),
            ("--primary a:1 --pool-warm 100", "--pool-warm"),
            ("--primary a:1 --read-from nobody", "--read-from"),
            ("--primary a:1 --balance luck", "--balance"),
            ("--primary a:1 --max-lag much", "--max-lag"),
            ("--primary a:1 --protected-mode maybe", "--protected-mode"),
            (
                "--primary a:1 --password-file /no/such/file",
                "--password-file",
            ),
            ("--primary a:1 --upstream-user ann", "--upstream-user"),
            (
                "--primary a:1 --upstream-password-file /no",
                "--upstream-password-file",
            ),
            ("--primary a:1 --rename BLPOP", "--rename"),
            ("--primary a:1 --rename =X", "--rename"),
            ("--primary a:1 --rename NOCOMMAND=X", "--rename"),
            ("--primary a:1 --rename GET=X --rename SET=X", "--rename"),
            ("--primary a:1 --nonsense", "--nonsense"),
        ] {
            let complaint = complaint(line);
            assert!(complaint.contains(flag), "{line}: {complaint}");
            assert!(!complaint.contains('\n'), "{line}: {complaint}");
        }
    }

    #[test]
    fn a_password_on_the_command_line_is_not_repeated() {
        for line in [
            "--password=hush",
            "--primary a:1 --password-file=x --password hush",
        ] {
            let complaint = complaint(line);
            assert!(!complaint.contains("hush"), "{complaint}");
        }
    }

    #[test]
    fn help_shows_units_and_defaults() {
        let help = Flags::command().render_long_help().to_string();
        for text in [
            "<BYTES>",
            "<DURATION>",
            "[default: 5s]",
            "[default: 1048576]",
            "prefer-replica",
        ] {
            assert!(help.contains(text), "{text} in {help}");
        }
    }
}

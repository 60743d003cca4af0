use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use bellwether_discovery::Peers;
use bellwether_replication::Address;
use clap::{Parser, ValueEnum};
use humantime::parse_duration;

use crate::{
    cli::{Checked, LogFormat},
    servers::ServerFlags,
    token::Token,
};

/// Longer than anything here may sensibly take.
const LONGEST: Duration = Duration::from_secs(3600);

/// Keeps a group of Redis servers available without a quorum.
///
/// One agent runs beside each redis-server. The agents find each other, agree on a leader, make
/// their servers follow the leader's, and bring every client to the current primary. Start each
/// redis-server with `--replicaof 127.0.0.1 1 --repl-diskless-sync no`. Passwords come from
/// the environment or from a file. Durations are written as 100ms, 1s or 2m.
#[derive(Clone, Debug, Parser)]
#[command(name = "bellwether-hive", version)]
pub struct Settings {
    /// The own server, and how all servers are logged in to.
    #[command(flatten)]
    pub server: ServerFlags,

    /// Where clients connect, to be brought to the primary.
    #[arg(
        long,
        env = "BELLWETHER_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:7000"
    )]
    pub listen: SocketAddr,

    /// Where clients connect that only read, to be brought to a replica, the own one first; to the
    /// primary while there is none. Not offered by default.
    #[arg(long, env = "BELLWETHER_REPLICA_LISTEN", value_name = "ADDR:PORT")]
    pub replica_listen: Option<SocketAddr>,

    /// Where the other agents connect.
    #[arg(
        long,
        env = "BELLWETHER_PEER_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:3000"
    )]
    pub peer_listen: SocketAddr,

    /// All agents, this one included: dns://NAME:PORT, srv://NAME, or HOST:PORT,HOST:PORT,...
    #[arg(long, env = "BELLWETHER_PEERS", value_name = "PEERS")]
    pub peers: Peers,

    /// The host under which the others reach this agent and its server. By default the local
    /// address of the route to the peers.
    #[arg(long, env = "BELLWETHER_ADVERTISE", value_name = "HOST")]
    pub advertise: Option<String>,

    /// Where the others reach the own server. By default the host of --advertise and the port of
    /// --redis.
    #[arg(long, env = "BELLWETHER_ADVERTISE_REDIS", value_name = "HOST:PORT")]
    pub advertise_redis: Option<Address>,

    /// The group's name: agents of other groups on the same network are turned away.
    #[arg(
        long,
        env = "BELLWETHER_GROUP",
        value_name = "NAME",
        default_value = "bellwether"
    )]
    pub group: String,

    /// Where /livez, /readyz, /primary, /replica[?lag=BYTES], /status, /metrics and POST
    /// /switchover are answered. Not offered by default.
    #[arg(long, env = "BELLWETHER_ADMIN_LISTEN", value_name = "ADDR:PORT")]
    pub admin_listen: Option<SocketAddr>,

    /// A file with the token that each POST to --admin-listen must then give, as "Authorization:
    /// Bearer TOKEN". Without it they are taken from this machine only.
    #[arg(long, env = "BELLWETHER_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<Token>,

    /// As Redis's: with "yes", and no password given, clients are served only from this machine.
    #[arg(
        long,
        env = "BELLWETHER_PROTECTED_MODE",
        value_name = "yes|no",
        default_value = "yes"
    )]
    pub protected_mode: YesNo,

    /// How long the own server may leave a question unanswered before it counts as hung.
    #[arg(long, env = "BELLWETHER_DOWN_AFTER", value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub down_after: Duration,

    /// How long another member's server may take to answer: at least a few round trips of the
    /// network. It delays a failover when the old primary hangs.
    #[arg(
        long,
        env = "BELLWETHER_ANSWER_TIMEOUT",
        value_name = "DURATION",
        default_value = "200ms",
        value_parser = parse_duration
    )]
    pub answer_timeout: Duration,

    /// How often agents tell each other that they are there.
    #[arg(long, env = "BELLWETHER_HEARTBEAT", value_name = "DURATION", default_value = "100ms", value_parser = parse_duration)]
    pub heartbeat: Duration,

    /// An agent that is silent for this long is lost; at least four times --heartbeat.
    #[arg(long, env = "BELLWETHER_LOST_AFTER", value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub lost_after: Duration,

    /// How long a starting agent waits for known peers before it votes without them.
    #[arg(long, env = "BELLWETHER_FORM_TIMEOUT", value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub form_timeout: Duration,

    /// How long a client's command may wait for a primary.
    #[arg(long, env = "BELLWETHER_HOLD", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub hold: Duration,

    /// How many clients may be connected at a time.
    #[arg(
        long,
        env = "BELLWETHER_MAX_CLIENTS",
        value_name = "N",
        default_value_t = 10_000
    )]
    pub max_clients: usize,

    /// Threads that serve clients. By default 1 on two cores or fewer, else half of the cores.
    #[arg(long, env = "BELLWETHER_WORKERS", value_name = "N")]
    pub workers: Option<usize>,

    /// Name servers to ask instead of the system's, for dns:// and srv://.
    #[arg(
        long,
        env = "BELLWETHER_DNS_SERVERS",
        value_name = "ADDR:PORT,...",
        value_delimiter = ','
    )]
    pub dns_servers: Vec<SocketAddr>,

    /// Lets an empty server become primary although others have data, which they then lose.
    #[arg(long, env = "BELLWETHER_ALLOW_DATA_LOSS")]
    pub allow_data_loss: bool,

    /// How long an orderly end may take, the hand-over included.
    #[arg(long, env = "BELLWETHER_SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub shutdown_timeout: Duration,

    /// How log lines are written to stderr; RUST_LOG chooses which.
    #[arg(
        long,
        env = "BELLWETHER_LOG_FORMAT",
        value_name = "text|json",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// A switch that is written as Redis writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum YesNo {
    /// On.
    Yes,
    /// Off.
    No,
}

impl Settings {
    /// The defaults, with these peers.
    ///
    /// # Panics
    ///
    /// If `peers` is no list of peers.
    #[must_use]
    pub fn with_peers(peers: &str) -> Self {
        Self::parse_from(["bellwether-hive", "--peers", peers])
    }
}

impl Checked for Settings {
    fn log_format(&self) -> LogFormat {
        self.log_format
    }

    fn check(&self) -> Result<(), String> {
        let zero = [
            ("--listen", Some(self.listen)),
            ("--replica-listen", self.replica_listen),
            ("--peer-listen", Some(self.peer_listen)),
            ("--admin-listen", self.admin_listen),
        ];
        for (flag, address) in zero {
            if address.is_some_and(|address| address.port() == 0) {
                return Err(format!("{flag}: the port must be between 1 and 65535"));
            }
        }
        self.server.check()?;
        if self.admin_token_file.is_some() && self.admin_listen.is_none() {
            return Err("--admin-token-file needs --admin-listen".to_owned());
        }
        self.check_durations()?;
        if self.advertise.as_ref().is_some_and(|host| !is_host(host)) {
            return Err("--advertise must be a host name or an IP address, without a port".into());
        }
        if self.workers == Some(0) || self.max_clients == 0 {
            return Err("--workers and --max-clients must be at least 1".to_owned());
        }
        let group = self.group.len();
        if !(1..=255).contains(&group) {
            return Err(format!("--group has {group} bytes, it must have 1 to 255"));
        }
        Ok(())
    }
}

impl Settings {
    pub(crate) fn is_protected(&self) -> bool {
        self.protected_mode == YesNo::Yes && self.server.redis_password_from.is_none()
    }

    fn check_durations(&self) -> Result<(), String> {
        let shortest = Duration::from_millis(10);
        let ranges = [
            ("--heartbeat", self.heartbeat, shortest),
            ("--lost-after", self.lost_after, shortest),
            ("--form-timeout", self.form_timeout, shortest),
            ("--down-after", self.down_after, shortest),
            ("--answer-timeout", self.answer_timeout, shortest),
            ("--hold", self.hold, shortest),
            ("--shutdown-timeout", self.shutdown_timeout, shortest),
        ];
        for (flag, duration, shortest) in ranges {
            if !(shortest..=LONGEST).contains(&duration) {
                return Err(format!("{flag} must be from {shortest:?} to {LONGEST:?}"));
            }
        }
        if self.lost_after < self.heartbeat * 4 {
            return Err(format!(
                "--lost-after ({:?}) must be at least four times --heartbeat ({:?})",
                self.lost_after, self.heartbeat
            ));
        }
        if self.form_timeout < self.lost_after {
            return Err(format!(
                "--form-timeout ({:?}) must not be shorter than --lost-after ({:?})",
                self.form_timeout, self.lost_after
            ));
        }
        Ok(())
    }
}

fn is_host(text: &str) -> bool {
    let address = Address::new(text, 1);
    address.to_string().parse() == Ok(address) && (!text.contains(':') || is_ipv6(text))
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(flags: &[&str]) -> String {
        let all = ["bellwether-hive", "--peers", "a:1"].iter().chain(flags);
        Settings::parse_from(all).check().unwrap_err()
    }

    #[test]
    fn what_contradicts_is_named() {
        let said = complaint(&["--heartbeat", "300ms"]);
        assert!(
            said.contains("--lost-after") && said.contains("--heartbeat"),
            "{said}"
        );
        let said = complaint(&["--redis-user", "app"]);
        assert!(said.contains("--redis-password-from"), "{said}");
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&token, "open-sesame").unwrap();
        let said = complaint(&["--admin-token-file", token.path().to_str().unwrap()]);
        assert!(said.contains("--admin-listen"), "{said}");
        assert!(complaint(&["--listen", "0.0.0.0:0"]).contains("--listen"));
        assert!(complaint(&["--hold", "1ms"]).contains("--hold"));
        assert!(complaint(&["--group", ""]).contains("--group"));
        assert!(complaint(&["--heartbeat", "500000000000y"]).contains("--heartbeat"));
        for host in ["", "a b", "a:1", "[::1]"] {
            assert!(complaint(&["--advertise", host]).contains("--advertise"));
        }
    }
}

use std::{net::SocketAddr, time::Duration};

use bellwether_discovery::Peers;
use bellwether_replication::Address;
use clap::Parser;
use humantime::parse_duration;

use crate::{
    AgentFlags,
    cli::{Checked, LogFormat, check_durations, check_group, check_host, check_ports},
};

/// Keeps a group of Redis servers available without a quorum.
///
/// One agent runs beside each redis-server. The agents find each other, agree on a leader, make
/// their servers follow the leader's, and bring every client to the current primary. Start each
/// redis-server with `--replicaof 127.0.0.1 1 --repl-diskless-sync no`. Passwords come from
/// the environment or from a file. Durations are written as 100ms, 1s or 2m.
#[derive(Clone, Debug, Parser)]
#[command(name = "bellwether-hive", version)]
pub struct Settings {
    /// What every agent is told alike.
    #[command(flatten)]
    pub agent: AgentFlags,

    /// Where clients connect, to be brought to the primary.
    #[arg(
        long,
        env = "BELLWETHER_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:7000"
    )]
    pub listen: SocketAddr,

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
        self.agent.log_format
    }

    fn check(&self) -> Result<(), String> {
        self.agent.check()?;
        check_ports(&[
            ("--listen", Some(self.listen)),
            ("--peer-listen", Some(self.peer_listen)),
        ])?;
        self.check_durations()?;
        check_host("--advertise", self.advertise.as_deref())?;
        if self.workers == Some(0) {
            return Err("--workers must be at least 1".to_owned());
        }
        check_group(&self.group)
    }
}

impl Settings {
    fn check_durations(&self) -> Result<(), String> {
        check_durations(&[
            ("--heartbeat", self.heartbeat),
            ("--lost-after", self.lost_after),
            ("--form-timeout", self.form_timeout),
            ("--hold", self.hold),
        ])?;
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
        let said = complaint(&["--min-replicas-to-write", "65"]);
        assert!(
            said.contains("--min-replicas-to-write") && said.contains("64"),
            "{said}"
        );
        for lag in ["0s", "1500ms", "61s"] {
            let said = complaint(&["--min-replicas-max-lag", lag]);
            assert!(
                said.contains("--min-replicas-max-lag must be whole seconds"),
                "{said}"
            );
        }
        assert!(complaint(&["--hold", "1ms"]).contains("--hold"));
        assert!(complaint(&["--group", ""]).contains("--group"));
        assert!(complaint(&["--heartbeat", "500000000000y"]).contains("--heartbeat"));
        for host in ["", "a b", "a:1", "[::1]", &"x".repeat(254)] {
            assert!(complaint(&["--advertise", host]).contains("--advertise"));
        }
    }
}

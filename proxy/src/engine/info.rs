//! INFO: the server's, and a section about the proxy.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::link::Kind;
use super::session::Pending;
use super::{ClientId, Engine};
use crate::commands::Spec;
use crate::config::ReadFrom;
use crate::stats::{Stats, UpstreamRole, UpstreamState, UpstreamStats};

/// What INFO is asked for, as far as it concerns the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Nothing.
    Server,
    /// How many clients there are.
    Clients,
    /// That, and the section.
    Both,
    /// The section alone.
    Proxy,
}

impl Asked {
    fn of(sections: &[Vec<u8>]) -> Self {
        let names = |name: &str| {
            let is = |section: &Vec<u8>| section.eq_ignore_ascii_case(name.as_bytes());
            sections.iter().filter(|section| is(section)).count()
        };
        let whole =
            sections.is_empty() || names("default") + names("all") + names("everything") > 0;
        match (names("proxy"), names("clients")) {
            _ if whole => Self::Both,
            (proxy, _) if proxy == sections.len() => Self::Proxy,
            (1.., _) => Self::Both,
            (0, 1..) => Self::Clients,
            (0, 0) => Self::Server,
        }
    }
}

impl Engine {
    /// INFO. The proxy answers for itself alone even while there is no primary.
    pub(super) fn send_info(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
    ) -> bool {
        let words = super::arguments(request);
        let section = match Asked::of(&words[1..]) {
            Asked::Server => return self.send(now, id, request, Kind::Read, spec),
            Asked::Clients => false,
            Asked::Both => true,
            // The server says so.
            Asked::Proxy if self.is_stranger(id) => {
                return self.send(now, id, request, Kind::Read, spec);
            }
            Asked::Proxy => {
                if self.session(id).outstanding > 0 {
                    return false;
                }
                let resp3 = self.session(id).profile.is_resp3();
                let text = self.section(now);
                return self.answer(id, string(text.as_bytes(), resp3));
            }
        };
        // Its reply is rewritten, so it must be the only one.
        let sent =
            self.session(id).outstanding == 0 && self.send(now, id, request, Kind::Query, spec);
        if sent {
            self.session(id).pending = Some(Box::new(Pending::Info { section }));
        }
        sent
    }

    /// Whether the server wants to know who the client is, and does not.
    fn is_stranger(&mut self, id: ClientId) -> bool {
        let needs_auth = self.settings.password.is_none() && self.needs_auth == Some(true);
        needs_auth && !self.session(id).profile.is_authenticated()
    }

    /// The server's reply, as the client gets it. `None`: as it is.
    pub(super) fn with_section(
        &mut self,
        now: Instant,
        frame: &[u8],
        section: bool,
    ) -> Option<Vec<u8>> {
        let (text, resp3) = text(frame)?;
        let own = if section {
            self.section(now)
        } else {
            String::new()
        };
        self.publish_counts();
        let clients = self.board.stats().clients;
        Some(string(&rewritten(text, clients, &own), resp3))
    }

    fn section(&mut self, now: Instant) -> String {
        self.publish();
        let about = About {
            uptime: now.saturating_duration_since(self.began),
            workers: self.board.workers(),
            read_from: self.settings.read_from,
            stats: self.board.stats(),
            upstreams: self.board.upstreams(),
        };
        about.to_string()
    }
}

/// What the section tells.
struct About {
    uptime: Duration,
    workers: usize,
    read_from: ReadFrom,
    stats: Stats,
    upstreams: Vec<UpstreamStats>,
}

/// All names begin as no others do: clients read the whole of INFO into one map.
impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stats = &self.stats;
        let primary = self
            .upstreams
            .iter()
            .find(|upstream| upstream.role == UpstreamRole::Primary);
        let primary = primary.map_or_else(String::new, |primary| clean(&primary.name));
        let links = stats.links_shared + stats.links_leased + stats.links_idle;
        f.write_str("# Proxy\r\n")?;
        let version = env!("CARGO_PKG_VERSION");
        let read_from = match self.read_from {
            ReadFrom::Primary => "primary",
            ReadFrom::PreferReplica => "prefer-replica",
            ReadFrom::Replicas => "replicas",
        };
        write!(f, "proxy_version:{version}\r\n")?;
        write!(f, "proxy_uptime_in_seconds:{}\r\n", self.uptime.as_secs())?;
        write!(f, "proxy_workers:{}\r\n", self.workers)?;
        write!(f, "proxy_read_from:{read_from}\r\n")?;
        let numbers = [
            ("clients", stats.clients),
            ("requests", stats.requests),
            ("held", stats.held),
            ("replayed", stats.replayed),
            ("unknown", stats.unknown),
            ("refused", stats.refused),
            ("waiting", stats.waiting),
            ("waiting_bytes", stats.waiting_bytes),
            ("output_bytes", stats.output_bytes),
            ("links", links),
            ("links_shared", stats.links_shared),
            ("links_leased", stats.links_leased),
            ("links_idle", stats.links_idle),
        ];
        for (name, number) in numbers {
            write!(f, "proxy_{name}:{number}\r\n")?;
        }
        write!(f, "proxy_primary:{primary}\r\n")?;
        for (place, upstream) in self.upstreams.iter().enumerate() {
            write!(f, "proxy_upstream{place}:{}\r\n", line(upstream))?;
        }
        Ok(())
    }
}

/// `name=…,host=…,port=…,role=…,state=…,lag=…,pending=…,links=…`, and the reason if it is unfit. The
/// lag is -1 where it is not known.
fn line(upstream: &UpstreamStats) -> String {
    let UpstreamStats {
        port,
        pending,
        links,
        ..
    } = upstream;
    let (name, host) = (clean(&upstream.name), clean(&upstream.host));
    let (role, state) = (upstream.role.name(), upstream.state.name());
    let lag = upstream
        .lag_bytes
        .map_or("-1".to_owned(), |lag| lag.to_string());
    let mut line = format!(
        "name={name},host={host},port={port},role={role},state={state},lag={lag},\
        pending={pending},links={links}"
    );
    if let UpstreamState::Unfit(why) = &upstream.state {
        write!(line, ",reason={}", clean(why)).expect("memory takes it");
    }
    line
}

/// What breaks no line.
fn clean(name: &str) -> String {
    name.replace(|c: char| c.is_control() || c == ',', "?")
}

/// What a bulk string or a verbatim string holds, and whether it is the latter.
fn text(frame: &[u8]) -> Option<(&[u8], bool)> {
    let header = memchr::memchr(b'\r', frame)?;
    let body = frame.get(header + 2..frame.len() - 2)?;
    match frame[0] {
        b'$' => Some((body, false)),
        b'=' => Some((body.strip_prefix(b"txt:")?, true)),
        _ => None,
    }
}

pub(super) fn string(text: &[u8], verbatim: bool) -> Vec<u8> {
    if !verbatim {
        return super::local::bulk(text);
    }
    let header = format!("={}\r\ntxt:", text.len() + 4);
    [header.as_bytes(), text, b"\r\n"].concat()
}

/// The server's text with the number of clients put right, and this section behind it.
fn rewritten(text: &[u8], clients: u64, section: &str) -> Vec<u8> {
    const FIELD: &[u8] = b"connected_clients:";
    let mut out = Vec::with_capacity(text.len() + section.len() + 16);
    let mut rest = text;
    let fields = memchr::memmem::find_iter(text, FIELD);
    let mut begins = fields.filter(|at| *at == 0 || text[at - 1] == b'\n');
    if let Some(at) = begins.next() {
        let value = at + FIELD.len();
        out.extend_from_slice(&text[..value]);
        out.extend_from_slice(clients.to_string().as_bytes());
        let digits = text[value..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        rest = &text[value + digits..];
    }
    out.extend_from_slice(rest);
    if !section.is_empty() && !text.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(section.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Asked {
        let words: Vec<Vec<u8>> = line.split_whitespace().map(Into::into).collect();
        Asked::of(&words)
    }

    #[test]
    fn the_section_comes_with_the_whole_and_when_it_is_asked_for() {
        for whole in [
            "",
            "all",
            "Everything",
            "default",
            "server DEFAULT",
            "clients proxy",
        ] {
            assert_eq!(asked(whole), Asked::Both, "{whole}");
        }
        assert_eq!(asked("proxy"), Asked::Proxy);
        assert_eq!(asked("PROXY Proxy"), Asked::Proxy);
        assert_eq!(asked("CLIENTS server"), Asked::Clients);
        assert_eq!(asked("server replication"), Asked::Server);
    }

    #[test]
    fn both_forms_of_a_string_are_read_and_written() {
        for frame in ["$3\r\na\r\n\r\n", "=7\r\ntxt:a\r\n\r\n", "$0\r\n\r\n"] {
            let (body, verbatim) = text(frame.as_bytes()).unwrap();
            assert_eq!(string(body, verbatim), frame.as_bytes());
        }
        for other in ["$-1\r\n", "_\r\n", "+OK\r\n", "=5\r\nmkd:a\r\n"] {
            assert_eq!(text(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn only_the_number_of_clients_changes() {
        let text = "# Clients\r\nxconnected_clients:1\r\nconnected_clients:123\r\nmaxclients:9\r\n";
        let other = text.replace(":123", ":7");
        assert_eq!(rewritten(text.as_bytes(), 7, ""), other.as_bytes());
        let both = format!("{other}\r\n# Proxy\r\n");
        assert_eq!(
            rewritten(text.as_bytes(), 7, "# Proxy\r\n"),
            both.as_bytes()
        );
        assert_eq!(rewritten(b"", 7, "# Proxy\r\n"), b"# Proxy\r\n");
        assert_eq!(rewritten(b"# CPU\r\n", 7, ""), b"# CPU\r\n");
    }

    #[test]
    fn each_line_is_a_field() {
        let upstream = |name: &str, role, state, lag_bytes| UpstreamStats {
            name: name.into(),
            host: "::1".into(),
            port: 6379,
            role,
            state,
            lag_bytes,
            pending: 2,
            links: 3,
        };
        let unfit = UpstreamState::Unfit("it is away, far".into());
        let about = About {
            uptime: Duration::from_millis(61_500),
            workers: 2,
            read_from: ReadFrom::PreferReplica,
            stats: Stats {
                clients: 4,
                requests: 5,
                links_shared: 2,
                links_idle: 1,
                ..Stats::default()
            },
            upstreams: vec![
                upstream(
                    "a\r\nb",
                    UpstreamRole::Primary,
                    UpstreamState::Connected,
                    None,
                ),
                upstream("c", UpstreamRole::Replica, unfit, Some(17)),
            ],
        };
        let text = about.to_string();
        assert!(text.starts_with("# Proxy\r\n"));
        let lines: Vec<_> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
        for wanted in [
            "proxy_uptime_in_seconds:61",
            "proxy_workers:2",
            "proxy_read_from:prefer-replica",
            "proxy_clients:4",
            "proxy_requests:5",
            "proxy_links:3",
            "proxy_primary:a??b",
            "proxy_upstream0:name=a??b,host=::1,port=6379,role=primary,state=connected,lag=-1,\
            pending=2,links=3",
            "proxy_upstream1:name=c,host=::1,port=6379,role=replica,state=unfit,lag=17,\
            pending=2,links=3,reason=it is away? far",
        ] {
            assert!(lines.contains(&wanted), "{wanted} in {text}");
        }
        assert!(
            lines[1..]
                .iter()
                .all(|line| line.starts_with("proxy_") && line.contains(':'))
        );
    }
}

//! Asks servers how they are, while reads are split: which replicas are fit to answer.
//!
//! A replica is asked by INFO on a link of the engine's own, each
//! [`probe_interval`](crate::ProxyConfig::probe_interval). In between, an answer that refuses a
//! read, a link that is lost and an answer that does not come make it unfit at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use super::link::{Kind, Owner};
use super::server::{Fitness, Server, ServerId};
use super::{Engine, texts};

/// How long to wait before a server is connected again that closed the link it was asked by.
const PAUSE: Duration = Duration::from_millis(250);

const LAGS: &str = "it lags behind";
const STRANGER: &str = "it does not follow this primary";

/// What is known from INFO, and when to ask again.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Its last answer was that of a replica that works; how far it is was told.
    works: bool,
    /// The history that its offset counts in.
    history: Box<str>,
    /// Since when it owes an answer.
    asked: Option<Instant>,
    /// When it is asked next; `None`: at once.
    ask_at: Option<Instant>,
}

impl Engine {
    /// Asks each server whose turn it is, and looks for those that owe an answer for too long.
    pub(super) fn probe(&mut self, now: Instant) {
        self.probe_at = None;
        if !self.splits_reads() {
            // Nobody needs to know how far the primary is.
            let link = self.primary.and_then(|primary| self.server(primary).probe);
            return link.map_or((), |link| self.close_link(link));
        }
        let servers: Vec<_> = self.replicas.iter().copied().chain(self.primary).collect();
        let next = servers
            .into_iter()
            .map(|server| self.probe_server(now, server));
        self.probe_at = next.min();
    }

    /// Returns when to look at it again.
    fn probe_server(&mut self, now: Instant, id: ServerId) -> Instant {
        let next = now + self.settings.probe_interval;
        let Some(link) = self.server(id).probe else {
            return self.connect_probe(now, id);
        };
        let health = &self.server(id).health;
        if let Some(asked) = health.asked {
            return self.await_answer(now, id, asked);
        }
        if let Some(ask_at) = health.ask_at.filter(|at| now < *at) {
            return ask_at;
        }
        if self.links.get(link.0).is_some_and(super::Link::is_ready) {
            let request = super::profile::request(&[b"INFO", b"replication"]);
            self.push_own(now, link, &request, Kind::Probe);
            let health = &mut self.server_mut(id).health;
            health.asked = Some(now);
            health.ask_at = Some(next);
            return next.min(now + self.settings.connect_timeout);
        }
        // As soon as it is connected it is looked at again.
        next
    }

    fn connect_probe(&mut self, now: Instant, id: ServerId) -> Instant {
        let profile = Arc::clone(&self.profile);
        let server = self.server_mut(id);
        server.health.asked = None;
        let not_before = [
            server.health.ask_at,
            server.connect_at(),
            server.rejects(now, &profile),
        ];
        if let Some(at) = not_before
            .into_iter()
            .flatten()
            .max()
            .filter(|at| now < *at)
        {
            return at;
        }
        server.health.ask_at = None;
        self.connect(now, id, profile, Owner::Probe);
        now + self.settings.probe_interval
    }

    /// It was asked: if it says nothing for long, it gets no more reads, and at last those that it
    /// has are given to others.
    fn await_answer(&mut self, now: Instant, id: ServerId, asked: Instant) -> Instant {
        let hangs = asked + self.settings.connect_timeout;
        let lost = hangs.max(asked + self.settings.hold);
        if now < hangs {
            return hangs;
        }
        self.unfit(id, "it does not answer");
        if now < lost {
            return lost;
        }
        let reads_of = |owner| matches!(owner, Owner::Shared(_) | Owner::Probe);
        let is_replica = self.replicas.contains(&id);
        let links: Vec<_> = self
            .links
            .iter_mut()
            .filter(|link| link.server == id && reads_of(link.owner))
            .filter(|link| is_replica || link.owner == Owner::Probe)
            .map(|link| link.id)
            .collect();
        for link in links {
            self.doom(link);
        }
        self.server_mut(id).health.asked = None;
        now + PAUSE
    }

    /// There is another primary: whether the replicas follow it is not known yet.
    pub(super) fn doubt_replicas(&mut self) {
        for id in self.replicas.clone() {
            let server = self.server_mut(id);
            server.fitness = Fitness::Unknown;
            server.health.works = false;
            server.health.ask_at = None;
        }
    }

    /// A link of this server was lost, or could not be made.
    pub(super) fn server_lost(&mut self, now: Instant, id: ServerId, owner: Owner) {
        self.unfit(id, "its connection was lost");
        if owner == Owner::Probe {
            let health = &mut self.server_mut(id).health;
            health.asked = None;
            health.ask_at = Some(now + PAUSE);
        }
        self.probe_at = self.probe_at.map(|at| at.min(now + PAUSE));
    }

    /// It gets no reads until it has told that it is well.
    pub(super) fn unfit(&mut self, id: ServerId, why: &'static str) {
        if self.replicas.contains(&id) {
            self.server_mut(id).health.works = false;
            self.set_fitness(id, Fitness::Unfit(why));
        }
    }

    /// It does not tell this proxy how it is: its answers to reads will show it.
    pub(super) fn trust_answers(&mut self, id: ServerId) {
        if self.replicas.contains(&id) {
            self.server_mut(id).health.works = false;
            self.set_fitness(id, Fitness::Fit);
        }
    }

    fn set_fitness(&mut self, id: ServerId, fitness: Fitness) {
        let server = self.server_mut(id);
        let before = std::mem::replace(&mut server.fitness, fitness);
        if before == fitness {
            return;
        }
        let name = &server.upstream.name;
        match fitness {
            Fitness::Unfit(why) => info!(replica = name, why, "a replica gets no reads"),
            Fitness::Fit => {
                info!(replica = name, "a replica gets reads");
                self.free_stuck();
            }
            Fitness::Unknown => {}
        }
    }

    /// A server has told how it is.
    pub(super) fn probed(&mut self, _: Instant, id: ServerId, frame: &[u8]) {
        self.server_mut(id).health.asked = None;
        let text = String::from_utf8_lossy(frame);
        let told = Told::of(&text);
        match told {
            Told::Nothing => return self.trust_answers(id),
            Told::Fault(why) => self.unfit(id, why),
            Told::Primary(_) if self.replicas.contains(&id) => self.unfit(id, "it is a primary"),
            Told::Primary(place) | Told::Replica(place) => {
                let server = self.server_mut(id);
                server.health.works = true;
                server.offset = place.offset;
                server.health.history = place.history.into();
            }
        }
        for replica in self.replicas.clone() {
            if self.server(replica).health.works {
                let fitness = self.judge(self.server(replica));
                self.set_fitness(replica, fitness);
            }
        }
    }

    /// Whether a replica that works has what it should have.
    fn judge(&self, replica: &Server) -> Fitness {
        let primary = self.primary.map(|primary| self.server(primary));
        let Some(primary) = primary.filter(|primary| primary.health.works) else {
            return Fitness::Fit;
        };
        let (its, other) = (&primary.health.history, &replica.health.history);
        if !its.is_empty() && !other.is_empty() && its != other {
            return Fitness::Unfit(STRANGER);
        }
        let lag = primary.offset.zip(replica.offset);
        let lag = lag.map_or(0, |(primary, replica)| primary.saturating_sub(replica));
        match self.settings.max_lag_bytes {
            Some(most) if lag > most => Fitness::Unfit(LAGS),
            _ => Fitness::Fit,
        }
    }
}

/// What a server says of itself.
#[derive(Debug, PartialEq, Eq)]
enum Told<'a> {
    Primary(Place<'a>),
    Replica(Place<'a>),
    /// Why it must not be read from.
    Fault(&'static str),
    /// It does not tell, or not to us.
    Nothing,
}

/// How far a server is in a history.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    history: &'a str,
    offset: Option<u64>,
}

impl<'a> Told<'a> {
    /// The answer to INFO.
    fn of(text: &'a str) -> Self {
        if texts::is_refusal(text.as_bytes()) {
            return Self::Fault("it refuses to answer");
        }
        if text.starts_with("-BUSY ") {
            return Self::Fault("it runs a script that does not end");
        }
        let field = |name: &str| {
            let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
            text.lines().find_map(value)
        };
        let place = |offset: &str| Place {
            history: field("master_replid").unwrap_or_default(),
            offset: field(offset).and_then(|offset| offset.parse().ok()),
        };
        match field("role") {
            None => Self::Nothing,
            Some("master") => Self::Primary(place("master_repl_offset")),
            Some(_) if field("master_sync_in_progress") == Some("1") => {
                Self::Fault("it is syncing")
            }
            Some(_) if field("master_link_status") != Some("up") => {
                Self::Fault("it is not linked to its primary")
            }
            Some(_) => Self::Replica(place("slave_repl_offset")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_tells_is_understood() {
        let place = |history, offset| Place {
            history,
            offset: Some(offset),
        };
        let primary = "$9\r\n# Replication\r\nrole:master\r\nmaster_replid:abc\r\n\
            master_repl_offset:12\r\n";
        let replica = "role:slave\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\n\
            slave_repl_offset:7\r\nmaster_replid:abc\r\nmaster_repl_offset:9\r\n";
        assert_eq!(Told::of(primary), Told::Primary(place("abc", 12)));
        assert_eq!(Told::of(replica), Told::Replica(place("abc", 7)));
        for (text, why) in [
            (replica.replace(":up", ":down"), "linked"),
            (replica.replace("progress:0", "progress:1"), "syncing"),
            ("-LOADING Redis is loading\r\n".to_owned(), "refuses"),
            ("-BUSY Redis is busy\r\n".to_owned(), "script"),
        ] {
            let told = Told::of(&text);
            assert!(
                matches!(told, Told::Fault(fault) if fault.contains(why)),
                "{told:?}"
            );
        }
        for text in ["-NOPERM no\r\n", "-NOAUTH no\r\n", "$0\r\n\r\n"] {
            assert_eq!(Told::of(text), Told::Nothing);
        }
    }
}

//! Which link a plain command goes to.

use std::sync::Arc;
use std::time::Instant;

use super::link::{Lane, Link, Owner};
use super::planted::{Bug, planted};
use super::server::{Fitness, ServerId};
use super::{ClientId, Engine, LinkId};
use crate::commands::{Family, Reads, Spec};
use crate::config::{Balance, ReadFrom};

impl Engine {
    #[inline]
    pub(super) fn splits_reads(&self) -> bool {
        self.settings.read_from != ReadFrom::Primary && !self.replicas.is_empty()
    }

    /// The session waits for a primary, a link or room in one.
    pub(super) fn stick(&mut self, now: Instant, id: ClientId) {
        let primary = self.primary.filter(|_| self.suspect.is_none());
        let lost = primary.is_none_or(|primary| self.server(primary).connect_at().is_some());
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        if session.since.is_none() {
            session.since = Some(now);
            session.withheld = false;
        }
        session.withheld |= lost;
        if !session.stuck {
            session.stuck = true;
            self.stuck.push(id);
        }
    }

    /// A shared link that takes this command now. Without one, the session waits: for its own
    /// answers, or [stuck](Self::stick).
    pub(super) fn shared_link(
        &mut self,
        now: Instant,
        id: ClientId,
        lane: Lane,
        spec: Spec,
    ) -> Option<LinkId> {
        let anywhere = spec.reads == Reads::Anywhere;
        let suspected = self.suspect.is_some() && !spec.is_about_the_server();
        let session = self.sessions.get(id.0).expect("a session that lives");
        let overtakes = anywhere && planted(Bug::ReadOvertakes);
        if session.outstanding > 0 && !overtakes {
            let link = self.links.get(session.at?.0).expect("a link with requests");
            let of_primary = Some(link.server) == self.primary;
            let strays = lane == Lane::Scripts && link.owner != Owner::Shared(Lane::Scripts);
            if !link.is_ready() || !(of_primary || anywhere) || strays {
                return None;
            }
            if of_primary && suspected || link.is_congested() {
                self.stick(now, id);
                return None;
            }
            return Some(link.id);
        }
        if anywhere && self.splits_reads() {
            match self.replica_link(now, id) {
                Replica::Link(link) => return Some(link),
                Replica::Soon => {
                    self.stick(now, id);
                    return None;
                }
                Replica::None => {}
            }
        }
        let link = self
            .primary
            .filter(|_| !suspected)
            .and_then(|primary| self.usable_link(now, id, primary, lane));
        if link.is_none() {
            self.stick(now, id);
        }
        link
    }

    /// The shared link of this server, if it takes requests now. If there is none, it is made.
    pub(super) fn usable_link(
        &mut self,
        now: Instant,
        id: ClientId,
        server: ServerId,
        lane: Lane,
    ) -> Option<LinkId> {
        let profile = &self
            .sessions
            .get(id.0)
            .expect("a session that lives")
            .profile;
        let Some(link) = self.server(server).shared(profile, lane) else {
            let profile = Arc::clone(profile);
            self.connect(now, server, profile, Owner::Shared(lane));
            return None;
        };
        let link = self.links.get(link.0).expect("a shared link");
        (link.is_ready() && !link.is_congested()).then_some(link.id)
    }

    /// Whether this replica may be asked for this session.
    #[inline]
    pub(super) fn answers(&self, now: Instant, id: ClientId, server: ServerId) -> bool {
        let profile = &self
            .sessions
            .get(id.0)
            .expect("a session that lives")
            .profile;
        let server = self.server(server);
        server.fitness == Fitness::Fit
            && !server.backs_off(now)
            && server.rejects(now, profile).is_none()
    }

    /// The link of a replica that answers the next read of this session.
    #[inline]
    pub(super) fn replica_link(&mut self, now: Instant, id: ClientId) -> Replica {
        self.turn += 1;
        if self.turn >= self.replicas.len() {
            self.turn = 0;
        }
        let mut any_fit = false;
        let mut best: Option<(usize, LinkId)> = None;
        for place in (self.turn..self.replicas.len()).chain(0..self.turn) {
            let server = self.replicas[place];
            if !self.answers(now, id, server) {
                continue;
            }
            any_fit = true;
            let Some(link) = self.usable_link(now, id, server, Lane::Plain) else {
                continue;
            };
            if self.settings.balance == Balance::RoundRobin {
                return Replica::Link(link);
            }
            let pending = self.pending(server);
            if best.is_none_or(|(least, _)| pending < least) {
                best = Some((pending, link));
            }
        }
        match best {
            Some((_, link)) => Replica::Link(link),
            // Only who insists on replicas waits for one that is fit and not connected yet.
            None if any_fit && self.settings.read_from == ReadFrom::Replicas => Replica::Soon,
            None => Replica::None,
        }
    }

    /// Answers that are awaited from the server over shared links.
    fn pending(&self, server: ServerId) -> usize {
        let links = self.server(server).shared.iter();
        let links = links.filter_map(|(_, _, link)| self.links.get(link.0));
        links.map(|link| link.entries.len()).sum()
    }

    pub(super) fn may_read_link(&mut self, id: LinkId) -> bool {
        let Some(link) = self.links.get_mut(id.0) else {
            return false;
        };
        let Owner::Leased(client) = link.owner else {
            return true;
        };
        // What is lent can wait for its client; what is shared must not.
        let session = self.sessions.get(client.0);
        let room = session.is_none_or(|session| session.out.len() < self.settings.session_buffer);
        link.paused = !room;
        room
    }

    pub(super) fn link_written(&mut self, id: LinkId, n: usize) {
        let Some(link) = self.links.get_mut(id.0) else {
            return;
        };
        let had_room = link.has_room();
        let relay = Self::relay_of(&self.sessions, link).is_some();
        link.written(
            n,
            if relay {
                0
            } else {
                self.settings.replay_buffer
            },
        );
        if !had_room && link.has_room() {
            let owner = link.owner;
            if let Owner::Leased(client) = owner {
                self.touch_client(client);
            }
            self.free_stuck();
        }
    }

    /// The client whose bytes this link relays unread.
    pub(super) fn relay_of(
        sessions: &super::Slab<super::Session>,
        link: &Link,
    ) -> Option<ClientId> {
        let Owner::Leased(client) = link.owner else {
            return None;
        };
        let session = sessions.get(client.0)?;
        (session.input == super::Input::Relay && link.entries.is_empty()).then_some(client)
    }
}

impl Spec {
    /// Whether it may be just what mends a server that refuses everything else.
    fn is_about_the_server(self) -> bool {
        matches!(
            self.family,
            Family::Server | Family::Connection | Family::Cluster | Family::Sentinel
        )
    }
}

/// Where a read goes that a replica may answer.
pub(super) enum Replica {
    Link(LinkId),
    /// One is fit, and must be waited for: it is not connected yet, or has no room.
    Soon,
    /// To the primary.
    None,
}

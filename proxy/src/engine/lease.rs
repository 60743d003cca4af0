//! Links: made when they are needed, shared or lent, cleaned and closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::{Kind, Lane, Link, Owner, Phase};
use super::planted::{Bug, planted};
use super::profile::Profile;
use super::server::ServerId;
use super::session::Input;
use super::{Action, ClientId, Conn, Engine, LinkId};

/// How long a link may be idle before it is closed, if it is not one of the warm ones.
const UNUSED: Duration = Duration::from_secs(60);

/// Whether a session has a link for itself.
pub(super) enum Lease {
    Ready(LinkId),
    /// It will, or others of its requests must be answered before.
    Wait,
}

impl Engine {
    /// A link of the primary that only this session uses, until it has no state in it.
    pub(super) fn lease(&mut self, now: Instant, id: ClientId) -> Lease {
        let session = self.session(id);
        if session.outstanding > 0 && !session.leased {
            return Lease::Wait;
        }
        let link = match session.at {
            Some(link) => link,
            None => match self.lend(now, id) {
                Some(link) => link,
                None => {
                    self.stick(now, id);
                    return Lease::Wait;
                }
            },
        };
        let lent = self.links.get(link.0).expect("a leased link");
        if !lent.is_ready() || lent.is_congested() {
            if !matches!(lent.phase, Phase::Stale(_) | Phase::Doomed) {
                self.stick(now, id);
            }
            return Lease::Wait;
        }
        self.restore(now, id, link);
        Lease::Ready(link)
    }

    pub(super) fn lend(&mut self, now: Instant, id: ClientId) -> Option<LinkId> {
        let primary = self.primary.filter(|_| self.suspect.is_none())?;
        let profile = Arc::clone(&self.session(id).profile);
        let links = &self.links;
        let server = self.servers[primary.0 as usize]
            .as_mut()
            .expect("the primary");
        let fits = |link: &LinkId| {
            let link = links.get(link.0).expect("an idle link");
            Arc::ptr_eq(&link.profile, &profile) && link.is_ready()
        };
        let full = self.dedicated >= self.settings.pool_max;
        let link = match server.idle.iter().rposition(fits) {
            Some(place) => {
                let link = server.idle.remove(place);
                self.links.get_mut(link.0).expect("an idle link").owner = Owner::Leased(id);
                link
            }
            None if full && server.idle.is_empty() => {
                self.stats.pool_exhausted += 1;
                return None;
            }
            None if self.server(primary).backs_off(now) => return None,
            None if full => {
                // One that waits for clients of another kind makes room.
                let oldest = self.server(primary).idle[0];
                self.close_link(oldest);
                self.connect(now, primary, profile, Owner::Leased(id))?
            }
            None => self.connect(now, primary, profile, Owner::Leased(id))?,
        };
        let session = self.session(id);
        session.at = Some(link);
        session.leased = true;
        Some(link)
    }

    /// Begins to connect to a server, unless that has just failed.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        server: ServerId,
        profile: Arc<Profile>,
        owner: Owner,
    ) -> Option<LinkId> {
        let to = self.server(server);
        if to.backs_off(now) {
            return None;
        }
        let upstream = to.upstream.clone();
        let connect_by = now + self.settings.connect_timeout;
        let shared = Arc::clone(&profile);
        let key = self
            .links
            .insert(|key| Link::new(LinkId(key), server, profile, owner, now, connect_by));
        let id = LinkId(key);
        let server = self.server_mut(server);
        server.links += 1;
        match owner {
            Owner::Shared(lane) => server.shared.push((shared, lane, id)),
            Owner::Leased(_) | Owner::Idle => self.dedicated += 1,
            Owner::Probe => server.probe = Some(id),
        }
        self.stats.connects += 1;
        self.actions.push(Action::Connect(id, upstream));
        self.touch_link(id);
        Some(id)
    }

    /// A link is connected: sets it up.
    pub(super) fn greet(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get(id.0) else {
            return;
        };
        if !matches!(link.phase, Phase::Connecting(_)) {
            // It was given up while it was made.
            return;
        }
        let mut expected = 0;
        for request in link.profile.greeting() {
            if planted(Bug::ForgetSettings) {
                break;
            }
            self.push_own(now, id, &request, Kind::Greeting);
            expected += 1;
        }
        let link = self.links.get_mut(id.0).expect("a link that lives");
        link.phase = Phase::Greeting(expected);
        let (owner, server) = (link.owner, link.server);
        if expected == 0 {
            self.ready(id);
        }
        if owner == Owner::Shared(Lane::Plain) && !self.server(server).overlaid {
            self.server_mut(server).overlaid = true;
            let request = super::profile::request(&[b"COMMAND"]);
            self.push_own(now, id, &request, Kind::Overlay);
        }
    }

    /// Asks what the server calls this link, before that is needed.
    pub(super) fn identify(&mut self, now: Instant, id: LinkId) {
        let link = self.links.get_mut(id.0).expect("a link that lives");
        if link.number.is_none() {
            let request = super::profile::request(&[b"CLIENT", b"ID"]);
            self.push_own(now, id, &request, Kind::Identify);
        }
    }

    /// A link is set up.
    pub(super) fn ready(&mut self, id: LinkId) {
        let link = self.links.get_mut(id.0).expect("a link that lives");
        link.phase = Phase::Ready;
        let (owner, server) = (link.owner, link.server);
        self.server_mut(server).succeeded();
        match owner {
            Owner::Idle if self.server(server).current => self.server_mut(server).idle.push(id),
            Owner::Probe => self.probe_at = Some(self.began),
            _ => {}
        }
        self.touch_link(id);
        self.free_stuck();
    }

    /// Takes the link back from a session that has no state in it any more.
    pub(super) fn release_lease(&mut self, id: ClientId) {
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        let free = session.leased
            && session.outstanding == 0
            && session.pending.is_none()
            && !session.has_state();
        let Some(link) = session.at.filter(|_| free) else {
            return;
        };
        let waits = !session.has_nothing_waiting();
        let ready = self.links.get(link.0).is_some_and(Link::is_ready);
        if !ready && waits {
            return;
        }
        session.at = None;
        session.leased = false;
        if ready {
            self.take_back(link);
        } else {
            self.doom(link);
        }
    }

    /// Nobody uses this ready link, and nothing is left in it.
    fn take_back(&mut self, id: LinkId) {
        let was_full = self.dedicated >= self.settings.pool_max;
        let link = self.links.get_mut(id.0).expect("a link that lives");
        let server = self.servers[link.server.0 as usize]
            .as_mut()
            .expect("a server with links");
        if server.current && server.shared(&link.profile, Lane::Plain).is_none() {
            link.owner = Owner::Shared(Lane::Plain);
            server
                .shared
                .push((Arc::clone(&link.profile), Lane::Plain, id));
            self.dedicated -= 1;
            self.free_stuck();
        } else if server.current && server.idle.len() < self.settings.pool_idle {
            link.owner = Owner::Idle;
            server.idle.push(id);
        } else {
            self.close_link(id);
        }
        if was_full {
            self.free_stuck();
        }
    }

    /// A client has left: its link is cleaned, or closed if that is not certain to succeed.
    pub(super) fn leave_lease(&mut self, now: Instant, id: ClientId) {
        let session = self.session(id);
        let (outstanding, sticky) = (session.outstanding, session.is_bound() || session.addressed);
        let simple = session.subscriptions.is_none()
            && matches!(session.input, Input::Requests | Input::Ended);
        let state = session.has_state();
        session.leased = false;
        let Some(link) = session.at.take() else {
            return;
        };
        let ready = self.links.get(link.0).is_some_and(Link::is_ready);
        if !ready {
            return self.doom(link);
        }
        if outstanding > 0 || sticky || !simple {
            return self.close_link(link);
        }
        if !state || planted(Bug::LendUncleaned) {
            return self.take_back(link);
        }
        let reset = super::profile::request(&[b"RESET"]);
        let profile = Arc::clone(&self.links.get(link.0).expect("a ready link").profile);
        let requests: Vec<_> = std::iter::once(reset).chain(profile.greeting()).collect();
        for request in &requests {
            self.push_own(now, link, request, Kind::Greeting);
        }
        let link = self.links.get_mut(link.0).expect("a ready link");
        link.phase = Phase::Greeting(u32::try_from(requests.len()).expect("a few requests"));
        link.owner = Owner::Idle;
    }

    /// Closes a link whose requests nobody needs the answers of.
    pub(super) fn close_link(&mut self, id: LinkId) {
        self.actions.push(Action::Close(Conn::Upstream(id)));
        self.forget_link(id);
    }

    /// Removes a link from wherever it is listed.
    pub(super) fn forget_link(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(id.0)?;
        self.set_timer(Conn::Upstream(id), link.timer, None);
        if link.is_learning() {
            // Somebody may wait for that.
            self.free_stuck();
        }
        if matches!(link.owner, Owner::Leased(_) | Owner::Idle) {
            self.dedicated -= 1;
        }
        let server = self.server_mut(link.server);
        server.links -= 1;
        server.shared.retain(|(_, _, shared)| *shared != id);
        server.idle.retain(|idle| *idle != id);
        server.probe = server.probe.filter(|probe| *probe != id);
        self.drop_server(link.server);
        Some(link)
    }

    /// Keeps some links ready to be lent.
    pub(super) fn warm(&mut self, now: Instant) {
        let Some(primary) = self.primary else { return };
        let profile = Arc::clone(&self.profile);
        if self.server(primary).shared(&profile, Lane::Plain).is_none() {
            self.connect(
                now,
                primary,
                Arc::clone(&profile),
                Owner::Shared(Lane::Plain),
            );
        }
        let idle = |link: &&Link| {
            let fits = link.server == primary && Arc::ptr_eq(&link.profile, &profile);
            fits && link.owner == Owner::Idle
        };
        let warm = self.links.iter().filter(idle).count();
        let room = self.settings.pool_max.saturating_sub(self.dedicated);
        for _ in 0..self.settings.pool_warm.saturating_sub(warm).min(room) {
            self.connect(now, primary, Arc::clone(&profile), Owner::Idle);
        }
    }

    /// Closes what was not used for long.
    pub(super) fn cool(&mut self, now: Instant) {
        let profile = Arc::clone(&self.profile);
        let used: Vec<_> = self
            .sessions
            .iter()
            .map(|session| Arc::as_ptr(&session.profile))
            .collect();
        let mut warm = self.settings.pool_warm;
        let unused: Vec<_> = self
            .links
            .iter_mut()
            .filter_map(|link| {
                let base = Arc::ptr_eq(&link.profile, &profile);
                let needed = match link.owner {
                    Owner::Shared(_) => base || used.contains(&Arc::as_ptr(&link.profile)),
                    Owner::Idle if base && warm > 0 => {
                        warm -= 1;
                        true
                    }
                    Owner::Idle => false,
                    Owner::Leased(_) | Owner::Probe => true,
                };
                if needed || !link.entries.is_empty() || !link.is_ready() {
                    link.used = now;
                }
                (now.saturating_duration_since(link.used) >= UNUSED).then_some(link.id)
            })
            .collect();
        for link in unused {
            self.close_link(link);
        }
    }
}

//! Whom to dial, and when.

use std::time::{Duration, Instant};

use super::{Failure, Link, Mesh};
use crate::{
    NodeId,
    timestamp::{core::Action, message::Address},
};

/// From a failed dial to the next, once several have failed; varied by half of it either way.
const RETRY: Duration = Duration::from_millis(100);

/// The same after the first failure, doubled with each: a process that is being killed may accept
/// and reset for a moment before it refuses, and one that starts may refuse for a moment.
const FIRST_RETRY: Duration = Duration::from_millis(5);

/// The same where something answers that does not belong to us.
pub(super) const RETRY_FOREIGN: Duration = Duration::from_secs(1);

/// An address that is dialled when nobody who lives there is connected.
#[derive(Debug)]
pub(super) struct Route {
    /// Who answered there last.
    pub(super) node: Option<NodeId>,
    /// When to dial; `None` while a dial is under way.
    pub(super) due: Option<Instant>,
    /// How often dialling has come to nothing since it last brought a snapshot.
    pub(super) failures: u32,
}

impl Route {
    /// How long to wait before the next dial, after one more that came to nothing.
    pub(super) fn back_off(&mut self, draw: f64) -> Duration {
        let pause = RETRY.min(FIRST_RETRY * (1 << self.failures.min(8)));
        self.failures += 1;
        pause / 2 + pause.mul_f64(draw)
    }
}

impl Mesh {
    /// A dial came to nothing.
    pub(crate) fn fail(&mut self, now: Instant, address: &Address, failure: Failure) {
        let draw = self.draw();
        if let Some(route) = self.routes.get_mut(address) {
            let pause = match failure {
                Failure::Refused | Failure::Silent => route.back_off(draw),
                Failure::Foreign => RETRY_FOREIGN,
            };
            route.due = Some(now + pause);
        }
        if failure != Failure::Refused {
            return;
        }
        let Some(route) = self.routes.get(address) else {
            return;
        };
        let refused = |node: &NodeId, link: &Link| {
            link.connections.is_empty() && leads_to(address, route, node, link)
        };
        let dead = self.links.iter().find(|(node, link)| refused(node, link));
        if let Some(node) = dead.map(|(node, _)| node.clone()) {
            self.lose(now, &node, "it refuses connections");
        }
    }

    pub(super) fn dial(&mut self, now: Instant) -> Vec<Action> {
        let due: Vec<Address> = (self.routes.iter())
            .filter(|(_, route)| route.due.is_some_and(|due| due <= now))
            .filter(|(_, route)| !self.is_reached(route))
            .map(|(address, _)| address.clone())
            .collect();
        for address in &due {
            if let Some(route) = self.routes.get_mut(address) {
                route.due = None;
            }
        }
        due.into_iter().map(Action::Dial).collect()
    }

    /// Keeps a route to every address that is named by discovery or by a member that is not lost.
    pub(super) fn reroute(&mut self, now: Instant) {
        let mut wanted = self.named.clone();
        wanted.extend(self.links.values().map(|link| link.address.clone()));
        self.routes.retain(|address, _| wanted.contains(address));
        for address in wanted {
            self.routes.entry(address).or_insert_with_key(|address| {
                let mut links = self.links.iter();
                let link = links.find(|(_, link)| link.address == *address);
                Route {
                    node: link.map(|(node, _)| node.clone()),
                    due: Some(now),
                    failures: 0,
                }
            });
        }
    }

    pub(super) fn postpone(&mut self, now: Instant, address: Option<&Address>, pause: Duration) {
        if let Some(route) = address.and_then(|address| self.routes.get_mut(address)) {
            route.due = Some(now + pause);
        }
    }

    pub(super) fn is_self(&self, address: &Address) -> bool {
        let node = self
            .routes
            .get(address)
            .and_then(|route| route.node.as_ref());
        node == Some(&self.me)
    }

    /// Whether who lives there is connected, or is this member itself.
    pub(super) fn is_reached(&self, route: &Route) -> bool {
        route.node.as_ref().is_some_and(|node| {
            *node == self.me
                || self
                    .links
                    .get(node)
                    .is_some_and(|link| !link.connections.is_empty())
        })
    }

    /// The next number from 0 to 1 of a xorshift sequence.
    pub(super) fn draw(&mut self) -> f64 {
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        f64::from((self.jitter >> 32) as u32) / f64::from(u32::MAX)
    }
}

pub(super) fn leads_to(at: &Address, route: &Route, node: &NodeId, link: &Link) -> bool {
    link.address == *at || route.node.as_ref() == Some(node)
}

//! Leadership by a Kubernetes Lease: the real candidates, each beside a sidecar, and one API that they
//! compete by.

use std::time::Duration;

use bellwether_election::{Flock, Leadership, LeaseConfig, NodeId};

use super::{
    bug::Bug,
    election::Role,
    faults::Fault,
    world::{Happening, MS, SECOND, Time, World, name_of},
};
use crate::sidecar::core::Event;

/// How a group is led by a Lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    /// How long it lasts, in seconds.
    seconds: u64,
    failsafe: bool,
}

/// By how much one clock may run faster than another.
const DRIFT: f64 = 0.05;

impl Lease {
    pub(super) fn draw(rng: &mut fastrand::Rng) -> Self {
        Self {
            seconds: [1, 1, 1, 2, 2, 6][rng.usize(..6)],
            failsafe: rng.u8(..4) == 0,
        }
    }

    pub(super) fn lasts(self) -> Time {
        self.seconds * SECOND
    }

    /// Times as tight as they may be for the shorter ones, the defaults for the longest.
    fn config(self) -> LeaseConfig {
        let mut config = LeaseConfig::new(super::data::GROUP, "a");
        config.clock_drift = DRIFT;
        if self.seconds < 6 {
            let lasts = Duration::from_secs(self.seconds);
            config.lease_duration = lasts;
            config.renew_deadline = lasts * 3 / 5;
            config.retry_period = lasts / 5;
            config.fence_timeout = lasts / 4;
        }
        config
    }

    pub(super) fn flock(self, seed: u64, nodes: usize, bug: Option<Bug>) -> Flock {
        let plant = match bug {
            Some(Bug::Lease(plant)) => Some(plant),
            _ => None,
        };
        let names = (0..nodes).map(name_of).collect();
        Flock::new(seed, names, &self.config(), self.failsafe, plant)
    }
}

impl World {
    /// When the flock does something next, if that comes before anything else.
    pub(super) fn flock_is_due(&self, next: Option<Time>) -> Option<Time> {
        let at = self.flock.as_ref()?.next_at()?;
        next.is_none_or(|next| at <= next).then_some(at)
    }

    /// Time has come, and what the candidates publish is told to their sidecars.
    pub(super) fn hear_flock(&mut self) {
        let now = self.now;
        let Some(flock) = &mut self.flock else {
            return;
        };
        flock.advance(now);
        for node in flock.news() {
            self.tell_pause(node);
            let told = self.flock.as_ref().and_then(|flock| flock.told(node));
            let Some((leadership, _)) = told else {
                continue;
            };
            if self.nodes[node].agent.is_none() {
                continue;
            }
            let role = match leadership {
                Leadership::Vacant => Role::Vacant,
                Leadership::Following { leader, card, term } => {
                    Role::Following { leader, card, term }
                }
                Leadership::Leading { term, .. } => Role::Leading(term),
            };
            let seat = self.seat(node);
            if role == Role::Vacant && seat.role != role {
                seat.since = now;
            }
            let begins = matches!(role, Role::Leading(_)) && !seat.leads();
            seat.role = role;
            self.tell(node);
            if begins {
                self.pause_a_beginner();
                self.stop_beginner(node);
            }
        }
    }

    /// Nobody knows less than who stops in the middle of a promotion and goes on when its lease is over.
    fn stop_beginner(&mut self, node: usize) {
        let lasts = self.plan.by_lease.map_or(0, Lease::lasts);
        if self.plan.stops() && self.rng.u8(..4) == 0 {
            let (begin, span) = (self.rng.u64(..60 * MS), self.rng.u64(lasts / 4..2 * lasts));
            self.after(begin, Happening::Fault(Fault::StopAgent(node)));
            self.after(begin + span, Happening::Fault(Fault::ContinueAgent(node)));
        }
    }

    /// What a candidate tells its sidecar is the latest, whenever that looks; of two things, any
    /// comes first.
    pub(super) fn deliver_by_lease(&mut self, node: usize, life: u64) -> Option<Leadership> {
        let (leadership, peers) = self.flock.as_ref()?.told(node)?;
        let first = self.rng.bool();
        let seat = self.seat(node);
        if seat.told_peers != peers {
            seat.told_peers = peers.clone();
            if first {
                self.step(node, life, Event::Peers(peers));
            } else {
                let delay = self.delay();
                let event = Event::Peers(peers);
                self.after(delay, Happening::Step { node, life, event });
            }
        }
        Some(leadership)
    }

    /// The candidate of an agent that starts.
    pub(super) fn enter(&mut self, node: usize) -> Option<NodeId> {
        Some(self.flock.as_mut()?.start(node))
    }

    /// For how long the latest of all that was repaired may keep anybody from leading.
    pub(super) fn led_again_by(&self, healed: Time) -> Time {
        let Some(flock) = &self.flock else {
            return healed;
        };
        let settles = u64::try_from(flock.settles_within().as_micros()).expect("short");
        flock.held_up_until().max(healed) + settles + 200 * MS
    }
}

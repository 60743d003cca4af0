//! Candidates for a Lease as one part of a larger world, whose nodes are their applications.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    calls::Faults,
    trouble::{hands, network},
    weather::{Weather, faults, surroundings},
    world::{Micros, World, micros},
};
use crate::{
    Leadership, NodeId, Peer, Rank,
    lease::{Flaw, LeaseConfig},
};

/// The candidates of a group, each with a clock that drifts, and one Kubernetes API.
///
/// Times are microseconds since the world began. Nothing happens between two calls of
/// [`advance`](Self::advance); what applications wish takes effect at the time of the last one. Breaches
/// of what the election promises panic, unless a bug is planted: then it is for the larger world to
/// notice that two lead.
pub struct Flock {
    world: World,
    weather: Weather,
    clock_drift: f64,
}

/// Bugs that a world of whole programs must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Writes over whatever the Lease says once it has led, also if another holds it by now.
    RenewsUnchecked,
    /// Takes a Lease that was deleted for one that nobody held.
    TakesAtOnce,
    /// Judges another's lease by the time of day that the other wrote.
    TrustsOtherClocks,
    /// Does not give leadership up when told to.
    LeadsOnAfterResignation,
    /// Writes without the version that the write was decided on.
    WritesWithoutVersion,
}

impl Plant {
    fn flaw(self) -> Flaw {
        match self {
            Self::RenewsUnchecked => Flaw::RenewsUnchecked,
            Self::TakesAtOnce => Flaw::CreatesAtOnce,
            Self::TrustsOtherClocks => Flaw::TrustsOtherClocks,
            Self::LeadsOnAfterResignation => Flaw::LeadsOnAfterResignation,
            Self::WritesWithoutVersion => Flaw::WritesWithoutVersion,
        }
    }
}

impl Flock {
    /// Members of these names, none of which runs yet, and an API without faults; with failsafe, or
    /// without.
    ///
    /// # Panics
    ///
    /// If the configuration cannot work.
    #[must_use]
    pub fn new(
        seed: u64,
        names: Vec<String>,
        config: &LeaseConfig,
        failsafe: bool,
        plant: Option<Plant>,
    ) -> Self {
        config.check().expect("it can work");
        let flaw = plant.map(Plant::flaw);
        let mut world = World::new(seed, names.len(), config, flaw);
        for (node, name) in world.nodes.iter_mut().zip(names) {
            node.name = name;
        }
        world.news = Some(BTreeSet::new());
        world.peers.on = failsafe;
        world.judge.blind = plant.is_some();
        Self {
            world,
            weather: Weather::Calm,
            clock_drift: config.clock_drift,
        }
    }

    /// From now on the API has faults, such as the seed draws: calls are lost, late and refused,
    /// watches break and lag, people delete and edit the Lease, another program competes for it.
    pub fn trouble(&mut self) {
        self.weather = Weather::of(self.world.rng.u64(..));
        // Failsafe takes that nobody deletes the Lease, and that no other program takes it.
        if self.world.peers.on && self.weather != Weather::Calm {
            self.weather = Weather::Storm;
        }
        surroundings(&mut self.world, self.weather, self.clock_drift);
        if self.weather != Weather::Calm {
            self.world.faults = faults(&mut self.world, self.weather);
        }
        self.bound_delay();
    }

    /// Leases may be short here; calls that all come too late would be an outage.
    fn bound_delay(&mut self) {
        let longest = micros(self.world.call_timeout);
        self.world.faults.delay = self.world.faults.delay.min(longest);
    }

    /// One more thing goes wrong, perhaps at this member.
    pub fn strike(&mut self, n: usize) {
        let world = &mut self.world;
        match self.weather {
            Weather::Hands if world.rng.bool() => hands(world),
            Weather::Foreign if world.rng.bool() => world.trouble_foreign(),
            _ => network(world, n),
        }
        self.bound_delay();
    }

    /// Somebody deletes the Lease, where nothing takes that nobody does: neither failsafe, nor another
    /// program, which takes a deleted one at once.
    pub fn delete_lease(&mut self) {
        let takes_that = self.world.peers.on || self.weather == Weather::Foreign;
        if !takes_that {
            self.world.delete_lease();
        }
    }

    /// An outage of the API ends, and watches can be opened.
    pub fn relent(&mut self) {
        self.world.faults.away = false;
        self.world.faults.no_watch = false;
    }

    /// Everything works from now on. What was on its way arrives now or never.
    pub fn heal(&mut self) {
        let world = &mut self.world;
        self.weather = Weather::Calm;
        world.faults = Faults::none();
        world.foreign = None;
        world.flush_calls();
        world.heal_peers();
        for n in 0..world.nodes.len() {
            if world.nodes[n].is_running() {
                world.open_watch(n);
            }
        }
    }

    /// Until when the API's refusals may have ordered somebody to wait.
    #[must_use]
    pub fn held_up_until(&self) -> Micros {
        self.world.told_to_wait
    }

    /// When something happens next.
    #[must_use]
    pub fn next_at(&self) -> Option<Micros> {
        self.world.next_at()
    }

    /// Lets time pass until then.
    pub fn advance(&mut self, to: Micros) {
        self.world.run_until(to);
    }

    /// The members whose leadership is told anew since this was last asked.
    pub fn news(&mut self) -> BTreeSet<usize> {
        self.world
            .news
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Starts a member; what was left of its former life ends without a word.
    pub fn start(&mut self, n: usize) -> NodeId {
        self.world.crash(n);
        self.world.start(n);
        self.world.running(n).id.clone()
    }

    /// Ends a member without a word.
    pub fn crash(&mut self, n: usize) {
        self.world.crash(n);
    }

    /// Stops a member's process; what reaches it meanwhile waits.
    pub fn stop(&mut self, n: usize) {
        self.world.nodes[n].stopped = self.world.nodes[n].is_running();
    }

    /// Continues a member's process.
    pub fn resume(&mut self, n: usize) {
        if self.world.nodes[n].stopped {
            self.world.resume(n);
        }
    }

    /// Cuts a member off from the API, or joins it again. Whether its watch notices is a matter of
    /// luck.
    pub fn cut(&mut self, n: usize, cut: bool) {
        self.world.nodes[n].cut = cut;
        if !cut {
            return;
        }
        if self.world.rng.bool() {
            self.world.cut_watch(n);
        } else if let Some(running) = &mut self.world.nodes[n].running {
            running.stream.silent = true;
        }
    }

    /// Discovery tells a member who there is.
    pub fn list(&mut self, n: usize, members: BTreeSet<usize>) {
        self.world.nodes[n].roster = members;
        self.world.tell_roster(n);
    }

    /// Two members cannot ask each other any more, or can again.
    pub fn part(&mut self, a: usize, b: usize, cut: bool) {
        let pair = (a.min(b), a.max(b));
        if cut {
            self.world.peers.cut.insert(pair);
        } else {
            self.world.peers.cut.remove(&pair);
        }
    }

    /// The application of a member stands.
    pub fn campaign(&mut self, n: usize, rank: Rank) {
        self.world.wish(n, |participant| participant.campaign(rank));
    }

    /// The application of a member gives leadership up, or withdraws.
    pub fn resign(&mut self, n: usize, successor: Option<NodeId>) {
        if self.takes_part(n) {
            self.world.resign(n, successor);
        }
    }

    /// The application of a member replaces its card.
    pub fn announce(&mut self, n: usize, card: Bytes) {
        self.world.wish(n, |participant| participant.announce(card));
    }

    /// The application of a member leaves; the member ends once the Lease does not name it.
    pub fn leave(&mut self, n: usize) {
        if self.takes_part(n) {
            self.world.leave(n);
        }
    }

    fn takes_part(&self, n: usize) -> bool {
        self.world.nodes[n].takes_part()
    }

    /// What a member tells its application, if it runs: who leads, and whom it knows.
    #[must_use]
    pub fn told(&self, n: usize) -> Option<(Leadership, BTreeMap<NodeId, Peer>)> {
        let running = self.world.nodes[n].running.as_ref()?;
        let participant = running.participant.as_ref()?;
        let leadership = participant.leadership().borrow().clone();
        Some((leadership, participant.peers().borrow().clone()))
    }

    /// Whether a member's application may act as leader now.
    #[must_use]
    pub fn acts(&self, n: usize) -> bool {
        self.world.nodes[n].acts_at(self.world.now)
    }

    /// Somebody pauses automatic failover, or resumes it.
    pub fn pause(&mut self, paused: bool) {
        self.world.edit_lease(|record| record.paused = paused);
    }

    /// Whether a member knows that automatic failover is paused.
    #[must_use]
    pub fn is_paused(&self, n: usize) -> bool {
        let running = self.world.nodes[n].running.as_ref();
        running.is_some_and(|running| running.paused)
    }

    /// What a member's clock shows at a time of the world.
    #[must_use]
    pub fn local(&self, n: usize, at: Micros) -> Instant {
        self.world.nodes[n].clock.at(at)
    }

    /// When a member's clock shows this.
    #[must_use]
    pub fn real(&self, n: usize, local: Instant) -> Micros {
        self.world.nodes[n].clock.real(local)
    }

    /// The longest that it takes until somebody leads and all follow, when everything works and all
    /// stand.
    #[must_use]
    pub fn settles_within(&self) -> Duration {
        self.world.timing.lease_duration + self.world.timing.retry_period * 3
    }
}

impl std::fmt::Debug for Flock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flock")
            .field("weather", &self.weather)
            .finish_non_exhaustive()
    }
}

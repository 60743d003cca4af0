//! What a world is like, as its seed decides beforehand.

use fastrand::Rng;

use super::{
    lease::Lease,
    world::{MS, SECOND, Time},
};

/// What kinds of faults there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Only what an operator asks for.
    Planned,
    Crashes,
    Stops,
    Cuts,
    /// Everything restarts, and users empty what they can.
    Blackouts,
    Everything,
}

/// How leadership comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elected {
    /// By whatever keeps the contract of an election.
    Anyhow,
    ByLease,
}

/// What a seed decides beforehand.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    pub(super) weather: Weather,
    /// Leadership has an end.
    pub(super) lease: bool,
    /// A minority has no leader.
    pub(super) quorum: bool,
    /// Servers are restarted as writable primaries too.
    pub(super) plain: bool,
    /// Candidates race for a Lease, and know of each other by discovery alone.
    pub(super) by_lease: Option<Lease>,
    /// How many replicas a primary is to have.
    pub(super) min_replicas: u32,
    /// How long members are waited for.
    pub(super) form_timeout: Time,
    /// What most servers keep when they are restarted.
    pub(super) kept: Kept,
    /// Whose server has a dataset of another group.
    pub(super) foreign: Option<usize>,
    /// The servers start with data from before.
    pub(super) old_data: bool,
    pub(super) probe_ms: u64,
    /// The most that a write takes to a replica.
    pub(super) lag: Time,
    /// When a replica gives up a silent connection.
    pub(super) link_timeout: Time,
    pub(super) write_every: Time,
    /// When faults end.
    pub(super) troubled: Time,
    pub(super) faults: usize,
    /// The most that a slow message takes.
    pub(super) slowness: Time,
    pub(super) lame: Option<usize>,
    /// When an operator first pauses failover, in worlds where candidates race.
    pub(super) pause: Option<Time>,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng, elected: Elected) -> Self {
        let plan = Self::draw_any(rng);
        match elected {
            Elected::Anyhow => plan,
            Elected::ByLease => plan.by_lease(rng),
        }
    }

    /// The same group with a Lease. Servers are waited for longer than the election takes to notice
    /// that a leader died.
    fn by_lease(self, rng: &mut Rng) -> Self {
        let lease = Lease::draw(rng);
        let lasts = lease.lasts();
        Self {
            lease: true,
            quorum: false,
            by_lease: Some(lease),
            form_timeout: self.form_timeout + lasts,
            troubled: self.troubled + 2 * lasts,
            ..self
        }
    }

    fn draw_any(rng: &mut Rng) -> Self {
        let nodes = rng.usize(2..=5);
        let weather = match rng.u8(..14) {
            0 | 1 | 13 => Weather::Planned,
            2 | 3 => Weather::Crashes,
            4 | 5 => Weather::Stops,
            6 | 7 => Weather::Cuts,
            8..=10 => Weather::Blackouts,
            _ => Weather::Everything,
        };
        // Of a copy, so that what is drawn next does not depend on it.
        let min_replicas = u32::from(rng.clone().u8(..).is_multiple_of(3));
        let some = |rng: &mut Rng| (nodes > 2 && rng.u8(..8) == 0).then(|| rng.usize(..nodes));
        Self {
            nodes,
            weather,
            by_lease: None,
            min_replicas,
            form_timeout: rng.u64(500 * MS..2 * SECOND),
            kept: [Kept::Nothing, Kept::Writes, Kept::Writes, Kept::Snapshot][rng.usize(..4)],
            foreign: some(rng),
            lease: rng.bool(),
            quorum: nodes > 2 && rng.u8(..4) == 0,
            plain: weather == Weather::Crashes && rng.u8(..3) == 0,
            old_data: rng.u8(..4) == 0,
            probe_ms: 100 * rng.u64(1..=2),
            lag: rng.u64(MS..100 * MS),
            link_timeout: rng.u64(300 * MS..3 * SECOND),
            write_every: rng.u64(10 * MS..60 * MS),
            troubled: rng.u64(2 * SECOND..5 * SECOND),
            faults: rng.usize(2..14),
            slowness: rng.u64(2 * MS..90 * MS),
            lame: some(rng),
            pause: None,
        }
    }

    pub(super) fn stops(&self) -> bool {
        matches!(self.weather, Weather::Stops | Weather::Everything)
    }

    pub(super) fn planned_only(&self) -> bool {
        self.weather == Weather::Planned
    }
}

/// What a restarted server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    /// All, under a new history: an append-only file.
    Writes,
    /// What there was some time ago, and its position: a snapshot.
    Snapshot,
}

//! What is remembered of a world in order to judge it.

use super::{
    data::{Data, Entry},
    world::{SECOND, Time},
};
use crate::{Inspection, sidecar::core::Action};

/// What a client was told about a write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Write {
    acknowledged: bool,
    /// Another server was primary too, or a promotion lost it.
    excused: bool,
    /// In which history it was done, and at which offset, if it came through a leader port.
    place: Option<(u64, u64)>,
}

/// What worlds had to show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tale {
    pub(super) promotions: u64,
    pub(super) acknowledged: u64,
    /// Acknowledged writes that a promoted server did not have.
    pub(super) lost: u64,
}

impl Tale {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            promotions: self.promotions + other.promotions,
            acknowledged: self.acknowledged + other.acknowledged,
            lost: self.lost + other.lost,
        }
    }
}

/// What an agent did of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    pub(super) since: Time,
    pub(super) steps: u32,
    pub(super) orders: u32,
}

/// What is remembered of a world in order to judge it.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) writes: Vec<Write>,
    promotions: u64,
    lost: u64,
    /// When the agent of the one last heard from the server of the other, and what.
    pub(super) heard: Vec<Vec<Option<(Time, Inspection)>>>,
    /// Since when the agent of the one has known where the other's server is.
    pub(super) met: Vec<Vec<Option<Time>>>,
    pub(super) paces: Vec<Pace>,
    /// When an order was last given, or a leader resigned.
    pub(super) unrest: Time,
    /// When everything was repaired.
    pub(super) healing: Option<Time>,
    pub(super) whole_since: Option<Time>,
    /// Clients no longer write.
    pub(super) calm: bool,
    pub(super) ended: bool,
}

impl Ledger {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            writes: vec![Write::default()],
            promotions: 0,
            lost: 0,
            heard: vec![vec![None; nodes]; nodes],
            met: vec![vec![None; nodes]; nodes],
            paces: vec![Pace::default(); nodes],
            unrest: 0,
            healing: None,
            whole_since: None,
            calm: false,
            ended: false,
        }
    }

    pub(super) fn agent_started(&mut self, node: usize) {
        self.heard[node].fill(None);
        self.met[node].fill(None);
    }

    pub(super) fn met(&mut self, a: usize, b: usize, now: Time) {
        self.met[a][b].get_or_insert(now);
        self.met[b][a].get_or_insert(now);
    }

    /// The agent was told of all others.
    pub(super) fn listed(&mut self, node: usize, now: Time) {
        for met in &mut self.met[node] {
            met.get_or_insert(now);
        }
    }

    /// The node has a new address, which nobody knows yet.
    pub(super) fn moved(&mut self, node: usize) {
        self.met.iter_mut().for_each(|met| met[node] = None);
    }

    pub(super) fn heard(&mut self, node: usize, of: usize, said: &Inspection, now: Time) {
        self.heard[node][of] = Some((now, said.clone()));
    }

    fn new_write(&mut self, write: Write) -> u32 {
        self.writes.push(write);
        u32::try_from(self.writes.len() - 1).expect("few writes")
    }

    pub(super) fn acknowledge(&mut self, excused: bool) -> u32 {
        self.new_write(Write {
            acknowledged: true,
            excused,
            place: None,
        })
    }

    /// A write has been done here.
    pub(super) fn done(&mut self, write: u32, history: u64, offset: u64) {
        self.writes[write as usize].place = Some((history, offset));
    }

    /// Which of these missing writes the dataset should have by its position: rule 14 allows to lose
    /// what lies beyond it, and nothing else.
    pub(super) fn within(&self, data: &Data, missing: &[usize]) -> Option<usize> {
        let is_within = |(history, offset): (u64, u64)| {
            let now = data.id == history && offset <= data.offset();
            let before = |(id, end)| id == history && offset < end;
            now || data.previous.is_some_and(before)
        };
        let place = |write: &usize| self.writes[*write].place;
        missing
            .iter()
            .copied()
            .find(|write| place(write).is_some_and(is_within))
    }

    /// A write that was done already is acknowledged.
    pub(super) fn acknowledged(&mut self, write: u32) {
        self.writes[write as usize].acknowledged = true;
    }

    pub(super) fn unacknowledged(&mut self) -> u32 {
        self.new_write(Write::default())
    }

    /// Acknowledged writes without excuse that are not in `log`.
    pub(super) fn missing(&self, log: &[Entry]) -> Vec<usize> {
        let mut there = vec![false; self.writes.len()];
        for entry in log {
            if let Entry::Write(write) = entry
                && let Some(there) = there.get_mut(*write as usize)
            {
                *there = true;
            }
        }
        let missing =
            |(write, there): (&Write, bool)| write.acknowledged && !write.excused && !there;
        let writes = self.writes.iter().zip(there).enumerate();
        writes
            .filter(|(_, pair)| missing(*pair))
            .map(|(number, _)| number)
            .collect()
    }

    pub(super) fn tale(&self) -> Tale {
        let acknowledged = self.writes.iter().filter(|write| write.acknowledged);
        Tale {
            promotions: self.promotions,
            acknowledged: acknowledged.count() as u64,
            lost: self.lost,
        }
    }

    /// A server was promoted without these writes.
    pub(super) fn excuse(&mut self, writes: &[usize]) {
        self.promotions += 1;
        self.lost += writes.len() as u64;
        for write in writes {
            self.writes[*write].excused = true;
        }
    }

    pub(super) fn stepped(&mut self, node: usize, now: Time) {
        let pace = &mut self.paces[node];
        if now - pace.since > SECOND {
            *pace = Pace {
                since: now,
                ..Pace::default()
            };
        }
        pace.steps += 1;
    }

    pub(super) fn count(&mut self, node: usize, action: &Action, now: Time) {
        if matches!(
            action,
            Action::Order(_) | Action::Resign(_) | Action::FenceMember { .. }
        ) {
            self.paces[node].orders += 1;
            self.unrest = now;
        }
    }
}

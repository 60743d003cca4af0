//! An operator pauses automatic failover, and resumes it: in worlds with a lease, which then goes to
//! nobody but who held it last or whom that one named.

use bellwether_election::NodeId;
use fastrand::Rng;

use super::{
    election::is_called,
    faults::Fault,
    world::{Happening, MS, SECOND, Time, World, name_of},
};
use crate::sidecar::core::Event;

/// How often one agent may give leadership up within a second: who cannot lead does not try again and
/// again.
const MOST_RESIGNATIONS: usize = 10;

/// Who may lead, while that is not everybody.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    paused: bool,
    /// The agent's node that held the lease last.
    last: Option<usize>,
    /// Whom it named when it gave the lease up.
    named: Option<NodeId>,
}

/// When it is paused first, if that is done in this world: drawn from a source of its own, so that
/// other worlds are as they would be without pauses.
pub(super) fn draw(seed: u64) -> Option<Time> {
    let mut rng = Rng::with_seed(!seed);
    let from = rng.u64(500 * MS..3 * SECOND);
    (rng.u8(..3) < 2).then_some(from)
}

impl World {
    fn pauses(&self) -> bool {
        self.plan.pause.is_some() && self.plan.unseen
    }

    pub(super) fn plan_pauses(&mut self) {
        if let Some(from) = self.plan.pause.filter(|_| self.pauses()) {
            self.plan_pause(from);
        }
    }

    fn plan_pause(&mut self, from: Time) {
        let long = self.rng.u64(200 * MS..3 * SECOND);
        self.after(from, Happening::Fault(Fault::Pause(true)));
        self.after(from + long, Happening::Fault(Fault::Pause(false)));
    }

    pub(super) fn pause(&mut self, paused: bool) {
        if self.pauses.paused == paused {
            return;
        }
        self.note(|_| format!("failover is paused: {paused}"));
        self.pauses.paused = paused;
        for node in 0..self.nodes.len() {
            self.tell_pause(node);
        }
        self.decide_soon();
    }

    /// The agent learns of a pause as late as of anything.
    pub(super) fn tell_pause(&mut self, node: usize) {
        let Some(life) = self.nodes[node].agent.as_ref().map(|agent| agent.life) else {
            return;
        };
        if self.pauses() {
            let (delay, event) = (self.delay(), Event::Paused(self.pauses.paused));
            self.after(delay, Happening::Step { node, life, event });
        }
    }

    /// It holds the lease now.
    pub(super) fn took_the_lease(&mut self, node: usize) {
        // Some pause in the midst of a failover.
        if self.pauses() && self.rng.u8(..3) == 0 {
            let from = self.rng.u64(..50 * MS);
            self.plan_pause(from);
        }
        self.pauses.last = Some(node);
        self.pauses.named = None;
    }

    pub(super) fn may_take_the_lease(&self, node: usize) -> bool {
        let agent = self.nodes[node].agent.as_ref();
        let named = self.pauses.named.as_ref();
        let is_named = named.zip(agent).is_some_and(|(named, agent)| {
            is_called(&agent.id, named) || agent.id.member == named.member
        });
        !self.pauses.paused || self.pauses.last == Some(node) || is_named
    }

    /// An agent gives leadership up, perhaps in favour of another.
    pub(super) fn check_resignation(&mut self, node: usize, successor: Option<&NodeId>) {
        let agent = self.nodes[node].agent.as_mut().expect("it acts");
        if !agent.seat.leads() {
            return;
        }
        self.pauses.named = successor.cloned();
        let asked = agent.leaving || !agent.switchovers.is_empty();
        if let (true, false, Some(successor)) = (agent.knows_of_pause, asked, successor) {
            let who = name_of(node);
            self.violate(format!("{who} hands over to {successor} while paused"));
            return;
        }
        let since = self.now.saturating_sub(SECOND);
        agent.resigned.retain(|at| *at > since);
        agent.resigned.push(self.now);
        let often = agent.resigned.len();
        if often > MOST_RESIGNATIONS {
            let who = name_of(node);
            self.violate(format!(
                "{who} gave leadership up {often} times in a second"
            ));
        }
    }
}

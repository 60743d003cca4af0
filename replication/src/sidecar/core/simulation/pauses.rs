//! An operator pauses automatic failover, and resumes it, in worlds with a Lease: that goes to nobody
//! then but who held it last or whom that one named.

use bellwether_election::NodeId;
use fastrand::Rng;

use super::{
    faults::Fault,
    world::{Happening, MS, SECOND, Time, World, name_of},
};
use crate::sidecar::core::Event;

/// How often one agent may give leadership up within a second: who cannot lead does not try again and
/// again.
const MOST_RESIGNATIONS: usize = 10;

/// When it is paused first, if that is done in this world: drawn from a source of its own, so that
/// other worlds are as they would be without pauses.
pub(super) fn draw(seed: u64) -> Option<Time> {
    let mut rng = Rng::with_seed(!seed);
    let from = rng.u64(500 * MS..3 * SECOND);
    rng.bool().then_some(from)
}

impl World {
    pub(super) fn plan_pauses(&mut self) {
        if let Some(from) = self.plan.pause {
            self.plan_pause(from);
        }
    }

    fn plan_pause(&mut self, from: Time) {
        let long = self.rng.u64(200 * MS..3 * SECOND);
        self.after(from, Happening::Fault(Fault::Pause(true)));
        self.after(from + long, Happening::Fault(Fault::Pause(false)));
    }

    pub(super) fn pause(&mut self, paused: bool) {
        self.note(|_| format!("failover is paused: {paused}"));
        if let Some(flock) = &mut self.flock {
            flock.pause(paused);
        }
    }

    /// The agent learns of a pause as late as of anything, from its candidate.
    pub(super) fn tell_pause(&mut self, node: usize) {
        let paused = self
            .flock
            .as_ref()
            .is_some_and(|flock| flock.is_paused(node));
        let Some(agent) = &mut self.nodes[node].agent else {
            return;
        };
        if std::mem::replace(&mut agent.tells_pause, paused) != paused {
            let life = agent.life;
            let delay = self.delay();
            self.after(delay, Happening::TellPause { node, life });
        }
    }

    pub(super) fn deliver_pause(&mut self, node: usize, life: u64) {
        if let Some(paused) = self.agent(node, life).map(|agent| agent.tells_pause) {
            self.step(node, life, Event::Paused(paused));
        }
    }

    /// Some pause in the midst of a failover.
    pub(super) fn pause_a_beginner(&mut self) {
        if self.plan.pause.is_some() && self.rng.u8(..3) == 0 {
            let from = self.rng.u64(..50 * MS);
            self.plan_pause(from);
        }
    }

    /// An agent gives leadership up, perhaps in favour of another.
    pub(super) fn check_resignation(&mut self, node: usize, successor: Option<&NodeId>) {
        let agent = self.nodes[node].agent.as_mut().expect("it acts");
        if !agent.seat.leads() {
            return;
        }
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

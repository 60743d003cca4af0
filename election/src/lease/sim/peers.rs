//! Members that ask each other, in worlds with failsafe: what they say is slow, late and lost, and the
//! lists by which they know each other change.

use std::{collections::BTreeSet, time::Instant};

use super::{
    calls::LATE,
    node::Node,
    queue::{Reach, What},
    world::{MS, Micros, World},
};
use crate::lease::{
    core::{Event, Now},
    failsafe::{Ask, Verdict},
};

/// What the members of a world have to do with each other.
pub(super) struct Peers {
    /// Whether there is failsafe.
    pub(super) on: bool,
    /// A question takes at most this long there, and its answer as long back.
    pub(super) delay: Micros,
    /// Of a thousand questions, and of as many answers, so many are lost.
    pub(super) lost: u32,
    /// Of a thousand questions, and of as many answers, so many are up to `LATE` on their way.
    pub(super) late: u32,
    /// Who cannot reach whom.
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) questions: u64,
    /// Rounds that all confirmed.
    pub(super) confirmed: u64,
    /// Whose question is being answered.
    asker: Option<Asker>,
}

/// A question on its way.
pub(super) struct Question {
    asker: Asker,
    ask: Ask,
}

#[derive(Clone, Copy)]
pub(super) struct Asker {
    n: usize,
    life: u64,
    round: u64,
}

/// A round as who sees everything knows it.
pub(super) struct Round {
    number: u64,
    begun: Instant,
    missing: BTreeSet<String>,
}

impl Peers {
    pub(super) fn new() -> Self {
        Self {
            on: false,
            delay: 20 * MS,
            lost: 0,
            late: 0,
            cut: BTreeSet::new(),
            questions: 0,
            confirmed: 0,
            asker: None,
        }
    }
}

impl World {
    /// All is well between the members, who know all of each other. What was said before is gone.
    pub(super) fn heal_peers(&mut self) {
        self.peers.cut.clear();
        (self.peers.lost, self.peers.late, self.peers.delay) = (0, 0, 20 * MS);
        self.queue.forget(|what| {
            matches!(
                what,
                What::Ask(..) | What::Reach(_, _, Reach::Confirmed(..))
            )
        });
        for n in 0..self.nodes.len() {
            self.nodes[n].cut = false;
            self.nodes[n].roster = (0..self.nodes.len()).collect();
            self.tell_roster(n);
        }
    }

    /// A member hears whom discovery knows.
    pub(super) fn tell_roster(&mut self, n: usize) {
        if self.peers.on && self.nodes[n].is_running() && !self.nodes[n].stopped {
            let names = self.nodes[n]
                .roster
                .iter()
                .map(|n| self.nodes[*n].name.clone());
            let names = names.collect();
            self.step(n, Event::Members(names));
        }
    }

    pub(super) fn ask(
        &mut self,
        n: usize,
        now: Now,
        (round, ask): (u64, Ask),
        to: BTreeSet<String>,
    ) {
        self.tell(n, &("asks", round, &to));
        let life = self.nodes[n].life;
        let running = self.nodes[n].running.as_mut().expect("only the living ask");
        running.round = Some(Round {
            number: round,
            begun: now.at,
            missing: to.clone(),
        });
        for member in to {
            self.peers.questions += 1;
            let asker = Asker { n, life, round };
            let question = Question {
                asker,
                ask: ask.clone(),
            };
            let named = |node: &Node| node.name == member;
            let to = self.nodes.iter().position(named).expect("all are known");
            if let Some(after) = self.way(n, to) {
                self.later(after, What::Ask(to, question));
            }
        }
    }

    /// How long something takes between two members, if it arrives.
    fn way(&mut self, from: usize, to: usize) -> Option<Micros> {
        let cut = self.peers.cut.contains(&(from.min(to), from.max(to)));
        if cut || to >= self.nodes.len() || self.rng.u32(0..1000) < self.peers.lost {
            return None;
        }
        let late = self.rng.u32(0..1000) < self.peers.late;
        let longest = if late { LATE } else { self.peers.delay };
        Some(self.rng.u64(100..longest))
    }

    /// A question arrives at whoever lives there by then.
    pub(super) fn question(&mut self, to: usize, question: Question) {
        if !self.nodes[to].is_running() {
            return;
        }
        if self.nodes[to].stopped {
            self.nodes[to].inbox.push(Reach::Asked(question));
        } else {
            self.asked(to, question);
        }
    }

    pub(super) fn asked(&mut self, n: usize, question: Question) {
        self.peers.asker = Some(question.asker);
        self.step(n, Event::Asked(question.ask));
    }

    pub(super) fn answer_peer(&mut self, n: usize, verdict: Verdict) {
        self.tell(n, &verdict);
        let asker = self.peers.asker.take().expect("somebody asked");
        if verdict != Verdict::Confirmed {
            return;
        }
        if let Some(after) = self.way(n, asker.n) {
            let reach = Reach::Confirmed(asker.round, self.nodes[n].name.clone());
            self.later(after, What::Reach(asker.n, asker.life, reach));
        }
    }

    /// A confirmation has come.
    pub(super) fn confirmed(&mut self, n: usize, round: u64, member: String) {
        let Some(running) = &mut self.nodes[n].running else {
            return;
        };
        if let Some(present) = running.round.as_mut().filter(|it| it.number == round)
            && present.missing.remove(&member)
            && present.missing.is_empty()
        {
            running.renewed = running.renewed.max(Some(present.begun));
            self.peers.confirmed += 1;
        }
        self.step(n, Event::Confirmed(round, member));
    }
}

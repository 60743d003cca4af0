//! The sidecar's decisions, without I/O, clock or randomness.
//!
//! Each event is first absorbed as a fact, then everything is decided anew from what is true:
//! who leads ([`Phase`]), what the own server says, what the members' servers say. One order at a
//! time is given to the own server; what it said before an order ended no longer counts.
#![deny(clippy::disallowed_methods)]

mod absorb;
mod cause;
mod dataset;
mod failing;
mod flaw;
mod following;
mod guarding;
mod handover;
mod leading;
mod members;
mod message;
mod rivals;
mod serving;
#[cfg(test)]
mod simulation;
mod survey;
#[cfg(test)]
mod table;
mod telling;
mod vacant;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bellwether_election::{NodeId, Rank, Term};

pub(crate) use self::message::{Action, Decision, Event, Order, Who};
use self::{
    cause::Former, failing::Failing, flaw::Flaw, following::Following, guarding::Guard,
    handover::Handover, leading::Spell, members::Member, telling::FENCE, vacant::Vacancy,
};
use super::SidecarConfig;
use crate::{Address, Card, Clients, Inspection, Kind, Refusal, Server, View};

/// How long to wait after a failed order before the next one.
const RETRY_ORDER: Duration = Duration::from_millis(200);

/// Said where a member does not lead although no other one can.
const WHILE_PAUSED: &str = "; failover is paused, so nobody else leads until it is resumed";

/// The newest answer of a server, and whether another is awaited.
#[derive(Debug, Default)]
pub(crate) struct Respondent {
    pub(crate) awaited: bool,
    pub(crate) answer: Option<Answer>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    /// When the question left: the answer is no older than this.
    pub(crate) asked: Instant,
    pub(crate) result: Result<Inspection, String>,
}

impl Respondent {
    fn answered_since(&self, since: Instant) -> Option<&Result<Inspection, String>> {
        self.answer
            .as_ref()
            .filter(|answer| answer.asked >= since)
            .map(|answer| &answer.result)
    }

    pub(crate) fn latest(&self) -> Option<&Inspection> {
        self.answer.as_ref()?.result.as_ref().ok()
    }
}

#[derive(Debug)]
enum Phase {
    Vacant(Vacancy),
    Following(Following),
    Leading(Spell),
}

/// The pure part of a sidecar.
#[derive(Debug)]
pub(crate) struct Core {
    now: Instant,
    config: SidecarConfig,
    phase: Phase,
    own: Respondent,
    /// What the own server said before this is outdated by an order.
    own_valid_from: Instant,
    own_lost: bool,
    /// The order that the own server is carrying out.
    order: Option<Order>,
    members: BTreeMap<String, Member>,
    /// Whether discovery is yet to say who there is.
    awaits_members: bool,
    /// Where the members' servers are, as discovery says.
    listed: BTreeMap<String, Address>,
    /// The highest term that was seen in a passport.
    highest_seen: Term,
    /// In which life the own server was last seen in step with a primary, and when.
    in_step: Option<(String, Instant)>,
    /// When leadership was first given up for a member whose agent cannot be seen, since nobody
    /// serves.
    gave_way: Option<Instant>,
    /// Why nobody can tell which dataset is the latest, if that waits for an operator.
    doubt: Option<String>,
    /// The group that the own server's dataset belongs to, if that is another one.
    shunned: Option<String>,
    /// The server that was last known to serve, in case it must be fenced.
    last_primary: Option<Server>,
    /// What was seen of it.
    former: Former,
    /// Whether the own server was made primary, or may have been, and was not told otherwise since.
    served: bool,
    guard: Guard,
    handover: Option<Handover>,
    /// Whether automatic failover is paused.
    paused: bool,
    leaving: bool,
    left: bool,
    candidacy: Option<Rank>,
    /// After an order failed, the next waits until then.
    retry_from: Instant,
    failing: Failing,
    /// A primary that is still shown while leadership passes from hand to hand, and until when.
    kept: Option<(Term, Server, Instant)>,
    next_survey: Instant,
    /// Since when nobody led, or the present leader leads.
    unled_since: Instant,
    /// When a primary was last known to serve, or this agent began.
    unserved_since: Instant,
    /// When another leader, whom this member could not see, took the own server from it.
    deposed: Option<Instant>,
    card: Option<Card>,
    view: View,
    last_decision: Option<Decision>,
    out: Vec<Action>,
    #[cfg(test)]
    pub(crate) flaw: Option<Flaw>,
}

impl Core {
    pub(crate) fn new(config: SidecarConfig, now: Instant) -> Self {
        Self {
            now,
            config,
            phase: Phase::Vacant(Vacancy::new(now)),
            own: Respondent::default(),
            own_valid_from: now,
            own_lost: false,
            order: None,
            members: BTreeMap::new(),
            awaits_members: false,
            listed: BTreeMap::new(),
            highest_seen: Term(0),
            in_step: None,
            gave_way: None,
            doubt: None,
            shunned: None,
            last_primary: None,
            former: Former::default(),
            served: false,
            guard: Guard::default(),
            handover: None,
            paused: false,
            leaving: false,
            left: false,
            candidacy: None,
            retry_from: now,
            failing: Failing::default(),
            kept: None,
            next_survey: now,
            unled_since: now,
            unserved_since: now,
            deposed: None,
            card: None,
            view: View::default(),
            last_decision: None,
            out: Vec::new(),
            #[cfg(test)]
            flaw: None,
        }
    }

    /// There is a discovery, which has not said yet who there is.
    pub(crate) fn await_members(&mut self) {
        self.awaits_members = true;
    }

    /// Absorbs a fact and returns everything that is to be done now.
    #[must_use]
    pub(crate) fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        self.absorb(event);
        self.decide();
        self.probe();
        self.publish();
        std::mem::take(&mut self.out)
    }

    /// When to send [`Event::Tick`], if nothing happens before.
    #[must_use]
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let next_probe = match (&self.own.answer, self.own.awaited) {
            (_, true) => None,
            (None, false) => Some(self.own_valid_from),
            (Some(answer), false) => Some(answer.asked + self.config.probe_interval),
        };
        let deadlines = [
            next_probe,
            Some(self.next_survey),
            self.kept.as_ref().map(|(_, _, until)| *until),
            self.handover.as_ref().and_then(Handover::wake_at),
            self.phase.deadline(),
        ];
        // What is due already was decided in the last step and waits for something else.
        deadlines
            .into_iter()
            .flatten()
            .filter(|at| *at > self.now)
            .min()
    }

    /// What the own server last said, for the operator.
    pub(crate) fn own(&self) -> Option<&Answer> {
        self.own.answer.as_ref()
    }

    /// What the members' servers last said, for the operator.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.members.iter()
    }

    fn decide(&mut self) {
        self.kept = self.kept.take().filter(|(_, _, until)| self.now < *until);
        self.survey_at_intervals();
        if self.left {
            return;
        }
        self.continue_handover();
        self.shun_own();
        match &self.phase {
            _ if self.shunned.is_some() => {
                let why = "the own server has a dataset of another group";
                self.withdraw(None, Refusal::Foreign, why);
            }
            Phase::Vacant(_) => self.decide_vacant(),
            Phase::Following(_) => self.decide_following(),
            Phase::Leading(_) => self.decide_leading(),
        }
        self.decide_leaving();
    }

    /// Ends the member once its server no longer needs it: nobody would look after a primary.
    fn decide_leaving(&mut self) {
        if !self.leaving || self.handover.is_some() || self.order.is_some() {
            return;
        }
        self.withdraw(None, Refusal::Leaving, "this member ends");
        // A server that is down needs no fence: it does not boot writable.
        if self.served && self.own.latest().is_some() {
            if self.may_order() {
                self.explain(FENCE, "fence the own server", "this member ends");
                self.give_order(Order::Fence(Clients::Cut));
            }
            return;
        }
        self.left = true;
        self.out.push(Action::Left);
    }

    // What the decisions are made of.

    /// What the own server says now, asked no earlier than `since`; asks if that is not known.
    fn own_since(&mut self, since: Instant) -> Option<Result<Inspection, String>> {
        if self.order.is_some() {
            return None;
        }
        let since = since.max(self.own_valid_from);
        match self.own.answered_since(since) {
            Some(result) => Some(result.clone()),
            None => {
                self.ask_own();
                None
            }
        }
    }

    /// Stops leading in favour of a member whose dataset is preferred. While failover is paused that
    /// is for an operator to decide, and nobody leads until then.
    fn give_way(&mut self, node: NodeId, reason: Refusal, why: &str) {
        if self.paused && !self.flawed(Flaw::NamesWhilePaused) {
            return self.withdraw(None, reason, &format!("{why}{WHILE_PAUSED}"));
        }
        self.withdraw(Some(node), reason, why);
    }

    /// Stops leading and standing. Says so once, and in a vacancy again when it is for another reason:
    /// that may last, and who looks wants to know what it waits for.
    fn withdraw(&mut self, successor: Option<NodeId>, reason: Refusal, why: &str) {
        let leads = matches!(&self.phase, Phase::Leading(spell) if !spell.resigned);
        let must_speak = matches!(&self.phase, Phase::Vacant(vacancy) if !vacancy.spoken);
        let before = match &mut self.phase {
            Phase::Vacant(vacancy) => vacancy.abstains.replace(reason),
            _ => None,
        };
        if !(leads || must_speak || self.candidacy.is_some()) {
            if before.is_some_and(|before| before != reason) {
                self.explain(Kind::Abstain { reason }, "do not stand", why);
            }
            return;
        }
        let kind = match &self.phase {
            Phase::Leading(spell) if spell.is_serving() => Kind::Resign { reason },
            Phase::Leading(_) if leads => Kind::Refuse { reason },
            _ => Kind::Abstain { reason },
        };
        let what = match &successor {
            Some(node) if leads => format!("resign in favour of {node}"),
            None if leads => "resign".to_owned(),
            _ => "do not stand".to_owned(),
        };
        self.explain(kind, what, why);
        self.candidacy = None;
        match &mut self.phase {
            Phase::Leading(spell) => spell.resigned = true,
            Phase::Vacant(vacancy) => vacancy.spoken = true,
            Phase::Following(_) => {}
        }
        self.out.push(Action::Resign(successor));
    }

    /// Stands with this rank, if that is news.
    fn stand(&mut self, rank: Rank) {
        let must_speak = match &mut self.phase {
            Phase::Vacant(vacancy) => !std::mem::replace(&mut vacancy.spoken, true),
            _ => false,
        };
        if must_speak || self.candidacy.as_ref() != Some(&rank) {
            self.candidacy = Some(rank.clone());
            self.out.push(Action::Campaign(rank));
        }
    }

    /// Whether the own server is free to be told something, and not just after a failure.
    fn may_order(&self) -> bool {
        self.order.is_none() && self.now >= self.retry_from
    }

    fn give_order(&mut self, order: Order) {
        assert!(self.order.is_none(), "one order at a time");
        self.order = Some(order.clone());
        self.out.push(Action::Order(order));
    }

    fn ask_own(&mut self) {
        if !self.own.awaited {
            self.own.awaited = true;
            self.out.push(Action::Ask(Who::Own));
        }
    }

    /// Asks the own server at intervals, and at once when its connection is lost.
    fn probe(&mut self) {
        let due = self.own.answer.as_ref().is_none_or(|answer| {
            self.now.saturating_duration_since(answer.asked) >= self.config.probe_interval
        });
        if self.order.is_none() && !self.own.awaited && (due || self.own_lost) {
            self.ask_own();
        }
        self.own_lost &= !self.own.awaited;
    }
}

impl Phase {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Vacant(vacancy) => vacancy.deadline(),
            Self::Leading(spell) => spell.deadline(),
            Self::Following(_) => None,
        }
    }
}

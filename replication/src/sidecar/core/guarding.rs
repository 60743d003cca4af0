//! A primary without replicas refuses writes by itself, also when its agent is gone: for that the
//! leader sets Redis's `min-replicas-to-write`, if it is to.

use std::time::{Duration, Instant};

use super::{Core, Flaw, Inspection, Order, Phase};
use crate::{Kind, MinReplicas};

/// How long a primary may be without the replicas that it demands before an operator is told: they
/// come back within this after each promotion.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// How long to wait before it is set again: if it was refused, that needs an operator, and if
/// somebody else sets it, neither is to win by haste.
const DEMAND_AGAIN: Duration = Duration::from_secs(1);

/// What is known of the own server's demand.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// When it was last set, or should have been.
    answered: Option<Instant>,
    /// Why it could not be set.
    refused: Option<String>,
    /// Since when the own server is without the replicas that it demands.
    starved: Option<Instant>,
    /// Whether that was told.
    told: bool,
}

impl Guard {
    /// Absorbs what became of a demand; whether that is news.
    pub(super) fn answered(&mut self, result: &Result<(), String>, now: Instant) -> bool {
        let refused = result.as_ref().err().cloned();
        let news = self.refused != refused;
        self.refused = refused;
        self.answered = Some(now);
        news
    }
}

impl Core {
    /// What the own server is to demand while it is a primary. Where this member knows of no other,
    /// and of no number of members, nothing: nobody could ever write.
    pub(super) fn demand(&self) -> Option<MinReplicas> {
        let count = self.config.min_replicas_to_write;
        let known = self.members.values().any(|member| !member.foreign);
        let has_others = known || self.config.expected_members > 1;
        let demand = MinReplicas {
            count,
            max_lag: self.config.min_replicas_max_lag,
        };
        (count > 0 && has_others && !self.flawed(Flaw::DemandsNothing)).then_some(demand)
    }

    /// The own server is about to serve: sets what it is to demand; false if that is so already.
    pub(super) fn demand_first(&mut self) -> bool {
        let Some(demand) = self.demand() else {
            return false;
        };
        let has = self.own.latest().and_then(|own| own.min_replicas);
        if has == Some(demand) {
            return false;
        }
        self.give_order(Order::DemandReplicas(demand));
        true
    }

    /// While it serves. A demand that cannot be met yet is not made, or made again, before it can:
    /// the first replica of a server that was alone may copy for long, and an operator may have
    /// taken it back so that the last server left is written to.
    pub(super) fn guard(&mut self, own: &Inspection) {
        self.tell_of_starvation(own);
        let Some(demand) = self.demand() else { return };
        let answered = self.guard.answered;
        let waits = answered.is_some_and(|at| self.now < at + DEMAND_AGAIN);
        let is_set = own.min_replicas.is_none_or(|found| found == demand);
        let can_be_met = own.attached.len() >= demand.count as usize;
        if (!is_set || self.guard.refused.is_some()) && !waits && can_be_met && self.may_order() {
            let count = demand.count;
            if !is_set {
                self.explain(
                    Kind::Demand,
                    "demand replicas",
                    format!("writes are to reach {count} of them, and so many are attached"),
                );
            }
            self.give_order(Order::DemandReplicas(demand));
        }
    }

    fn tell_of_starvation(&mut self, own: &Inspection) {
        let demanded = own.min_replicas.map_or(0, |demand| demand.count as usize);
        let attached = own.attached.len();
        if attached >= demanded {
            self.guard.starved = None;
            self.guard.told = false;
            return;
        }
        let since = *self.guard.starved.get_or_insert(self.now);
        if self.now >= since + TELL_AFTER && !std::mem::replace(&mut self.guard.told, true) {
            self.explain_grave(
                Kind::Starve,
                "the own server refuses writes",
                format!("min-replicas-to-write is {demanded}, attached are {attached}"),
            );
        }
    }

    /// What an operator should know of the own server's demand while it serves.
    pub(super) fn guard_trouble(&self) -> Option<String> {
        if !matches!(&self.phase, Phase::Leading(spell) if spell.is_serving()) {
            return None;
        }
        if let Some(why) = &self.guard.refused {
            return Some(format!(
                "it goes on taking writes if it loses its replicas and its agent: {why}"
            ));
        }
        let told = self.guard.told.then_some(
            "it refuses writes: fewer replicas are attached than min-replicas-to-write demands",
        );
        told.map(str::to_owned)
    }
}

//! Nobody leads: look around, then stand or abstain.

use std::time::{Duration, Instant};

use super::{Core, FENCE, Flaw, Inspection, Order, Phase, WHILE_PAUSED};
use crate::{
    Address, Clients, Kind, Link, Refusal, Role,
    rank::{self, Offsets},
};

/// How often one looks around again while nobody leads.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long a member does not stand after a leader that it cannot see took its server: that one is
/// about to promote another.
const HOLD_BACK: Duration = Duration::from_secs(1);

/// For how long after that it does not stand while another server is primary.
const DEPOSED: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Vacancy {
    /// What is decided rests on answers no older than this.
    since: Instant,
    pub(super) spoken: bool,
    /// Why this member does not stand, as it was said last.
    pub(super) abstains: Option<Refusal>,
}

impl Vacancy {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            spoken: false,
            abstains: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.spoken.then_some(self.since + LOOK_AGAIN)
    }
}

impl Core {
    pub(super) fn decide_vacant(&mut self) {
        let Phase::Vacant(vacancy) = &mut self.phase else {
            return;
        };
        if vacancy.spoken && self.now >= vacancy.since + LOOK_AGAIN {
            vacancy.since = self.now;
        }
        let since = vacancy.since;
        let surveyed = self.survey(since);
        // Its answer is wanted after the vote, so it is asked for now.
        self.survey_last_primary(self.unled_since);
        let own = match self.own_since(since) {
            None => return,
            Some(Err(error)) => {
                let why = format!("the own server is down: {error}");
                return self.withdraw(None, Refusal::ServerDown, &why);
            }
            Some(Ok(own)) => own,
        };
        // While it loads it accepts no writes, and shows neither its keys nor whose they are.
        if own.is_primary() && !own.loading && self.fence_unled(&own) {
            return;
        }
        if self.leaving {
            return self.withdraw(None, Refusal::Leaving, "this member ends");
        }
        let knows_all = self.deposed.is_none() || self.survey_everybody(since);
        if !surveyed || !knows_all || !self.surveyed_for_data(&own, since) {
            return;
        }
        match self.fitness(&own, since) {
            Ok(()) => self.stand(rank::candidate(&self.dataset(&own))),
            Err((reason, why)) => self.withdraw(None, reason, &why),
        }
        self.detach(&own);
    }

    /// A server that goes on looking for a primary which is gone would be wiped by it, should it
    /// come back empty and be promoted by an agent that does not know of this member. If that has
    /// begun, the copy is broken off. A link to a machine that was cut off stays up for long and
    /// is renewed faster than one can look: it counts as down when its primary does not answer us.
    pub(super) fn detach(&mut self, own: &Inspection) {
        let Role::Replica { of, link } = &own.role else {
            return;
        };
        let must = match link {
            Link::Up => self.is_silent_at(of),
            Link::Down => !of.is_nowhere(),
            Link::Syncing => self.is_empty_at(of),
        };
        if must && !self.is_blank(own) && self.may_order() {
            let why = format!("its primary at {of} is gone");
            self.explain(Kind::Detach, "follow nobody", why);
            self.give_order(Order::Fence(Clients::Keep));
        }
    }

    fn is_silent_at(&self, address: &Address) -> bool {
        self.latest_at(address).is_some_and(Result::is_err)
    }

    fn is_empty_at(&self, address: &Address) -> bool {
        let is_empty = |theirs: &Inspection| self.is_blank(theirs) && !theirs.loading;
        let answer = self.latest_at(address);
        answer.is_some_and(|answer| answer.as_ref().is_ok_and(is_empty))
    }

    /// What the server at this address said, or that it did not answer, since nobody led.
    fn latest_at(&self, address: &Address) -> Option<&Result<Inspection, String>> {
        let mut members = self.members.values();
        let member = members.find(|member| member.address == *address)?;
        member.respondent.answered_since(self.unled_since)
    }

    /// A server that led under this agent is fenced when leadership is lost, and so is one that an
    /// agent of this group made primary before: that leadership ended with the agent, and another
    /// may lead. One that nobody manages is adopted if it has data, else fenced too (safety rule 6).
    fn fence_unled(&mut self, own: &Inspection) -> bool {
        if self.served {
            self.explain(FENCE, "fence the own server", "leadership was lost");
        } else if self.was_made_primary(own) {
            self.explain(
                FENCE,
                "fence the own server",
                "a former agent of this group made it primary, and nobody is known to lead",
            );
        } else if own.has_data() {
            self.explain_grave(
                Kind::Adopt,
                "adopt the own server",
                "it was writable before anyone led, and has data: start it with --replicaof 127.0.0.1 1",
            );
            return false;
        } else {
            self.explain_grave(
                FENCE,
                "fence the own server",
                "it was writable before anyone led, and is empty: start it with --replicaof 127.0.0.1 1",
            );
        }
        if self.may_order() {
            self.give_order(Order::Fence(Clients::Cut));
        }
        true
    }

    /// Whether its dataset was promoted in this group: no agent but this group's does that.
    fn was_made_primary(&self, own: &Inspection) -> bool {
        let passport = own.papers.passport();
        passport.is_some_and(|passport| passport.group == self.config.group)
    }

    /// Why this server should not stand, if so.
    fn fitness(&mut self, own: &Inspection, since: Instant) -> Result<(), (Refusal, String)> {
        own.fit().map_err(|why| (Refusal::Unfit, why.to_owned()))?;
        // Nobody can be given way to later while failover is paused.
        let (offsets, hint) = match self.paused && !self.flawed(Flaw::StandsInVain) {
            true => (Offsets::Settled, WHILE_PAUSED),
            false => (Offsets::Moving, ""),
        };
        if self.failing.keeps_from_standing(self.now) {
            let why = "its promotion failed, and is not tried again at once";
            return Err((Refusal::InDoubt, why.to_owned()));
        }
        if let Some((node, theirs)) = self.who_is_ahead(own, since, offsets) {
            let why = format!(
                "{node} is ahead: {} keys at {}, here {} at {}{hint}",
                theirs.keys, theirs.position, own.keys, own.position
            );
            return Err((Refusal::Behind, why));
        }
        let deposed_for = self
            .deposed
            .map(|at| self.now.saturating_duration_since(at));
        if deposed_for.is_some_and(|time| time < HOLD_BACK) {
            let why = "another leader has just fenced the own server";
            return Err((Refusal::Demoted, why.to_owned()));
        }
        if deposed_for.is_some_and(|time| time < DEPOSED)
            && let Some(name) = self.who_is_primary(since)
        {
            let why = format!("the server of {name} is primary and this one was deposed");
            return Err((Refusal::Demoted, why));
        }
        if let Some(name) = self.who_has_data(own, since) {
            let why = format!("the own server is empty and that of {name} is not");
            return Err((Refusal::Empty, why));
        }
        let undecided = self.undecided(own);
        undecided.map_or(Ok(()), |why| Err((Refusal::Undecided, why)))
    }
}

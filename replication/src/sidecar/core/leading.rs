//! This member leads: look, fence, catch up, look again, promote, and only then serve (rule 8).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bellwether_election::Term;

use super::{Core, Flaw, Inspection, Member, Order, Phase};
use crate::{Cause, Clients, Kind, Passport, Refusal, rank::Offsets};

/// How long a successor waits for the last writes of a primary that it has fenced.
const CATCH_UP: Duration = Duration::from_millis(100);

/// How often a server that answers and could not be fenced is looked at and told again.
const FENCE_RETRIES: u8 = 3;

/// How long one waits for another leader before its server is fenced: either it is about to hear
/// that it leads no more, or this one is.
const SETTLE: Duration = Duration::from_millis(300);

/// One spell of leadership.
#[derive(Debug)]
pub(super) struct Spell {
    pub(super) term: Term,
    pub(super) until: Option<Instant>,
    stage: Stage,
    /// The one with which the own server was promoted.
    pub(super) passport: Option<Passport>,
    /// The replicas that had all, by what they are called, when the passport was written.
    pub(super) company: BTreeSet<String>,
    /// What the own server last said of replicas that left, before the passport was written.
    pub(super) departed: Option<i64>,
    /// The servers whose last writes are waited for: they were told to be replicas.
    fenced: BTreeSet<String>,
    /// How often that may be tried again.
    retries: u8,
    /// What became of the former primary.
    cause: Cause,
    pub(super) resigned: bool,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for every server's answer.
    Looking { since: Instant },
    /// Waiting until these members' servers are fenced, or could not be.
    Fencing {
        waiting: BTreeSet<String>,
        failed: bool,
    },
    /// Waiting for the last writes of servers that were fenced, then for a last look.
    CatchingUp { since: Instant, until: Instant },
    /// The server that was looked at is being promoted.
    Promoting { run_id: String },
    /// It is a verified primary.
    Serving { term: Term, run_id: String },
}

impl Spell {
    pub(super) fn new(term: Term, until: Option<Instant>, now: Instant) -> Self {
        Self {
            term,
            until,
            stage: Stage::Looking { since: now },
            passport: None,
            company: BTreeSet::new(),
            departed: None,
            fenced: BTreeSet::new(),
            retries: FENCE_RETRIES,
            cause: Cause::First,
            resigned: false,
        }
    }

    pub(super) fn serving(&self) -> Option<Term> {
        match self.stage {
            Stage::Serving { term, .. } => Some(term),
            _ => None,
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.serving().is_some() && !self.resigned
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::CatchingUp { until, .. } => Some(until),
            Stage::Looking { since } => Some(since + SETTLE),
            _ => self.until,
        }
    }
}

impl Core {
    pub(super) fn decide_leading(&mut self) {
        let lapsed = self.has_lapsed();
        let Phase::Leading(spell) = &mut self.phase else {
            return;
        };
        let handing_over = self.handover.as_ref().is_some_and(|h| !h.has_resigned());
        if spell.resigned || lapsed || self.order.is_some() || handing_over {
            return;
        }
        match &spell.stage {
            Stage::Looking { since } => {
                let since = *since;
                self.look(since);
            }
            Stage::Fencing { waiting, .. } if !waiting.is_empty() => {}
            Stage::Fencing { failed: true, .. } if spell.retries > 0 => {
                spell.retries -= 1;
                spell.stage = Stage::Looking { since: self.now };
                self.decide_leading();
            }
            Stage::Fencing { .. } => self.begin_catching_up(self.now),
            Stage::CatchingUp { since, until } => {
                let (since, until) = (*since, *until);
                self.catch_up(since, until);
            }
            Stage::Promoting { .. } => {}
            Stage::Serving { run_id, .. } => {
                let run_id = run_id.clone();
                self.serve(&run_id);
            }
        }
    }

    /// Whether leadership has an end, and that has come.
    pub(super) fn has_lapsed(&self) -> bool {
        let Phase::Leading(spell) = &self.phase else {
            return false;
        };
        spell.until.is_some_and(|until| self.now >= until) && !self.flawed(Flaw::IgnoresUntil)
    }

    /// First look: is it right that this server leads at all? Then fence whoever stands in the way.
    fn look(&mut self, since: Instant) {
        let surveyed = self.survey(since) & self.survey_last_primary(self.unled_since);
        let Some(own) = self.own_fit_to_lead(since) else {
            return;
        };
        if !surveyed || !self.surveyed_for_data(&own, since) {
            return;
        }
        if self.yields(&own, since, Offsets::Moving) {
            return;
        }
        if self.another_serves(since) && self.now < since + SETTLE {
            return;
        }
        self.note_cause();
        let waiting = self.fence_primaries(since);
        self.note_last_writes(&own);
        if waiting.is_empty() {
            return self.begin_catching_up(since);
        }
        self.enter(Stage::Fencing {
            waiting,
            failed: false,
        });
    }

    /// Goes on with answers from `since`, unless somebody was fenced: then with newer ones.
    fn begin_catching_up(&mut self, since: Instant) {
        let skips = self.flawed(Flaw::SkipsCatchingUp);
        let Phase::Leading(spell) = &mut self.phase else {
            return;
        };
        let (since, until) = if spell.fenced.is_empty() || skips {
            (since, self.now)
        } else {
            (self.now, self.now + CATCH_UP)
        };
        spell.stage = Stage::CatchingUp { since, until };
        self.decide_leading();
    }

    /// Whether another agent that claims to lead has a primary.
    fn another_serves(&self, since: Instant) -> bool {
        let serves = |member: &Member| {
            let answer = member.answer_since(since);
            member.leads_itself() && answer.is_some_and(Inspection::is_primary)
        };
        self.members.values().any(serves)
    }

    /// Fences the servers that claim to be primary, and the last known one even if it does not
    /// answer: should it come back, the fence is the first thing it reads. Returns those whose
    /// outcome is worth waiting for.
    fn fence_primaries(&mut self, since: Instant) -> BTreeSet<String> {
        let own = &self.config.server.name;
        let last = self.last_primary.as_ref().map(|server| &server.name);
        let mut waiting = BTreeSet::new();
        let mut silent = Vec::new();
        for (name, member) in &self.members {
            match member.answer_since(since.min(self.unled_since)) {
                Some(theirs) if theirs.is_primary() => {
                    waiting.insert(name.clone());
                }
                None if last != Some(name) || last == Some(own) => {}
                None if member.foreign || member.elsewhere => {}
                None => silent.push(name.clone()),
                _ => {}
            }
        }
        if self.flawed(Flaw::DoesNotFence) {
            return BTreeSet::new();
        }
        for name in silent.iter().chain(&waiting) {
            self.fence_member(name);
        }
        waiting
    }

    /// Whoever fenced the last primary: writes of it may still be on their way.
    fn note_last_writes(&mut self, own: &Inspection) {
        let Some(last) = self.last_primary.as_ref().map(|server| &server.name) else {
            return;
        };
        let member = self.members.get(last);
        let answer = member.and_then(|member| member.answer_since(self.unled_since));
        if answer.is_some_and(|theirs| has_later_writes(theirs, own))
            && let Phase::Leading(spell) = &mut self.phase
        {
            spell.fenced.insert(last.clone());
        }
    }

    fn note_cause(&mut self) {
        let cause = self.cause();
        if let Phase::Leading(spell) = &mut self.phase {
            spell.cause = cause;
        }
    }

    pub(super) fn spell_fenced(&mut self, name: &str, succeeded: bool) {
        if let Phase::Leading(Spell {
            stage: Stage::Fencing { waiting, failed },
            fenced,
            ..
        }) = &mut self.phase
            && waiting.remove(name)
        {
            fenced.insert(name.to_owned());
            *failed |= !succeeded;
        }
    }

    /// Second look, when no more writes arrive: nobody who could lead may be ahead now.
    fn catch_up(&mut self, since: Instant, until: Instant) {
        let mut surveyed = self.survey(since);
        let Some(own) = self.own_fit_to_lead(since) else {
            return;
        };
        let waits = self.now < until;
        if waits {
            for name in self.fenced() {
                surveyed &= self.survey_one(&name, since);
            }
        }
        if !surveyed {
            return;
        }
        if waits && self.misses_writes(&own, since) {
            let since = self.now;
            self.enter(Stage::CatchingUp { since, until });
            return self.decide_leading();
        }
        if self.yields(&own, since, Offsets::Settled) {
            return;
        }
        self.promote(&own);
    }

    fn fenced(&self) -> BTreeSet<String> {
        match &self.phase {
            Phase::Leading(spell) => spell.fenced.clone(),
            _ => BTreeSet::new(),
        }
    }

    /// Whether a server that was fenced has writes that are still on their way to ours.
    fn misses_writes(&self, own: &Inspection, since: Instant) -> bool {
        let fenced = self.fenced();
        let members = fenced.iter().filter_map(|name| self.members.get(name));
        members
            .filter_map(|member| member.answer_since(since))
            .any(|theirs| has_later_writes(theirs, own))
    }

    /// A server that is a primary already is told again: that ends a pause of writes which a former
    /// agent may have left.
    fn promote(&mut self, own: &Inspection) {
        let why = format!(
            "nobody is ahead; it has {} keys at {}",
            own.keys, own.position
        );
        self.explain(Kind::Promote, "promote the own server", why);
        let run_id = own.run_id.clone();
        self.enter(Stage::Promoting { run_id });
        self.order_promotion();
        if self.flawed(Flaw::ServesBeforePromotion) {
            self.begin_serving(own.run_id.clone());
        }
    }

    /// Every promotion has a passport of its own.
    pub(super) fn order_promotion(&mut self) {
        let blank = self.own.latest().is_none_or(|own| self.is_blank(own));
        let passport = self.next_passport(blank);
        let departed = self.own.latest().map(|own| own.departed);
        if let Phase::Leading(spell) = &mut self.phase {
            spell.passport = Some(passport.clone());
            spell.company.clear();
            spell.departed = departed;
        }
        self.give_order(Order::Promote(passport));
    }

    pub(super) fn spell_order_done(&mut self, order: &Order, result: &Result<(), String>) {
        let Phase::Leading(Spell {
            stage: Stage::Promoting { run_id },
            ..
        }) = &self.phase
        else {
            return;
        };
        match (order, result) {
            (Order::Promote(_), Ok(())) => {
                let run_id = run_id.clone();
                if !self.demand_first() {
                    self.begin_serving(run_id);
                }
            }
            // One that cannot be made is shown; without it the server is what most servers are.
            (Order::DemandReplicas(_), _) => self.begin_serving(run_id.clone()),
            (Order::Promote(_), Err(error)) => {
                self.failing.not_promoted(self.now);
                // It may still run, even much later: follow it with a fence.
                let why = format!("the promotion is in doubt: {error}");
                self.withdraw(None, Refusal::InDoubt, &why);
                self.give_order(Order::Fence(Clients::Cut));
            }
            _ => {}
        }
    }

    fn begin_serving(&mut self, run_id: String) {
        if let Phase::Leading(spell) = &mut self.phase {
            let term = spell.term;
            spell.stage = Stage::Serving { term, run_id };
            self.served = true;
            self.deposed = None;
            self.failing.promoted();
            let cause = spell.cause;
            self.explain(
                Kind::Serve { cause },
                format!("serve in term {term}"),
                format!("the own server is a verified primary; {}", cause.words()),
            );
        }
    }

    /// The own server's answer; resigns if it cannot lead.
    fn own_fit_to_lead(&mut self, since: Instant) -> Option<Inspection> {
        let own = match self.own_since(since)? {
            Ok(own) => own,
            Err(error) => {
                let why = format!("the own server is down: {error}");
                self.withdraw(None, Refusal::ServerDown, &why);
                return None;
            }
        };
        if let Err(why) = own.fit() {
            self.withdraw(None, Refusal::Unfit, why);
            return None;
        }
        Some(own)
    }

    /// Gives way to a member whose dataset must be preferred; true if so.
    fn yields(&mut self, own: &Inspection, since: Instant, offsets: Offsets) -> bool {
        if let Some((node, theirs)) = self.who_is_ahead(own, since, offsets) {
            let member = self.members.get(&node.member);
            let unseen = member.is_some_and(|member| member.agent.is_none());
            if unseen && !self.paused {
                self.gave_way.get_or_insert(self.now);
            }
            let why = format!(
                "{node} is ahead: {} keys at {}, here {} at {}",
                theirs.keys, theirs.position, own.keys, own.position
            );
            self.give_way(node, Refusal::Behind, &why);
            return true;
        }
        if let Some(name) = self.who_has_data(own, since) {
            let why = format!("the own server is empty and that of {name} is not");
            self.withdraw(None, Refusal::Empty, &why);
            return true;
        }
        if let Some(why) = self.undecided(own) {
            self.withdraw(None, Refusal::Undecided, &why);
            return true;
        }
        false
    }

    fn enter(&mut self, next: Stage) {
        if let Phase::Leading(spell) = &mut self.phase {
            spell.stage = next;
        }
    }
}

/// Whether a server has writes of our history that ours does not have.
fn has_later_writes(theirs: &Inspection, own: &Inspection) -> bool {
    let (theirs, own) = (&theirs.position, &own.position);
    theirs.replication_id == own.replication_id && theirs.offset > own.offset
}

//! What must hold of passports, of other groups' datasets, and of the waiting for those who have
//! not told what they have.

use super::{
    network::Path,
    world::{MS, SECOND, Time, World, name_of},
};
use crate::{Inspection, Link, Papers, Relation, passport::Issue, sidecar::core::Order};

/// What could be known for this long must be known.
const KNOWN: Time = 1_500 * MS;

/// Answers take time.
const TOLERANCE: Time = 20 * MS;

impl World {
    /// Clocks drift.
    fn tolerance(&self) -> Time {
        let drift = if self.flock.is_some() {
            self.plan.form_timeout / 20
        } else {
            0
        };
        TOLERANCE + drift
    }

    /// An agent gives an order to its own server.
    pub(super) fn check_passport(&mut self, node: usize, order: &Order) {
        let server = &self.nodes[node].server;
        let own = server.data.issue();
        // Once it was told what it has.
        let foreign = server.data.is_foreign() && server.process_since + KNOWN < self.now;
        let agent = self.nodes[node].agent.as_mut().expect("it acts");
        if foreign && agent.runs_since + KNOWN < self.now {
            self.violate(format!("{} does not leave its server alone", name_of(node)));
            return;
        }
        if !matches!(order, Order::Promote(_)) {
            return;
        }
        let heard = self.ledger.heard[node].iter().flatten();
        let others = heard.filter_map(|(_, said)| issue(said)).max();
        agent.exceeds = Some(others.unwrap_or_default().max(own));
    }

    /// A server begins to serve.
    pub(super) fn check_stamped(&mut self, node: usize) {
        let server = &self.nodes[node].server;
        let agent = self.nodes[node].agent.as_ref().expect("it acts");
        let issue = server.data.stamped();
        // Another may have fenced it meanwhile and made it drop everything.
        let stamped = agent.exceeds.is_none_or(|exceeded| issue > exceeded);
        if server.primary && server.runs() && !stamped {
            self.violate(format!(
                "{} serves with the passport {issue:?}, after {:?}",
                name_of(node),
                agent.exceeds
            ));
        }
    }

    /// An agent heard what its own server says.
    pub(super) fn note_in_step(&mut self, node: usize, said: &Inspection) {
        let now = self.now;
        if !said.is_primary() && said.link() != Some(Link::Up) {
            return;
        }
        let run = said.run_id.parse().expect("runs are numbers");
        let agent = self.nodes[node].agent.as_mut().expect("it asked");
        agent.in_step = Some((run, now));
    }

    /// A server is promoted: must its agent not have waited for others?
    pub(super) fn check_waited(&mut self, node: usize) {
        let server = &self.nodes[node].server;
        // The order may come from one that has ended.
        let Some(agent) = &self.nodes[node].agent else {
            return;
        };
        if server.data.is_foreign() {
            return self.violate(format!("{} promotes what is not ours", name_of(node)));
        }
        let since = agent.unserved_since;
        let waits = self.plan.form_timeout.saturating_sub(self.tolerance());
        let in_step = agent.in_step.is_some_and(|(run, at)| {
            run == server.run && since <= at + self.plan.form_timeout + self.tolerance()
        });
        let follows = server.link == Link::Up && server.of == agent.last_primary;
        if in_step || follows || self.flock.is_none() || self.now >= since + waits {
            return;
        }
        let silent = (0..self.nodes.len()).find(|other| {
            let heard = self.ledger.heard[node][*other].as_ref();
            let told = heard.is_some_and(|(at, said)| *at >= since && !said.loading);
            *other != node && !told
        });
        if let Some(silent) = silent {
            let (who, them) = (name_of(node), name_of(silent));
            self.violate(format!("{who} does not wait for {them}"));
        }
    }

    /// A server is promoted: did its agent know that another dataset, which goes its own way, is
    /// later?
    pub(super) fn check_order(&mut self, node: usize, other: usize, ordered: Time) {
        let ours = &self.nodes[node].server.data;
        let server = &self.nodes[other].server;
        let theirs = &server.data;
        let relation = theirs.position().relation(&ours.position());
        let apart = matches!(relation, Relation::Diverged | Relation::Unrelated);
        let agent = self.nodes[node].agent.as_ref();
        let unserved = agent.map_or(Time::MAX, |agent| agent.unserved_since);
        let known = self.ledger.heard[node][other]
            .as_ref()
            .is_some_and(|(at, said)| {
                let same = issue(said) == Some(theirs.issue());
                let reached = self.network.reached_since(Path::Orders, node, other, *at);
                let alive = reached && server.is_whole() && said.run_id == server.run.to_string();
                unserved <= *at && *at < ordered && same && alive && said.fit().is_ok()
            });
        // Neither was restarted while it was decided on.
        let own = &self.nodes[node].server;
        let since = own.process_since.max(server.process_since);
        let steady = since + 250 * MS < ordered;
        let stands = self.flock.is_some() || self.stands_since(node, other, 100 * MS);
        let later = theirs.issue() > ours.stamped() && !theirs.is_blank() && !theirs.is_foreign();
        if apart && known && steady && stands && later && self.waits_for_the_unseen(node) {
            let (who, them) = (name_of(node), name_of(other));
            let (ours, theirs) = (ours.issue(), theirs.issue());
            self.violate(format!(
                "{who} with {ours:?} is promoted although {them} has {theirs:?}"
            ));
        }
    }

    /// Whether an agent still waits for those whose agents it cannot see, who should lead.
    pub(super) fn waits_for_the_unseen(&self, node: usize) -> bool {
        let agent = self.nodes[node].agent.as_ref();
        let gave_way = agent.and_then(|agent| agent.gave_way);
        let until = gave_way.map(|at| at + self.plan.form_timeout);
        until.is_none_or(|until| self.now + self.tolerance() < until)
    }

    /// An agent fences another's server.
    pub(super) fn check_fence(&mut self, from: usize, to: usize) {
        let heard = self.ledger.heard[from][to].as_ref();
        let told = heard.is_some_and(|(_, said)| is_foreign(said));
        if self.nodes[to].server.data.is_foreign() && told {
            let (who, them) = (name_of(from), name_of(to));
            self.violate(format!("{who} fences {them}, which is not ours"));
        }
    }

    /// Whether this node takes no part: its dataset is another group's.
    pub(super) fn is_apart(&self, node: usize) -> bool {
        let server = &self.nodes[node].server;
        server.data.is_foreign() && server.process_since + SECOND / 2 < self.now
    }
}

fn is_foreign(said: &Inspection) -> bool {
    let passport = said.papers.passport();
    passport.is_some_and(|passport| passport.group != super::data::GROUP)
}

fn issue(said: &Inspection) -> Option<Issue> {
    match &said.papers {
        Papers::Unknown => None,
        Papers::None => Some(Issue::default()),
        Papers::Passport(_) if is_foreign(said) => None,
        Papers::Passport(passport) => Some(passport.issue()),
    }
}

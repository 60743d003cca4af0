//! This member leads and its server is primary: is that still right, and does nobody else claim it?

use std::{collections::BTreeSet, time::Duration};

use super::{Core, Flaw, Inspection, Member, Order, Phase, dataset::marked};
use crate::{Kind, Link, Passport, Refusal, Relation, passport::Issue, rank};

/// How long a server may claim to be primary before the leader fences it: an agent beside it that
/// lives does so first, and two leaders that meet settle first.
const ROGUE_AFTER: Duration = Duration::from_secs(1);

impl Core {
    pub(super) fn serve(&mut self, run_id: &str) {
        let own = match self.own_since(self.own_valid_from) {
            None => return,
            Some(Err(error)) => {
                let why = format!("the own server is down: {error}");
                return self.withdraw(None, Refusal::ServerDown, &why);
            }
            Some(Ok(own)) => own,
        };
        if own.run_id != run_id && !self.flawed(Flaw::IgnoresRestart) {
            self.served = false;
            return self.withdraw(None, Refusal::ServerDown, "the own server was restarted");
        }
        if !own.is_primary() {
            if self.flawed(Flaw::IgnoresRestart) {
                return self.order_promotion();
            }
            self.served = false;
            if !self.flawed(Flaw::IgnoresDeposition) {
                self.deposed = Some(self.now);
            }
            let why = "somebody made the own server a replica";
            return self.withdraw(None, Refusal::Demoted, why);
        }
        if !self.yields_to_data(&own) {
            self.note_in_step(&own);
            self.fence_rogues();
            self.stand(rank::leader(self.is_blank(&own), self.followers()));
            self.renew_passport(&own);
            self.guard(&own);
        }
    }

    /// Keeps the passport in the dataset, whatever users do, and makes it later than that of whoever
    /// is left behind: a replica that is lost, or another dataset that was promoted meanwhile.
    fn renew_passport(&mut self, own: &Inspection) {
        let company = self.company(own);
        let rival = self.rival_issue(own);
        let Phase::Leading(spell) = &mut self.phase else {
            return;
        };
        let Some(passport) = spell.passport.clone() else {
            return;
        };
        let lost = spell.company.difference(&company).next().cloned();
        let unseen = spell.departed.is_some_and(|before| before != own.departed);
        let (passport, why) = if rival >= Some(passport.issue()) {
            let term = self.highest_seen.next();
            let passport = Passport {
                term,
                mark: 0,
                ..passport
            };
            (passport, "another dataset has one as late".to_owned())
        } else if let Some(lost) = lost {
            (marked(&passport), format!("the replica {lost} was lost"))
        } else if unseen {
            // It has this passport if it was there only between two looks, too.
            (marked(&passport), "a replica has left".to_owned())
        } else if passport.blank && own.has_data() {
            let blank = false;
            let passport = Passport {
                blank,
                ..marked(&passport)
            };
            (passport, "it has keys now".to_owned())
        } else if own.papers.passport() != Some(&passport) {
            (passport, "the dataset has another one, or none".to_owned())
        } else {
            spell.company = company;
            spell.departed = Some(own.departed);
            self.failing.stamped();
            return;
        };
        if self.may_order() && !self.flawed(Flaw::StampsOnce) {
            self.explain(Kind::Stamp, format!("write the passport {passport}"), why);
            if let Phase::Leading(spell) = &mut self.phase {
                spell.passport = Some(passport.clone());
                spell.company = company;
                spell.departed = Some(own.departed);
            }
            self.give_order(Order::Stamp(passport));
        }
    }

    /// What an operator should know of the own server's passport while it serves.
    pub(super) fn stamp_trouble(&self) -> Option<String> {
        let serves = matches!(&self.phase, Phase::Leading(spell) if spell.is_serving());
        let why = self.failing.stamp().filter(|_| serves)?;
        Some(format!(
            "its passport cannot be written, so after a restart of everything older data may be taken \
             for the latest: {why}"
        ))
    }

    /// How late the latest of those datasets is that go their own way, such as that of a primary on
    /// the other side of a cut that has healed.
    fn rival_issue(&self, own: &Inspection) -> Option<Issue> {
        let address = &self.config.server.address;
        let goes_its_own_way = |theirs: &&Inspection| {
            let relation = theirs.position.relation(&own.position);
            let apart = matches!(relation, Relation::Diverged | Relation::Unrelated);
            apart && !theirs.follows(address)
        };
        let others = self.members.values().filter_map(Member::latest);
        let rivals = others.filter(goes_its_own_way);
        rivals.filter_map(|theirs| self.issue(theirs)).max()
    }

    /// The replicas that get every write, by the address that the own server knows, and by name as
    /// far as they themselves say so: a connection to one that hangs stays for long.
    fn company(&self, own: &Inspection) -> BTreeSet<String> {
        let attached = own.attached.iter().map(ToString::to_string);
        let replicas = self.replicas_of(&self.config.server);
        attached
            .chain(replicas.into_iter().map(|replica| replica.name))
            .collect()
    }

    /// A blank primary gives way to a member that turned up with a dataset of its own.
    fn yields_to_data(&mut self, own: &Inspection) -> bool {
        if !self.is_blank(own) || self.config.allow_data_loss {
            return false;
        }
        // A replica of ours is no stranger, although its answer may be newer than ours. Nor do
        // their ids tell: Redis draws a new one when a primary's first replica attaches.
        let address = &self.config.server.address;
        let stranger = |theirs: &Inspection| {
            let copies = theirs.follows(address) && theirs.link() == Some(Link::Up);
            !copies
                && theirs.position.replication_id != own.position.replication_id
                && theirs.position.relation(&own.position) != Relation::Behind
        };
        let found = self.members.iter().find_map(|(name, member)| {
            let theirs = member.latest()?;
            let apart = !self.is_blank(theirs) && theirs.fit().is_ok() && stranger(theirs);
            (apart && member.is_expected()).then(|| member.node(name))
        });
        let Some(node) = found else { return false };
        let why = format!("the own server is empty and that of {node} is not");
        self.give_way(node, Refusal::Empty, &why);
        true
    }

    /// Fences servers that go on claiming to be primary although no agent beside them leads.
    fn fence_rogues(&mut self) {
        let now = self.now;
        let mut rogues = Vec::new();
        for (name, member) in &mut self.members {
            let claims = member.latest().is_some_and(Inspection::is_primary);
            if !claims || member.leads_itself() {
                member.rogue_since = None;
            } else if now >= *member.rogue_since.get_or_insert(now) + ROGUE_AFTER {
                rogues.push(name.clone());
            }
        }
        for name in rogues {
            self.fence_member(&name);
        }
    }
}

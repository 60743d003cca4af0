//! Whose a dataset is, how late it is, and whether enough is known to say which one is the latest.

use std::time::Instant;

use bellwether_election::Term;

use super::{Core, Flaw, Inspection, Member, Phase};
use crate::{Kind, Link, Papers, Passport, Relation, passport::Issue, rank::Dataset};

impl Core {
    /// What is compared of a server. A dataset that contains another is as late as that one, even if
    /// somebody removed its passport: otherwise preferring some by their history and others by their
    /// passports could go round in a circle.
    pub(super) fn dataset<'a>(&self, inspection: &'a Inspection) -> Dataset<'a> {
        let contained = |other: &&Inspection| {
            let relation = inspection.position.relation(&other.position);
            matches!(relation, Relation::Same | Relation::Ahead)
        };
        let others = self.members.values().filter_map(Member::latest);
        let all = others.chain(self.own.latest()).filter(contained);
        let most = all.filter_map(|other| self.issue(other)).max();
        Dataset {
            inspection,
            issue: self.issue(inspection).max(most),
            blank: self.is_blank(inspection),
        }
    }

    /// How late a dataset is by its passport. What has none, or that of another group, comes first.
    pub(super) fn issue(&self, inspection: &Inspection) -> Option<Issue> {
        match &inspection.papers {
            Papers::Unknown => None,
            Papers::None => Some(Issue::default()),
            Papers::Passport(passport) if passport.group != self.config.group => {
                Some(Issue::default())
            }
            Papers::Passport(passport) if self.flawed(Flaw::IgnoresMarks) => Some(Issue {
                mark: 0,
                ..passport.issue()
            }),
            Papers::Passport(passport) => Some(passport.issue()),
        }
    }

    pub(super) fn is_blank(&self, inspection: &Inspection) -> bool {
        let emptied = self.flawed(Flaw::IgnoresFlush) && !inspection.has_data();
        inspection.is_blank() || emptied
    }

    /// Whether a dataset is known to be another group's. It is left alone altogether: never made
    /// primary, never followed, never overwritten, nor is its server fenced, for it may serve there.
    pub(super) fn is_foreign(&self, inspection: &Inspection) -> bool {
        let passport = inspection.papers.passport();
        passport.is_some_and(|passport| passport.group != self.config.group)
            && !self.config.allow_data_loss
            && !self.flawed(Flaw::IgnoresGroup)
    }

    /// Whether the own server has a dataset of another group. One that this agent made primary has
    /// not: somebody copied functions from there, and the leader writes its own passport again.
    pub(super) fn holds_foreign_data(&self) -> Option<&Passport> {
        let own = self.own.latest().filter(|own| self.is_foreign(own))?;
        own.papers.passport().filter(|_| !self.served)
    }

    /// Stays away from the own server, and says so once.
    pub(super) fn shun_own(&mut self) {
        let foreign = self
            .holds_foreign_data()
            .map(|passport| passport.group.clone());
        if foreign == self.shunned {
            return;
        }
        if let Some(group) = &foreign {
            let own = &self.config.group;
            let why = format!("its dataset is of the group {group:?}, this one is {own:?}");
            self.explain_grave(Kind::Wait, "leave the own server alone", why);
        }
        self.shunned = foreign;
    }

    /// The passport with which the own server is to be promoted: later than every one that is known.
    pub(super) fn next_passport(&self, blank: bool) -> Passport {
        let (led, again) = match &self.phase {
            Phase::Leading(spell) => (spell.term, spell.passport.as_ref()),
            _ => (Term(0), None),
        };
        // Within one spell of leadership the term stays, so that those of elections that count on
        // stay ahead of the passports.
        if let Some(passport) = again {
            return Passport {
                blank,
                ..marked(passport)
            };
        }
        let own = self.own.latest().and_then(|own| own.papers.passport());
        if self.flawed(Flaw::ForgetsPassport)
            && let Some(passport) = own
        {
            return passport.clone();
        }
        let term = if self.flawed(Flaw::KeepsTerm) {
            led
        } else {
            led.max(self.highest_seen.next())
        };
        Passport {
            group: self.config.group.clone(),
            term,
            mark: 0,
            blank,
        }
    }

    /// The own server's latest answer says that it is the primary, or has what that has.
    pub(super) fn note_in_step(&mut self, own: &Inspection) {
        if let Some(answer) = &self.own.answer {
            self.in_step = Some((own.run_id.clone(), answer.asked));
        }
    }

    /// Whether the own dataset is known to be the group's: it is in step with the server that served
    /// last, or was until about when that was last seen to serve.
    fn was_in_step(&self, own: &Inspection) -> bool {
        let answers = |name: &String| {
            let member = self.members.get(name);
            member.is_some_and(|member| member.answer_since(self.unserved_since).is_some())
        };
        let is_now = self.last_primary.as_ref().is_some_and(|last| {
            let linked = own.link() == Some(Link::Up) && own.follows(&last.address);
            linked && answers(&last.name)
        });
        let was = |(run_id, at): &(String, Instant)| {
            *run_id == own.run_id && self.unserved_since <= *at + self.config.form_timeout
        };
        is_now || self.in_step.as_ref().is_some_and(was)
    }

    /// Whether members are still waited for.
    pub(super) fn is_forming(&self) -> bool {
        self.now < self.formed_at()
    }

    pub(super) fn formed_at(&self) -> Instant {
        self.unserved_since + self.config.form_timeout
    }

    /// Why it cannot be known yet whether another dataset must be preferred, if so: this agent has
    /// not seen the own server in step with a primary, as after a restart of everything, and not
    /// all have told what they have.
    pub(super) fn undecided(&mut self, own: &Inspection) -> Option<String> {
        let doubted = self.doubt.take();
        if self.was_in_step(own) || self.flawed(Flaw::DoesNotWait) {
            return None;
        }
        self.survey_everybody(self.unserved_since);
        let silent = |(_, member): &(&String, &Member)| !self.has_told(member, own);
        let expected = |(_, member): &(&String, &Member)| member.is_expected();
        let silent: Vec<_> = self
            .members
            .iter()
            .filter(expected)
            .filter(silent)
            .collect();
        let loads = |(_, member): &&(&String, &Member)| {
            member.latest().is_some_and(|theirs| theirs.loading)
        };
        let unseen = |(_, member): &&(&String, &Member)| member.agent.is_none();
        // Whoever loads will tell, and may hold the latest of all.
        let loading = silent
            .iter()
            .find(loads)
            .filter(|_| !self.config.allow_data_loss);
        let waited_for = match loading {
            None if self.is_forming() => silent.first(),
            loading => loading,
        };
        if let Some((name, _)) = waited_for {
            return Some(format!("{name} has not told yet what its server has"));
        }
        if self.awaits_members && self.is_forming() {
            return Some("discovery has not told yet who there is".to_owned());
        }
        let known = 1 + self.members.iter().filter(expected).count();
        if known < self.config.expected_members && self.is_forming() {
            let all = self.config.expected_members;
            return Some(format!("only {known} of {all} members are known yet"));
        }
        let ours = self.dataset(own);
        let stamped = ours.issue > Some(Issue::default()) && !ours.blank;
        let unknown = match silent.iter().find(unseen) {
            Some((name, _)) => format!("the server of {name}"),
            None if self.awaits_members => "the other members".to_owned(),
            None => return None,
        };
        if stamped || self.config.allow_data_loss {
            return None;
        }
        let doubt = format!(
            "nothing is known of {unknown}, and the own dataset is empty or has no passport: only \
             --allow-data-loss would let it lead"
        );
        if doubted.as_ref() != Some(&doubt) {
            self.explain_grave(Kind::Wait, "wait for an operator", doubt.clone());
        }
        self.doubt = Some(doubt.clone());
        Some(doubt)
    }

    /// Whether a member's server has said, since nobody serves, what is needed to compare it.
    fn has_told(&self, member: &Member, own: &Inspection) -> bool {
        let answer = member.respondent.answered_since(self.unserved_since);
        let Some(Ok(theirs)) = answer else {
            return false;
        };
        let compares = |relation| !matches!(relation, Relation::Diverged | Relation::Unrelated);
        let known =
            theirs.papers != Papers::Unknown || compares(theirs.position.relation(&own.position));
        member.foreign || known && !theirs.loading
    }
}

/// The same passport with the next mark.
pub(super) fn marked(passport: &Passport) -> Passport {
    Passport {
        mark: passport.mark + 1,
        ..passport.clone()
    }
}

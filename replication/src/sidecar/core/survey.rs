//! Asking the other members' servers, and whether all have answered that matter.

use std::time::Instant;

use super::{Action, Core, Inspection, Member, Who};

impl Core {
    /// Asks those whose newest answer is from before `since`; true once nobody's is awaited. These
    /// are the members of whom one could lead instead: those with a living agent and server, and
    /// those whose agent cannot be seen. One of these that was silent already is asked again, but
    /// not waited for again.
    pub(super) fn survey(&mut self, since: Instant) -> bool {
        let mut settled = true;
        let unserved = self.unserved_since;
        for (name, member) in &mut self.members {
            let counts = member.is_expected() && !member.says_down();
            if !counts || member.respondent.answered_since(since).is_some() {
                continue;
            }
            ask(&mut self.out, name, member);
            let silent = member
                .respondent
                .answered_since(unserved)
                .is_some_and(Result::is_err);
            settled &= silent && member.agent.is_none();
        }
        settled
    }

    /// As [`Self::survey`], for every server that is known, whoever runs beside it.
    pub(super) fn survey_everybody(&mut self, since: Instant) -> bool {
        let names: Vec<String> = self.members.keys().cloned().collect();
        let ask = |settled, name: &String| self.survey_one(name, since) && settled;
        names.iter().fold(true, ask)
    }

    /// Whether all who may have data have been asked; all have if the own server is not blank
    /// (rule 7).
    pub(super) fn surveyed_for_data(&mut self, own: &Inspection, since: Instant) -> bool {
        !self.is_blank(own) || self.survey_everybody(since.min(self.unled_since))
    }

    /// As [`Self::survey`], for the server that last served, whoever runs beside it. Where a living
    /// agent says that it does not answer, it is asked but not waited for.
    pub(super) fn survey_last_primary(&mut self, since: Instant) -> bool {
        let Some(name) = self.last_primary.as_ref().map(|last| last.name.clone()) else {
            return true;
        };
        let down = self.members.get(&name).is_some_and(Member::says_down);
        self.survey_one(&name, since) || down
    }

    /// As [`Self::survey`], for one server.
    pub(super) fn survey_one(&mut self, name: &str, since: Instant) -> bool {
        let Some(member) = self.members.get_mut(name) else {
            return true;
        };
        let settled = member.respondent.answered_since(since).is_some();
        if !settled {
            ask(&mut self.out, name, member);
        }
        settled
    }

    pub(super) fn ask_member(&mut self, name: &str) {
        if let Some(member) = self.members.get_mut(name) {
            ask(&mut self.out, name, member);
        }
    }

    /// Looks at every member's server now and then, without waiting.
    pub(super) fn survey_at_intervals(&mut self) {
        if self.now < self.next_survey {
            return;
        }
        self.next_survey = self.now + self.config.survey_interval;
        for (name, member) in &mut self.members {
            ask(&mut self.out, name, member);
        }
    }
}

fn ask(out: &mut Vec<Action>, name: &str, member: &mut Member) {
    if !member.respondent.awaited {
        member.respondent.awaited = true;
        out.push(Action::Ask(Who::Member {
            name: name.to_owned(),
            address: member.address.clone(),
        }));
    }
}

//! Whose dataset must be preferred to the own one, and who else claims to be primary.

use std::time::Instant;

use bellwether_election::NodeId;

use super::{Core, Flaw, Inspection, Member};
use crate::rank::{self, Dataset, Offsets};

impl Core {
    /// A member that could lead, with a server fit to, whose dataset must be preferred to the own
    /// one.
    pub(super) fn who_is_ahead(
        &self,
        own: &Inspection,
        since: Instant,
        offsets: Offsets,
    ) -> Option<(NodeId, Inspection)> {
        if self.flawed(Flaw::IgnoresData) {
            return None;
        }
        let ours = self.dataset(own);
        let mut best: Option<(&str, &Member, Dataset<'_>)> = None;
        for (name, member) in &self.members {
            let Some(theirs) = member.answer_since(since) else {
                continue;
            };
            if !self.could_lead(member) || theirs.fit().is_err() {
                continue;
            }
            let theirs = self.dataset(theirs);
            // Whoever stands sees which writes have arrived; whom nobody speaks for is judged by
            // what is there, once giving way to it was of no use. What a replica has of a primary's
            // history came from there, however much later it was asked.
            let offsets = match &member.agent {
                _ if own.is_primary() => Offsets::Moving,
                None if self.gave_way.is_some() => Offsets::Settled,
                _ => offsets,
            };
            let ahead_of = |other: &Dataset<'_>| rank::ahead(&theirs, other, offsets);
            // Preference is not transitive: the best of all need not be ahead of the own one.
            if ahead_of(&ours) && best.as_ref().is_none_or(|(_, _, best)| ahead_of(best)) {
                best = Some((name, member, theirs));
            }
        }
        let (name, member, theirs) = best?;
        Some((member.node(name), theirs.inspection.clone()))
    }

    /// Whether a member's agent is there to lead. One that cannot be seen is given the benefit of
    /// the doubt for as long as members are waited for: its server may stand there alone.
    fn could_lead(&self, member: &Member) -> bool {
        let until = self.gave_way.map(|at| at + self.config.form_timeout);
        let waits = until.is_none_or(|until| self.now < until);
        member.agent.is_some() || member.listed && waits
    }

    /// A reachable server that has data or is about to, while the own one is blank (rule 7).
    pub(super) fn who_has_data(&self, own: &Inspection, since: Instant) -> Option<String> {
        let ignored = self.config.allow_data_loss || self.flawed(Flaw::IgnoresData);
        if !self.is_blank(own) || ignored {
            return None;
        }
        let since = since.min(self.unled_since);
        let has = |theirs: &Inspection| theirs.loading || !self.is_blank(theirs);
        let found = self
            .members
            .iter()
            .find(|(_, member)| member.answer_since(since).is_some_and(has));
        found.map(|(name, _)| name.clone())
    }

    /// Another server that claims to be primary, unless its agent is seen and knows of no leader:
    /// with that one, a vote decides.
    pub(super) fn who_is_primary(&self, since: Instant) -> Option<&String> {
        let claims = |member: &Member| {
            let votes = member.agent.is_some() && member.leader.is_none();
            let answer = member.answer_since(since);
            !votes && answer.is_some_and(Inspection::is_primary)
        };
        let found = self.members.iter().find(|(_, member)| claims(member));
        found.map(|(name, _)| name)
    }
}

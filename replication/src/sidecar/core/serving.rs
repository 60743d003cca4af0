//! This member leads and its server is primary: is that still right, and does nobody else claim it?

use std::time::Duration;

use super::{Core, Flaw, Inspection, Order};
use crate::{Link, Relation, rank};

/// How long a server may claim to be primary before the leader fences it: an agent beside it that
/// lives does so first, and two leaders that meet settle first.
const ROGUE_AFTER: Duration = Duration::from_secs(1);

impl Core {
    pub(super) fn serve(&mut self, run_id: &str) {
        let own = match self.own_since(self.own_valid_from) {
            None => return,
            Some(Err(error)) => {
                return self.withdraw(None, &format!("the own server is down: {error}"));
            }
            Some(Ok(own)) => own,
        };
        if own.run_id != run_id && !self.flawed(Flaw::IgnoresRestart) {
            self.served = false;
            return self.withdraw(None, "the own server was restarted");
        }
        if !own.is_primary() {
            if self.flawed(Flaw::IgnoresRestart) {
                return self.give_order(Order::Promote);
            }
            self.served = false;
            if !self.flawed(Flaw::IgnoresDeposition) {
                self.deposed = Some(self.now);
            }
            return self.withdraw(None, "somebody made the own server a replica");
        }
        if !self.yields_to_data(&own) {
            self.fence_rogues();
            self.stand(rank::leader(own.has_data(), self.followers()));
        }
    }

    /// An empty primary gives way to a member that turned up with a dataset of its own.
    fn yields_to_data(&mut self, own: &Inspection) -> bool {
        if own.has_data() || self.config.allow_data_loss {
            return false;
        }
        // A replica of ours is never foreign, although its answer may be newer than ours. Nor do
        // their ids tell: Redis draws a new one when a primary's first replica attaches.
        let address = &self.config.server.address;
        let foreign = |theirs: &Inspection| {
            let copies = theirs.follows(address) && theirs.link() == Some(Link::Up);
            !copies
                && theirs.position.replication_id != own.position.replication_id
                && theirs.position.relation(&own.position) != Relation::Behind
        };
        let found = self.members.values().find_map(|member| {
            let theirs = member.respondent.latest()?;
            let apart = theirs.has_data() && theirs.fit().is_ok() && foreign(theirs);
            member.agent.clone().filter(|_| apart)
        });
        let Some(node) = found else { return false };
        self.withdraw(
            Some(node.clone()),
            &format!("the own server is empty and that of {node} is not"),
        );
        true
    }

    /// Fences servers that go on claiming to be primary although no agent beside them leads.
    fn fence_rogues(&mut self) {
        let now = self.now;
        let mut rogues = Vec::new();
        for (name, member) in &mut self.members {
            let claims = member
                .respondent
                .latest()
                .is_some_and(Inspection::is_primary);
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

//! While this node leads: the membership, one change at a time.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{ChangeMembers, Precondition, ServerState};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Member, NodeId, StateMachine,
    census::{Census, Change, Citizen, View},
    founding::Inquiry,
    group::{
        Metrics,
        lead::{has_answered, matched},
    },
    steward::Steward,
};

type Changes = ChangeMembers<NodeId, Member>;

impl<M: StateMachine> Steward<M> {
    /// Keeps the membership as discovery wants it, while this node leads.
    pub(super) async fn lead(&self, mut census: Census) {
        let pause = self.config.election_max / 2;
        let mut strangers = BTreeSet::new();
        loop {
            sleep(pause).await;
            let metrics = self.helm.metrics();
            if metrics.running_state.is_err() {
                return;
            }
            if metrics.state != ServerState::Leader {
                census.rest();
                continue;
            }
            // The library takes no change while the one before is under way.
            let settled = metrics.committed_membership_config == metrics.membership_config;
            if !settled {
                continue;
            }
            let view = self.view(&metrics, &mut strangers).await;
            if let Some(change) = census.step(Instant::now().into_std(), &view) {
                self.carry_out(change, &metrics).await;
            }
        }
    }

    async fn view(&self, metrics: &Metrics, strangers: &mut BTreeSet<NodeId>) -> View {
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<_> = membership.voter_ids().collect();
        let citizens: BTreeMap<_, _> = (membership.nodes())
            .map(|(id, member)| {
                let citizen = Citizen {
                    member: member.clone(),
                    votes: voters.contains(id),
                    alive: has_answered(metrics, *id, self.config.election_max),
                    behind: behind(metrics, *id),
                };
                (*id, citizen)
            })
            .collect();
        let wanted = self.roster.members().borrow().clone();
        View {
            me: metrics.id,
            joint: membership.get_joint_config().len() > 1,
            present: self.present(&wanted, &citizens, strangers).await,
            citizens,
            wanted,
        }
    }

    /// Who answers at the addresses of members that are not known to live.
    async fn present(
        &self,
        wanted: &BTreeSet<Member>,
        citizens: &BTreeMap<NodeId, Citizen>,
        strangers: &mut BTreeSet<NodeId>,
    ) -> BTreeMap<String, NodeId> {
        let lives = |name: &str| {
            let mut named = citizens.values().filter(|c| c.member.name == name);
            named.any(|citizen| citizen.alive)
        };
        let missing = wanted.iter().filter(|member| !lives(&member.name));
        let answers = self.ask_all(missing.cloned(), &Inquiry::Who).await;
        let mut present = BTreeMap::new();
        for (member, answer) in answers {
            if answer.charter == 0 || answer.charter == self.charter() {
                present.insert(member.name, answer.id);
            } else if strangers.insert(answer.id) {
                tracing::error!(
                    %member, node = %answer.id,
                    "belongs to a group of the same name that was founded separately; it must be \
                     restarted without its data to join this one"
                );
            }
        }
        present
    }

    async fn carry_out(&self, change: Change, metrics: &Metrics) {
        let membership = metrics.membership_config.membership();
        let changes = match &change {
            Change::Resign => return self.helm.hand_over().await,
            // An empty change makes the later half of what is under way the whole.
            Change::Finish => Changes::AddVoterIds(BTreeSet::new()),
            Change::Admit(id, member) => Changes::AddNodes(BTreeMap::from([(*id, member.clone())])),
            Change::Move(id, member) => Changes::SetNodes(BTreeMap::from([(*id, member.clone())])),
            Change::Enfranchise(id, replaced) => {
                let voters: BTreeSet<_> = membership.voter_ids().collect();
                let (voters, learners) = replaced.iter().partition(|id| voters.contains(id));
                Changes::Batch(vec![
                    Changes::AddVoterIds(BTreeSet::from([*id])),
                    Changes::RemoveVoters(voters),
                    Changes::RemoveNodes(learners),
                ])
            }
            Change::Remove(id) if membership.voter_ids().any(|voter| voter == *id) => {
                Changes::RemoveVoters(BTreeSet::from([*id]))
            }
            Change::Remove(id) => Changes::RemoveNodes(BTreeSet::from([*id])),
        };
        tracing::info!(?change, "the membership changes");
        let unchanged = Precondition::LastMembershipLogId {
            last_membership_log_id: *metrics.membership_config.log_id(),
        };
        let changed = self
            .helm
            .raft
            .change_membership_if(changes, false, [unchanged]);
        match timeout(self.config.proposal_timeout, changed).await {
            Ok(Ok(_)) => {}
            // It is looked at again, from what has become of it.
            Ok(Err(error)) => tracing::warn!(?change, %error, "the membership did not change"),
            Err(_) => tracing::warn!(?change, "it is not known whether the membership changed"),
        }
    }
}

/// How many entries a node lacks; nothing, if it is not known to have any.
fn behind(metrics: &Metrics, id: NodeId) -> Option<u64> {
    if id == metrics.id {
        return Some(0);
    }
    let all = metrics.replication.as_ref()?;
    all.get(&id).copied().flatten()?;
    Some((metrics.last_log_index?).saturating_sub(matched(metrics, id)))
}

//! Before there is a group.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    Member, StateMachine,
    founding::{Answer, Founding, Inquiry, choice, next_ballot},
    steward::Steward,
};

/// How often the others are asked.
const PAUSE: Duration = Duration::from_millis(50);

impl<M: StateMachine> Steward<M> {
    /// Waits until this node belongs to a group, or founds one.
    pub(super) async fn form(&self) {
        let began = Instant::now();
        while self.charter() == 0 {
            let patient = began.elapsed() < self.config.form_timeout;
            if let Some(founding) = self.attempt(patient).await {
                self.begin(founding).await;
            }
            // Several attempts at once hinder each other: one of them should be first.
            sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    /// Attempts to found a group, unless one may be there or too few answer. Who is patient waits
    /// for all that are expected, and leaves it to the node with the smallest id.
    async fn attempt(&self, patient: bool) -> Option<Founding> {
        let expected = self.roster.members().borrow().len();
        let present = self.everybody(&Inquiry::Who).await;
        if present.iter().any(|(_, answer)| answer.charter != 0) {
            // That group's leader will come.
            return None;
        }
        let all = present.len() >= expected;
        let first = present.iter().map(|(_, answer)| answer.id).min();
        let enough = present.len() >= self.roster.quorum();
        if !enough || (patient && !(all && first == Some(self.id()))) {
            return None;
        }
        let ballot = next_ballot(present.iter().map(|(_, a)| a), self.id());
        let promises = self.agreeing(&Inquiry::Prepare(ballot)).await?;
        let founding = choice(&promises, || Uuid::new_v4().as_u128());
        let accept = Inquiry::Accept(ballot, founding.clone());
        self.agreeing(&accept).await?;
        Some(founding)
    }

    /// Those who agree to this, if they are enough.
    async fn agreeing(&self, inquiry: &Inquiry) -> Option<Vec<(Member, Answer)>> {
        let mut answers = self.everybody(inquiry).await;
        answers.retain(|(_, answer)| answer.agreed);
        (answers.len() >= self.roster.quorum()).then_some(answers)
    }

    async fn everybody(&self, inquiry: &Inquiry) -> Vec<(Member, Answer)> {
        let members = self.roster.members().borrow().clone();
        self.ask_all(members, inquiry).await
    }

    /// Begins the group that was agreed on. Who has no vote in it waits for those who do.
    async fn begin(&self, founding: Founding) {
        let charter = founding.charter;
        if !founding.voters.contains_key(&self.id()) || !self.civics.found(charter) {
            return;
        }
        tracing::info!(voters = founding.voters.len(), "the group is founded");
        if let Err(error) = self.helm.raft.initialize(founding.voters).await {
            // The group was quicker to reach this node than this line.
            tracing::debug!(%error, "the group has already begun");
        }
        if !self.civics.join(charter) {
            tracing::error!("the founding is not kept; after a restart it is agreed on again");
        }
    }
}

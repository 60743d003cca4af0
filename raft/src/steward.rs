//! Looks after the group: founds it, if there is none.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    Member, NodeId, Roster, StateMachine,
    civics::Civics,
    codec::Reader,
    founding::{Answer, Founding, Inquiry, answer, choice, next_ballot, put_inquiry},
    net::{self, Dialler, Fault, Purpose, Raft},
};

/// How often the others are asked while there is no group.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Steward<M: StateMachine> {
    pub(crate) raft: Raft<M>,
    pub(crate) civics: Arc<Civics>,
    pub(crate) dialler: Dialler,
    pub(crate) roster: Roster,
    /// This node.
    pub(crate) me: String,
    /// How long a founding waits for members that do not answer.
    pub(crate) form_timeout: Duration,
    pub(crate) peer_timeout: Duration,
}

impl<M: StateMachine> Steward<M> {
    /// Works until it is dropped.
    pub(crate) async fn run(self) {
        self.form().await;
    }

    /// Waits until this node belongs to a group, or founds one.
    async fn form(&self) {
        let began = Instant::now();
        while self.charter() == 0 {
            match self.attempt(began.elapsed() >= self.form_timeout).await {
                Some(founding) if self.civics.join(founding.charter) => {
                    self.begin(founding).await;
                    return;
                }
                // Several attempts at once hinder each other: one of them should be first.
                _ => sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await,
            }
        }
    }

    fn charter(&self) -> u128 {
        self.dialler.identity.charter()
    }

    /// Attempts to found a group, unless one may be there or too few answer. `patient` no longer
    /// waits for all that are expected.
    async fn attempt(&self, patient: bool) -> Option<Founding> {
        let expected = self.roster.members().borrow().len();
        let present = self.ask_all(&Inquiry::Who).await;
        if present.iter().any(|(_, answer)| answer.charter != 0) {
            // That group's leader will come.
            return None;
        }
        let all = present.len() >= expected;
        let first = present.iter().map(|(_, answer)| answer.id).min();
        let begin = present.len() >= self.roster.quorum()
            && (patient || (all && first == Some(self.dialler.identity.id)));
        if !begin {
            return None;
        }
        let ballot = next_ballot(present.iter().map(|(_, a)| a), self.dialler.identity.id);
        let promises = self.agreeing(&Inquiry::Prepare(ballot)).await?;
        let founding = choice(&promises, || Uuid::new_v4().as_u128());
        let accept = Inquiry::Accept(ballot, founding.clone());
        self.agreeing(&accept).await?;
        Some(founding)
    }

    /// Those who agree to this, if they are enough.
    async fn agreeing(&self, inquiry: &Inquiry) -> Option<Vec<(Member, Answer)>> {
        let mut answers = self.ask_all(inquiry).await;
        answers.retain(|(_, answer)| answer.agreed);
        (answers.len() >= self.roster.quorum()).then_some(answers)
    }

    /// Asks all expected members at once, this node included; each node's answer once.
    async fn ask_all(&self, inquiry: &Inquiry) -> Vec<(Member, Answer)> {
        let members = self.roster.members().borrow().clone();
        let asked = members.into_iter().map(async |member| {
            if member.name == self.me {
                return Some((member, self.civics.answer(inquiry)));
            }
            match self.ask(&member, inquiry).await {
                Ok(answer) => Some((member, answer)),
                Err(fault) => {
                    tracing::debug!(%member, %fault, "does not answer");
                    None
                }
            }
        });
        let answers = join_all(asked).await;
        let by_id = answers.into_iter().flatten().map(|(m, a)| (a.id, (m, a)));
        by_id
            .collect::<BTreeMap<NodeId, _>>()
            .into_values()
            .collect()
    }

    async fn ask(&self, member: &Member, inquiry: &Inquiry) -> Result<Answer, Fault> {
        let heard = net::ask(
            &self.dialler,
            (NodeId(0), member),
            (Purpose::Ask, self.peer_timeout),
            |to: &mut BytesMut| put_inquiry(to, inquiry),
        );
        Ok(answer(Reader(heard.await?))?)
    }

    /// Begins the group that was agreed on.
    async fn begin(&self, founding: Founding) {
        if !founding.voters.contains_key(&self.dialler.identity.id) {
            return;
        }
        tracing::info!(voters = founding.voters.len(), "the group is founded");
        if let Err(error) = self.raft.initialize(founding.voters).await {
            // The group was quicker to reach this node than this line.
            tracing::debug!(%error, "the group has already begun");
        }
    }
}

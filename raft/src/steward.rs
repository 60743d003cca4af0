//! Looks after the group: founds it if there is none, and as its leader keeps its membership as
//! discovery wants it.

mod forming;
mod leading;

use std::{collections::BTreeMap, sync::Arc};

use bytes::BytesMut;
use futures_util::future::join_all;

use crate::{
    Config, Member, NodeId, Roster, StateMachine,
    census::Census,
    civics::Civics,
    codec::Reader,
    founding::{Answer, Inquiry, answer, put_inquiry},
    group::lead::Helm,
    net::{self, Dialler, Fault, Purpose},
};

pub(crate) struct Steward<M: StateMachine> {
    pub(crate) helm: Helm<M>,
    pub(crate) civics: Arc<Civics>,
    pub(crate) dialler: Dialler,
    pub(crate) roster: Roster,
    pub(crate) config: Arc<Config>,
}

impl<M: StateMachine> Steward<M> {
    /// Works until it is dropped.
    pub(crate) async fn run(self) {
        self.form().await;
        let census = Census::new(self.roster.quorum(), self.config.remove_after);
        self.lead(census).await;
    }

    fn id(&self) -> NodeId {
        self.dialler.identity.id
    }

    fn charter(&self) -> u128 {
        self.dialler.identity.charter()
    }

    /// Asks these members at once, this node too; each node's answer once.
    async fn ask_all(
        &self,
        members: impl IntoIterator<Item = Member>,
        inquiry: &Inquiry,
    ) -> Vec<(Member, Answer)> {
        let asked = members.into_iter().map(async |member| {
            if member.name == self.config.member {
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
            (Purpose::Ask, self.config.peer_timeout),
            |to: &mut BytesMut| put_inquiry(to, inquiry),
        );
        Ok(answer(Reader(heard.await?))?)
    }
}

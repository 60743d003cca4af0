//! Proposals of nodes that do not lead.

use bytes::Bytes;

use crate::{
    Error, Peer, StateMachine,
    codec::Reader,
    group::Group,
    net::{self, Purpose, Question},
};

pub(super) async fn submit<M: StateMachine>(
    group: &Group<M>,
    command: Bytes,
) -> Result<Bytes, Error> {
    match group.propose(command.clone()).await {
        Err(Error::NotLeader {
            leader: Some(leader),
        }) => forward(group, &leader, command).await,
        outcome => outcome,
    }
}

/// Asks the leader to propose. Who is asked asks nobody else, so that no question goes in circles.
async fn forward<M: StateMachine>(
    group: &Group<M>,
    leader: &Peer,
    command: Bytes,
) -> Result<Bytes, Error> {
    let answer = net::ask(
        &group.dialler,
        (leader.id, &leader.member),
        (Purpose::Call, group.config.peer_timeout),
        |to| net::put_question(to, &Question::Propose(command)),
    );
    let outcome = match answer.await {
        Ok(answer) => net::proposed(Reader(answer)),
        Err(fault) => {
            tracing::debug!(%leader, %fault, "does not say what became of a proposal");
            return Err(Error::Unknown);
        }
    };
    outcome.unwrap_or(Err(Error::Unknown))
}

//! The library's view of other nodes.

use std::{future::Future, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use openraft::{
    OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tokio::task::JoinHandle;

use crate::{
    Member, NodeId,
    apply::Snapshot,
    codec::Reader,
    net::{
        Fault,
        append::{Line, stream},
        call,
        dial::{Connection, Dialler},
        hello::Purpose,
        messages::{self, Question},
        snapshot,
    },
    parcel::Parcel,
    types::{Types, Vote},
};

/// Makes links to other nodes.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    pub(crate) dialler: Dialler,
    /// How long a connection may stand still.
    pub(crate) within: Duration,
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    // The library asks for a link each for entries, heartbeats and snapshots. Each has a connection
    // of its own.
    async fn new_client(&mut self, target: NodeId, node: &Member) -> Link {
        Link {
            links: self.clone(),
            id: target,
            member: node.clone(),
            line: None,
            dialling: None,
        }
    }
}

/// A link to one node.
#[derive(Debug)]
pub(crate) struct Link {
    links: Links,
    pub(crate) id: NodeId,
    pub(crate) member: Member,
    /// The connection for entries or heartbeats, while there is one.
    pub(crate) line: Option<Line>,
    /// One that is being made.
    dialling: Option<JoinHandle<Result<Connection, Fault>>>,
}

impl Link {
    /// A new connection for entries or heartbeats. Dropping the future does not give it up: the
    /// library leaves a heartbeat for less than dialling may take, and the next one goes on waiting.
    pub(crate) async fn dial_line(&mut self) -> Result<Connection, Fault> {
        let dialling = self.dialling.get_or_insert_with(|| {
            let (dialler, id, member) = (self.links.dialler.clone(), self.id, self.member.clone());
            tokio::spawn(async move { dialler.dial(Purpose::Append, id, &member).await })
        });
        let dialled = dialling.await;
        self.dialling = None;
        dialled.unwrap_or(Err(Fault::Closed))
    }

    pub(crate) fn dialler(&self) -> &Dialler {
        &self.links.dialler
    }

    pub(crate) fn within(&self) -> Duration {
        self.links.within
    }

    /// What to tell the library of a fault. What is unreachable is left alone for a while; what
    /// broke is tried again at once.
    pub(crate) fn told(&self, action: RPCTypes, fault: &Fault) -> RPCError<Types> {
        match fault {
            Fault::Slow(timeout) => RPCError::Timeout(Timeout {
                action,
                id: self.links.dialler.identity.id,
                target: self.id,
                timeout: *timeout,
            }),
            Fault::Closed => RPCError::Network(NetworkError::new(fault)),
            Fault::Io(_) | Fault::Oversize(_) | Fault::Malformed(_) | Fault::Refused(_) => {
                RPCError::Unreachable(Unreachable::new(fault))
            }
        }
    }

    async fn call(
        &self,
        action: RPCTypes,
        question: &Question,
        option: &RPCOption,
    ) -> Result<Reader, RPCError<Types>> {
        let answer: Result<Bytes, Fault> = call::ask(
            self.dialler(),
            (self.id, &self.member),
            (Purpose::Call, option.hard_ttl()),
            |to: &mut BytesMut| messages::put_question(to, question),
        )
        .await;
        answer
            .map(Reader)
            .map_err(|fault| self.told(action, &fault))
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Parcel;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        use futures_util::StreamExt as _;
        let one = futures_util::stream::iter([rpc]);
        let mut answers = RaftNetworkV2::stream_append(self, one, option).await?;
        let answer = answers.next().await.transpose()?;
        let closed = || NetworkError::new(&Fault::Closed).into();
        answer.map(Into::into).ok_or_else(closed)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let answers: BoxStream<'s, _> = Box::pin(stream(self, input));
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let question = Question::Vote(rpc);
        let answer = self.call(RPCTypes::Vote, &question, &option).await?;
        messages::vote_response(answer).map_err(|fault| self.told(RPCTypes::Vote, &fault.into()))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let question = Question::PreVote(rpc);
        let answer = self.call(RPCTypes::Vote, &question, &option).await?;
        messages::vote_response(answer).map_err(|fault| self.told(RPCTypes::Vote, &fault.into()))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            sent = snapshot::send(self, vote, &snapshot) => {
                let fault = match sent {
                    Ok(vote) => return Ok(SnapshotResponse::new(vote)),
                    Err(fault) => fault,
                };
                tracing::warn!(to = %self.member, %fault, "a snapshot was not sent");
                Err(self.told(RPCTypes::InstallSnapshot, &fault).into())
            }
            closed = cancel => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let question = Question::Transfer(req);
        let answer = self
            .call(RPCTypes::TransferLeader, &question, &option)
            .await?;
        messages::transferred(answer)
            .map_err(|fault| self.told(RPCTypes::TransferLeader, &fault.into()))
    }
}

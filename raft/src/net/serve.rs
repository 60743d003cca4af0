//! The end that is dialled.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream::unfold};
use openraft::{ReadPolicy, raft::AppendEntriesRequest};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream, tcp},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    StateMachine,
    apply::Applier,
    civics::Civics,
    codec::Reader,
    founding,
    group::propose::Intake,
    net::{
        Fault,
        dial::{Connection, Identity, prepare},
        frame::{self, Inbox},
        hello::{self, Hello, Purpose, Refusal},
        messages::{self, Question},
        snapshot,
    },
    shelf::Shelf,
    types::Types,
};

pub(crate) type Raft<M> = openraft::Raft<Types, Applier<M>>;

/// More connections are turned away: a group is small, and each of its nodes has few.
const MAX_CONNECTIONS: usize = 256;

/// So long is waited before another connection is accepted, when that failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What serving a connection needs.
pub(crate) struct Host<M: StateMachine> {
    pub(crate) identity: Arc<Identity>,
    pub(crate) raft: Raft<M>,
    pub(crate) civics: Arc<Civics>,
    pub(crate) intake: Intake,
    pub(crate) shelf: Shelf,
    /// How long a connection may stand still in the middle of something.
    pub(crate) within: Duration,
    pub(crate) max_message: usize,
    pub(crate) max_snapshot: u64,
    /// Held while a snapshot is received: one leader sends one.
    pub(crate) receiving: Semaphore,
}

/// Accepts connections and serves them. Never ends; dropping it closes all.
pub(crate) async fn serve<M: StateMachine>(listener: TcpListener, host: Arc<Host<M>>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let host = Arc::clone(&host);
                let permit = Arc::clone(&room).try_acquire_owned();
                connections.spawn(async move {
                    let busy = permit.is_err();
                    if let Err(fault) = host.welcome(stream, busy).await {
                        note(&fault, from);
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// That a connection ends is no news; that it was refused is.
fn note(fault: &Fault, from: SocketAddr) {
    match fault {
        // Who was another node a moment ago is asked for by those who do not know yet.
        Fault::Io(_) | Fault::Closed | Fault::Slow(_) | Fault::Refused(Refusal::Node(_)) => {
            tracing::debug!(%from, %fault, "connection ended");
        }
        Fault::Oversize(_) | Fault::Malformed(_) | Fault::Refused(_) => {
            tracing::warn!(%from, %fault, "connection refused");
        }
    }
}

impl<M: StateMachine> Host<M> {
    /// Greets and serves a connection to its end.
    async fn welcome(&self, mut stream: TcpStream, busy: bool) -> Result<(), Fault> {
        let greeted = async {
            prepare(&stream)?;
            let hello = match hello::hear(&mut stream).await {
                // Who speaks another version reads ours from the answer.
                Err(Fault::Refused(refusal)) => {
                    hello::answer(&mut stream, Some(refusal)).await?;
                    return Err(Fault::Refused(refusal));
                }
                heard => heard?,
            };
            let refusal = self.refusal(&hello, busy);
            hello::answer(&mut stream, refusal).await?;
            refusal.map_or(Ok(hello), |refusal| Err(Fault::Refused(refusal)))
        };
        let hello = timeout(self.within, greeted)
            .await
            .map_err(|_| Fault::Slow(self.within))??;
        match hello.purpose {
            Purpose::Append => self.append(stream).await,
            Purpose::Call => self.calls(self.connection(stream)).await,
            Purpose::Snapshot => self.snapshot(self.connection(stream)).await,
            Purpose::Ask => self.asked(self.connection(stream)).await,
        }
    }

    fn connection(&self, stream: TcpStream) -> Connection {
        Connection::new(stream, self.max_message)
    }

    /// Why a connection is not wanted, if it is not.
    fn refusal(&self, hello: &Hello, busy: bool) -> Option<Refusal> {
        if hello.group != self.identity.group {
            return Some(Refusal::Group);
        }
        if busy {
            return Some(Refusal::Busy);
        }
        if hello.purpose == Purpose::Ask {
            return None;
        }
        if hello.to != self.identity.id {
            return Some(Refusal::Node(self.identity.id));
        }
        // A node without a group joins the first that wants it.
        if hello.charter == 0 || !self.civics.join(hello.charter) {
            return Some(Refusal::Charter);
        }
        None
    }

    /// Takes entries or heartbeats and answers them in order.
    async fn append(&self, stream: TcpStream) -> Result<(), Fault> {
        let (reads, mut writes) = stream.into_split();
        let requests = requests(reads, Inbox::new(self.max_message));
        let mut answers = Box::pin(self.raft.stream_append(requests));
        let mut outbox = BytesMut::new();
        // The stream must not be polled after its end.
        while let Some(first) = answers.next().await {
            let mut next = Some(first);
            let mut over = false;
            while let Some(answer) = next {
                let Ok(answer) = answer else {
                    // This node ends.
                    return Err(Fault::Closed);
                };
                frame::put(&mut outbox, |to| messages::put_appended(to, &answer));
                over = answer.is_err();
                if over {
                    break;
                }
                // What is ready is written in one go.
                match answers.next().now_or_never() {
                    Some(Some(answer)) => next = Some(answer),
                    Some(None) => {
                        over = true;
                        break;
                    }
                    None => next = None,
                }
            }
            timeout(self.within, writes.write_all_buf(&mut outbox))
                .await
                .map_err(|_| Fault::Slow(self.within))??;
            if over {
                break;
            }
        }
        Ok(())
    }

    /// Answers questions of nodes that know this one.
    async fn calls(&self, mut connection: Connection) -> Result<(), Fault> {
        loop {
            let question = messages::question(Reader(self.next(&mut connection).await?))?;
            let mut answer = BytesMut::new();
            self.answer(question, &mut answer).await?;
            self.reply(&mut connection, &answer).await?;
        }
    }

    async fn answer(&self, question: Question, to: &mut BytesMut) -> Result<(), Fault> {
        // An error means that this node ends: who asks sees its connection closed.
        match question {
            Question::Vote(request) => {
                let response = self.raft.vote(request).await.map_err(|_| Fault::Closed)?;
                messages::put_vote_response(to, &response);
            }
            Question::PreVote(request) => {
                let response = self.raft.pre_vote(request).await;
                messages::put_vote_response(to, &response.map_err(|_| Fault::Closed)?);
            }
            Question::Transfer(request) => {
                let response = self.raft.handle_transfer_leader(request).await;
                messages::put_transferred(to, &response.map_err(|_| Fault::Closed)?);
            }
            Question::ReadIndex => {
                let reader = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
                let index = reader.ok().map(|reader| *reader.read_log_id().log_id());
                messages::put_read_index(to, index);
            }
            Question::Propose(command) => {
                let outcome = self.intake.propose(vec![command]).await;
                let outcome = outcome.ok_or(Fault::Closed)?;
                let reply = outcome.map(|all| all.into_iter().next().unwrap_or_default());
                messages::put_proposed(to, &reply);
            }
        }
        Ok(())
    }

    /// Answers nodes that look for a group.
    async fn asked(&self, mut connection: Connection) -> Result<(), Fault> {
        loop {
            let inquiry = founding::inquiry(Reader(self.next(&mut connection).await?))?;
            let mut answer = BytesMut::new();
            founding::put_answer(&mut answer, &self.civics.answer(&inquiry));
            self.reply(&mut connection, &answer).await?;
        }
    }

    /// The next question; who has none for long is not waited for.
    async fn next(&self, connection: &mut Connection) -> Result<Bytes, Fault> {
        timeout(self.within, connection.next())
            .await
            .map_err(|_| Fault::Slow(self.within))?
    }

    async fn reply(&self, connection: &mut Connection, answer: &[u8]) -> Result<(), Fault> {
        frame::put(&mut connection.outbox, |to| to.extend_from_slice(answer));
        timeout(self.within, connection.flush())
            .await
            .map_err(|_| Fault::Slow(self.within))?
    }

    /// Takes a snapshot.
    async fn snapshot(&self, mut connection: Connection) -> Result<(), Fault> {
        let Ok(_permit) = self.receiving.try_acquire() else {
            return Err(Fault::Refused(Refusal::Busy));
        };
        let bounds = (self.max_snapshot, self.within);
        let (vote, snapshot) = snapshot::receive(&mut connection, &self.shelf, bounds).await?;
        tracing::info!(bytes = snapshot.snapshot.len(), "a snapshot was received");
        let mut install = Box::pin(self.raft.install_full_snapshot(vote, snapshot));
        loop {
            tokio::select! {
                installed = &mut install => {
                    let installed = installed.map_err(|_| Fault::Closed)?;
                    return snapshot::taken(&mut connection, &installed.vote, self.within).await;
                }
                () = sleep(self.within / 4) => {
                    snapshot::still_at_it(&mut connection, self.within).await?;
                }
            }
        }
    }
}

/// The requests that come over a connection, until it ends or brings something else.
fn requests(
    reads: tcp::OwnedReadHalf,
    inbox: Inbox,
) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send + 'static {
    unfold((reads, inbox), |(mut reads, mut inbox)| async move {
        let request = match inbox.next(&mut reads).await {
            Ok(message) => messages::append(Reader(message)).map_err(Fault::from),
            Err(fault) => Err(fault),
        };
        match request {
            Ok(request) => Some((request, (reads, inbox))),
            Err(fault) => {
                if let Ok(from) = reads.peer_addr() {
                    note(&fault, from);
                }
                None
            }
        }
    })
}

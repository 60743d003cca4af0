//! Runs the core over TCP: waits, steps, carries out. All policy is the core's.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::{AbortHandle, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    Intent, NodeId, Seat,
    timestamp::{
        config::Timing,
        connection::{self, Context},
        core::{Action, Core, Event},
        mesh::ConnectionId,
        message::Address,
        wire::frame,
    },
};

/// Connections that have not said hello yet, at most.
const MAX_UNGREETED: usize = 32;

/// From a failed accept to the next one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For how long to wait for the last words to be sent.
const FAREWELL: Duration = Duration::from_millis(500);

/// Events that wait for the core; beyond them, connections are not read.
pub(crate) const MAX_EVENTS: usize = 256;

/// One run of an election.
pub(crate) struct Shell {
    core: Core,
    seat: Seat,
    listener: TcpListener,
    ungreeted: Arc<Semaphore>,
    context: Arc<Context>,
    events: mpsc::Receiver<Event>,
    frames: watch::Sender<Bytes>,
    tasks: JoinSet<ConnectionId>,
    connections: BTreeMap<ConnectionId, Connection>,
    next_id: u64,
}

struct Connection {
    task: AbortHandle,
    greeted: bool,
}

impl Shell {
    pub(crate) fn new(
        node: NodeId,
        timing: Timing,
        listener: TcpListener,
        context: Context,
        events: mpsc::Receiver<Event>,
        seat: Seat,
    ) -> Self {
        Self {
            core: Core::new(node, timing, now(), None),
            seat,
            listener,
            ungreeted: Arc::new(Semaphore::new(MAX_UNGREETED)),
            context: Arc::new(context),
            events,
            frames: watch::Sender::new(Bytes::new()),
            tasks: JoinSet::new(),
            connections: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Runs until the application leaves.
    pub(crate) async fn run(mut self, mut members: watch::Receiver<BTreeSet<Address>>) {
        let mut intent = self.seat.intent();
        let mut named = true;
        let first = self.wish(&mut intent);
        self.step(first);
        let first = Event::Members(members.borrow_and_update().clone());
        self.step(first);
        loop {
            let wake_at = Instant::from_std(self.core.wake_at());
            // What came before a connection's end is heard before its end.
            let event = tokio::select! {
                biased;
                Some(event) = self.events.recv() => event,
                Some(ended) = self.tasks.join_next() => match self.ended(ended) {
                    Some(event) => event,
                    None => continue,
                },
                wish = intent.changed() => match wish {
                    Ok(()) => self.wish(&mut intent),
                    Err(_) => break,
                },
                news = members.changed(), if named => {
                    // Without its sender, the last list stays.
                    named = news.is_ok();
                    Event::Members(members.borrow_and_update().clone())
                }
                (stream, permit) = next_connection(&self.listener, &self.ungreeted) => {
                    self.serve(stream, permit);
                    continue;
                }
                () = sleep_until(wake_at) => Event::Tick,
            };
            self.step(event);
        }
        let last = self.wish(&mut intent);
        self.step(last);
        self.leave().await;
    }

    fn wish(&self, intent: &mut watch::Receiver<Intent>) -> Event {
        let intent = intent.borrow_and_update().clone();
        let spoke = intent.spoke_in == self.seat.vacancies();
        Event::Intent { intent, spoke }
    }

    fn step(&mut self, event: Event) {
        if let Event::Opened(greeting) = &event
            && let Some(connection) = self.connections.get_mut(&greeting.connection)
        {
            connection.greeted = true;
        }
        for action in self.core.step(now(), event) {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial(address) => self.dial(address),
            Action::Close(id) => {
                if let Some(connection) = self.connections.remove(&id) {
                    connection.task.abort();
                }
            }
            Action::Broadcast(state) => {
                self.frames.send_replace(frame(&state));
            }
            Action::Publish(leadership) => self.seat.publish(leadership),
            Action::PublishPeers(peers) => self.seat.publish_peers(peers),
        }
    }

    fn dial(&mut self, address: Address) {
        let id = self.take_id();
        let (context, frames) = (self.context.clone(), self.frames.subscribe());
        self.spawn(id, connection::dial(context, id, address, frames));
    }

    fn serve(&mut self, stream: (TcpStream, SocketAddr), permit: OwnedSemaphorePermit) {
        let id = self.take_id();
        let (context, frames) = (self.context.clone(), self.frames.subscribe());
        self.spawn(id, connection::accept(context, id, stream, permit, frames));
    }

    fn spawn(&mut self, id: ConnectionId, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(async move {
            task.await;
            id
        });
        self.connections.insert(
            id,
            Connection {
                task,
                greeted: false,
            },
        );
    }

    fn take_id(&mut self) -> ConnectionId {
        self.next_id += 1;
        ConnectionId(self.next_id)
    }

    /// What the end of a connection's task means. One that was told to end means nothing.
    fn ended(&mut self, end: Result<ConnectionId, JoinError>) -> Option<Event> {
        match end {
            Ok(id) => {
                self.connections.remove(&id);
                Some(Event::Closed(id))
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }

    /// Says goodbye, so that nobody has to wait for this member to be lost.
    async fn leave(mut self) {
        self.step(Event::Leave);
        for connection in self
            .connections
            .values()
            .filter(|connection| !connection.greeted)
        {
            connection.task.abort();
        }
        // The connections end when they have sent the last frame.
        drop(self.frames);
        let sent = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(FAREWELL, sent).await.is_err() {
            tracing::warn!("left before all peers were told");
        }
    }
}

/// The next one that dials this member, when there is room for it.
///
/// # Cancel safety
///
/// A connection is accepted or left waiting, never lost.
async fn next_connection(
    listener: &TcpListener,
    ungreeted: &Arc<Semaphore>,
) -> ((TcpStream, SocketAddr), OwnedSemaphorePermit) {
    let permit = ungreeted.clone().acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok(stream) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

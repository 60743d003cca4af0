//! A node comes to life.

use std::sync::Arc;

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    Config, Error, Leadership, NodeId, Roster, StateMachine, Storage,
    apply::{Applier, Shared},
    civics::Civics,
    group::{Group, lead, propose},
    keep::keep,
    log::{Log, READ_BYTES},
    net::{self, Book, Dialler, Host, Identity, Links},
    steward::Steward,
};

/// So many proposals may wait to be gathered.
const QUEUE: usize = 4096;

impl<M: StateMachine> Group<M> {
    /// Starts a node. It takes part in founding the group, or joins it, in the background.
    ///
    /// Runs on the tokio runtime of the caller. One that has a single thread is as fast as one that
    /// has several, and takes less of the processor.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::Listen`].
    pub async fn start(config: Config, roster: Roster, machine: M) -> Result<Self, Error> {
        config.check()?;
        roster.check(&config)?;
        let library = config.library().validate();
        let library = library.map_err(|error| Error::Config(error.to_string()))?;
        let Storage::Memory = config.storage;
        let log = Log::memory();
        let identity = Arc::new(Identity::new(config.group.clone(), fresh_id()));
        let listening = |source| Error::Listen {
            address: config.listen.to_string(),
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listening)?;
        let local_addr = listener.local_addr().map_err(listening)?;

        let max_message = config.max_batch.max(READ_BYTES) + net::SLACK;
        let dialler = Dialler {
            identity: Arc::clone(&identity),
            book: Book::new(roster.members()),
            within: config.peer_timeout,
            max_message,
        };
        let links = Links {
            dialler: dialler.clone(),
            within: config.peer_timeout,
        };
        let machine = Shared::new(machine);
        let (since, since_snapshot) = watch::channel(0);
        let applier = Applier::new(machine.clone(), since);
        let id = identity.id;
        let raft = net::Raft::new(id, Arc::new(library), links, log.clone(), applier).await;
        let raft = raft.map_err(|error| Error::Ended(error.to_string()))?;

        let config = Arc::new(config);
        let civics = Arc::new(Civics::new(Arc::clone(&identity), config.member.clone()));
        let host = Arc::new(Host {
            identity,
            raft: raft.clone(),
            civics: Arc::clone(&civics),
            within: config.peer_timeout,
            max_message,
        });
        let steward = Steward {
            raft: raft.clone(),
            civics,
            dialler: dialler.clone(),
            roster,
            me: config.member.clone(),
            form_timeout: config.form_timeout,
            peer_timeout: config.peer_timeout,
        };
        let (proposals, queue) = mpsc::channel(QUEUE);
        let (news, leadership) = watch::channel(Leadership::Vacant);
        let handing_over = watch::Sender::new(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(net::serve(listener, host));
        tasks.spawn(steward.run());
        tasks.spawn(keep(
            raft.clone(),
            log,
            since_snapshot,
            config.snapshot_after,
        ));
        tasks.spawn(propose::gather(raft.clone(), Arc::clone(&config), queue));
        tasks.spawn(lead::publish(
            raft.clone(),
            config.election_max,
            handing_over.subscribe(),
            news,
        ));
        Ok(Self {
            config,
            local_addr,
            raft,
            machine,
            proposals,
            leadership,
            handing_over,
            dialler,
            _tasks: tasks,
        })
    }
}

/// An id that no other node has had.
fn fresh_id() -> NodeId {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    // 0 is nobody's.
    NodeId((high ^ low).max(1))
}

//! A node comes to life.

use std::{io, net::TcpListener as StdListener, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::sleep,
};

use crate::{
    Config, Error, Leadership, Roster, StateMachine,
    apply::{Applier, Shared},
    civics::Civics,
    group::{
        Group,
        lead::{self, Helm, News},
        propose::{self, Intake},
    },
    home::Home,
    keep::keep,
    log::READ_BYTES,
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
    /// [`Error::Config`] and [`Error::Listen`]; [`Error::Data`] and [`Error::Storage`] for a data
    /// directory that cannot be used.
    pub async fn start(config: Config, roster: Roster, machine: M) -> Result<Self, Error> {
        let (home, config) = open(config, &roster).await?;
        let listener = listen(&config)?;
        Self::start_at(listener, home, config, roster, Shared::new(machine)).await
    }

    /// The same on a listener that is bound already; `config.listen` counts for nothing.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_on(
        listener: StdListener,
        config: Config,
        roster: Roster,
        machine: M,
    ) -> Result<Self, Error> {
        let (home, config) = open(config, &roster).await?;
        Self::start_at(listener, home, config, roster, Shared::new(machine)).await
    }

    /// Starts a node with what it has.
    pub(super) async fn start_at(
        listener: StdListener,
        home: Home,
        config: Config,
        roster: Roster,
        machine: Shared<M>,
    ) -> Result<Self, Error> {
        let library = config.library().validate();
        let mut library = library.map_err(|error| Error::Config(error.to_string()))?;
        let log = home.log;
        let disk = home.disk.as_ref().map(Arc::downgrade);
        let (group, id, charter) = (config.group.clone(), home.papers.id, home.papers.charter);
        let identity = Arc::new(Identity::new(group, id, charter));
        // Before it ended, this node may have granted a leader its lease, or a candidate its vote.
        let (_, restarted) = log.past();
        library.enable_elect = !restarted;
        let listening = |source| listening(&config, source);
        listener.set_nonblocking(true).map_err(listening)?;
        let listener = TcpListener::from_std(listener).map_err(listening)?;
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
        let (since, since_snapshot) = watch::channel(0);
        let kept = (home.shelf.clone(), home.snapshot);
        let applier = Applier::new(machine.clone(), kept, since);
        let raft = net::Raft::new(id, Arc::new(library), links, log.clone(), applier).await;
        let raft = raft.map_err(|error| Error::Ended(error.to_string()))?;

        let config = Arc::new(config);
        let (proposals, queue) = mpsc::channel(QUEUE);
        let intake = Intake {
            config: Arc::clone(&config),
            queue: proposals,
        };
        let civics = Arc::new(Civics::new(Arc::clone(&identity), home.papers, home.disk));
        let host = Arc::new(Host {
            identity,
            raft: raft.clone(),
            civics: Arc::clone(&civics),
            intake: intake.clone(),
            shelf: home.shelf.clone(),
            within: config.peer_timeout,
            max_message,
            max_snapshot: config.max_snapshot,
            receiving: Semaphore::new(1),
        });
        let (news, leadership) = watch::channel(Leadership::Vacant);
        let helm = Helm {
            raft: raft.clone(),
            id,
            lease: config.election_max,
            leadership,
            handing_over: watch::Sender::new(None),
        };
        let steward = Steward {
            helm: helm.clone(),
            civics: Arc::clone(&civics),
            dialler: dialler.clone(),
            roster: roster.clone(),
            config: Arc::clone(&config),
        };
        let mut tasks = JoinSet::new();
        let quiet = if restarted {
            config.election_max
        } else {
            Duration::ZERO
        };
        let serving = raft.clone();
        tasks.spawn(async move {
            sleep(quiet).await;
            serving.runtime_config().elect(true);
            net::serve(listener, host).await;
        });
        tasks.spawn(steward.run());
        tasks.spawn(keep(
            raft.clone(),
            log.clone(),
            since_snapshot,
            config.snapshot_after,
        ));
        tasks.spawn(propose::gather(raft.clone(), Arc::clone(&config), queue));
        tasks.spawn(lead::publish(
            raft.clone(),
            config.election_max,
            helm.handing_over.subscribe(),
            News(news),
        ));
        Ok(Self {
            config,
            local_addr,
            raft,
            machine,
            intake,
            helm,
            dialler,
            log,
            roster,
            shelf: home.shelf,
            civics,
            disk,
            tasks,
        })
    }
}

pub(super) fn listen(config: &Config) -> Result<StdListener, Error> {
    StdListener::bind(config.listen).map_err(|source| listening(config, source))
}

fn listening(config: &Config, source: io::Error) -> Error {
    Error::Listen {
        address: config.listen.to_string(),
        source,
    }
}

/// Checks what must hold, and opens the data directory, which may block.
async fn open(config: Config, roster: &Roster) -> Result<(Home, Config), Error> {
    config.check()?;
    roster.check(&config)?;
    let opened = tokio::task::spawn_blocking(move || Ok((Home::open(&config)?, config)));
    opened
        .await
        .map_err(|error| Error::Ended(error.to_string()))?
}

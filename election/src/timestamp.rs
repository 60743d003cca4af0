//! The timestamp election: no quorum, no storage, no clock that is compared with another.

mod config;
mod connection;
mod core;
mod flaw;
mod mesh;
mod message;
mod shell;
#[cfg(test)]
mod sim;
mod stats;
mod wire;

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener as StdListener},
};

use async_trait::async_trait;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use crate::{Election, Error, NodeId, Seat, listen::listen};
pub use config::TimestampConfig;
use connection::Context;
use flaw::Flaw;
use message::Address;
use shell::{MAX_EVENTS, Shell};
pub use stats::Stats;
use wire::Hello;

/// An election among processes that can reach each other over TCP, and need nothing else.
///
/// # Safety
///
/// **One leader only while the network is whole. There is no quorum: when the network is cut, each
/// side may have a leader, and a member that is alone leads.** What has to survive a cut must be
/// kept safe by other means, such as a fence at the data or a quorum of acknowledged writes.
///
/// In detail:
/// - While all members reach each other and no process is stopped, at most one leads at any time,
///   planned hand-overs and crashes included: who is chosen leads only once every member that it is
///   connected to has voted for it in that term, and nobody votes twice in one.
/// - Of a process that is stopped (or starved) for longer than `lost_after`, the lease ends before
///   another leads: `until` is the time of its last heartbeat, plus `lost_after`, less a tenth of
///   that and one `heartbeat`. Others replace it `lost_after` after they last heard it, so this
///   holds as long as clocks run equally fast within a tenth, and messages take less than
///   `heartbeat`. It then joins as if it had just started.
/// - A member that does not vote holds the others up for `vote_timeout`; then they go on without
///   its vote.
/// - A cut between some members only: a leader is kept for as long as some member vouches to hear
///   it, also by those that cannot reach it themselves. Of two leaders that do not hear each other,
///   a member that hears both ends one, `lost_after` later. Only leaders that are two members or
///   more apart remain.
/// - When two leaders meet, one of them remains: of higher rank, else standing for longer, else of
///   smaller name. Its term is then higher than all that were seen on either side.
/// - No clocks are compared. A member's own clock must not stop while the process runs; on Linux
///   `Instant` stops while the machine is suspended, and a leader that wakes does not notice: it
///   leads on until it hears of the other.
///
/// # How members are found
///
/// From the list of addresses that is handed in, and from those that dial. A member that has just
/// started votes once all of the list are connected, or after `form_timeout`; a leader that stands
/// is respected at once, whatever the newcomer's rank.
///
/// Two living processes with one member name are a mistake, which both log: the later one is turned
/// away by who knows the elder, and neither votes nor leads for as long as that is so.
///
/// # Trust
///
/// Who can connect and knows the group's name can take part: there is no authentication and no
/// encryption. Keep the port within a network that you trust.
#[derive(Debug)]
pub struct Timestamp {
    config: TimestampConfig,
    node: NodeId,
    listener: Option<StdListener>,
    address: SocketAddr,
    members: watch::Receiver<BTreeSet<Address>>,
    stats: watch::Sender<Stats>,
}

impl Timestamp {
    /// Listens for peers. `members` are hosts and ports at which members can be reached, this one
    /// included or not.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work, or its address cannot be listened on.
    pub fn new(
        config: TimestampConfig,
        members: watch::Receiver<BTreeSet<Address>>,
    ) -> Result<Self, Error> {
        config.check()?;
        let listener = listen(config.listen)?;
        Self::with_listener(config, listener, members)
    }

    /// The same on a listener that is bound already; `config.listen` counts for nothing.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work, or the listener has no address.
    pub fn with_listener(
        config: TimestampConfig,
        listener: StdListener,
        members: watch::Receiver<BTreeSet<Address>>,
    ) -> Result<Self, Error> {
        config.check()?;
        let address = listener.local_addr().map_err(|source| Error::Listen {
            address: config.listen.to_string(),
            source,
        })?;
        Ok(Self {
            node: NodeId::fresh(&config.member),
            config,
            listener: Some(listener),
            address,
            members,
            stats: watch::Sender::new(Stats::default()),
        })
    }

    /// Where peers are listened for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What this member is called by its peers. A second [`run`](Election::run) is another life,
    /// with another incarnation.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// What became of the connections, now and in future.
    #[must_use]
    pub fn stats(&self) -> watch::Receiver<Stats> {
        self.stats.subscribe()
    }

    /// The listener of the first run; a later run listens anew, under a new incarnation.
    fn take_listener(&mut self) -> Result<TcpListener, Error> {
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => {
                self.node = NodeId::fresh(&self.config.member);
                listen(self.address)?
            }
        };
        let convert = |listener: StdListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        convert(listener).map_err(|source| Error::Listen {
            address: self.address.to_string(),
            source,
        })
    }
}

#[async_trait]
impl Election for Timestamp {
    async fn run(&mut self, seat: Seat) -> Result<(), Error> {
        let listener = self.take_listener()?;
        let (host, port) = match &self.config.advertise {
            Some((host, port)) => (Some(host.clone()), *port),
            None => (None, self.address.port()),
        };
        let (events_in, events) = mpsc::channel(MAX_EVENTS);
        let context = Context {
            hello: Hello {
                group: self.config.group.clone(),
                node: self.node.clone(),
                host,
                port,
            },
            write_timeout: self.config.lost_after,
            events: events_in,
            stats: self.stats.clone(),
        };
        let timing = self.config.timing();
        let shell = Shell::new(self.node.clone(), timing, listener, context, events, seat);
        shell.run(self.members.clone()).await;
        Ok(())
    }
}

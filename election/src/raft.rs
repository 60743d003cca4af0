//! The election by Raft: a majority decides, and nothing but the members is needed.

mod config;
mod core;
mod shell;
mod table;

use std::net::{SocketAddr, TcpListener};

use async_trait::async_trait;
use bellwether_raft::{self as raft, Group, Roster};

use crate::{Election, Error, NodeId, Seat, listen::listen};
pub use config::RaftConfig;
use core::Core;
use shell::Shell;
use table::Register;

/// An election among processes that reach each other over TCP, in which a majority has to agree.
///
/// # Safety
///
/// **At most one member acts as leader at any instant, whatever the network does**, provided that
/// - it acts only before [`until`](crate::Leadership::Leading),
/// - all members run with the same times, and the clocks of two members differ in speed by less than
///   a tenth,
/// - exactly one group is founded: the roster's `quorum` is more than half of the members that there
///   will be (see [`Roster`]),
/// - no majority loses what it knows at once. With [`RaftConfig::data`] that takes lost or damaged
///   disks; in memory (the default) it takes the restart of a majority before the first of them
///   has been taken in again as another voter, after which **two groups may exist**: a new one, and
///   the rest of the old one, which cannot lead without a majority.
///
/// That holds through cuts, also one-way ones, and while processes are stopped and continued. In
/// detail:
/// - Who leads is the leader of a Raft group whose members keep one small table. It leads once it has
///   written into the table that it does, in its term of Raft's, and a majority has that. The
///   [`Term`](crate::Term) counts these spells, so it grows with each, also when one member leads
///   twice in a row. When all members in memory restart, terms begin anew.
/// - `until` is the time at which a question was sent that a majority has answered, plus nine tenths
///   of `election_max`. Each heartbeat asks. Others elect nobody for `election_max` after they have
///   answered.
/// - **Without a majority nobody leads**: the side of a cut that has one goes on, or nobody does.
/// - On Linux `Instant` stops while the machine is suspended: a leader that wakes believes in its
///   lease for what was left of it.
///
/// # Who leads
///
/// Raft elects who has the whole log, whoever that is. The elected one then asks: it waits until all
/// members that answer it have said whether they stand, for at most `vote_timeout`, and hands Raft's
/// leadership to the fittest of them, by rank, then by smaller name. So **the highest rank leads
/// among those who stand in time and whose connection to the elected one works**. A member that is
/// about to be taken in, or that does not answer within two heartbeats after the election, is not
/// waited for. Who leads is left alone, whatever rank a newcomer has. Who does not stand never leads,
/// although Raft may elect it.
///
/// A leader that resigns, or whose application leaves, says so to a majority first. The successor
/// that it names is handed Raft's leadership and leads once it stands; after `handover_timeout` the
/// others vote.
///
/// # Cards and peers
///
/// Cards are in the table, so each reaches all members that a majority reaches, by way of the leader.
/// Without a Raft leader no new card goes round. Peers are the members that the leader hears:
/// who is silent for `forget_after` is struck out until it answers again.
///
/// # Trust
///
/// Who can connect and knows the group's name can take part: there is no authentication and no
/// encryption. Keep the port within a network that you trust.
#[derive(Debug)]
pub struct Raft {
    config: RaftConfig,
    roster: Roster,
    node: NodeId,
    listener: Option<TcpListener>,
    address: SocketAddr,
}

impl Raft {
    /// Listens for peers. The `roster` names all members, this one included; a member is found at
    /// the address that is told there.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work, or its address cannot be listened on.
    pub fn new(config: RaftConfig, roster: Roster) -> Result<Self, Error> {
        config.check(&roster)?;
        let listener = listen(config.listen)?;
        Self::with_listener(config, listener, roster)
    }

    /// The same on a listener that is bound already; `config.listen` counts for nothing.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work, or the listener has no address.
    pub fn with_listener(
        config: RaftConfig,
        listener: TcpListener,
        roster: Roster,
    ) -> Result<Self, Error> {
        config.check(&roster)?;
        let address = listener.local_addr().map_err(|source| Error::Listen {
            address: config.listen.to_string(),
            source,
        })?;
        Ok(Self {
            node: NodeId::fresh(&config.member),
            config,
            roster,
            listener: Some(listener),
            address,
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

    /// The listener of the first run; a later run listens anew, under a new incarnation.
    fn take_listener(&mut self) -> Result<TcpListener, Error> {
        if let Some(listener) = self.listener.take() {
            return Ok(listener);
        }
        self.node = NodeId::fresh(&self.config.member);
        listen(self.address)
    }
}

#[async_trait]
impl Election for Raft {
    async fn run(&mut self, seat: Seat) -> Result<(), Error> {
        let listener = self.take_listener()?;
        let (register, table) = Register::new();
        let (config, roster) = (self.config.group_config(), self.roster.clone());
        let group = Group::start_on(listener, config, roster, register).await;
        let group = group.map_err(convert)?;
        let core = Core::new(group.id().0, self.node.clone(), self.config.timing());
        let shell = Shell {
            core,
            seat,
            group,
            table,
            tick: self.config.heartbeat / 2,
            farewell: self.config.handover_timeout,
        };
        shell.run().await
    }
}

fn convert(error: raft::Error) -> Error {
    match error {
        raft::Error::Config(what) => Error::Config(what),
        raft::Error::Listen { address, source } => Error::Listen { address, source },
        other => Error::Storage(other.into()),
    }
}

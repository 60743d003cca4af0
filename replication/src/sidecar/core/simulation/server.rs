//! A model of a Redis server: its role, its dataset, and PSYNC's rules.

use std::{collections::BTreeSet, time::Duration};

use super::{
    data::{self, Data, Entry},
    world::Time,
};
use crate::{Address, Clients, Inspection, Link, MinReplicas, Papers, Role, sidecar::core::Order};

/// The first port of the model's servers; the server of node `n` listens on this plus `n`.
const FIRST_PORT: u16 = 7000;

/// How their hosts' names begin.
const HOST: &str = "redis-";

/// Where the server of a node is whose pod has moved so often.
pub(super) fn address_of(node: usize, moves: u32) -> Address {
    let port = FIRST_PORT + u16::try_from(node).expect("few nodes");
    Address::new(format!("{HOST}{moves}"), port)
}

pub(super) fn node_at(address: &Address) -> Option<usize> {
    (!address.is_nowhere()).then(|| usize::from(address.port - FIRST_PORT))
}

/// How often that node's pod had moved when this was its address.
pub(super) fn moves_at(address: &Address) -> u32 {
    let moves = address.host.strip_prefix(HOST);
    moves.and_then(|moves| moves.parse().ok()).unwrap_or(0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    Running,
    Stopped,
    Dead,
}

/// A replica's connection, valid while its primary keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attachment {
    run: u64,
    stream: u64,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) process: Process,
    /// Since when it is in that state.
    pub(super) process_since: Time,
    pub(super) run: u64,
    /// How often its pod has got a new address.
    pub(super) moves: u32,
    pub(super) priority: u32,
    pub(super) data: Data,
    /// From which offset on it can continue a replica's stream.
    backlog: Option<u64>,
    pub(super) primary: bool,
    /// Whom it copies, if it is a replica and that is not nowhere.
    pub(super) of: Option<usize>,
    /// How often that one's pod had moved.
    pub(super) of_moves: u32,
    pub(super) link: Link,
    attachment: Option<Attachment>,
    /// A full copy that is on its way.
    copy: Option<Data>,
    pub(super) loading: bool,
    pub(super) paused_until: Time,
    /// How many replicas it demands of itself as a primary.
    pub(super) min_replicas: u32,
    /// Was started writable and not told anything since.
    pub(super) plain: bool,
    /// Changes when all replicas are disconnected.
    stream: u64,
    /// Outdates what is scheduled for its replication.
    pub(super) stamp: u64,
    /// When its role, position or state last changed.
    pub(super) changed: Time,
    /// Since when it is a primary or not.
    pub(super) role_since: Time,
    /// Whether it has ever been a primary since it started.
    pub(super) was_primary: bool,
    /// When its stream last arrived.
    pub(super) heard: Time,
    /// Whose agent fenced it last, and when.
    pub(super) fenced_by: Option<(usize, Time)>,
    /// When it looks after its replication next.
    pub(super) due: Time,
}

/// What a replica does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// All is there: wait until the primary has more.
    Wait,
    /// More is coming.
    Pull,
    /// A full copy is on its way.
    Copy,
    /// Refused: later again.
    Retry,
}

impl Server {
    pub(super) fn started(run: u64, data: Data, now: Time) -> Self {
        Self {
            process: Process::Running,
            process_since: now,
            run,
            moves: 0,
            priority: 100,
            loading: !data.is_blank(),
            data,
            backlog: None,
            primary: false,
            of: None,
            of_moves: 0,
            link: Link::Down,
            attachment: None,
            copy: None,
            paused_until: 0,
            min_replicas: 0,
            plain: false,
            stream: 0,
            stamp: run << 32,
            changed: now,
            role_since: now,
            was_primary: false,
            heard: now,
            fenced_by: None,
            due: 0,
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.process == Process::Running
    }

    /// What it says of itself, to which these replicas are attached.
    pub(super) fn inspection(&self, attached: BTreeSet<Address>) -> Inspection {
        Inspection {
            run_id: self.run.to_string(),
            role: match (self.primary, self.of) {
                (true, _) => Role::Primary,
                (false, None) => Role::Replica {
                    of: Address::new(Address::NOWHERE.0, Address::NOWHERE.1),
                    link: Link::Down,
                },
                (false, Some(of)) => Role::Replica {
                    of: address_of(of, self.of_moves),
                    link: self.link,
                },
            },
            position: self.data.position(),
            keys: if self.loading { 0 } else { self.data.keys() },
            papers: if self.loading {
                Papers::Unknown
            } else {
                self.data.papers()
            },
            attached,
            departed: 0,
            loading: self.loading,
            priority: self.priority,
            failing_over: false,
            min_replicas: Some(MinReplicas {
                count: self.min_replicas,
                max_lag: Duration::from_secs(2),
            }),
        }
    }

    /// Whether it can serve now: neither loading nor in the middle of a full copy.
    pub(super) fn is_whole(&self) -> bool {
        self.runs() && !self.loading && self.copy.is_none()
    }

    /// Whether it gets all that `primary` writes.
    pub(super) fn is_in_step_with(&self, primary: &Server) -> bool {
        self.link == Link::Up && self.is_attached_to(primary)
    }

    pub(super) fn accepts_writes(&self, now: Time) -> bool {
        self.runs() && self.primary && !self.loading && now >= self.paused_until
    }

    pub(super) fn write(&mut self, entry: Entry, now: Time) {
        self.data.log.push(entry);
        self.changed = now;
    }

    /// Carries out an order. `fresh` names the history that a promotion begins.
    pub(super) fn obey(&mut self, order: &Order, fresh: u64, now: Time) -> Result<(), String> {
        let pause = 4_000_000;
        match order {
            Order::PauseWrites => self.paused_until = now + pause,
            Order::ResumeWrites => self.paused_until = 0,
            _ if self.loading => return Err("LOADING".into()),
            Order::Promote(passport) if !self.primary && self.data.issue() >= passport.issue() => {
                return Err("it has a later passport".into());
            }
            Order::Promote(passport) => {
                self.promote(fresh, now);
                self.write(data::stamp(passport), now);
            }
            Order::Stamp(_) if !self.primary => return Err("READONLY".into()),
            Order::Stamp(passport) => self.write(data::stamp(passport), now),
            Order::DemandReplicas(demand) => self.min_replicas = demand.count,
            Order::Follow(address) => self.follow(address, now),
            Order::Fence(_) => self.fence(Clients::Cut, now),
        }
        Ok(())
    }

    pub(super) fn promote(&mut self, fresh: u64, now: Time) {
        self.paused_until = 0;
        if self.primary {
            return;
        }
        self.replicate_from(None, now);
        self.data = std::mem::replace(&mut self.data, Data::empty(0)).continued(fresh);
        self.primary = true;
        self.was_primary = true;
        self.role_since = now;
        self.disconnect_replicas();
    }

    fn follow(&mut self, address: &Address, now: Time) {
        self.paused_until = 0;
        let (of, moves) = (node_at(address), moves_at(address));
        if self.primary || (self.of, self.of_moves) != (of, moves) || self.link != Link::Up {
            self.replicate_from(of, now);
            self.of_moves = moves;
        }
    }

    pub(super) fn fence(&mut self, _clients: Clients, now: Time) {
        self.paused_until = 0;
        self.replicate_from(None, now);
    }

    fn replicate_from(&mut self, of: Option<usize>, now: Time) {
        if self.primary {
            self.primary = false;
            self.role_since = now;
        }
        self.plain = false;
        self.of = of;
        self.disconnect(now);
    }

    /// Loses the connection to its primary, and a copy that was on its way.
    pub(super) fn disconnect(&mut self, now: Time) {
        self.link = Link::Down;
        self.attachment = None;
        if !self.loading {
            self.copy = None;
        }
        self.stamp += 1;
        self.changed = now;
    }

    fn disconnect_replicas(&mut self) {
        self.stream += 1;
    }

    /// Whether this replica's connection to `primary` still exists.
    pub(super) fn is_attached_to(&self, primary: &Server) -> bool {
        let theirs = Attachment {
            run: primary.run,
            stream: primary.stream,
        };
        primary.process != Process::Dead && self.attachment == Some(theirs)
    }

    /// Connects or receives more from a primary that it reaches, `at_most` so many writes.
    pub(super) fn replicate(
        &mut self,
        primary: &mut Server,
        at_most: usize,
        fresh: u64,
        now: Time,
    ) -> Next {
        if !self.is_attached_to(primary) {
            if self.link != Link::Down {
                self.disconnect(now);
            }
            return self.connect(primary, fresh, now);
        }
        self.heard = now;
        if self.copy.is_some() {
            return Next::Copy;
        }
        let news = primary.data.after(self.data.offset());
        let taken = news.len().min(at_most);
        if taken > 0 {
            self.data.log.extend_from_slice(&news[..taken]);
            self.changed = now;
        }
        if taken < news.len() {
            Next::Pull
        } else {
            Next::Wait
        }
    }

    fn connect(&mut self, primary: &mut Server, fresh: u64, now: Time) -> Next {
        let serves = primary.primary || primary.of.is_some() && primary.link == Link::Up;
        if !serves || primary.loading {
            return Next::Retry;
        }
        self.changed = now;
        self.heard = now;
        if primary.can_continue(&self.data) {
            if self.data.id != primary.data.id {
                let data = std::mem::replace(&mut self.data, Data::empty(0));
                self.data = data.continued(primary.data.id);
                self.disconnect_replicas();
            }
            self.backlog.get_or_insert(self.data.offset());
            self.link = Link::Up;
        } else {
            if primary.backlog.is_none() {
                // The first replica begins a history without a past.
                primary.data.id = fresh;
                primary.data.previous = None;
                primary.backlog = Some(primary.data.offset());
            }
            self.link = Link::Syncing;
            self.copy = Some(primary.data.clone());
            self.disconnect_replicas();
        }
        self.attachment = Some(Attachment {
            run: primary.run,
            stream: primary.stream,
        });
        if self.copy.is_some() {
            Next::Copy
        } else {
            Next::Pull
        }
    }

    /// PSYNC's rule.
    fn can_continue(&self, theirs: &Data) -> bool {
        let (from, here) = (theirs.offset(), &self.data);
        let shared = match here.previous {
            Some((id, end)) if id == theirs.id => from < end,
            _ => here.id == theirs.id && from <= here.offset(),
        };
        shared && self.backlog.is_some_and(|start| from >= start)
    }

    /// What a full copy is about to put in place of the dataset, if one is on its way.
    pub(super) fn incoming(&self) -> Option<&Data> {
        self.copy.as_ref()
    }

    /// The copy has been transferred: the old dataset is dropped, the new one read.
    pub(super) fn begin_loading(&mut self, now: Time) {
        self.loading = true;
        self.data.drop_all();
        self.changed = now;
    }

    pub(super) fn end_loading(&mut self, now: Time) {
        self.loading = false;
        self.changed = now;
        if let Some(mut copy) = self.copy.take() {
            copy.previous = None;
            self.backlog = Some(copy.offset());
            self.data = copy;
            if self.attachment.is_some() {
                self.link = Link::Up;
            }
        }
    }
}

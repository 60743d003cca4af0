//! Decides: a pure state machine, see [`Core::step`].

#![deny(clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    Intent, Leadership, NodeId, Peer, Term,
    timestamp::{
        Flaw,
        config::Timing,
        mesh::{ConnectionId, Failure, Greeting, Mesh},
        message::{Address, Candidacy, Handover, Spell, State, Vote},
    },
};

mod duel;
mod follow;
mod tell;
#[cfg(test)]
mod tests;
mod vote;

/// A fact for the core.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Time has passed.
    Tick,
    /// What the application wants, and whether it has spoken in the vacancy last published.
    Intent { intent: Intent, spoke: bool },
    /// Where discovery says that members are, this one included or not.
    Members(BTreeSet<Address>),
    /// A connection is ready for use.
    Opened(Greeting),
    /// A snapshot came.
    Heard(ConnectionId, State),
    /// A connection has ended, by whichever side.
    Closed(ConnectionId),
    /// A dial came to nothing.
    Failed(Address, Failure),
    /// The application has left.
    Leave,
}

/// An order from the core.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Connect to this address, and report how that went.
    Dial(Address),
    /// Close this connection; to report it as closed is allowed and not needed.
    Close(ConnectionId),
    /// Send this to all, in place of what has not been sent yet.
    Broadcast(State),
    /// Tell the application who leads.
    Publish(Leadership),
    /// Tell the application who is there.
    PublishPeers(BTreeMap<NodeId, Peer>),
}

#[derive(Debug)]
pub(crate) struct Core {
    me: NodeId,
    timing: Timing,
    flaw: Option<Flaw>,
    mesh: Mesh,
    role: Role,
    intent: Intent,
    /// Since when the application stands without break.
    standing_since: Option<Instant>,
    highest: Term,
    /// The spell last followed or led: the next one has a higher term.
    last: Option<Spell>,
    /// While set, this member knows too little to judge a vote; the instant bounds its wait for the
    /// members that discovery names.
    forming: Option<Instant>,
    /// This member's resignation in favour of another, and until when that one has the right of way.
    handover: Option<(Handover, Instant)>,
    /// A leader that ended this term named this member its successor, until this instant.
    promise: Option<(Term, Instant)>,
    /// Since when two leaders are in sight.
    duel_since: Option<Instant>,
    leaving: bool,
    stepped: Instant,
    sequence: u64,
    sent: Option<(State, Instant)>,
    published: Leadership,
    published_peers: BTreeMap<NodeId, Peer>,
}

#[derive(Debug)]
enum Role {
    Vacant {
        since: Instant,
        spoke: bool,
        vote: Option<(Vote, Instant)>,
        /// The member whose judgement is waited for, and since when there is something to judge.
        waits: Option<(NodeId, Instant)>,
    },
    Following {
        spell: Spell,
        card: Bytes,
        source: Source,
        /// The leader itself was heard: if it is lost, this member knows.
        met: bool,
        /// Though nobody is heard to lead, the leader is held for the leader until then.
        hold: Option<Instant>,
    },
    Leading {
        term: Term,
    },
}

/// From whom this member hears that its leader leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Leader,
    Witness(NodeId),
    Nobody,
}

impl Core {
    pub(crate) fn new(me: NodeId, timing: Timing, now: Instant, flaw: Option<Flaw>) -> Self {
        Self {
            mesh: Mesh::new(me.clone(), timing, now, flaw),
            me,
            timing,
            flaw,
            role: Role::vacant(now),
            intent: Intent::default(),
            standing_since: None,
            highest: Term::default(),
            last: None,
            forming: Some(now + timing.form_timeout),
            handover: None,
            promise: None,
            duel_since: None,
            leaving: false,
            stepped: now,
            sequence: 0,
            sent: None,
            published: Leadership::Vacant,
            published_peers: BTreeMap::new(),
        }
    }

    /// Absorbs one fact, then decides from all that is known. `now` never goes back.
    #[must_use]
    pub(crate) fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = self.notice_stall(now);
        actions.extend(self.absorb(now, event));
        actions.extend(self.mesh.maintain(now));
        self.decide(now);
        actions.extend(self.broadcast(now));
        actions.extend(self.publish());
        actions
    }

    /// When to step next, at the latest.
    pub(crate) fn wake_at(&self) -> Instant {
        let heartbeat = match &self.sent {
            Some((_, at)) => *at + self.timing.heartbeat,
            None => self.stepped,
        };
        let hold = match &self.role {
            Role::Following { hold, .. } => *hold,
            Role::Vacant { .. } | Role::Leading { .. } => None,
        };
        let promised = self.promise.as_ref().map(|(_, until)| *until);
        let handed = self.handover.as_ref().map(|(_, until)| *until);
        // Votes and duels are bounded more loosely: a heartbeat is fine enough for them.
        [self.mesh.wake_at(), self.forming, hold, promised, handed]
            .into_iter()
            .flatten()
            .filter(|at| *at > self.stepped)
            .fold(heartbeat, Instant::min)
    }

    /// Whether it has a snapshot of another.
    #[cfg(test)]
    pub(crate) fn hears(&self, node: &NodeId) -> bool {
        self.mesh
            .link(node)
            .is_some_and(|link| link.state.is_some())
    }

    /// A process that was stopped must not act on what it knew before, and a leader not on a lease
    /// that has run out.
    fn notice_stall(&mut self, now: Instant) -> Vec<Action> {
        let gap = now.saturating_duration_since(self.stepped);
        self.stepped = now;
        if self.has(Flaw::IgnoresStalls) {
            return Vec::new();
        }
        let stalled = match self.lease() {
            Some(until) => now >= until,
            None => gap >= self.timing.lost_after / 2,
        };
        if !stalled {
            if gap >= self.timing.lost_after / 2 {
                self.mesh.excuse(now);
            }
            return Vec::new();
        }
        tracing::warn!(
            ?gap,
            "this process was stopped for long: it joins its group anew"
        );
        if matches!(self.role, Role::Leading { .. }) {
            self.vacate(now);
        }
        self.promise = None;
        self.forming = Some(now + self.timing.form_timeout);
        self.mesh.restart(now)
    }

    fn absorb(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Tick => {}
            Event::Intent { intent, spoke } => self.wish(now, intent, spoke),
            Event::Members(members) => self.mesh.name(now, members),
            Event::Opened(greeting) => {
                // A new connection begins with a fresh snapshot, as ages grow old on the way.
                self.sent = None;
                return self.mesh.open(now, greeting).into_iter().collect();
            }
            Event::Heard(connection, state) => return self.hear(now, connection, state),
            Event::Closed(connection) => self.mesh.close(now, connection),
            Event::Failed(address, failure) => self.mesh.fail(now, &address, failure),
            Event::Leave => {
                self.intent.candidacy = None;
                self.leaving = true;
            }
        }
        Vec::new()
    }

    fn wish(&mut self, now: Instant, intent: Intent, said: bool) {
        if intent.candidacy.is_none() || intent.resignations != self.intent.resignations {
            self.standing_since = None;
        }
        if intent.candidacy.is_some() {
            self.standing_since.get_or_insert(now);
        }
        if let Role::Leading { term } = self.role
            && intent.resignations != self.intent.resignations
            && !self.has(Flaw::LeadsOnAfterResignation)
        {
            self.resign(now, term, intent.successor.clone());
            if let Role::Vacant { spoke, .. } = &mut self.role {
                // Who resigns has said what it wants in the vacancy that this makes.
                *spoke = intent.candidacy.is_none();
            }
        } else if let Role::Vacant { spoke, .. } = &mut self.role {
            *spoke |= said;
        }
        self.intent = intent;
    }

    fn resign(&mut self, now: Instant, term: Term, successor: Option<NodeId>) {
        let successor = successor.filter(|node| {
            let there = self.mesh.link(node).is_some();
            if !there {
                tracing::warn!(%node, "the named successor is not there: all may stand");
            }
            there
        });
        let until = now + self.timing.handover_timeout;
        self.handover = successor.map(|successor| (Handover { term, successor }, until));
        self.vacate(now);
    }

    fn hear(&mut self, now: Instant, connection: ConnectionId, state: State) -> Vec<Action> {
        let Some(node) = self.mesh.hear(now, connection, state) else {
            return Vec::new();
        };
        let Some(state) = self.mesh.link(&node).and_then(|link| link.state.as_ref()) else {
            return Vec::new();
        };
        self.highest = self.highest.max(state.highest());
        let leaving = state.leaving;
        if let Some(handover) = state.handover.clone() {
            self.note_handover(now, &node, &handover);
        }
        if leaving {
            return self.mesh.part(now, &node);
        }
        Vec::new()
    }

    fn decide(&mut self, now: Instant) {
        self.handover.take_if(|(_, until)| now >= *until);
        self.promise.take_if(|(_, until)| now >= *until);
        if let Some(bound) = self.forming
            && self.mesh.is_fresh()
            && (now >= bound || self.mesh.is_complete())
        {
            self.forming = None;
        }
        self.watch_duel(now);
        if let Role::Leading { term } = self.role {
            self.keep_leading(now, term);
        }
        if !matches!(self.role, Role::Leading { .. }) {
            self.find_leader(now);
            self.take_promise();
        }
        if matches!(self.role, Role::Vacant { .. }) {
            self.vote(now);
        }
    }

    fn keep_leading(&mut self, now: Instant, term: Term) {
        if self.intent.candidacy.is_none() && !self.has(Flaw::LeadsOnAfterResignation) {
            self.vacate(now);
        } else if self.is_beaten(now, term) {
            tracing::info!(%term, "steps down for another leader");
            self.vacate(now);
        } else if let Some(term) = self.raised_term(now, term) {
            self.lead(term);
        }
    }

    fn lead(&mut self, term: Term) {
        tracing::info!(%term, "leads");
        self.role = Role::Leading { term };
        self.highest = self.highest.max(term);
        self.last = Some(Spell {
            term,
            leader: self.me.clone(),
        });
        self.forming = None;
        self.handover = None;
        self.promise = None;
        // The lease begins with the snapshot that says so.
        self.sent = None;
    }

    fn vacate(&mut self, now: Instant) {
        self.role = Role::vacant(now);
    }

    /// Until when this member may act as leader.
    fn lease(&self) -> Option<Instant> {
        let Role::Leading { .. } = self.role else {
            return None;
        };
        let sent = if self.has(Flaw::RenewsInSilence) {
            self.stepped
        } else {
            self.sent.as_ref()?.1
        };
        Some(sent + self.timing.lease())
    }

    /// What this member's candidacy is now, for comparison and for the others.
    fn candidacy(&self, now: Instant) -> Option<Candidacy> {
        let rank = self.intent.candidacy.clone()?;
        let age = now.saturating_duration_since(self.standing_since?);
        let age = if self.has(Flaw::IgnoresAge) {
            Duration::ZERO
        } else {
            age
        };
        Some(Candidacy { rank, age })
    }

    /// What another member's candidacy is now.
    fn candidacy_of(&self, now: Instant, node: &NodeId) -> Option<Candidacy> {
        let link = self.mesh.link(node)?;
        let Candidacy { rank, age } = link.state.as_ref()?.candidacy.clone()?;
        let age = age.saturating_add(now.saturating_duration_since(link.state_at));
        Some(Candidacy { rank, age })
    }

    fn has(&self, flaw: Flaw) -> bool {
        cfg!(test) && self.flaw == Some(flaw)
    }
}

impl Role {
    fn vacant(since: Instant) -> Self {
        Self::Vacant {
            since,
            spoke: false,
            vote: None,
            waits: None,
        }
    }
}

/// Whether the first of two candidates is to lead (safety rule 12): the higher rank, then the
/// greater age, then the smaller name.
fn is_better(a: (&Candidacy, &NodeId), b: (&Candidacy, &NodeId)) -> bool {
    let key = |(candidacy, node): (&Candidacy, &NodeId)| {
        (
            candidacy.rank.clone(),
            candidacy.age,
            std::cmp::Reverse(node.clone()),
        )
    };
    key(a) > key(b)
}

//! One member of a simulated world: its core behind a real seat, its application, and what must
//! hold of it alone.

use std::{collections::BTreeSet, time::Instant};

use super::{clock::Clock, peers::Round, queue::Reach, watch::Stream, world::Micros};
use crate::{
    Leadership, NodeId, Participant, Rank, Seat, Term,
    lease::{
        core::{Action, Core, Event, Now},
        shell::known_by,
    },
    seat,
};

/// A call that a process waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CallId(pub(super) u64);

pub(super) struct Node {
    pub(super) name: String,
    pub(super) clock: Clock,
    /// Counts the lives of its process.
    pub(super) life: u64,
    pub(super) stopped: bool,
    pub(super) inbox: Vec<Reach>,
    pub(super) wake: Micros,
    /// Whether its application wants to lead.
    pub(super) stands: bool,
    /// Its application answers that much later.
    pub(super) slow_to_speak: Micros,
    /// Whether it may watch.
    pub(super) watches: bool,
    /// Nothing of it reaches the API.
    pub(super) cut: bool,
    /// Whom its discovery knows.
    pub(super) roster: BTreeSet<usize>,
    /// Calls and writes that it has sent, and the ticks of the present second.
    pub(super) calls: u64,
    pub(super) writes: u64,
    pub(super) ticks: (Micros, u32),
    pub(super) running: Option<Running>,
}

pub(super) struct Running {
    pub(super) id: NodeId,
    core: Core,
    pub(super) seat: Seat,
    /// `None` once the application has left.
    pub(super) participant: Option<Participant>,
    pub(super) pending: Option<CallId>,
    pub(super) stream: Stream,
    pub(super) leadership: Leadership,
    /// Whether automatic failover is paused, as far as it knows.
    pub(super) paused: bool,
    /// The highest term that it has published.
    published: Term,
    /// When it sent the latest of its writes that was done, or began the latest round of questions
    /// that all confirmed.
    pub(super) renewed: Option<Instant>,
    /// The present round of questions.
    pub(super) round: Option<Round>,
}

impl Node {
    pub(super) fn new(name: String, clock: Clock) -> Self {
        Self {
            name,
            clock,
            life: 0,
            stopped: false,
            inbox: Vec::new(),
            wake: 0,
            stands: true,
            slow_to_speak: 0,
            watches: true,
            cut: false,
            roster: BTreeSet::new(),
            calls: 0,
            writes: 0,
            ticks: (0, 0),
            running: None,
        }
    }

    pub(super) fn start(&mut self, id: NodeId, core: Core) {
        let (participant, seat) = seat(id.member.clone().into());
        self.life += 1;
        self.stopped = false;
        self.wake = 0;
        self.running = Some(Running {
            id,
            core,
            seat,
            participant: Some(participant),
            pending: None,
            stream: Stream::default(),
            leadership: Leadership::Vacant,
            paused: false,
            published: Term::default(),
            renewed: None,
            round: None,
        });
    }

    pub(super) fn end(&mut self) {
        self.running = None;
        self.stopped = false;
        self.inbox.clear();
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn is_alive(&self, life: u64) -> bool {
        self.is_running() && self.life == life
    }

    /// Runs, and its application has not left.
    pub(super) fn takes_part(&self) -> bool {
        (self.running.as_ref()).is_some_and(|running| running.participant.is_some())
    }

    pub(super) fn id(&self) -> Option<NodeId> {
        self.running.as_ref().map(|running| running.id.clone())
    }

    pub(super) fn leadership(&self) -> Option<&Leadership> {
        self.running.as_ref().map(|running| &running.leadership)
    }

    /// The term that it leads, as its application was told last.
    pub(super) fn leads(&self) -> Option<Term> {
        match self.leadership() {
            Some(Leadership::Leading { term, .. }) => Some(*term),
            _ => None,
        }
    }

    /// Whether its application may act as leader at this time, by its own clock.
    pub(super) fn acts_at(&self, now: Micros) -> bool {
        match self.leadership() {
            Some(Leadership::Leading { until, .. }) => {
                until.is_none_or(|until| self.clock.at(now) < until)
            }
            _ => false,
        }
    }
}

impl Running {
    pub(super) fn step(&mut self, now: Now, event: Event) -> (Vec<Action>, Instant) {
        let actions = self.core.step(now, event);
        self.paused = self.core.paused();
        (actions, self.core.wake_at(now))
    }

    /// The application acts; answers what its backend hears of it.
    pub(super) fn wish(&mut self, act: impl FnOnce(&Participant)) -> Option<Event> {
        act(self.participant.as_ref()?);
        Some(self.wished())
    }

    /// The application says whether it stands.
    pub(super) fn speak(&mut self, stands: bool) -> Option<Event> {
        self.wish(|participant| {
            if stands {
                participant.campaign(Rank::default());
            } else {
                participant.resign(None);
            }
        })
    }

    pub(super) fn wished(&self) -> Event {
        let intent = self.seat.intent().borrow().clone();
        let spoke = intent.spoke_in == self.seat.vacancies();
        Event::Intent { intent, spoke }
    }

    /// Checks what must hold of what one member publishes, and publishes it. Answers the term of a
    /// spell that begins thereby.
    pub(super) fn publish(&mut self, next: Leadership, versions_order: bool) -> Option<Term> {
        let me = &self.id;
        let mut begins = None;
        if let Leadership::Leading { term, .. } = &next {
            let intent = self.seat.intent().borrow().clone();
            assert!(intent.candidacy.is_some(), "{me} leads and does not stand");
            assert!(self.participant.is_some(), "{me} leads and has left");
            let goes_on =
                matches!(self.leadership, Leadership::Leading { term: old, .. } if old == *term);
            if !goes_on {
                assert_eq!(self.leadership, Leadership::Vacant, "{me} leads by itself");
                assert_eq!(
                    intent.spoke_in,
                    self.seat.vacancies(),
                    "{me} leads and was not asked in this vacancy"
                );
                assert!(
                    self.published < *term,
                    "{me} leads under {term}, after {}",
                    self.published
                );
                begins = Some(*term);
            }
        }
        let term = next.term().unwrap_or(self.published);
        assert!(
            !versions_order || term >= self.published,
            "{me} went from term {} back to {next:?}",
            self.published
        );
        self.published = self.published.max(term);
        self.leadership = next.clone();
        self.seat.publish_peers(known_by(&next));
        self.seat.publish(next);
        begins
    }
}

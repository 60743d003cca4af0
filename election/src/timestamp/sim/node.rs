//! One member of a simulated world: its clock, its core behind a real seat, its application, and
//! what must hold of it alone.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::world::{Micros, Reach};
use crate::{
    Leadership, NodeId, Participant, Rank, Seat, Term, seat,
    timestamp::{
        Flaw,
        config::Timing,
        core::{Action, Core, Event},
        message::{Spell, State},
    },
};

/// A clock that starts anywhere and runs up to 3 % too fast or too slow.
pub(super) struct Clock {
    base: Instant,
    speed: f64,
}

impl Clock {
    pub(super) fn drifting(rng: &mut Rng) -> Self {
        let base = Instant::now() + Duration::from_secs(rng.u64(0..100_000));
        Self {
            base,
            speed: 0.97 + 0.06 * rng.f64(),
        }
    }

    /// Makes it neither fast nor slow; for a clock that nobody has read yet.
    pub(super) fn steady(&mut self) {
        self.speed = 1.0;
    }

    pub(super) fn at(&self, now: Micros) -> Instant {
        self.base + Duration::from_micros(now).mul_f64(self.speed)
    }

    pub(super) fn real(&self, at: Instant) -> Micros {
        let local = at.saturating_duration_since(self.base);
        // Rounded up, so that the time has come by this clock too.
        u64::try_from(local.div_f64(self.speed).as_micros()).expect("worlds are short") + 1
    }
}

pub(super) struct Node {
    pub(super) clock: Clock,
    /// Counts the lives of its process.
    pub(super) life: u64,
    pub(super) stopped: bool,
    pub(super) inbox: Vec<Reach>,
    pub(super) wake: Micros,
    /// The rank with which its application stands, if it is fit.
    pub(super) rank: Option<u8>,
    running: Option<Running>,
}

struct Running {
    id: NodeId,
    timing: Timing,
    core: Core,
    seat: Seat,
    participant: Participant,
    leadership: Leadership,
    /// The last spell that was published.
    last: Option<Spell>,
    last_led: Option<Term>,
    sent: Option<(State, Instant)>,
}

impl Node {
    pub(super) fn new(n: usize, clock: Clock) -> Self {
        Self {
            clock,
            life: 0,
            stopped: false,
            inbox: Vec::new(),
            wake: 0,
            rank: (n == 0).then_some(0),
            running: None,
        }
    }

    pub(super) fn start(
        &mut self,
        id: NodeId,
        timing: Timing,
        local: Instant,
        flaw: Option<Flaw>,
    ) -> u64 {
        let (participant, seat) = seat(id.member.clone().into());
        self.life += 1;
        self.stopped = false;
        self.wake = 0;
        self.running = Some(Running {
            core: Core::new(id.clone(), timing, local, flaw),
            id,
            timing,
            seat,
            participant,
            leadership: Leadership::Vacant,
            last: None,
            last_led: None,
            sent: None,
        });
        self.life
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

    pub(super) fn id(&self) -> Option<NodeId> {
        self.running.as_ref().map(|running| running.id.clone())
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.core.wake_at())
    }

    pub(super) fn step(&mut self, local: Instant, event: Event) -> Vec<Action> {
        match &mut self.running {
            Some(running) => running.core.step(local, event),
            None => Vec::new(),
        }
    }

    /// The application says whether it stands.
    pub(super) fn speak(&mut self) -> Event {
        let rank = self.rank;
        self.wish(|participant| match rank {
            Some(rank) => participant.campaign(Rank(vec![rank])),
            None => participant.resign(None),
        })
    }

    pub(super) fn wish(&mut self, act: impl FnOnce(&Participant)) -> Event {
        let running = self.running.as_ref().expect("only the living act");
        act(&running.participant);
        let intent = running.seat.intent().borrow().clone();
        let spoke = intent.spoke_in == running.seat.vacancies();
        Event::Intent { intent, spoke }
    }

    pub(super) fn note_sent(&mut self, local: Instant, state: &State) {
        assert!(state.is_sane());
        if let Some(running) = &mut self.running {
            running.sent = Some((state.clone(), local));
        }
    }

    pub(super) fn publish(&mut self, leadership: Leadership) {
        if let Some(running) = &mut self.running {
            running.check(&leadership);
            running.leadership = leadership.clone();
            running.seat.publish(leadership);
        }
    }

    pub(super) fn is_vacant(&self) -> bool {
        (self.running.as_ref()).is_some_and(|running| running.leadership == Leadership::Vacant)
    }

    /// The spell that it is in, led or followed.
    pub(super) fn spell(&self) -> Option<Spell> {
        let running = self.running.as_ref()?;
        running.spell(&running.leadership)
    }

    /// Whether its core has a snapshot of the other.
    pub(super) fn hears(&self, other: &Self) -> bool {
        let core = self.running.as_ref().map(|running| &running.core);
        core.zip(other.id())
            .is_some_and(|(core, other)| core.hears(&other))
    }

    pub(super) fn claims_to_lead(&self) -> bool {
        let leadership = self.running.as_ref().map(|running| &running.leadership);
        matches!(leadership, Some(Leadership::Leading { .. }))
    }

    /// Whether it may act as leader at this time, by its own clock.
    pub(super) fn leads_at(&self, now: Micros) -> bool {
        let local = self.clock.at(now);
        match self.running.as_ref().map(|running| &running.leadership) {
            Some(Leadership::Leading { until, .. }) => until.is_none_or(|until| local < until),
            _ => false,
        }
    }
}

impl Running {
    fn spell(&self, leadership: &Leadership) -> Option<Spell> {
        match leadership {
            Leadership::Vacant => None,
            Leadership::Following { leader, term, .. } => Some(Spell {
                term: *term,
                leader: leader.clone(),
            }),
            Leadership::Leading { term, .. } => Some(Spell {
                term: *term,
                leader: self.id.clone(),
            }),
        }
    }

    /// What must hold of what one member publishes, in any weather.
    fn check(&mut self, next: &Leadership) {
        let me = &self.id;
        if let Leadership::Leading { term, until } = next {
            let intent = self.seat.intent().borrow().clone();
            assert!(intent.candidacy.is_some(), "{me} leads and does not stand");
            let renews =
                matches!(self.leadership, Leadership::Leading { term: old, .. } if old == *term);
            assert!(
                renews || self.last_led < Some(*term),
                "{me} leads twice under {term}"
            );
            self.last_led = Some(*term);
            let sent = self.sent.as_ref().expect("a leader has said so").1;
            let until = until.expect("there is a lease");
            assert!(
                until <= sent + self.timing.lease(),
                "{me} renewed without a heartbeat"
            );
        }
        let Some(spell) = self.spell(next) else {
            return;
        };
        if let Some(last) = &self.last {
            assert!(
                last.term <= spell.term,
                "{me} went from {last:?} back to {spell:?}"
            );
            let same = last.leader == spell.leader;
            assert!(
                same || last.term < spell.term,
                "{me} saw two leaders under {}",
                last.term
            );
        }
        self.last = Some(spell);
    }
}

//! Tables: facts in, orders out.

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::{
    Rank,
    lease::{
        record::{UNKNOWN, WALL_LIMIT},
        status::Listing,
    },
};

mod failsafe;
mod failures;
mod leave;
mod others;
mod pauses;

const MS: Duration = Duration::from_millis(1);

const TIMING: Timing = Timing {
    lease_duration: Duration::from_secs(6),
    renew_deadline: Duration::from_secs(4),
    retry_period: Duration::from_secs(1),
    clock_drift: 0.05,
    jitter: 0.0,
};

/// The time of day when a table begins, by its core's clock.
const WALL: Wall = 1_700_000_000_000_000;

/// One core, named a, and an API that says what the test wants.
struct Table {
    core: Core,
    now: Instant,
    wall: Wall,
    intent: Intent,
    /// The call that it made last.
    call: Option<Call>,
}

impl Table {
    #[expect(
        clippy::disallowed_methods,
        reason = "some instant is needed to begin with"
    )]
    fn new() -> Self {
        let now = Instant::now();
        Self {
            core: Core::new(node("a"), TIMING, now, 7, None),
            now,
            wall: WALL,
            intent: Intent {
                card: "card".into(),
                ..Intent::default()
            },
            call: None,
        }
    }

    /// Has read this, and stands.
    fn standing(seen: Seen) -> Self {
        let mut table = Self::new();
        table.campaign();
        table.answer(seen);
        table
    }

    /// Leads under term 8, since now: version 11 says so.
    fn leading() -> Self {
        let mut table = Self::standing(present(10, released()));
        let write = table.call();
        assert_eq!(table.answer(done(11, &write)).len(), 1);
        assert_eq!(table.leads(), Some(Term(8)));
        table
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        let now = self.clocks();
        let actions = self.core.step(now, event);
        let wake_at = self.core.wake_at(now);
        assert!(
            wake_at > now.at || actions.contains(&Action::Done),
            "would be woken all the time, after {actions:?}"
        );
        for action in &actions {
            if let Action::Call(call) = action {
                self.call = Some(call.clone());
            }
        }
        actions
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.wall += Wall::try_from(time.as_micros()).unwrap();
        self.step(Event::Tick)
    }

    fn campaign(&mut self) -> Vec<Action> {
        self.intent.candidacy = Some(Rank::default());
        self.speak()
    }

    fn resign(&mut self, successor: Option<NodeId>) -> Vec<Action> {
        self.intent.candidacy = None;
        self.intent.resignations += 1;
        self.intent.successor = successor;
        self.speak()
    }

    fn speak(&mut self) -> Vec<Action> {
        let intent = self.intent.clone();
        self.step(Event::Intent {
            intent,
            spoke: true,
        })
    }

    fn answer(&mut self, seen: Seen) -> Vec<Action> {
        self.step(Event::Answered(Ok(seen)))
    }

    fn fail(&mut self, failure: Failure) -> Vec<Action> {
        self.step(Event::Answered(Err(failure)))
    }

    fn show(&mut self, seen: Seen) -> Vec<Action> {
        self.step(Event::Shown(seen))
    }

    /// What the call under way is for.
    fn calls(&self) -> Option<Purpose> {
        self.core.call.map(|call| call.purpose)
    }

    /// The call that it made last.
    fn call(&self) -> Call {
        self.call.clone().expect("it called")
    }

    fn leads(&self) -> Option<Term> {
        match self.core.published {
            Leadership::Leading { term, .. } => Some(term),
            _ => None,
        }
    }

    /// When the core does something by itself next, from now on.
    fn wakes_after(&self) -> Duration {
        self.core.wake_at(self.clocks()) - self.now
    }

    fn clocks(&self) -> Now {
        Now {
            at: self.now,
            wall: self.wall,
        }
    }
}

fn node(member: &str) -> NodeId {
    NodeId {
        member: member.into(),
        incarnation: Uuid::from_u128(1),
    }
}

fn me() -> Option<String> {
    Some(identity(&node("a")))
}

/// What b wrote last, as a leader of term 7.
fn held() -> Record {
    Record {
        holder: Some(identity(&node("b"))),
        duration: Duration::from_secs(6),
        acquired: Some(1),
        renewed: Some(2),
        transitions: 3,
        term: Some(Term(7)),
        claimant: Some(identity(&node("b"))),
        card: "b's card".into(),
        successor: None,
        last: Some("b".into()),
        paused: false,
        listed: None,
    }
}

/// What b left when it released the Lease.
fn released() -> Record {
    Record {
        holder: None,
        duration: Duration::from_secs(1),
        claimant: None,
        card: Bytes::new(),
        ..held()
    }
}

/// What is made where there was no Lease.
fn formed() -> Record {
    Record {
        duration: Duration::from_secs(6),
        claimant: Some(UNKNOWN.into()),
        ..Record::default()
    }
}

fn present(version: u64, record: Record) -> Seen {
    Seen::Present(Snapshot {
        version: Version(version.to_string()),
        object: "uid".into(),
        record: Box::new(record),
    })
}

/// The Lease after this call.
fn done(version: u64, call: &Call) -> Seen {
    present(version, written(call))
}

fn written(call: &Call) -> Record {
    match call {
        Call::Create(record) | Call::Write(_, record) => record.clone(),
        Call::Read => panic!("a read writes nothing"),
    }
}

fn write(version: u64, record: Record) -> Action {
    Action::Call(Call::Write(Some(Version(version.to_string())), record))
}

fn read() -> Action {
    Action::Call(Call::Read)
}

fn vacant() -> Action {
    Action::Publish(Leadership::Vacant)
}

fn follows_b() -> Action {
    Action::Publish(Leadership::Following {
        leader: node("b"),
        card: "b's card".into(),
        term: Term(7),
    })
}

fn leads(term: u64, until: Instant) -> Action {
    Action::Publish(Leadership::Leading {
        term: Term(term),
        until: Some(until),
    })
}

#[test]
fn at_first_it_looks_and_then_at_every_period() {
    let mut table = Table::new();
    assert_eq!(table.step(Event::Tick), [read()]);
    assert_eq!(table.answer(present(10, held())), [follows_b()]);
    assert_eq!(table.pass(999 * MS), []);
    assert_eq!(table.pass(MS), [read()]);
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut table = Table::new();
    table.campaign();
    let taken = Record {
        holder: me(),
        duration: TIMING.lease_duration,
        acquired: Some(WALL),
        renewed: Some(WALL),
        transitions: 4,
        term: Some(Term(8)),
        claimant: me(),
        card: "card".into(),
        successor: None,
        last: Some("a".into()),
        paused: false,
        listed: None,
    };
    assert_eq!(
        table.answer(present(10, released())),
        [write(10, taken.clone())]
    );
    // The lease counts from when it was asked for.
    let until = table.now + TIMING.renew_deadline;
    table.now += 700 * MS;
    assert_eq!(table.answer(present(11, taken)), [leads(8, until)]);
}

#[test]
fn nobody_leads_who_was_not_asked() {
    let mut table = Table::new();
    table.intent.candidacy = Some(Rank::default());
    let intent = table.intent.clone();
    let unasked = Event::Intent {
        intent,
        spoke: false,
    };
    assert_eq!(table.step(unasked), [read()]);
    assert_eq!(table.answer(present(10, released())), []);
    assert!(matches!(table.campaign()[..], [Action::Call(_)]));
    let mut table = Table::standing(present(10, held()));
    // Each vacancy is a new one.
    table.now += TIMING.lease_duration;
    let actions = table.step(Event::Tick);
    assert_eq!(actions[0], vacant());
    assert_eq!(table.answer(present(10, held())), []);
    assert!(matches!(
        table.campaign()[..],
        [Action::Call(Call::Write(..))]
    ));
}

#[test]
fn what_is_learnt_after_its_end_is_no_lease() {
    let mut table = Table::standing(present(10, released()));
    let write = table.call();
    table.now += TIMING.renew_deadline;
    let actions = table.answer(done(11, &write));
    assert_eq!(table.leads(), None);
    // It takes its own Lease up again, in another spell.
    let again = written(&write);
    let Some(Action::Call(Call::Write(_, record))) = actions.last() else {
        panic!("{actions:?}");
    };
    assert_eq!(record.term, Some(Term(9)));
    assert_eq!(record.transitions, again.transitions + 1);
}

#[test]
fn a_leader_renews_once_a_period() {
    let mut table = Table::leading();
    let before = written(&table.call());
    assert_eq!(table.pass(999 * MS), []);
    // Its clock is set back: what it writes still differs from all that was.
    table.wall = 5;
    table.now += MS;
    let renewed = Record {
        renewed: before.renewed.map(|time| time + 1),
        ..before
    };
    assert_eq!(table.step(Event::Tick), [write(11, renewed.clone())]);
    let until = table.now + TIMING.renew_deadline;
    assert_eq!(table.answer(present(12, renewed)), [leads(8, until)]);
    assert_eq!(table.wakes_after(), TIMING.retry_period);
}

#[test]
fn a_renewal_is_known_by_whatever_shows_it() {
    let mut table = Table::leading();
    table.pass(1000 * MS);
    let write = table.call();
    let until = table.now + TIMING.renew_deadline;
    // Somebody touched the Lease after it, and the watch is quicker than the answer.
    assert_eq!(table.show(done(13, &write)), [leads(8, until)]);
    assert_eq!(table.answer(done(12, &write)), []);
    assert_eq!(table.pass(1000 * MS).len(), 1);
    let write = table.call();
    let until = table.now + TIMING.renew_deadline;
    // Its answer is lost.
    table.now += 800 * MS;
    assert!(matches!(
        table.fail(Failure::Lost)[..],
        [Action::Call(Call::Write(..))]
    ));
    assert_eq!(table.fail(Failure::Conflict), [read()]);
    assert_eq!(table.answer(done(14, &write)), [leads(8, until)]);
}

#[test]
fn a_spell_ends_by_its_time_and_does_not_rise_again() {
    let mut table = Table::leading();
    table.pass(1000 * MS);
    let write = table.call();
    assert_eq!(table.pass(3000 * MS), [vacant()]);
    // Done after all; but the application was told, and has not answered.
    assert_eq!(table.answer(done(12, &write)), []);
    let actions = table.campaign();
    let [Action::Call(Call::Write(_, record))] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(record.term, Some(Term(9)), "a second spell");
}

#[test]
fn a_new_card_is_told_soon() {
    let mut table = Table::leading();
    // What came of the spell is told at once, for all others wait for that.
    table.intent.card = "it serves".into();
    assert_eq!(table.speak().len(), 1);
    let write = table.call();
    assert_eq!(written(&write).card, "it serves");
    table.answer(done(12, &write));
    table.intent.card = "news".into();
    assert_eq!(table.speak(), []);
    assert_eq!(table.wakes_after(), TIMING.retry_period / 4);
    assert_eq!(table.pass(250 * MS).len(), 1);
    assert_eq!(written(&table.call()).card, "news");
}

#[test]
fn a_resignation_releases_in_one_write() {
    let mut table = Table::leading();
    let free = Record {
        holder: None,
        duration: Duration::from_secs(1),
        acquired: Some(WALL),
        renewed: Some(WALL + 1),
        transitions: 4,
        term: Some(Term(8)),
        claimant: None,
        card: Bytes::new(),
        successor: Some(identity(&node("c"))),
        last: Some("a".into()),
        paused: false,
        listed: None,
    };
    let actions = table.resign(Some(node("c")));
    assert_eq!(actions, [vacant(), write(11, free.clone())]);
    // That it resigns again, when it is told so, does not take the successor back.
    assert_eq!(table.resign(None), []);
    table.fail(Failure::Conflict);
    let actions = table.answer(present(
        12,
        Record {
            holder: me(),
            claimant: me(),
            ..free
        },
    ));
    let [Action::Call(Call::Write(_, record))] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(record.successor, Some(identity(&node("c"))));
}

#[test]
fn a_resignation_waits_for_the_renewal_under_way() {
    let mut table = Table::leading();
    table.pass(1000 * MS);
    let renewal = table.call();
    assert_eq!(table.resign(None), [vacant()]);
    assert_eq!(table.answer(done(12, &renewal)).len(), 1);
    assert_eq!(table.calls(), Some(Purpose::Release));
    // A resignation counts, also if the application changed its mind since.
    table.campaign();
    let release = table.call();
    assert_eq!(table.answer(done(13, &release)).len(), 1);
    assert_eq!(table.calls(), Some(Purpose::Acquire(Term(9))));
}

#[test]
fn a_late_acquisition_that_nobody_wants_is_released() {
    let mut table = Table::standing(present(10, released()));
    let write = table.call();
    assert_eq!(table.fail(Failure::Lost), []);
    table.resign(None);
    assert_eq!(table.pass(250 * MS), [read()]);
    assert_eq!(table.answer(present(10, released())), []);
    assert_eq!(table.show(done(11, &write)).len(), 1);
    assert_eq!(table.calls(), Some(Purpose::Release));
}

#[test]
fn a_deleted_lease_is_formed_and_written_over_by_its_leader() {
    let mut table = Table::leading();
    let mine = written(&table.call());
    table.now += 500 * MS;
    let actions = table.show(Seen::Absent(Some(Version("12".into()))));
    assert_eq!(actions, [Action::Call(Call::Create(formed()))]);
    let until = table.now + TIMING.renew_deadline;
    let renewed = Record {
        acquired: None,
        renewed: mine.renewed.map(|time| time + 1),
        transitions: 0,
        ..mine
    };
    assert_eq!(
        table.answer(present(13, formed())),
        [write(13, renewed.clone())]
    );
    table.now += 10 * MS;
    assert_eq!(table.answer(present(14, renewed)), [leads(8, until)]);
}

#[test]
fn an_emptied_lease_is_written_over_by_its_leader() {
    let mut table = Table::leading();
    let emptied = Record {
        holder: None,
        ..written(&table.call())
    };
    assert_eq!(table.show(present(12, emptied)).len(), 1);
    assert_eq!(table.calls(), Some(Purpose::Renew(Term(8))));
    assert_eq!(table.leads(), Some(Term(8)));
}

#[test]
fn a_leader_stops_when_another_is_named() {
    for record in [held(), released()] {
        let mut table = Table::leading();
        table.show(present(12, record));
        assert_eq!(table.leads(), None);
    }
}

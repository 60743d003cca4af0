//! A group that is paused keeps its leader, or has none.

use super::*;

fn paused(record: Record) -> Record {
    Record {
        paused: true,
        ..record
    }
}

/// What a left, in an earlier life, when it released the Lease.
fn left_by_a() -> Record {
    Record {
        last: Some("a".into()),
        ..released()
    }
}

/// Whether a table that stands takes this once nobody can lead by it any more.
fn takes(record: Record) -> bool {
    let mut table = Table::standing(present(10, record.clone()));
    table.pass(TIMING.lease_duration);
    table.campaign();
    if table.calls().is_some_and(Purpose::is_look) {
        table.answer(present(10, record));
    }
    matches!(table.calls(), Some(Purpose::Acquire(_)))
}

#[test]
fn a_paused_lease_goes_to_who_held_it_or_was_named() {
    let other_life = |member: &str| {
        Some(identity(&NodeId {
            incarnation: Uuid::from_u128(2),
            ..node(member)
        }))
    };
    let held_by_a_before = Record {
        holder: other_life("a"),
        claimant: other_life("a"),
        last: Some("a".into()),
        ..held()
    };
    let left_to = |successor: &str| Record {
        successor: Some(successor.into()),
        ..released()
    };
    let cases = [
        ("released by another", released(), false),
        ("held by another, and run out", held(), false),
        ("never held", Record::default(), false),
        ("released by itself", left_by_a(), true),
        (
            "held by an earlier life, and run out",
            held_by_a_before,
            true,
        ),
        ("left to it", left_to(&identity(&node("a"))), true),
        ("left to it by name", left_to("a"), true),
        (
            "left to an earlier life",
            left_to(&other_life("a").unwrap()),
            true,
        ),
        ("left to another", left_to("c"), false),
        (
            "left to another, who has not come",
            Record {
                successor: Some("c".into()),
                ..left_by_a()
            },
            true,
        ),
    ];
    for (what, record, taken) in cases {
        assert_eq!(takes(paused(record.clone())), taken, "{what}");
        assert!(takes(record), "{what}, without a pause");
    }
}

#[test]
fn a_candidate_stands_on_and_takes_it_at_once_when_resumed() {
    let mut table = Table::standing(present(10, paused(held())));
    table.step(Event::Watch(true));
    table.show(present(10, paused(held())));
    table.pass(TIMING.lease_duration);
    assert_eq!(table.campaign(), []);
    // Its leader is gone for long, and nothing is to be done but to look now and then.
    for _ in 0..5 {
        table.answer(present(10, paused(held())));
        assert!(table.wakes_after() > TIMING.retry_period);
        table.pass(Duration::from_millis(2100));
        assert_eq!(table.calls(), Some(Purpose::Look { silence: true }));
    }
    table.answer(present(10, paused(held())));
    // That somebody resumes is no word of the leader's.
    assert_eq!(table.show(present(11, held())).len(), 1);
    assert_eq!(table.calls(), Some(Purpose::Acquire(Term(8))));
}

#[test]
fn a_pause_prolongs_no_lease() {
    let mut table = Table::standing(present(10, held()));
    let began = table.now;
    table.pass(1000 * MS);
    table.answer(present(11, paused(held())));
    assert_eq!(table.core.changed, began);
    assert!(table.core.paused());
}

#[test]
fn a_leader_leads_on_and_leaves_the_pause_as_it_is() {
    let mut table = Table::leading();
    let mine = written(&table.call());
    // Its renewal is upon an older version.
    table.pass(1000 * MS);
    assert_eq!(table.fail(Failure::Conflict), [read()]);
    table.answer(present(12, paused(mine)));
    assert_eq!(table.calls(), Some(Purpose::Renew(Term(8))));
    let renewal = table.call();
    assert!(written(&renewal).paused);
    table.answer(done(13, &renewal));
    assert_eq!(table.leads(), Some(Term(8)));
    table.resign(None);
    let release = table.call();
    assert!(written(&release).paused);
    assert_eq!(written(&release).last.as_deref(), Some("a"));
    table.answer(done(14, &release));
    // It may come back, and nobody else can.
    table.campaign();
    let again = written(&table.call());
    assert_eq!((again.holder, again.paused), (me(), true));
}

#[test]
fn a_pause_that_comes_first_wins() {
    let mut table = Table::standing(present(10, released()));
    assert_eq!(table.calls(), Some(Purpose::Acquire(Term(8))));
    assert_eq!(table.fail(Failure::Conflict), [read()]);
    assert_eq!(table.answer(present(11, paused(released()))), []);
    assert_eq!(table.calls(), None);
}

#[test]
fn a_lease_that_is_made_anew_is_not_paused() {
    let mut table = Table::standing(present(10, paused(held())));
    table.show(Seen::Absent(Some(Version("11".into()))));
    assert!(!table.core.paused());
    table.campaign();
    assert_eq!(written(&table.call()), formed());
}

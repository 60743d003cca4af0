//! Calls that come to nothing: how long to wait, and what to do first.

use super::*;

/// How long it waits after this failure before it calls again.
fn pause(table: &mut Table, failure: Failure) -> Duration {
    let failed = table.now;
    let actions = table.fail(failure);
    if table.calls().is_some() {
        assert_eq!(actions.len(), 1);
        return Duration::ZERO;
    }
    while table.calls().is_none() {
        let wait = table.wakes_after();
        table.pass(wait);
    }
    table.now - failed
}

#[test]
fn a_server_that_asks_to_wait_is_obeyed_within_bounds() {
    let seconds = |s| Some(Duration::from_secs(s));
    let cases = [
        (seconds(0), 250 * MS),
        (None, 250 * MS),
        (seconds(1), 1000 * MS),
        (seconds(600), TIMING.renew_deadline),
    ];
    for (wanted, wait) in cases {
        let mut table = Table::standing(present(10, released()));
        assert_eq!(pause(&mut table, Failure::Busy(wanted)), wait, "{wanted:?}");
        assert_eq!(table.calls(), Some(Purpose::Acquire(Term(8))));
    }
}

#[test]
fn a_leader_tries_once_more_before_its_lease_ends() {
    for failure in [
        Failure::Busy(Some(Duration::from_secs(600))),
        Failure::Denied,
    ] {
        let mut table = Table::leading();
        table.pass(1000 * MS);
        let mut tries = 0;
        while table.leads().is_some() {
            assert!(pause(&mut table, failure) <= 2000 * MS);
            tries += 1;
        }
        assert!(tries >= 3, "{failure:?}: {tries}");
    }
}

#[test]
fn who_is_denied_waits_for_people() {
    let mut table = Table::standing(present(10, released()));
    let wait = pause(&mut table, Failure::Denied);
    assert_eq!(wait, TIMING.retry_period * 10);
    let mut table = Table::leading();
    table.pass(1000 * MS);
    assert_eq!(pause(&mut table, Failure::Denied), TIMING.retry_period);
}

#[test]
fn rows_of_failures_are_drawn_out() {
    let mut table = Table::standing(present(10, released()));
    let busy = Failure::Busy(None);
    let pauses: Vec<_> = (0..7)
        .map(|_| pause(&mut table, busy).as_millis())
        .collect();
    assert_eq!(pauses, [250, 250, 250, 500, 1000, 1000, 1000]);
}

#[test]
fn a_conflict_is_looked_at_at_once_but_not_for_ever() {
    let mut table = Table::standing(present(10, released()));
    let mut pauses = Vec::new();
    for _ in 0..7 {
        assert_eq!(table.calls(), Some(Purpose::Acquire(Term(8))));
        pauses.push(pause(&mut table, Failure::Conflict).as_millis());
        assert_eq!(table.calls(), Some(Purpose::Look { silence: false }));
        // That it may be read does not end the row.
        table.answer(present(10, released()));
    }
    assert_eq!(pauses, [0, 125, 250, 500, 1000, 1000, 1000]);
}

#[test]
fn a_race_that_was_lost_is_not_held_against_the_next_one() {
    let mut table = Table::standing(present(10, released()));
    for version in [20, 30, 40] {
        assert_eq!(pause(&mut table, Failure::Conflict), Duration::ZERO);
        let winner = Record {
            renewed: Some(version),
            ..held()
        };
        let version = version.unsigned_abs();
        table.answer(present(version, winner));
        table.show(present(version + 1, released()));
        table.campaign();
        assert!(matches!(table.calls(), Some(Purpose::Acquire(_))));
    }
}

#[test]
fn an_outage_is_not_held_against_a_conflict() {
    let mut table = Table::standing(present(10, released()));
    for _ in 0..6 {
        pause(&mut table, Failure::Busy(None));
    }
    assert_eq!(pause(&mut table, Failure::Conflict), Duration::ZERO);
}

#[test]
fn what_may_have_been_done_is_looked_at_before_the_next_write() {
    let mut table = Table::standing(present(10, released()));
    pause(&mut table, Failure::Conflict);
    assert_eq!(table.calls(), Some(Purpose::Look { silence: false }));
    // What was lost is repeated as it is, but not for ever.
    let mut table = Table::standing(present(10, released()));
    pause(&mut table, Failure::Lost);
    assert_eq!(table.calls(), Some(Purpose::Acquire(Term(8))));
    pause(&mut table, Failure::Lost);
    assert_eq!(table.calls(), Some(Purpose::Look { silence: false }));
    // What the watch showed meanwhile tells as much.
    let mut table = Table::standing(present(10, released()));
    table.show(present(11, held()));
    assert_eq!(table.fail(Failure::Conflict), []);
    // A lost renewal is repeated: with or without it, the Lease names the leader.
    let mut table = Table::leading();
    table.pass(1000 * MS);
    table.now += 800 * MS;
    assert_eq!(pause(&mut table, Failure::Lost), Duration::ZERO);
    assert_eq!(table.calls(), Some(Purpose::Renew(Term(8))));
}

#[test]
fn a_wait_for_an_answer_counts() {
    let mut table = Table::standing(present(10, released()));
    table.now += 200 * MS;
    assert_eq!(pause(&mut table, Failure::Lost), 50 * MS);
}

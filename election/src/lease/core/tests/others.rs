//! What others wrote, and when it may be written over.

use super::*;

/// How long a table that stands waits before it writes over this; without a watch, looking at it.
fn waits(record: &Record) -> Duration {
    let mut table = Table::new();
    let began = table.now;
    let mut actions = table.campaign();
    while table.now < began + Duration::from_secs(60) {
        if matches!(actions[..], [Action::Call(Call::Write(..))]) {
            return table.now - began;
        }
        actions = if actions.contains(&vacant()) {
            table.campaign()
        } else if table.calls().is_some() {
            table.answer(present(10, record.clone()))
        } else {
            let wait = table.wakes_after();
            table.pass(wait)
        };
    }
    panic!("waits for ever");
}

#[test]
fn each_lease_is_waited_for_in_its_own_way() {
    let seconds = Duration::from_secs;
    let b = || Some(identity(&node("b")));
    let cases = [
        ("released", released(), seconds(0)),
        ("held", held(), seconds(6)),
        ("made where there was none", formed(), seconds(6)),
        ("made beforehand by people", Record::default(), seconds(0)),
        (
            "emptied by hand",
            Record {
                holder: None,
                ..held()
            },
            seconds(6),
        ),
        (
            "released by client-go, which leaves the last claimant",
            Record {
                holder: None,
                duration: seconds(1),
                ..held()
            },
            seconds(1),
        ),
        (
            "held by client-go",
            Record {
                holder: Some("controller-7d9f".into()),
                duration: seconds(15),
                term: None,
                claimant: None,
                ..held()
            },
            seconds(15),
        ),
        (
            "held for no time at all",
            Record {
                duration: Duration::ZERO,
                ..held()
            },
            seconds(6),
        ),
        (
            "made out to this member by hand",
            Record {
                holder: me(),
                ..held()
            },
            seconds(6),
        ),
        (
            "left to this member",
            Record {
                successor: me(),
                ..released()
            },
            seconds(0),
        ),
        (
            "left to this member, by its name alone",
            Record {
                successor: Some("a".into()),
                ..released()
            },
            seconds(0),
        ),
        (
            "left to another",
            Record {
                successor: b(),
                ..released()
            },
            seconds(1),
        ),
        (
            "left to another life of this member",
            Record {
                successor: Some(identity(&NodeId {
                    incarnation: Uuid::from_u128(2),
                    ..node("a")
                })),
                ..released()
            },
            seconds(1),
        ),
    ];
    for (what, record, wait) in cases {
        assert_eq!(waits(&record), wait, "{what}");
    }
}

#[test]
fn only_what_changes_shows_life() {
    let mut table = Table::standing(present(10, held()));
    let began = table.now;
    table.pass(1000 * MS);
    // Somebody else moved the version.
    table.answer(present(11, held()));
    table.pass(1000 * MS);
    assert_eq!(table.core.changed, began);
    let renewed = Record {
        renewed: Some(3),
        ..held()
    };
    table.answer(present(12, renewed.clone()));
    assert_eq!(table.core.changed, table.now);
    // Deleted and made again, it is another one.
    table.pass(1000 * MS);
    table.answer(Seen::Present(Snapshot {
        version: Version("14".into()),
        object: "another uid".into(),
        record: Box::new(renewed),
    }));
    assert_eq!(table.core.changed, table.now);
}

#[test]
fn a_take_over_looks_no_further_than_it_has_to() {
    let mut table = Table::standing(present(10, held()));
    table.step(Event::Watch(true));
    table.show(present(
        11,
        Record {
            renewed: Some(9),
            ..held()
        },
    ));
    // The watch is given time; then it is looked at whether it still works.
    assert_eq!(table.pass(2099 * MS), []);
    assert_eq!(table.pass(MS), [read()]);
    assert_eq!(
        table.answer(present(
            11,
            Record {
                renewed: Some(9),
                ..held()
            }
        )),
        []
    );
    table.pass(2100 * MS);
    let missed = Record {
        renewed: Some(10),
        ..held()
    };
    assert_eq!(table.answer(present(12, missed)), [Action::Rewatch]);
}

/// The term under which this Lease is taken, when it is free.
fn next_term(version: &str, term: Option<u64>, highest: u64) -> Option<Term> {
    let mut table = Table::new();
    table.core.highest = Term(highest);
    table.campaign();
    let actions = table.answer(Seen::Present(Snapshot {
        version: Version(version.into()),
        object: "uid".into(),
        record: Box::new(Record {
            term: term.map(Term),
            ..released()
        }),
    }));
    match &actions[..] {
        [Action::Call(Call::Write(_, record))] => record.term,
        _ => panic!("{actions:?}"),
    }
}

#[test]
fn terms_grow() {
    // By one, over what the Lease says and over all that was seen.
    assert_eq!(next_term("900", Some(7), 0), Some(Term(8)));
    assert_eq!(next_term("900", Some(7), 20), Some(Term(21)));
    // A Lease without one is new: versions have outlived the old one.
    assert_eq!(next_term("900", None, 20), Some(Term(900)));
    assert_eq!(next_term("900", None, 1000), Some(Term(1001)));
    // Versions need not be numbers.
    assert_eq!(next_term("x900", None, 20), Some(Term(21)));
}

#[test]
fn what_makes_no_sense_does_no_harm() {
    let mut table = Table::standing(present(
        10,
        Record {
            renewed: Some(WALL_LIMIT),
            acquired: Some(Wall::MAX),
            transitions: i32::MAX,
            ..released()
        },
    ));
    let write = table.call();
    let record = written(&write);
    assert_eq!(record.transitions, i32::MAX);
    assert!(
        record.renewed < Some(WALL + 10),
        "no step out of the calendar"
    );
    table.answer(done(11, &write));
    assert_eq!(table.leads(), Some(Term(8)));
    let table = Table::standing(present(
        10,
        Record {
            transitions: -5,
            ..released()
        },
    ));
    assert_eq!(written(&table.call()).transitions, 1);
}

#[test]
fn another_program_is_followed_as_it_is_named() {
    let mut table = Table::new();
    table.step(Event::Tick);
    let other = Record {
        holder: Some("controller-7d9f".into()),
        ..held()
    };
    let followed = |term| {
        Action::Publish(Leadership::Following {
            leader: NodeId {
                member: "controller-7d9f".into(),
                incarnation: Uuid::nil(),
            },
            card: Bytes::new(),
            term: Term(term),
        })
    };
    // The card is the former claimant's, and not this one's.
    assert_eq!(table.answer(present(10, other.clone())), [followed(7)]);
    let termless = Record {
        term: None,
        renewed: Some(5),
        ..other
    };
    table.step(Event::Watch(true));
    assert_eq!(table.show(present(11, termless)), [], "no step back");
}

#[test]
fn an_old_event_is_no_news() {
    let mut table = Table::standing(present(10, held()));
    assert_eq!(table.show(present(9, released())), []);
    let actions = table.show(present(11, released()));
    assert_eq!(actions, [vacant()]);
    // During a call, too: what the answer tells may be older than what the watch told.
    let mut table = Table::new();
    table.campaign();
    assert_eq!(table.show(present(12, held())), [follows_b()]);
    assert_eq!(table.answer(present(11, released())), []);
    // What a watch tells late of a Lease that is gone does not bring it back.
    let mut table = Table::leading();
    table.show(Seen::Absent(Some(Version("12".into()))));
    assert_eq!(table.show(present(11, held())), []);
    assert_eq!(table.leads(), Some(Term(8)));
}

#[test]
fn what_cannot_be_ordered_is_looked_at() {
    let opaque = |version: &str, record| {
        Seen::Present(Snapshot {
            version: Version(version.into()),
            object: "uid".into(),
            record: Box::new(record),
        })
    };
    let mut table = Table::standing(opaque("x", held()));
    table.pass(1000 * MS);
    assert_eq!(table.show(opaque("y", released())), []);
    assert_eq!(table.answer(opaque("x", held())), [read()], "is it so?");
    assert_eq!(table.answer(opaque("y", released())), [vacant()]);
}

#[test]
fn who_is_not_listed_waits_for_who_is() {
    let listed = |names: &str| Record {
        listed: Some(record::read_list(names)),
        ..held()
    };
    let mut table = Table::standing(present(10, listed("b,c")));
    let listing = |table: &Table| table.core.listing(table.clocks());
    assert_eq!(listing(&table), Listing::Unlisted);
    for second in 1..=20 {
        assert_ne!(table.pass(1000 * MS).first(), Some(&vacant()));
        if table.calls().is_some() {
            assert_eq!(table.answer(present(10, listed("b,c"))), []);
        }
        let ran_out = second >= 6;
        assert_eq!(listing(&table) == Listing::Stranded, ran_out, "{second}");
    }
    // Nor if somebody emptied it by hand: its holder may not know.
    let emptied = Record {
        holder: None,
        ..listed("b,c")
    };
    assert_eq!(table.show(present(11, emptied)), [vacant()]);
    table.campaign();
    for _ in 0..20 {
        let actions = table.pass(1000 * MS);
        assert!(!matches!(
            actions.as_slice(),
            [Action::Call(Call::Write(..))]
        ));
        if table.calls().is_some() {
            table.fail(Failure::Lost);
        }
    }
    // A release ends the wait.
    let released = Record {
        listed: Some(record::read_list("b,c")),
        ..released()
    };
    table.pass(1000 * MS);
    if table.calls().is_some() {
        table.fail(Failure::Lost);
    }
    table.show(present(12, released));
    assert_eq!(listing(&table), Listing::Open);
    while table.calls() != Some(Purpose::Acquire(Term(8))) {
        assert!(table.wakes_after() <= TIMING.retry_period * 2);
        let wait = table.wakes_after();
        table.pass(wait);
    }
    // Who is listed takes it as ever.
    let mut table = Table::standing(present(10, listed("a,b")));
    table.pass(3000 * MS);
    table.answer(present(10, listed("a,b")));
    assert_eq!(table.pass(3000 * MS)[0], vacant());
    assert_eq!(listing(&table), Listing::Open);
}

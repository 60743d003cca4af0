//! Failsafe: who is asked, what is promised, and what comes of it.

use super::*;
use crate::lease::failsafe::Refusal;

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Leads under term 8 in version 12, which lists these, since now; all calls are answered.
fn listing(members: &[&str]) -> Table {
    let mut table = Table::leading();
    table.step(Event::Members(names(members)));
    let wait = table.wakes_after();
    table.pass(wait);
    let write = table.call();
    let listed = written(&write).listed.expect("it lists them");
    assert_eq!(listed, &names(members) | &names(&["a"]));
    table.answer(done(12, &write));
    table
}

/// The same when the next renewal has failed; whom it asks in the first round.
fn asking(members: &[&str]) -> (Table, BTreeSet<String>) {
    let mut table = listing(members);
    table.pass(TIMING.retry_period);
    let asked = asked(&table.fail(Failure::Lost)).expect("it asks at once");
    assert_eq!(asked.0, 1);
    (table, asked.1)
}

/// The round that begins, and whom it asks.
fn asked(actions: &[Action]) -> Option<(u64, BTreeSet<String>)> {
    actions.iter().find_map(|action| match action {
        Action::Ask(round, ask, members) => {
            assert_eq!(
                (&ask.leader, ask.promise),
                (&node("a"), TIMING.lease_duration)
            );
            Some((*round, members.clone()))
        }
        _ => None,
    })
}

fn until(table: &Table) -> Instant {
    match table.core.published {
        Leadership::Leading { until, .. } => until.expect("a lease has an end"),
        _ => panic!("it does not lead"),
    }
}

fn confirm(table: &mut Table, round: u64, member: &str) -> Vec<Action> {
    table.step(Event::Confirmed(round, member.into()))
}

/// What b, who leads under this term, is answered.
fn answer(table: &mut Table, term: u64) -> Verdict {
    let ask = Ask {
        leader: node("b"),
        term: Term(term),
        card: "b's card".into(),
        promise: TIMING.lease_duration,
    };
    let actions = table.step(Event::Asked(ask));
    let [Action::Answer(verdict), ..] = actions.as_slice() else {
        panic!("it is answered at once: {actions:?}")
    };
    *verdict
}

/// Lets time pass while the API is away.
fn alone(table: &mut Table, time: Duration) -> Vec<Action> {
    let end = table.now + time;
    let mut done = Vec::new();
    loop {
        let wait = table.wakes_after().min(end - table.now);
        done.extend(table.pass(wait));
        if table.calls().is_some() {
            done.extend(table.fail(Failure::Lost));
        }
        if table.now == end {
            return done;
        }
    }
}

#[test]
fn a_leader_lists_whom_it_may_have_to_ask() {
    let mut table = listing(&["b", "c"]);
    // A new member is listed soon, and nothing is written meanwhile.
    table.step(Event::Members(names(&["b", "c", "d"])));
    assert_eq!(table.calls(), None);
    table.pass(TIMING.retry_period / 4);
    let write = table.call();
    assert_eq!(written(&write).listed, Some(names(&["a", "b", "c", "d"])));
    table.answer(done(13, &write));
    // A release leaves no list: nobody leads whom anybody could confirm.
    table.resign(None);
    assert_eq!(written(&table.call()).listed, None);
}

#[test]
fn who_knows_of_nobody_else_lists_nobody() {
    for members in [&[][..], &["a"], &["b,c"], &["b", ""], &[" b"]] {
        let mut table = Table::leading();
        table.step(Event::Members(names(members)));
        table.pass(TIMING.retry_period);
        assert_eq!(written(&table.call()).listed, None, "{members:?}");
        assert_eq!(asked(&table.fail(Failure::Lost)), None);
    }
}

#[test]
fn a_round_that_all_confirm_counts_from_its_beginning() {
    let (mut table, members) = asking(&["b", "c"]);
    assert_eq!(members, names(&["b", "c"]));
    let (begun, before, write) = (table.now, until(&table), table.call());
    alone(&mut table, 300 * MS);
    confirm(&mut table, 1, "b");
    assert_eq!(until(&table), before);
    alone(&mut table, 300 * MS);
    confirm(&mut table, 1, "c");
    let lasts = begun + TIMING.renew_deadline;
    assert_eq!(until(&table), lasts);
    // The next round begins a retry period after this one, and not before.
    assert_eq!(asked(&alone(&mut table, 399 * MS)), None);
    let next = asked(&alone(&mut table, MS));
    assert_eq!(next.map(|(round, _)| round), Some(2));
    // That an earlier renewal was done takes nothing back.
    table.show(done(13, &write));
    assert_eq!(until(&table), lasts);
    // When the API acknowledges again, nobody is asked any more.
    while table.calls().is_none() {
        let wait = table.wakes_after();
        table.pass(wait);
    }
    let write = table.call();
    table.answer(done(14, &write));
    assert_eq!(until(&table), table.now + TIMING.renew_deadline);
    let status = table.core.confirming(table.now).expect("it is on");
    assert!(!status.asking && status.silent.is_empty());
    assert_eq!(asked(&table.pass(1000 * MS)), None);
}

#[test]
fn one_who_is_silent_ends_it() {
    let (mut table, _) = asking(&["b", "c"]);
    let lasts = until(&table);
    confirm(&mut table, 1, "b");
    // What was confirmed in one round is no part of the next.
    alone(&mut table, 1000 * MS);
    let silent = table.core.confirming(table.now).map(|it| it.silent);
    assert_eq!(silent, Some(vec!["c".into()]));
    confirm(&mut table, 2, "c");
    confirm(&mut table, 1, "c");
    assert_eq!(until(&table), lasts);
    let left = lasts - table.now;
    assert!(alone(&mut table, left).contains(&vacant()));
    // A spell that is over does not rise again.
    assert!(confirm(&mut table, 2, "b").is_empty());
    assert_eq!(asked(&alone(&mut table, 3000 * MS)), None);
}

#[test]
fn whoever_may_be_listed_is_asked() {
    // By the list that was acknowledged, and by those of which that is not known.
    let mut table = listing(&["b", "c"]);
    table.step(Event::Members(names(&["b", "d"])));
    table.pass(TIMING.retry_period / 4);
    let (_, members) = asked(&table.fail(Failure::Lost)).expect("it asks");
    assert_eq!(members, names(&["b", "c", "d"]));
    // When the watch shows which it is, that counts.
    let write = table.call();
    table.show(done(13, &write));
    table.step(Event::Members(names(&["b", "d"])));
    let next = alone(&mut table, 1000 * MS);
    assert_eq!(
        asked(&next).map(|(_, members)| members),
        Some(names(&["b", "d"]))
    );
    // With a write that lists nobody, anybody may take the Lease.
    table.step(Event::Members(names(&[])));
    assert_eq!(asked(&alone(&mut table, 2000 * MS)), None);
}

#[test]
fn a_conflict_or_another_holder_makes_nobody_ask() {
    let mut table = listing(&["b", "c"]);
    table.pass(TIMING.retry_period);
    assert_eq!(asked(&table.fail(Failure::Conflict)), None);
    let (mut table, _) = asking(&["b", "c"]);
    let other = Record {
        term: Some(Term(9)),
        ..held()
    };
    assert!(matches!(
        table.show(present(13, other)).as_slice(),
        [Action::Publish(Leadership::Following { .. }), ..]
    ));
    assert!(confirm(&mut table, 1, "b").is_empty());
    assert!(confirm(&mut table, 1, "c").is_empty());
    assert_eq!(table.leads(), None);
}

#[test]
fn a_promise_keeps_the_lease_from_its_giver() {
    let mut table = Table::standing(present(10, held()));
    alone(&mut table, 5000 * MS);
    assert_eq!(answer(&mut table, 7), Verdict::Confirmed);
    let given = table.now;
    // The Lease runs out, the leader is followed.
    let done = alone(&mut table, 5999 * MS);
    assert!(
        done.iter()
            .all(|action| matches!(action, Action::Call(Call::Read))),
        "{done:?}"
    );
    assert!(matches!(table.core.published, Leadership::Following { .. }));
    // The promise is renewed by the next question, and ends.
    assert_eq!(answer(&mut table, 7), Verdict::Confirmed);
    alone(&mut table, 5999 * MS);
    assert_eq!(alone(&mut table, MS)[0], vacant());
    assert_eq!(table.now, given + 2 * 5999 * MS + MS);
    if table.calls().is_some() {
        table.fail(Failure::Lost);
    }
    table.campaign();
    let done = alone(&mut table, 2000 * MS);
    let takes = |action: &Action| matches!(action, Action::Call(Call::Write(..)));
    assert!(done.iter().any(takes), "{done:?}");
}

#[test]
fn who_knows_nothing_confirms_and_follows() {
    let mut table = Table::new();
    table.campaign();
    table.fail(Failure::Lost);
    assert_eq!(answer(&mut table, 7), Verdict::Confirmed);
    assert_eq!(
        table.core.published,
        Leadership::Following {
            leader: node("b"),
            card: "b's card".into(),
            term: Term(7),
        }
    );
}

/// The port is open to whoever reaches it.
#[test]
fn who_hears_of_the_lease_follows_its_holder_and_not_who_asks() {
    let mut table = Table::standing(present(10, held()));
    let holder = table.core.published.clone();
    let ask = Ask {
        leader: node("stranger"),
        term: Term(8),
        card: "elsewhere".into(),
        promise: TIMING.lease_duration,
    };
    let follows = |table: &Table| match &table.core.published {
        Leadership::Following { leader, .. } => leader.member.clone(),
        other => panic!("{other:?}"),
    };
    // It may be true, so it is confirmed; the API would say so by and by.
    for version in 11..14 {
        let said = table.step(Event::Asked(ask.clone()));
        assert_eq!(said[0], Action::Answer(Verdict::Confirmed));
        assert_eq!(table.core.published, holder);
        alone(&mut table, 3000 * MS);
        let renewed = Record {
            renewed: Some(version),
            ..held()
        };
        table.show(present(version as u64, renewed));
    }
    assert_eq!(follows(&table), "b");
    // Without the API, whoever asks knows more.
    for (time, leader) in [(2000, "b"), (2000, "b"), (2000, "stranger")] {
        table.step(Event::Asked(ask.clone()));
        alone(&mut table, time * MS);
        assert_eq!(follows(&table), leader);
    }
    // Nobody goes back.
    table.show(present(14, held()));
    assert_eq!(follows(&table), "stranger");
}

#[test]
fn a_release_ends_a_promise() {
    let mut table = Table::standing(present(10, held()));
    assert_eq!(answer(&mut table, 7), Verdict::Confirmed);
    assert_eq!(table.show(present(11, released())), [vacant()]);
    table.campaign();
    assert_eq!(table.calls(), Some(Purpose::Acquire(Term(8))));
    // Not an earlier one: that leader has taken the Lease since.
    let mut table = Table::standing(present(10, held()));
    assert_eq!(answer(&mut table, 9), Verdict::Confirmed);
    table.show(present(11, released()));
    assert_eq!(table.calls(), None);
    assert!(matches!(
        table.core.published,
        Leadership::Following { term: Term(9), .. }
    ));
}

#[test]
fn who_knows_better_refuses() {
    let superseded = |term| Verdict::Refused(Refusal::Superseded(Term(term)));
    let mut table = Table::leading();
    assert_eq!(answer(&mut table, 9), Verdict::Refused(Refusal::Leads));
    let mut table = Table::standing(present(10, held()));
    assert_eq!(answer(&mut table, 6), superseded(7));
    assert_eq!(answer(&mut table, 7), Verdict::Confirmed);
    assert_eq!(answer(&mut table, 6), superseded(7));
    let others = Record {
        holder: Some(identity(&node("c"))),
        ..held()
    };
    for record in [others, released()] {
        let mut table = Table::new();
        table.step(Event::Tick);
        table.answer(present(10, record));
        assert_eq!(answer(&mut table, 7), superseded(7));
    }
}

#[test]
fn who_is_taking_the_lease_does_not_promise_it_away() {
    let mut table = Table::standing(present(10, held()));
    alone(&mut table, 6000 * MS);
    if table.calls().is_some() {
        table.fail(Failure::Lost);
    }
    table.campaign();
    while !matches!(table.calls(), Some(Purpose::Acquire(_))) {
        let wait = table.wakes_after();
        table.pass(wait);
        if table.calls() == Some(Purpose::Look { silence: true }) {
            table.fail(Failure::Lost);
        }
    }
    assert_eq!(answer(&mut table, 7), Verdict::Refused(Refusal::Takes));
    table.fail(Failure::Lost);
    assert_eq!(answer(&mut table, 7), Verdict::Refused(Refusal::Takes));
    // A later leader has written over what that write names: it comes to nothing, and is not waited
    // for any more.
    assert_eq!(answer(&mut table, 8), Verdict::Confirmed);
    let mine = Record {
        holder: me(),
        claimant: me(),
        renewed: written(&table.call()).renewed,
        term: Some(Term(8)),
        ..held()
    };
    table.show(present(11, mine));
    assert_eq!(table.leads(), None);
}

//! An application that leaves, in each state.

use super::*;

#[test]
fn who_knows_nothing_is_done_when_its_look_has_ended() {
    let mut table = Table::new();
    table.step(Event::Tick);
    assert_eq!(table.step(Event::Leave), []);
    assert_eq!(table.fail(Failure::Lost), [Action::Done]);
}

#[test]
fn who_follows_is_done_at_once() {
    let mut table = Table::standing(present(10, held()));
    assert_eq!(table.step(Event::Leave), [Action::Done]);
}

#[test]
fn who_waits_in_a_vacancy_is_done_at_once() {
    let mut table = Table::standing(present(10, formed()));
    assert_eq!(table.step(Event::Leave), [Action::Done]);
}

#[test]
fn who_leads_releases() {
    let mut table = Table::leading();
    let actions = table.step(Event::Leave);
    assert_eq!(actions.len(), 2);
    assert_eq!(actions[0], vacant());
    let release = table.call();
    assert_eq!(written(&release).successor, None);
    assert_eq!(table.answer(done(12, &release)), [Action::Done]);
}

#[test]
fn who_named_a_successor_and_leaves_still_names_it() {
    let mut table = Table::leading();
    table.pass(1000 * MS);
    let renewal = table.call();
    table.resign(Some(node("c")));
    table.step(Event::Leave);
    table.answer(done(12, &renewal));
    let release = table.call();
    assert_eq!(written(&release).successor, Some(identity(&node("c"))));
    assert_eq!(table.answer(done(13, &release)), [Action::Done]);
}

#[test]
fn who_renews_releases_after_that() {
    let mut table = Table::leading();
    table.pass(1000 * MS);
    let renewal = table.call();
    assert_eq!(table.step(Event::Leave), [vacant()]);
    table.answer(done(12, &renewal));
    assert_eq!(table.calls(), Some(Purpose::Release));
}

#[test]
fn who_may_have_acquired_looks_first() {
    let mut table = Table::standing(present(10, released()));
    let acquisition = table.call();
    assert_eq!(table.step(Event::Leave), []);
    table.now += 800 * MS;
    assert_eq!(table.fail(Failure::Lost), [read()]);
    table.answer(done(11, &acquisition));
    assert_eq!(table.calls(), Some(Purpose::Release), "it was done");
    let mut table = Table::standing(present(10, released()));
    assert_eq!(table.step(Event::Leave), []);
    table.now += 800 * MS;
    assert_eq!(table.fail(Failure::Lost), [read()]);
    assert_eq!(table.answer(present(10, released())), [Action::Done]);
}

#[test]
fn a_release_that_fails_is_repeated() {
    let mut table = Table::leading();
    let mine = table.call();
    table.step(Event::Leave);
    assert_eq!(table.fail(Failure::Conflict), [read()]);
    table.answer(done(15, &mine));
    assert_eq!(table.calls(), Some(Purpose::Release));
    // Somebody else holds it by now.
    assert_eq!(table.fail(Failure::Conflict), []);
    assert_eq!(table.pass(125 * MS), [read()]);
    assert_eq!(
        table.answer(present(16, held())).last(),
        Some(&Action::Done)
    );
}

#[test]
fn a_lease_that_was_deleted_needs_no_release() {
    let mut table = Table::leading();
    table.step(Event::Leave);
    table.fail(Failure::Conflict);
    assert_eq!(table.answer(Seen::Absent(None)), [Action::Done]);
}

#[test]
fn who_leaves_does_not_stand_any_more() {
    let mut table = Table::standing(present(10, released()));
    let acquisition = table.call();
    table.step(Event::Leave);
    table.answer(done(11, &acquisition));
    assert_eq!(table.leads(), None);
    assert_eq!(table.calls(), Some(Purpose::Release));
}

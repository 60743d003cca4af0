//! What changes while automatic failover is paused.

use super::*;
use crate::Refusal;

impl Table {
    /// `b` is seen to be ahead only after this member has begun to lead; what it does then.
    fn leads_behind_b(paused: bool) -> Vec<Action> {
        let mut table = Self::new();
        table.on(Event::Paused(paused));
        table.meets_b();
        table.own_says(fenced(5));
        table.b_says(Ok(fenced(5)));
        table.leads();
        table.own_says(fenced(5));
        table.b_says(Ok(fenced(7)))
    }
}

fn stands(actions: &[Action]) -> bool {
    let mut actions = actions.iter();
    actions.any(|action| matches!(action, Action::Campaign(_)))
}

#[test]
fn who_is_behind_names_nobody_while_paused() {
    let actions = Table::leads_behind_b(false);
    assert_eq!(actions, [Action::Resign(Some(b()))]);
    let actions = Table::leads_behind_b(true);
    assert_eq!(actions, [Action::Resign(None)]);
}

#[test]
fn who_would_have_to_give_way_does_not_stand_while_paused() {
    let looks = |paused: bool| {
        let mut table = Table::new();
        table.on(Event::Paused(paused));
        table.meets_b();
        table.own_says(fenced(5));
        let actions = table.b_says(Ok(fenced(7)));
        (table, actions)
    };
    // Otherwise it may have seen the other one's server later than its own.
    assert!(stands(&looks(false).1));
    let (mut table, actions) = looks(true);
    assert_eq!(actions, [Action::Resign(None)]);
    let reason = Refusal::Behind;
    assert_eq!(table.decided.last(), Some(&Kind::Abstain { reason }));
    // As soon as that is over, it does.
    table.now += Duration::from_millis(250);
    table.on(Event::Paused(false));
    table.own_says(fenced(5));
    assert!(stands(&table.b_says(Ok(fenced(7)))));
}

#[test]
fn who_cannot_be_seen_has_not_been_given_way_to_while_paused() {
    let mut table = Table::new();
    table.on(Event::Paused(true));
    let address = server("b").address;
    table.on(Event::Members([("b".to_owned(), address)].into()));
    table.own_says(fenced(5));
    table.b_says(Ok(fenced(5)));
    table.leads();
    table.own_says(fenced(5));
    assert_eq!(table.b_says(Ok(fenced(7))), [Action::Resign(None)]);
    assert_eq!(table.core.gave_way, None);
}

#[test]
fn what_an_operator_asks_for_is_done_while_paused() {
    let mut table = Table::serving();
    table.on(Event::Paused(true));
    table.on(Event::Switchover { to: None });
    table.b_says(Ok(replica("a", 5)));
    table.on(Event::Done(Ok(())));
    table.own_says(primary(6));
    let fence = order(Order::Fence(Clients::Keep));
    assert_eq!(table.b_says(Ok(replica("a", 6))), [fence]);
    table.on(Event::Done(Ok(())));
    table.own_says(fenced(6));
    let actions = table.b_says(Ok(replica("a", 6)));
    assert!(actions.contains(&Action::Resign(Some(b()))), "{actions:?}");
}

#[test]
fn where_nobody_serves_an_operator_is_told_to_resume() {
    let mut table = Table::new();
    table.on(Event::Paused(true));
    let actions = table.on(Event::Switchover { to: None });
    assert!(
        matches!(&actions[..], [Action::SwitchoverEnded(Err(why))] if why.contains("resume")),
        "{actions:?}"
    );
}

#[test]
fn in_a_long_vacancy_a_new_reason_is_said() {
    let mut table = Table::new();
    table.meets_b();
    let down = Err("refused".to_owned());
    for (own, reason) in [
        (down.clone(), Refusal::ServerDown),
        (down, Refusal::ServerDown),
        (Ok(fenced(0)), Refusal::Behind),
        (Ok(fenced(0)), Refusal::Behind),
    ] {
        table.now += Duration::from_millis(250);
        table.on(Event::Tick);
        let asked = table.now + Duration::from_millis(1);
        table.b_says(Ok(fenced(5)));
        let who = Who::Own;
        let answer = Box::new(own);
        table.on(Event::Answer { who, asked, answer });
        assert_eq!(table.decided.last(), Some(&Kind::Abstain { reason }));
    }
    let said = table.decided.iter();
    let abstained = said.filter(|kind| matches!(kind, Kind::Abstain { .. }));
    assert_eq!(abstained.count(), 2, "{:?}", table.decided);
}

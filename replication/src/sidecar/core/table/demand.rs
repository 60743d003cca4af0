//! When a primary is made to demand replicas of itself.

use super::*;

const ONE: MinReplicas = MinReplicas {
    count: 1,
    max_lag: Duration::from_secs(2),
};

fn demand() -> Action {
    order(Order::DemandReplicas(ONE))
}

/// It has this many replicas and demands that many.
fn with(attached: &[&str], demanded: MinReplicas) -> Inspection {
    Inspection {
        attached: attached.iter().map(|name| server(name).address).collect(),
        min_replicas: Some(demanded),
        ..primary(5)
    }
}

/// Leads, knows of `b` and has just been told to promote.
fn promoting() -> Table {
    let mut table = Table::new();
    table.core.config.min_replicas_to_write = 1;
    table.meets_b();
    table.own_says(fenced(5));
    table.b_says(Err("refused".into()));
    table.leads();
    table.b_says(Err("refused".into()));
    assert_eq!(table.own_says(fenced(5)), [promote(7)]);
    table
}

/// What it is told, having said that.
fn told(table: &mut Table, said: Inspection) -> Vec<Action> {
    let mut actions = table.own_says(said);
    actions.retain(|action| matches!(action, Action::Order(_)));
    actions
}

fn publishes(actions: &[Action]) -> bool {
    let own = |action: &Action| matches!(action, Action::Publish(view) if view.primary == Some(server("a")));
    actions.iter().any(own)
}

#[test]
fn it_is_set_before_the_server_is_shown() {
    let mut table = promoting();
    assert_eq!(table.on(Event::Done(Ok(()))), [demand()]);
    assert!(publishes(&table.on(Event::Done(Ok(())))));
    // It is there, and the replica is not yet: nothing is to be done.
    assert_eq!(told(&mut table, with(&[], ONE)), []);
}

#[test]
fn a_refused_one_keeps_nobody_from_serving_and_is_tried_again() {
    let mut table = promoting();
    table.on(Event::Done(Ok(())));
    assert!(publishes(&table.on(Event::Done(Err("NOPERM".into())))));
    assert!(table.core.trouble().expect("told").contains("NOPERM"));
    assert_eq!(told(&mut table, with(&["b"], NO_DEMAND)), []);
    table.now += Duration::from_secs(2);
    assert_eq!(told(&mut table, with(&["b"], NO_DEMAND)), [demand()]);
    table.on(Event::Done(Ok(())));
    assert_eq!(table.core.trouble(), None);
    assert_eq!(told(&mut table, with(&["b"], ONE)), []);
}

#[test]
fn a_server_alone_gets_it_with_its_first_replica() {
    let mut table = Table::new();
    table.core.config.min_replicas_to_write = 1;
    table.own_says(fenced(5));
    table.leads();
    assert_eq!(table.own_says(fenced(5)), [promote(7)]);
    assert!(publishes(&table.on(Event::Done(Ok(())))));
    table.own_says(with(&[], NO_DEMAND));
    table.meets_b();
    table.b_says(Ok(fenced(0)));
    assert_eq!(told(&mut table, with(&[], NO_DEMAND)), []);
    assert_eq!(told(&mut table, with(&["b"], NO_DEMAND)), [demand()]);
}

#[test]
fn whoever_expects_others_sets_it_before_they_are_known() {
    let mut table = Table::new();
    table.core.config.min_replicas_to_write = 1;
    table.core.config.expected_members = 3;
    table.own_says(fenced(5));
    table.leads();
    table.own_says(fenced(5));
    assert_eq!(table.on(Event::Done(Ok(()))), [demand()]);
}

#[test]
fn what_an_operator_set_stays_where_none_is_wanted() {
    let mut table = Table::serving();
    let theirs = MinReplicas { count: 2, ..ONE };
    assert_eq!(told(&mut table, with(&["b"], theirs)), []);
    table.now += Duration::from_secs(5);
    assert_eq!(told(&mut table, with(&["b"], theirs)), []);
    // It is told all the same that writes are refused.
    let trouble = table.core.trouble().expect("told");
    assert!(trouble.contains("refuses writes"), "{trouble}");
}

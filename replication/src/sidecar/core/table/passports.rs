//! Passports, members that are known by discovery alone, and restarts of everything.

use super::*;

/// A core that waits for members, as one does that has just been started.
fn cold() -> Table {
    let mut table = Table::new();
    table.core.config.form_timeout = Duration::from_secs(10);
    table
}

fn stamped(said: Inspection, term: u64, mark: u64) -> Inspection {
    let papers = Papers::Passport(passport(term, mark));
    Inspection { papers, ..said }
}

/// As after a restart with an append-only file.
fn renamed(said: Inspection, name: &str) -> Inspection {
    let mut said = said;
    said.position.replication_id = name.into();
    said
}

fn lists_b(table: &mut Table) -> Vec<Action> {
    let members = ["a", "b"].map(|name| (name.to_owned(), server(name).address));
    table.on(Event::Members(members.into()))
}

fn stands(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Campaign(_)))
}

#[test]
fn after_a_restart_of_everything_one_waits_for_all_but_not_for_ever() {
    let mut table = cold();
    lists_b(&mut table);
    let ours = stamped(fenced(5), 7, 0);
    table.b_says(Err("refused".into()));
    assert!(!stands(&table.own_says(ours.clone())));
    table.now += Duration::from_secs(10);
    table.b_says(Err("refused".into()));
    assert!(stands(&table.own_says(ours)));
}

#[test]
fn nobody_waits_once_all_have_told() {
    for (theirs, leads) in [((6, 9), true), ((7, 2), false), ((8, 0), false)] {
        let mut table = cold();
        lists_b(&mut table);
        let ours = stamped(fenced(5), 7, 1);
        table.own_says(ours.clone());
        let theirs = stamped(renamed(fenced(5), "another"), theirs.0, theirs.1);
        let actions = table.b_says(Ok(theirs.clone()));
        assert_eq!(stands(&actions), leads, "{theirs:?}");
    }
}

#[test]
fn who_was_in_step_waits_for_nobody() {
    let mut table = cold();
    lists_b(&mut table);
    table.follows_b(Some(Term(7)));
    table.own_says(stamped(replica("b", 5), 7, 0));
    table.on(Event::Leadership(Leadership::Vacant));
    table.b_says(Err("refused".into()));
    assert!(stands(&table.own_says(stamped(fenced(5), 7, 0))));
}

#[test]
fn what_nobody_can_compare_does_not_lead() {
    for allowed in [false, true] {
        let mut table = cold();
        table.core.config.allow_data_loss = allowed;
        lists_b(&mut table);
        table.now += Duration::from_secs(10);
        table.b_says(Err("refused".into()));
        assert_eq!(stands(&table.own_says(fenced(5))), allowed);
        assert_eq!(table.core.trouble().is_some(), !allowed);
    }
}

#[test]
fn discovery_is_waited_for() {
    let mut table = cold();
    table.core.await_members();
    let ours = stamped(fenced(5), 7, 0);
    assert!(!stands(&table.own_says(ours.clone())));
    let alone = BTreeMap::from([("a".to_owned(), server("a").address)]);
    assert!(stands(&table.on(Event::Members(alone))));
}

#[test]
fn a_member_known_by_discovery_alone_is_given_way_to_but_not_for_ever() {
    let mut table = cold();
    lists_b(&mut table);
    table.own_says(stamped(fenced(5), 7, 0));
    let ahead = stamped(fenced(6), 7, 0);
    table.b_says(Ok(ahead.clone()));
    table.leads();
    table.b_says(Ok(ahead.clone()));
    let actions = table.own_says(stamped(fenced(5), 7, 0));
    let by_name = NodeId {
        member: "b".into(),
        incarnation: Uuid::nil(),
    };
    assert!(
        actions.contains(&Action::Resign(Some(by_name))),
        "{actions:?}"
    );
    // Nobody beside it took over.
    table.now += Duration::from_secs(11);
    table.on(Event::Leadership(Leadership::Vacant));
    table.b_says(Ok(ahead.clone()));
    table.own_says(stamped(fenced(5), 7, 0));
    table.leads();
    table.b_says(Ok(ahead));
    let actions = table.own_says(stamped(fenced(5), 7, 0));
    assert_eq!(actions, [promote(8)]);
}

#[test]
fn another_groups_dataset_is_left_alone() {
    let foreign = Passport {
        group: "elsewhere".into(),
        ..passport(9, 0)
    };
    let papers = Papers::Passport(foreign);
    let ours = Inspection {
        papers: papers.clone(),
        ..fenced(5)
    };
    let mut table = Table::new();
    assert_eq!(table.own_says(ours.clone()), [Action::Resign(None)]);
    assert!(table.core.trouble().expect("told").contains("elsewhere"));
    assert_eq!(table.follows_b(Some(Term(7)))[..], [publishes_b()]);
    assert_eq!(table.own_says(ours), []);
    // And that of another member: neither fenced nor counted.
    let mut table = Table::new();
    lists_b(&mut table);
    let theirs = Inspection {
        papers,
        ..renamed(primary(9), "another")
    };
    table.b_says(Ok(theirs.clone()));
    table.own_says(stamped(fenced(5), 7, 0));
    table.leads();
    table.b_says(Ok(theirs));
    assert_eq!(table.own_says(stamped(fenced(5), 7, 0)), [promote(8)]);
}

fn publishes_b() -> Action {
    Action::Publish(View {
        term: Term(7),
        until: None,
        primary: Some(server("b")),
        replicas: vec![],
    })
}

#[test]
fn a_flush_is_not_a_loss() {
    let emptied = Inspection {
        keys: 0,
        ..stamped(renamed(fenced(9), "another"), 7, 1)
    };
    let blank = Inspection {
        keys: 0,
        ..renamed(fenced(0), "another")
    };
    for (theirs, leads) in [(emptied, false), (blank, true)] {
        let mut table = Table::new();
        lists_b(&mut table);
        table.own_says(stamped(fenced(5), 7, 0));
        let actions = table.b_says(Ok(theirs));
        assert_eq!(stands(&actions), leads);
    }
}

#[test]
fn a_passport_is_renewed_when_a_replica_is_lost_and_when_users_removed_it() {
    let mut table = Table::serving();
    let later = order(Order::Stamp(passport(7, 1)));
    // Known to copy, and then no more.
    table.own_says(primary(5));
    let actions = table.b_says(Err("refused".into()));
    assert!(actions.contains(&later), "{actions:?}");
    table.on(Event::Done(Ok(())));
    let said = stamped(primary(5), 7, 1);
    assert_eq!(table.own_says(said), []);
    let without = Inspection {
        papers: Papers::None,
        ..primary(5)
    };
    assert_eq!(table.own_says(without), [later]);
    table.on(Event::Done(Ok(())));
    // One came and left between two looks.
    let left = Inspection {
        departed: 1,
        ..stamped(primary(5), 7, 1)
    };
    let actions = table.own_says(left.clone());
    assert_eq!(actions, [order(Order::Stamp(passport(7, 2)))]);
    table.on(Event::Done(Ok(())));
    assert!(table.own_says(stamped(left, 7, 2)).is_empty());
}

#[test]
fn a_member_known_by_discovery_alone_is_fenced_before_a_promotion_and_after() {
    let is_fence =
        |action: &Action| matches!(action, Action::FenceMember { member, .. } if member == "b");
    let mut table = Table::new();
    lists_b(&mut table);
    table.own_says(stamped(fenced(5), 7, 0));
    table.b_says(Ok(stamped(primary(5), 7, 0)));
    table.leads();
    table.b_says(Ok(stamped(primary(5), 7, 0)));
    let actions = table.own_says(stamped(fenced(5), 7, 0));
    assert!(actions.iter().any(is_fence), "{actions:?}");

    let mut table = Table::serving();
    table.on(Event::Peers(BTreeMap::new()));
    lists_b(&mut table);
    table.own_says(stamped(primary(5), 7, 0));
    // It no longer copies ours, so the passport is renewed first.
    table.b_says(Ok(primary(5)));
    table.on(Event::Done(Ok(())));
    let mut fences = || {
        table.now += Duration::from_millis(600);
        let mut actions = table.own_says(stamped(primary(5), 7, 1));
        actions.extend(table.b_says(Ok(primary(5))));
        actions.iter().any(is_fence)
    };
    assert!((0..4).any(|_| fences()));
}

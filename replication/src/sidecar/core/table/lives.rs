//! What a former life left behind is not taken for the present: an election that knows of no peers
//! goes on telling what a dead leader said, until its lease ends.

use super::*;

/// This agent was restarted while it led, and its server came back empty.
#[test]
fn what_a_former_life_of_this_member_said_is_over() {
    let mut table = Table::new();
    table.on(Event::Leadership(Leadership::Following {
        leader: node("a"),
        card: card_of("a", Some(Term(7))).encode(),
        term: Term(7),
    }));
    let actions = table.own_says(fenced(0));
    let harmless = |action: &Action| matches!(action, Action::Campaign(_));
    assert!(actions.iter().all(harmless), "{actions:?}");
    // One that is still a primary is fenced until it is promoted anew.
    let actions = table.own_says(primary(5));
    assert!(actions.contains(&order(Order::Fence(Clients::Cut))));
}

/// The pod of a leader that died is started elsewhere, and discovery says where.
#[test]
fn where_a_former_leader_was_does_not_outlast_it() {
    let mut table = Table::new();
    table.own_says(fenced(5));
    table.hears_of_b(Some(b()));
    table.follows_b(None);
    let elsewhere = Address::new("elsewhere", 6379);
    let listed = BTreeMap::from([("b".to_owned(), elsewhere.clone())]);
    table.on(Event::Members(listed));
    table.on(Event::Peers(BTreeMap::new()));
    table.now += Duration::from_millis(1);
    let vacant = Event::Leadership(Leadership::Vacant);
    let actions = table.core.step(table.now, vacant);
    let ask = Action::Ask(Who::Member {
        name: "b".to_owned(),
        address: elsewhere,
    });
    assert!(actions.contains(&ask), "{actions:?}");
}

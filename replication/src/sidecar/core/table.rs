//! The main paths, event by event. What goes wrong meanwhile is the simulation's.

mod decisions;
mod demand;
mod failing;
mod lives;
mod passports;
mod pauses;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bellwether_election::{Leadership, NodeId, Peer, Term};
use uuid::Uuid;

use super::{Action, Core, Event, Order, Who};
use crate::{
    Address, Card, Clients, Inspection, Kind, Link, MinReplicas, Papers, Passport, Position, Role,
    Server, View, sidecar::SidecarConfig,
};

/// A core of member `a` and what it wants done, without questions and explanations.
struct Table {
    core: Core,
    now: Instant,
    /// What it has decided so far.
    decided: Vec<Kind>,
}

impl Table {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn new() -> Self {
        let now = Instant::now();
        let mut config = SidecarConfig::new("flock", server("a"));
        config.form_timeout = Duration::ZERO;
        Self {
            core: Core::new(config, now),
            now,
            decided: Vec::new(),
        }
    }

    /// Lets a little time pass, then something happen; returns the actions that change something.
    fn on(&mut self, event: Event) -> Vec<Action> {
        self.now += Duration::from_millis(1);
        let mut actions = self.core.step(self.now, event);
        let decided = actions.iter().filter_map(|action| match action {
            Action::Explain(decision) => Some(decision.kind),
            _ => None,
        });
        self.decided.extend(decided);
        actions.retain(|action| {
            !matches!(
                action,
                Action::Ask(_) | Action::Explain(_) | Action::Announce(_)
            )
        });
        actions
    }

    fn own_says(&mut self, said: Inspection) -> Vec<Action> {
        let asked = self.now + Duration::from_millis(1);
        self.on(Event::Answer {
            who: Who::Own,
            asked,
            answer: Box::new(Ok(said)),
        })
    }

    fn b_says(&mut self, answer: Result<Inspection, String>) -> Vec<Action> {
        let answer = answer.map(|said| Inspection {
            run_id: format!("{} of b", said.run_id),
            ..said
        });
        self.at_b_is_said(answer)
    }

    fn at_b_is_said(&mut self, answer: Result<Inspection, String>) -> Vec<Action> {
        let Server { name, address } = server("b");
        let asked = self.now + Duration::from_millis(1);
        self.on(Event::Answer {
            who: Who::Member { name, address },
            asked,
            answer: Box::new(answer),
        })
    }

    fn meets_b(&mut self) -> Vec<Action> {
        self.hears_of_b(None)
    }

    fn hears_of_b(&mut self, leader: Option<NodeId>) -> Vec<Action> {
        self.hears_of_b_with(&card(None), leader)
    }

    fn hears_of_b_with(&mut self, card: &Card, leader: Option<NodeId>) -> Vec<Action> {
        let card = card.encode();
        let peer = Peer { card, leader };
        self.on(Event::Peers(BTreeMap::from([(b(), peer)])))
    }

    fn follows_b(&mut self, serving: Option<Term>) -> Vec<Action> {
        self.on(Event::Leadership(Leadership::Following {
            leader: b(),
            card: card(serving).encode(),
            term: Term(7),
        }))
    }

    fn leads(&mut self) -> Vec<Action> {
        let term = Term(7);
        self.on(Event::Leadership(Leadership::Leading { term, until: None }))
    }

    /// Serves as the primary of `b`, which is attached.
    fn serving() -> Self {
        let mut table = Self::new();
        table.meets_b();
        table.own_says(replica("b", 5));
        // A link to a server that does not answer would be renewed when it comes back, maybe empty.
        let actions = table.b_says(Err("refused".into()));
        let detach = order(Order::Fence(Clients::Keep));
        assert!(actions.contains(&detach), "{actions:?}");
        table.on(Event::Done(Ok(())));
        table.leads();
        table.b_says(Err("refused".into()));
        assert_eq!(table.own_says(fenced(5)), [promote(7)]);
        let actions = table.on(Event::Done(Ok(())));
        assert!(
            matches!(&actions[..], [.., Action::Publish(view)] if view.primary == Some(server("a"))),
            "{actions:?}"
        );
        table.own_says(primary(5));
        table.b_says(Ok(replica("a", 5)));
        table
    }
}

fn b() -> NodeId {
    node("b")
}

fn node(name: &str) -> NodeId {
    NodeId {
        member: name.into(),
        incarnation: Uuid::nil(),
    }
}

fn server(name: &str) -> Server {
    Server {
        name: name.into(),
        address: Address::new(name, 6379),
    }
}

/// The card of `b`.
fn card(serving: Option<Term>) -> Card {
    card_of("b", serving)
}

fn card_of(name: &str, serving: Option<Term>) -> Card {
    Card {
        redis: server(name).address,
        up: true,
        serving,
        lineage: Term(0),
        leaving: false,
    }
}

fn at(role: Role, offset: u64) -> Inspection {
    Inspection {
        run_id: "first".into(),
        role,
        position: Position {
            replication_id: "history".into(),
            offset,
            previous: None,
        },
        keys: offset,
        papers: Papers::None,
        attached: BTreeSet::new(),
        departed: 0,
        loading: false,
        priority: 100,
        failing_over: false,
        min_replicas: Some(NO_DEMAND),
    }
}

const NO_DEMAND: MinReplicas = MinReplicas {
    count: 0,
    max_lag: Duration::from_secs(10),
};

/// With the passport that it got when it was promoted.
fn primary(offset: u64) -> Inspection {
    let mut passport = passport(7, 0);
    passport.blank = offset == 0;
    let papers = Papers::Passport(passport);
    Inspection {
        papers,
        ..at(Role::Primary, offset)
    }
}

fn replica(of: &str, offset: u64) -> Inspection {
    let (of, link) = (server(of).address, Link::Up);
    at(Role::Replica { of, link }, offset)
}

fn fenced(offset: u64) -> Inspection {
    let (host, port) = Address::NOWHERE;
    let (of, link) = (Address::new(host, port), Link::Down);
    at(Role::Replica { of, link }, offset)
}

fn passport(term: u64, mark: u64) -> Passport {
    Passport {
        group: "flock".into(),
        term: Term(term),
        mark,
        blank: false,
    }
}

fn promote(term: u64) -> Action {
    order(Order::Promote(passport(term, 0)))
}

fn order(order: Order) -> Action {
    Action::Order(order)
}

#[test]
fn one_alone_stands_leads_and_serves_in_this_order() {
    let mut table = Table::new();
    table.on(Event::Tick);
    let actions = table.own_says(fenced(0));
    assert!(matches!(actions[..], [Action::Campaign(_)]), "{actions:?}");
    assert_eq!(table.leads(), []);
    let blank = Passport {
        blank: true,
        ..passport(7, 0)
    };
    assert_eq!(table.own_says(fenced(0)), [order(Order::Promote(blank))]);
    let actions = table.on(Event::Done(Ok(())));
    let [.., Action::Publish(View { term, primary, .. })] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!((*term, primary), (Term(7), &Some(server("a"))));
}

#[test]
fn members_that_are_not_known_yet_are_waited_for() {
    let mut table = Table::new();
    table.core.config.expected_members = 2;
    table.core.config.form_timeout = Duration::from_secs(1);
    table.on(Event::Tick);
    let stands = |actions: &[Action]| {
        let mut stands = actions.iter();
        stands.any(|action| matches!(action, Action::Campaign(_)))
    };
    assert!(!stands(&table.own_says(fenced(5))), "where is the other?");
    table.now += Duration::from_secs(1);
    table.on(Event::Tick);
    assert!(stands(&table.own_says(fenced(5))), "it does not come");
}

#[test]
fn a_primary_that_answers_is_fenced_before_the_promotion() {
    let mut table = Table::new();
    table.meets_b();
    table.own_says(replica("b", 5));
    table.b_says(Ok(primary(6)));
    table.leads();
    table.own_says(replica("b", 5));
    let Server { name, address } = server("b");
    let fence = Action::FenceMember {
        member: name.clone(),
        address,
    };
    assert_eq!(table.b_says(Ok(primary(6))), [fence]);
    let result = Ok(());
    assert_eq!(
        table.on(Event::Fenced {
            member: name,
            result
        }),
        []
    );
    // Its last write is still on its way, and then there.
    table.b_says(Ok(fenced(6)));
    assert_eq!(table.own_says(replica("b", 5)), []);
    table.b_says(Ok(fenced(6)));
    // It had been promoted before, in that term.
    assert_eq!(table.own_says(replica("b", 6)), [promote(8)]);
}

/// After their addresses have changed, a member's name may still be told where this one is now.
#[test]
fn the_own_server_is_no_rival_at_another_name() {
    let mut table = Table::serving();
    table.hears_of_b(None);
    for _ in 0..4 {
        table.now += Duration::from_millis(600);
        let mut actions = table.own_says(primary(5));
        actions.extend(table.at_b_is_said(Ok(primary(5))));
        let fences = |action: &Action| matches!(action, Action::FenceMember { .. });
        assert!(!actions.iter().any(fences), "{actions:?}");
    }
    let is_up = table
        .core
        .answers()
        .all(|(_, b)| b.respondent.latest().is_some());
    assert!(!is_up, "nothing is known of b");
}

#[test]
fn what_a_former_agent_made_primary_is_fenced_unless_this_one_leads() {
    let fence = order(Order::Fence(Clients::Cut));
    let mut table = Table::new();
    assert!(table.own_says(primary(5)).contains(&fence));
    // It was never this group's primary: nobody else can have taken its place.
    let unmanaged = at(Role::Primary, 5);
    let foreign = Inspection {
        papers: Papers::Passport(Passport {
            group: "elsewhere".into(),
            ..passport(7, 0)
        }),
        ..primary(5)
    };
    for said in [unmanaged, foreign] {
        assert!(
            !Table::new().own_says(said.clone()).contains(&fence),
            "{said:?}"
        );
    }
    // Who leads promotes it, whatever made it primary.
    let mut table = Table::new();
    table.leads();
    assert_eq!(table.own_says(primary(5)), [promote(8)]);
    // Whoever else leads may have promoted another.
    let mut table = Table::new();
    table.follows_b(None);
    assert!(table.own_says(primary(5)).contains(&fence));
}

/// As long as a Lease names a former agent of this member.
#[test]
fn nobody_follows_its_own_server() {
    for said in [fenced(0), fenced(5), primary(5)] {
        let mut table = Table::new();
        let former = NodeId {
            incarnation: Uuid::from_u128(1),
            ..node("a")
        };
        table.on(Event::Leadership(Leadership::Following {
            leader: former,
            card: card_of("a", Some(Term(7))).encode(),
            term: Term(7),
        }));
        let actions = table.own_says(said.clone());
        let fence = order(Order::Fence(Clients::Cut));
        assert_eq!(actions.contains(&fence), said.is_primary(), "{actions:?}");
        let follows = |action: &Action| matches!(action, Action::Order(Order::Follow(_)));
        assert!(!actions.iter().any(follows), "{actions:?}");
        assert_eq!(table.core.view.primary, None);
    }
}

#[test]
fn another_leader_is_waited_for_and_then_fenced() {
    let mut table = Table::new();
    table.hears_of_b(Some(b()));
    table.own_says(replica("b", 5));
    table.b_says(Ok(primary(5)));
    let began = table.now;
    table.leads();
    table.own_says(replica("b", 5));
    assert_eq!(table.b_says(Ok(primary(5))), []);
    let mut fences = || {
        table.now = table.core.wake_at().expect("it waits");
        let actions = table.on(Event::Tick);
        actions
            .iter()
            .any(|action| matches!(action, Action::FenceMember { member, .. } if member == "b"))
    };
    assert!((0..10).any(|_| fences()));
    assert!(table.now < began + Duration::from_secs(1));
}

#[test]
fn a_replica_is_turned_away_from_a_silent_server_although_the_leader_is_away_too() {
    let mut table = Table::new();
    table.meets_b();
    table.own_says(replica("b", 5));
    table.b_says(Ok(fenced(5)));
    let (leader, card) = (node("c"), card_of("c", Some(Term(7))));
    table.on(Event::Leadership(Leadership::Following {
        leader,
        card: card.encode(),
        term: Term(7),
    }));
    assert_eq!(table.own_says(replica("b", 5)), []);
    let actions = table.b_says(Err("no answer".into()));
    let detach = order(Order::Fence(Clients::Keep));
    assert!(actions.contains(&detach), "{actions:?}");
}

#[test]
fn data_is_never_turned_to_an_empty_primary() {
    for (theirs, turns) in [(primary(0), false), (primary(9), true)] {
        let mut foreign = theirs;
        foreign.position.replication_id = "another history".into();
        let mut table = Table::new();
        table.meets_b();
        table.own_says(fenced(5));
        table.follows_b(Some(Term(7)));
        table.own_says(fenced(5));
        let actions = table.b_says(Ok(foreign));
        let follow = order(Order::Follow(server("b").address));
        assert_eq!(actions.contains(&follow), turns, "{actions:?}");
    }
}

#[test]
fn a_primary_steps_back_when_another_leads() {
    let mut table = Table::serving();
    let actions = table.follows_b(None);
    let fence = order(Order::Fence(Clients::Cut));
    assert!(actions.contains(&fence), "{actions:?}");
}

#[test]
fn a_restart_under_its_feet_ends_a_leadership() {
    let mut table = Table::serving();
    let mut restarted = fenced(0);
    restarted.run_id = "second".into();
    let actions = table.own_says(restarted);
    assert!(actions.contains(&Action::Resign(None)), "{actions:?}");
    let published = actions
        .iter()
        .any(|action| matches!(action, Action::Publish(view) if view.primary.is_none()));
    assert!(published, "{actions:?}");
}

#[test]
fn a_promotion_in_doubt_is_fenced() {
    let mut table = Table::new();
    table.own_says(fenced(5));
    table.leads();
    assert_eq!(table.own_says(fenced(5)), [promote(7)]);
    let actions = table.on(Event::Done(Err("no answer".into())));
    let fence = order(Order::Fence(Clients::Cut));
    assert_eq!(actions, [Action::Resign(None), fence]);
}

#[test]
fn a_switchover_pauses_matches_fences_verifies_and_resigns() {
    let mut table = Table::serving();
    table.on(Event::Switchover { to: None });
    let actions = table.b_says(Ok(replica("a", 5)));
    assert!(actions.contains(&order(Order::PauseWrites)), "{actions:?}");
    table.on(Event::Done(Ok(())));
    // A write that ran before the pause is waited for.
    table.own_says(primary(6));
    assert_eq!(table.b_says(Ok(replica("a", 5))), []);
    table.now += Duration::from_millis(5);
    table.on(Event::Tick);
    table.own_says(primary(6));
    let fence = order(Order::Fence(Clients::Keep));
    assert_eq!(table.b_says(Ok(replica("a", 6))), [fence]);
    table.on(Event::Done(Ok(())));
    table.own_says(fenced(6));
    let actions = table.b_says(Ok(replica("a", 6)));
    assert!(actions.contains(&Action::Resign(Some(b()))), "{actions:?}");
    // The old primary is shown until the new one serves.
    let hidden = actions
        .iter()
        .any(|action| matches!(action, Action::Publish(view) if view.primary.is_none()));
    assert!(!hidden, "{actions:?}");
}

/// What is fenced for its successor is shown for clients to wait by, but not as one that leads.
#[test]
fn a_primary_that_hands_over_leads_no_more_from_its_fence_on() {
    let mut table = Table::serving();
    let (term, until) = (Term(7), Some(table.now + Duration::from_secs(60)));
    table.on(Event::Leadership(Leadership::Leading { term, until }));
    assert_eq!(table.core.view.until, until);
    table.on(Event::Switchover { to: None });
    table.b_says(Ok(replica("a", 5)));
    table.on(Event::Done(Ok(())));
    table.own_says(primary(5));
    assert_eq!(table.core.view.until, until, "paused, and it may go on");
    let actions = table.b_says(Ok(replica("a", 5)));
    assert!(
        actions.contains(&order(Order::Fence(Clients::Keep))),
        "{actions:?}"
    );
    let shown = (table.core.view.primary.clone(), table.core.view.until);
    assert_eq!(shown, (Some(server("a")), None));
    // The successor fails: the own server is promoted again, and leads once it is.
    table.on(Event::Done(Ok(())));
    let actions = table.b_says(Err("gone".into()));
    assert!(
        matches!(actions[0], Action::Order(Order::Promote(_))),
        "{actions:?}"
    );
    assert_eq!(table.core.view.until, None);
    table.on(Event::Done(Ok(())));
    assert_eq!(table.core.view.until, until);
}

#[test]
fn a_switchover_that_fails_is_undone() {
    let mut table = Table::serving();
    table.on(Event::Switchover {
        to: Some("b".into()),
    });
    let actions = table.b_says(Ok(replica("a", 5)));
    assert!(actions.contains(&order(Order::PauseWrites)), "{actions:?}");
    table.on(Event::Done(Ok(())));
    let actions = table.b_says(Err("gone".into()));
    assert_eq!(actions[0], order(Order::ResumeWrites));
    let actions = table.on(Event::Done(Ok(())));
    assert!(
        matches!(&actions[..], [Action::SwitchoverEnded(Err(why))] if why.contains("gone")),
        "{actions:?}"
    );
}

#[test]
fn leadership_is_not_handed_to_who_is_ending() {
    let mut table = Table::serving();
    table.on(Event::Switchover { to: None });
    table.b_says(Ok(replica("a", 5)));
    table.on(Event::Done(Ok(())));
    let leaving = Card {
        leaving: true,
        ..card(None)
    };
    let actions = table.hears_of_b_with(&leaving, Some(node("a")));
    assert_eq!(actions[0], order(Order::ResumeWrites));
    table.on(Event::Done(Ok(())));
    table.on(Event::Switchover { to: None });
    let actions = table.b_says(Ok(replica("a", 5)));
    assert!(
        matches!(&actions[..], [Action::SwitchoverEnded(Err(why))] if why.contains("ending")),
        "{actions:?}"
    );
}

#[test]
fn who_ends_chooses_another_successor() {
    let mut table = Table::serving();
    table.on(Event::Leave);
    let actions = table.b_says(Ok(replica("a", 5)));
    assert!(actions.contains(&order(Order::PauseWrites)), "{actions:?}");
    table.on(Event::Done(Ok(())));
    let actions = table.b_says(Err("gone".into()));
    assert_eq!(actions[0], order(Order::ResumeWrites));
    assert_eq!(table.on(Event::Done(Ok(()))), []);
    let actions = table.b_says(Ok(replica("a", 5)));
    assert!(actions.contains(&order(Order::PauseWrites)), "{actions:?}");
}

//! What the own server refuses again and again, and what must not be tried at all.

use super::*;

const NOPERM: &str = "NOPERM this user has no permissions to run the 'replicaof' command";

impl Table {
    /// Ten seconds of a server that says this and refuses everything; how often it was told, and how
    /// many decisions that made.
    fn refused(&mut self, own: &Inspection, theirs: &Inspection) -> (usize, usize) {
        let (end, decided) = (self.now + Duration::from_secs(10), self.decided.len());
        let mut orders = 0;
        while self.now < end {
            self.now += Duration::from_millis(100);
            let mut actions = self.own_says(own.clone());
            actions.extend(self.b_says(Ok(theirs.clone())));
            if actions.iter().any(|it| matches!(it, Action::Order(_))) {
                orders += 1;
                self.on(Event::Done(Err(NOPERM.into())));
            }
        }
        (orders, self.decided.len() - decided)
    }
}

/// The order, that it failed, and the order once more: from then on nothing is new.
#[test]
fn what_fails_the_same_way_is_tried_again_and_said_once() {
    let mut table = Table::new();
    table.meets_b();
    table.own_says(fenced(5));
    table.follows_b(Some(Term(7)));
    let (orders, decisions) = table.refused(&fenced(5), &primary(9));
    assert!(orders > 10 && decisions <= 3, "{orders}, {decisions}");

    let mut table = Table::serving();
    let bare = Inspection {
        papers: Papers::None,
        ..primary(5)
    };
    let (orders, decisions) = table.refused(&bare, &replica("a", 5));
    assert!(orders > 10 && decisions <= 3, "{orders}, {decisions}");
    // Another reason is news, and so is the same after it went well.
    for result in [Err("timeout".to_owned()), Ok(()), Err(NOPERM.to_owned())] {
        let failed = usize::from(result.is_err());
        table.now += Duration::from_secs(1);
        table.own_says(bare.clone());
        let said = table.decided.len();
        table.on(Event::Done(result));
        assert_eq!(table.decided.len() - said, failed);
    }
}

/// It goes on serving: nobody else is better off without a passport.
#[test]
fn a_passport_that_is_refused_is_shown_until_the_dataset_has_it() {
    let done = |table: &mut Table| drop(table.on(Event::Done(Ok(()))));
    // One whose answer was lost may have been written.
    let there = |table: &mut Table| {
        table.on(Event::Done(Err("no answer within 1s".into())));
        assert!(table.core.trouble().is_some());
        table.own_says(primary(5));
    };
    let deposed = |table: &mut Table| drop(table.follows_b(Some(Term(8))));
    let ways: [fn(&mut Table); 3] = [done, there, deposed];
    for heal in ways {
        let mut table = Table::serving();
        let bare = Inspection {
            papers: Papers::None,
            ..primary(5)
        };
        for _ in 0..3 {
            table.now += Duration::from_secs(1);
            let actions = table.own_says(bare.clone());
            assert_eq!(actions, [order(Order::Stamp(passport(7, 0)))]);
            table.on(Event::Done(Err(NOPERM.into())));
            let trouble = table.core.trouble().expect("told");
            assert!(
                trouble.contains("passport") && trouble.contains(NOPERM),
                "{trouble}"
            );
            assert_eq!(table.core.serving(), Some(Term(7)));
        }
        table.now += Duration::from_secs(1);
        table.own_says(bare.clone());
        heal(&mut table);
        assert_eq!(table.core.trouble(), None);
    }
}

/// Else a group whose servers all refuse it would write the Lease as fast as the API takes it.
#[test]
fn a_promotion_that_fails_is_tried_less_and_less_often() {
    let mut table = Table::new();
    let (mut tries, end) = (Vec::new(), table.now + Duration::from_secs(60));
    while table.now < end {
        let actions = table.own_says(fenced(5));
        if matches!(actions[..], [Action::Campaign(_)]) {
            table.leads();
            assert_eq!(table.own_says(fenced(5)), [promote(7)]);
            tries.push(table.now);
            let actions = table.on(Event::Done(Err(NOPERM.into())));
            let fence = order(Order::Fence(Clients::Cut));
            assert_eq!(actions, [Action::Resign(None), fence]);
            table.on(Event::Done(Ok(())));
            table.on(Event::Leadership(Leadership::Vacant));
        }
        table.now += Duration::from_millis(50);
    }
    let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] < Duration::from_millis(800), "{gaps:?}");
    assert!((8..16).contains(&tries.len()), "{gaps:?}");
    let longest = gaps.last().expect("it goes on trying");
    assert!(*longest >= Duration::from_secs(8), "{gaps:?}");
    // One that succeeds begins anew.
    table.now += Duration::from_secs(8);
    while !matches!(table.own_says(fenced(5))[..], [Action::Campaign(_)]) {}
    table.leads();
    table.own_says(fenced(5));
    table.on(Event::Done(Ok(())));
    let now = table.now;
    assert!(!table.core.failing.keeps_from_standing(now));
}

/// After all addresses have changed, the name of the primary that is gone may lead here for a while.
#[test]
fn the_own_server_is_not_fenced_in_the_place_of_a_silent_primary() {
    for (leads_here, fences) in [(false, true), (true, false)] {
        let mut table = Table::new();
        table.meets_b();
        table.own_says(replica("b", 5));
        table.b_says(Ok(primary(5)));
        table.follows_b(Some(Term(7)));
        table.own_says(replica("b", 5));
        let at_b = |table: &mut Table| match leads_here {
            true => table.at_b_is_said(Ok(fenced(5))),
            false => table.b_says(Err("refused".into())),
        };
        table.on(Event::Leadership(Leadership::Vacant));
        table.own_says(fenced(5));
        at_b(&mut table);
        let mut actions = table.leads();
        for _ in 0..2 {
            actions.extend(table.own_says(fenced(5)));
            actions.extend(at_b(&mut table));
        }
        let fence = |action: &Action| matches!(action, Action::FenceMember { .. });
        assert_eq!(actions.iter().any(fence), fences, "{actions:?}");
        assert!(actions.contains(&promote(8)), "{actions:?}");
    }
}

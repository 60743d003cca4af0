//! What kind of decisions are told, and what a promotion was for.

use super::*;
use crate::{Cause, Refusal, Whose};

impl Table {
    /// Follows `b`, whose server is primary; then nobody leads, then this member.
    fn takes_over_from_b(
        before: Result<Inspection, String>,
        vacant_after: Duration,
        led_after: Duration,
        after: &Result<Inspection, String>,
    ) -> Cause {
        let mut table = Self::new();
        table.meets_b();
        table.follows_b(Some(Term(6)));
        table.own_says(replica("b", 5));
        table.b_says(Ok(at(Role::Primary, 5)));
        table.b_says(before);
        table.now += vacant_after;
        table.on(Event::Leadership(Leadership::Vacant));
        table.b_says(after.clone());
        table.own_says(replica("b", 5));
        table.now += led_after;
        table.leads();
        for _ in 0..10 {
            if table.core.order.is_some() {
                table.on(Event::Done(Ok(())));
            }
            let member = "b".to_owned();
            table.on(Event::Fenced {
                member,
                result: Ok(()),
            });
            table.b_says(after.clone());
            table.own_says(fenced(5));
            table.now += Duration::from_millis(50);
            table.on(Event::Tick);
        }
        let serves = |kind: &Kind| match kind {
            Kind::Serve { cause } => Some(*cause),
            _ => None,
        };
        let mut causes = table.decided.iter().filter_map(serves);
        causes
            .next()
            .unwrap_or_else(|| panic!("{:?}", table.decided))
    }
}

#[test]
fn a_promotion_says_what_became_of_the_former_primary() {
    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(2);
    let living = || Ok(at(Role::Primary, 5));
    let idle = || Ok(fenced(5));
    let silent = || Err("no answer".to_owned());
    let restarted = || {
        let run_id = "second".to_owned();
        Ok(Inspection {
            run_id,
            ..fenced(5)
        })
    };
    for (before, vacant_after, led_after, after, cause) in [
        (living(), SOON, SOON, silent(), Cause::ServerDown),
        (living(), SOON, SOON, restarted(), Cause::ServerDown),
        (living(), SOON, SOON, idle(), Cause::HandedOver),
        (idle(), SOON, SOON, idle(), Cause::HandedOver),
        // Fenced for want of the lease, which the others wait for longer.
        (idle(), LONG, SOON, idle(), Cause::LeaderLost),
        (living(), SOON, LONG, idle(), Cause::LeaderLost),
        (living(), SOON, SOON, living(), Cause::LeaderLost),
    ] {
        let case = format!("{before:?} {vacant_after:?} {led_after:?} {after:?}");
        let found = Table::takes_over_from_b(before, vacant_after, led_after, &after);
        assert_eq!(found, cause, "{case}");
    }
}

#[test]
fn the_first_primary_is_no_failover_and_the_same_again_is_one() {
    let mut table = Table::serving();
    let first = Kind::Serve {
        cause: Cause::First,
    };
    assert!(table.decided.contains(&first), "{:?}", table.decided);
    table.decided.clear();
    table.on(Event::Leadership(Leadership::Vacant));
    table.own_says(primary(5));
    let fence = Kind::Fence { whose: Whose::Own };
    assert_eq!(table.decided, [fence]);
    table.on(Event::Done(Ok(())));
    table.own_says(fenced(5));
    table.b_says(Ok(replica("a", 5)));
    table.on(Event::Leadership(Leadership::Leading {
        term: Term(8),
        until: None,
    }));
    table.b_says(Ok(replica("a", 5)));
    table.own_says(fenced(5));
    table.on(Event::Done(Ok(())));
    let cause = Cause::Regained;
    assert!(cause.is_failover());
    assert_eq!(
        table.decided,
        [fence, Kind::Promote, Kind::Serve { cause }],
        "by this member, again"
    );
}

#[test]
fn who_stands_leads_or_serves_gives_up_by_another_word() {
    let down = || Err("no answer".to_owned());
    let own_says = |table: &mut Table, answer: Result<Inspection, String>| {
        let asked = table.now + Duration::from_millis(1);
        let (who, answer) = (Who::Own, Box::new(answer));
        table.decided.clear();
        table.on(Event::Answer { who, asked, answer });
        table.decided.clone()
    };
    let reason = Refusal::ServerDown;
    let mut table = Table::new();
    assert_eq!(own_says(&mut table, down()), [Kind::Abstain { reason }]);
    let mut table = Table::new();
    table.own_says(fenced(5));
    table.leads();
    assert_eq!(own_says(&mut table, down()), [Kind::Refuse { reason }]);
    let mut table = Table::serving();
    assert_eq!(own_says(&mut table, down()), [Kind::Resign { reason }]);
}

#[test]
fn an_empty_server_refuses_although_it_was_elected() {
    let mut table = Table::new();
    table.meets_b();
    table.own_says(fenced(0));
    table.b_says(Ok(fenced(9)));
    table.leads();
    table.b_says(Ok(fenced(9)));
    table.decided.clear();
    table.own_says(fenced(0));
    let reason = Refusal::Behind;
    assert_eq!(table.decided, [Kind::Refuse { reason }]);
}

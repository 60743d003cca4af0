use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{Cause, Kind, Refusal, Switched, Whose};

/// How often what was decided, since the sidecar began. The same decision for the same reason, again
/// and again with no other between, counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Decisions, by [`Kind::name`].
    pub decisions: BTreeMap<&'static str, u64>,
    /// Times that the own server became primary.
    pub promotions: BTreeMap<Cause, u64>,
    /// Times that this member did not stand, did not promote its server, or led no more.
    pub refusals: BTreeMap<Refusal, u64>,
    /// Servers fenced because they should not be writable.
    pub fences: BTreeMap<Whose, u64>,
    /// Bytes of the replication stream that were given up with a dataset, as far as that can be told.
    pub dropped_bytes: u64,
    /// Planned changes of primary that succeeded, with this member's server as the old one.
    pub switchovers: u64,
    /// How long these took in all.
    pub switchovers_took: Duration,
    /// Planned changes of primary that were refused or came to nothing.
    pub switchovers_failed: u64,
}

impl Tally {
    pub(crate) fn decided(&mut self, kind: Kind) {
        *self.decisions.entry(kind.name()).or_default() += 1;
        match kind {
            Kind::Abstain { reason } | Kind::Refuse { reason } | Kind::Resign { reason } => {
                *self.refusals.entry(reason).or_default() += 1;
            }
            Kind::Serve { cause } => *self.promotions.entry(cause).or_default() += 1,
            Kind::Fence { whose } => *self.fences.entry(whose).or_default() += 1,
            Kind::Drop { bytes } => self.dropped_bytes += bytes.unwrap_or(0),
            Kind::Promote
            | Kind::Follow
            | Kind::Detach
            | Kind::Adopt
            | Kind::Stamp
            | Kind::Demand
            | Kind::Starve
            | Kind::HandOver
            | Kind::HandedOver
            | Kind::Keep
            | Kind::Wait
            | Kind::Fail => {}
        }
    }

    pub(crate) fn switched<E>(&mut self, result: &Result<Switched, E>) {
        match result {
            Ok(switched) => {
                self.switchovers += 1;
                self.switchovers_took += switched.took;
            }
            Err(_) => self.switchovers_failed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_counts_by_its_kind_and_by_what_distinguishes_it() {
        let mut tally = Tally::default();
        for kind in [
            Kind::Abstain {
                reason: Refusal::Behind,
            },
            Kind::Resign {
                reason: Refusal::Behind,
            },
            Kind::Serve {
                cause: Cause::ServerDown,
            },
            Kind::Fence { whose: Whose::Own },
            Kind::Drop { bytes: Some(7) },
            Kind::Drop { bytes: None },
        ] {
            tally.decided(kind);
        }
        let decisions = [
            ("abstain", 1),
            ("drop", 2),
            ("fence", 1),
            ("resign", 1),
            ("serve", 1),
        ];
        assert_eq!(tally.decisions, decisions.into());
        assert_eq!(tally.refusals, [(Refusal::Behind, 2)].into());
        assert_eq!(tally.promotions, [(Cause::ServerDown, 1)].into());
        assert_eq!(tally.fences, [(Whose::Own, 1)].into());
        assert_eq!(tally.dropped_bytes, 7);
    }

    #[test]
    fn the_time_of_switchovers_is_that_of_those_that_succeeded() {
        let mut tally = Tally::default();
        let switched = Switched {
            from: "a".into(),
            to: "b".into(),
            took: Duration::from_millis(40),
        };
        tally.switched::<()>(&Ok(switched.clone()));
        tally.switched(&Err("no"));
        tally.switched::<()>(&Ok(switched));
        assert_eq!(tally.switchovers, 2);
        assert_eq!(tally.switchovers_took, Duration::from_millis(80));
        assert_eq!(tally.switchovers_failed, 1);
    }

    /// Labels and JSON say the same.
    #[test]
    fn names_are_those_of_the_json() {
        for reason in Refusal::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
        let reason = Refusal::Empty;
        let kinds = [
            Kind::Abstain { reason },
            Kind::Refuse { reason },
            Kind::Resign { reason },
            Kind::Promote,
            Kind::Serve {
                cause: Cause::First,
            },
            Kind::Fence { whose: Whose::Own },
            Kind::Follow,
            Kind::Detach,
            Kind::Adopt,
            Kind::Stamp,
            Kind::Demand,
            Kind::Starve,
            Kind::Drop { bytes: None },
            Kind::HandOver,
            Kind::HandedOver,
            Kind::Keep,
            Kind::Wait,
            Kind::Fail,
        ];
        assert_eq!(kinds.map(Kind::name), Kind::NAMES);
        for kind in kinds {
            assert_eq!(serde_json::to_value(kind).unwrap()["kind"], kind.name());
        }
        let kind = Kind::Refuse {
            reason: Refusal::Empty,
        };
        let json = serde_json::json!({ "kind": kind.name(), "reason": "empty" });
        assert_eq!(serde_json::to_value(kind).unwrap(), json);
    }
}

//! Which decisions are worth an event, and what it says.

use bellwether_replication::{Cause, Decided, Kind, Refusal, Whose};

/// The longest note that the API takes, in bytes.
const LONGEST: usize = 1024;

/// What an event is about; the other one is named beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum About {
    /// The own pod.
    Pod,
    /// The Lease.
    Lease,
}

/// An event, before anybody was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) about: About,
    /// Whether somebody should look at it.
    pub(crate) warns: bool,
    pub(crate) reason: &'static str,
    pub(crate) action: &'static str,
    pub(crate) text: String,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Tells the events of one moment apart.
    pub(crate) number: u64,
}

/// Reason, action and whether it warns; `None` for what is not worth an event.
fn heading(kind: Kind) -> Option<(&'static str, &'static str, bool)> {
    let heading = match kind {
        Kind::Serve {
            cause: Cause::First,
        } => ("BecamePrimary", "Promote", false),
        Kind::Serve {
            cause: Cause::HandedOver,
        } => ("TookOver", "Promote", false),
        Kind::Serve {
            cause: Cause::ServerDown | Cause::LeaderLost | Cause::Regained,
        } => ("FailedOver", "Promote", true),
        // The hand-over that these belong to is told.
        Kind::Refuse { reason } | Kind::Resign { reason } if is_planned(reason) => return None,
        Kind::Refuse { .. } => ("PromotionRefused", "Resign", true),
        Kind::Resign { .. } => ("LeadershipGivenUp", "Resign", true),
        Kind::Fence { whose: Whose::Own } => ("Fenced", "Fence", true),
        Kind::Fence {
            whose: Whose::Other,
        } => ("FencedOther", "Fence", true),
        Kind::HandOver => ("HandingOver", "HandOver", false),
        Kind::HandedOver => ("HandedOver", "HandOver", false),
        Kind::Keep => ("HandOverFailed", "HandOver", true),
        Kind::Adopt => ("Adopted", "Adopt", true),
        Kind::Drop { .. } => ("WritesDropped", "Follow", true),
        Kind::Wait => ("Waits", "Wait", true),
        Kind::Starve => ("WritesRefused", "Demand", true),
        // In a vacancy, everybody but one does not stand.
        Kind::Abstain { .. }
        | Kind::Promote
        | Kind::Follow
        | Kind::Detach
        | Kind::Stamp
        | Kind::Demand
        | Kind::Fail => return None,
    };
    Some(heading)
}

fn is_planned(reason: Refusal) -> bool {
    matches!(reason, Refusal::HandedOver | Refusal::Leaving)
}

/// The events of a decision: about the pod, and about the Lease too if another leads now.
pub(crate) fn notes(member: &str, decided: &Decided) -> Vec<Note> {
    let Some((reason, action, warns)) = heading(decided.kind) else {
        return Vec::new();
    };
    let text = format!("{member}: {} ({})", decided.what, decided.why);
    let note = |about| Note {
        about,
        warns,
        reason,
        action,
        text: cut(&text).to_owned(),
        at_ms: decided.at_ms,
        number: decided.number,
    };
    match decided.kind {
        Kind::Serve { .. } => vec![note(About::Pod), note(About::Lease)],
        _ => vec![note(About::Pod)],
    }
}

/// The event of a pause that began or ended.
pub(crate) fn pause(member: &str, paused: bool, at_ms: u64) -> Note {
    let (reason, text) = if paused {
        ("Paused", "automatic failover is paused")
    } else {
        ("Resumed", "automatic failover is paused no more")
    };
    Note {
        about: About::Lease,
        warns: false,
        reason,
        action: "Pause",
        text: format!("{member}: {text}"),
        at_ms,
        number: 0,
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(LONGEST)).rev();
    let mut ends = end.filter(|end| text.is_char_boundary(*end));
    &text[..ends.next().unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(kind: Kind, why: &str) -> Decided {
        Decided {
            number: 7,
            at_ms: 1_000,
            kind,
            what: "serve in term 3".into(),
            why: why.into(),
        }
    }

    #[test]
    fn a_failover_is_told_of_the_pod_and_of_the_lease() {
        let cause = Cause::ServerDown;
        let told = notes("redis-1", &decided(Kind::Serve { cause }, "it is down"));
        let abouts: Vec<_> = told.iter().map(|note| note.about).collect();
        assert_eq!(abouts, [About::Pod, About::Lease]);
        for note in told {
            assert_eq!((note.reason, note.warns), ("FailedOver", true));
            assert_eq!(note.text, "redis-1: serve in term 3 (it is down)");
            assert_eq!((note.at_ms, note.number), (1_000, 7));
        }
    }

    #[test]
    fn planned_changes_do_not_warn() {
        for kind in [
            Kind::Serve {
                cause: Cause::First,
            },
            Kind::Serve {
                cause: Cause::HandedOver,
            },
            Kind::HandOver,
            Kind::HandedOver,
        ] {
            let told = notes("redis-1", &decided(kind, ""));
            assert!(!told.is_empty() && told.iter().all(|note| !note.warns));
        }
    }

    #[test]
    fn what_everybody_does_in_a_vacancy_is_not_told() {
        let reason = Refusal::Behind;
        assert!(notes("a", &decided(Kind::Abstain { reason }, "")).is_empty());
        let told = notes("a", &decided(Kind::Refuse { reason }, ""));
        assert_eq!(told[0].reason, "PromotionRefused");
        let reason = Refusal::HandedOver;
        assert!(notes("a", &decided(Kind::Resign { reason }, "")).is_empty());
    }

    /// As the API wants it.
    #[test]
    fn a_note_is_cut_between_characters() {
        let long = "ä".repeat(LONGEST);
        let told = notes("a", &decided(Kind::Wait, &long));
        assert!((LONGEST - 1..=LONGEST).contains(&told[0].text.len()));
    }
}

//! Worlds of the whole agent as it runs on Kubernetes: sidecars, candidates for a Lease, passports and
//! leader ports; and the bugs that these worlds must find.

use bellwether_election::Plant;

use super::{Bug, Elected, Flaw, every_world, finds_in};

/// How many worlds are run, unless the environment says otherwise.
const SEEDS: u64 = 500;

/// In how many worlds a planted bug must be found. Most are in the first ones; the rest takes that two
/// rare things come together.
const WITHIN: u64 = 3_000;

#[test]
fn every_group_with_a_lease_recovers_and_keeps_what_it_can() {
    every_world(Elected::ByLease, SEEDS);
}

macro_rules! finds {
    ($($name:ident: $bug:expr;)*) => { $(
        #[test]
        fn $name() {
            finds_in(Elected::ByLease, $bug, WITHIN);
        }
    )* };
}

finds! {
    ignoring_the_end_of_a_lease_is_found: Bug::Sidecar(Flaw::IgnoresUntil);
    not_fencing_is_found: Bug::Sidecar(Flaw::DoesNotFence);
    ignoring_data_is_found: Bug::Sidecar(Flaw::IgnoresData);
    serving_before_promotion_is_found: Bug::Sidecar(Flaw::ServesBeforePromotion);
    serving_without_a_passport_is_found: Bug::Sidecar(Flaw::ForgetsPassport);
    ignoring_marks_is_found: Bug::Sidecar(Flaw::IgnoresMarks);
    ignoring_the_group_is_found: Bug::Sidecar(Flaw::IgnoresGroup);
    handing_over_while_paused_is_found: Bug::Sidecar(Flaw::NamesWhilePaused);
    standing_in_vain_is_found: Bug::Sidecar(Flaw::StandsInVain);
    not_waiting_for_all_is_found: Bug::Sidecar(Flaw::DoesNotWait);
    renewing_unchecked_is_found: Bug::Lease(Plant::RenewsUnchecked);
    taking_a_deleted_lease_is_found: Bug::Lease(Plant::TakesAtOnce);
    trusting_other_clocks_is_found: Bug::Lease(Plant::TrustsOtherClocks);
    leading_on_after_a_resignation_is_found: Bug::Lease(Plant::LeadsOnAfterResignation);
    writing_without_a_version_is_found: Bug::Lease(Plant::WritesWithoutVersion);
    a_port_that_ignores_the_end_is_found: Bug::PortIgnoresUntil;
}

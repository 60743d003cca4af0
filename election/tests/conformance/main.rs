//! What every election promises through the seam, and what each promises besides: the same scenes
//! with each backend, over real sockets on loopback.

mod backend;
mod flock;
mod scenes;

/// Each scene with each backend.
macro_rules! with_each_backend {
    ($($scene:ident),* $(,)?) => {
        mod timestamp {
            use crate::{backend::Backend, scenes};
            $(#[tokio::test]
            async fn $scene() {
                scenes::$scene(Backend::Timestamp).await;
            })*
        }

        mod lease {
            use crate::{backend::Backend, scenes};
            $(#[tokio::test]
            async fn $scene() {
                scenes::$scene(Backend::Lease).await;
            })*
        }

        mod raft {
            use crate::{backend::Backend, scenes};
            $(#[tokio::test]
            async fn $scene() {
                scenes::$scene(Backend::Raft).await;
            })*
        }
    };
}

with_each_backend! {
    one_leads_and_all_follow_it_and_see_its_card,
    the_highest_rank_leads_where_ranks_count,
    a_newcomer_leaves_the_leader_alone,
    another_leads_when_the_leader_is_gone,
    the_named_successor_takes_over,
    nobody_leads_when_nobody_stands_until_somebody_does,
    new_cards_reach_the_others,
    who_leaves_is_replaced_and_its_run_ends,
    who_does_not_stand_never_leads,
    who_is_left_alone_leads_only_where_no_majority_is_needed,
    an_election_can_run_again,
}

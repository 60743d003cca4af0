use std::time::Instant;

use crate::lease::failsafe::Confirming;

/// How an election by Lease gets on with the API: for readiness, metrics and people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseStatus {
    /// What keeps this member from reading or writing the Lease, in one line; `None` after a call
    /// that went well. Everything is tried again, so this may heal by itself.
    pub problem: Option<String>,
    /// What keeps the watch from running. Without it changes are seen later, and nothing else.
    pub watch_problem: Option<String>,
    /// When the API last answered a call as asked, or showed the Lease by the watch.
    pub answered: Option<Instant>,
    /// Who holds the Lease, as the Lease says it; `None` while it is free or not known.
    pub holder: Option<String>,
    /// Whether automatic failover is paused, as the Lease says it.
    pub paused: bool,
    /// How often the Lease changed hands, as it says.
    pub transitions: u32,
    /// Calls to the API that went well, since the election began.
    pub calls: u64,
    /// Calls that came to nothing, conflicts included.
    pub failures: u64,
    /// How failsafe stands; `None` if it is off.
    pub failsafe: Option<Confirming>,
    /// Whether the Lease's list of failsafe names this member, also if failsafe is off here.
    pub listing: Listing,
}

/// How the Lease's list of failsafe, its annotation `bellwether.dev/failsafe`, regards a member. Who is
/// not in it cannot know whether the holder is still confirmed, and never takes the Lease from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// It is listed, or it leads, or there is no list: nothing keeps it from a Lease that has run out.
    #[default]
    Open,
    /// It is not listed, as is usual for a moment for who is new: it follows, and waits.
    Unlisted,
    /// It is not listed, and the Lease has run out by its clock. If none of those who are listed takes
    /// it, nobody leads until its holder is back or somebody removes the annotation.
    Stranded,
}

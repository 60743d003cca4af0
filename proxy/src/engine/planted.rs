//! Bugs that the simulation must catch: one that catches none proves nothing.

/// A mistake that this code could make. Tests commit them; nothing else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Deliver what a replaced server says.
    DeliverStale,
    /// Go on after the end of a leadership.
    OutstayLease,
    /// Send again what may have run.
    RepeatUnknown,
    /// Send again what succeeded behind a refused command.
    RepeatWrites,
    /// Send an EXEC again that may have run.
    ResendExec,
    /// Run an EXEC although what it watched was left behind on a lost link.
    ForgetWatch,
    /// Use a new link without setting it up.
    ForgetSettings,
    /// Let clients of different users, databases or protocols share a link.
    MixProfiles,
    /// Say that a request did not run while its link may still answer.
    DenySent,
    /// Forget that a reply to a client that left is still to come.
    SkipDiscardSlot,
    /// Give what a client that left had asked for to the next one.
    GiveToNext,
    /// Lend a link with what the last client left in it.
    LendUncleaned,
    /// Read from a replica while writes of the same client are unanswered.
    ReadOvertakes,
    /// Let clients stay that are to be closed with their primary.
    KeepOrphans,
    /// Let clients in that are to be closed for want of a primary.
    AdmitOrphans,
    /// Close clients without a word about what may have run.
    MuteOrphans,
}

#[cfg(not(test))]
#[inline]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(test)]
pub(crate) use tests::planted;

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Commits this mistake from now on, on this thread.
    pub(crate) fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}

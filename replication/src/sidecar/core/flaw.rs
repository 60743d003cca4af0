use super::Core;

/// Bugs that are planted for the simulator, which must find each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Points a server with data at an empty primary.
    FollowsEmpty,
    /// Promotes without fencing the old primary.
    DoesNotFence,
    /// Promotes an empty server while others have data, and older data while newer is there.
    IgnoresData,
    /// Publishes the own server before it is a verified primary.
    ServesBeforePromotion,
    /// Makes a server primary again that was restarted under its feet.
    IgnoresRestart,
    /// Resigns before the successor has every write.
    HandsOverEarly,
    /// Leaves writes paused after a switchover that failed.
    ForgetsToResume,
    /// Stands although it will have to give way, which nobody can take while failover is paused.
    StandsInVain,
    /// Gives way to a member by itself although failover is paused.
    NamesWhilePaused,
    /// Does not wait for the last writes of a primary that it has fenced.
    SkipsCatchingUp,
    /// Acts on a leadership whose end has come.
    IgnoresUntil,
    /// Stands at once after another leader took its server.
    IgnoresDeposition,
    /// Serves although the passport was not written.
    ForgetsPassport,
    /// Writes the term of leadership into the passport although a dataset has a higher one.
    KeepsTerm,
    /// Never writes a passport again while it serves.
    StampsOnce,
    /// Orders datasets by the term of their passports alone.
    IgnoresMarks,
    /// Takes every dataset for one of its own group.
    IgnoresGroup,
    /// Takes a dataset that a user emptied for one that was lost.
    IgnoresFlush,
    /// Stands before all who are expected have told what they have.
    DoesNotWait,
    /// Serves without having its server demand replicas.
    DemandsNothing,
}

impl Core {
    #[cfg(test)]
    pub(super) fn flawed(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests ask the core itself")]
    pub(super) fn flawed(&self, _flaw: Flaw) -> bool {
        false
    }
}

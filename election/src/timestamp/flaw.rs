/// Bugs that the simulation plants one at a time, to prove that it would find them. Outside of
/// tests nobody can plant one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Follows a leader whose term is lower than one it has seen.
    AcceptsOldTerms,
    /// Chooses a member that does not stand.
    ElectsTheUnwilling,
    /// Says of every candidate that it has just begun to stand.
    IgnoresAge,
    /// Acts on old knowledge after its process was stopped.
    IgnoresStalls,
    /// Takes a restarted member for the one that it was before.
    MixesUpLives,
    /// Claims leadership without raising the term.
    KeepsTermOnClaim,
    /// Leads as soon as it votes for itself.
    LeadsWithoutVotes,
    /// Does not give leadership up when told to.
    LeadsOnAfterResignation,
    /// Never yields to another leader.
    NeverStepsDown,
    /// Renews its lease without telling anybody.
    RenewsInSilence,
    /// Judges a vote before the others have spoken.
    VotesUnheard,
}

/// Bugs that the simulation plants one at a time, to prove that it would find them. Outside of
/// tests nobody can plant one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Asks whom the Lease listed when it was read last, though a write that may have been done lists
    /// others, too.
    AsksWhomItReadOf,
    /// Asks whom a write lists of which it is not known whether it was done.
    AsksWhomItWrote,
    /// Believes what the watch shows, also if it is older than what is known.
    BelievesOldNews,
    /// Wants to lead in each vacancy, though the application spoke in an earlier one.
    CampaignsUnasked,
    /// Counts its lease from the answer instead of from the request.
    CountsFromTheAnswer,
    /// Counts its lease from the confirmation of the last member instead of from the question.
    CountsFromTheConfirmation,
    /// Makes a deleted Lease anew as one that it holds.
    CreatesAsHolder,
    /// Takes a Lease that was deleted for one that nobody held.
    CreatesAtOnce,
    /// Forgets what it promised when it can watch the Lease again.
    ForgetsPromises,
    /// Begins with a low term over a Lease that was deleted.
    ForgetsDeletedTerms,
    /// Leads on when one member does not confirm it.
    ForgivesTheSilent,
    /// Takes a Lease in spite of its promise.
    IgnoresPromises,
    /// Does not leave behind who held the Lease when it releases it.
    ForgetsWhoHeld,
    /// Takes a Lease that is paused, though another held it last.
    IgnoresPauses,
    /// Takes a Lease that was deleted and made again for the one that it was, if it says the same.
    IgnoresRemaking,
    /// Does not hold back for the successor that was named.
    IgnoresSuccessors,
    /// Takes its own Lease up again without a new term.
    KeepsTheTerm,
    /// Does not release a Lease that it got when it did not want it any more.
    KeepsTheUnwanted,
    /// Does not give leadership up when told to.
    LeadsOnAfterResignation,
    /// Leads on what it learnt of a write too late.
    LeadsOnLateAnswers,
    /// Counts confirmations of an earlier round for the present one.
    MixesRounds,
    /// Ends a pause by its renewals.
    LosesPauses,
    /// Does not replace a watch that misses changes.
    NeverRewatches,
    /// Releases without the version, and so the Lease of whoever holds it by now.
    ReleasesWithoutVersion,
    /// Writes over whatever the Lease says once it has led, also if another holds it by now.
    RenewsUnchecked,
    /// Repeats what failed without a pause.
    RetriesAtOnce,
    /// Writes the time of day as its clock shows it, which may stand still.
    StampsByTheClock,
    /// Waits once more for the lease of a dead leader when somebody pauses or resumes.
    TakesPausesForLife,
    /// Takes a Lease whose leader asks others, and not it.
    TakesUnlisted,
    /// Takes a Lease that somebody made out to it by hand, under a leader who does not know yet.
    TakesWhatNamesIt,
    /// Judges another's lease by the time of day that the other wrote.
    TrustsOtherClocks,
    /// Writes without the version that the write was decided on.
    WritesWithoutVersion,
}

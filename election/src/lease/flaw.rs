/// Bugs that the simulation plants one at a time, to prove that it would find them. Outside of
/// tests nobody can plant one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Judges another's lease by the time of day that the other wrote.
    TrustsOtherClocks,
    /// Writes without the version that the write was decided on.
    WritesWithoutVersion,
    /// Counts its lease from the answer instead of from the request.
    CountsFromTheAnswer,
    /// Writes over whatever the Lease says once it has led, also if another holds it by now.
    RenewsUnchecked,
    /// Takes its own Lease up again without a new term.
    KeepsTheTerm,
    /// Releases without the version, and so the Lease of whoever holds it by now.
    ReleasesWithoutVersion,
    /// Takes a Lease that somebody made out to it by hand, under a leader who does not know yet.
    TakesWhatNamesIt,
    /// Makes a deleted Lease anew as one that it holds.
    CreatesAsHolder,
    /// Takes a Lease that was deleted and made again for the one that it was, if it says the same.
    IgnoresRemaking,
    /// Takes a Lease that was deleted for one that nobody held.
    CreatesAtOnce,
    /// Leads on what it learnt of a write too late.
    LeadsOnLateAnswers,
}

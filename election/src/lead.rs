//! Work that is done only by the leader.

use tokio::time::{Instant, sleep_until};

use crate::{Leadership, Participant, Rank, Term};

/// How work that only the leader does has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led<T> {
    /// It came to its own end, while this member led.
    Finished(T),
    /// The leadership ended first, and the work was dropped.
    Deposed,
    /// The election itself has ended: this member will not lead any more.
    Over,
}

impl Participant {
    /// Stands for leadership until this member leads, then does `work` for as long as it leads.
    ///
    /// The work is given the term: hand it to whatever the work changes, so that what a former
    /// leader sent late can be refused there. It is dropped when the leadership ends, at
    /// [`until`](Leadership::Leading) at the latest, wherever it waits at that time: what has to be
    /// undone is undone by its destructors. Work that blocks its thread, and tasks that it spawned,
    /// are not stopped.
    ///
    /// When the work has finished, this member still leads, until it resigns or is dropped.
    ///
    /// ```
    /// use bellwether_election::{Led, Participant, Rank};
    ///
    /// # async fn reconcile(_: bellwether_election::Term) {}
    /// async fn run(participant: Participant) {
    ///     let work = async |term| reconcile(term).await;
    ///     while participant.lead(Rank::default(), work).await == Led::Deposed {}
    /// }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the work is, too; the member goes on standing or leading.
    pub async fn lead<T>(&self, rank: Rank, work: impl AsyncFnOnce(Term) -> T) -> Led<T> {
        let mut leadership = self.leadership();
        let term = loop {
            match *leadership.borrow_and_update() {
                Leadership::Leading { term, .. } => break term,
                // Anew in each vacancy: what was fit before another led may not be fit now.
                Leadership::Vacant => self.campaign(rank.clone()),
                Leadership::Following { .. } => {}
            }
            if leadership.changed().await.is_err() {
                return Led::Over;
            }
        };
        let ended = async {
            loop {
                let until = match *leadership.borrow_and_update() {
                    Leadership::Leading { term: now, until } if now == term => until,
                    _ => return Led::Deposed,
                };
                tokio::select! {
                    biased;
                    () = passed(until) => return Led::Deposed,
                    news = leadership.changed() => if news.is_err() {
                        return Led::Over;
                    },
                }
            }
        };
        tokio::select! {
            biased;
            ended = ended => ended,
            result = work(term) => Led::Finished(result),
        }
    }
}

async fn passed(until: Option<std::time::Instant>) {
    match until {
        Some(until) => sleep_until(Instant::from_std(until)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use bytes::Bytes;

    use super::*;
    use crate::{NodeId, seat};

    fn leading(term: u64, milliseconds: u64) -> Leadership {
        Leadership::Leading {
            term: Term(term),
            until: Some((Instant::now() + Duration::from_millis(milliseconds)).into_std()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_runs_while_its_member_leads_and_no_longer() {
        let (participant, seat) = seat(Bytes::new());
        let task = tokio::spawn(async move {
            let first = participant.lead(Rank::default(), async |_| pending::<()>().await);
            let first = first.await;
            let second = participant.lead(Rank(vec![1]), async |term| term).await;
            (first, second)
        });
        seat.intent().changed().await.unwrap();
        assert!(seat.intent().borrow().candidacy.is_some(), "it stands");
        seat.publish(leading(3, 100));
        tokio::time::sleep(Duration::from_millis(60)).await;
        // A renewal prolongs the work; nothing follows it.
        seat.publish(leading(3, 100));
        tokio::time::sleep(Duration::from_millis(90)).await;
        assert_eq!(seat.intent().borrow().candidacy, Some(Rank::default()));
        seat.publish(Leadership::Vacant);
        let mut intent = seat.intent();
        let anew = |intent: &crate::Intent| intent.candidacy == Some(Rank(vec![1]));
        intent.wait_for(anew).await.unwrap();
        seat.publish(leading(4, 100));
        assert_eq!(task.await.unwrap(), (Led::Deposed, Led::Finished(Term(4))));
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_when_the_lease_does() {
        let (participant, seat) = seat(Bytes::new());
        seat.publish(leading(1, 100));
        let begun = Instant::now();
        let outcome = participant.lead(Rank::default(), async |_| pending::<()>().await);
        assert_eq!(outcome.await, Led::Deposed);
        assert_eq!(begun.elapsed().as_millis(), 100);
        drop(seat);
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_when_another_leads_or_the_election_is_over() {
        let (participant, seat) = seat(Bytes::new());
        seat.publish(leading(1, 60_000));
        let other = NodeId {
            member: "other".into(),
            incarnation: uuid::Uuid::nil(),
        };
        let work = participant.lead(Rank::default(), async |_| pending::<()>().await);
        let deposing = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            seat.publish(Leadership::Following {
                leader: other,
                card: Bytes::new(),
                term: Term(2),
            });
        };
        assert_eq!(tokio::join!(work, deposing).0, Led::Deposed);
        drop(seat);
        let over = participant.lead(Rank::default(), async |_| ()).await;
        assert_eq!(over, Led::Over);
    }
}

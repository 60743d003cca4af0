//! Runs the core over a Raft group: waits, steps, carries out. All policy is the core's.

use std::{collections::BTreeSet, future::pending, pin::Pin, sync::Arc, time::Duration};

use bellwether_raft::{self as raft, Group};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    Error, Intent, Leadership, Seat,
    raft::{
        core::{Action, Core, Facts},
        table::{Command, Register, Table, Voter},
    },
};

/// From one write to the next, unless the table has changed meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// One run of an election.
pub(crate) struct Shell {
    pub(crate) core: Core,
    pub(crate) seat: Seat,
    pub(crate) group: Group<Register>,
    pub(crate) table: watch::Receiver<Arc<Table>>,
    /// How often to look at what nobody tells, such as the time.
    pub(crate) tick: Duration,
    /// How long the last words may take.
    pub(crate) farewell: Duration,
}

/// What is under way: one thing at a time.
struct Work<'a> {
    /// Whom Raft had for its leader when it began; of no interest once that is another.
    /// A hand-over is seen through.
    under: Option<Helm>,
    done: Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>,
}

/// A leader and its term.
type Helm = Option<(Voter, u64)>;

enum Outcome {
    Written,
    NotTaken(Voter),
    HandedOver,
}

impl Shell {
    /// Runs until the application leaves.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let Self {
            mut core,
            seat,
            group,
            mut table,
            tick,
            farewell,
        } = self;
        let mut intent = seat.intent();
        let mut leadership = group.leadership();
        let mut work: Option<Work<'_>> = None;
        let mut not_before = Instant::now();
        loop {
            let status = group.status();
            if let Some(why) = status.ended {
                return Err(Error::Storage(why.into()));
            }
            let helm = helm(&leadership.borrow_and_update(), group.id().0);
            work = work.filter(|work| work.under.is_none_or(|under| under == helm));
            let known = table.borrow_and_update().clone();
            let now = Instant::now();
            let wish: Intent = intent.borrow_and_update().clone();
            let facts = Facts {
                now: now.into_std(),
                intent: &wish,
                spoke: wish.spoke_in == seat.vacancies(),
                raft: &leadership.borrow().clone(),
                voters: ids(&status.voters),
                members: (ids(&status.voters).into_iter())
                    .chain(ids(&status.learners))
                    .collect(),
                answering: status.answering.iter().map(|id| id.0).collect(),
                table: &known,
            };
            let mut again = false;
            for action in core.step(&facts) {
                match action {
                    Action::Publish(leadership) => {
                        seat.publish(leadership);
                        again = true;
                    }
                    Action::PublishPeers(peers) => seat.publish_peers(peers),
                    Action::Write(command) if work.is_none() && now >= not_before => {
                        work = Some(write(&group, helm, &command));
                    }
                    Action::Transfer(to) if work.is_none() && now >= not_before => {
                        work = Some(transfer(&group, to));
                    }
                    // It is asked for again.
                    Action::Write(_) | Action::Transfer(_) => {}
                }
            }
            if again {
                continue;
            }
            let wake_at = if not_before > now && work.is_none() {
                not_before.min(now + tick)
            } else {
                now + tick
            };
            tokio::select! {
                outcome = next(&mut work) => {
                    work = None;
                    not_before = Instant::now() + PAUSE;
                    if let Outcome::NotTaken(successor) = outcome {
                        core.failed(not_before.into_std(), successor);
                    }
                }
                told = intent.changed() => if told.is_err() { break },
                told = leadership.changed() => if told.is_err() {
                    return Err(Error::Storage("the Raft node has ended".into()));
                },
                told = table.changed() => {
                    told.expect("the group keeps its state machine");
                    not_before = Instant::now();
                }
                () = sleep_until(wake_at) => {}
            }
        }
        drop(work);
        seat.publish(Leadership::Vacant);
        let last_words = core.leave(&table.borrow().clone());
        let said = async {
            for word in last_words {
                group.submit(word.encode()).await?;
            }
            Ok::<_, raft::Error>(())
        };
        match timeout(farewell, said).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "left without a word"),
            Err(_) => tracing::debug!("left without a word in time"),
        }
        group.shutdown().await;
        Ok(())
    }
}

fn write<'a>(group: &'a Group<Register>, under: Helm, command: &Command) -> Work<'a> {
    let command = command.encode();
    let done = async move {
        if let Err(error) = group.submit(command).await {
            tracing::debug!(%error, "not written");
        }
        Outcome::Written
    };
    Work {
        under: Some(under),
        done: Box::pin(done),
    }
}

fn transfer(group: &Group<Register>, to: Voter) -> Work<'_> {
    let done = async move {
        match group.transfer(raft::NodeId(to)).await {
            Ok(()) => Outcome::HandedOver,
            Err(error) => {
                tracing::warn!(%error, "the fittest does not take over");
                Outcome::NotTaken(to)
            }
        }
    };
    Work {
        under: None,
        done: Box::pin(done),
    }
}

/// # Cancel safety
///
/// What is under way goes on at the next call.
async fn next(work: &mut Option<Work<'_>>) -> Outcome {
    match work {
        Some(work) => work.done.as_mut().await,
        None => pending().await,
    }
}

fn helm(leadership: &raft::Leadership, me: Voter) -> Helm {
    match leadership {
        raft::Leadership::Vacant => None,
        raft::Leadership::Following { leader, term } => Some((leader.id.0, *term)),
        raft::Leadership::Leading { term, .. } => Some((me, *term)),
    }
}

fn ids(peers: &[raft::Peer]) -> BTreeSet<Voter> {
    peers.iter().map(|peer| peer.id.0).collect()
}

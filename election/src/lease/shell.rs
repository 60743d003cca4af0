//! Runs the core over the Kubernetes API: waits, steps, carries out. All policy is the core's.

use std::{
    collections::BTreeMap,
    future::pending,
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep_until},
};

use crate::{
    Intent, Leadership, NodeId, Peer, Seat,
    lease::{
        api::{Answer, LeaseApi, Trouble},
        core::{Action, Core, Event, Failure, Now, Seen},
        failsafe::{Confirming, Mail, Post, Verdict},
        record::{Snapshot, Wall},
        status::{LeaseStatus, Listing},
        watch::{Told, Watch},
    },
};

/// One run of an election.
pub(crate) struct Shell {
    core: Core,
    seat: Seat,
    api: LeaseApi,
    watch: Watch,
    retry_period: Duration,
    answer: Option<Answer>,
    /// The kind of trouble that was told of last, since the API last answered.
    told_of: Option<mem::Discriminant<Failure>>,
    status: watch::Sender<LeaseStatus>,
    /// The other members, with failsafe.
    post: Option<Post>,
    /// To whom the core's next answer goes.
    asker: Option<oneshot::Sender<Verdict>>,
    paused: watch::Sender<bool>,
}

impl Shell {
    pub(crate) fn new(
        core: Core,
        seat: Seat,
        api: LeaseApi,
        retry_period: Duration,
        status: watch::Sender<LeaseStatus>,
        paused: watch::Sender<bool>,
    ) -> Self {
        Self {
            core,
            seat,
            watch: Watch::open(api.clone(), retry_period),
            api,
            retry_period,
            answer: None,
            told_of: None,
            status,
            post: None,
            asker: None,
            paused,
        }
    }

    /// Asks the other members, and is asked by them.
    pub(crate) fn with_post(mut self, post: Post) -> Self {
        self.post = Some(post);
        self
    }

    /// Runs until the application leaves, and `farewell` longer at most to release the Lease.
    pub(crate) async fn run(mut self, farewell: Duration) {
        let mut intent = self.seat.intent();
        let mut last_call = None;
        let first = self.wish(&mut intent);
        let mut done = self.step(first);
        while !done {
            let wake_at = Instant::from_std(self.core.wake_at(now()));
            let event = tokio::select! {
                biased;
                wish = intent.changed(), if last_call.is_none() => match wish {
                    Ok(()) => self.wish(&mut intent),
                    Err(_) => {
                        let last = self.wish(&mut intent);
                        if self.step(last) {
                            return;
                        }
                        last_call = Some(Instant::now() + farewell);
                        Event::Leave
                    }
                },
                answer = answered(&mut self.answer) => self.answered(answer),
                told = self.watch.next() => match self.told(told) {
                    Some(event) => event,
                    None => continue,
                },
                mail = next_mail(&mut self.post) => self.mail(mail),
                () = at(last_call) => {
                    tracing::warn!("left without having released the Lease: others wait for it to run out");
                    return;
                }
                () = sleep_until(wake_at) => Event::Tick,
            };
            done = self.step(event);
        }
    }

    fn wish(&self, intent: &mut watch::Receiver<Intent>) -> Event {
        let intent = intent.borrow_and_update().clone();
        let spoke = intent.spoke_in == self.seat.vacancies();
        Event::Intent { intent, spoke }
    }

    /// Returns whether nothing is left to do.
    fn step(&mut self, event: Event) -> bool {
        if let Event::Shown(seen) | Event::Answered(Ok(seen)) = &event {
            self.tell_holder(seen);
        }
        let heard = matches!(event, Event::Shown(_));
        let actions = self.core.step(now(), event);
        self.tell_pause();
        if heard {
            // Who follows has nothing to ask for as long as the watch shows renewals.
            let answered = Some(Instant::now().into_std());
            self.status.send_modify(|status| status.answered = answered);
        }
        for action in actions {
            match action {
                Action::Call(call) => self.answer = Some(self.api.call(call)),
                Action::Publish(leadership) => self.publish(leadership),
                Action::Rewatch => {
                    tracing::info!("the watch on the Lease missed a change: beginning another");
                    self.watch = Watch::open(self.api.clone(), self.retry_period);
                }
                Action::Ask(round, ask, members) => {
                    if let Some(post) = &mut self.post {
                        post.ask(round, &ask, members);
                    }
                }
                Action::Answer(verdict) => {
                    if let Some(asker) = self.asker.take() {
                        // Who asked may have given up.
                        let _ = asker.send(verdict);
                    }
                }
                Action::Done => return true,
            }
        }
        self.tell_confirming();
        self.tell_listing();
        false
    }

    fn mail(&mut self, mail: Mail) -> Event {
        match mail {
            Mail::Event(event) => event,
            Mail::Asked(ask, asker) => {
                self.asker = Some(asker);
                Event::Asked(ask)
            }
        }
    }

    /// Tells how failsafe stands; its beginning, its end and its failing also to people.
    fn tell_confirming(&self) {
        let Some(now) = self.core.confirming(now().at) else {
            return;
        };
        self.status.send_if_modified(|status| {
            let before = status.failsafe.take().unwrap_or_default();
            let news = before != now;
            if news {
                report(&before, &now);
            }
            status.failsafe = Some(now);
            news
        });
    }

    /// Tells whether the Lease's list keeps this member from it; people, when that matters.
    fn tell_listing(&self) {
        let now = self.core.listing(now());
        self.status.send_if_modified(|status| {
            let before = mem::replace(&mut status.listing, now);
            match (before, now) {
                (Listing::Open | Listing::Unlisted, Listing::Stranded) => tracing::warn!(
                    holder = status.holder.as_deref(),
                    "as this member sees it, the Lease has run out, and its annotation bellwether.dev/failsafe does not name \
                     this member, which therefore does not take it: whoever is named may, and so may \
                     all when the annotation is removed"
                ),
                (Listing::Stranded, Listing::Open | Listing::Unlisted) => {
                    tracing::info!("the Lease is held again, or names this member, or nobody");
                }
                _ => {}
            }
            before != now
        });
    }

    /// Before anything that comes of it: who acts on that knows.
    fn tell_pause(&self) {
        let paused = self.core.paused();
        self.paused.send_if_modified(|told| {
            if *told == paused {
                return false;
            }
            if paused {
                tracing::warn!("automatic failover is paused: nobody takes the Lease over");
            } else {
                tracing::warn!("automatic failover is no longer paused");
            }
            self.status.send_modify(|status| status.paused = paused);
            *told = paused;
            true
        });
    }

    fn publish(&self, leadership: Leadership) {
        self.seat.publish_peers(known_by(&leadership));
        self.seat.publish(leadership);
    }

    fn answered(&mut self, answer: Result<Seen, Trouble>) -> Event {
        self.answer = None;
        match answer {
            Ok(seen) => {
                if self.told_of.take().is_some() {
                    tracing::info!("the API answers again");
                }
                self.status.send_modify(|status| {
                    status.problem = None;
                    status.answered = Some(Instant::now().into_std());
                    status.calls += 1;
                });
                Event::Answered(Ok(seen))
            }
            Err(Trouble { failure, words }) => {
                self.complain(failure, &words);
                self.status.send_modify(|status| {
                    status.failures += 1;
                    if failure != Failure::Conflict {
                        status.problem = Some(words);
                    }
                });
                Event::Answered(Err(failure))
            }
        }
    }

    /// To lose a race is no trouble, and of a kind of trouble people are told once: in an outage its
    /// words change with every call.
    fn complain(&mut self, failure: Failure, words: &str) {
        let kind = Some(mem::discriminant(&failure));
        if failure == Failure::Conflict || self.told_of == kind {
            return tracing::debug!("{words}");
        }
        tracing::warn!("{words}");
        self.told_of = kind;
    }

    fn told(&mut self, told: Told) -> Option<Event> {
        match told {
            Told::Event(event) => Some(event),
            Told::Problem(problem) => {
                self.status.send_if_modified(|status| {
                    if status.watch_problem == problem {
                        return false;
                    }
                    if let Some(words) = &problem {
                        tracing::warn!("the Lease is polled instead of watched: {words}");
                    }
                    status.watch_problem = problem;
                    true
                });
                None
            }
        }
    }

    fn tell_holder(&self, seen: &Seen) {
        let (holder, transitions) = match seen {
            Seen::Present(Snapshot { record, .. }) => (
                record.holder.clone(),
                record.transitions.max(0).unsigned_abs(),
            ),
            Seen::Absent(_) => (None, 0),
        };
        self.status.send_if_modified(|status| {
            if status.holder == holder && status.transitions == transitions {
                return false;
            }
            (status.holder, status.transitions) = (holder, transitions);
            true
        });
    }
}

/// The peers of whom a Lease tells: the leader.
pub(crate) fn known_by(leadership: &Leadership) -> BTreeMap<NodeId, Peer> {
    let Leadership::Following { leader, card, .. } = leadership else {
        return BTreeMap::new();
    };
    let peer = Peer {
        card: card.clone(),
        leader: Some(leader.clone()),
    };
    BTreeMap::from([(leader.clone(), peer)])
}

fn report(before: &Confirming, now: &Confirming) {
    match (before.asking, now.asking) {
        (false, true) => tracing::warn!(
            members = now.members.join(","),
            "failsafe: the API does not acknowledge; this member leads for as long as all confirm"
        ),
        (true, false) if now.members.is_empty() => {
            tracing::warn!("failsafe: over, this member leads no more");
        }
        (true, false) => tracing::info!("failsafe: over, the API acknowledges again"),
        _ if now.silent != before.silent && !now.silent.is_empty() => tracing::warn!(
            silent = now.silent.join(","),
            "failsafe: not all members confirm; the lease is not prolonged"
        ),
        _ => {}
    }
    match (&before.promised_to, &now.promised_to) {
        (None, Some(leader)) => {
            tracing::info!(
                leader,
                "failsafe: promised not to take the Lease for a while"
            );
        }
        (Some(leader), None) => tracing::info!(leader, "failsafe: the promise is over"),
        _ => {}
    }
}

async fn next_mail(post: &mut Option<Post>) -> Mail {
    match post {
        Some(post) => post.next().await,
        None => pending().await,
    }
}

/// The end of the call that is under way, if there is one.
async fn answered(answer: &mut Option<Answer>) -> Result<Seen, Trouble> {
    match answer {
        Some(answer) => answer.await,
        None => pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn now() -> Now {
    Now {
        at: Instant::now().into_std(),
        wall: wall(),
    }
}

/// A clock before 1970 says nothing; it is not judged by, so any value will do.
fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| Wall::try_from(since.as_micros()).unwrap_or(0))
}

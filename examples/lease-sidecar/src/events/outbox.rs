//! What waits to be told, without I/O or clock: bounded in number, in age, and in how often the API is
//! called.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    Counts,
    note::{About, Note},
};

/// How many events may wait.
const WAITING: usize = 32;

/// How long one may wait: longer than most outages of the API, of which it tells then.
const OLDEST: Duration = Duration::from_secs(300);

/// Between two calls, so that a group that goes back and forth does not flood the API.
const PACE: Duration = Duration::from_millis(200);

/// After a failure, doubled each time up to [`SLOWEST`].
const RETRY: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_secs(30);

/// After it was said that events are not permitted.
const FORBIDDEN: Duration = Duration::from_secs(300);

/// The same again within this belongs to the event that was told first, as client-go has it.
const SERIES: Duration = Duration::from_secs(360);

/// How many events are remembered for that.
const REMEMBERED: usize = 32;

/// One call to the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Make this event.
    Create(Note),
    /// The event of `first` happened again, and now so many times.
    Repeat { first: Note, count: i32, at_ms: u64 },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The API has taken it.
    Told,
    /// This member may not do so.
    Forbidden(String),
    /// The API will never take this one; of a repetition: the first is gone.
    Refused(String),
    /// Another time, perhaps.
    Failed(String),
}

/// The events that wait, and those that were told of late.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<(Instant, Note)>,
    told: Vec<Series>,
    next_at: Instant,
    failures: u32,
    /// The call that was given out.
    call: Option<Call>,
    hurries: bool,
    counts: Counts,
}

/// An event that may happen again.
#[derive(Debug)]
struct Series {
    first: Note,
    count: i32,
    last: Instant,
}

impl Outbox {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            told: Vec::new(),
            next_at: now,
            failures: 0,
            call: None,
            hurries: false,
            counts: Counts::default(),
        }
    }

    /// The oldest gives way to a new one.
    pub(crate) fn push(&mut self, now: Instant, note: Note) {
        if self.waiting.len() == WAITING {
            self.drop_first();
        }
        self.waiting.push_back((now, note));
    }

    /// So many passed before they could wait here.
    pub(crate) fn miss(&mut self, count: u64) {
        self.counts.dropped += count;
    }

    /// From now on each is tried once, at once.
    pub(crate) fn hurry(&mut self) {
        self.hurries = true;
    }

    /// The call that is to be made now, if any. [`done`](Self::done) says what came of it.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Call> {
        let is_old = |(since, _): &(Instant, Note)| *since + OLDEST <= now;
        while self.waiting.front().is_some_and(is_old) {
            self.drop_first();
        }
        if now < self.next_at && !self.hurries {
            return None;
        }
        let (_, note) = self.waiting.front()?;
        self.told.retain(|series| now < series.last + SERIES);
        let known = self.told.iter().find(|series| alike(&series.first, note));
        let call = match known {
            Some(series) => Call::Repeat {
                first: series.first.clone(),
                count: series.count.saturating_add(1),
                at_ms: note.at_ms,
            },
            None => Call::Create(note.clone()),
        };
        self.call = Some(call.clone());
        Some(call)
    }

    /// What came of the call that was given out last.
    pub(crate) fn done(&mut self, now: Instant, outcome: &Outcome) {
        let Some(call) = self.call.take() else {
            return;
        };
        if *outcome != Outcome::Told {
            self.failures = self.failures.saturating_add(1);
        }
        match outcome {
            Outcome::Told => {
                self.failures = 0;
                self.counts.told += 1;
                self.waiting.pop_front();
                self.remember(now, call);
                self.next_at = now + PACE;
            }
            Outcome::Forbidden(_) => {
                while !self.waiting.is_empty() {
                    self.drop_first();
                }
                self.next_at = now + FORBIDDEN;
            }
            Outcome::Refused(_) => {
                match call {
                    // Events do not live for ever. This one is made anew.
                    Call::Repeat { first, .. } => {
                        self.told.retain(|series| !alike(&series.first, &first));
                    }
                    Call::Create(_) => self.drop_first(),
                }
                self.next_at = now + PACE;
            }
            Outcome::Failed(_) if self.hurries => self.drop_first(),
            Outcome::Failed(_) => {
                let longer = 1 << (self.failures - 1).min(5);
                self.next_at = now + (RETRY * longer).min(SLOWEST);
            }
        }
    }

    /// When to ask for the next call, if one waits.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let (since, _) = self.waiting.front()?;
        Some(self.next_at.min(*since + OLDEST))
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    fn remember(&mut self, now: Instant, call: Call) {
        match call {
            Call::Create(first) => {
                if self.told.len() == REMEMBERED {
                    self.told.remove(0);
                }
                self.told.push(Series {
                    first,
                    count: 1,
                    last: now,
                });
            }
            Call::Repeat { first, count, .. } => {
                let same = |series: &&mut Series| alike(&series.first, &first);
                if let Some(series) = self.told.iter_mut().find(same) {
                    series.count = count;
                    series.last = now;
                }
            }
        }
    }

    fn drop_first(&mut self) {
        if self.waiting.pop_front().is_some() {
            self.counts.dropped += 1;
        }
    }
}

/// Whether one is the other again. What it says in words is not compared: it has numbers in it.
fn alike(a: &Note, b: &Note) -> bool {
    let key = |note: &Note| -> (About, bool, &str, &str) {
        (note.about, note.warns, note.reason, note.action)
    };
    key(a) == key(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(reason: &'static str, number: u64) -> Note {
        Note {
            about: About::Pod,
            warns: true,
            reason,
            action: "Act",
            text: format!("number {number}"),
            at_ms: number,
            number,
        }
    }

    fn failed() -> Outcome {
        Outcome::Failed("away".into())
    }

    struct Scene {
        now: Instant,
        outbox: Outbox,
    }

    impl Scene {
        fn new() -> Self {
            let now = Instant::now();
            let outbox = Outbox::new(now);
            Self { now, outbox }
        }

        fn push(&mut self, reason: &'static str, number: u64) {
            self.outbox.push(self.now, note(reason, number));
        }

        /// The next call, at the time that was told for it.
        fn call(&mut self, outcome: &Outcome) -> Option<Call> {
            self.now = self.now.max(self.outbox.wake_at()?);
            let call = self.outbox.next(self.now)?;
            self.outbox.done(self.now, outcome);
            Some(call)
        }

        fn counts(&self) -> (u64, u64) {
            let Counts { told, dropped } = self.outbox.counts();
            (told, dropped)
        }
    }

    #[test]
    fn events_are_told_in_their_order_and_not_faster_than_the_pace() {
        let mut scene = Scene::new();
        scene.push("A", 1);
        scene.push("B", 2);
        let began = scene.now;
        let told = Outcome::Told;
        assert_eq!(scene.call(&told), Some(Call::Create(note("A", 1))));
        assert_eq!(scene.outbox.next(scene.now), None, "too soon");
        assert_eq!(scene.call(&told), Some(Call::Create(note("B", 2))));
        assert_eq!(scene.now, began + PACE);
        assert_eq!(scene.outbox.wake_at(), None);
        assert_eq!(scene.counts(), (2, 0));
    }

    #[test]
    fn the_same_again_is_a_series_of_the_first() {
        let mut scene = Scene::new();
        let repeat = |count, at_ms| {
            let first = note("A", 1);
            Some(Call::Repeat {
                first,
                count,
                at_ms,
            })
        };
        for number in 1..=3 {
            scene.push("A", number);
        }
        let told = Outcome::Told;
        assert_eq!(scene.call(&told), Some(Call::Create(note("A", 1))));
        assert_eq!(scene.call(&told), repeat(2, 2));
        assert_eq!(scene.call(&failed()), repeat(3, 3));
        assert_eq!(scene.call(&told), repeat(3, 3));
        // Somebody removed it.
        scene.push("A", 4);
        let gone = Outcome::Refused("not found".into());
        assert_eq!(scene.call(&gone), repeat(4, 4));
        assert_eq!(scene.call(&told), Some(Call::Create(note("A", 4))));
        // Long after.
        scene.now += SERIES;
        scene.push("A", 5);
        assert_eq!(scene.call(&told), Some(Call::Create(note("A", 5))));
        assert_eq!(scene.counts(), (5, 0));
    }

    #[test]
    fn of_too_many_the_oldest_are_dropped_and_counted() {
        let mut scene = Scene::new();
        let many = WAITING as u64 + 3;
        for number in 1..=many {
            scene.push("A", number);
        }
        assert_eq!(scene.counts(), (0, 3));
        // And what never came to wait.
        scene.outbox.miss(2);
        assert_eq!(scene.counts(), (0, 5));
        let first = Call::Create(note("A", 4));
        assert_eq!(scene.call(&Outcome::Told), Some(first));
    }

    #[test]
    fn while_the_api_is_away_it_is_tried_slower_and_slower_and_then_given_up() {
        let mut scene = Scene::new();
        scene.push("A", 1);
        let began = scene.now;
        let mut tries = Vec::new();
        while scene.call(&failed()).is_some() {
            tries.push((scene.now - began).as_secs());
        }
        assert_eq!(tries[..7], [0, 1, 3, 7, 15, 31, 61]);
        assert_eq!(scene.now, began + OLDEST);
        assert_eq!(scene.counts(), (0, 1));
        // One that comes when the API is back waits no longer than the last pause.
        scene.push("A", 2);
        let second = Call::Create(note("A", 2));
        assert_eq!(scene.call(&Outcome::Told), Some(second));
        assert!(scene.now <= began + OLDEST + SLOWEST);
    }

    #[test]
    fn without_permission_one_asks_again_after_minutes() {
        let mut scene = Scene::new();
        scene.push("A", 1);
        scene.push("B", 2);
        let began = scene.now;
        let forbidden = Outcome::Forbidden("no".into());
        assert!(scene.call(&forbidden).is_some());
        assert_eq!(scene.counts(), (0, 2));
        scene.now += Duration::from_secs(60);
        scene.push("C", 3);
        let third = Call::Create(note("C", 3));
        assert_eq!(scene.call(&Outcome::Told), Some(third));
        assert_eq!(scene.now, began + FORBIDDEN);
    }

    #[test]
    fn what_the_api_will_never_take_is_dropped() {
        let mut scene = Scene::new();
        scene.push("A", 1);
        scene.push("B", 2);
        let refused = Outcome::Refused("too long".into());
        assert!(scene.call(&refused).is_some());
        let second = Call::Create(note("B", 2));
        assert_eq!(scene.call(&Outcome::Told), Some(second));
        assert_eq!(scene.counts(), (1, 1));
    }

    #[test]
    fn at_the_end_each_is_tried_once_and_at_once() {
        let mut scene = Scene::new();
        for (reason, number) in [("A", 1), ("B", 2), ("C", 3)] {
            scene.push(reason, number);
        }
        scene.outbox.hurry();
        let mut calls = 0;
        while scene.outbox.next(scene.now).is_some() {
            calls += 1;
            scene.outbox.done(scene.now, &failed());
        }
        assert_eq!((calls, scene.counts()), (3, (0, 3)));
    }
}

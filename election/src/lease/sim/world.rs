//! A world: members with drifting clocks, and an API that is far away.

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;
use uuid::Uuid;

use super::{
    calls::Faults,
    clock::Clock,
    foreign::Foreign,
    judge::Judge,
    node::{CallId, Node, Running},
    pauses::Pauses,
    peers::Peers,
    queue::{Queue, Reach, What},
    server::Server,
};
use crate::{
    Leadership, NodeId, Participant,
    lease::{
        Flaw, LeaseConfig,
        config::Timing,
        core::{Action, Core, Event, Failure, Seen},
    },
};

/// Real time, in microseconds since the world began.
pub(super) type Micros = u64;

pub(super) const MS: Micros = 1000;

/// More ticks in a second than these are a core that asks to be woken for nothing.
const MAX_TICKS: u32 = 100;

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) timing: Timing,
    pub(super) fence_timeout: Duration,
    pub(super) call_timeout: Duration,
    pub(super) now: Micros,
    pub(super) nodes: Vec<Node>,
    pub(super) server: Server,
    pub(super) faults: Faults,
    pub(super) judge: Judge,
    pub(super) pauses: Pauses,
    /// Another program that holds the Lease at times.
    pub(super) foreign: Option<Foreign>,
    /// Whose applications have something to hear; `None` where the world speaks for them.
    pub(super) news: Option<BTreeSet<usize>>,
    /// Most applications answer within 30 ms, a few take up to this.
    pub(super) speak_within: Micros,
    /// Until when the last one is told to wait by a refusal.
    pub(super) told_to_wait: Micros,
    pub(super) peers: Peers,
    flaw: Option<Flaw>,
    pub(super) queue: Queue,
    pub(super) serial: u64,
    pub(super) steps: u64,
    /// Tells what happens, when one world is replayed.
    pub(super) tells: bool,
}

impl World {
    /// A world without faults.
    pub(super) fn new(seed: u64, size: usize, config: &LeaseConfig, flaw: Option<Flaw>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let nodes = (0..size)
            .map(|n| {
                Node::new(
                    format!("m{n}"),
                    Clock::drifting(&mut rng, config.clock_drift),
                )
            })
            .collect();
        Self {
            rng,
            timing: config.timing(),
            fence_timeout: config.fence_timeout,
            call_timeout: config.call_timeout(),
            now: 0,
            nodes,
            server: Server::default(),
            faults: Faults::none(),
            judge: Judge::default(),
            pauses: Pauses::default(),
            foreign: None,
            news: None,
            speak_within: 1500 * MS,
            told_to_wait: 0,
            peers: Peers::new(),
            flaw,
            queue: Queue::default(),
            serial: 0,
            steps: 0,
            tells: std::env::var_os("BELLWETHER_SEED").is_some(),
        }
    }

    pub(super) fn retry_period(&self) -> Micros {
        micros(self.timing.retry_period)
    }

    /// When something happens next.
    #[cfg(feature = "simulation")]
    pub(super) fn next_at(&self) -> Option<Micros> {
        self.queue.next_at()
    }

    /// Lets time pass until then.
    pub(super) fn run_until(&mut self, end: Micros) {
        while let Some((at, what)) = self.queue.pop_until(end) {
            self.now = at;
            self.happen(what);
        }
        self.now = end;
    }

    pub(super) fn later(&mut self, after: Micros, what: What) {
        self.serial += 1;
        self.queue.push(self.now + after, self.serial, what);
    }

    /// Calls that are still on their way arrive now, or never.
    pub(super) fn flush_calls(&mut self) {
        for (request, reply) in self.queue.take_calls() {
            if self.rng.bool() {
                self.land(&request, reply);
            }
        }
    }

    pub(super) fn start(&mut self, n: usize) {
        let id = NodeId {
            member: self.nodes[n].name.clone(),
            incarnation: Uuid::from_u128(self.rng.u128(..)),
        };
        self.tell(n, &"starts");
        let local = self.nodes[n].clock.at(self.now);
        let seed = self.rng.u64(..);
        let core = Core::new(id.clone(), self.timing, local, seed, self.flaw);
        self.nodes[n].start(id, core);
        let running = self.nodes[n].running.as_ref().expect("just started");
        let first = running.wished();
        self.open_watch(n);
        self.step(n, first);
        self.tell_roster(n);
        let pause = self.pause();
        self.speak_later(n, pause);
    }

    /// The application says later whether it stands, unless it is none of this world's.
    fn speak_later(&mut self, n: usize, after: Micros) {
        if self.news.is_none() {
            let life = self.nodes[n].life;
            self.later(after, What::Speak(n, life));
        }
    }

    pub(super) fn running(&mut self, n: usize) -> &mut Running {
        self.nodes[n].running.as_mut().expect("it runs")
    }

    /// Ends a process without a word.
    pub(super) fn crash(&mut self, n: usize) {
        self.tell(n, &"ends");
        self.nodes[n].end();
    }

    /// The application leaves; the process ends when its core is done.
    pub(super) fn leave(&mut self, n: usize) {
        self.tell(n, &"leaves");
        self.stops(n);
        let running = self.nodes[n]
            .running
            .as_mut()
            .expect("only the living leave");
        running.participant = None;
        self.step(n, Event::Leave);
    }

    /// Ends a stop at once.
    pub(super) fn resume(&mut self, n: usize) {
        let life = self.nodes[n].life;
        self.happen(What::Resume(n, life));
    }

    /// How long an application takes to answer.
    fn pause(&mut self) -> Micros {
        let most = match self.rng.u8(..) {
            0..16 => self.speak_within,
            _ => 30 * MS,
        };
        self.rng.u64(0..=most)
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Wake(n, life, at) => {
                // A timer that was set anew since then does not fire.
                if self.runs(n, life) && self.nodes[n].wake == at {
                    self.nodes[n].wake = 0;
                    self.reach(n, Reach::Tick);
                }
            }
            What::Reach(n, life, reach) => {
                if self.nodes[n].is_alive(life) {
                    if self.nodes[n].stopped {
                        self.nodes[n].inbox.push(reach);
                    } else {
                        self.reach(n, reach);
                    }
                }
            }
            What::Land(request, reply) => self.land(&request, reply),
            What::Watch(n, life, id) => {
                if self.nodes[n].is_alive(life) {
                    self.reopen_watch(n, id);
                }
            }
            What::Speak(n, life) => {
                if self.runs(n, life) {
                    self.speak(n);
                }
            }
            What::Resume(n, life) => {
                if self.nodes[n].is_alive(life) && self.nodes[n].stopped {
                    self.wake_up(n);
                }
            }
            What::Foreign => self.foreign_turn(),
            What::Deletion => self.delete_lease(),
            What::Ask(to, question) => self.question(to, question),
        }
    }

    fn wake_up(&mut self, n: usize) {
        self.tell(n, &"goes on");
        self.nodes[n].stopped = false;
        let mut inbox = std::mem::take(&mut self.nodes[n].inbox);
        // The turn of a timer may come before or after what waits in the sockets.
        let turn = self.rng.usize(0..=inbox.len());
        inbox.insert(turn, Reach::Tick);
        if self.rng.bool() {
            inbox.sort_by_key(|reach| !matches!(reach, Reach::Answered(..)));
        }
        for reach in inbox {
            self.reach(n, reach);
        }
        // Its application was stopped as well.
        self.speak_later(n, 0);
    }

    /// The application says whether it stands, in whatever vacancy there is.
    pub(super) fn speak(&mut self, n: usize) {
        let stands = self.nodes[n].stands;
        if !stands {
            self.stops(n);
        }
        let running = self.nodes[n].running.as_mut();
        if let Some(event) = running.and_then(|running| running.speak(stands)) {
            self.tell(n, &if stands { "campaigns" } else { "resigns" });
            self.step(n, event);
        }
    }

    /// The application gives leadership up, or withdraws, in favour of whom it names.
    pub(super) fn resign(&mut self, n: usize, successor: Option<NodeId>) {
        self.stops(n);
        self.tell(n, &("resigns for", &successor));
        let running = self.nodes[n].running.as_mut();
        let wish = running.and_then(|it| it.wish(|participant| participant.resign(successor)));
        if let Some(event) = wish {
            self.step(n, event);
            assert!(
                self.nodes[n].leads().is_none(),
                "{} leads on",
                self.nodes[n].name
            );
        }
    }

    /// The application acts, and its member hears of it.
    pub(super) fn wish(&mut self, n: usize, act: impl FnOnce(&Participant)) {
        let running = self.nodes[n].running.as_mut();
        if let Some(event) = running.and_then(|running| running.wish(act)) {
            self.step(n, event);
        }
    }

    fn runs(&self, n: usize, life: u64) -> bool {
        self.nodes[n].is_alive(life) && !self.nodes[n].stopped
    }

    fn reach(&mut self, n: usize, reach: Reach) {
        match reach {
            Reach::Tick => self.step(n, Event::Tick),
            Reach::Answered(id, answer) => self.answered(n, id, answer),
            Reach::TimedOut(id) => self.answered(n, id, Err(Failure::Lost)),
            Reach::Watched(id, event) => self.watched(n, id, event),
            Reach::Asked(question) => self.asked(n, question),
            Reach::Confirmed(round, member) => self.confirmed(n, round, member),
        }
    }

    /// What comes after a call has been given up is not heard.
    fn answered(&mut self, n: usize, id: CallId, answer: Result<Seen, Failure>) {
        let Some(running) = &mut self.nodes[n].running else {
            return;
        };
        if running.pending == Some(id) {
            running.pending = None;
            if let Err(failure) = answer {
                self.note_wait(failure);
            }
            self.step(n, Event::Answered(answer));
        }
    }

    pub(super) fn step(&mut self, n: usize, event: Event) {
        self.steps += 1;
        self.count_tick(n, &event);
        if self.tells && !matches!(event, Event::Tick | Event::Intent { .. }) {
            self.tell(n, &event);
        }
        let now = self.nodes[n].clock.now(self.now);
        let Some(running) = &mut self.nodes[n].running else {
            return;
        };
        let paused = running.paused;
        let (actions, wake_at) = running.step(now, event);
        if running.paused != paused
            && let Some(news) = &mut self.news
        {
            news.insert(n);
        }
        for action in actions {
            match action {
                Action::Call(call) => {
                    self.tell(n, &call);
                    self.send(n, now, call);
                }
                Action::Publish(leadership) => self.publish(n, &leadership),
                Action::Rewatch => {
                    self.tell(n, &"begins another watch");
                    self.open_watch(n);
                }
                Action::Ask(round, ask, members) => self.ask(n, now, (round, ask), members),
                Action::Answer(verdict) => self.answer_peer(n, verdict),
                Action::Done => {
                    self.tell(n, &"is done");
                    self.crash(n);
                    return;
                }
            }
        }
        let at = self.nodes[n].clock.real(wake_at).max(self.now);
        if self.nodes[n].wake != at {
            self.nodes[n].wake = at;
            let life = self.nodes[n].life;
            // A timer is never exact.
            let late = self.rng.u64(0..2 * MS);
            self.later(at - self.now + late, What::Wake(n, life, at));
        }
    }

    fn count_tick(&mut self, n: usize, event: &Event) {
        if matches!(event, Event::Tick) {
            let second = self.now / (1000 * MS);
            let (counted, ticks) = self.nodes[n].ticks;
            let ticks = if counted == second { ticks + 1 } else { 0 };
            assert!(ticks < MAX_TICKS, "m{n} is woken all the time");
            self.nodes[n].ticks = (second, ticks);
        }
    }

    fn publish(&mut self, n: usize, leadership: &Leadership) {
        self.tell(n, leadership);
        let order = !self.server.opaque;
        let running = self.nodes[n].running.as_mut().expect("it publishes");
        let begins = running.publish(leadership.clone(), order);
        self.judge(n, leadership, begins);
        if let Some(news) = &mut self.news {
            news.insert(n);
        }
        if *leadership == Leadership::Vacant {
            let pause = self.pause() + self.nodes[n].slow_to_speak;
            self.speak_later(n, pause);
        }
    }

    /// A refusal may order its receiver to wait.
    fn note_wait(&mut self, failure: Failure) {
        let wait = match failure {
            Failure::Busy(Some(wanted)) => wanted.min(self.timing.renew_deadline),
            Failure::Denied => self.timing.retry_period * 10,
            _ => return,
        };
        let until = self.now + micros(wait.mul_f64(1.0 + self.timing.jitter));
        self.told_to_wait = self.told_to_wait.max(until);
    }

    /// Prints news of a member, or of the world by the member's number.
    pub(super) fn tell(&self, n: usize, news: &dyn std::fmt::Debug) {
        if self.tells {
            let (at, name) = (self.now as f64 / MS as f64, &self.nodes[n].name);
            println!("{at:>9.3} lease of {name}: {news:?}");
        }
    }
}

pub(super) fn micros(time: Duration) -> Micros {
    u64::try_from(time.as_micros()).expect("worlds are short")
}

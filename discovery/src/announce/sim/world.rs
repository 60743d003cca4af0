//! Nodes, an API between which calls are late, lost and repeated, and what must hold.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use super::super::core::{Action, Core, Event, Failure};
use super::super::leader::{Announcement, Leader};
use super::super::plan::{Subject, Write};
use super::super::seen::{Seen, View};

use super::api::Api;
use super::flaw::{Flaw, Flawed};
use super::setting::{Setting, config, pod};

/// How the calls fare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Of 100 calls, so many are lost on their way there, or their answers on the way back.
    pub(super) loss: u8,
    /// Of 100 writes, so many arrive a second time.
    pub(super) repeats: u8,
    /// Of 100 calls, so many are answered with an error of the API and do nothing.
    pub(super) errors: u8,
    /// On each way; of 100 calls, 10 take up to fifty times as long.
    pub(super) delay: Duration,
}

const FINE: Weather = Weather {
    loss: 0,
    repeats: 0,
    errors: 0,
    delay: Duration::from_millis(20),
};

pub(super) struct Node<S> {
    core: Core<Flawed<S>>,
    /// Whom its process will say it is, once it runs.
    elected: Option<Leader>,
    /// Whom its process says it is.
    leader: Option<Leader>,
    /// The call under way; answers to others are dropped.
    pub(super) call: u64,
    pub(super) watch: Option<u64>,
    /// Of the last read.
    version: u64,
    stopped_until: Instant,
}

pub(super) enum What {
    /// A node is told whom to announce: whoever it is by then.
    Tell(usize),
    /// A call has reached the API.
    Arrive(usize, u64, Call),
    /// An answer, if the call is still waited for.
    Answer(usize, u64, Answer),
    /// The watch, if it is still listened to.
    Hear(usize, u64, Event),
    /// A watch is asked for from a version.
    Open(usize, u64, u64),
    /// What a watch has to tell by now.
    Serve(u64),
}

pub(super) enum Call {
    Read,
    Write(Write),
}

pub(super) enum Answer {
    Read(Result<(View, u64), Failure>),
    Wrote(Result<Seen, Failure>),
}

pub(super) struct World<S> {
    pub(super) rng: Rng,
    pub(super) api: Api,
    pub(super) nodes: Vec<Node<S>>,
    /// Whether somebody else changes objects, too.
    pub(super) hands: bool,
    pub(super) writes_sent: u64,
    pub(super) subject: Flawed<S>,
    pub(super) weather: Weather,
    start: Instant,
    now: Instant,
    queue: BTreeMap<(Instant, u64), What>,
    pub(super) serial: u64,
    term: u64,
    /// The highest term that was on an object, by name and uid.
    pub(super) marks: BTreeMap<(String, String), u64>,
}

impl<S: Setting> World<S> {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    pub(super) fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (config, start) = (config(), Instant::now());
        let subject = Flawed {
            subject: S::start(&config),
            flaw,
        };
        let count = rng.usize(2..=4);
        let node = |_| Node {
            core: Core::new(subject.clone(), &config, rng.fork()),
            elected: None,
            leader: None,
            call: 0,
            watch: None,
            version: 0,
            stopped_until: start,
        };
        let nodes = (0..count).map(node).collect();
        let mut api = Api::default();
        for name in S::names(count) {
            api.put(&name, S::fresh());
        }
        Self {
            hands: rng.bool(),
            rng,
            api,
            nodes,
            writes_sent: 0,
            subject,
            weather: FINE,
            start,
            now: start,
            queue: BTreeMap::new(),
            serial: 0,
            term: 0,
            marks: BTreeMap::new(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wake = |node: &Node<S>| Some(node.core.wake_at()?.max(node.stopped_until));
            let woken = self.nodes.iter().filter_map(wake).min();
            let next = queued.into_iter().chain(woken).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if queued == Some(next) {
                let (_, what) = self.queue.pop_first().expect("it was seen");
                self.happen(what);
            } else {
                let due = |node: &Node<S>| wake(node) == Some(next);
                let n = self.nodes.iter().position(due).expect("it was seen");
                self.step(n, Event::Tick);
            }
        }
        self.now = end;
    }

    /// Another term: most often the last leader is deposed, but it may not know.
    pub(super) fn elect(&mut self, n: usize) {
        for other in 0..self.nodes.len() {
            if other != n && self.rng.u8(..) < 150 {
                self.depose(other);
            }
        }
        self.term += 1;
        let until = self.draw_end();
        self.lead(n, Some((self.term, until)));
    }

    pub(super) fn depose(&mut self, n: usize) {
        self.lead(n, None);
    }

    pub(super) fn renew(&mut self, n: usize) {
        let until = self.draw_end();
        if let Some(leader) = &self.nodes[n].elected {
            let term = leader.term;
            self.lead(n, Some((term, until)));
        }
    }

    pub(super) fn stop(&mut self, n: usize) {
        let pause = Duration::from_millis(self.rng.u64(0..20_000));
        self.nodes[n].stopped_until = self.now + pause;
    }

    pub(super) fn edit(&mut self) {
        if let Some((name, mut object)) = self.any_object() {
            S::edit(&mut self.rng, &mut object);
            self.change(|api| api.put(&name, object));
        }
    }

    /// Deletes an object, or creates one that is not there.
    pub(super) fn recreate(&mut self) {
        let names = S::names(self.nodes.len());
        let name = &names[self.rng.usize(0..names.len())];
        if self.api.objects().contains_key(name) {
            self.change(|api| api.remove(name));
        } else {
            self.change(|api| api.put(name, S::fresh()));
        }
    }

    pub(super) fn turn_weather(&mut self) {
        let pick = |rng: &mut Rng, from: [u8; 4]| from[rng.usize(0..4)];
        self.weather = Weather {
            loss: pick(&mut self.rng, [0, 5, 20, 90]),
            repeats: pick(&mut self.rng, [0, 0, 20, 50]),
            errors: pick(&mut self.rng, [0, 5, 30, 60]),
            delay: Duration::from_millis(pick(&mut self.rng, [1, 20, 100, 200]).into()),
        };
    }

    /// Ends all trouble, but that one older leader may go on for ever.
    pub(super) fn heal(&mut self) {
        self.weather = FINE;
        for node in &mut self.nodes {
            node.stopped_until = self.now;
        }
        for name in S::names(self.nodes.len()) {
            if !self.api.objects().contains_key(&name) {
                self.change(|api| api.put(&name, S::fresh()));
            }
        }
        // The last leader leads on with whatever it waits for, or another one begins.
        let last = |node: &Node<S>| node.elected.as_ref().is_some_and(|it| it.term == self.term);
        let last = self.nodes.iter().position(last).filter(|_| self.rng.bool());
        let n = last.unwrap_or_else(|| {
            let n = self.rng.usize(0..self.nodes.len());
            self.elect(n);
            n
        });
        self.lead(n, Some((self.term, None)));
    }

    /// Whether the last leader is announced, and knows it.
    pub(super) fn is_right(&self) -> bool {
        let last = |node: &&Node<S>| node.leader.as_ref().is_some_and(|it| it.term == self.term);
        let Some(Node { core, leader, .. }) = self.nodes.iter().find(last) else {
            return false;
        };
        let pod = &leader.as_ref().expect("it leads").member;
        S::is_right(self.api.objects(), pod, self.term)
            && matches!(core.told(), Announcement::Announced { .. })
    }

    pub(super) fn told(&self) -> Vec<&Announcement> {
        self.nodes.iter().map(|node| node.core.told()).collect()
    }

    fn draw_end(&mut self) -> Option<Instant> {
        let lease = Duration::from_millis(self.rng.u64(100..15_000));
        self.rng.bool().then_some(self.now + lease)
    }

    fn lead(&mut self, n: usize, spell: Option<(u64, Option<Instant>)>) {
        let leader = spell.map(|(term, until)| Leader {
            member: pod(n),
            term,
            until,
        });
        self.nodes[n].elected = leader;
        self.happen(What::Tell(n));
    }

    fn tell(&mut self, n: usize) {
        let mut leader = self.nodes[n].elected.clone();
        self.nodes[n].leader.clone_from(&leader);
        if let (Some(Flaw::NoEnd), Some(leader)) = (self.subject.flaw, &mut leader) {
            leader.until = None;
        }
        self.step(n, Event::Leader(leader));
    }

    fn any_object(&mut self) -> Option<(String, Value)> {
        let objects = self.api.objects();
        let at = self.rng.usize(0..objects.len().max(1));
        let (name, object) = objects.iter().nth(at)?;
        Some((name.clone(), object.clone()))
    }

    pub(super) fn later(&mut self, delay: Duration, what: What) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), what);
    }

    pub(super) fn transit(&mut self) -> Duration {
        let slow = if self.rng.u8(0..100) < 10 { 50 } else { 1 };
        self.weather.delay.mul_f64(self.rng.f64()) * slow
    }

    pub(super) fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    fn happen(&mut self, what: What) {
        let to = match &what {
            What::Tell(n) | What::Answer(n, ..) | What::Hear(n, ..) => Some(*n),
            What::Arrive(..) | What::Open(..) | What::Serve(_) => None,
        };
        let stopped = to.map(|n| {
            self.nodes[n]
                .stopped_until
                .saturating_duration_since(self.now)
        });
        if let Some(rest) = stopped.filter(|rest| !rest.is_zero()) {
            return self.later(rest, what);
        }
        match what {
            What::Tell(n) => self.tell(n),
            What::Answer(n, call, answer) if self.nodes[n].call == call => {
                self.nodes[n].call = 0;
                let event = match answer {
                    Answer::Read(read) => Event::Read(read.map(|(view, version)| {
                        self.nodes[n].version = version;
                        view
                    })),
                    Answer::Wrote(wrote) => Event::Wrote(wrote),
                };
                self.step(n, event);
            }
            What::Hear(n, watch, event) if self.nodes[n].watch == Some(watch) => {
                if matches!(event, Event::Unwatched(_)) {
                    self.nodes[n].watch = None;
                }
                self.step(n, event);
            }
            What::Answer(..) | What::Hear(..) => {}
            What::Arrive(n, call, what) => self.arrive(n, call, what),
            What::Open(n, id, version) => self.open(n, id, version),
            What::Serve(id) => self.serve(id),
        }
    }

    fn step(&mut self, n: usize, event: Event) {
        for action in self.nodes[n].core.step(self.now, event) {
            self.perform(n, action);
        }
    }

    fn perform(&mut self, n: usize, action: Action) {
        match action {
            Action::Drop => {
                self.nodes[n].call = 0;
                self.nodes[n].watch = None;
            }
            Action::Read => {
                self.nodes[n].watch = None;
                self.send(n, Call::Read);
            }
            Action::Write(write) => {
                let leader = self.nodes[n].leader.as_ref();
                assert!(
                    leader.is_some_and(|leader| leader.leads_at(self.now)),
                    "a write of one that does not lead"
                );
                self.writes_sent += 1;
                self.send(n, Call::Write(write));
            }
            Action::Watch if self.nodes[n].watch.is_none() => {
                self.serial += 1;
                let (id, delay) = (self.serial, self.transit());
                self.nodes[n].watch = Some(id);
                let version = self.nodes[n].version;
                self.later(delay, What::Open(n, id, version));
            }
            Action::Tell(_) | Action::Watch => {}
        }
    }
}

pub(super) fn see<S: Subject>(subject: &S, object: &Value) -> Seen {
    let object = serde_json::from_value(object.clone());
    subject.see(object.expect("it is such an object"))
}

//! A world: members with drifting clocks, on a network that delays, loses and cuts.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::{Duration, Instant},
};

use fastrand::Rng;
use uuid::Uuid;

use super::{
    network::Wire,
    node::{Clock, Node},
};
use crate::{
    NodeId,
    timestamp::{
        Flaw,
        config::Timing,
        core::{Action, Event},
        mesh::ConnectionId,
        message::Address,
    },
};

/// Real time, in microseconds since the world began.
pub(super) type Micros = u64;

pub(super) const MS: Micros = 1000;

/// What may go wrong in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Crashes, departures and hand-overs; the network is whole, processes run.
    Calm,
    /// Processes are also stopped for up to several seconds.
    Stops,
    /// All that, and the network cuts, refuses, loses and delays.
    Storm,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) weather: Weather,
    pub(super) timing: Timing,
    pub(super) now: Micros,
    pub(super) nodes: Vec<Node>,
    /// Pairs, in either order, that cannot reach each other.
    pub(super) cuts: BTreeSet<(usize, usize)>,
    /// Of this many snapshots one is lost; none if 0.
    pub(super) loss: u32,
    /// A message takes at most this long.
    pub(super) delay: Micros,
    /// Most applications answer within 30 ms, a few take up to this.
    pub(super) speak_within: Micros,
    pub(super) flaw: Option<Flaw>,
    pub(super) wires: BTreeMap<ConnectionId, Wire>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    pub(super) serial: u64,
    pub(super) steps: u64,
    /// Tells what happens, when one world is replayed.
    pub(super) tells: bool,
}

/// What happens when; of two at the same time, what was scheduled first.
struct Scheduled {
    at: Micros,
    serial: u64,
    what: Box<What>,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

/// What happens at some time.
pub(super) enum What {
    Wake(usize, u64, Micros),
    /// Something reaches a process: it waits there while that is stopped.
    Reach(usize, u64, Reach),
    /// Somebody's attempt to connect arrives.
    Knock {
        dialler: usize,
        life: u64,
        at: usize,
        address: Address,
        began: Instant,
    },
    /// The application of a node acts.
    Speak(usize, u64),
    Resume(usize, u64),
}

pub(super) enum Reach {
    Core(Event),
    /// The kernel has taken a connection; the process greets when it runs.
    Greet {
        dialler: usize,
        life: u64,
        address: Address,
        began: Instant,
        until: Micros,
    },
}

impl World {
    pub(super) fn new(seed: u64, size: usize, weather: Weather, flaw: Option<Flaw>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let ms = Duration::from_millis;
        let timing = Timing {
            heartbeat: ms([100, 200, 250][rng.usize(0..3)]),
            lost_after: ms(1000),
            vote_timeout: ms(1000),
            form_timeout: ms(1000),
            handover_timeout: ms(500),
        };
        let nodes = (0..size)
            .map(|n| Node::new(n, Clock::drifting(&mut rng)))
            .collect();
        Self {
            rng,
            weather,
            timing,
            now: 0,
            nodes,
            cuts: BTreeSet::new(),
            loss: 0,
            delay: 20 * MS,
            speak_within: 1500 * MS,
            flaw,
            wires: BTreeMap::new(),
            queue: BinaryHeap::new(),
            serial: 0,
            steps: 0,
            tells: std::env::var_os("BELLWETHER_SEED").is_some(),
        }
    }

    /// Lets time pass until then.
    pub(super) fn run_until(&mut self, end: Micros) {
        while self
            .queue
            .peek()
            .is_some_and(|Reverse(next)| next.at <= end)
        {
            let Some(Reverse(next)) = self.queue.pop() else {
                break;
            };
            self.now = next.at;
            self.happen(*next.what);
        }
        self.now = end;
    }

    pub(super) fn later(&mut self, after: Micros, what: What) {
        self.serial += 1;
        self.queue.push(Reverse(Scheduled {
            at: self.now + after,
            serial: self.serial,
            what: Box::new(what),
        }));
    }

    pub(super) fn start(&mut self, n: usize) {
        let id = NodeId {
            member: format!("m{n}"),
            incarnation: Uuid::from_u128(self.rng.u128(..)),
        };
        let members = (0..self.nodes.len()).map(address).collect();
        self.tell(n, &"starts");
        let local = self.nodes[n].clock.at(self.now);
        let life = self.nodes[n].start(id, self.timing, local, self.flaw);
        self.step(n, Event::Members(members));
        let pause = self.pause();
        self.later(pause, What::Speak(n, life));
    }

    /// Ends a process without a word.
    pub(super) fn crash(&mut self, n: usize) {
        self.tell(n, &"ends");
        self.nodes[n].end();
        for (id, end) in self.ends_of(n) {
            self.hang_up(id, end);
        }
    }

    /// Ends a process as its application leaves.
    pub(super) fn leave(&mut self, n: usize) {
        self.step(n, Event::Leave);
        self.crash(n);
    }

    /// Stops a process for a while.
    pub(super) fn stop(&mut self, n: usize, pause: Micros) {
        self.tell(n, &format!("stops for {} ms", pause / MS));
        let life = self.nodes[n].life;
        self.nodes[n].stopped = true;
        self.later(pause, What::Resume(n, life));
    }

    /// Ends a stop at once.
    pub(super) fn resume(&mut self, n: usize) {
        let life = self.nodes[n].life;
        self.happen(What::Resume(n, life));
    }

    /// How long an application takes to answer.
    fn pause(&mut self) -> Micros {
        let most = match self.rng.u8(..) {
            0..8 => self.speak_within,
            _ => 30 * MS,
        };
        self.rng.u64(0..most)
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Wake(n, life, at) => {
                // A timer that was set anew since then does not fire.
                if self.runs(n, life) && self.nodes[n].wake == at {
                    self.nodes[n].wake = 0;
                    self.step(n, Event::Tick);
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
            What::Knock {
                dialler,
                life,
                at,
                address,
                began,
            } => {
                self.knock(dialler, life, at, address, began);
            }
            What::Speak(n, life) => {
                if self.runs(n, life) {
                    let event = self.nodes[n].speak();
                    self.step(n, event);
                }
            }
            What::Resume(n, life) => {
                if self.nodes[n].is_alive(life) && self.nodes[n].stopped {
                    self.nodes[n].stopped = false;
                    let mut inbox = std::mem::take(&mut self.nodes[n].inbox);
                    // The timer's turn may come before or after what waits in the sockets.
                    let turn = self.rng.usize(0..=inbox.len());
                    inbox.insert(turn, Reach::Core(Event::Tick));
                    for reach in inbox {
                        self.reach(n, reach);
                    }
                    // Its application was stopped as well.
                    self.later(0, What::Speak(n, life));
                }
            }
        }
    }

    fn runs(&self, n: usize, life: u64) -> bool {
        self.nodes[n].is_alive(life) && !self.nodes[n].stopped
    }

    fn reach(&mut self, n: usize, reach: Reach) {
        match reach {
            Reach::Core(event) => {
                // What comes over a connection that this end has closed does not reach the core.
                let closed = match &event {
                    Event::Heard(id, _) | Event::Closed(id) => !self.is_open(*id, n),
                    _ => false,
                };
                if let Event::Closed(id) = &event {
                    self.shut(*id, n);
                }
                if !closed {
                    self.step(n, event);
                }
            }
            Reach::Greet {
                dialler,
                life,
                address,
                began,
                until,
            } => {
                if self.now < until && self.nodes[dialler].is_alive(life) {
                    self.connect((dialler, life), n, &address, began);
                }
            }
        }
    }

    pub(super) fn step(&mut self, n: usize, event: Event) {
        self.steps += 1;
        let local = self.nodes[n].clock.at(self.now);
        let actions = self.nodes[n].step(local, event);
        for action in actions {
            self.perform(n, local, action);
        }
        let Some(wake) = self.nodes[n].wake_at() else {
            return;
        };
        let at = self.nodes[n].clock.real(wake).max(self.now);
        if self.nodes[n].wake != at {
            self.nodes[n].wake = at;
            let life = self.nodes[n].life;
            // A timer is never exact.
            let late = self.rng.u64(0..2 * MS);
            self.later(at - self.now + late, What::Wake(n, life, at));
        }
    }

    fn perform(&mut self, n: usize, local: Instant, action: Action) {
        match action {
            Action::Dial(address) => self.dial(n, local, address),
            Action::Close(id) => {
                if let Some(end) = self.end_of(id, n) {
                    self.hang_up(id, end);
                }
            }
            Action::Broadcast(state) => {
                self.tell(n, &state);
                self.nodes[n].note_sent(local, &state);
                for (id, end) in self.ends_of(n) {
                    self.send(id, end, state.clone());
                }
            }
            Action::Publish(leadership) => {
                self.tell(n, &leadership);
                self.nodes[n].publish(leadership);
                self.check_leaders(n);
                if self.nodes[n].is_vacant() {
                    let (pause, life) = (self.pause(), self.nodes[n].life);
                    self.later(pause, What::Speak(n, life));
                }
            }
            Action::PublishPeers(_) => {}
        }
    }

    /// Prints news of a member, or of the world by the member's number.
    pub(super) fn tell(&self, n: usize, news: &dyn std::fmt::Debug) {
        if self.tells {
            println!("{:6} ms m{n}: {news:?}", self.now / MS);
        }
    }

    /// No two leaders at a time, as far as the weather lets that be promised.
    fn check_leaders(&self, n: usize) {
        if self.weather == Weather::Storm || !self.nodes[n].leads_at(self.now) {
            return;
        }
        for (other, node) in self.nodes.iter().enumerate() {
            let leads = match self.weather {
                Weather::Calm => node.claims_to_lead(),
                _ => node.leads_at(self.now),
            };
            assert!(
                other == n || !leads,
                "m{other} and m{n} lead at {} ms",
                self.now / MS
            );
        }
    }

    /// The one that leads and that all others follow.
    pub(super) fn agreed(&self) -> Option<usize> {
        let alive = || {
            self.nodes
                .iter()
                .enumerate()
                .filter(|(_, node)| node.is_running())
        };
        let (leader, _) = alive().find(|(_, node)| node.leads_at(self.now))?;
        let spell = self.nodes[leader].spell()?;
        alive()
            .all(|(_, node)| node.spell().as_ref() == Some(&spell))
            .then_some(leader)
    }
}

pub(super) fn address(n: usize) -> Address {
    (String::from("host"), u16::try_from(n).expect("few members"))
}

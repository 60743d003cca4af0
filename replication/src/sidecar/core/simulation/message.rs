//! Questions and orders on their way to servers, and the answers.

use std::{collections::BTreeSet, time::Instant};

use bellwether_election::Term;

use super::{
    network::Path,
    server::{Process, address_of, moves_at, node_at},
    world::{Happening, MS, SECOND, Time, World, name_of},
};
use crate::{
    Address, Clients, Inspection,
    sidecar::core::{Event, Order, Who},
};

/// A question or an order on its way to a server.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) task: u64,
    pub(super) sent: Time,
    /// How often the pod that it is for had moved, as far as the sender knows.
    pub(super) moves: u32,
    pub(super) work: Work,
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    Inspect,
    Obey(Order),
    Fence,
    /// A client's, which its leader port forwards.
    Write(u32),
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Said(Box<Inspection>),
    Done,
    Failed(String),
}

/// What an agent waits for.
#[derive(Debug)]
pub(super) enum Task {
    Ask { who: Who, asked: Instant },
    Order,
    Fence { member: String },
    Forward { write: u32, term: Term },
}

impl World {
    /// Sends something to the server at this address, which may be another's by now, or nobody's.
    pub(super) fn send_to(&mut self, from: usize, to: &Address, work: Work, task: Task) {
        let node = node_at(to).expect("a node");
        let message = self.send(from, node, 200 * MS, work, task);
        self.arrive_later(Message {
            moves: moves_at(to),
            ..message
        });
    }

    pub(super) fn send_home(&mut self, node: usize, work: Work, task: Task) {
        let message = self.send(node, node, SECOND, work, task);
        self.arrive_later(message);
    }

    fn send(&mut self, from: usize, to: usize, patience: Time, work: Work, task: Task) -> Message {
        self.number += 1;
        let number = self.number;
        let agent = self.nodes[from].agent.as_mut().expect("it acts");
        agent.tasks.insert(number, task);
        let failed = Outcome::Failed(format!("no answer within {} ms", patience / MS));
        let late = Happening::Reply {
            node: from,
            task: number,
            outcome: failed,
        };
        self.after(patience, late);
        Message {
            from,
            to,
            task: number,
            sent: self.now,
            moves: self.nodes[to].server.moves,
            work,
        }
    }

    fn arrive_later(&mut self, message: Message) {
        let delay = self.delay();
        self.after(delay, Happening::Arrive(message));
    }

    pub(super) fn arrive(&mut self, message: Message) {
        let Message { from, to, task, .. } = message;
        let gone = message.moves != self.nodes[to].server.moves;
        if gone || !self.network.reaches(Path::Orders, from, to) {
            return;
        }
        match self.nodes[to].server.process {
            Process::Stopped => self.nodes[to].queued.push_back(message),
            Process::Dead => {
                let delay = self.delay();
                let outcome = Outcome::Failed("refused".into());
                self.after(
                    delay,
                    Happening::Reply {
                        node: from,
                        task,
                        outcome,
                    },
                );
            }
            Process::Running => self.handle(&message),
        }
    }

    pub(super) fn handle(&mut self, message: &Message) {
        let (from, to, task) = (message.from, message.to, message.task);
        let outcome = match &message.work {
            Work::Inspect => {
                let attached = self.attached_to(to);
                Outcome::Said(Box::new(self.nodes[to].server.inspection(attached)))
            }
            Work::Fence => self.fence(from, to),
            Work::Write(write) => self.write_arrives(to, *write),
            Work::Obey(order) => match self.obey(message, order) {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Failed(error),
            },
        };
        let delay = self.delay();
        let outcome = match outcome {
            Outcome::Done | Outcome::Failed(_) if self.mishap(40) => {
                self.note(|_| format!("{} answer is lost", name_of(to)));
                Outcome::Failed("connection lost".into())
            }
            outcome => outcome,
        };
        let node = from;
        let reply = Happening::Reply {
            node,
            task,
            outcome,
        };
        self.after(delay, reply);
    }

    /// Whether a primary has as many replicas as it demands.
    pub(super) fn has_replicas_enough(&self, primary: usize) -> bool {
        let demanded = self.nodes[primary].server.min_replicas as usize;
        self.attached_to(primary).len() >= demanded
    }

    /// Where this node's server is.
    pub(super) fn address(&self, node: usize) -> Address {
        address_of(node, self.nodes[node].server.moves)
    }

    /// Where the replicas are that the server knows of.
    fn attached_to(&self, primary: usize) -> BTreeSet<Address> {
        let server = &self.nodes[primary].server;
        let others = self.nodes.iter().enumerate();
        let attached = others.filter(|(node, other)| {
            let dead = other.server.process == Process::Dead;
            *node != primary && !dead && other.server.is_in_step_with(server)
        });
        attached.map(|(node, _)| self.address(node)).collect()
    }

    pub(super) fn fence(&mut self, from: usize, to: usize) -> Outcome {
        self.check_fence(from, to);
        let now = self.now;
        let agent = self.nodes[to].agent.as_ref();
        let led = agent.is_some_and(|agent| agent.seat.leads());
        let server = &mut self.nodes[to].server;
        if server.loading {
            return Outcome::Failed("LOADING".into());
        }
        if server.primary && led {
            server.fenced_by = Some((from, now));
        }
        server.fence(Clients::Cut, now);
        self.note(|_| format!("{} server is fenced by {}", name_of(to), name_of(from)));
        self.lose_connection(to);
        Outcome::Done
    }

    /// The agent beside a server loses its connection to it.
    pub(super) fn lose_connection(&mut self, node: usize) {
        if let Some(agent) = &mut self.nodes[node].agent
            && agent.watches
        {
            agent.watches = false;
            let life = agent.life;
            let delay = self.delay();
            self.after(
                delay,
                Happening::Step {
                    node,
                    life,
                    event: Event::Lost,
                },
            );
        }
    }

    pub(super) fn obey(&mut self, message: &Message, order: &Order) -> Result<(), String> {
        let (node, now) = (message.to, self.now);
        let was_primary = self.nodes[node].server.primary;
        if matches!(order, Order::Promote(_)) && !was_primary && !self.nodes[node].server.loading {
            self.check_promotion(message);
        }
        self.number += 1;
        let fresh = self.number;
        let half_way = matches!(order, Order::Promote(_)) && self.mishap(40);
        let server = &mut self.nodes[node].server;
        let stamp = server.stamp;
        let refused =
            matches!(order, Order::Promote(passport) if server.data.issue() >= passport.issue());
        if half_way && !server.loading && !refused {
            // Redis is a primary then, and nobody knows whether it is.
            server.promote(fresh, now);
        } else {
            server.obey(order, fresh, now)?;
        }
        let moved = server.stamp != stamp;
        if matches!(order, Order::Follow(_)) {
            server.fenced_by = None;
        }
        self.note(|_| format!("{} server obeys {order:?}", name_of(node)));
        if moved {
            self.connect_soon(node);
        } else if matches!(order, Order::Promote(_) | Order::Stamp(_)) {
            self.replicas_notice(node);
        }
        if half_way {
            return Err("connection lost".into());
        }
        Ok(())
    }

    pub(super) fn reply(&mut self, node: usize, task: u64, outcome: Outcome) {
        let Some(agent) = &mut self.nodes[node].agent else {
            return;
        };
        let life = agent.life;
        let Some(task) = agent.tasks.remove(&task) else {
            return;
        };
        let result = |outcome| match outcome {
            Outcome::Failed(error) => Err(error),
            _ => Ok(()),
        };
        let event = match task {
            Task::Ask { who, asked } => {
                if let (Who::Own, Outcome::Said(said)) = (&who, &outcome) {
                    self.note_in_step(node, said);
                }
                if let (Who::Member { address, .. }, Outcome::Said(said)) = (&who, &outcome) {
                    let of = node_at(address).expect("a node");
                    self.ledger.heard(node, of, said, self.now);
                }
                let answer = match outcome {
                    Outcome::Said(inspection) => Ok(*inspection),
                    Outcome::Failed(error) => Err(error),
                    Outcome::Done => unreachable!("a question was asked"),
                };
                Event::Answer {
                    who,
                    asked,
                    answer: Box::new(answer),
                }
            }
            Task::Forward { write, term } => {
                if matches!(outcome, Outcome::Done) {
                    self.write_done(node, write, term);
                }
                return;
            }
            Task::Order => Event::Done(result(outcome)),
            Task::Fence { member } => Event::Fenced {
                member,
                result: result(outcome),
            },
        };
        self.step(node, life, event);
    }
}

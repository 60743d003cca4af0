//! What must hold in every world, at every step, and what must come about once all is repaired.

use super::{
    agent::Agent,
    data::{Data, GROUP},
    ledger::Pace,
    message::Message,
    network::Path,
    server::node_at,
    world::{Happening, MS, SECOND, Time, World, name_of},
};
use crate::{
    Inspection, Link, Relation, View,
    sidecar::{Switched, core::Order},
};

/// What could be known for this long must be known: longer than the longest wait for an answer.
const KNOWN: Time = 1_500 * MS;
/// A server that is wrongly primary must be fenced within this.
const ROGUE: Time = 3 * SECOND;
/// After everything is repaired, a group must be whole again within this.
const RECOVERY: Time = 5 * SECOND;
/// For how long a group that is whole must give no more orders.
const REST: Time = 1_500 * MS;
/// What an agent may do within a second.
const MOST_STEPS: u32 = 4_000;
const MOST_ORDERS: u32 = 40;

/// Within this time a server must not be promoted more often than that, unless it was restarted:
/// leaders that cannot see each other would take turns.
const PING_PONG: Time = 4 * SECOND;
const MOST_PROMOTIONS: usize = 8;

impl World {
    pub(super) fn check_pace(&mut self, node: usize) {
        let Pace { steps, orders, .. } = self.ledger.paces[node];
        if steps > MOST_STEPS || orders > MOST_ORDERS {
            self.violate(format!(
                "{} runs hot: {steps} steps, {orders} orders",
                name_of(node)
            ));
        }
    }

    /// A replica is about to become primary, because of an order that its agent gave.
    pub(super) fn check_promotion(&mut self, message: &Message) {
        let (node, now) = (message.from, self.now);
        let missing = self.ledger.missing(&self.nodes[node].server.data.log);
        if self.plan.planned_only() {
            if !missing.is_empty() {
                self.violate(format!("{} is promoted without {missing:?}", name_of(node)));
            }
            for other in 0..self.nodes.len() {
                if self.nodes[other].server.primary {
                    self.violate(format!(
                        "{} is promoted beside {}",
                        name_of(node),
                        name_of(other)
                    ));
                }
            }
        }
        let within = self.ledger.within(&self.nodes[node].server.data, &missing);
        if let Some(write) = within {
            let (who, at) = (name_of(node), self.nodes[node].server.data.position());
            self.violate(format!(
                "{who} at {at} lost write {write}, which lies before that"
            ));
        }
        self.ledger.excuse(&missing);
        // An order that was late may run whenever it likes: a fence follows it.
        let late = now - message.sent > 100 * MS;
        if !late {
            self.check_waited(node);
            for other in (0..self.nodes.len()).filter(|other| *other != node) {
                self.check_order(node, other, message.sent);
                self.check_rival(node, other);
            }
        }
    }

    fn check_rival(&mut self, node: usize, other: usize) {
        let long_ago = self.now.saturating_sub(KNOWN);
        let (ours, theirs) = (&self.nodes[node].server, &self.nodes[other].server);
        let reachable = self
            .network
            .reached_since(Path::Orders, node, other, long_ago)
            && theirs.runs()
            && theirs.process_since <= long_ago
            && self.knows(node, other, long_ago)
            && self.mesh_settled(node);
        if !reachable {
            return;
        }
        let settled = theirs.changed <= long_ago;
        let (who, them) = (name_of(node), name_of(other));
        let (here, there) = (ours.data.position(), theirs.data.position());
        let relation = there.relation(&here);
        let blank_over_data =
            ours.data.is_blank() && !theirs.data.is_blank() && !theirs.data.is_foreign();
        // The one that served last is fenced at once, others when they are noticed.
        let agent = self.nodes[node].agent.as_ref();
        let served_last = agent.is_some_and(|agent| agent.last_primary == Some(other));
        let noticed = self
            .now
            .saturating_sub(if served_last { KNOWN } else { ROGUE });
        let rogue = theirs.primary
            && !theirs.plain
            && !theirs.data.is_foreign()
            && theirs.role_since.max(theirs.process_since) <= noticed
            && self
                .network
                .reached_since(Path::Orders, node, other, noticed)
            && !self.led_of_late(other);
        let ahead = relation == Relation::Ahead
            && !theirs.data.is_blank()
            && self.waits_for_the_unseen(node);
        let stands =
            self.stands_since(node, other, 200 * MS) && theirs.is_whole() && theirs.priority > 0;
        let heard = self.ledger.heard[node][other].as_ref();
        let known = heard.is_some_and(|(_, said)| {
            said.fit().is_ok()
                && said.position.relation(&here) == Relation::Ahead
                && said.position == there
        });
        if self.takes_back(node, other) {
            self.violate(format!("{who} takes its server back from {them}"));
        } else if self.forgets_writes_of(node, other) {
            self.violate(format!(
                "{who} at {here} does not wait for the writes of {them} at {there}"
            ));
        } else if blank_over_data && settled {
            self.violate(format!("{who} is promoted empty although {them} has data"));
        } else if rogue {
            self.violate(format!(
                "{who} is promoted although {them} is an unfenced primary"
            ));
        } else if ahead && stands && (settled || known) {
            self.violate(format!(
                "{who} at {here} is promoted although {them} is ahead at {there}"
            ));
        }
    }

    pub(super) fn check_lease(&mut self, node: usize, order: &Order) {
        let local = self.local(node, self.now);
        let agent = self.nodes[node].agent.as_ref().expect("it acts");
        let promotes = matches!(order, Order::Promote(_));
        if promotes && !agent.seat.may_lead_at(local) {
            self.violate(format!("{} promotes without leading", name_of(node)));
        }
        self.nodes[node]
            .promotions
            .retain(|at| at + PING_PONG > self.now);
        if promotes {
            self.nodes[node].promotions.push(self.now);
        }
        let often = self.nodes[node].promotions.len();
        // An operator may ask again and again for a member that is not there to lead.
        let asked = self.plan.planned_only() && self.flock.is_some();
        if often > MOST_PROMOTIONS && !asked {
            self.violate(format!(
                "{} was promoted {often} times in {} s",
                name_of(node),
                PING_PONG / SECOND
            ));
        }
    }

    /// Whether an agent knows where the other's server is, and has done for so long since that one
    /// moved last.
    fn knows(&self, node: usize, other: usize, since: Time) -> bool {
        let moved = self.nodes[other].server.moves > 0;
        self.ledger.met[node][other].is_some_and(|at| !moved || at <= since)
    }

    /// Whether this server was taken by a leader that still leads, just now. A member that hears
    /// others may be elected by them.
    fn takes_back(&self, node: usize, other: usize) -> bool {
        let fenced_by = self.nodes[node].server.fenced_by;
        let just_now = |(by, at): (usize, Time)| by == other && at + 900 * MS > self.now;
        let agent = self.nodes[other].agent.as_ref();
        let alone = (0..self.nodes.len()).all(|third| !self.mesh.connects(node, third));
        fenced_by.is_some_and(just_now)
            && alone
            && self.nodes[other].server.primary
            && agent.is_some_and(|agent| agent.seat.leads())
    }

    /// Whether a server that was fenced just now has writes that are on their way to this one.
    fn forgets_writes_of(&self, node: usize, other: usize) -> bool {
        let (ours, theirs) = (&self.nodes[node].server, &self.nodes[other].server);
        ours.link == Link::Up
            && ours.is_attached_to(theirs)
            && !theirs.primary
            && theirs.of.is_none()
            && theirs.role_since + 90 * MS > self.now
            && theirs.data.id == ours.data.id
            && theirs.data.offset() > ours.data.offset()
    }

    /// Whether the agent has run for long enough to know what it could.
    fn mesh_settled(&self, node: usize) -> bool {
        let agent = self.nodes[node].agent.as_ref();
        agent.is_some_and(|agent| !agent.stopped && agent.runs_since + KNOWN <= self.now)
    }

    /// Whether the agents of the two have been connected for this long, and the other one takes
    /// part.
    pub(super) fn stands_since(&self, node: usize, other: usize, time: Time) -> bool {
        let agent = self.nodes[other].agent.as_ref();
        let since = self.now.saturating_sub(time);
        self.mesh.connected_since(node, other, since)
            && agent
                .is_some_and(|agent| !agent.stopped && !agent.leaving && agent.runs_since <= since)
    }

    fn led_of_late(&self, node: usize) -> bool {
        let agent = self.nodes[node].agent.as_ref();
        agent.is_some_and(|agent| agent.seat.leads() || agent.seat.since() + KNOWN > self.now)
    }

    /// An agent has its server copy another.
    pub(super) fn check_following(&mut self, node: usize, of: usize) {
        if self.is_apart(of) {
            let (who, of) = (name_of(node), name_of(of));
            return self.violate(format!("{who} follows {of}, which is not ours"));
        }
        let agent = self.nodes[node].agent.as_mut().expect("it acts");
        agent.followed = Some(of);
        let ours = &self.nodes[node].server.data;
        let theirs = self.ledger.heard[node][of].as_ref();
        let drops = theirs.is_some_and(|(at, theirs)| {
            let relation = theirs.position.relation(&ours.position());
            let fresh = at + 50 * MS > self.now;
            fresh && theirs.is_blank() && !matches!(relation, Relation::Same | Relation::Ahead)
        });
        if drops && !ours.is_blank() {
            self.violate(format!(
                "{} turns data to the empty {}",
                name_of(node),
                name_of(of)
            ));
        }
    }

    /// A server is about to drop its dataset for a copy of another's.
    pub(super) fn check_overwriting(&mut self, node: usize, of: usize, copy: &Data) {
        let server = &self.nodes[node].server;
        if server.data.is_foreign() && self.is_apart(node) {
            let (who, of) = (name_of(node), name_of(of));
            return self.violate(format!("{who} drops what is not ours for {of}"));
        }
        let empty = copy.is_blank() && self.nodes[of].server.data.is_blank();
        // What users removed, keys and passport, is gone by their wish.
        if !empty || copy.was_emptied() || server.data.is_blank() || self.plan.plain {
            return;
        }
        let since = server.process_since;
        let minds = self.nodes[node].agent.as_ref().is_some_and(|agent| {
            let long = agent.runs_since.max(since) + SECOND <= self.now;
            !agent.stopped && (long || agent.followed == Some(of))
        });
        if minds {
            let keys = server.data.keys();
            self.violate(format!(
                "{} drops {keys} keys for the empty {}",
                name_of(node),
                name_of(of)
            ));
        }
    }

    pub(super) fn publish(&mut self, node: usize, view: View) {
        let server = &self.nodes[node].server;
        let recently = |since: Time| since + 1_200 * MS > self.now;
        // Its agent may learn a little later that it was killed, or fenced by another's.
        let excused = server.was_primary && recently(server.role_since)
            || !server.runs()
            || recently(server.process_since)
            || self.nodes[node]
                .agent
                .as_ref()
                .and_then(|agent| agent.resumed)
                .is_some_and(recently);
        let primary_of = |view: &View| view.primary.as_ref().and_then(|p| node_at(&p.address));
        let agent = self.nodes[node].agent.as_mut().expect("it acts");
        let before = primary_of(&std::mem::replace(&mut agent.view, view));
        let now = primary_of(&agent.view);
        agent.last_primary = now.or(agent.last_primary);
        let begins = now == Some(node) && before != now;
        if begins && !self.nodes[node].server.primary && !excused {
            self.violate(format!(
                "{} serves although its server is no primary",
                name_of(node)
            ));
        }
        self.check_ports();
        if begins && !excused {
            self.check_stamped(node);
            self.check_demand(node);
        }
    }

    pub(super) fn note_demand(&mut self, node: usize, order: &Order) {
        let agent = self.nodes[node].agent.as_mut().expect("it acts");
        match order {
            Order::Promote(_) => agent.demanded = false,
            Order::DemandReplicas(_) => agent.demanded = true,
            _ => {}
        }
    }

    /// A server begins to serve: whose agent knows of others has told it to demand replicas.
    fn check_demand(&mut self, node: usize) {
        let server = &self.nodes[node].server;
        let agent = self.nodes[node].agent.as_ref().expect("it acts");
        let mut heard = self.ledger.heard[node].iter().flatten();
        let is_ours = |said: &Inspection| said.papers.passport().is_none_or(|p| p.group == GROUP);
        let has_others = heard.any(|(_, said)| is_ours(said));
        let demands = agent.demanded || server.min_replicas == self.plan.min_replicas;
        if has_others && !demands {
            self.violate(format!("{} serves without demand", name_of(node)));
        }
    }

    pub(super) fn switchover_ended(&mut self, node: usize, result: Result<Switched, String>) {
        let agent = self.nodes[node].agent.as_mut().expect("it acts");
        match &result {
            Ok(_) if !agent.switchovers.is_empty() => {
                agent.switchovers.remove(0);
            }
            _ => {
                agent.switchovers.pop();
            }
        }
        let successor = std::mem::take(&mut agent.handed_over);
        let stays = |agent: &Agent| Some(&agent.id) == successor.as_ref() && !agent.leaving;
        let resigned = self
            .nodes
            .iter()
            .any(|node| node.agent.as_ref().is_some_and(stays));
        let Switched { to, .. } = match result {
            Ok(switched) => switched,
            Err(why)
                if resigned && why.ends_with("did not take over") && self.plan.planned_only() =>
            {
                return self.violate(format!(
                    "a switchover of {} fails after the resignation: {why}",
                    name_of(node)
                ));
            }
            Err(_) => return,
        };
        let Some(to) = (0..self.nodes.len()).find(|other| name_of(*other) == to) else {
            return self.violate(format!("a switchover to nobody: {to:?}"));
        };
        let server = &self.nodes[to].server;
        let missing = self.ledger.missing(&server.data.log);
        if server.runs() && server.primary && !missing.is_empty() {
            self.violate(format!(
                "the switchover to {} lost {missing:?}",
                name_of(to)
            ));
        }
    }

    /// Looks at everything now and then.
    pub(super) fn look(&mut self) {
        self.after(50 * MS, Happening::Look);
        for node in 0..self.nodes.len() {
            self.look_at(node);
        }
        self.check_ports();
        let Some(healing) = self.ledger.healing else {
            return;
        };
        if let Err(why) = self.is_whole() {
            self.ledger.whole_since = None;
            if self.now > self.recovered_by(healing) {
                self.violate(format!("not whole again in time: {why}"));
            }
            return;
        }
        let now = self.now;
        let whole_since = *self.ledger.whole_since.get_or_insert(now);
        let rest_since = whole_since.max(self.ledger.unrest);
        if rest_since > self.recovered_by(healing) {
            return self.violate("does not come to rest".to_owned());
        }
        self.ledger.calm |= now > whole_since + REST / 2;
        if now > rest_since + REST {
            self.conclude();
        }
    }

    fn recovered_by(&self, healed: Time) -> Time {
        let forming = self.plan.by_lease.map_or(0, |_| self.plan.form_timeout);
        self.led_again_by(healed) + forming + RECOVERY
    }

    fn look_at(&mut self, node: usize) {
        let (server, now) = (&self.nodes[node].server, self.now);
        let Some(agent) = self.nodes[node]
            .agent
            .as_ref()
            .filter(|agent| !agent.stopped)
        else {
            return;
        };
        let late = |began: &Time| began.max(&agent.runs_since) + 7 * SECOND < now;
        let (runs_since, stuck) = (agent.runs_since, agent.switchovers.iter().any(late));
        let idle = agent.switchovers.is_empty() && !agent.leaving;
        // A pause lasts 4 s.
        let paused = server.paused_until > now && server.paused_until < now + 2 * SECOND;
        let by_this_agent = runs_since + 4 * SECOND < now;
        let left_paused = paused && server.primary && server.runs() && idle && by_this_agent;
        if stuck {
            self.violate(format!("a switchover of {} does not end", name_of(node)));
        } else if left_paused {
            self.violate(format!("{} leaves its server paused", name_of(node)));
        }
    }

    /// Whether there is one primary, which all follow and all agree on.
    fn is_whole(&self) -> Result<(), String> {
        let all = 0..self.nodes.len();
        // Who is of another group, or was started writable and may not lead, is none of ours.
        let ours = |node: &usize| {
            let server = &self.nodes[*node].server;
            let adopted = server.plain && server.priority == 0;
            server.primary && !adopted && !server.data.is_foreign()
        };
        let primaries: Vec<usize> = all.clone().filter(ours).collect();
        let [primary] = primaries[..] else {
            let only_lame = |node: usize| {
                let server = &self.nodes[node].server;
                !server.data.has_data() || server.priority == 0 || server.data.is_foreign()
            };
            if primaries.is_empty() && all.clone().all(only_lame) && self.plan.lame.is_some() {
                return Ok(());
            }
            return Err(format!("primaries: {primaries:?}"));
        };
        if self.nodes[primary]
            .server
            .data
            .papers()
            .passport()
            .is_none()
        {
            return Err("the primary has no passport".to_owned());
        }
        let demanded = self.nodes[primary].server.min_replicas;
        if demanded < self.plan.min_replicas {
            return Err(format!("the primary demands {demanded} replicas"));
        }
        for node in all {
            let (name, server) = (name_of(node), &self.nodes[node].server);
            if server.data.is_foreign() {
                continue;
            }
            if node != primary && (server.of != Some(primary) || server.link != Link::Up) {
                let of = server.of.map(name_of);
                return Err(format!("{name} follows {of:?}, link {:?}", server.link));
            }
            if self.ledger.calm && server.data.log != self.nodes[primary].server.data.log {
                return Err(format!("{name} has other data than {}", name_of(primary)));
            }
            if server.paused_until > self.now {
                return Err(format!("{name} is paused"));
            }
            let Some(agent) = &self.nodes[node].agent else {
                return Err(format!("the agent of {name} is away"));
            };
            let seen = agent
                .view
                .primary
                .as_ref()
                .map(|primary| primary.name.clone());
            if seen != Some(name_of(primary)) {
                return Err(format!("{name} takes {seen:?} for the primary"));
            }
        }
        Ok(())
    }

    fn conclude(&mut self) {
        self.ledger.ended = true;
        let Some(primary) = self.nodes.iter().find(|node| node.server.primary) else {
            return;
        };
        let missing = self.ledger.missing(&primary.server.data.log);
        if !missing.is_empty() && !self.plan.plain {
            self.violate(format!("lost without a promotion: {missing:?}"));
        }
    }
}

//! Another member leads: make the own server follow its server, unless that would lose data.

use std::time::{Duration, Instant};

use bellwether_election::{NodeId, Term};

use super::{Answer, Core, FENCE, Flaw, Inspection, Member, Order, Phase};
use crate::{Address, Card, Clients, Kind, Link, Refusal, Relation, Server, rank};

/// A replica whose link stays down for this long although its primary answers us is told again:
/// after a partition Redis may wait long for a lost connection attempt.
const RELINK_AFTER: Duration = Duration::from_secs(2);

/// How often the leader's server is asked again while it does not answer.
const ASK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Following {
    pub(super) leader: NodeId,
    pub(super) term: Term,
    pub(super) card: Option<Card>,
    /// What is decided about the leader's server rests on answers no older than this.
    since: Instant,
    /// When the own server last ended an order.
    pub(super) ordered: Instant,
}

impl Following {
    pub(super) fn new(leader: NodeId, term: Term, card: Option<Card>, now: Instant) -> Self {
        Self {
            leader,
            term,
            card,
            since: now,
            ordered: now,
        }
    }

    /// The leader's server, once it serves.
    pub(super) fn server(&self) -> Option<Server> {
        let card = self.card.as_ref().filter(|card| card.serving.is_some())?;
        Some(Server {
            name: self.leader.member.clone(),
            address: card.redis.clone(),
        })
    }

    pub(super) fn serving(&self) -> Option<Term> {
        self.card.as_ref()?.serving
    }
}

impl Core {
    pub(super) fn decide_following(&mut self) {
        let Phase::Following(following) = &self.phase else {
            return;
        };
        let (server, ordered) = (following.server(), following.ordered);
        let since = following.since;
        let own = match self.own_since(self.own_valid_from) {
            None => return,
            Some(Err(error)) => {
                let why = format!("the own server is down: {error}");
                return self.withdraw(None, Refusal::ServerDown, &why);
            }
            Some(Ok(own)) => own,
        };
        match own.fit() {
            _ if self.leaving => self.withdraw(None, Refusal::Leaving, "this member ends"),
            Ok(()) => match self.undecided_without(&server, &own) {
                None => self.stand(rank::candidate(&self.dataset(&own))),
                Some(why) => self.withdraw(None, Refusal::Undecided, &why),
            },
            Err(why) => self.withdraw(None, Refusal::Unfit, why),
        }
        // While it loads it shows no keys, and refuses orders.
        if own.loading || !self.may_order() {
            return;
        }
        match server {
            None => self.await_primary(&own),
            Some(server) if own.follows(&server.address) => self.watch_link(&own, ordered, &server),
            Some(server) => {
                // What may be dropped is judged by answers of now, on both sides.
                if let Some(Ok(own)) = self.own_since(since) {
                    self.turn_to(&own, &server);
                }
            }
        }
    }

    /// The leader has not promoted its server yet; ours must not be a primary meanwhile.
    fn await_primary(&mut self, own: &Inspection) {
        if own.is_primary() {
            self.explain(FENCE, "fence the own server", "another member leads");
            self.give_order(Order::Fence(Clients::Cut));
        } else {
            self.detach(own);
        }
    }

    fn watch_link(&mut self, own: &Inspection, ordered: Instant, server: &Server) {
        match own.link() {
            Some(Link::Up) => self.note_in_step(own),
            // It may have been restarted empty meanwhile.
            Some(Link::Down)
                if self.now >= ordered + RELINK_AFTER
                    && self.answers_now(&server.name)
                    && (self.is_blank(own) || self.may_replace(own, server)) =>
            {
                self.explain(
                    Kind::Follow,
                    "follow again",
                    "the link stays down although the primary answers",
                );
                self.give_order(Order::Follow(server.address.clone()));
            }
            _ => {}
        }
    }

    /// As [`Self::undecided`], while the leader does not serve: it may be about to give up.
    fn undecided_without(&mut self, server: &Option<Server>, own: &Inspection) -> Option<String> {
        match server {
            Some(_) => None,
            None => self.undecided(own),
        }
    }

    fn answers_now(&self, name: &str) -> bool {
        let recent = |m: &Member| {
            m.respondent.answer.as_ref().is_some_and(|answer| {
                let age = self.now.saturating_duration_since(answer.asked);
                answer.result.is_ok() && age <= self.config.survey_interval * 2
            })
        };
        self.members.get(name).is_some_and(recent)
    }

    /// The own server copies something else: turn it to the leader's, but never from data to none.
    fn turn_to(&mut self, own: &Inspection, server: &Server) {
        if self.is_foreign_at(server) {
            self.explain_grave(
                Kind::Wait,
                format!("do not follow {}", server.name),
                "its server has a dataset of another group",
            );
            return self.await_primary(own);
        }
        if !self.is_blank(own) && !self.may_replace(own, server) {
            if own.is_primary() {
                self.explain(FENCE, "fence the own server", "another member leads");
                self.give_order(Order::Fence(Clients::Cut));
            } else {
                self.detach(own);
            }
            return;
        }
        let Address { host, port } = &server.address;
        self.explain(
            Kind::Follow,
            format!("follow {}", server.name),
            format!("it serves at {host}:{port}"),
        );
        self.give_order(Order::Follow(server.address.clone()));
    }

    fn is_foreign_at(&self, server: &Server) -> bool {
        let member = self.members.get(&server.name);
        member.is_some_and(|member| member.foreign && member.address == server.address)
    }

    /// Whether the leader's server is known to be worth following with a dataset of our own.
    fn may_replace(&mut self, own: &Inspection, server: &Server) -> bool {
        let Phase::Following(following) = &mut self.phase else {
            return false;
        };
        let Some(member) = self.members.get(&server.name) else {
            return false;
        };
        let answer = member.respondent.answer.as_ref();
        let oldest = self.now.checked_sub(self.config.answer_timeout + ASK_AGAIN);
        let since = oldest.map_or(following.since, |oldest| following.since.max(oldest));
        let theirs = match answer.filter(|answer| answer.asked >= since) {
            None => {
                self.ask_member(&server.name);
                return false;
            }
            Some(Answer {
                result: Ok(theirs), ..
            }) if theirs.is_primary() => theirs.clone(),
            Some(answer) => {
                if self.now >= answer.asked + ASK_AGAIN {
                    following.since = self.now;
                }
                return false;
            }
        };
        let relation = theirs.position.relation(&own.position);
        let shared = matches!(relation, Relation::Same | Relation::Ahead);
        if self.is_blank(&theirs)
            && !shared
            && !self.config.allow_data_loss
            && !self.flawed(Flaw::FollowsEmpty)
        {
            self.explain_grave(
                Kind::Wait,
                format!("do not follow {}", server.name),
                format!(
                    "its server is empty, here are {} keys at {}",
                    own.keys, own.position
                ),
            );
            return false;
        }
        self.account(own, &theirs, server, relation);
        true
    }

    /// What is about to be overwritten is counted and logged (safety rule 14).
    fn account(
        &mut self,
        own: &Inspection,
        theirs: &Inspection,
        server: &Server,
        relation: Relation,
    ) {
        let (mine, other, name) = (&own.position, &theirs.position, &server.name);
        match (relation, mine.bytes_beyond(other)) {
            (Relation::Same | Relation::Ahead, _) | (_, Some(0)) => {}
            (_, Some(bytes)) => self.explain_grave(
                Kind::Drop { bytes: Some(bytes) },
                format!("drop {bytes} bytes of writes"),
                format!("the own server is at {mine}, {bytes} bytes beyond what it shares with {name} at {other}"),
            ),
            (_, None) => self.explain_grave(
                Kind::Drop { bytes: None },
                format!("drop the own dataset of {} keys", own.keys),
                format!("it is at {mine}, which has no history in common with {name} at {other}"),
            ),
        }
    }
}

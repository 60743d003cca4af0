//! Takes facts in, without deciding anything that has to be done.

use std::time::Instant;

use bellwether_election::{Leadership, Term};

use super::{Answer, Core, Event, Following, Order, Phase, RETRY_ORDER, Spell, Vacancy, Who};
use crate::{Card, Inspection, Kind};

impl Core {
    pub(super) fn absorb(&mut self, event: Event) {
        match event {
            Event::Leadership(leadership) => self.absorb_leadership(leadership),
            Event::Peers(peers) => self.absorb_peers(peers),
            Event::Members(members) => self.absorb_members(members),
            Event::Paused(paused) => self.paused = paused,
            Event::Lost => self.own_lost = true,
            Event::Answer { who, asked, answer } => self.absorb_answer(who, asked, *answer),
            Event::Done(result) => self.absorb_done(&result),
            Event::Fenced { member, result } => self.absorb_fenced(&member, result),
            Event::Switchover { to } => self.begin_switchover(to),
            Event::Leave => {
                self.leaving = true;
                if self.handover.is_none() && self.serving().is_some() {
                    self.begin_switchover(None);
                }
            }
            Event::Tick => {}
        }
    }

    fn absorb_leadership(&mut self, leadership: Leadership) {
        match leadership {
            Leadership::Vacant => {
                if self.handover.as_ref().is_none_or(|h| !h.has_resigned()) {
                    self.kept = None;
                }
                if !matches!(self.phase, Phase::Vacant(_)) {
                    self.unled_since = self.now;
                }
                self.phase = Phase::Vacant(Vacancy::new(self.now));
            }
            Leadership::Leading { term, until } => match &mut self.phase {
                Phase::Leading(spell) if spell.term == term || spell.is_serving() => {
                    spell.term = term;
                    spell.until = until;
                }
                _ => {
                    self.pass_on();
                    self.phase = Phase::Leading(Spell::new(term, until, self.now));
                }
            },
            Leadership::Following { leader, card, term } => {
                // What a former agent of this member said of the own server holds no more.
                let outlived = leader.member == self.config.server.name;
                let card = Card::decode(&card).filter(|_| !outlived);
                match &mut self.phase {
                    Phase::Following(following) if following.leader == leader => {
                        following.term = term;
                        following.card = card.or(following.card.take());
                    }
                    _ => {
                        self.pass_on();
                        self.phase = Phase::Following(Following::new(leader, term, card, self.now));
                    }
                }
                self.absorb_leader();
            }
        }
        // Where a former leader said that its server is does not outlast it.
        self.relocate();
    }

    /// Leadership passed on without a vacancy: that is planned, so the server that serves goes on
    /// being shown until the next one does. It refuses writes itself.
    fn pass_on(&mut self) {
        if !matches!(self.phase, Phase::Vacant(_)) {
            self.unled_since = self.now;
        }
        self.keep_primary();
    }

    pub(super) fn keep_primary(&mut self) {
        if let (None, Some(primary)) = (&self.kept, &self.view.primary) {
            let until = self.now + self.config.handover_timeout;
            self.kept = Some((self.view.term, primary.clone(), until));
        }
    }

    fn absorb_answer(&mut self, who: Who, asked: Instant, result: Result<Inspection, String>) {
        let elsewhere = match (&who, &result) {
            (Who::Member { .. }, Ok(said)) => self.is_own(said),
            _ => false,
        };
        let result = match elsewhere {
            true => Err("its address leads to the own server".to_owned()),
            false => result,
        };
        let foreign = result.as_ref().is_ok_and(|said| self.is_foreign(said));
        let issue = result.as_ref().ok().and_then(|said| self.issue(said));
        let term = issue.map_or(Term(0), |issue| issue.term);
        self.highest_seen = self.highest_seen.max(term);
        let respondent = match who {
            Who::Own => &mut self.own,
            Who::Member { name, address } => match self.members.get_mut(&name) {
                Some(member) if member.address == address => {
                    let serves = self.last_primary.as_ref().map(|server| &server.name);
                    if serves == Some(&name) {
                        self.former.answered(asked, &result);
                    }
                    member.foreign = foreign;
                    member.elsewhere = elsewhere;
                    &mut member.respondent
                }
                _ => return,
            },
        };
        respondent.awaited = false;
        respondent.answer = Some(Answer { asked, result });
    }

    /// A member's name may lead to the own server for a while, when addresses have changed and DNS
    /// does not tell so yet. As a rival it would be fenced.
    fn is_own(&self, said: &Inspection) -> bool {
        let own = self.own.latest();
        own.is_some_and(|own| own.run_id == said.run_id)
    }

    fn absorb_done(&mut self, result: &Result<(), String>) {
        let order = self.order.take().expect("an order was under way");
        self.own_valid_from = self.now;
        let is_demand = matches!(order, Order::DemandReplicas(_));
        let is_news = !is_demand || self.guard.answered(result, self.now);
        let is_news = self.failing.ended(&order, result) && is_news;
        match result {
            Ok(()) => {
                self.served = match order {
                    Order::Promote(_) => true,
                    Order::Fence(_) | Order::Follow(_) => false,
                    Order::Stamp(_)
                    | Order::DemandReplicas(_)
                    | Order::PauseWrites
                    | Order::ResumeWrites => self.served,
                };
            }
            Err(error) => {
                // A promotion may still run.
                self.served |= matches!(order, Order::Promote(_));
                self.retry_from = self.now + RETRY_ORDER;
                if is_news {
                    let what = format!("could not {}", order.verb());
                    self.explain_grave(Kind::Fail, what, error.clone());
                }
            }
        }
        if !self.handover_order_done(&order, result) {
            self.spell_order_done(&order, result);
        }
        if let Phase::Following(following) = &mut self.phase {
            following.ordered = self.now;
        }
    }
}

//! A planned change of primary (rule 11): pause writes, wait until the successor has them all,
//! fence, resign in its favour. Before the resignation every path ends with writes resumed.

use std::time::{Duration, Instant};

use bellwether_election::NodeId;

use super::{Action, Core, Flaw, Inspection, Order, Phase};
use crate::{Clients, Kind, Link, Refusal, Relation, sidecar::Switched};

/// How often two servers are compared while the successor catches up.
const COMPARE_EVERY: Duration = Duration::from_millis(2);

/// How often a member that leaves looks for a successor.
const CHOOSE_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Handover {
    to: Option<String>,
    began: Instant,
    deadline: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Choosing {
        since: Instant,
    },
    Pausing(NodeId),
    /// Writes are paused: waiting until the successor has what the primary has.
    Matching {
        successor: NodeId,
        since: Instant,
    },
    Fencing(NodeId),
    /// The primary is fenced: a last comparison.
    Verifying {
        successor: NodeId,
        since: Instant,
    },
    /// Writes are being resumed, for this reason, after a fence or only a pause.
    Undoing {
        why: String,
        fenced: bool,
    },
    /// Beyond the point of no return.
    Resigned(NodeId),
}

impl Handover {
    pub(super) fn has_resigned(&self) -> bool {
        matches!(self.stage, Stage::Resigned(_))
    }

    /// Whether the own server refuses writes for it although this member leads, or is about to.
    pub(super) fn is_fenced(&self) -> bool {
        match &self.stage {
            Stage::Fencing(_) | Stage::Verifying { .. } => true,
            Stage::Undoing { fenced, .. } => *fenced,
            _ => false,
        }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Matching { since, .. } | Stage::Verifying { since, .. } => {
                Some((*since + COMPARE_EVERY).min(self.deadline))
            }
            Stage::Choosing { since } => Some((*since + CHOOSE_AGAIN).min(self.deadline)),
            _ => Some(self.deadline),
        }
    }
}

impl Core {
    pub(super) fn begin_switchover(&mut self, to: Option<String>) {
        let refusal = match &self.phase {
            _ if self.handover.is_some() => Some("a switchover is under way".to_owned()),
            Phase::Leading(spell) if spell.is_serving() => None,
            Phase::Following(following) => Some(format!("{} leads: ask there", following.leader)),
            _ if self.paused => {
                Some("nobody serves at present: resume, for another to take over".to_owned())
            }
            _ => Some("nobody serves at present".to_owned()),
        };
        if let Some(why) = refusal {
            return self.out.push(Action::SwitchoverEnded(Err(why)));
        }
        self.handover = Some(Handover {
            to,
            began: self.now,
            deadline: self.now + self.config.handover_timeout,
            stage: Stage::Choosing { since: self.now },
        });
    }

    pub(super) fn continue_handover(&mut self) {
        let Some(handover) = &self.handover else {
            return;
        };
        let leads = matches!(&self.phase, Phase::Leading(spell) if !spell.resigned);
        if !leads && !handover.has_resigned() {
            return self.end_switchover(Err("leadership was lost meanwhile".into()));
        }
        if self.order.is_some() {
            return;
        }
        if leads && self.has_lapsed() {
            return self.undo("leadership was not renewed in time".into());
        }
        let late = self.now >= handover.deadline;
        match &handover.stage {
            Stage::Choosing { since } => {
                let since = *since;
                self.choose(since, late);
            }
            Stage::Matching { successor, since } | Stage::Verifying { successor, since } => {
                let (successor, since) = (successor.clone(), *since);
                self.compare(successor, since, late);
            }
            Stage::Resigned(successor) => {
                let successor = successor.clone();
                self.await_successor(&successor, late);
            }
            Stage::Pausing(_) | Stage::Fencing(_) | Stage::Undoing { .. } => {}
        }
    }

    fn choose(&mut self, since: Instant, late: bool) {
        let surveyed = self.survey(since);
        if !surveyed && !late {
            return;
        }
        match self.successor(since) {
            Ok(successor) => {
                self.explain(
                    Kind::HandOver,
                    format!("hand over to {successor}"),
                    "a switchover was asked for",
                );
                self.enter_handover(Stage::Pausing(successor));
                self.give_order(Order::PauseWrites);
            }
            // Who leaves has time: a member that is about to follow may take over soon.
            Err(_) if self.leaving && !late && self.has_company() => {
                if self.now >= since + CHOOSE_AGAIN {
                    self.enter_handover(Stage::Choosing { since: self.now });
                }
            }
            Err(why) => self.end_switchover(Err(why)),
        }
    }

    fn has_company(&self) -> bool {
        let mut members = self.members.values();
        members.any(|member| member.is_expected() && !member.is_leaving())
    }

    /// The member whose server follows ours most closely, or the one that was named.
    fn successor(&self, since: Instant) -> Result<NodeId, String> {
        let wanted = self.handover.as_ref().and_then(|h| h.to.clone());
        let address = &self.config.server.address;
        let mut best: Option<(u64, NodeId)> = None;
        let mut why = "no other member is connected".to_owned();
        for (name, member) in &self.members {
            if wanted.as_ref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            if !member.is_expected() {
                continue;
            }
            let unfit = match member.answer_since(since) {
                _ if member.is_leaving() => "it is ending",
                None if member.foreign => "its server has a dataset of another group",
                None => "its server does not answer",
                Some(theirs) if !theirs.follows(address) => "its server does not follow ours",
                Some(theirs) if theirs.link() != Some(Link::Up) => "its server has no link to ours",
                Some(theirs) => match theirs.fit() {
                    Err(why) => why,
                    Ok(()) => {
                        let offset = theirs.position.offset;
                        if best.as_ref().is_none_or(|(most, _)| offset > *most) {
                            best = Some((offset, member.node(name)));
                        }
                        continue;
                    }
                },
            };
            why = format!("{name} cannot take over: {unfit}");
        }
        match (best, wanted) {
            (Some((_, node)), _) => Ok(node),
            (None, Some(name)) if !self.members.contains_key(&name) => {
                let known: Vec<_> = self.members.keys().map(String::as_str).collect();
                Err(format!(
                    "no member is called {name}; there are {}",
                    known.join(", ")
                ))
            }
            (None, _) => Err(why),
        }
    }

    /// Compares the successor's server with ours, again and again until it has everything.
    fn compare(&mut self, successor: NodeId, since: Instant, late: bool) {
        if late {
            return self.undo(format!("{successor} did not catch up in time"));
        }
        let own = match self.own_since(since) {
            None => None,
            Some(Err(error)) => return self.undo(format!("the own server is down: {error}")),
            Some(Ok(own)) => Some(own),
        };
        let Some(member) = self.members.get_mut(&successor.member) else {
            return self.undo(format!("{successor} is gone"));
        };
        if !member.is_expected() || member.node(&successor.member) != successor {
            return self.undo(format!("{successor} is gone"));
        }
        if member.is_leaving() {
            return self.undo(format!("{successor} is ending"));
        }
        let theirs = match member.respondent.answered_since(since) {
            None => {
                self.ask_member(&successor.member);
                return;
            }
            Some(Err(error)) => {
                let why = format!("the server of {successor} is down: {error}");
                return self.undo(why);
            }
            Some(Ok(theirs)) => theirs.clone(),
        };
        let Some(own) = own else { return };
        if has_all(&theirs, &own) || self.flawed(Flaw::HandsOverEarly) {
            self.matched(successor);
        } else if self.now >= since + COMPARE_EVERY {
            let since = self.now;
            self.enter_handover(match self.handover.as_ref().map(|h| &h.stage) {
                Some(Stage::Verifying { .. }) => Stage::Verifying { successor, since },
                _ => Stage::Matching { successor, since },
            });
            self.continue_handover();
        }
    }

    fn matched(&mut self, successor: NodeId) {
        let verified = matches!(
            self.handover.as_ref().map(|h| &h.stage),
            Some(Stage::Verifying { .. })
        );
        if verified {
            self.enter_handover(Stage::Resigned(successor.clone()));
            self.keep_primary();
            self.withdraw(Some(successor), Refusal::HandedOver, "it has every write");
        } else {
            self.enter_handover(Stage::Fencing(successor));
            self.give_order(Order::Fence(Clients::Keep));
        }
    }

    /// Takes everything back that was done before the point of no return.
    fn undo(&mut self, why: String) {
        let Some(handover) = &self.handover else {
            return;
        };
        let was_fenced = match &handover.stage {
            Stage::Choosing { .. } => return self.end_switchover(Err(why)),
            Stage::Fencing(_) | Stage::Verifying { .. } if self.has_lapsed() => {
                // Only a leader may promote: let the group decide anew.
                self.withdraw(None, Refusal::Lapsed, &why);
                return self.end_switchover(Err(why));
            }
            Stage::Fencing(_) | Stage::Verifying { .. } => true,
            _ => false,
        };
        let fenced = was_fenced;
        self.enter_handover(Stage::Undoing { why, fenced });
        match was_fenced {
            _ if self.flawed(Flaw::ForgetsToResume) => {}
            true => self.order_promotion(),
            false => self.give_order(Order::ResumeWrites),
        }
    }

    fn await_successor(&mut self, successor: &NodeId, late: bool) {
        // Whose agent could not be seen was chosen by its name alone.
        let unseen = successor.incarnation.is_nil();
        let serves = |leader: &NodeId| match unseen {
            true => leader.member == successor.member,
            false => leader == successor,
        };
        match &self.phase {
            Phase::Following(following)
                if serves(&following.leader) && following.server().is_some() =>
            {
                let address = following.server().map(|server| server.address);
                let follows = address.is_some_and(|address| {
                    self.own.latest().is_some_and(|own| own.follows(&address))
                });
                if follows || late {
                    self.end_switchover(Ok(()));
                }
            }
            Phase::Following(following) if following.server().is_some() => {
                let why = format!("{} took over instead of {successor}", following.leader);
                self.end_switchover(Err(why));
            }
            Phase::Leading(spell) if spell.is_serving() => {
                self.end_switchover(Err(format!("{successor} did not take over")));
            }
            _ if late => self.end_switchover(Err(format!("{successor} did not take over in time"))),
            _ => {}
        }
    }

    /// Whether the order that ended belonged to a handover.
    pub(super) fn handover_order_done(
        &mut self,
        order: &Order,
        result: &Result<(), String>,
    ) -> bool {
        let Some(handover) = &mut self.handover else {
            return false;
        };
        let since = self.now;
        match (
            std::mem::replace(&mut handover.stage, Stage::Choosing { since }),
            order,
            result,
        ) {
            (Stage::Pausing(successor), Order::PauseWrites, Ok(())) => {
                handover.stage = Stage::Matching { successor, since };
            }
            (Stage::Fencing(successor), Order::Fence(_), Ok(())) => {
                handover.stage = Stage::Verifying { successor, since };
            }
            // What failed may still have worked: it is undone as if it had.
            (stage @ (Stage::Pausing(_) | Stage::Fencing(_)), _, Err(error)) => {
                handover.stage = stage;
                self.undo(error.clone());
            }
            // Who leaves has time to choose another.
            (Stage::Undoing { .. }, _, Ok(())) if self.leaving && since < handover.deadline => {}
            (Stage::Undoing { why, .. }, _, Ok(())) => self.end_switchover(Err(why)),
            (Stage::Undoing { why, .. }, _, Err(error)) => {
                // A pause ends by itself; a fence does not: let the group decide anew.
                self.end_switchover(Err(format!("{why}; and then: {error}")));
                self.withdraw(None, Refusal::InDoubt, error);
            }
            (stage, _, _) => {
                handover.stage = stage;
                return false;
            }
        }
        true
    }

    fn end_switchover(&mut self, result: Result<(), String>) {
        let Some(handover) = self.handover.take() else {
            return;
        };
        let to = match handover.stage {
            Stage::Resigned(successor) => successor.member,
            _ => String::new(),
        };
        match &result {
            Ok(()) => self.explain(
                Kind::HandedOver,
                "the switchover ended",
                format!("{to} serves, and the own server follows it"),
            ),
            Err(why) => self.explain_grave(Kind::Keep, "the switchover ended", why.clone()),
        }
        let switched = Switched {
            from: self.config.server.name.clone(),
            to,
            took: self.now.saturating_duration_since(handover.began),
        };
        self.out
            .push(Action::SwitchoverEnded(result.map(|()| switched)));
    }

    fn enter_handover(&mut self, stage: Stage) {
        if let Some(handover) = &mut self.handover {
            handover.stage = stage;
        }
    }
}

/// Whether the successor has every write of the primary.
fn has_all(theirs: &Inspection, own: &Inspection) -> bool {
    matches!(
        theirs.position.relation(&own.position),
        Relation::Same | Relation::Ahead
    )
}

//! Who should take part: one change of the membership at a time, as discovery wants it and as the
//! nodes are.

#![deny(clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{Member, NodeId};

/// A node is caught up when it lacks at most this many entries.
const CLOSE: u64 = 1024;

/// A node that belongs to the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Citizen {
    pub(crate) member: Member,
    pub(crate) votes: bool,
    /// Whether it has answered within a lease.
    pub(crate) alive: bool,
    /// How many entries it lacks, if that is known.
    pub(crate) behind: Option<u64>,
}

/// What the leader sees.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) me: NodeId,
    /// The nodes of the group, the leader included.
    pub(crate) citizens: BTreeMap<NodeId, Citizen>,
    /// A change was left in the middle.
    pub(crate) joint: bool,
    /// What discovery says.
    pub(crate) wanted: BTreeSet<Member>,
    /// Which nodes answer at members' addresses, and belong to this group or to none.
    pub(crate) present: BTreeMap<String, NodeId>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Complete the change that was left in the middle.
    Finish,
    /// Bring a node up to date.
    Admit(NodeId, Member),
    /// Let a node vote that is up to date, in place of others of its name, which are gone.
    Enfranchise(NodeId, BTreeSet<NodeId>),
    /// Note where a member is now.
    Move(NodeId, Member),
    /// Let somebody else lead, so that this node can be removed.
    Resign,
    /// Remove a node.
    Remove(NodeId),
}

/// How a membership is looked after.
#[derive(Debug)]
pub(crate) struct Census {
    /// No fewer may vote.
    floor: usize,
    /// Who is not wanted for so long is removed.
    grace: Duration,
    unwanted: BTreeMap<NodeId, Instant>,
}

impl Census {
    pub(crate) fn new(floor: usize, grace: Duration) -> Self {
        Self {
            floor,
            grace,
            unwanted: BTreeMap::new(),
        }
    }

    /// Forgets since when who is not wanted: another node leads.
    pub(crate) fn rest(&mut self) {
        self.unwanted.clear();
    }

    /// The next change, if any is due.
    #[must_use]
    pub(crate) fn step(&mut self, now: Instant, view: &View) -> Option<Change> {
        self.note_unwanted(now, view);
        if view.joint {
            return Some(Change::Finish);
        }
        let changes = [
            enfranchise(view),
            admit(view),
            moved(view),
            self.remove(now, view),
        ];
        changes.into_iter().flatten().next()
    }

    fn note_unwanted(&mut self, now: Instant, view: &View) {
        let unwanted = |id: &NodeId| {
            let citizen = view.citizens.get(id);
            citizen.is_some_and(|citizen| !view.is_wanted(&citizen.member.name))
        };
        self.unwanted.retain(|id, _| unwanted(id));
        for id in view.citizens.keys().filter(|id| unwanted(id)) {
            self.unwanted.entry(*id).or_insert(now);
        }
    }

    /// Who is no longer wanted and can be spared.
    fn remove(&self, now: Instant, view: &View) -> Option<Change> {
        // Discovery that names nobody has failed, or everything is about to end.
        if view.wanted.is_empty() {
            return None;
        }
        let due = (self.unwanted.iter())
            .filter(|(_, since)| now.saturating_duration_since(**since) >= self.grace)
            .find(|(id, _)| self.can_spare(view, **id));
        let (id, _) = due?;
        Some(if *id == view.me {
            Change::Resign
        } else {
            Change::Remove(*id)
        })
    }

    /// Whether enough voters remain, and most of those answer.
    fn can_spare(&self, view: &View, id: NodeId) -> bool {
        if !view.citizens[&id].votes {
            return true;
        }
        let remain = || view.voters().filter(|(other, _)| **other != id);
        let (count, alive) = (remain().count(), remain().filter(|(_, c)| c.alive).count());
        count >= self.floor && alive > count / 2
    }
}

impl View {
    fn is_wanted(&self, name: &str) -> bool {
        self.wanted.iter().any(|member| member.name == name)
    }

    fn voters(&self) -> impl Iterator<Item = (&NodeId, &Citizen)> {
        self.citizens.iter().filter(|(_, citizen)| citizen.votes)
    }

    /// The nodes of this name but for one, if all of them are gone.
    fn predecessors(&self, id: NodeId, name: &str) -> Option<BTreeSet<NodeId>> {
        let others = || {
            let others = self.citizens.iter().filter(|(other, _)| **other != id);
            others.filter(|(_, citizen)| citizen.member.name == name)
        };
        let gone = others().all(|(_, citizen)| !citizen.alive);
        gone.then(|| others().map(|(other, _)| *other).collect())
    }
}

/// A node that may vote from now on.
fn enfranchise(view: &View) -> Option<Change> {
    let ready = view.citizens.iter().filter(|(_, citizen)| {
        let close = citizen.behind.is_some_and(|behind| behind <= CLOSE);
        !citizen.votes && citizen.alive && close && view.is_wanted(&citizen.member.name)
    });
    ready
        .filter_map(|(id, citizen)| {
            let replaced = view.predecessors(*id, &citizen.member.name)?;
            Some(Change::Enfranchise(*id, replaced))
        })
        .next()
}

/// A node that shall be brought up to date.
fn admit(view: &View) -> Option<Change> {
    let newcomers = view.wanted.iter().filter_map(|member| {
        let id = *view.present.get(&member.name)?;
        let new = !view.citizens.contains_key(&id);
        // Two living nodes of one name are a mistake that is not made worse.
        let alone = view.predecessors(id, &member.name).is_some();
        (new && alone).then(|| Change::Admit(id, member.clone()))
    });
    newcomers.into_iter().next()
}

/// A member that is somewhere else now.
fn moved(view: &View) -> Option<Change> {
    view.citizens.iter().find_map(|(id, citizen)| {
        let mut named = view.wanted.iter().filter(|m| m.name == citizen.member.name);
        let now = named.next().filter(|now| **now != citizen.member)?;
        citizen.alive.then(|| Change::Move(*id, now.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn member(name: &str) -> Member {
        Member::new(name, "127.0.0.1", 7000)
    }

    fn voter(name: &str) -> Citizen {
        Citizen {
            member: member(name),
            votes: true,
            alive: true,
            behind: Some(0),
        }
    }

    /// Three voters, a, b and c, that are wanted; a leads.
    fn view() -> View {
        let names = ["a", "b", "c"];
        View {
            me: NodeId(1),
            citizens: (1..).map(NodeId).zip(names.map(voter)).collect(),
            joint: false,
            wanted: names.map(member).into(),
            present: BTreeMap::new(),
        }
    }

    fn census() -> Census {
        Census::new(2, GRACE)
    }

    #[track_caller]
    fn at_rest(view: &View) {
        let (mut census, now) = (census(), start());
        for ago in [Duration::ZERO, GRACE, GRACE * 9] {
            assert_eq!(census.step(now + ago, view), None);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn who_is_wanted_stays_dead_or_alive() {
        let mut view = view();
        at_rest(&view);
        view.citizens.get_mut(&NodeId(3)).expect("c").alive = false;
        at_rest(&view);
    }

    #[test]
    fn a_newcomer_is_brought_up_to_date_before_it_votes() {
        let mut view = view();
        view.wanted.insert(member("d"));
        at_rest(&view);
        view.present.insert("d".into(), NodeId(4));
        let step = |view: &View| census().step(start(), view);
        assert_eq!(step(&view), Some(Change::Admit(NodeId(4), member("d"))));

        let mut learner = Citizen {
            votes: false,
            behind: None,
            ..voter("d")
        };
        view.citizens.insert(NodeId(4), learner.clone());
        at_rest(&view);
        learner.behind = Some(CLOSE + 1);
        view.citizens.insert(NodeId(4), learner.clone());
        at_rest(&view);
        learner.behind = Some(CLOSE);
        view.citizens.insert(NodeId(4), learner.clone());
        let vote = Change::Enfranchise(NodeId(4), BTreeSet::new());
        assert_eq!(step(&view), Some(vote));
        learner.alive = false;
        view.citizens.insert(NodeId(4), learner);
        at_rest(&view);
    }

    #[test]
    fn who_comes_back_as_another_replaces_who_it_was() {
        let mut view = view();
        view.present.insert("c".into(), NodeId(9));
        // Two that live under one name are left alone.
        at_rest(&view);
        view.citizens.get_mut(&NodeId(3)).expect("c").alive = false;
        let step = |view: &View| census().step(start(), view);
        assert_eq!(step(&view), Some(Change::Admit(NodeId(9), member("c"))));
        let learner = Citizen {
            votes: false,
            ..voter("c")
        };
        view.citizens.insert(NodeId(9), learner.clone());
        let replaced = Change::Enfranchise(NodeId(9), [NodeId(3)].into());
        assert_eq!(step(&view), Some(replaced));
        // It restarts once more before it votes.
        let gone = Citizen {
            alive: false,
            ..learner.clone()
        };
        view.citizens.insert(NodeId(9), gone);
        view.citizens.insert(NodeId(10), learner);
        let replaced = Change::Enfranchise(NodeId(10), [NodeId(3), NodeId(9)].into());
        assert_eq!(step(&view), Some(replaced));
    }

    #[test]
    fn who_is_unwanted_for_long_is_removed_but_never_below_the_floor() {
        let mut view = view();
        view.wanted.remove(&member("c"));
        let (mut census, now) = (census(), start());
        let late = now + GRACE;
        assert_eq!(census.step(now, &view), None);
        assert_eq!(census.step(late - Duration::from_millis(1), &view), None);
        assert_eq!(census.step(late, &view), Some(Change::Remove(NodeId(3))));

        // Two remain, which is the floor.
        view.citizens.remove(&NodeId(3));
        view.wanted.remove(&member("b"));
        assert_eq!(census.step(late, &view), None);
        assert_eq!(census.step(late + GRACE * 9, &view), None);
    }

    #[test]
    fn who_is_wanted_again_has_a_new_grace() {
        let mut view = view();
        let all = view.wanted.clone();
        let (mut census, now) = (census(), start());
        view.wanted.remove(&member("c"));
        assert_eq!(census.step(now, &view), None);
        view.wanted = all;
        assert_eq!(census.step(now + GRACE, &view), None);
        view.wanted.remove(&member("c"));
        assert_eq!(census.step(now + GRACE, &view), None);
        census.rest();
        assert_eq!(census.step(now + GRACE * 2, &view), None);
        assert_eq!(
            census.step(now + GRACE * 3, &view),
            Some(Change::Remove(NodeId(3)))
        );
    }

    #[test]
    fn who_is_needed_for_a_majority_of_the_living_is_not_removed() {
        let mut view = view();
        view.wanted.remove(&member("c"));
        view.citizens.get_mut(&NodeId(2)).expect("b").alive = false;
        at_rest(&view);
    }

    #[test]
    fn a_discovery_that_names_nobody_removes_nobody() {
        let mut view = view();
        view.citizens.insert(NodeId(4), voter("d"));
        view.wanted.clear();
        at_rest(&view);
    }

    #[test]
    fn a_leader_that_is_unwanted_hands_over_first() {
        let mut view = view();
        view.wanted.remove(&member("a"));
        let (mut census, now) = (census(), start());
        assert_eq!(census.step(now, &view), None);
        assert_eq!(census.step(now + GRACE, &view), Some(Change::Resign));
    }

    #[test]
    fn what_was_left_in_the_middle_is_finished_first() {
        let mut view = view();
        view.joint = true;
        view.wanted.insert(member("d"));
        view.present.insert("d".into(), NodeId(4));
        assert_eq!(census().step(start(), &view), Some(Change::Finish));
    }

    #[test]
    fn a_member_that_moves_is_noted() {
        let mut view = view();
        view.wanted.remove(&member("b"));
        let there = Member::new("b", "127.0.0.2", 7000);
        view.wanted.insert(there.clone());
        let step = census().step(start(), &view);
        assert_eq!(step, Some(Change::Move(NodeId(2), there)));
    }
}

//! Who the members are, from all objects that are known: a pure core.
#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::kube::endpoint::{Endpoint, Host, State};
use crate::{Family, Include, Member, Members};

/// The objects of one list, by name, with what each says.
pub(crate) type Objects = BTreeMap<String, Vec<Endpoint>>;

/// Which endpoints are members, and by which host they are reached.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) include: Include,
    pub(crate) family: Family,
    /// Follows a pod's label in DNS, with a dot before it.
    pub(crate) host_suffix: Option<String>,
    pub(crate) linger: Duration,
    pub(crate) max_members: usize,
}

/// More members than are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowd {
    pub(crate) found: usize,
}

/// What is worth a word in the log, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// There is no object at all: the Service or the namespace may not exist, or nothing matches.
    Nothing,
    /// There are endpoints, and none has a port of the name that is asked for.
    NoSuchPort,
}

/// All objects, and what was last told of them.
#[derive(Debug)]
pub(crate) struct Roster {
    rules: Rules,
    /// `None` before the first list.
    objects: Option<Objects>,
    /// What the caller believes.
    told: Option<Members>,
    /// By name, who vanished and until when that is not told.
    leaving: BTreeMap<String, Instant>,
    crowded: bool,
}

impl Roster {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            objects: None,
            told: None,
            leaving: BTreeMap::new(),
            crowded: false,
        }
    }

    /// Everything that exists, by a list.
    pub(crate) fn replace(&mut self, objects: Objects) {
        self.objects = Some(objects);
    }

    /// One object is new or has changed.
    pub(crate) fn put(&mut self, object: String, endpoints: Vec<Endpoint>) {
        let objects = self.objects.get_or_insert_default();
        objects.insert(object, endpoints);
    }

    /// One object is no more.
    pub(crate) fn remove(&mut self, object: &str) {
        if let Some(objects) = &mut self.objects {
            objects.remove(object);
        }
    }

    /// The members, if they differ from those last told; a crowd once, until it is none.
    pub(crate) fn news(&mut self, now: Instant) -> Option<Result<Members, Crowd>> {
        let present = members(self.objects.as_ref()?, &self.rules);
        let found = present.len();
        if found > self.rules.max_members {
            self.leaving.clear();
            let known = std::mem::replace(&mut self.crowded, true);
            return (!known).then_some(Err(Crowd { found }));
        }
        self.crowded = false;
        let members = self.with_those_who_leave(present, now);
        if self.told.as_ref() == Some(&members) {
            return None;
        }
        self.told = Some(members.clone());
        Some(Ok(members))
    }

    /// When to ask for news though nothing happened.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.leaving.values().min().copied()
    }

    pub(crate) fn oddity(&self) -> Option<Oddity> {
        let objects = self.objects.as_ref()?;
        if objects.is_empty() {
            return Some(Oddity::Nothing);
        }
        let mut endpoints = objects.values().flatten().peekable();
        let any = endpoints.peek().is_some();
        let no_port = endpoints.all(|endpoint| endpoint.port.is_none());
        (any && no_port).then_some(Oddity::NoSuchPort)
    }

    fn with_those_who_leave(&mut self, mut present: Members, now: Instant) -> Members {
        let here: BTreeSet<String> = present.iter().map(|member| member.name.clone()).collect();
        let told = self.told.iter().flatten();
        let absent = told.filter(|member| !here.contains(&member.name));
        let before = std::mem::take(&mut self.leaving);
        for member in absent {
            let until = match before.get(&member.name) {
                Some(&until) => until,
                None => now + self.rules.linger,
            };
            if now < until && present.len() < self.rules.max_members {
                self.leaving.insert(member.name.clone(), until);
                present.insert(member.clone());
            }
        }
        present
    }
}

/// One member for each name, whatever the order of objects and endpoints, and however many of
/// them speak of it.
fn members(objects: &Objects, rules: &Rules) -> Members {
    let mut best: BTreeMap<String, (&Endpoint, Member)> = BTreeMap::new();
    for endpoint in objects.values().flatten() {
        let Some(member) = rules.member(endpoint) else {
            continue;
        };
        let better = best
            .get(&member.name)
            .is_none_or(|(other, _)| rules.preference(endpoint) < rules.preference(other));
        if better {
            best.insert(member.name.clone(), (endpoint, member));
        }
    }
    best.into_values().map(|(_, member)| member).collect()
}

impl Rules {
    fn member(&self, endpoint: &Endpoint) -> Option<Member> {
        let port = endpoint.port?;
        match (self.include, endpoint.state) {
            (Include::All, _) | (Include::Ready, State::Ready) => {}
            (Include::Ready, State::Unready | State::Terminating) => return None,
        }
        let known = endpoint.label.as_ref().zip(self.host_suffix.as_ref());
        let host = match (known, &endpoint.address) {
            // Also without an address: DNS will tell it as soon as there is one.
            (Some((label, suffix)), _) => format!("{label}{suffix}"),
            (None, Some(Host::Ip(ip))) => ip.to_string(),
            (None, Some(Host::Name(name))) => name.clone(),
            (None, None) => return None,
        };
        let nameless = Member::at(host, port);
        Some(match &endpoint.name {
            Some(name) => Member {
                name: name.clone(),
                ..nameless
            },
            None => nameless,
        })
    }

    /// Smaller is better. The state comes first: of a pod that was made anew under its old name,
    /// the one that still ends is passed over.
    fn preference<'a>(&self, endpoint: &'a Endpoint) -> (State, bool, &'a Endpoint) {
        let preferred = match (&endpoint.address, self.family) {
            (Some(Host::Ip(ip)), Family::Ipv4) => ip.is_ipv4(),
            (Some(Host::Ip(ip)), Family::Ipv6) => ip.is_ipv6(),
            (Some(Host::Name(_)) | None, _) => false,
        };
        (endpoint.state, !preferred, endpoint)
    }
}

#[cfg(test)]
mod tests;

#![expect(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn rules() -> Rules {
    Rules {
        include: Include::All,
        family: Family::Ipv4,
        host_suffix: Some(".redis.flock.svc.cluster.local".into()),
        linger: SECOND,
        max_members: 1024,
    }
}

fn endpoint(name: &str, ip: &str) -> Endpoint {
    Endpoint {
        state: State::Ready,
        name: Some(name.into()),
        label: None,
        address: Some(Host::Ip(ip.parse().unwrap())),
        port: Some(6379),
    }
}

fn stable(name: &str, ip: &str) -> Endpoint {
    Endpoint {
        label: Some(name.into()),
        ..endpoint(name, ip)
    }
}

fn objects(objects: &[(&str, &[Endpoint])]) -> Objects {
    let objects = objects.iter();
    objects
        .map(|(name, endpoints)| (name.to_string(), endpoints.to_vec()))
        .collect()
}

fn shown(members: &Members) -> Vec<String> {
    let members = members.iter();
    members
        .map(|member| format!("{}@{}:{}", member.name, member.host, member.port))
        .collect()
}

fn of(rules: &Rules, endpoints: &[Endpoint]) -> Vec<String> {
    shown(&members(&objects(&[("a", endpoints)]), rules))
}

fn news(roster: &mut Roster, now: Instant) -> Option<Vec<String>> {
    let news = roster.news(now)?;
    Some(shown(&news.expect("there is no crowd")))
}

#[test]
fn hosts_are_stable_names_else_addresses() {
    let nameless = Endpoint {
        name: None,
        ..endpoint("", "fd00::1")
    };
    let starting = Endpoint {
        address: None,
        ..stable("redis-0", "10.0.0.1")
    };
    let nowhere = Endpoint {
        label: None,
        ..starting.clone()
    };
    let elsewhere = Endpoint {
        address: Some(Host::Name("redis.example".into())),
        ..endpoint("a", "::")
    };
    let no_port = Endpoint {
        port: None,
        ..endpoint("a", "10.0.0.1")
    };
    let full = "redis-0@redis-0.redis.flock.svc.cluster.local:6379";
    for (endpoint, expected) in [
        (endpoint("a", "10.0.0.1"), Some("a@10.0.0.1:6379")),
        (endpoint("a", "fd00::1"), Some("a@fd00::1:6379")),
        (nameless, Some("[fd00::1]:6379@fd00::1:6379")),
        (stable("redis-0", "10.0.0.1"), Some(full)),
        (starting, Some(full)),
        (nowhere, None),
        (elsewhere, Some("a@redis.example:6379")),
        (no_port, None),
    ] {
        let found = of(&rules(), std::slice::from_ref(&endpoint));
        assert_eq!(found.first().map(|it| &**it), expected, "{endpoint:?}");
    }
    let mut rules = rules();
    rules.host_suffix = None;
    let found = of(&rules, &[stable("redis-0", "10.0.0.1")]);
    assert_eq!(found, ["redis-0@10.0.0.1:6379"]);
}

#[test]
fn all_or_only_those_who_serve() {
    let in_state = |name, state| Endpoint {
        state,
        ..endpoint(name, "10.0.0.1")
    };
    let three = [
        in_state("a", State::Ready),
        in_state("b", State::Unready),
        in_state("c", State::Terminating),
    ];
    assert_eq!(of(&rules(), &three).len(), 3);
    let mut rules = rules();
    rules.include = Include::Ready;
    assert_eq!(of(&rules, &three), ["a@10.0.0.1:6379"]);
}

#[test]
fn one_member_for_each_pod() {
    let both = [endpoint("a", "fd00::1"), endpoint("a", "10.0.0.1")];
    assert_eq!(of(&rules(), &both), ["a@10.0.0.1:6379"]);
    let mut six = rules();
    six.family = Family::Ipv6;
    assert_eq!(of(&six, &both), ["a@fd00::1:6379"]);
    assert_eq!(of(&six, &both[1..]), ["a@10.0.0.1:6379"], "it has no other");

    let mut ending = endpoint("a", "10.0.0.1");
    ending.state = State::Terminating;
    for anew in ["10.0.0.2", "fd00::2"] {
        let found = of(&rules(), &[ending.clone(), endpoint("a", anew)]);
        assert_eq!(found, [format!("a@{anew}:6379")]);
    }
}

#[test]
fn the_first_list_is_told_even_if_it_is_empty() {
    let now = Instant::now();
    let mut roster = Roster::new(rules());
    assert_eq!(news(&mut roster, now), None);
    roster.replace(Objects::new());
    assert_eq!(news(&mut roster, now).unwrap(), [""; 0]);
    assert_eq!(news(&mut roster, now), None);
    roster.replace(Objects::new());
    assert_eq!(news(&mut roster, now), None, "the same is no news");
}

#[test]
fn who_comes_is_told_at_once_and_who_goes_after_a_while() {
    let now = Instant::now();
    let mut roster = Roster::new(rules());
    roster.replace(objects(&[("x", &[endpoint("a", "10.0.0.1")])]));
    assert_eq!(news(&mut roster, now).unwrap(), ["a@10.0.0.1:6379"]);
    roster.put("x".into(), vec![endpoint("b", "10.0.0.2")]);
    assert_eq!(
        news(&mut roster, now).unwrap(),
        ["a@10.0.0.1:6379", "b@10.0.0.2:6379"]
    );
    assert_eq!(roster.wake_at(), Some(now + SECOND));
    let early = now + SECOND / 2;
    assert_eq!(news(&mut roster, early), None);
    assert_eq!(roster.wake_at(), Some(now + SECOND), "it is not put off");
    assert_eq!(
        news(&mut roster, now + SECOND).unwrap(),
        ["b@10.0.0.2:6379"]
    );
    assert_eq!(roster.wake_at(), None);
}

#[test]
fn another_address_is_told_at_once_unless_the_name_is_stable() {
    let now = Instant::now();
    let mut roster = Roster::new(rules());
    let slice = |last: &str| {
        let ip = format!("10.0.0.{last}");
        vec![endpoint("a", &ip), stable("redis-0", &ip)]
    };
    roster.put("x".into(), slice("1"));
    assert_eq!(news(&mut roster, now).unwrap()[0], "a@10.0.0.1:6379");
    roster.put("x".into(), slice("2"));
    assert_eq!(
        news(&mut roster, now).unwrap(),
        [
            "a@10.0.0.2:6379",
            "redis-0@redis-0.redis.flock.svc.cluster.local:6379"
        ],
        "not both addresses of it"
    );
    roster.put("x".into(), vec![stable("redis-0", "10.0.0.3")]);
    assert_eq!(news(&mut roster, now), None);
    roster.remove("x");
    roster.put("y".into(), slice("2"));
    assert_eq!(news(&mut roster, now + 9 * SECOND), None);
}

#[test]
fn a_crowd_is_told_once_and_not_taken() {
    let now = Instant::now();
    let mut rules = rules();
    rules.max_members = 2;
    let mut roster = Roster::new(rules);
    let names = ["a", "b", "c"];
    let all = names.map(|name| endpoint(name, "10.0.0.1"));
    roster.put("x".into(), all[..2].to_vec());
    assert_eq!(news(&mut roster, now).unwrap().len(), 2);
    roster.put("x".into(), all.to_vec());
    assert_eq!(roster.news(now), Some(Err(Crowd { found: 3 })));
    assert_eq!(roster.news(now), None);
    assert_eq!(roster.wake_at(), None);
    roster.put("x".into(), all[1..].to_vec());
    assert_eq!(
        news(&mut roster, now).unwrap(),
        ["b@10.0.0.1:6379", "c@10.0.0.1:6379"],
        "nobody lingers where there is no room"
    );
    roster.put("x".into(), all[2..].to_vec());
    assert_eq!(news(&mut roster, now), None, "one of them lingers");
    assert!(roster.wake_at().is_some());
    roster.put("x".into(), all.to_vec());
    assert_eq!(roster.news(now), Some(Err(Crowd { found: 3 })), "again");
    assert_eq!(roster.wake_at(), None, "or the caller would spin");
}

#[test]
fn what_looks_like_a_mistake_is_noticed() {
    let mut roster = Roster::new(rules());
    assert_eq!(roster.oddity(), None, "nothing is known yet");
    roster.replace(Objects::new());
    assert_eq!(roster.oddity(), Some(Oddity::Nothing));
    roster.put("x".into(), Vec::new());
    assert_eq!(roster.oddity(), None, "the Service exists");
    let mut no_port = endpoint("a", "10.0.0.1");
    no_port.port = None;
    roster.put("x".into(), vec![no_port]);
    assert_eq!(roster.oddity(), Some(Oddity::NoSuchPort));
    roster.put("y".into(), vec![endpoint("b", "10.0.0.2")]);
    assert_eq!(roster.oddity(), None);
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let states = [State::Ready, State::Unready, State::Terminating];
    let ips = ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"];
    let parts = (0..4_u8, 0..3_usize, 0..5_usize, any::<bool>(), 0..4_u16);
    parts.prop_map(move |(name, state, ip, label, port)| {
        let name = (name < 3).then(|| format!("redis-{name}"));
        Endpoint {
            state: states[state],
            label: name.clone().filter(|_| label),
            name,
            address: ips.get(ip).map(|ip| Host::Ip(ip.parse().unwrap())),
            port: (port > 0).then_some(6378 + port),
        }
    })
}

proptest! {
    #[test]
    fn neither_order_nor_repetition_nor_division_matters(
        endpoints in proptest::collection::vec((any_endpoint(), 0..3_u8, 0..3_u8), 0..12),
        family in prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)],
        include in prop_oneof![Just(Include::All), Just(Include::Ready)],
    ) {
        let rules = Rules { include, family, ..rules() };
        let (mut one, mut other) = (Objects::new(), Objects::new());
        for (endpoint, here, there) in endpoints {
            one.entry(here.to_string()).or_default().push(endpoint.clone());
            let slice = other.entry(there.to_string()).or_default();
            slice.insert(0, endpoint.clone());
            slice.push(endpoint);
        }
        let members = members(&one, &rules);
        prop_assert_eq!(&members, &super::members(&other, &rules));
        let mut names: Vec<_> = members.iter().map(|member| &member.name).collect();
        names.dedup();
        prop_assert_eq!(names.len(), members.len());
    }

    /// The slices' controller moves a pod by two writes, in either order.
    #[test]
    fn a_pod_that_moves_between_slices_is_no_change(
        moves in proptest::collection::vec((0..4_usize, any::<bool>(), 0..999_u64), 1..30),
    ) {
        let mut now = Instant::now();
        let mut roster = Roster::new(rules());
        let pod = || vec![endpoint("a", "10.0.0.1")];
        let mut at = 0;
        roster.replace(objects(&[("0", &pod()), ("1", &[]), ("2", &[])]));
        prop_assert!(news(&mut roster, now).is_some());
        for (to, removed_first, millis) in moves {
            let leave = (at.to_string(), Vec::new());
            let arrive = (to.to_string(), pod());
            let mut writes = vec![leave, arrive];
            if !removed_first && to != at {
                writes.reverse();
            }
            for (slice, endpoints) in writes {
                roster.put(slice, endpoints);
                prop_assert_eq!(news(&mut roster, now), None);
                now += Duration::from_millis(millis);
                prop_assert_eq!(news(&mut roster, now), None);
            }
            at = to;
        }
        prop_assert_eq!(roster.wake_at(), None);
    }
}

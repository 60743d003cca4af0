//! A leader that the members confirm while the API is away, by real sockets.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use bellwether_election::{Confirming, Error, Failsafe, Lease, LeaseConfig};
use bellwether_testkit::{kube::Access, ports};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};

use crate::group::{DEADLINE, Group, LEASE, client, eventually, quick, when};

type Members = BTreeMap<String, (String, u16)>;

/// Candidates that know where the others can be asked.
struct Peers {
    group: Group,
    members: watch::Sender<Members>,
    addresses: Vec<SocketAddr>,
}

impl Peers {
    /// Members who all know each other, and whom the Lease lists.
    async fn start(count: usize) -> Self {
        Self::with_secrets(&vec![None; count]).await
    }

    /// The same, each with its secret.
    async fn with_secrets(secrets: &[Option<&str>]) -> Self {
        let mut peers = Self {
            group: Group::start(0).await,
            members: watch::Sender::default(),
            addresses: Vec::new(),
        };
        for secret in secrets {
            peers.add(*secret).await;
        }
        peers.listed().await;
        peers.group.leader().await;
        peers
    }

    /// Adds a member, and tells all of it.
    async fn add(&mut self, secret: Option<&str>) {
        let port = ports::free().expect("a port is free");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut failsafe = Failsafe::new(address, self.members.subscribe());
        failsafe.secret = secret.map(|secret| secret.to_owned().into());
        let configure = move |member: &str| {
            let mut config = quick(member);
            config.failsafe = Some(failsafe.clone());
            config
        };
        let number = self.group.nodes.len();
        self.group.add(&configure, Access::all()).await;
        self.addresses.push(address);
        self.locate(number, address);
    }

    /// From now on, a member is asked there.
    fn locate(&self, number: usize, address: SocketAddr) {
        self.members.send_modify(|members| {
            let place = (address.ip().to_string(), address.port());
            members.insert(format!("redis-{number}"), place);
        });
    }

    /// Waits until the Lease lists all who are known.
    async fn listed(&self) {
        let names: Vec<_> = self.members.borrow().keys().cloned().collect();
        eventually("the Lease lists all", || {
            let lease = self.group.lease();
            when(lease["metadata"]["annotations"]["bellwether.dev/failsafe"] == names.join(","))
        })
        .await;
    }

    fn confirming(&self, number: usize) -> Confirming {
        let status = self.group.nodes[number].status.borrow();
        status.failsafe.clone().expect("failsafe is on")
    }

    fn cut(&self, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            self.group.nodes[number].link.refuse().expect("it is cut");
        }
    }

    fn heal(&self) {
        for node in &self.group.nodes {
            node.link.heal().expect("the API is back");
        }
    }

    /// Lets time pass. Whether one leads all that time by one spell; `None` if this machine was too
    /// busy to tell.
    async fn leads_on(&self, number: usize, time: Duration) -> Option<bool> {
        let node = &self.group.nodes[number];
        let term = node.term();
        let begun = Instant::now();
        let mut last = begun;
        while begun.elapsed() < time {
            sleep(Duration::from_millis(5)).await;
            if last.elapsed() > quick("").retry_period / 2 {
                return None;
            }
            last = Instant::now();
            if !node.leads() || node.term() != term {
                return Some(false);
            }
        }
        Some(true)
    }
}

/// Members of whom some lose the API, and a leader that leads on for three lease durations, unless
/// the machine does not let it: then once more, with others.
async fn outlives(secret: Option<&str>, cut: impl Fn(usize) -> Vec<usize>) -> (Peers, usize) {
    for _ in 0..10 {
        let peers = Peers::with_secrets(&[secret; 3]).await;
        let leader = peers.group.leader().await;
        peers.cut(cut(leader));
        match peers.leads_on(leader, quick("").lease_duration * 3).await {
            Some(true) => return (peers, leader),
            Some(false) => panic!("interrupted: {:?}", peers.confirming(leader)),
            None => peers.group.judge(),
        };
    }
    panic!("this machine is too busy")
}

#[tokio::test]
async fn an_outage_for_all_interrupts_nobody() {
    let (peers, leader) = outlives(None, |_| vec![0, 1, 2]).await;
    assert!(peers.confirming(leader).asking);
    let follower = (leader + 1) % 3;
    let promised = peers.confirming(follower).promised_to;
    assert_eq!(promised, Some(format!("redis-{leader}")));
    assert_eq!(
        peers.group.nodes[follower].term(),
        peers.group.nodes[leader].term()
    );
    peers.heal();
    eventually("nobody is asked any more", || {
        when(!peers.confirming(leader).asking)
    })
    .await;
    let leader = peers.group.leader().await;
    // A release ends promises, also those that were just given.
    peers.group.nodes[leader].resign(None);
    eventually("another leads", || {
        peers.group.leading().filter(|next| *next != leader)
    })
    .await;
    peers.group.judge();
}

#[tokio::test]
async fn a_leader_that_alone_is_cut_off_is_not_replaced() {
    let (peers, leader) = outlives(Some("baa"), |leader| vec![leader]).await;
    let lease = peers.group.lease();
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    assert!(holder.starts_with(&format!("redis-{leader}_")), "{holder}");
    peers.group.judge();
}

#[tokio::test]
async fn one_silent_member_ends_it_and_nobody_leads_without_the_api() {
    let mut peers = Peers::start(3).await;
    let leader = peers.group.leader().await;
    let silent = (leader + 1) % 3;
    peers.cut(0..3);
    peers.group.kill(silent);
    eventually("the leader stops", || when(peers.group.leading().is_none())).await;
    let end = Instant::now() + quick("").lease_duration * 2;
    while Instant::now() < end {
        assert_eq!(peers.group.leading(), None);
        sleep(Duration::from_millis(5)).await;
    }
    for number in (0..3).filter(|number| *number != silent) {
        peers.group.nodes[number].link.heal().expect("it is back");
    }
    peers.group.leader().await;
    peers.group.judge();
}

#[tokio::test]
async fn who_answers_for_another_does_not_count() {
    let peers = Peers::start(3).await;
    let leader = peers.group.leader().await;
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    // Such as an address that went to another pod.
    peers.locate(one, peers.addresses[other]);
    peers.cut(0..3);
    eventually("the leader stops", || when(peers.group.leading().is_none())).await;
    peers.group.judge();
}

#[tokio::test]
async fn who_has_another_secret_or_none_does_not_count() {
    for secrets in [[Some("baa"), Some("moo")], [Some("baa"), None]] {
        let peers = Peers::with_secrets(&secrets).await;
        peers.cut(0..2);
        eventually("the leader stops", || when(peers.group.leading().is_none())).await;
        for number in 0..2 {
            assert_eq!(peers.confirming(number).promised_to, None);
        }
        peers.group.judge();
    }
}

/// With a secret, whatever a stranger asks is refused, and its term does no harm.
#[tokio::test]
async fn a_stranger_without_the_secret_is_not_believed() {
    let peers = Peers::with_secrets(&[Some("baa"); 2]).await;
    let leader = peers.group.leader().await;
    let (group, name) = (format!("default/{LEASE}"), format!("redis-{}", 1 - leader));
    let refused = |why| {
        framed(&unsealed(
            &[&text(&group)[..], &text(&name), &[1, why]].concat(),
        ))
    };
    for term in [1, 1 << 20, 1 << 61] {
        let question = question(&group, &name, term);
        let follower = peers.addresses[1 - leader];
        assert_eq!(say(follower, &question).await, refused(5));
        // The same with a seal that is made up.
        let mut sealed = question[9..question.len() - 1].to_vec();
        sealed.push(1);
        sealed.extend_from_slice(&[9; 32]);
        let sealed = [&question[..5], &framed(&sealed)].concat();
        assert_eq!(say(follower, &sealed).await, refused(7));
    }
    assert_eq!(peers.confirming(1 - leader).promised_to, None);
    peers.cut([leader]);
    eventually("the follower promises", || {
        when(peers.confirming(1 - leader).promised_to.is_some())
    })
    .await;
    peers.group.judge();
}

#[tokio::test]
async fn who_joins_during_an_outage_waits_and_follows() {
    for _ in 0..10 {
        let mut peers = Peers::start(2).await;
        let leader = peers.group.leader().await;
        peers.cut([leader]);
        eventually("all are asked", || when(peers.confirming(leader).asking)).await;
        peers.add(None).await;
        let led = peers.leads_on(leader, quick("").lease_duration * 2).await;
        peers.group.judge();
        if led == Some(true) {
            assert_eq!(peers.group.leader().await, leader);
            return;
        }
        assert_eq!(led, None, "interrupted: {:?}", peers.confirming(leader));
    }
    panic!("this machine is too busy");
}

#[tokio::test]
async fn who_is_no_member_does_no_harm() {
    let peers = Peers::start(2).await;
    let leader = peers.group.leader().await;
    let follower = peers.addresses[1 - leader];
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"BWts\x01\0\0\0\0",
        b"BWfs\x07\0\0\0\0",
        b"BWfs\x02\xff\xff\xff\xff",
        b"BWfs\x02\0\0\0\x04\xff\xff\xff\xff",
        b"BWfs",
        b"",
    ] {
        assert!(say(follower, garbage).await.is_empty(), "{garbage:?}");
    }
    let group = format!("default/{LEASE}");
    let name = format!("redis-{}", 1 - leader);
    let answer = |verdict: &[u8]| unsealed(&[&text(&group)[..], &text(&name), verdict].concat());
    // Another group, another member, and a leader of long ago.
    for (question, verdict) in [
        (question("default/other", &name, 1), &[1, 0][..]),
        (question(&group, "redis-9", 1), &[1, 1]),
    ] {
        assert_eq!(say(follower, &question).await, framed(&answer(verdict)));
    }
    let stale = say(follower, &question(&group, &name, 0)).await;
    let superseded = framed(&answer(&[1, 4, 1]));
    assert_eq!(
        stale[..superseded.len() - 2],
        superseded[..superseded.len() - 2]
    );
    // A term that would leave no room for others.
    assert!(
        say(follower, &question(&group, &name, 1 << 61))
            .await
            .is_empty()
    );
    assert_eq!(peers.group.leader().await, leader);
    assert_eq!(peers.confirming(1 - leader).promised_to, None);
}

#[tokio::test]
async fn a_crowd_that_says_nothing_keeps_no_leader_out_for_long() {
    let peers = Peers::start(2).await;
    let leader = peers.group.leader().await;
    let follower = peers.addresses[1 - leader];
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(follower).await.expect("a backlog"));
    }
    peers.cut([leader]);
    eventually("the follower promises", || {
        when(peers.confirming(1 - leader).promised_to.is_some())
    })
    .await;
    peers.group.judge();
    drop(crowd);
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    let group = Group::start(1).await;
    let kubeconfig = group.api.kubeconfig(&group.nodes[0].user);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound");
    let config = |member: &str, listen| {
        let mut config = LeaseConfig::new(LEASE, member);
        config.failsafe = Some(Failsafe::new(listen, watch::channel(Members::new()).1));
        config
    };
    let election = Lease::new(client(&kubeconfig).await, config("a", address));
    assert!(
        matches!(&election, Err(Error::Listen { address: at, .. }) if *at == address.to_string()),
        "{election:?}"
    );
    let said = config("a,b", address).check().unwrap_err().to_string();
    assert!(said.contains("member") && said.contains("commas"), "{said}");
    let mut empty = config("a", address);
    let failsafe = empty.failsafe.as_mut().expect("it is on");
    failsafe.secret = Some(String::new().into());
    let said = empty.check().unwrap_err().to_string();
    assert!(said.contains("secret") && said.contains("empty"), "{said}");
}

/// What a member answers to these bytes, its nonce and the preface aside, until it closes the connection.
async fn say(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.expect("it listens");
    stream.write_all(bytes).await.expect("the kernel takes it");
    let mut answer = Vec::new();
    // Closed with or without a reset: either will do.
    let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("it is closed in time");
    // It begins with a nonce, unless it was closed with a reset.
    let answer = answer.get(5 + 4 + 32..).unwrap_or_default();
    let answer = answer.strip_prefix(b"BWfs\x02").unwrap_or(answer);
    answer.to_vec()
}

/// A question of somebody who leads under this term, as the wire format has it.
fn question(group: &str, member: &str, term: u64) -> Vec<u8> {
    let mut body = [vec![3; 32], text(group), text(member), text("stranger")].concat();
    body.push(16);
    body.extend_from_slice(&[7; 16]);
    body.extend_from_slice(&varint(term));
    // No card; one second.
    body.extend_from_slice(&[0, 1, 0]);
    [&b"BWfs\x02"[..], &framed(&unsealed(&body))].concat()
}

/// What a message without a seal looks like.
fn unsealed(body: &[u8]) -> Vec<u8> {
    [&varint(body.len() as u64)[..], body, &[0]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&varint(text.len() as u64)[..], text.as_bytes()].concat()
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short");
    [&length.to_be_bytes(), body].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
    bytes
}

//! Sidecars beside real servers, with an election that the test holds.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bellwether_election::{Leadership, NodeId, Peer, Rank, Seat, Term, seat};
use bellwether_replication::{
    Address, Clients, Connect, Handle, Instance, Redis, RedisOptions, Server, Sidecar,
    SidecarConfig, View,
};
use bellwether_testkit as testkit;
use bytes::Bytes;
use support::{address, eventually, fresh};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

/// Leads whoever stands with the best rank, and hands over as a leader asks.
struct Election {
    seats: Vec<(NodeId, Seat, u64)>,
    leader: Option<NodeId>,
    term: Term,
}

impl Election {
    async fn run(mut self) {
        loop {
            self.seats
                .retain(|(_, seat, _)| seat.intent().has_changed().is_ok());
            self.absorb_resignations();
            if self.leader.is_none() {
                self.elect();
            }
            self.publish();
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn absorb_resignations(&mut self) {
        let mut next = self.leader.clone();
        for (node, seat, seen) in &mut self.seats {
            let intent = seat.intent().borrow().clone();
            let resigned = intent.resignations > std::mem::replace(seen, intent.resignations);
            if resigned && self.leader.as_ref() == Some(node) {
                next = intent.successor;
            }
        }
        let there = |leader: &NodeId| self.seats.iter().any(|(node, _, _)| node == leader);
        let next = next.filter(there);
        if next != self.leader && next.is_some() {
            self.term = self.term.next();
        }
        self.leader = next;
    }

    fn elect(&mut self) {
        let spoken = |(_, seat, _): &(NodeId, Seat, u64)| {
            seat.intent().borrow().spoke_in == seat.vacancies()
        };
        if !self.seats.iter().all(spoken) {
            return;
        }
        let candidates = self.seats.iter().filter_map(|(node, seat, _)| {
            let rank: Rank = seat.intent().borrow().candidacy.clone()?;
            Some((rank, node.clone()))
        });
        if let Some((_, best)) = candidates.max() {
            self.leader = Some(best);
            self.term = self.term.next();
        }
    }

    fn publish(&self) {
        let cards: BTreeMap<NodeId, Bytes> = self
            .seats
            .iter()
            .map(|(node, seat, _)| (node.clone(), seat.intent().borrow().card.clone()))
            .collect();
        for (node, seat, _) in &self.seats {
            let others = cards.iter().filter(|(other, _)| *other != node);
            let peer = |card: &Bytes| Peer {
                card: card.clone(),
                leader: self.leader.clone(),
            };
            seat.publish_peers(
                others
                    .map(|(other, card)| (other.clone(), peer(card)))
                    .collect(),
            );
            let term = self.term;
            seat.publish(match &self.leader {
                None => Leadership::Vacant,
                Some(leader) if leader == node => Leadership::Leading { term, until: None },
                Some(leader) => Leadership::Following {
                    leader: leader.clone(),
                    card: cards[leader].clone(),
                    term,
                },
            });
        }
    }
}

struct Group {
    servers: Vec<testkit::Redis>,
    handles: Vec<Handle>,
    sidecars: Vec<JoinHandle<()>>,
}

impl Group {
    fn of(size: usize) -> Self {
        let servers: Vec<_> = (0..size).map(|_| fresh()).collect();
        let (mut handles, mut sidecars, mut seats) = (Vec::new(), Vec::new(), Vec::new());
        for (number, server) in servers.iter().enumerate() {
            let name = name(number);
            let (participant, seat) = seat(Bytes::new());
            let node = NodeId {
                member: name.clone(),
                incarnation: Uuid::new_v4(),
            };
            seats.push((node, seat, 0));
            let address = address(server);
            let mut config = SidecarConfig::new("flock", Server { name, address });
            config.survey_interval = Duration::from_millis(200);
            // An overloaded machine must not look like a hung server.
            config.down_after = Duration::from_secs(10);
            config.answer_timeout = Duration::from_secs(10);
            config.handover_timeout = Duration::from_secs(10);
            let own = control(&config.server.address);
            let connect: Connect = Box::new(control);
            let (sidecar, handle) = Sidecar::new(config, own, connect, participant);
            handles.push(handle);
            sidecars.push(tokio::spawn(sidecar.run()));
        }
        let election = Election {
            seats,
            leader: None,
            term: Term(0),
        };
        tokio::spawn(election.run());
        Self {
            servers,
            handles,
            sidecars,
        }
    }

    /// Waits until all views name one primary, with that many replicas.
    async fn formed(&self, living: &[usize], replicas: usize) -> usize {
        eventually("one primary in all views", || async {
            let views: Vec<View> = living
                .iter()
                .map(|number| self.handles[*number].view().borrow().clone())
                .collect();
            let primary = views[0].primary.clone()?;
            let agreed = views
                .iter()
                .all(|view| view.primary.as_ref() == Some(&primary));
            let followed = views.iter().all(|view| view.replicas.len() == replicas);
            let number = (0..self.servers.len()).find(|number| name(*number) == primary.name)?;
            (agreed && followed).then_some(number)
        })
        .await
    }

    fn primaries(&self) -> Vec<usize> {
        let is_primary = |number: &usize| {
            let role = self.servers[*number].role();
            role.is_ok_and(|role| role.is_primary())
        };
        (0..self.servers.len()).filter(is_primary).collect()
    }
}

fn name(number: usize) -> String {
    format!("node-{number}")
}

fn control(address: &Address) -> Arc<dyn Instance> {
    Arc::new(Redis::new(address.clone(), RedisOptions::default()))
}

/// Appends 1, 2, 3, … through a view until it is told to stop; returns what was acknowledged.
async fn write(handle: Handle, stop: Arc<AtomicBool>) -> Vec<u64> {
    let (mut acknowledged, mut next) = (Vec::new(), 1);
    while !stop.load(Ordering::Relaxed) {
        let primary = handle.view().borrow().primary.clone();
        let Some(Server { address, .. }) = primary else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        let Ok(stream) = TcpStream::connect((address.host.as_str(), address.port)).await else {
            continue;
        };
        let mut stream = BufReader::new(stream);
        while !stop.load(Ordering::Relaxed) {
            let command = format!("RPUSH log {next}\r\n");
            let mut reply = String::new();
            let sent = stream.get_mut().write_all(command.as_bytes()).await;
            let read = timeout(support::PATIENCE, stream.read_line(&mut reply)).await;
            let read = read.expect("a writer is answered or cut");
            if sent.is_err() || !read.is_ok_and(|bytes| bytes > 0) || !reply.starts_with(':') {
                // Refused, or unknown: a number is never sent twice.
                next += 1;
                break;
            }
            acknowledged.push(next);
            next += 1;
        }
    }
    acknowledged
}

fn kept(server: &testkit::Redis) -> Vec<u64> {
    let text = server
        .command(&["LRANGE", "log", "0", "-1"])
        .expect("it answers");
    let number = |line: &str| line.parse().expect("numbers were written");
    text.lines().map(number).collect()
}

fn assert_all_kept(server: &testkit::Redis, acknowledged: &[u64]) {
    let kept = kept(server);
    assert!(kept.is_sorted(), "in another order than they were written");
    let lost = |number: &&u64| kept.binary_search(number).is_err();
    let missing: Vec<_> = acknowledged.iter().filter(lost).collect();
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_forms_and_switches_over_without_losing_a_write() {
    let group = Group::of(3);
    let all = [0, 1, 2];
    let mut primary = group.formed(&all, 2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(group.handles[0].clone(), Arc::clone(&stop)));
    for round in 0..6 {
        eventually("some writes", || async {
            (kept(&group.servers[primary]).len() > round * 20).then_some(())
        })
        .await;
        let to = (round % 2 == 0).then(|| name((primary + 1) % 3));
        let switched = group.handles[primary]
            .switch_over(to.clone())
            .await
            .unwrap();
        assert_eq!(switched.from, name(primary));
        assert!(to.is_none_or(|to| to == switched.to));
        let now = group.formed(&all, 2).await;
        assert_eq!(name(now), switched.to);
        assert_eq!(group.primaries(), [now]);
        primary = now;
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writer.await.unwrap();
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    assert_all_kept(&group.servers[primary], &acknowledged);

    let other = (primary + 1) % 3;
    let refused = group.handles[other].switch_over(None).await.unwrap_err();
    assert!(refused.contains(&name(primary)), "{refused}");
    let refused = group.handles[primary]
        .switch_over(Some("nobody".into()))
        .await;
    assert!(refused.unwrap_err().contains("no member is called nobody"));
    assert_eq!(group.primaries(), [primary]);
    group.servers[primary].command(&["SET", "k", "v"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_hands_over_and_the_last_one_fences() {
    let mut group = Group::of(2);
    let first = group.formed(&[0, 1], 1).await;
    let second = 1 - first;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(group.handles[second].clone(), Arc::clone(&stop)));
    eventually("some writes", || async {
        (kept(&group.servers[first]).len() > 20).then_some(())
    })
    .await;
    group.handles[first].leave().await;
    let ended = &mut group.sidecars[first];
    timeout(support::PATIENCE, ended)
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(group.handles[first].view().borrow().primary, None);
    assert_eq!(group.formed(&[second], 1).await, second);
    assert_eq!(group.primaries(), [second]);
    stop.store(true, Ordering::Relaxed);
    assert_all_kept(&group.servers[second], &writer.await.unwrap());

    group.handles[second].leave().await;
    let ended = &mut group.sidecars[second];
    timeout(support::PATIENCE, ended)
        .await
        .expect("it ends")
        .unwrap();
    assert!(group.primaries().is_empty(), "nobody looks after a primary");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_is_followed_by_another_and_rejoins() {
    let mut group = Group::of(3);
    let all = [0, 1, 2];
    let first = group.formed(&all, 2).await;
    group.servers[first].command(&["SET", "k", "v"]).unwrap();
    eventually("the write on every server", || async {
        let has_it =
            |server: &testkit::Redis| server.command(&["GET", "k"]).is_ok_and(|v| v == "v");
        group.servers.iter().all(has_it).then_some(())
    })
    .await;
    group.servers[first].kill().unwrap();
    let second = group.formed(&all, 1).await;
    assert_ne!(first, second);
    // It comes back empty, and wipes nobody.
    group.servers[first]
        .restart(testkit::Data::Empty, testkit::Boot::ReplicaOfNowhere)
        .unwrap();
    assert_eq!(group.formed(&all, 2).await, second);
    for server in &group.servers {
        assert_eq!(server.command(&["GET", "k"]).unwrap(), "v");
    }
    // Somebody takes the primary's role by hand: the group has one again.
    control(&address(&group.servers[second]))
        .fence(Clients::Cut)
        .await
        .unwrap();
    eventually("a primary", || async {
        (group.primaries().len() == 1).then_some(())
    })
    .await;
    group.formed(&all, 2).await;
}

//! Peers that are no peers.

use std::net::SocketAddr;

use bellwether_election::{Leadership, Rank};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::group::{Group, Node, eventually};

/// Sends bytes and waits until the member closes the connection.
async fn send(to: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(to).await.expect("the member listens");
    stream.write_all(bytes).await.expect("the kernel takes it");
    let mut rest = Vec::new();
    // Closed with or without a reset: either will do.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(
        rest.starts_with(b"BWts\x01"),
        "the member greets first: {rest:?}"
    );
}

#[tokio::test]
async fn what_is_no_peer_is_closed_and_counted() {
    let group = Group::start(2).await;
    group.leader().await;
    let node = &group.nodes[0];
    let stats = || *node.stats.borrow();

    send(node.address, b"GET / HTTP/1.1\r\n\r\n").await;
    eventually("garbage is counted", || stats().garbage == 1).await;
    send(node.address, b"BWts\x07").await;
    eventually("another version is counted", || stats().other_version == 1).await;
    send(node.address, b"BWts\x01\xff\xff\xff\xff").await;
    eventually("an oversize frame is counted", || stats().oversize == 1).await;
    send(node.address, b"BWts\x01\0\0\0\x04\xff\xff\xff\xff").await;
    eventually("a garbled hello is counted", || stats().garbage == 2).await;
    let slow = stats().slow;
    send(node.address, b"BWts").await;
    eventually("who does not say hello is counted", || stats().slow > slow).await;
    group.leader().await;
}

#[tokio::test]
async fn another_group_is_turned_away() {
    let group = Group::start(1).await;
    group.leader().await;
    let node = &group.nodes[0];
    send(node.address, &hello("herd", "x", 7)).await;
    eventually("it is counted", || node.stats.borrow().other_group == 1).await;
    assert!(node.participant.peers().borrow().is_empty());
}

#[tokio::test]
async fn garbage_after_the_hello_ends_the_connection() {
    let group = Group::start(1).await;
    group.leader().await;
    let node = &group.nodes[0];
    let mut bytes = hello("flock", "x", 7);
    bytes.extend_from_slice(b"\0\0\0\x03\xff\xff\xff");
    send(node.address, &bytes).await;
    eventually("it is counted", || node.stats.borrow().garbage == 1).await;
    group.leader().await;
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_lost() {
    let group = Group::start(1).await;
    group.leader().await;
    let node = &group.nodes[0];
    let silent = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback can be listened on");
    let port = silent.local_addr().expect("it is bound").port();
    node.members
        .send_replace([node.host_and_port(), ("127.0.0.1".into(), port)].into());

    // It says hello and one snapshot, and never reads or writes again.
    let (mut stream, _) = silent.accept().await.expect("it is dialled");
    stream
        .write_all(&hello("flock", "z", port))
        .await
        .expect("the kernel takes it");
    stream
        .write_all(&snapshot())
        .await
        .expect("the kernel takes it");
    let peers = node.participant.peers();
    eventually("it is a peer", || peers.borrow().len() == 1).await;
    eventually("it is lost", || peers.borrow().is_empty()).await;
    drop(stream);
}

#[tokio::test]
async fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let mut group = Group::start(1).await;
    group.leader().await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(
            TcpStream::connect(group.nodes[0].address)
                .await
                .expect("there is a backlog"),
        );
    }
    let late = group.add().await;
    assert_eq!(group.leader().await, 0);
    assert!(!group.nodes[late].leads());
    drop(crowd);
}

#[tokio::test]
async fn of_two_with_one_name_the_elder_stays() {
    let mut group = Group::start(2).await;
    group.leader().await;
    let twin = Node::start("m1");
    twin.members
        .send_replace([group.nodes[0].host_and_port()].into());
    twin.participant.campaign(Rank(vec![9]));
    // Far longer than it would take it to lead on its own.
    let opened = || twin.stats.borrow().connections_opened;
    eventually("the twin is turned away again and again", || opened() > 30).await;
    assert_eq!(twin.now(), Leadership::Vacant);
    let peers = group.nodes[0].participant.peers();
    let known: Vec<_> = peers.borrow().keys().cloned().collect();
    assert_eq!(known, [group.nodes[1].id.clone()]);

    // When the elder is gone, the other takes its place.
    group.kill(1).await;
    let replaced = || peers.borrow().keys().eq([&twin.id]);
    eventually("the twin is let in", replaced).await;
}

/// A connection's first bytes, as the wire format has them.
fn hello(group: &str, member: &str, port: u16) -> Vec<u8> {
    let mut body = Vec::new();
    for text in [group, member] {
        body.push(u8::try_from(text.len()).expect("short"));
        body.extend_from_slice(text.as_bytes());
    }
    body.push(16);
    body.extend_from_slice(&[7; 16]);
    body.push(0);
    body.extend_from_slice(&varint(port));
    let mut bytes = b"BWts\x01".to_vec();
    bytes.extend_from_slice(&framed(&body));
    bytes
}

/// The snapshot of a member that follows nobody and does not stand.
fn snapshot() -> Vec<u8> {
    // Sequence, highest term, vacant, not spoken, no vote, no candidacy, no handover, overrules
    // nobody, stays, no card.
    framed(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short");
    [&length.to_be_bytes(), body].concat()
}

fn varint(mut value: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
    bytes
}

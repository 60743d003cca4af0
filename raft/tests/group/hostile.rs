//! What comes to the port of a node need not come from its group.

use std::time::Duration;

use bellwether_raft::{Config, Group, Leadership, Member, Roster, Storage};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    counter::Counter,
    flock::{Flock, LONG},
};

/// A hello of version 1: purpose, group, from, to, charter.
fn hello(purpose: u8, group: &str, to: u64) -> Vec<u8> {
    let mut body = vec![purpose];
    body.extend(u32::try_from(group.len()).expect("short").to_be_bytes());
    body.extend(group.as_bytes());
    body.extend(1_u64.to_be_bytes());
    body.extend(to.to_be_bytes());
    body.extend(7_u128.to_be_bytes());
    let mut bytes = b"BWrf\x01".to_vec();
    bytes.extend(u16::try_from(body.len()).expect("short").to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Says this to a node; all that it answers before it closes.
async fn say(node: &Group<Counter>, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.local_addr())
        .await
        .expect("it listens");
    stream.write_all(bytes).await.expect("it reads");
    let mut answer = Vec::new();
    let end = timeout(LONG, stream.read_to_end(&mut answer)).await;
    match end.expect("it closes") {
        Ok(_) => answer,
        // Closed with something unread.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("{error}"),
    }
}

/// The code of a refusal.
fn code(answer: &[u8]) -> u8 {
    assert_eq!(answer[..5], *b"BWrf\x01");
    answer[7]
}

#[tokio::test]
async fn strangers_are_turned_away_and_change_nothing() {
    let mut flock = Flock::new(1);
    let mut config = flock.config(0);
    config.peer_timeout = config.election_max;
    flock.start_as(0, config).await;
    flock.leader().await;
    let node = &flock.nodes[&0];
    let before = node.status();

    assert_eq!(code(&say(node, &hello(1, "herd", node.id().0)).await), 1);
    assert_eq!(code(&say(node, &hello(1, "flock", 9)).await), 2);
    assert_eq!(code(&say(node, &hello(1, "flock", node.id().0)).await), 3);
    let mut newer = hello(1, "flock", node.id().0);
    newer[4] = 2;
    assert_eq!(code(&say(node, &newer).await), 4);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"BWrf\x01\xff\xff",
        b"BWrf\x01\x00\x01\x09",
        b"BW",
        b"",
    ] {
        assert!(say(node, garbage).await.is_empty(), "{garbage:?}");
    }
    // A question that is none, and one that is too long, after a hello that is welcome.
    for question in [&b"\x00\x00\x00\x01\x09"[..], b"\xff\xff\xff\xff"] {
        let answer = say(node, &[&hello(4, "flock", 0), question].concat()).await;
        assert_eq!(code(&answer), 0);
        assert_eq!(answer.len(), 16, "nothing after the welcome");
    }

    let after = node.status();
    assert_eq!((before.term, before.voters), (after.term, after.voters));
    assert!(matches!(after.leadership, Leadership::Leading { .. }));
    assert_eq!(flock.add(1).await, Some(1));
}

#[tokio::test]
async fn groups_of_other_names_do_not_mix() {
    let mut flock = Flock::running(2).await;
    flock.leader().await;
    // A third node believes that it belongs with them, under another group's name.
    let member = Member::new("node-2", "127.0.0.1", flock.members[0].port + 1);
    flock.members.push(member);
    let mut config = Config::new(
        "herd",
        "node-2",
        ([127, 0, 0, 1], 0).into(),
        Storage::Memory,
    );
    config.form_timeout = Duration::from_millis(100);
    let roster = Roster::fixed(flock.members.clone());
    let stranger = Group::start(config, roster, Counter::default())
        .await
        .unwrap();
    assert_eq!(flock.add(1).await, Some(1));
    assert_eq!(stranger.status().term, 0);
    assert_eq!(*stranger.leadership().borrow(), Leadership::Vacant);
}

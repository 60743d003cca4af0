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
    flock::{Flock, LONG, until},
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

/// The founding of the group that a node belongs to, as it tells anybody who asks.
async fn charter(node: &Group<Counter>) -> [u8; 16] {
    let ask = [&hello(4, "flock", 0)[..], b"\x00\x00\x00\x01\x01"].concat();
    let answer = say(node, &ask).await;
    // The welcome, the length, the id, and the name behind its length.
    let name = usize::from(answer[16 + 4 + 8 + 3]);
    let begin = 16 + 4 + 8 + 4 + name;
    answer[begin..begin + 16]
        .try_into()
        .expect("it is that long")
}

#[tokio::test]
async fn a_snapshot_that_breaks_off_or_is_harmed_leaves_nothing_behind() {
    let mut flock = Flock::new(1);
    flock.disk = Some(tempfile::tempdir().expect("there is room"));
    let mut config = flock.config(0);
    config.peer_timeout = config.election_max;
    config.max_snapshot = 1000;
    flock.start_as(0, config).await;
    assert_eq!(flock.add(1).await, Some(1));
    let node = &flock.nodes[&0];
    let mut greeting = hello(3, "flock", node.id().0);
    let charter_at = greeting.len() - 16;
    greeting[charter_at..].copy_from_slice(&charter(node).await);

    // Vote, an empty description, the length.
    let header = |length: u64| {
        let mut body = [&[0; 17 + 1 + 1 + 2 + 2][..], &length.to_be_bytes()].concat();
        body.splice(..0, 31_u32.to_be_bytes());
        body
    };
    let piece = [&5_u32.to_be_bytes()[..], b"state"].concat();
    let harmed = [&4_u32.to_be_bytes()[..], b"!sum"].concat();
    for rest in [
        header(1001),
        header(10),
        [header(10), piece.clone()].concat(),
        [header(5), piece.clone(), harmed].concat(),
        [header(4), piece.clone()].concat(),
        [header(5), 0_u32.to_be_bytes().to_vec()].concat(),
    ] {
        let answer = say(node, &[greeting.clone(), rest].concat()).await;
        assert_eq!(code(&answer), 0, "the greeting is welcome");
        assert_eq!(answer.len(), 16, "nothing after the welcome");
    }
    let directory = flock.disk.as_ref().expect("it has one").path();
    until("no draft is left", async || {
        let files = std::fs::read_dir(directory.join("node-0")).expect("it is there");
        let names = files.map(|file| file.expect("it is there").file_name());
        let drafts = names.filter(|name| name.to_string_lossy().contains("snapshot"));
        (drafts.count() == 0).then_some(())
    })
    .await;
    assert_eq!(flock.add(2).await, Some(3));
}

//! What is kept in memory, and who waits for whom.

use std::time::Duration;

use super::rig::{NOT_EXECUTED, OUTCOME_UNKNOWN, Rig, settings, wire};
use crate::engine::{Conn, Engine, Settings};

const KIB: usize = 1 << 10;

fn small() -> Settings {
    Settings {
        session_buffer: 128 * KIB,
        replay_buffer: 16 * KIB,
        worker_buffer: 512 * KIB,
        ..settings()
    }
}

fn pointed(settings: Settings) -> Rig {
    let mut rig = Rig::with(settings);
    rig.point(1, 1);
    rig
}

fn held(rig: &Rig) -> usize {
    rig.engine.bytes
}

#[test]
fn a_large_request_is_streamed() {
    let mut rig = pointed(small());
    let total = 8 << 20;
    let head = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${total}\r\n");
    rig.client_bytes(head.as_bytes());
    for _ in 0..total / (32 * KIB) {
        rig.client_bytes(&[b'x'; 32 * KIB]);
        assert!(held(&rig) <= 160 * KIB, "{}", held(&rig));
    }
    rig.client_bytes(b"\r\n");
    rig.say(&["GET k"]);
    assert_eq!(
        rig.sent_bytes().len(),
        head.len() + total + 2 + wire(&["GET k"]).len()
    );
    rig.server("+OK\r\n$1\r\nx\r\n");
    assert_eq!(rig.got(), "+OK\r\n$1\r\nx\r\n");
    assert_eq!(held(&rig), 0);
}

/// A request that has not arrived in full cannot have run.
#[test]
fn a_link_lost_inside_a_large_request_means_that_it_did_not_run() {
    let mut rig = pointed(small());
    rig.say(&["INCR a"]);
    let total = 256 * KIB;
    rig.client_bytes(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${total}\r\n").as_bytes());
    rig.client_bytes(&vec![b'x'; total / 2]);
    rig.server_closes();
    assert_eq!(rig.got(), format!("{OUTCOME_UNKNOWN}{NOT_EXECUTED}"));
    rig.sent();
    rig.client_bytes(&vec![b'x'; total / 2]);
    rig.client_bytes(b"\r\n");
    assert_eq!(held(&rig), 0);
    rig.say(&["INCR b"]);
    rig.after(Duration::from_millis(10));
    assert_eq!(rig.sent(), "INCR b");
}

#[test]
fn a_request_of_which_all_is_kept_starts_anew() {
    let mut rig = pointed(settings());
    let set = wire(&[&format!("SET k {}", "x".repeat(200 * KIB))]);
    let (begin, rest) = set.as_bytes().split_at(100 * KIB);
    rig.client_bytes(begin);
    assert_eq!(rig.sent_bytes(), begin);
    rig.point(2, 2);
    rig.client_bytes(rest);
    assert!(rig.sent_bytes() == set.as_bytes(), "from its beginning");
    assert_eq!(rig.connects, 2);
    rig.server("+OK\r\n");
    assert_eq!(rig.got(), "+OK\r\n");
}

#[test]
fn a_large_reply_is_streamed() {
    let mut rig = pointed(small());
    rig.say(&["GET k", "INCR a"]);
    rig.server(&format!("${}\r\n", 1 << 20));
    for _ in 0..64 {
        rig.server_bytes(&[b'y'; 16 * KIB]);
    }
    assert_eq!(rig.got().len(), (1 << 20) + 10);
    rig.server("\r\n:1\r\n");
    assert_eq!(rig.got(), "\r\n:1\r\n");
}

#[test]
fn a_reply_that_is_cut_ends_the_session() {
    let mut rig = Rig::new();
    rig.say(&["GET k", "INCR a"]);
    rig.server("$10\r\nhalf");
    rig.server_closes();
    assert_eq!(rig.got(), "$10\r\nhalf");
    assert!(rig.closed);
}

#[test]
fn whoever_sends_too_much_is_not_read_until_it_is_taken() {
    let mut rig = pointed(small());
    let client = Conn::Client(rig.client);
    rig.server_reads = false;
    rig.client_bytes(wire(&["INCR a"]).repeat(6000).as_bytes());
    assert!(rig.engine.may_read(client));
    rig.say(&[&format!("SET k {}", "x".repeat(7 * KIB))]);
    assert!(!rig.engine.may_read(client));
    assert_eq!(rig.resumed, []);
    rig.server_reads = true;
    rig.say(&[]);
    assert_eq!(rig.resumed, [client]);
}

#[test]
fn whoever_reads_too_little_stops_its_server() {
    let mut rig = pointed(small());
    rig.say(&["GET k"]);
    let link = Conn::Upstream(rig.link.expect("a link"));
    rig.client_reads = false;
    rig.server(&format!("${}\r\n", 160 * KIB));
    rig.server_bytes(&[b'z'; 140 * KIB]);
    assert!(!rig.engine.may_read(link));
    assert!(!rig.engine.may_read(Conn::Client(rig.client)));
    rig.client_reads = true;
    rig.say(&[]);
    assert!(rig.resumed.contains(&link) && rig.resumed.contains(&Conn::Client(rig.client)));
    assert!(rig.engine.may_read(link));
}

#[test]
fn a_client_that_is_not_read_keeps_its_deadline() {
    let mut rig = Rig::with(small());
    let client = Conn::Client(rig.client);
    rig.client_bytes(&wire(&["INCR a"]).repeat(7000).into_bytes());
    assert!(!rig.engine.may_read(client));
    rig.after(Duration::from_secs(5));
    assert_eq!(rig.got(), NOT_EXECUTED.repeat(7000));
    assert_eq!(rig.resumed, [client]);
}

#[test]
fn a_worker_holds_only_so_much() {
    let mut rig = Rig::with(small());
    let mut others: Vec<_> = (0..8).map(|_| rig.engine.client_accepted()).collect();
    for id in &others {
        let conn = Conn::Client(*id);
        if rig.engine.may_read(conn) {
            rig.engine
                .received(rig.now, conn, &wire(&["INCR a"]).repeat(4000).into_bytes());
        }
    }
    assert!(held(&rig) <= 600 * KIB, "{}", held(&rig));
    let last = others.pop().expect("eight");
    assert!(!rig.engine.may_read(Conn::Client(last)));
    for id in others {
        rig.engine.closed(rig.now, Conn::Client(id));
    }
    let mut actions = Vec::new();
    rig.engine.settle(rig.now, &mut actions);
    assert_eq!(held(&rig), 0);
    assert!(actions.contains(&crate::engine::Action::Resume(Conn::Client(last))));
}

#[test]
fn many_small_requests_are_bounded_too() {
    let mut rig = Rig::new();
    rig.client_bytes(&b"A\n".repeat(17_000));
    assert!(!rig.engine.may_read(Conn::Client(rig.client)));
    rig.server(&"+OK\r\n".repeat(16_000));
    assert!(rig.engine.may_read(Conn::Client(rig.client)));
}

#[test]
fn empty_requests_are_not_kept() {
    let mut rig = Rig::lost();
    rig.client_bytes(&b"\r\n*0\r\n*-1\r\n".repeat(1000));
    assert_eq!(held(&rig), 0);
    rig.client_bytes(b"\r\nPING");
    rig.client_bytes(b"\r\n\r\n");
    rig.point(1, 1);
    assert_eq!(rig.sent_bytes(), b"\r\nPING\r\n");
}

#[test]
fn replies_kept_behind_a_refused_command_are_bounded() {
    let mut rig = pointed(small());
    rig.say(&["SET a 1", "EVAL s 0", "GET b"]);
    rig.server("-READONLY x\r\n");
    assert_eq!(rig.got(), "");
    rig.server(&format!("${}\r\n", 200 * KIB));
    rig.server_bytes(&vec![b'q'; 200 * KIB]);
    rig.server("\r\n$1\r\nb\r\n");
    let got = rig.got();
    assert!(got.starts_with("-READONLY x\r\n$204800\r\nqq") && got.ends_with("q\r\n$1\r\nb\r\n"));
}

#[test]
fn garbage_from_the_server_ends_the_link_only() {
    let mut rig = Rig::new();
    rig.say(&["INCR a", "INCR b"]);
    rig.server(":1\r\nwhat?");
    assert_eq!(rig.got(), format!(":1\r\n{OUTCOME_UNKNOWN}"));
    assert_eq!(rig.link, None);
    rig.say(&["INCR c"]);
    rig.sent();
    rig.after(Duration::from_millis(10));
    assert_eq!(rig.sent(), "INCR c");
    rig.server(":1\r\n:2\r\n");
    assert_eq!((rig.got().as_str(), rig.link), (":1\r\n", None));
}

#[test]
fn a_server_that_does_not_accept_is_given_up_and_tried_again() {
    let mut engine = Engine::new(small());
    let now = super::rig::any_instant();
    let topology = crate::Topology {
        term: 1,
        primary: Some(super::rig::upstream(1)),
        ..crate::Topology::default()
    };
    engine.topology(now, &std::sync::Arc::new(topology));
    let id = engine.client_accepted();
    engine.received(now, Conn::Client(id), b"PING\r\n");
    let mut actions = Vec::new();
    engine.settle(now, &mut actions);
    let [crate::engine::Action::Connect(first, _)] = actions[..] else {
        panic!("{actions:?}")
    };
    let later = engine.wake_at().expect("a timeout");
    assert_eq!(later, now + Duration::from_secs(1));
    actions.clear();
    engine.settle(later, &mut actions);
    assert_eq!(actions, [crate::engine::Action::Abandon(first)]);
    assert!(!engine.knows(Conn::Upstream(first)));
    engine.link_up(later, first);
    actions.clear();
    engine.settle(engine.wake_at().expect("another try"), &mut actions);
    assert!(matches!(actions[..], [crate::engine::Action::Connect(second, _)] if second != first));
}

//! What becomes of requests when the primary changes.

use std::time::Duration;

use super::rig::{LINGER, NOT_EXECUTED, OUTCOME_UNKNOWN, Rig, settings, upstream};
use crate::engine::Settings;
use crate::topology::Topology;

const HOLD: Duration = Duration::from_secs(5);

#[test]
fn requests_wait_for_a_primary_and_keep_their_order() {
    let mut rig = Rig::lost();
    rig.say(&["SET k 1", "GET k"]);
    rig.after(Duration::from_secs(4));
    assert_eq!((rig.got().as_str(), rig.connects), ("", 0));
    rig.point(1, 1);
    assert_eq!(rig.sent(), "SET k 1 | GET k");
    rig.server("+OK\r\n$1\r\n1\r\n");
    assert_eq!(rig.got(), "+OK\r\n$1\r\n1\r\n");
    assert_eq!(rig.stats().held, 2);
}

#[test]
fn what_waited_too_long_did_not_run() {
    let mut rig = Rig::lost();
    rig.say(&["SET k 1"]);
    rig.after(Duration::from_secs(3));
    rig.say(&["GET k"]);
    rig.after(Duration::from_secs(2));
    assert_eq!(rig.got(), NOT_EXECUTED.repeat(2));
    rig.point(1, 1);
    assert_eq!(rig.connects, 0);
    rig.say(&["PING"]);
    assert_eq!(rig.sent(), "PING");
    assert_eq!((rig.stats().refused, rig.stats().held), (2, 2));
}

#[test]
fn each_wait_has_a_deadline_of_its_own() {
    let mut rig = Rig::lost();
    rig.say(&["PING"]);
    rig.after(HOLD);
    assert_eq!(rig.got(), NOT_EXECUTED);
    rig.after(HOLD);
    rig.say(&["PING"]);
    rig.after(HOLD - Duration::from_millis(1));
    assert_eq!(rig.got(), "");
    rig.after(Duration::from_millis(1));
    assert_eq!(rig.got(), NOT_EXECUTED);
}

#[test]
fn a_lost_link_makes_what_was_sent_unknown_and_keeps_the_rest() {
    let mut rig = Rig::new();
    rig.say(&["INCR a", "INCR b"]);
    rig.server(":1\r\n");
    rig.server_reads = false;
    rig.say(&["INCR c"]);
    rig.server_reads = true;
    rig.sent();
    rig.server_closes();
    assert_eq!(rig.got(), format!(":1\r\n{OUTCOME_UNKNOWN}"));
    rig.after(Duration::from_millis(10));
    assert_eq!(rig.sent(), "INCR c");
    assert_eq!(rig.stats().unknown, 1);
}

#[test]
fn a_success_read_after_the_change_is_not_delivered() {
    let mut rig = Rig::new();
    rig.say(&["INCR a", "INCR b"]);
    rig.server(":1\r\n");
    rig.left = b":1\r\n".to_vec();
    rig.point(2, 2);
    assert_eq!(rig.got(), format!(":1\r\n{OUTCOME_UNKNOWN}"));
    assert_eq!(rig.connects, 1);
}

#[test]
fn a_refusal_read_after_the_change_lets_the_command_run_on_the_next_primary() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1", "GET a", "SET b 2", "SET c 3"]);
    rig.sent();
    rig.left = b"-READONLY x\r\n$1\r\n0\r\n-READONLY x\r\n".to_vec();
    rig.point(2, 2);
    assert_eq!((rig.port, rig.sent().as_str()), (2, "SET a 1 | SET b 2"));
    rig.server("+OK\r\n+OK\r\n");
    let unknown = OUTCOME_UNKNOWN;
    assert_eq!(rig.got(), format!("+OK\r\n{unknown}+OK\r\n{unknown}"));
    assert_eq!((rig.stats().replayed, rig.stats().unknown), (2, 2));
}

#[test]
fn the_former_primary_has_a_moment_to_refuse() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1", "SET b 2"]);
    rig.sent();
    let topology = Topology {
        term: 2,
        primary: Some(upstream(2)),
        ..Topology::default()
    };
    rig.engine.topology(rig.now, &std::sync::Arc::new(topology));
    rig.settle();
    rig.after(LINGER / 2);
    rig.server("-READONLY x\r\n");
    assert_eq!((rig.connects, rig.sent().as_str()), (1, ""));
    rig.server("-READONLY x\r\n");
    assert_eq!((rig.port, rig.sent().as_str()), (2, "SET a 1 | SET b 2"));
}

#[test]
fn the_former_primary_has_no_more_than_a_moment() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1"]);
    rig.sent();
    let topology = Topology {
        term: 2,
        primary: Some(upstream(2)),
        ..Topology::default()
    };
    rig.engine.topology(rig.now, &std::sync::Arc::new(topology));
    rig.settle();
    rig.say(&["SET b 2"]);
    assert_eq!((rig.got().as_str(), rig.sent().as_str()), ("", ""));
    rig.after(LINGER);
    assert_eq!(
        (rig.got().as_str(), rig.sent().as_str()),
        (OUTCOME_UNKNOWN, "SET b 2")
    );
}

#[test]
fn no_primary_ends_the_links_of_the_former_one() {
    let mut rig = Rig::new();
    rig.say(&["INCR a"]);
    rig.nowhere();
    assert_eq!(rig.link, None);
    assert_eq!(rig.got(), OUTCOME_UNKNOWN);
    rig.say(&["INCR b"]);
    rig.point(1, 1);
    assert_eq!(rig.sent(), "INCR a | INCR b");
}

#[test]
fn a_topology_ends_by_itself() {
    let mut rig = Rig::lost();
    let until = Some(rig.now + Duration::from_secs(1));
    let topology = Topology {
        term: 1,
        until,
        primary: Some(upstream(1)),
        replicas: vec![],
    };
    rig.topology(topology.clone());
    rig.say(&["INCR a"]);
    rig.now += Duration::from_secs(1);
    rig.server(":1\r\n");
    assert_eq!(rig.got(), OUTCOME_UNKNOWN);
    rig.say(&["INCR b"]);
    assert_eq!((rig.connects, rig.sent().as_str()), (1, "INCR a"));
    let until = Some(rig.now + Duration::from_secs(1));
    rig.topology(Topology { until, ..topology });
    assert_eq!((rig.connects, rig.sent().as_str()), (2, "INCR b"));
}

#[test]
fn a_link_that_is_made_after_its_topology_ended_is_not_used() {
    let mut rig = Rig::lost();
    rig.connecting_takes_time = true;
    rig.topology(Topology {
        term: 1,
        until: Some(rig.now + Duration::from_secs(1)),
        primary: Some(upstream(1)),
        replicas: vec![],
    });
    rig.say(&["INCR a"]);
    rig.now += Duration::from_secs(1);
    rig.connected();
    assert_eq!(rig.sent(), "");
    assert_eq!(rig.link, None);
}

#[test]
fn extending_a_topology_keeps_its_links() {
    let mut rig = Rig::lost();
    for _ in 0..10 {
        let until = Some(rig.now + Duration::from_secs(1));
        let primary = Some(upstream(1));
        rig.topology(Topology {
            term: 1,
            until,
            primary,
            replicas: vec![],
        });
        rig.say(&["PING"]);
        rig.after(Duration::from_millis(900));
        rig.server("+PONG\r\n");
    }
    assert_eq!((rig.connects, rig.got()), (1, "+PONG\r\n".repeat(10)));
}

#[test]
fn a_higher_term_of_the_same_primary_is_a_new_primary() {
    let mut rig = Rig::new();
    rig.say(&["INCR a"]);
    rig.point(1, 1);
    rig.point(0, 1);
    assert_eq!((rig.connects, rig.got().as_str()), (1, ""));
    rig.point(1, 1);
    assert_eq!(rig.got(), OUTCOME_UNKNOWN);
    rig.say(&["INCR b"]);
    assert_eq!((rig.connects, rig.got().as_str()), (2, ""));
}

#[test]
fn a_server_that_cannot_be_reached_is_tried_again_until_the_deadline() {
    let mut rig = Rig::new();
    rig.connecting_works = false;
    rig.say(&["PING"]);
    rig.after(Duration::from_secs(2));
    assert!((8..30).contains(&rig.connects), "{}", rig.connects);
    assert_eq!(rig.got(), "");
    rig.connecting_works = true;
    rig.after(Duration::from_millis(250));
    rig.server("+PONG\r\n");
    assert_eq!(rig.got(), "+PONG\r\n");
    rig.connecting_works = false;
    rig.server_closes();
    rig.say(&["PING"]);
    rig.after(HOLD);
    assert_eq!(rig.got(), NOT_EXECUTED);
}

#[test]
fn a_new_primary_is_tried_at_once() {
    let mut rig = Rig::new();
    rig.connecting_works = false;
    rig.say(&["PING"]);
    rig.after(Duration::from_millis(200));
    rig.connecting_works = true;
    rig.point(2, 2);
    assert_eq!((rig.port, rig.sent().as_str()), (2, "PING"));
}

#[test]
fn a_server_that_refuses_the_connection_in_words_got_no_request() {
    let mut rig = Rig::lost();
    rig.say(&["INCR a"]);
    rig.server_reads = false;
    rig.point(1, 1);
    rig.server("-ERR max number of clients reached\r\n");
    assert_eq!((rig.got().as_str(), rig.link), ("", None));
    rig.server_reads = true;
    rig.after(Duration::from_millis(10));
    assert_eq!(rig.sent(), "INCR a");
}

#[test]
fn whoever_left_has_nothing_run_for_it() {
    let mut rig = Rig::lost();
    rig.say(&["INCR a"]);
    rig.leave();
    assert!(rig.closed && rig.engine.is_empty());
    rig.point(1, 1);
    assert_eq!(rig.connects, 0);
}

#[test]
fn whoever_may_have_left_is_told_at_once() {
    let mut rig = Rig::lost();
    rig.say(&["INCR a"]);
    rig.half_close();
    assert_eq!(rig.got(), NOT_EXECUTED);
    assert!(rig.closed);
}

#[test]
fn a_half_closed_client_gets_its_replies() {
    let mut rig = Rig::new();
    rig.say(&["INCR a", "INCR b"]);
    rig.half_close();
    rig.server(":1\r\n");
    assert!(!rig.closed);
    rig.server(":1\r\n");
    assert_eq!(rig.got(), ":1\r\n:1\r\n");
    assert!(rig.closed && rig.link.is_none());
}

#[test]
fn a_blocked_command_does_not_outlive_its_client() {
    let mut rig = Rig::new();
    rig.say(&["BLPOP q 0"]);
    rig.half_close();
    assert!(rig.closed && rig.link.is_none());
}

#[test]
fn zero_hold_answers_at_once() {
    let mut rig = Rig::with(Settings {
        hold: Duration::ZERO,
        ..settings()
    });
    rig.say(&["PING"]);
    assert_eq!(rig.got(), NOT_EXECUTED);
}

#[test]
fn a_stopping_engine_ends_sessions_when_they_are_answered() {
    let mut rig = Rig::new();
    rig.say(&["INCR a"]);
    rig.engine.stop();
    rig.settle();
    assert!(!rig.closed);
    rig.server(":1\r\n");
    assert_eq!(rig.got(), ":1\r\n");
    assert!(rig.closed && rig.engine.is_empty());
}

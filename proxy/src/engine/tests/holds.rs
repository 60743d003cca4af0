//! What waits for a primary: how long, in which order, and what it is told.

use std::time::Duration;

use super::rig::{HOLD, LINGER, NOT_EXECUTED, OUTCOME_UNKNOWN, Rig, primary, settings, upstream};
use crate::engine::Settings;
use crate::topology::Topology;

#[test]
fn requests_wait_for_a_primary_and_keep_their_order() {
    let mut rig = Rig::lost();
    let other = rig.join();
    rig.say(0, &["SET k 1", "GET k"]);
    rig.say(other, &["GET o"]);
    rig.say(0, &["GET l"]);
    rig.after(Duration::from_secs(4));
    assert_eq!((rig.got(0).as_str(), rig.lines.len()), ("", 0));
    rig.point(1, 1);
    assert_eq!(rig.sent(0), "SET k 1 | GET k | GET l | GET o");
    rig.reply(0, "+OK\r\n$1\r\n1\r\n$1\r\nl\r\n$1\r\no\r\n");
    assert_eq!(rig.got(0), "+OK\r\n$1\r\n1\r\n$1\r\nl\r\n");
    assert_eq!(rig.got(other), "$1\r\no\r\n");
    assert_eq!(rig.stats().refused, 0);
}

#[test]
fn what_waited_too_long_did_not_run() {
    let mut rig = Rig::lost();
    rig.say(0, &["SET k 1"]);
    rig.after(Duration::from_secs(3));
    rig.say(0, &["GET k"]);
    rig.after(Duration::from_secs(2));
    assert_eq!(rig.got(0), NOT_EXECUTED.repeat(2));
    rig.point(1, 1);
    assert_eq!(rig.sent(0), "");
    rig.say(0, &["PING"]);
    assert_eq!(rig.sent(0), "PING");
    assert_eq!(rig.stats().refused, 2);
}

#[test]
fn each_wait_has_a_deadline_of_its_own() {
    let mut rig = Rig::lost();
    rig.say(0, &["PING"]);
    rig.after(HOLD);
    assert_eq!(rig.got(0), NOT_EXECUTED);
    rig.after(HOLD);
    rig.say(0, &["PING"]);
    rig.after(HOLD - Duration::from_millis(1));
    assert_eq!(rig.got(0), "");
    rig.after(Duration::from_millis(1));
    assert_eq!(rig.got(0), NOT_EXECUTED);
}

/// What was asked after a wait that was over does not inherit its age.
#[test]
fn a_wait_that_ended_well_is_forgotten() {
    let mut rig = Rig::lost();
    rig.say(0, &["GET a"]);
    rig.after(HOLD - Duration::from_secs(1));
    rig.point(1, 1);
    rig.reply(0, "$-1\r\n");
    rig.nowhere();
    rig.say(0, &["GET b"]);
    rig.after(HOLD - Duration::from_secs(1));
    assert_eq!(rig.got(0), "$-1\r\n");
    rig.point(2, 2);
    assert_eq!(rig.sent(1), "GET b");
}

#[test]
fn zero_hold_answers_at_once() {
    let mut rig = Rig::with(Settings {
        hold: Duration::ZERO,
        ..settings()
    });
    rig.say(0, &["PING"]);
    assert_eq!(rig.got(0), NOT_EXECUTED);
}

/// Else its commands would run one by one when a primary comes.
#[test]
fn a_transaction_whose_multi_was_denied_does_not_run() {
    let mut rig = Rig::lost();
    rig.say(0, &["MULTI", "SET a 1"]);
    rig.after(HOLD);
    assert_eq!(rig.got(0), NOT_EXECUTED.repeat(2));
    rig.point(1, 1);
    rig.say(0, &["SET b 1", "EXEC", "SET c 1"]);
    let abort = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    assert_eq!(rig.got(0), format!("{NOT_EXECUTED}{abort}"));
    assert_eq!(rig.sent(0), "SET c 1");
}

#[test]
fn a_transaction_that_was_not_begun_waits_as_a_whole() {
    let mut rig = Rig::lost();
    rig.say(0, &["MULTI", "INCR a", "EXEC"]);
    rig.point(1, 1);
    let line = rig.lines.len() - 1;
    assert_eq!(rig.sent(line), "MULTI | INCR a | EXEC");
    rig.reply(line, "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    assert_eq!(rig.got(0), "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
}

#[test]
fn whoever_left_has_nothing_run_for_it() {
    let mut rig = Rig::lost();
    rig.say(0, &["INCR a"]);
    rig.leave(0);
    assert!(rig.is_closed(0) && rig.engine.is_empty());
    rig.point(1, 1);
    assert_eq!(rig.sent(0), "");
}

#[test]
fn a_server_that_cannot_be_reached_is_tried_again_until_the_deadline() {
    let mut rig = Rig::lost();
    rig.connecting_works = false;
    rig.point(1, 1);
    rig.say(0, &["PING"]);
    rig.after(Duration::from_secs(2));
    assert!((8..30).contains(&rig.lines.len()), "{}", rig.lines.len());
    assert_eq!(rig.got(0), "");
    rig.connecting_works = true;
    rig.after(Duration::from_millis(250));
    let last = rig.lines.len() - 1;
    rig.reply(last, "+PONG\r\n");
    assert_eq!(rig.got(0), "+PONG\r\n");
    rig.connecting_works = false;
    rig.server_closes(last);
    rig.say(0, &["PING"]);
    rig.after(HOLD);
    assert_eq!(rig.got(0), NOT_EXECUTED);
}

#[test]
fn a_new_primary_is_tried_at_once() {
    let mut rig = Rig::lost();
    rig.connecting_works = false;
    rig.point(1, 1);
    rig.say(0, &["PING"]);
    rig.after(Duration::from_millis(200));
    rig.connecting_works = true;
    rig.point(2, 2);
    let last = rig.lines.len() - 1;
    assert_eq!((rig.lines[last].port, rig.sent(last).as_str()), (2, "PING"));
}

#[test]
fn a_server_that_does_not_accept_is_given_up_and_tried_again() {
    let mut rig = Rig::lost();
    rig.connecting_takes_time = true;
    rig.point(1, 1);
    rig.say(0, &["PING"]);
    rig.after(settings().connect_timeout);
    assert!(!rig.lines[0].open);
    assert!(!rig.engine.knows(rig.link(0)));
    // It was connected just when it was given up.
    rig.connected(0);
    rig.after(Duration::from_millis(10));
    let last = rig.lines.len() - 1;
    rig.connected(last);
    assert_eq!(rig.sent(last), "PING");
}

#[test]
fn a_server_that_refuses_the_connection_in_words_got_no_request() {
    let mut rig = Rig::new();
    rig.server_reads(0, false);
    rig.say(0, &["INCR a"]);
    rig.reply(0, "-ERR max number of clients reached\r\n");
    assert_eq!((rig.got(0).as_str(), rig.lines[0].open), ("", false));
    rig.after(Duration::from_millis(10));
    assert_eq!(rig.sent(1), "INCR a");
}

#[test]
fn a_topology_ends_by_itself() {
    let mut rig = Rig::lost();
    let topology = |rig: &Rig| Topology {
        until: Some(rig.now + Duration::from_secs(1)),
        ..primary(1, 1)
    };
    let first = topology(&rig);
    rig.topology(&first);
    rig.say(0, &["INCR a"]);
    rig.now += Duration::from_secs(1);
    rig.reply(0, ":1\r\n");
    assert_eq!(rig.got(0), OUTCOME_UNKNOWN);
    rig.sent(0);
    rig.say(0, &["INCR b"]);
    assert_eq!((rig.lines.len(), rig.sent(0).as_str()), (1, ""));
    let second = topology(&rig);
    rig.topology(&second);
    assert_eq!((rig.lines.len(), rig.sent(1).as_str()), (2, "INCR b"));
}

#[test]
fn a_link_that_is_made_after_its_topology_ended_is_not_used() {
    let mut rig = Rig::lost();
    rig.connecting_takes_time = true;
    let until = Some(rig.now + Duration::from_secs(1));
    rig.topology(&Topology {
        until,
        ..primary(1, 1)
    });
    rig.say(0, &["INCR a"]);
    rig.now += Duration::from_secs(1);
    rig.connected(0);
    assert_eq!((rig.sent(0).as_str(), rig.lines[0].open), ("", false));
}

#[test]
fn extending_a_topology_keeps_its_links() {
    let mut rig = Rig::lost();
    for _ in 0..10 {
        let until = Some(rig.now + Duration::from_secs(1));
        rig.topology(&Topology {
            until,
            ..primary(1, 1)
        });
        rig.say(0, &["PING"]);
        rig.after(Duration::from_millis(900));
        rig.reply(0, "+PONG\r\n");
    }
    assert_eq!((rig.lines.len(), rig.got(0)), (1, "+PONG\r\n".repeat(10)));
}

#[test]
fn a_higher_term_of_the_same_primary_is_a_new_primary() {
    let mut rig = Rig::new();
    rig.say(0, &["INCR a"]);
    rig.fail_over(1, 1);
    rig.fail_over(0, 1);
    assert_eq!((rig.lines.len(), rig.got(0).as_str()), (1, ""));
    rig.fail_over(2, 1);
    assert_eq!(rig.got(0), OUTCOME_UNKNOWN);
    rig.say(0, &["INCR b"]);
    assert_eq!((rig.lines.len(), rig.sent(1).as_str()), (2, "INCR b"));
}

#[test]
fn the_former_primary_has_a_moment_to_refuse() {
    let mut rig = Rig::new();
    rig.say(0, &["SET a 1", "SET b 2"]);
    rig.topology(&primary(2, 2));
    rig.after(LINGER / 2);
    rig.reply(0, "-READONLY x\r\n");
    assert_eq!(rig.sent(1), "");
    rig.reply(0, "-READONLY x\r\n");
    assert_eq!(
        (rig.lines[1].port, rig.sent(1).as_str()),
        (2, "SET a 1 | SET b 2")
    );
    assert!(!rig.lines[0].open);
}

#[test]
fn the_former_primary_has_no_more_than_a_moment() {
    let mut rig = Rig::new();
    rig.say(0, &["SET a 1"]);
    rig.topology(&primary(2, 2));
    rig.say(0, &["SET b 2"]);
    assert_eq!((rig.got(0).as_str(), rig.sent(1).as_str()), ("", ""));
    rig.after(LINGER);
    assert_eq!(
        (rig.got(0).as_str(), rig.sent(1).as_str()),
        (OUTCOME_UNKNOWN, "SET b 2")
    );
}

/// Others need not wait until the former primary has said its last word.
#[test]
fn who_asked_the_former_primary_nothing_goes_on_at_once() {
    let mut rig = Rig::new();
    let other = rig.join();
    rig.say(0, &["SET a 1"]);
    rig.topology(&primary(2, 2));
    rig.say(other, &["SET b 2"]);
    assert_eq!(rig.sent(1), "SET b 2");
}

#[test]
fn a_stopping_engine_ends_sessions_when_they_are_answered() {
    let mut rig = Rig::new();
    let idle = rig.join();
    rig.say(0, &["INCR a"]);
    rig.engine.stop();
    rig.settle();
    assert!(!rig.is_closed(0) && rig.is_closed(idle));
    rig.reply(0, ":1\r\n");
    assert_eq!(rig.got(0), ":1\r\n");
    assert!(rig.is_closed(0) && rig.engine.is_empty());
}

#[test]
fn replicas_alone_take_nothing() {
    let mut rig = Rig::lost();
    rig.topology(&Topology {
        term: 1,
        replicas: vec![upstream(1)],
        ..Topology::default()
    });
    rig.say(0, &["GET a"]);
    assert_eq!(rig.lines.len(), 0);
    rig.after(HOLD);
    assert_eq!(rig.got(0), NOT_EXECUTED);
}

/// Whoever has closed its half may have left for good.
#[test]
fn nothing_is_held_for_who_may_have_left() {
    let mut rig = Rig::lost();
    rig.say(0, &["SET k 1"]);
    rig.half_close(0);
    assert_eq!(rig.got(0), NOT_EXECUTED);
    assert!(rig.is_closed(0));
    assert_eq!((rig.stats().refused, rig.stats().held), (1, 1));
}

/// A first connection is made in a moment.
#[test]
fn a_connection_is_waited_for_by_who_may_have_left() {
    let mut rig = Rig::lost();
    rig.connecting_takes_time = true;
    rig.point(1, 1);
    rig.say(0, &["GET k"]);
    rig.half_close(0);
    assert_eq!(rig.got(0), "");
    rig.connected(0);
    assert_eq!((rig.sent(0).as_str(), rig.stats().held), ("GET k", 0));
}

#[test]
fn what_was_held_is_counted_when_it_goes_on() {
    let mut rig = Rig::lost();
    rig.say(0, &["SET k 1", "GET k"]);
    assert_eq!(rig.stats().held, 0);
    rig.point(1, 1);
    rig.reply(0, "+OK\r\n$1\r\n1\r\n");
    rig.say(0, &["GET k"]);
    assert_eq!((rig.stats().requests, rig.stats().held), (3, 2));
}

/// What it pops then must not be lost.
#[test]
fn a_stopping_engine_waits_for_what_blocks() {
    let mut rig = Rig::new();
    rig.say(0, &["BLPOP q 0"]);
    rig.engine.stop();
    rig.settle();
    assert!(!rig.is_closed(0));
}

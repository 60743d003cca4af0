//! What becomes of requests that a server refuses.

use std::time::Duration;

use super::rig::{NOT_EXECUTED, Rig};

const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn a_refused_command_and_what_follows_run_again_on_the_next_primary() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1", "GET a", "SET b 2"]);
    rig.server("-READONLY x\r\n$-1\r\n-READONLY x\r\n");
    rig.sent();
    rig.say(&["GET b"]);
    assert_eq!((rig.sent().as_str(), rig.got().as_str()), ("", ""));
    rig.point(2, 2);
    assert_eq!(rig.sent(), "SET a 1 | GET a | SET b 2 | GET b");
    rig.server("+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n");
    assert_eq!(rig.got(), "+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n");
    assert_eq!(rig.stats().replayed, 3);
}

#[test]
fn while_nothing_changes_the_server_is_asked_again() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1"]);
    for _ in 0..3 {
        assert_eq!(rig.sent(), "SET a 1");
        rig.server("-LOADING x\r\n");
        rig.after(PAUSE);
    }
    assert_eq!(rig.sent(), "SET a 1");
    rig.server("+OK\r\n");
    assert_eq!((rig.got().as_str(), rig.connects), ("+OK\r\n", 1));
}

#[test]
fn a_refusal_that_stays_is_delivered_at_the_deadline() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1", "GET a"]);
    let begin = rig.now;
    loop {
        rig.server("-READONLY no\r\n$-1\r\n");
        rig.after(PAUSE);
        let got = rig.got();
        if !got.is_empty() {
            assert_eq!(got, format!("-READONLY no\r\n{NOT_EXECUTED}"));
            break;
        }
    }
    let waited = rig.now - begin;
    assert!((4900..=5100).contains(&waited.as_millis()), "{waited:?}");
    rig.sent();
    rig.say(&["GET a"]);
    assert_eq!(rig.sent(), "GET a");
    rig.server("$-1\r\n");
    assert_eq!(rig.got(), "$-1\r\n");
}

#[test]
fn scripts_are_never_repeated() {
    for script in ["EVAL s 0", "evalsha s 0", "FCALL f 0"] {
        let mut rig = Rig::new();
        rig.say(&[script]);
        rig.server("-READONLY x\r\n");
        assert_eq!(rig.got(), "-READONLY x\r\n");
    }
}

#[test]
fn a_script_behind_a_refused_command_is_not_repeated_and_answers_in_its_turn() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1", "EVAL s 0", "SET b 2"]);
    rig.server("-READONLY x\r\n:7\r\n-READONLY x\r\n");
    rig.sent();
    rig.point(2, 2);
    assert_eq!(rig.sent(), "SET a 1 | SET b 2");
    rig.server("+A\r\n");
    assert_eq!(rig.got(), "+A\r\n:7\r\n");
    rig.server("+B\r\n");
    assert_eq!(rig.got(), "+B\r\n");
}

/// A server may be promoted between two commands: then the second one ran.
#[test]
fn a_write_that_succeeded_behind_a_refused_one_is_not_repeated() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1", "INCR n", "PUBLISH c m"]);
    rig.server("-READONLY x\r\n:1\r\n:0\r\n");
    rig.sent();
    rig.after(PAUSE);
    assert_eq!(rig.sent(), "SET a 1");
    rig.server("+OK\r\n");
    assert_eq!(rig.got(), "+OK\r\n:1\r\n:0\r\n");
}

#[test]
fn other_errors_are_delivered() {
    let mut rig = Rig::new();
    rig.say(&["SET a", "EVALSHA x 0", "GET k"]);
    rig.server("-ERR wrong number\r\n-NOSCRIPT x\r\n-WRONGTYPE x\r\n");
    assert_eq!(
        rig.got(),
        "-ERR wrong number\r\n-NOSCRIPT x\r\n-WRONGTYPE x\r\n"
    );
}

#[test]
fn inside_a_transaction_a_refusal_is_delivered() {
    let mut rig = Rig::new();
    rig.say(&["MULTI"]);
    rig.server("+OK\r\n");
    rig.say(&["SET a 1", "EXEC"]);
    rig.server("-READONLY x\r\n-EXECABORT x\r\n");
    assert_eq!(rig.got(), "+OK\r\n-READONLY x\r\n-EXECABORT x\r\n");
}

#[test]
fn before_a_pipelined_transaction_a_refusal_is_delivered() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1", "MULTI", "GET a", "EXEC"]);
    let replies = "-READONLY x\r\n+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n";
    rig.server(replies);
    assert_eq!(rig.got(), replies);
}

#[test]
fn selecting_behind_a_refused_command_takes_effect_in_its_turn() {
    let mut rig = Rig::new();
    rig.say(&["SELECT 1"]);
    rig.server("+OK\r\n");
    rig.say(&["SET a 1", "SELECT 2", "SET b 2"]);
    rig.server("-READONLY x\r\n+OK\r\n-READONLY x\r\n");
    rig.sent();
    rig.after(PAUSE);
    assert_eq!((rig.connects, rig.sent().as_str()), (2, "SELECT 1"));
    rig.server("+OK\r\n");
    assert_eq!(rig.sent(), "SET a 1 | SELECT 2 | SET b 2");
    rig.server("+A\r\n+B\r\n+C\r\n");
    assert_eq!(rig.got(), "+OK\r\n+A\r\n+B\r\n+C\r\n");
    rig.point(2, 2);
    rig.say(&["PING"]);
    assert_eq!(rig.sent(), "SELECT 2");
}

#[test]
fn a_request_that_was_begun_is_finished_before_anything_is_repeated() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1"]);
    let long = "x".repeat(100_000);
    let set = super::rig::wire(&[&format!("SET b {long}"), "SET c 3"]);
    let (begin, rest) = set.as_bytes().split_at(80_000);
    rig.client_bytes(begin);
    rig.server("-READONLY x\r\n");
    rig.client_bytes(rest);
    assert!(
        rig.sent_bytes().ends_with(b"x\r\n"),
        "the second request, and not the third"
    );
    rig.server("-READONLY x\r\n");
    rig.point(2, 2);
    assert_eq!(rig.sent(), format!("SET a 1 | SET b {long} | SET c 3"));
}

#[test]
fn a_refusal_of_what_is_not_kept_is_delivered() {
    let mut rig = Rig::new();
    let long = "x".repeat(3 << 20);
    rig.client_bytes(super::rig::wire(&[&format!("SET a {long}"), "SET b 2"]).as_bytes());
    rig.server("-READONLY x\r\n");
    assert_eq!(rig.got(), "-READONLY x\r\n");
    rig.server("-READONLY y\r\n");
    assert_eq!(rig.got(), "");
}

/// A client that goes on sending waits; it is not refused because of that.
#[test]
fn a_full_buffer_behind_a_refused_command_ends_no_waiting() {
    let mut rig = Rig::new();
    let set = super::rig::wire(&[&format!("SET a {}", "x".repeat(32 << 10))]);
    rig.client_bytes(set.repeat(30).as_bytes());
    rig.server(&"-READONLY x\r\n".repeat(30));
    rig.sent_bytes();
    let client = crate::engine::Conn::Client(rig.client);
    let mut more = 0;
    while rig.engine.may_read(client) {
        rig.client_bytes(set.as_bytes());
        more += 1;
    }
    assert_eq!(rig.got(), "");
    rig.point(2, 2);
    assert_eq!(rig.sent_bytes().len(), set.len() * (30 + more));
    rig.server(&"+OK\r\n".repeat(30 + more));
    assert_eq!(rig.got(), "+OK\r\n".repeat(30 + more));
}

#[test]
fn a_half_closed_client_gets_the_refusal_at_once() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1"]);
    rig.half_close();
    rig.server("-READONLY x\r\n");
    assert_eq!(rig.got(), "-READONLY x\r\n");
    assert!(rig.closed);
}

#[test]
fn the_link_lost_while_a_refused_command_waits_is_replaced() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1", "INCR b"]);
    rig.server("-READONLY x\r\n");
    rig.sent();
    rig.server_closes();
    rig.after(PAUSE);
    assert_eq!(rig.sent(), "SET a 1");
    rig.server("+OK\r\n");
    assert!(rig.got().starts_with("+OK\r\n-ERR outcome unknown"));
}

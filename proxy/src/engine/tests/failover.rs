//! What becomes of requests when a server refuses them, is lost or is replaced: the table in the
//! crate's documentation, row by row.

use std::time::Duration;

use super::rig::{HOLD, NOT_EXECUTED, OUTCOME_UNKNOWN, PAUSE, Rig, wire};

#[test]
fn what_was_sent_and_not_answered_is_unknown_if_it_may_write_and_runs_again_if_it_reads() {
    let mut rig = Rig::new();
    let other = rig.join();
    rig.say(0, &["INCR a", "GET a", "INCR b"]);
    rig.say(other, &["GET o"]);
    rig.sent(0);
    rig.reply(0, ":1\r\n");
    rig.server_closes(0);
    rig.after(Duration::from_millis(300));
    // Each in its turn: the answer about INCR b waits for that of GET a.
    assert_eq!(rig.got(0), ":1\r\n");
    assert_eq!(rig.sent(1), "GET a | GET o");
    rig.reply(1, "$1\r\n1\r\n$1\r\no\r\n");
    assert_eq!(rig.got(0), format!("$1\r\n1\r\n{OUTCOME_UNKNOWN}"));
    assert_eq!(rig.got(other), "$1\r\no\r\n");
    assert_eq!(rig.stats().unknown, 1);
}

#[test]
fn what_was_not_sent_waits_for_the_next_primary() {
    let mut rig = Rig::new();
    rig.server_reads(0, false);
    rig.say(0, &["INCR a", "GET a"]);
    rig.fail_over(2, 2);
    assert_eq!(rig.sent(1), "INCR a | GET a");
    rig.reply(1, ":1\r\n$1\r\n1\r\n");
    assert_eq!(rig.got(0), ":1\r\n$1\r\n1\r\n");
}

#[test]
fn a_success_read_after_the_change_is_not_delivered() {
    let mut rig = Rig::new();
    rig.say(0, &["INCR a", "INCR b"]);
    rig.reply(0, ":1\r\n");
    rig.point(2, 2);
    rig.reply(0, ":1\r\n");
    assert_eq!(rig.got(0), format!(":1\r\n{OUTCOME_UNKNOWN}"));
}

#[test]
fn a_refused_command_and_what_follows_run_again_in_order() {
    let mut rig = Rig::new();
    rig.say(0, &["SET a 1", "GET a", "SET b 2"]);
    rig.sent(0);
    rig.reply(0, "-READONLY x\r\n$-1\r\n-READONLY x\r\n");
    rig.say(0, &["GET b"]);
    assert_eq!((rig.sent(0).as_str(), rig.got(0).as_str()), ("", ""));
    rig.point(2, 2);
    assert_eq!(rig.sent(1), "SET a 1 | GET a | SET b 2 | GET b");
    rig.reply(1, "+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n");
    assert_eq!(rig.got(0), "+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n");
    assert_eq!(rig.stats().replayed, 3);
}

#[test]
fn a_suspected_primary_is_asked_again_and_others_wait_with_it() {
    let mut rig = Rig::new();
    let other = rig.join();
    rig.say(0, &["SET a 1"]);
    rig.sent(0);
    rig.reply(0, "-LOADING x\r\n");
    rig.say(other, &["SET b 1"]);
    assert_eq!(rig.sent(0), "");
    // What may mend the server passes.
    let admin = rig.join();
    rig.say(admin, &["REPLICAOF NO ONE"]);
    assert_eq!(rig.sent(0), "REPLICAOF NO ONE");
    rig.reply(0, "+OK\r\n");
    rig.after(PAUSE);
    assert_eq!(rig.sent(0), "SET a 1 | SET b 1");
    rig.reply(0, "+OK\r\n+OK\r\n");
    assert_eq!(
        (rig.got(0).as_str(), rig.got(other).as_str()),
        ("+OK\r\n", "+OK\r\n")
    );
    assert_eq!(rig.stats().suspected, 1);
}

#[test]
fn a_refusal_that_stays_is_delivered_at_the_deadline() {
    let mut rig = Rig::new();
    rig.say(0, &["SET a 1", "GET a"]);
    let begin = rig.now;
    let got = loop {
        rig.reply(0, "-READONLY no\r\n$-1\r\n");
        rig.after(PAUSE);
        let got = rig.got(0);
        if !got.is_empty() {
            break got;
        }
    };
    assert_eq!(got, format!("-READONLY no\r\n{NOT_EXECUTED}"));
    let waited = rig.now - begin;
    assert!(waited.abs_diff(HOLD) <= 2 * PAUSE, "{waited:?}");
}

#[test]
fn scripts_are_never_repeated() {
    for script in ["EVAL s 0", "evalsha s 0", "FCALL f 0"] {
        let mut rig = Rig::new();
        rig.say(0, &[script]);
        let line = rig.lines.len() - 1;
        rig.reply(line, "-READONLY x\r\n");
        assert_eq!(rig.got(0), "-READONLY x\r\n");
    }
}

/// A server may be promoted between two commands: then the second one ran.
#[test]
fn a_write_that_succeeded_behind_a_refused_one_is_not_repeated() {
    let mut rig = Rig::new();
    rig.say(0, &["SET a 1", "INCR n", "PUBLISH c m"]);
    rig.sent(0);
    rig.reply(0, "-READONLY x\r\n:1\r\n:0\r\n");
    rig.after(PAUSE);
    assert_eq!(rig.sent(0), "SET a 1");
    rig.reply(0, "+OK\r\n");
    assert_eq!(rig.got(0), "+OK\r\n:1\r\n:0\r\n");
}

#[test]
fn other_errors_are_delivered() {
    let mut rig = Rig::new();
    let errors = "-ERR wrong number\r\n-WRONGTYPE x\r\n-MISCONF x\r\n";
    rig.say(0, &["SET a 1", "GET k", "SET k 1"]);
    rig.reply(0, errors);
    assert_eq!(rig.got(0), errors);
}

fn in_transaction(commands: &[&str], replies: &str) -> Rig {
    let mut rig = Rig::new();
    rig.say(0, commands);
    rig.reply(1, replies);
    rig.sent(1);
    assert_eq!(rig.got(0), replies);
    rig
}

#[test]
fn an_open_transaction_begins_anew_on_the_next_primary() {
    let mut rig = in_transaction(&["MULTI", "SET a 1"], "+OK\r\n+QUEUED\r\n");
    rig.fail_over(2, 2);
    rig.say(0, &["SET b 2", "EXEC"]);
    let line = rig.lines.len() - 1;
    assert_eq!(rig.sent(line), "MULTI | SET a 1 | SET b 2 | EXEC");
    rig.reply(line, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n");
    assert_eq!(rig.got(0), "+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n");
}

/// The time for which a command may wait begins with the command, not with the loss before it.
#[test]
fn who_lost_its_link_while_idle_may_wait_as_long_as_others() {
    let mut rig = in_transaction(&["MULTI", "SET a 1"], "+OK\r\n+QUEUED\r\n");
    rig.server_closes(1);
    rig.nowhere();
    rig.after(Duration::from_secs(20));
    rig.say(0, &["SET b 2"]);
    assert_eq!(rig.got(0), "", "it has just begun to wait");
    rig.point(2, 2);
    let line = rig.lines.len() - 1;
    assert_eq!(rig.sent(line), "MULTI | SET a 1 | SET b 2");
    rig.reply(line, "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    assert_eq!(rig.got(0), "+QUEUED\r\n");
}

#[test]
fn exec_answers_null_when_what_was_watched_is_behind_a_lost_link() {
    for resp3 in [false, true] {
        let mut rig = Rig::new();
        let mut line = 1;
        if resp3 {
            rig.say(0, &["HELLO 3"]);
            rig.reply(1, "%0\r\n");
            rig.say(0, &["WATCH k"]);
            rig.reply(2, "%0\r\n");
            rig.reply(2, "+OK\r\n");
            line = 2;
        } else {
            rig.say(0, &["WATCH k"]);
            rig.reply(1, "+OK\r\n");
        }
        rig.got(0);
        rig.server_closes(line);
        rig.after(Duration::from_millis(300));
        rig.say(0, &["MULTI", "SET k 1", "EXEC", "GET k"]);
        let line = rig.lines.len() - 1;
        if resp3 {
            assert_eq!(rig.sent(line), "HELLO 3");
            rig.reply(line, "%0\r\n");
        }
        assert_eq!(rig.sent(line), "MULTI | SET k 1 | DISCARD | GET k");
        rig.reply(line, "+OK\r\n+QUEUED\r\n+OK\r\n$1\r\n0\r\n");
        let null = if resp3 { "_\r\n" } else { "*-1\r\n" };
        assert_eq!(rig.got(0), format!("+OK\r\n+QUEUED\r\n{null}$1\r\n0\r\n"));
    }
}

#[test]
fn a_transaction_whose_exec_was_sent_is_unknown_and_one_whose_was_not_goes_on() {
    let mut rig = Rig::new();
    rig.say(0, &["MULTI", "SET a 1", "EXEC"]);
    rig.reply(1, "+OK\r\n+QUEUED\r\n");
    rig.server_closes(1);
    assert_eq!(rig.got(0), format!("+OK\r\n+QUEUED\r\n{OUTCOME_UNKNOWN}"));
    rig.after(Duration::from_millis(300));
    rig.say(0, &["MULTI"]);
    let line = rig.lines.len() - 1;
    rig.reply(line, "+OK\r\n");
    rig.sent(line);
    rig.server_reads(line, false);
    rig.say(0, &["SET b 1", "EXEC"]);
    rig.server_closes(line);
    rig.after(Duration::from_millis(300));
    let line = rig.lines.len() - 1;
    assert_eq!(rig.sent(line), "MULTI | SET b 1 | EXEC");
    rig.reply(line, "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    assert_eq!(rig.got(0), "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
}

#[test]
fn a_blocking_command_is_issued_again_with_the_time_that_is_left() {
    let mut rig = Rig::new();
    rig.say(0, &["BLPOP q 10"]);
    rig.reply(1, ":7\r\n");
    rig.after(Duration::from_secs(4));
    rig.reply(1, "-UNBLOCKED force unblock from blocking operation\r\n");
    rig.fail_over(2, 2);
    let line = rig.lines.len() - 1;
    let sent = rig.sent(line);
    let left = sent.rsplit(' ').next().expect("a timeout").parse::<f64>();
    let left = left.expect("a number");
    assert!(
        sent.contains("BLPOP q ") && (5.0..=6.0).contains(&left),
        "{sent}"
    );
    assert_eq!(rig.got(0), "");
    rig.reply(line, ":8\r\n*2\r\n$1\r\nq\r\n$1\r\nv\r\n");
    assert_eq!(rig.got(0), "*2\r\n$1\r\nq\r\n$1\r\nv\r\n");
}

#[test]
fn a_blocking_command_that_was_lost_may_have_popped_something() {
    let mut rig = Rig::new();
    rig.say(0, &["BLPOP q 10"]);
    rig.reply(1, ":7\r\n");
    rig.server_closes(1);
    assert_eq!(rig.got(0), OUTCOME_UNKNOWN);
}

#[test]
fn subscriptions_are_made_again_in_resp3_and_close_in_resp2() {
    let mut rig = Rig::new();
    rig.say(0, &["SUBSCRIBE c"]);
    rig.reply(1, ":7\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    rig.fail_over(2, 2);
    assert!(rig.is_closed(0));

    let mut rig = Rig::new();
    rig.say(0, &["HELLO 3"]);
    rig.reply(1, "%0\r\n");
    rig.say(0, &["SUBSCRIBE c"]);
    rig.reply(2, "%0\r\n");
    rig.reply(2, ":7\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    rig.got(0);
    rig.fail_over(2, 2);
    let line = rig.lines.len() - 1;
    assert_eq!(rig.sent(line), "HELLO 3");
    rig.reply(line, "%0\r\n");
    assert!(rig.sent(line).ends_with("SUBSCRIBE c"));
    rig.reply(line, ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    assert!(rig.got(0).starts_with(">2\r\n$12\r\nresubscribed\r\n"));
    rig.reply(line, ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n");
    assert_eq!(rig.got(0), ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n");
    assert_eq!(rig.stats().resubscribed, 1);
}

#[test]
fn other_state_of_the_connection_closes_its_client() {
    for command in ["CLIENT TRACKING ON", "MONITOR", "CLIENT NO-EVICT ON"] {
        let mut rig = Rig::new();
        rig.say(0, &[command]);
        rig.reply(1, "+OK\r\n");
        rig.fail_over(2, 2);
        assert!(rig.is_closed(0), "{command}");
    }
}

#[test]
fn a_reply_that_is_cut_ends_the_session() {
    let mut rig = Rig::new();
    rig.say(0, &["GET k", "INCR a"]);
    rig.reply(0, &format!("$100000\r\n{}", "y".repeat(2000)));
    rig.server_closes(0);
    assert_eq!(rig.got(0).len(), 9 + 2000);
    assert!(rig.is_closed(0));
}

/// A request that has not arrived in full cannot have run.
#[test]
fn a_link_lost_inside_a_large_request_means_that_it_did_not_run() {
    let mut rig = Rig::new();
    let total = 256 << 10;
    rig.send(
        0,
        format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${total}\r\n").as_bytes(),
    );
    rig.send(0, &vec![b'x'; total / 2]);
    rig.server_closes(1);
    assert_eq!(rig.got(0), NOT_EXECUTED);
    rig.send(0, &vec![b'x'; total / 2]);
    rig.send(0, b"\r\n");
    rig.say(0, &["INCR b"]);
    rig.after(Duration::from_millis(300));
    assert_eq!((rig.sent(0).as_str(), rig.held()), ("INCR b", 0));
}

#[test]
fn whoever_sends_no_more_and_waits_for_a_primary_is_told_at_once() {
    let mut rig = Rig::lost();
    rig.send(0, wire(&["INCR a"]).as_bytes());
    rig.half_close(0);
    assert_eq!(rig.got(0), NOT_EXECUTED);
    assert!(rig.is_closed(0));
}

/// Found by the fuzzer: it kept its worker busy for ever.
#[test]
fn half_a_request_of_someone_who_sends_no_more_is_dropped() {
    for half in [
        "*1\r\n",
        "PI",
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$99999\r\nx",
        "*x\r\n",
    ] {
        let mut rig = Rig::lost();
        rig.engine.needs_auth = None;
        rig.send(0, half.as_bytes());
        rig.half_close(0);
        assert!(rig.is_closed(0), "{half}");
    }
}

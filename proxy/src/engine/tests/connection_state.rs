//! What a client has set in its connection, and what becomes of it on the next one.

use super::rig::{OUTCOME_UNKNOWN, Rig, wire};

#[test]
fn settings_are_restored_before_anything_else() {
    let mut rig = Rig::new();
    rig.say(&[
        "AUTH u p",
        "HELLO 3 SETNAME n",
        "SELECT 2",
        "CLIENT SETINFO LIB-NAME l",
    ]);
    rig.server("+OK\r\n%0\r\n+OK\r\n+OK\r\n");
    rig.say(&["SELECT 99"]);
    rig.server("-ERR out of range\r\n");
    rig.sent();
    rig.got();
    rig.point(2, 2);
    rig.say(&["INCR a"]);
    let setup = "AUTH u p | HELLO 3 | SELECT 2 | CLIENT SETNAME n | CLIENT SETINFO LIB-NAME l";
    assert_eq!(rig.sent(), setup);
    rig.server("+OK\r\n%0\r\n+OK\r\n+OK\r\n");
    assert_eq!(rig.sent(), "");
    rig.server(">1\r\n+pushed\r\n+OK\r\n");
    assert_eq!((rig.sent().as_str(), rig.got().as_str()), ("INCR a", ""));
    rig.server(":1\r\n");
    assert_eq!(rig.got(), ":1\r\n");
}

#[test]
fn a_client_whose_settings_are_refused_is_closed() {
    let mut rig = Rig::new();
    rig.say(&["AUTH u p"]);
    rig.server("+OK\r\n");
    rig.point(2, 2);
    rig.say(&["INCR a"]);
    rig.server("-WRONGPASS x\r\n");
    assert_eq!((rig.got().as_str(), rig.closed), ("+OK\r\n", true));
}

#[test]
fn a_server_that_is_loading_while_settings_are_restored_is_tried_again() {
    let mut rig = Rig::new();
    rig.say(&["SELECT 2"]);
    rig.server("+OK\r\n");
    rig.point(2, 2);
    rig.say(&["INCR a"]);
    rig.sent();
    rig.server("-LOADING x\r\n");
    assert!(!rig.closed && rig.link.is_none());
    rig.after(std::time::Duration::from_secs(1));
    assert_eq!(rig.sent(), "SELECT 2");
}

/// Whatever SELECT did to the lost connection, it has to be done on the next one.
#[test]
fn an_unanswered_setting_is_repeated() {
    let mut rig = Rig::new();
    rig.say(&["SELECT 2", "INCR a"]);
    rig.sent();
    rig.left = b"+OK\r\n".to_vec();
    rig.point(2, 2);
    assert_eq!(rig.sent(), "SELECT 2");
    rig.server("+OK\r\n");
    assert_eq!(rig.got(), format!("+OK\r\n{OUTCOME_UNKNOWN}"));
    rig.point(3, 3);
    rig.say(&["PING"]);
    assert_eq!(rig.sent(), "SELECT 2");
}

#[test]
fn reset_forgets_all() {
    let mut rig = Rig::new();
    rig.say(&["SELECT 2", "CLIENT TRACKING ON", "WATCH k", "RESET"]);
    rig.server("+OK\r\n+OK\r\n+OK\r\n+RESET\r\n");
    rig.sent();
    rig.point(2, 2);
    rig.say(&["PING"]);
    assert_eq!(rig.sent(), "PING");
}

fn closed_by_failover(lines: &[&str], replies: &str) -> bool {
    let mut rig = Rig::new();
    rig.say(lines);
    rig.server(replies);
    rig.point(2, 2);
    let unknown = usize::try_from(rig.stats().unknown).expect("a few");
    let got = rig.got();
    assert_eq!(
        got,
        format!("{replies}{}", OUTCOME_UNKNOWN.repeat(unknown)),
        "{lines:?}"
    );
    if rig.closed {
        assert!(rig.engine.is_empty() && rig.link.is_none());
    }
    rig.closed
}

#[test]
fn state_that_cannot_be_restored_closes_the_client() {
    assert!(closed_by_failover(&["MULTI"], "+OK\r\n"));
    assert!(closed_by_failover(&["MULTI", "GET k"], "+OK\r\n"));
    assert!(closed_by_failover(&["MULTI"], ""));
    assert!(closed_by_failover(&["WATCH k"], "+OK\r\n"));
    assert!(closed_by_failover(&["CLIENT TRACKING ON"], "+OK\r\n"));
    assert!(closed_by_failover(&["BLPOP q 0"], ""));
    assert!(closed_by_failover(&["XREAD BLOCK 0 STREAMS s $"], ""));
    assert!(closed_by_failover(
        &["SUBSCRIBE c"],
        "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
    ));
    assert!(closed_by_failover(
        &["MONITOR"],
        "+OK\r\n+123 [0 x] \"GET\"\r\n"
    ));
    assert!(closed_by_failover(&["CLIENT REPLY OFF", "SET a 1"], ""));
    assert!(closed_by_failover(
        &["MULTI", "SELECT 2", "EXEC"],
        "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"
    ));
}

#[test]
fn state_that_is_gone_again_does_not() {
    assert!(!closed_by_failover(
        &["MULTI", "GET k", "EXEC"],
        "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n"
    ));
    assert!(!closed_by_failover(&["MULTI", "DISCARD"], "+OK\r\n+OK\r\n"));
    assert!(!closed_by_failover(&["MULTI", "GET k", "EXEC"], "+OK\r\n"));
    assert!(!closed_by_failover(
        &["WATCH k", "UNWATCH"],
        "+OK\r\n+OK\r\n"
    ));
    assert!(!closed_by_failover(
        &["WATCH k", "MULTI", "EXEC"],
        "+OK\r\n+OK\r\n*-1\r\n"
    ));
    assert!(!closed_by_failover(&["BLPOP q 0"], "*-1\r\n"));
    assert!(!closed_by_failover(&["BLPOP q 0"], "-UNBLOCKED x\r\n"));
    assert!(!closed_by_failover(&["MULTI x"], "-ERR x\r\n"));
}

#[test]
fn a_transaction_that_was_not_begun_waits_as_a_whole() {
    let mut rig = Rig::lost();
    rig.say(&["MULTI", "INCR a", "EXEC"]);
    rig.point(1, 1);
    assert_eq!(rig.sent(), "MULTI | INCR a | EXEC");
}

#[test]
fn a_subscriber_is_a_plain_relay() {
    let mut rig = Rig::new();
    rig.say(&["GET k", "SUBSCRIBE a b"]);
    rig.server("$1\r\nv\r\n*3\r\n$9\r\nsub");
    assert_eq!(rig.got(), "$1\r\nv\r\n*3\r\n$9\r\nsub");
    rig.sent();
    rig.client_bytes(b"anything\x00");
    assert_eq!(rig.sent_bytes(), b"anything\x00");
    rig.server("scribe\r\nand what comes");
    assert_eq!(rig.got(), "scribe\r\nand what comes");
    rig.half_close();
    assert!(rig.closed);
}

#[test]
fn a_subscription_that_waits_goes_to_the_next_primary() {
    let mut rig = Rig::lost();
    rig.say(&["SUBSCRIBE a"]);
    rig.client_bytes(b"PING\r\n");
    rig.point(1, 1);
    assert_eq!(
        rig.sent_bytes(),
        [wire(&["SUBSCRIBE a"]).as_bytes(), b"PING\r\n"].concat()
    );
    rig.server("x");
    assert_eq!(rig.got(), "x");
}

#[test]
fn a_subscription_that_waits_in_vain_ends_the_session() {
    let mut rig = Rig::lost();
    rig.say(&["SUBSCRIBE a", "PING"]);
    rig.after(std::time::Duration::from_secs(5));
    assert!(rig.got().starts_with("-TRYAGAIN"));
    assert!(rig.closed);
}

#[test]
fn a_push_answers_nothing() {
    let mut rig = Rig::new();
    rig.say(&["GET a", "GET b"]);
    let replies = ">2\r\n+invalidate\r\n*0\r\n$1\r\n1\r\n>1\r\n+x\r\n|1\r\n+k\r\n:1\r\n$1\r\n2\r\n";
    rig.server(replies);
    assert_eq!(rig.got(), replies);
    rig.half_close();
    assert!(rig.closed, "both are answered");
}

#[test]
fn waiting_for_replicas_after_a_failover_is_not_answered_falsely() {
    let mut rig = Rig::new();
    rig.say(&["SET a 1", "WAIT 1 0"]);
    rig.server("+OK\r\n:1\r\n");
    rig.point(2, 2);
    rig.say(&["SET b 1", "WAIT 1 0"]);
    rig.server("+OK\r\n:1\r\n");
    assert_eq!(
        (rig.got().as_str(), rig.closed),
        ("+OK\r\n:1\r\n+OK\r\n", true)
    );
}

#[test]
fn quitting_is_answered_after_everything_else() {
    let mut rig = Rig::new();
    rig.say(&["INCR a", "QUIT", "INCR b"]);
    assert_eq!((rig.sent().as_str(), rig.closed), ("INCR a", false));
    rig.server(":1\r\n");
    assert_eq!((rig.got().as_str(), rig.closed), (":1\r\n+OK\r\n", true));
}

#[test]
fn breaking_the_protocol_is_answered_in_its_turn() {
    let mut rig = Rig::new();
    rig.say(&["INCR a"]);
    rig.client_bytes(b"*1\r\n+x\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!((rig.sent().as_str(), rig.got().as_str()), ("INCR a", ""));
    rig.server(":1\r\n");
    assert_eq!(
        rig.got(),
        ":1\r\n-ERR Protocol error: expected '$', got '+'\r\n"
    );
    assert!(rig.closed);
}

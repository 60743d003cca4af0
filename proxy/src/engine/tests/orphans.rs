//! Clients that are closed with their primary, whatever they were about to do.

use std::time::Duration;

use super::rig::{HOLD, OUTCOME_UNKNOWN, PAUSE, Rig, primary, settings, upstream, wire};
use crate::config::ReadFrom;
use crate::control::Answer;
use crate::engine::Settings;
use crate::topology::{Topology, Upstream};

/// How long those that are closed have for their last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

fn rig() -> Rig {
    Rig::closing(settings())
}

/// What client 0 got from here to its end, which comes when the primary is lost. What is sent after
/// that goes nowhere.
fn last_words(rig: &mut Rig) -> String {
    for line in 0..rig.lines.len() {
        rig.sent(line);
    }
    rig.nowhere();
    assert!(rig.is_closed(0), "it lives on");
    assert!(rig.open().is_empty(), "links live on");
    rig.fail_over(2, 2);
    rig.after(HOLD);
    for line in 0..rig.lines.len() {
        assert_eq!(rig.sent(line), "");
    }
    assert_eq!((rig.held(), rig.engine.is_empty()), (0, true));
    assert_eq!((rig.stats().replayed, rig.stats().orphaned), (0, 1));
    rig.got(0)
}

#[test]
fn who_asked_nothing_is_told_nothing() {
    assert_eq!(last_words(&mut rig()), "");
}

/// A library that sends again what was not answered must not do so with these.
#[test]
fn what_may_have_run_is_unknown() {
    for command in ["INCR a", "EVAL s 0", "BLPOP q 0", "PUBLISH c m"] {
        let mut rig = rig();
        rig.say(0, &[command]);
        assert_eq!(last_words(&mut rig), OUTCOME_UNKNOWN, "{command}");
    }
}

/// A library that sends again what was not answered does the right thing.
#[test]
fn what_only_reads_is_not_answered() {
    for command in [
        "GET a",
        "XREAD BLOCK 0 STREAMS s 0",
        "SELECT 3",
        "WATCH k",
        "MULTI",
    ] {
        let mut rig = rig();
        rig.say(0, &[command]);
        assert_eq!(last_words(&mut rig), "", "{command}");
    }
}

#[test]
fn words_keep_their_order_and_end_with_the_last_that_must_be_said() {
    let mut rig = rig();
    rig.say(0, &["GET a", "INCR a", "GET a"]);
    assert_eq!(last_words(&mut rig), OUTCOME_UNKNOWN.repeat(2));
    assert_eq!(rig.stats().unknown, 2);
}

#[test]
fn what_was_not_sent_is_neither_answered_nor_sent() {
    let mut rig = rig();
    rig.server_reads(0, false);
    rig.say(0, &["INCR a"]);
    assert_eq!(last_words(&mut rig), "");
}

#[test]
fn answers_that_came_before_are_delivered() {
    let mut rig = rig();
    rig.client_reads(0, false);
    rig.say(0, &["INCR a", "GET a"]);
    rig.reply(0, ":1\r\n");
    rig.nowhere();
    assert!(!rig.is_closed(0));
    rig.client_reads(0, true);
    assert_eq!(rig.got(0), ":1\r\n");
    assert!(rig.is_closed(0));
}

#[test]
fn who_does_not_take_its_last_answers_is_cut() {
    let mut rig = rig();
    rig.client_reads(0, false);
    rig.say(0, &["INCR a"]);
    rig.reply(0, ":1\r\n");
    rig.nowhere();
    rig.point(2, 2);
    let other = rig.join();
    rig.after(LAST_ANSWERS - Duration::from_millis(1));
    assert!(!rig.is_closed(0));
    rig.after(Duration::from_millis(1));
    assert!(rig.is_closed(0) && !rig.is_closed(other));
}

/// One that hangs must not last through spell after spell.
#[test]
fn who_does_not_take_them_is_cut_when_the_next_primary_is_lost() {
    let mut rig = rig();
    rig.client_reads(0, false);
    rig.say(0, &["INCR a"]);
    rig.reply(0, ":1\r\n");
    rig.point(2, 2);
    rig.point(3, 3);
    assert!(rig.is_closed(0));
}

#[test]
fn a_read_that_waits_behind_a_refusal_ends_with_it() {
    let mut rig = rig();
    rig.say(0, &["SET a 1", "GET a"]);
    rig.reply(0, "-READONLY x\r\n$-1\r\n");
    assert_eq!(last_words(&mut rig), "");
}

/// It did run, so it must not be sent again; what stands before it has to be answered then.
#[test]
fn an_answer_that_waits_behind_a_refusal_is_delivered_with_it() {
    let mut rig = rig();
    rig.say(0, &["SET a 1", "GET a", "INCR n", "GET n"]);
    rig.reply(0, "-READONLY x\r\n$-1\r\n:1\r\n$1\r\n1\r\n");
    rig.after(PAUSE / 2);
    let words = format!("-READONLY x\r\n{OUTCOME_UNKNOWN}:1\r\n");
    assert_eq!(last_words(&mut rig), words);
}

#[test]
fn what_waits_for_a_connection_is_given_up() {
    let mut rig = rig();
    rig.connecting_works = false;
    rig.server_closes(0);
    rig.say(0, &["INCR a"]);
    assert_eq!(rig.held(), wire(&["INCR a"]).len());
    assert_eq!(last_words(&mut rig), "");
}

#[test]
fn a_transaction_that_has_not_begun_to_run_is_not_answered() {
    let mut rig = rig();
    rig.say(0, &["WATCH k"]);
    rig.reply(1, "+OK\r\n");
    rig.say(0, &["MULTI", "INCR a", "INCR b"]);
    rig.reply(1, "+OK\r\n+QUEUED\r\n");
    assert_eq!(rig.got(0), "+OK\r\n+OK\r\n+QUEUED\r\n");
    assert_eq!(last_words(&mut rig), "");
}

#[test]
fn a_transaction_whose_exec_was_sent_is_unknown() {
    let mut rig = rig();
    rig.say(0, &["MULTI", "INCR a", "EXEC"]);
    rig.reply(1, "+OK\r\n");
    assert_eq!(rig.got(0), "+OK\r\n");
    assert_eq!(last_words(&mut rig), OUTCOME_UNKNOWN.repeat(2));
}

#[test]
fn who_has_state_in_a_connection_is_closed() {
    for (command, reply) in [
        ("WATCH k", "+OK\r\n"),
        ("CLIENT TRACKING ON", "+OK\r\n"),
        ("CLIENT NO-EVICT ON", "+OK\r\n"),
        ("MONITOR", "+OK\r\n+1 [0 x] \"PING\"\r\n"),
    ] {
        let mut rig = rig();
        rig.say(0, &[command]);
        rig.reply(1, reply);
        assert_eq!(rig.got(0), reply);
        assert_eq!(last_words(&mut rig), "", "{command}");
    }
}

#[test]
fn subscribers_get_the_messages_that_came_before() {
    for resp3 in [false, true] {
        let mut rig = rig();
        if resp3 {
            rig.say(0, &["HELLO 3"]);
            rig.reply(1, "%1\r\n+id\r\n:9\r\n");
        }
        let kind = if resp3 { '>' } else { '*' };
        rig.say(0, &["SUBSCRIBE c"]);
        let line = rig.lines.len() - 1;
        let numbered = rig.sent(line).starts_with("CLIENT ID");
        let number = if numbered { ":7\r\n" } else { "" };
        rig.reply(
            line,
            &format!("{number}{kind}3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"),
        );
        rig.got(0);
        rig.client_reads(0, false);
        let message = format!("{kind}3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n");
        rig.reply(line, &message);
        rig.nowhere();
        rig.client_reads(0, true);
        assert!(rig.is_closed(0));
        assert_eq!(rig.got(0), message);
    }
}

/// An error would keep its library from subscribing again.
#[test]
fn a_subscription_under_way_is_not_answered() {
    let mut rig = rig();
    rig.say(0, &["SUBSCRIBE c d"]);
    rig.reply(1, ":7\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    rig.got(0);
    assert_eq!(last_words(&mut rig), "");
}

#[test]
fn half_a_request_is_forgotten() {
    let large = wire(&[&format!("SET a {}", "x".repeat(100_000))]);
    for half in [&b"*2\r\n$3\r\nGE"[..], &large.as_bytes()[..50_000]] {
        let mut rig = rig();
        rig.send(0, half);
        assert_eq!(last_words(&mut rig), "");
    }
}

#[test]
fn nothing_is_said_after_half_a_reply() {
    let mut rig = rig();
    rig.say(0, &["GET a", "INCR a"]);
    let half = format!("$100000\r\n{}", "x".repeat(50_000));
    rig.reply(0, &half);
    assert_eq!(last_words(&mut rig), half);
}

#[test]
fn who_wants_no_replies_gets_none() {
    let mut rig = rig();
    rig.say(0, &["CLIENT REPLY OFF", "INCR a"]);
    assert_eq!(last_words(&mut rig), "");
}

#[test]
fn what_other_workers_say_later_comes_too_late() {
    let mut rig = rig();
    rig.engine.expect_others(1);
    rig.say(0, &["GET a", "CLIENT LIST"]);
    rig.client_reads(0, false);
    rig.reply(0, "$1\r\na\r\n");
    let line = rig.lines.len() - 1;
    rig.reply(line, "$0\r\n\r\n");
    assert_eq!(rig.questions, 1);
    rig.nowhere();
    rig.engine.informed(rig.id(0), Answer::default());
    rig.client_reads(0, true);
    assert_eq!(rig.got(0), "$1\r\na\r\n");
    assert!(rig.is_closed(0));
}

/// A request that is not sent yet may be in a link to a server that stays.
#[test]
fn replicas_get_nothing_that_was_asked_before() {
    let mut rig = Rig::closing(Settings {
        read_from: ReadFrom::Replicas,
        ..settings()
    });
    let split = Topology {
        replicas: vec![upstream(5)],
        ..primary(1, 1)
    };
    rig.topology(&split);
    let info = "role:slave\r\nmaster_link_status:up\r\nslave_repl_offset:1\r\n";
    let probe = rig.lines.iter().position(|line| line.port == 5);
    let probe = probe.expect("the replica is asked how it is");
    rig.reply(probe, &format!("${}\r\n{info}\r\n", info.len()));
    rig.say(0, &["GET a"]);
    let line = rig.lines.len() - 1;
    assert_eq!(
        (rig.lines[line].port, rig.sent(line).as_str()),
        (5, "GET a")
    );
    rig.server_reads(line, false);
    rig.say(0, &["GET b"]);
    rig.topology(&Topology {
        primary: None,
        ..split
    });
    assert!(rig.is_closed(0) && !rig.lines[line].open);
    rig.server_reads(line, true);
    assert_eq!((rig.sent(line).as_str(), rig.got(0).as_str()), ("", ""));
    assert!(
        rig.lines[probe].open,
        "it will be of use to the next primary"
    );
}

#[test]
fn the_end_of_a_topology_closes_clients_by_itself() {
    let mut rig = rig();
    rig.topology(&Topology {
        until: Some(rig.now + Duration::from_secs(1)),
        ..primary(1, 1)
    });
    rig.after(Duration::from_millis(999));
    assert!(!rig.is_closed(0));
    rig.after(Duration::from_millis(1));
    assert!(rig.is_closed(0));
}

/// As in a process that was stopped and goes on: no timer has told it anything.
#[test]
fn nothing_that_is_read_after_the_end_goes_anywhere() {
    let mut rig = rig();
    let other = rig.join();
    rig.topology(&Topology {
        until: Some(rig.now + Duration::from_secs(1)),
        ..primary(1, 1)
    });
    rig.say(other, &["INCR a"]);
    rig.sent(0);
    rig.now += Duration::from_secs(1);
    let late = rig.join();
    rig.receive(late, wire(&["INCR b"]).as_bytes());
    rig.receive(0, wire(&["INCR b"]).as_bytes());
    let answer = rig.link(0);
    rig.engine.received(rig.now, answer, b":1\r\n");
    rig.settle();
    assert_eq!((rig.open().len(), rig.sent(0).as_str()), (0, ""));
    assert_eq!(rig.got(other), OUTCOME_UNKNOWN);
    assert_eq!((rig.got(0).as_str(), rig.got(late).as_str()), ("", ""));
    assert!(rig.is_closed(0) && rig.is_closed(other) && rig.is_closed(late));
}

#[test]
fn another_primary_closes_clients_too() {
    let named = |name: &str, host: &str, port, term| Topology {
        primary: Some(Upstream {
            name: name.into(),
            host: host.into(),
            port,
        }),
        ..primary(term, port)
    };
    for (lost, next) in [
        (false, named("1", "h", 1, 1)),
        (false, named("1", "h", 1, 0)),
        (true, named("1", "h", 1, 2)),
        (true, named("1", "h", 2, 1)),
        (true, named("1", "i", 1, 1)),
        (true, named("2", "h", 1, 1)),
    ] {
        let mut rig = rig();
        rig.topology(&next);
        assert_eq!(rig.is_closed(0), lost, "{next:?}");
        let client = rig.join();
        rig.say(client, &["INCR a"]);
        let line = rig.lines.len() - 1;
        assert_eq!(rig.sent(line), "INCR a");
        rig.reply(line, ":1\r\n");
        assert_eq!(rig.got(client), ":1\r\n");
    }
}

#[test]
fn a_name_alone_replaces_nobody_where_clients_are_held() {
    let mut rig = Rig::new();
    let mut renamed = primary(1, 1);
    renamed.primary.as_mut().expect("a primary").name = "other".into();
    rig.topology(&renamed);
    assert_eq!((rig.lines.len(), rig.is_closed(0)), (1, false));
}

#[test]
fn who_comes_while_there_is_no_primary_is_closed_without_a_word() {
    let mut rig = rig();
    rig.nowhere();
    let client = rig.join();
    rig.say(client, &["INFO proxy"]);
    assert_eq!(
        (rig.is_closed(client), rig.got(client).as_str()),
        (true, "")
    );
    assert_eq!((rig.stats().orphaned, rig.stats().accepted), (2, 2));
    rig.point(2, 2);
    let client = rig.join();
    rig.say(client, &["GET a"]);
    let line = rig.lines.len() - 1;
    assert_eq!(rig.sent(line), "GET a");
}

/// That is for the topology to say.
#[test]
fn a_primary_that_is_away_is_waited_for() {
    let mut rig = rig();
    rig.server_closes(0);
    rig.say(0, &["GET a"]);
    rig.after(Duration::from_millis(300));
    let line = rig.lines.len() - 1;
    assert_eq!(
        (rig.is_closed(0), rig.sent(line).as_str()),
        (false, "GET a")
    );
}

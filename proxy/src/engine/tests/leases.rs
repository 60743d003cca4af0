//! Whoever has state in its connection has a link for itself, and gives it back clean.

use std::time::Duration;

use super::rig::{HOLD, LINGER, NOT_EXECUTED, Rig, settings};
use crate::engine::Settings;

/// Each command on a line is answered by the reply at its place; the last link is asked.
fn talk(rig: &mut Rig, client: usize, line: usize, steps: &[(&str, &str)]) {
    for (command, reply) in steps {
        rig.say(client, &[command]);
        assert_eq!(rig.sent(line), *command);
        rig.reply(line, reply);
        assert_eq!(rig.got(client), *reply);
    }
}

#[test]
fn a_transaction_has_a_link_for_itself_and_gives_it_back() {
    let mut rig = Rig::new();
    let other = rig.join();
    talk(
        &mut rig,
        0,
        1,
        &[("MULTI", "+OK\r\n"), ("SET a 1", "+QUEUED\r\n")],
    );
    talk(&mut rig, other, 0, &[("GET a", "$-1\r\n")]);
    talk(&mut rig, 0, 1, &[("EXEC", "*1\r\n+OK\r\n")]);
    talk(&mut rig, 0, 0, &[("GET a", "$1\r\n1\r\n")]);
    // The next one takes the same link, as it is.
    talk(
        &mut rig,
        other,
        1,
        &[("MULTI", "+OK\r\n"), ("DISCARD", "+OK\r\n")],
    );
    talk(&mut rig, other, 0, &[("GET a", "$1\r\n1\r\n")]);
    assert_eq!(rig.lines.len(), 2);
}

#[test]
fn a_pipelined_transaction_keeps_its_order_with_what_is_around_it() {
    let mut rig = Rig::new();
    rig.say(0, &["SET a 1", "MULTI", "INCR a", "EXEC", "GET a"]);
    assert_eq!(rig.sent(0), "SET a 1");
    rig.reply(0, "+OK\r\n");
    // What is there already may follow without waiting for EXEC's answer.
    assert_eq!(rig.sent(1), "MULTI | INCR a | EXEC | GET a");
    rig.reply(1, "+OK\r\n+QUEUED\r\n*1\r\n:2\r\n$1\r\n2\r\n");
    assert_eq!(
        rig.got(0),
        "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n$1\r\n2\r\n"
    );
}

#[test]
fn who_watches_keeps_the_link_until_exec_or_unwatch() {
    for ends in ["UNWATCH", "EXEC", "DISCARD"] {
        let mut rig = Rig::new();
        talk(
            &mut rig,
            0,
            1,
            &[("WATCH k", "+OK\r\n"), ("GET k", "$-1\r\n")],
        );
        if ends != "UNWATCH" {
            talk(&mut rig, 0, 1, &[("MULTI", "+OK\r\n")]);
        }
        talk(&mut rig, 0, 1, &[(ends, "+OK\r\n")]);
        talk(&mut rig, 0, 0, &[("GET k", "$-1\r\n")]);
    }
}

#[test]
fn who_blocks_keeps_nobody_else_waiting() {
    let mut rig = Rig::new();
    let other = rig.join();
    rig.say(0, &["BLPOP q 0", "GET a"]);
    assert_eq!(rig.sent(1), "CLIENT ID | BLPOP q 0");
    talk(&mut rig, other, 0, &[("LPUSH q 1", ":1\r\n")]);
    rig.reply(1, ":77\r\n*2\r\n$1\r\nq\r\n$1\r\n1\r\n");
    assert_eq!(rig.sent(1), "GET a");
    rig.reply(1, "$-1\r\n");
    assert_eq!(rig.got(0), "*2\r\n$1\r\nq\r\n$1\r\n1\r\n$-1\r\n");
    // Its number is known from then on.
    talk(&mut rig, 0, 1, &[("BRPOP q 1", "*-1\r\n")]);
}

#[test]
fn reading_a_stream_blocks_by_its_arguments() {
    let mut rig = Rig::new();
    talk(&mut rig, 0, 0, &[("XREAD COUNT 1 STREAMS s 0", "*-1\r\n")]);
    rig.say(0, &["XREAD BLOCK 10 STREAMS s 0"]);
    assert!(rig.sent(1).ends_with("XREAD BLOCK 10 STREAMS s 0"));
    assert_eq!(rig.sent(0), "");
}

#[test]
fn a_client_that_leaves_while_it_blocks_closes_its_link() {
    let mut rig = Rig::new();
    rig.say(0, &["BLPOP q 0"]);
    rig.leave(0);
    assert_eq!(rig.open(), [0]);
    let half = rig.join();
    rig.say(half, &["BLPOP q 0"]);
    rig.half_close(half);
    assert!(rig.is_closed(half));
    assert_eq!(rig.open(), [0]);
}

#[test]
fn what_a_client_leaves_behind_is_cleaned_away() {
    for (left, clean) in [
        (&["MULTI", "SET a 1"][..], true),
        (&["WATCH k"], true),
        (&["CLIENT TRACKING ON"], false),
        (&["SUBSCRIBE c"], false),
        (&["MONITOR"], false),
        (&["CLIENT NO-EVICT ON"], false),
    ] {
        let mut rig = Rig::new();
        for command in left {
            rig.say(0, &[command]);
            assert!(rig.sent(1).ends_with(command));
            rig.reply(
                1,
                match *command {
                    "SUBSCRIBE c" => ":7\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
                    _ => "+OK\r\n",
                },
            );
        }
        rig.leave(0);
        assert_eq!(rig.open().len(), 1 + usize::from(clean), "{left:?}");
        let next = rig.join();
        rig.say(next, &["WATCH x"]);
        if clean {
            assert_eq!(rig.sent(1), "RESET");
            assert_eq!(rig.open().len(), 3, "not before it is clean");
            rig.reply(1, "+RESET\r\n");
            rig.reply(2, "+OK\r\n");
            let third = rig.join();
            talk(&mut rig, third, 1, &[("WATCH x", "+OK\r\n")]);
        } else {
            assert_eq!(rig.sent(2), "WATCH x", "{left:?}");
        }
    }
}

#[test]
fn a_cleaned_link_is_set_up_again() {
    let mut rig = Rig::new();
    talk(&mut rig, 0, 1, &[("SELECT 5", "+OK\r\n")]);
    let other = rig.join();
    talk(&mut rig, other, 2, &[("SELECT 5", "+OK\r\n")]);
    talk(&mut rig, other, 2, &[("WATCH k", "+OK\r\n")]);
    rig.leave(other);
    assert_eq!(rig.sent(2), "RESET | SELECT 5");
    // It did not succeed: nobody gets this link.
    rig.reply(2, "+RESET\r\n-ERR no such database\r\n");
    assert!(!rig.lines[2].open);
}

#[test]
fn selecting_changes_where_the_link_and_its_client_belong() {
    let mut rig = Rig::new();
    talk(&mut rig, 0, 1, &[("SELECT 5", "+OK\r\n")]);
    // This link is shared by all of database 5 from then on.
    talk(&mut rig, 0, 1, &[("GET a", "$-1\r\n")]);
    let other = rig.join();
    talk(
        &mut rig,
        other,
        2,
        &[("SELECT 5", "+OK\r\n"), ("MULTI", "+OK\r\n")],
    );
    talk(&mut rig, other, 2, &[("DISCARD", "+OK\r\n")]);
    talk(&mut rig, other, 1, &[("GET a", "$-1\r\n")]);
    let refused = rig.join();
    rig.say(refused, &["SELECT 99"]);
    let line = rig.lines.len() - 1;
    rig.reply(line, "-ERR DB index is out of range\r\n");
    talk(&mut rig, refused, 0, &[]);
    rig.got(refused);
    talk(&mut rig, refused, 0, &[("GET a", "$-1\r\n")]);
}

#[test]
fn users_share_with_their_own_kind() {
    let mut rig = Rig::new();
    talk(
        &mut rig,
        0,
        1,
        &[("AUTH ann secret", "+OK\r\n"), ("GET a", "$-1\r\n")],
    );
    rig.say(0, &["HELLO 3 AUTH bob other"]);
    let line = 2;
    assert_eq!(rig.sent(line), "AUTH ann secret");
    rig.reply(line, "+OK\r\n");
    assert_eq!(rig.sent(line), "HELLO 3 AUTH bob other");
    rig.reply(line, "%1\r\n$2\r\nid\r\n:99\r\n");
    assert_eq!(rig.got(0), "%1\r\n$2\r\nid\r\n:1\r\n", "the proxy's number");
    rig.server_closes(line);
    rig.say(0, &["GET b"]);
    rig.after(Duration::from_secs(1));
    let new = rig.lines.len() - 1;
    assert_eq!(rig.sent(new), "AUTH bob other | HELLO 3");
    rig.reply(new, "+OK\r\n%0\r\n");
    assert_eq!(rig.sent(new), "GET b");
}

#[test]
fn a_login_that_the_next_server_rejects_is_told() {
    let mut rig = Rig::new();
    talk(&mut rig, 0, 1, &[("AUTH ann secret", "+OK\r\n")]);
    rig.fail_over(2, 2);
    rig.say(0, &["GET a"]);
    let new = rig.lines.len() - 1;
    assert_eq!(rig.sent(new), "AUTH ann secret");
    rig.reply(new, "-WRONGPASS x\r\n");
    assert_eq!(
        (rig.got(0).as_str(), rig.is_closed(0)),
        ("-WRONGPASS x\r\n", true)
    );
}

#[test]
fn a_server_that_is_loading_while_a_link_is_set_up_is_tried_again() {
    let mut rig = Rig::new();
    talk(&mut rig, 0, 1, &[("SELECT 2", "+OK\r\n")]);
    rig.fail_over(2, 2);
    rig.say(0, &["INCR a"]);
    let new = rig.lines.len() - 1;
    rig.reply(new, "-LOADING x\r\n");
    assert!(!rig.is_closed(0) && !rig.lines[new].open);
    rig.after(Duration::from_secs(1));
    let new = rig.lines.len() - 1;
    assert_eq!(rig.sent(new), "SELECT 2");
    rig.reply(new, "+OK\r\n");
    assert_eq!(rig.sent(new), "INCR a");
}

#[test]
fn only_so_many_links_are_lent() {
    let mut rig = Rig::pointed(Settings {
        pool_max: 2,
        pool_idle: 1,
        ..settings()
    });
    let clients: Vec<_> = (0..4).map(|_| rig.join()).collect();
    for client in &clients {
        rig.say(*client, &[&format!("WATCH {client}")]);
    }
    assert_eq!(rig.lines.len(), 3, "one is shared");
    assert!(rig.stats().pool_exhausted > 0);
    rig.reply(1, "+OK\r\n");
    rig.reply(2, "+OK\r\n");
    rig.sent(1);
    // Who waited longest gets it first.
    rig.say(clients[0], &["UNWATCH"]);
    rig.reply(1, "+OK\r\n");
    assert_eq!(rig.sent(1), "UNWATCH | WATCH 3");
    rig.reply(1, "+OK\r\n");
    rig.after(HOLD);
    assert_eq!(rig.got(clients[3]), NOT_EXECUTED);
    // Of those that are given back, one is kept.
    rig.say(clients[1], &["UNWATCH"]);
    rig.say(clients[2], &["UNWATCH"]);
    rig.reply(1, "+OK\r\n");
    rig.reply(2, "+OK\r\n");
    assert_eq!(rig.open().len(), 2);
}

#[test]
fn links_are_warm_before_they_are_needed() {
    let mut rig = Rig::pointed(Settings {
        pool_warm: 2,
        ..settings()
    });
    assert_eq!(rig.open(), [0, 1, 2]);
    rig.say(0, &["MULTI"]);
    assert_eq!(rig.lines.len(), 3);
    assert!((0..3).any(|line| rig.sent(line) == "MULTI"));
}

#[test]
fn what_is_not_used_for_long_is_closed() {
    let mut rig = Rig::new();
    let clients: Vec<_> = (0..3).map(|_| rig.join()).collect();
    for (n, client) in clients.iter().enumerate() {
        rig.say(*client, &["WATCH k"]);
        rig.reply(n + 1, "+OK\r\n");
        rig.say(*client, &["UNWATCH"]);
    }
    for n in 0..3 {
        rig.reply(n + 1, "+OK\r\n");
    }
    assert_eq!(rig.open().len(), 4);
    rig.after(Duration::from_secs(70));
    assert_eq!(rig.open(), [0], "the shared one stays");
}

#[test]
fn waiting_for_replicas_is_about_the_client_s_own_writes() {
    let mut rig = Rig::new();
    talk(&mut rig, 0, 0, &[("SET a 1", "+OK\r\n")]);
    rig.say(0, &["WAIT 1 0"]);
    assert!(rig.sent(1).ends_with("WAIT 1 0"));
    rig.reply(1, ":0\r\n:1\r\n");
    assert_eq!(rig.got(0), ":1\r\n");
    rig.fail_over(2, 2);
    rig.say(0, &["WAIT 1 0"]);
    assert!(rig.got(0).starts_with("-ERR outcome unknown"));
}

/// However it wrote, and though the next primary may get the number of the former one.
#[test]
fn wait_is_about_no_other_primary() {
    let writes: [&[(&str, &str)]; 4] = [
        &[("SET a 1", "+OK\r\n")],
        &[("EVAL x 0", "+OK\r\n")],
        &[
            ("WATCH a", "+OK\r\n"),
            ("SET a 1", "+OK\r\n"),
            ("UNWATCH", "+OK\r\n"),
        ],
        &[
            ("MULTI", "+OK\r\n"),
            ("SET a 1", "+QUEUED\r\n"),
            ("EXEC", "*1\r\n+OK\r\n"),
        ],
    ];
    for steps in writes {
        let mut rig = Rig::new();
        for (n, (command, reply)) in steps.iter().enumerate() {
            rig.say(0, &[command]);
            let line = usize::from(n > 0 || !command.starts_with("SET"));
            assert_eq!(rig.sent(line), *command);
            rig.reply(line, reply);
        }
        rig.got(0);
        rig.nowhere();
        rig.after(LINGER);
        rig.point(2, 2);
        rig.say(0, &["WAIT 1 0"]);
        let told = rig.got(0);
        assert!(
            told.starts_with("-ERR outcome unknown"),
            "{steps:?}: {told}"
        );
    }
}

//! What is kept in memory, and who waits for whom.

use std::time::Duration;

use super::rig::{HOLD, NOT_EXECUTED, Rig, settings, wire};
use crate::engine::Settings;

const KIB: usize = 1 << 10;

fn small() -> Settings {
    Settings {
        session_buffer: 128 * KIB,
        replay_buffer: 16 * KIB,
        worker_buffer: 512 * KIB,
        output_buffer: 512 * KIB,
        ..settings()
    }
}

#[test]
fn the_one_that_reads_slowest_is_cut_first() {
    let mut rig = Rig::pointed(small());
    let clients: Vec<_> = (0..4).map(|_| rig.join()).collect();
    for (n, client) in clients.iter().enumerate() {
        rig.client_reads(*client, false);
        rig.say(*client, &["GET k"]);
        let length = (n + 1) * 60 * KIB;
        rig.reply(0, &format!("${length}\r\n{}\r\n", "v".repeat(length)));
    }
    // 600 KiB wait, and 512 may.
    assert_eq!(rig.stats().cut, 1);
    let cut: Vec<_> = clients
        .iter()
        .map(|client| rig.is_closed(*client))
        .collect();
    assert_eq!(cut, [false, false, false, true]);
}

#[test]
fn whoever_gets_long_replies_may_ask_for_few_at_a_time() {
    let mut rig = Rig::new();
    rig.say(0, &["GET k"]);
    rig.sent(0);
    let long = 512 * KIB;
    rig.reply(0, &format!("${long}\r\n{}\r\n", "v".repeat(long)));
    rig.client_reads(0, false);
    rig.send(0, wire(&["GET k"]).repeat(1000).as_bytes());
    let asked = rig.sent(0).split(" | ").count();
    assert!(asked <= 64, "{asked} long replies were asked for");
    let short = rig.join();
    rig.send(short, wire(&["GET s"]).repeat(100).as_bytes());
    assert_eq!(rig.sent(0).split(" | ").count(), 100);
}

#[test]
fn a_worker_holds_only_so_much() {
    let mut rig = Rig::with(small());
    let others: Vec<_> = (0..8).map(|_| rig.join()).collect();
    let mut refused = Vec::new();
    for client in others {
        let conn = rig.conn(client);
        if rig.engine.may_read(conn) {
            rig.send(client, wire(&["INCR a"]).repeat(4000).as_bytes());
        } else {
            refused.push(client);
        }
    }
    assert!(rig.held() <= 640 * KIB, "{} bytes", rig.held());
    rig.after(HOLD);
    assert_eq!(rig.held(), 0);
    assert!(!refused.is_empty());
    for client in refused {
        assert!(rig.engine.may_read(rig.conn(client)));
    }
}

#[test]
fn a_client_that_is_not_read_keeps_its_deadline() {
    let mut rig = Rig::with(Settings {
        output_buffer: 1 << 20,
        ..small()
    });
    rig.send(0, wire(&["INCR a"]).repeat(7000).as_bytes());
    let conn = rig.conn(0);
    assert!(!rig.engine.may_read(conn));
    rig.after(HOLD);
    assert_eq!(rig.got(0), NOT_EXECUTED.repeat(7000));
    assert_eq!(rig.resumed, [conn]);
}

#[test]
fn a_refusal_of_what_is_not_kept_is_delivered() {
    let mut rig = Rig::pointed(small());
    rig.say(0, &[&format!("SET a {}", "x".repeat(30 * KIB)), "SET b 2"]);
    rig.reply(0, "-READONLY x\r\n");
    assert_eq!(rig.got(0), "-READONLY x\r\n");
}

#[test]
fn replies_kept_behind_a_refused_command_are_counted() {
    let mut rig = Rig::new();
    rig.say(0, &["SET a 1", "INCR b"]);
    rig.reply(0, "-READONLY x\r\n");
    assert_eq!(rig.held(), wire(&["SET a 1"]).len());
    rig.reply(0, ":1\r\n");
    assert!(rig.held() > wire(&["SET a 1"]).len());
    rig.leave(0);
    assert_eq!(rig.held(), 0);
}

#[test]
fn who_says_nothing_for_long_is_closed_unless_it_waits() {
    let mut rig = Rig::pointed(Settings {
        idle_timeout: Some(Duration::from_secs(10)),
        ..settings()
    });
    let blocked = rig.join();
    rig.say(blocked, &["BLPOP q 0"]);
    rig.after(Duration::from_secs(15));
    assert!(rig.is_closed(0) && !rig.is_closed(blocked));
}

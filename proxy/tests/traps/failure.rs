//! What is told, run again or lost when a server is (traps 7 and 17 to 23).

use std::thread;

use bellwether_testkit::until;

use crate::support::pair::{Change, Pair, fence};
use crate::support::relay::Relay;
use crate::support::{Client, Front, PATIENCE, batch, command, fenced, primary};

const UNKNOWN: &str = "-ERR outcome unknown";

/// A pair behind a proxy that has all the time it needs.
fn pair() -> (Pair, Front) {
    let pair = Pair::start();
    let front = Front::start(|config| config.linger = PATIENCE);
    pair.publish_to(&front);
    (pair, front)
}

/// Trap 17: a refusal proves that nothing ran, and what came behind it waits for it.
#[test]
fn refused_writes_run_later_and_in_order() {
    let (mut pair, front) = pair();
    let mut client = front.client();
    assert_eq!(client.ask("SET k a"), "+OK\r\n");
    pair.wait_until_equal();
    fence(pair.primary(), &[]);
    client.say(&[
        "GET k",
        "APPEND k b",
        "GET k",
        "APPEND k c",
        "GET k",
        "STRLEN k",
    ]);
    front.until("all to have asked", |stats| stats.requests == 7);
    pair.take_over(Change::Switchover, &front, |_| {});
    let expected = [
        "$1\r\na\r\n",
        ":2\r\n",
        "$2\r\nab\r\n",
        ":3\r\n",
        "$3\r\nabc\r\n",
        ":3\r\n",
    ];
    assert_eq!(client.texts(6), expected);
}

/// Trap 17: a script may say so after it had an effect.
#[test]
fn a_script_that_sounds_like_a_refusal_runs_once() {
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    for (n, code) in (1..).zip(["READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS"]) {
        let script =
            format!("redis.call('incr','n') return redis.error_reply('{code} not really')");
        client.send(&command(&[b"EVAL", script.as_bytes(), b"0"]));
        assert_eq!(client.text(), format!("-{code} not really\r\n"));
        assert_eq!(client.ask("GET n"), format!("$1\r\n{n}\r\n"));
    }
    let in_exec = b"redis.call('incr','n') return redis.error_reply('READONLY in exec')";
    client.say(&["MULTI"]);
    client.send(&command(&[b"EVAL", in_exec, b"0"]));
    client.say(&["EXEC", "GET n"]);
    let expected = [
        "+OK\r\n",
        "+QUEUED\r\n",
        "*1\r\n-READONLY in exec\r\n",
        "$1\r\n5\r\n",
    ];
    assert_eq!(client.texts(4), expected);
}

/// Traps 17 and 7: a server that loads refuses, and then does not.
#[test]
fn a_server_that_loads_is_waited_for() {
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    assert_eq!(client.ask("SET k v"), "+OK\r\n");
    for line in [
        "DEBUG POPULATE 2000",
        "CONFIG SET key-load-delay 500",
        "CONFIG SET loading-process-events-interval-bytes 1024",
    ] {
        server
            .command(&line.split(' ').collect::<Vec<_>>())
            .unwrap();
    }
    thread::scope(|scope| {
        let reload = scope.spawn(|| server.command(&["DEBUG", "RELOAD"]));
        while !reload.is_finished() {
            assert_eq!(client.ask("GET k"), "$1\r\nv\r\n");
            assert_eq!(client.ask("SET k v"), "+OK\r\n");
        }
        reload.join().unwrap().unwrap();
    });
    let refused = server.info("errorstats").unwrap();
    assert!(refused.contains_key("errorstat_LOADING"), "{refused:?}");
}

/// Trap 18: a lost connection tells nothing of a write, and a read does no harm twice.
#[test]
fn reads_are_asked_again_and_writes_are_not() {
    for how in [Change::Kill, Change::Hang] {
        let (mut pair, _) = pair();
        let front = Front::start(|_| {});
        pair.publish_to(&front);
        let mut clients: Vec<_> = (0..6).map(|_| front.client()).collect();
        assert_eq!(clients[0].ask("SET k v"), "+OK\r\n");
        pair.wait_until_equal();
        pair.primary_mut().stop().unwrap();
        for (i, client) in clients.iter_mut().enumerate() {
            match i % 3 {
                0 => client.say(&["GET k", "INCR n", "GET k"]),
                1 => client.say(&["EXISTS k", "STRLEN k", "MGET k k"]),
                _ => client.say(&["PING", "INCR n", "INCR n"]),
            }
        }
        front.until("all to have asked", |stats| stats.requests == 1 + 6 * 3);
        pair.take_over(how, &front, |_| {});
        for (i, client) in clients.iter_mut().enumerate() {
            let replies = client.texts(3);
            let read = |i: usize| !replies[i].starts_with('-');
            let doubt = |i: usize| replies[i].starts_with(UNKNOWN);
            let right = match i % 3 {
                0 => read(0) && doubt(1) && read(2),
                1 => replies == [":1\r\n", ":1\r\n", "*2\r\n$1\r\nv\r\n$1\r\nv\r\n"],
                _ => doubt(1) && doubt(2),
            };
            assert!(right, "client {i}, {how:?}: {replies:?}");
        }
        assert_eq!(clients[1].ask("EXISTS n"), ":0\r\n");
    }
}

/// Trap 18: a write may have run although nobody heard of it.
#[test]
fn a_write_that_ran_unheard_does_not_run_again() {
    let mut pair = Pair::start();
    let front = Front::start(|_| {});
    let relay = Relay::to(pair.primary().address());
    front.point_at_address(1, relay.address());
    let mut client = front.client();
    assert_eq!(client.ask("INCR n"), ":1\r\n");
    relay.mute();
    client.say(&["INCR n", "APPEND log x"]);
    let ran = || {
        pair.replica()
            .command(&["GET", "log"])
            .is_ok_and(|log| log == "x")
    };
    until(PATIENCE, "the writes to be replicated", ran).unwrap();
    pair.take_over(Change::Kill, &front, |_| {});
    for reply in client.texts(2) {
        assert!(reply.starts_with(UNKNOWN), "{reply}");
    }
    assert_eq!(client.ask("GET n"), "$1\r\n2\r\n");
    assert_eq!(client.ask("STRLEN log"), ":1\r\n");
}

/// Trap 20: whoever waits for an element goes on waiting, at the next primary.
#[test]
fn what_blocks_is_asked_again_after_a_switchover() {
    let (mut pair, front) = pair();
    let lines = [
        ("BLPOP q 0", "RPUSH q x", "*2\r\n$1\r\nq\r\n$1\r\nx\r\n"),
        ("BRPOPLPUSH p r 0", "RPUSH p x", "$1\r\nx\r\n"),
        (
            "BZPOPMIN z 0",
            "ZADD z 1 x",
            "*3\r\n$1\r\nz\r\n$1\r\nx\r\n$1\r\n1\r\n",
        ),
        (
            "XREAD BLOCK 0 STREAMS s 0",
            "XADD s 1-1 f v",
            "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
        ),
    ];
    let mut waiting = lines.map(|(line, ..)| {
        let mut client = front.client();
        client.say(&[line]);
        client
    });
    let mut short = front.client();
    short.say(&["BLPOP never 2", "PING"]);
    until_blocked(&pair, 5);
    pair.take_over(Change::Switchover, &front, |_| {});
    assert_eq!(
        short.texts(2),
        ["*-1\r\n", "+PONG\r\n"],
        "its time is over some day"
    );
    until_blocked(&pair, 4);
    let mut other = front.client();
    for ((_, wakes, expected), client) in lines.iter().zip(&mut waiting) {
        other.ask(wakes);
        assert_eq!(client.text(), *expected);
        assert_eq!(client.ask("PING"), "+PONG\r\n");
    }
}

fn until_blocked(pair: &Pair, count: usize) {
    let blocked = || {
        let info = pair.primary().info("clients");
        info.is_ok_and(|info| info["blocked_clients"] == count.to_string())
    };
    until(PATIENCE, "blocked clients", blocked).expect("in time");
}

/// Trap 21: what waits for a primary never reaches a former one.
#[test]
fn held_writes_do_not_reach_a_former_primary() {
    let (former, next) = (primary(), primary());
    let front = Front::of(&former);
    let mut clients: Vec<_> = (0..10).map(|_| front.client()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("EXISTS held"), ":0\r\n");
    }
    front.point_nowhere(2);
    // Then the proxy knows.
    let alone = || {
        former
            .info("clients")
            .is_ok_and(|info| info["connected_clients"] == "1")
    };
    until(PATIENCE, "the proxy to leave it", alone).unwrap();
    let asked = batch(&["INCR held"]);
    for client in &mut clients {
        client.send(&asked);
    }
    front.until_waiting(10, 10 * asked.len());
    front.point_at(3, &next);
    let mut replies: Vec<_> = clients.iter_mut().map(Client::text).collect();
    replies.sort_unstable();
    let mut expected: Vec<_> = (1..=10).map(|n| format!(":{n}\r\n")).collect();
    expected.sort_unstable();
    assert_eq!(replies, expected);
    assert_eq!(former.command(&["EXISTS", "held"]).unwrap(), "0");
}

/// Trap 22: a script that its clients loaded is known to the next primary as well.
#[test]
fn scripts_are_known_after_a_switchover() {
    let (mut pair, front) = pair();
    let mut client = front.client();
    client.send(&command(&[b"SCRIPT", b"LOAD", b"return ARGV[1]"]));
    let reply = client.text();
    let digest = reply.lines().nth(1).expect("a digest").to_owned();
    let by_digest = format!("EVALSHA {digest} 0 x");
    assert_eq!(client.ask(&by_digest), "$1\r\nx\r\n");
    pair.take_over(Change::Switchover, &front, |_| {});
    assert_eq!(client.ask(&by_digest), "$1\r\nx\r\n");
    let unknown = format!("EVALSHA {} 0", "0".repeat(40));
    assert!(client.ask(&unknown).starts_with("-NOSCRIPT"));
}

/// Trap 23: a subscriber of RESP3 is told that it may have missed something, and hears on.
#[test]
fn subscriptions_of_resp3_are_made_again() {
    for how in [Change::Switchover, Change::Kill] {
        let (mut pair, front) = pair();
        let mut subscriber = front.client();
        assert!(subscriber.ask("HELLO 3").starts_with('%'));
        subscriber.ask("SUBSCRIBE c");
        subscriber.ask("PSUBSCRIBE d*");
        subscriber.ask("SSUBSCRIBE s");
        pair.take_over(how, &front, |_| {});
        let notice = subscriber.text();
        assert!(
            notice.starts_with('>') && !notice.contains("message"),
            "{notice}"
        );
        for publish in ["PUBLISH c x", "PUBLISH d1 x", "SPUBLISH s x"] {
            let receivers = || {
                pair.primary()
                    .command(&publish.split(' ').collect::<Vec<_>>())
            };
            until(PATIENCE, "a receiver", || {
                receivers().is_ok_and(|n| n == "1")
            })
            .unwrap();
            let message = message(&mut subscriber);
            assert!(message.ends_with("$1\r\nx\r\n"), "{publish}: {message}");
        }
        assert_eq!(subscriber.ask("PING"), "+PONG\r\n");
    }
}

/// The next message, after whatever other pushes.
fn message(subscriber: &mut Client) -> String {
    loop {
        let push = subscriber.text();
        assert!(push.starts_with('>'), "{push}");
        if push.contains("message\r\n") {
            return push;
        }
    }
}

/// Trap 23: RESP2 has no words for it.
#[test]
fn subscribers_of_resp2_are_closed() {
    let (mut pair, front) = pair();
    let mut subscriber = front.client();
    subscriber.ask("SUBSCRIBE c");
    let mut left = front.client();
    left.ask("SUBSCRIBE c");
    left.ask("UNSUBSCRIBE c");
    pair.take_over(Change::Switchover, &front, |_| {});
    assert_eq!(subscriber.next(), None);
    assert_eq!(left.ask("SET k v"), "+OK\r\n", "it missed nothing");
}

/// A primary that cuts its clients and refuses them is suspected, before the proxy is told.
#[test]
fn a_fenced_primary_is_suspected() {
    let mut pair = Pair::start();
    let front = Front::start(|config| {
        config.linger = PATIENCE;
        config.pool_warm = 0;
    });
    pair.publish_to(&front);
    let mut client = front.client();
    assert_eq!(client.ask("SET k 1"), "+OK\r\n");
    pair.wait_until_equal();
    let connects = front.stats().connects;
    fence(pair.primary(), &["normal", "pubsub"]);
    // What is sent before the proxy sees the cut is lost with the connection.
    front.until("another connection", |stats| stats.connects > connects);
    client.say(&["SET k 2", "GET k"]);
    front.until("suspicion", |stats| stats.suspected > 0);
    pair.take_over(Change::Switchover, &front, |_| {});
    assert_eq!(client.texts(2), ["+OK\r\n", "$1\r\n2\r\n"]);
}

/// Whoever asks a server that is none waits no longer than it may.
#[test]
fn a_refusal_that_lasts_is_told() {
    let server = fenced();
    let front = Front::start(|config| config.hold = std::time::Duration::from_millis(300));
    front.point_at(1, &server);
    let mut client = front.client();
    assert_eq!(client.ask("GET k"), "$-1\r\n");
    assert!(client.ask("SET k v").starts_with("-READONLY"));
    let replayed = front.stats().replayed;
    assert!(replayed > 0, "it was tried again");
    let script = b"return redis.call('set','k','v')";
    client.send(&command(&[b"EVAL", script, b"0"]));
    // Redis 6.2 wraps what a script was told.
    let refusal = client.text();
    assert!(
        refusal.starts_with('-') && refusal.contains("READONLY"),
        "{refusal}"
    );
    assert_eq!(front.stats().replayed, replayed, "a script is not");
    assert_eq!(client.ask("PING"), "+PONG\r\n");
}

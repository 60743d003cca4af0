//! Transactions (traps 12 and 19).

use crate::support::pair::{Change, Pair};
use crate::support::{Client, Front, PATIENCE};
use crate::{alike, support::command};

/// Trap 12: each command is judged by the server when it is queued.
#[test]
fn transactions_are_judged_by_the_server() {
    let scenes: [&[&str]; 12] = [
        &["MULTI", "SET k 1", "INCR k", "GET k", "EXEC", "GET k"],
        &["MULTI", "SET k", "SET k 2", "EXEC", "GET k"],
        &["MULTI", "nonsense", "EXEC", "PING"],
        &["MULTI", "SET k text", "INCR k", "GET k", "EXEC"],
        &["EXEC", "DISCARD", "MULTI", "MULTI", "DISCARD", "EXEC"],
        &["MULTI", "WATCH k", "EXEC"],
        &[
            "WATCH k", "SET k 3", "MULTI", "GET k", "EXEC", "MULTI", "GET k", "EXEC",
        ],
        &["WATCH k", "SET k 4", "UNWATCH", "MULTI", "GET k", "EXEC"],
        &[
            "WATCH k", "SET k 5", "MULTI", "DISCARD", "MULTI", "GET k", "EXEC",
        ],
        &[
            "MULTI",
            "SELECT 3",
            "SET k three",
            "EXEC",
            "GET k",
            "SELECT 0",
            "GET k",
        ],
        &[
            "MULTI",
            "BLPOP nothing 0",
            "XREAD BLOCK 0 STREAMS s $",
            "EXEC",
        ],
        &[
            "MULTI",
            "MGET a b c",
            "MSET a 1 b 2",
            "MGET a b c",
            "EXEC extra",
            "EXEC",
        ],
    ];
    for scene in scenes {
        // As one batch, too: then the proxy sees EXEC before it knows what MULTI was told.
        for at_once in [false, true] {
            alike(&[], |stage| {
                let mut client = stage.client();
                if at_once {
                    client.say(scene);
                    return client.texts(scene.len());
                }
                client.ask_all(scene)
            });
        }
    }
}

/// Trap 12: a server that is full says so when a write is queued.
#[test]
fn a_full_server_aborts_transactions() {
    let replies = alike(&[], |stage| {
        stage
            .server
            .command(&["CONFIG", "SET", "maxmemory", "1"])
            .unwrap();
        let mut client = stage.client();
        client.ask_all(&["MULTI", "SET k v", "GET k", "EXEC", "SET k v", "GET k"])
    });
    assert!(replies[1].starts_with("-OOM") && replies[3].starts_with("-EXECABORT"));
}

/// What others do between MULTI and EXEC does not get in between, and shows where it is watched.
#[test]
fn transactions_of_many_clients_keep_apart() {
    let replies = alike(&[], |stage| {
        let (mut a, mut b) = (stage.client(), stage.client());
        let mut replies = a.ask_all(&["SET n 0", "WATCH n", "GET n"]);
        replies.extend(b.ask_all(&["WATCH n", "MULTI", "INCR n"]));
        replies.extend(a.ask_all(&["MULTI", "INCRBY n 10", "EXEC"]));
        replies.extend(b.ask_all(&["EXEC", "GET n"]));
        replies.extend(a.ask_all(&["MULTI", "INCR n"]));
        replies.extend(b.ask_all(&["INCR n"]));
        replies.extend(a.ask_all(&["EXEC"]));
        replies
    });
    assert_eq!(
        replies[9..],
        [
            "*-1\r\n",
            "$2\r\n10\r\n",
            "+OK\r\n",
            "+QUEUED\r\n",
            ":11\r\n",
            "*1\r\n:12\r\n"
        ]
    );
}

/// A client whose scene stands open while the primary changes as planned, and what it is told then.
fn through_a_switchover(before: &[&str], after: &[&str]) -> (Vec<String>, Pair) {
    let mut pair = Pair::start();
    let front = Front::start(|config| config.linger = PATIENCE);
    pair.publish_to(&front);
    let mut client = front.client();
    for line in before {
        let reply = client.ask(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    pair.wait_until_equal();
    pair.take_over(Change::Switchover, &front, |_| {});
    let told = after
        .iter()
        .map_while(|line| ask_or_closed(&mut client, line))
        .collect();
    (told, pair)
}

fn ask_or_closed(client: &mut Client, line: &str) -> Option<String> {
    let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
    client.send(&command(&words));
    client
        .next()
        .map(|reply| String::from_utf8_lossy(&reply).into_owned())
}

/// Trap 19: what was watched may have changed unseen.
#[test]
fn exec_behind_watch_is_null_when_the_primary_changed() {
    let (told, pair) = through_a_switchover(
        &["SET k 1", "WATCH k", "GET k", "MULTI", "SET k 2"],
        &["EXEC", "GET k", "MULTI", "INCR k", "EXEC"],
    );
    assert_eq!(
        told,
        [
            "*-1\r\n",
            "$1\r\n1\r\n",
            "+OK\r\n",
            "+QUEUED\r\n",
            "*1\r\n:2\r\n"
        ]
    );
    assert_eq!(pair.primary().command(&["GET", "k"]).unwrap(), "2");
}

/// Trap 19: also when only MULTI comes after the change.
#[test]
fn a_watch_does_not_outlive_its_primary() {
    let (told, _pair) = through_a_switchover(
        &["SET k 1", "WATCH k"],
        &["MULTI", "SET k 2", "EXEC", "GET k"],
    );
    assert_eq!(told, ["+OK\r\n", "+QUEUED\r\n", "*-1\r\n", "$1\r\n1\r\n"]);
}

/// Trap 19: what was only queued did not run, and can be queued again.
#[test]
fn a_transaction_without_watch_moves_to_the_next_primary() {
    let (told, pair) = through_a_switchover(
        &["SET k 1", "MULTI", "INCR k", "INCR k"],
        &["GET k", "EXEC", "GET k"],
    );
    assert_eq!(
        told,
        [
            "+QUEUED\r\n",
            "*3\r\n:2\r\n:3\r\n$1\r\n3\r\n",
            "$1\r\n3\r\n"
        ]
    );
    assert_eq!(pair.primary().command(&["GET", "k"]).unwrap(), "3");
}

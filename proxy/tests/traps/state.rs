//! What belongs to one client stays with it (traps 9 to 11 and 15).

use bellwether_testkit::{Boot, until};

use crate::support::pair::Pair;
use crate::support::{Front, PATIENCE, primary, server};
use crate::{alike, both};

/// Trap 9: database, name and protocol of many clients, by turns.
#[test]
fn clients_keep_apart() {
    both(&[], |stage| {
        let mut clients: Vec<_> = (0..12).map(|_| stage.client()).collect();
        for (c, client) in clients.iter_mut().enumerate() {
            if c % 2 == 0 {
                assert!(client.ask("HELLO 3").starts_with('%'));
            }
            let settings = [
                format!("SELECT {}", c / 2),
                format!("CLIENT SETNAME c{c}"),
                format!("HSET h{c} f {c}"),
                format!("SET shared {}", c / 2),
            ];
            let replies = settings.map(|line| client.ask(&line));
            assert_eq!(replies, ["+OK\r\n", "+OK\r\n", ":1\r\n", "+OK\r\n"]);
        }
        for _ in 0..5 {
            for (c, client) in clients.iter_mut().enumerate() {
                let map = if c % 2 == 0 { "%1" } else { "*2" };
                let (text, database) = (c.to_string(), c / 2);
                let length = text.len();
                let name = format!("c{c}");
                let expected = [
                    format!("{map}\r\n$1\r\nf\r\n${length}\r\n{text}\r\n"),
                    format!("$1\r\n{database}\r\n"),
                    format!("${}\r\n{name}\r\n", name.len()),
                    ":3\r\n".into(),
                ];
                let hgetall = format!("HGETALL h{c}");
                client.say(&[&hgetall, "GET shared", "CLIENT GETNAME", "DBSIZE"]);
                assert_eq!(client.texts(4), expected, "client {c}");
            }
        }
    });
}

/// Trap 9: users, each with its own rights.
#[test]
fn users_keep_their_rights() {
    alike(&["--requirepass", "secret"], |stage| {
        let (mut admin, mut reader, mut nobody) = (stage.client(), stage.client(), stage.client());
        let mut replies = admin.ask_all(&[
            "AUTH secret",
            "ACL SETUSER reader on >pass ~open:* +get +multi +exec +acl|whoami",
            "SET open:k 1",
            "SET closed:k 2",
        ]);
        replies.extend(reader.ask_all(&["AUTH reader pass"]));
        for _ in 0..3 {
            replies.extend(admin.ask_all(&["ACL WHOAMI", "GET closed:k"]));
            replies.extend(reader.ask_all(&[
                "ACL WHOAMI",
                "GET open:k",
                "GET closed:k",
                "SET open:k 3",
                "MULTI",
                "GET closed:k",
                "EXEC",
            ]));
            replies.extend(nobody.ask_all(&["GET open:k", "ACL WHOAMI"]));
        }
        replies.extend(reader.ask_all(&["AUTH secret", "GET closed:k", "AUTH reader wrong"]));
        replies.extend(reader.ask_all(&["ACL WHOAMI", "RESET", "GET open:k"]));
        replies
    });
}

/// Trap 9: a user that is taken away loses its connections, and nobody else does.
#[test]
fn a_user_that_is_deleted_is_out() {
    both(&[], |stage| {
        let server = &stage.server;
        server
            .command(&["ACL", "SETUSER", "guest", "on", ">pass", "~*", "+@all"])
            .unwrap();
        let (mut guest, mut other) = (stage.client(), stage.client());
        assert_eq!(guest.ask("AUTH guest pass"), "+OK\r\n");
        assert_eq!(guest.ask("SET k v"), "+OK\r\n");
        assert_eq!(other.ask("GET k"), "$1\r\nv\r\n");
        server.command(&["ACL", "DELUSER", "guest"]).unwrap();
        guest.say(&["GET k"]);
        let reply = guest
            .next()
            .map(|reply| String::from_utf8_lossy(&reply).into_owned());
        assert!(
            reply.as_ref().is_none_or(|reply| reply.starts_with('-')),
            "{reply:?}"
        );
        assert_eq!(other.ask("GET k"), "$1\r\nv\r\n");
    });
}

/// Trap 9: who comes next finds nothing of who was there before.
#[test]
fn nothing_is_left_behind_in_a_connection() {
    let server = primary();
    let front = Front::of(&server);
    let traces: [&[&str]; 12] = [
        &["SELECT 5"],
        &["CLIENT SETNAME left"],
        &["MULTI", "SET k queued"],
        &["WATCH k"],
        &["SUBSCRIBE c"],
        &["PSUBSCRIBE *"],
        &["SSUBSCRIBE c"],
        &["CLIENT TRACKING ON BCAST", "CLIENT NO-EVICT ON"],
        &["HELLO 3", "CLIENT TRACKING ON", "GET k"],
        &["HELLO 3 AUTH default x SETNAME left"],
        &["MONITOR"],
        &["CLIENT REPLY ON", "SCRIPT DEBUG NO"],
    ];
    for round in 0..3 {
        for trace in traces {
            let mut leaves = front.client();
            for line in trace {
                assert!(!leaves.ask(line).is_empty());
            }
            leaves.say(&["BLPOP never 0"]);
            drop(leaves);
            let mut comes = front.client();
            // Behind a WATCH of another it would be null; in another's MULTI, queued.
            let told = comes.ask_all(&[
                "SET k v",
                "MULTI",
                "GET k",
                "EXEC",
                "CLIENT GETNAME",
                "DBSIZE",
                "PUBLISH c x",
                "HSET h f v",
                "HGETALL h",
                "DEL k h",
            ]);
            let expected = [
                "+OK\r\n",
                "+OK\r\n",
                "+QUEUED\r\n",
                "*1\r\n$1\r\nv\r\n",
                "$-1\r\n",
                ":1\r\n",
                ":0\r\n",
                ":1\r\n",
                "*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
                ":2\r\n",
            ];
            // A subscriber that has just left may still count.
            let told: Vec<_> = told.iter().enumerate().filter(|(i, _)| *i != 6).collect();
            let expected: Vec<_> = expected
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != 6)
                .collect();
            for ((i, told), (_, expected)) in told.iter().zip(&expected) {
                assert_eq!(told, expected, "reply {i} after {trace:?}, round {round}");
            }
        }
    }
    // Commands that blocked for those who left do not take anything.
    until(PATIENCE, "nobody to be blocked", || {
        server
            .info("clients")
            .is_ok_and(|info| info["blocked_clients"] == "0")
    })
    .unwrap();
    let mut client = front.client();
    assert_eq!(client.ask("RPUSH never x"), ":1\r\n");
    assert_eq!(client.ask("LLEN never"), ":1\r\n");
}

/// Trap 10: replies that are not wanted, while others want theirs.
#[test]
fn client_reply_silences_only_its_client() {
    let replies = alike(&[], |stage| {
        let (mut silent, mut other) = (stage.client(), stage.client());
        let mut replies = Vec::new();
        for n in 0..10 {
            silent.say(&["CLIENT REPLY SKIP", "SET skipped 1", &format!("ECHO a{n}")]);
            silent.say(&["CLIENT REPLY OFF", "INCR n", "GET n", "nonsense", "INCR n"]);
            silent.say(&[
                "CLIENT REPLY SKIP",
                "CLIENT REPLY ON",
                &format!("ECHO b{n}"),
            ]);
            other.say(&[&format!("ECHO c{n}"), "PING"]);
            replies.extend(other.texts(2));
            replies.extend(silent.texts(3));
        }
        replies.extend(other.ask_all(&["GET n", "GET skipped"]));
        replies
    });
    assert_eq!(replies[2..5], ["$2\r\na0\r\n", "+OK\r\n", "$2\r\nb0\r\n"]);
    assert_eq!(replies[50..], ["$2\r\n20\r\n", "$1\r\n1\r\n"]);
}

/// Trap 11: RESET undoes everything.
#[test]
fn reset_resets() {
    alike(&["--requirepass", "secret"], |stage| {
        let mut replies = Vec::new();
        for state in [
            "MULTI",
            "WATCH k",
            "SUBSCRIBE c",
            "MONITOR",
            "SELECT 4",
            "CLIENT SETNAME x",
        ] {
            let mut client = stage.client();
            replies.extend(client.ask_all(&["AUTH secret", state]));
            if state == "MONITOR" {
                // What it would see of others depends on when they come.
                client.say(&["RESET"]);
                while client.text() != "+RESET\r\n" {}
            } else {
                replies.push(client.ask("RESET"));
            }
            let after = [
                "GET k",
                "AUTH secret",
                "CLIENT GETNAME",
                "SET k v",
                "EXEC",
                "PING",
            ];
            replies.extend(client.ask_all(&after));
        }
        let mut client = stage.client();
        client.ask("HELLO 3 AUTH default secret");
        replies.extend(client.ask_all(&["SELECT 2", "SET in2 x", "RESET", "AUTH secret"]));
        replies.extend(client.ask_all(&["HGETALL none", "EXISTS in2", "GET none"]));
        replies
    });
}

/// Trap 11: QUIT is answered behind what was asked before it, and nothing behind it is.
#[test]
fn quit_comes_last() {
    let replies = alike(&[], |stage| {
        let mut client = stage.client();
        client.say(&[
            "SET k v",
            "GET k",
            "nonsense",
            "MULTI",
            "GET k",
            "QUIT",
            "SET k later",
        ]);
        let mut replies = client.texts_to_the_end();
        replies.extend(stage.client().ask_all(&["GET k"]));
        replies
    });
    assert_eq!(replies.last().unwrap(), "$1\r\nv\r\n");
}

/// Trap 15: WAIT is about the writes of its client, wherever they were sent.
#[test]
fn wait_waits() {
    let mut pair = Pair::start();
    let front = Front::start(|_| {});
    pair.publish_to(&front);
    let (mut client, mut other) = (front.client(), front.client());
    for n in 1..=3 {
        assert_eq!(client.ask("SET k v"), "+OK\r\n");
        assert_eq!(client.ask("WAIT 1 0"), ":1\r\n");
        pair.replica_mut().stop().unwrap();
        client.say(&["INCR n", "WAIT 1 100"]);
        assert_eq!(client.text(), format!(":{n}\r\n"));
        assert_eq!(client.text(), ":0\r\n", "the replica does not have it");
        client.say(&["INCR m", "WAIT 1 0"]);
        assert_eq!(client.text(), format!(":{n}\r\n"));
        assert_eq!(other.ask("SET other v"), "+OK\r\n", "nobody else waits");
        pair.replica_mut().cont().unwrap();
        assert_eq!(client.text(), ":1\r\n");
        let there = pair.replica().command(&["GET", "m"]).unwrap();
        assert_eq!(there, n.to_string(), "the replica has it");
    }
}

/// Trap 15: whoever wrote nothing does not wait.
#[test]
fn wait_without_a_write_does_not_wait() {
    let server = server(Boot::Plain, &[]);
    let front = Front::of(&server);
    let mut client = front.client();
    assert_eq!(client.ask("GET k"), "$-1\r\n");
    assert_eq!(client.ask("WAIT 0 0"), ":0\r\n");
    assert_eq!(client.ask("WAIT 1 50"), ":0\r\n");
    assert!(client.ask("WAIT x 0").starts_with("-ERR"));
    assert!(client.ask("WAIT 1 -1").starts_with("-ERR"));
}

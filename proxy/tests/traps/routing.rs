//! Which server gets a command, and what is known of commands (traps 1 to 4 and 8).

use std::collections::BTreeSet;

use crate::support::pair::Pair;
use crate::support::{Client, Front, command};
use crate::{Stage, alike};

/// Traps 1 and 2: what is not known to only read goes to the primary, whatever replicas there are.
#[test]
fn what_may_write_goes_to_the_primary() {
    let pair = Pair::start();
    let front = Front::start(|_| {});
    pair.publish_to(&front);
    let mut client = front.client();
    for round in 0..10 {
        let script = format!("return redis.call('incr','n{round}')");
        client.send(&command(&[b"EVAL", script.as_bytes(), b"0"]));
        assert_eq!(client.text(), ":1\r\n");
        let lines = [
            format!("GETSET s{round} v"),
            format!("XADD stream{round} 1-1 f v"),
            format!("PFADD p{round} x"),
            format!("PFCOUNT p{round}"),
            format!("GETEX s{round} EX 1000"),
            format!("BITFIELD b{round} INCRBY u8 0 1"),
            format!("SORT none STORE sorted{round}"),
        ];
        let replies = client.ask_all(&lines.each_ref().map(String::as_str));
        let expected = [
            "$-1\r\n",
            "$3\r\n1-1\r\n",
            ":1\r\n",
            ":1\r\n",
            "$1\r\nv\r\n",
            "*1\r\n:1\r\n",
            ":0\r\n",
        ];
        assert_eq!(replies, expected);
        let unknown = client.ask("nonsense a b");
        assert!(unknown.starts_with("-ERR unknown command"), "{unknown}");
    }
}

/// Trap 3: reading a stream blocks only when it says so, and then only its client.
#[test]
fn what_blocks_depends_on_the_arguments() {
    let scene = |stage: &Stage| {
        let (mut waits, mut other) = (stage.client(), stage.client());
        let mut replies = other.ask_all(&[
            "XREAD COUNT 1 STREAMS BLOCK 0",
            "XADD BLOCK 1-1 f v",
            "XREAD STREAMS BLOCK 0",
            "XGROUP CREATE s BLOCK 0 MKSTREAM",
            "XREADGROUP GROUP BLOCK me STREAMS s >",
        ]);
        let blocking = [
            ("XREAD BLOCK 0 STREAMS new $", "XADD new 1-1 f v"),
            ("xread count 2 block 0 streams new $", "XADD new 1-2 f v"),
            (
                "XREADGROUP GROUP BLOCK me BLOCK 0 STREAMS s >",
                "XADD s 1-1 f v",
            ),
            ("BLPOP a b 0", "RPUSH b x"),
            ("BRPOPLPUSH a c 0", "RPUSH a y"),
            ("BLMOVE a c LEFT RIGHT 0", "RPUSH a z"),
            ("BLMPOP 0 2 a b LEFT", "RPUSH b w"),
            ("BZPOPMIN z 0", "ZADD z 1 m"),
            ("BZMPOP 0 1 z MAX", "ZADD z 2 m"),
        ];
        for (line, wakes) in blocking {
            waits.say(&[line, "PING"]);
            stage.until_blocked(1);
            replies.extend(other.ask_all(&["SET k v", "GET k", wakes]));
            replies.extend(waits.texts(2));
        }
        replies.extend(waits.ask_all(&[
            "BLPOP none 0.01",
            "XREAD BLOCK 10 STREAMS none $",
            "PING",
        ]));
        replies
    };
    alike(&[], scene);
}

/// Trap 4: a cursor means something only to the server that gave it.
#[test]
fn a_scan_finds_everything() {
    let pair = Pair::start();
    let front = Front::start(|_| {});
    pair.publish_to(&front);
    let mut clients = [front.client(), front.client()];
    let elements: Vec<_> = (0..1000).map(|n| format!("key:{n}")).collect();
    let pairs = elements
        .iter()
        .map(|key| format!("{key} 1"))
        .collect::<Vec<_>>()
        .join(" ");
    let scored = elements
        .iter()
        .map(|key| format!("1 {key}"))
        .collect::<Vec<_>>()
        .join(" ");
    for line in [
        format!("MSET {pairs}"),
        format!("HSET hash {pairs}"),
        format!("SADD set {}", elements.join(" ")),
        format!("ZADD zset {scored}"),
    ] {
        assert!(!clients[0].ask(&line).starts_with('-'));
    }
    pair.wait_until_equal();
    for (line, doubled) in [
        ("SCAN", false),
        ("HSCAN hash", true),
        ("SSCAN set", false),
        ("ZSCAN zset", true),
    ] {
        let mut found = BTreeSet::new();
        let mut cursor = String::from("0");
        for client in [0, 1].into_iter().cycle() {
            let page = page(&mut clients[client], &format!("{line} {cursor} COUNT 50"));
            let mut words = page.into_iter();
            cursor = words.next().expect("a cursor");
            found.extend(words.step_by(if doubled { 2 } else { 1 }));
            if cursor == "0" {
                break;
            }
        }
        let missing: Vec<_> = elements
            .iter()
            .filter(|key| !found.contains(*key))
            .collect();
        assert!(missing.is_empty(), "{line} lacks {missing:?}");
    }
}

/// The cursor, and the elements behind it.
fn page(client: &mut Client, line: &str) -> Vec<String> {
    let reply = client.ask(line);
    let words = reply.lines().filter(|word| !word.starts_with(['*', '$']));
    words.map(str::to_owned).collect()
}

/// Trap 8: what a server tells of itself is told by a server, and renamed commands are as they were
/// renamed.
#[test]
fn servers_answer_for_themselves() {
    alike(&["--maxmemory", "123456789"], |stage| {
        let mut client = stage.client();
        let mut replies = client.ask_all(&[
            "CONFIG GET maxmemory",
            "CONFIG SET maxmemory 234567890",
            "CONFIG GET maxmemory",
            "SET k v",
            "OBJECT ENCODING k",
            "OBJECT FREQ k",
            "OBJECT HELP",
            "MEMORY USAGE k",
            "COMMAND COUNT",
            "COMMAND GETKEYS MSET a 1 b 2",
            "COMMAND INFO get",
            "SLOWLOG LEN",
            "DEBUG SLEEP 0",
            "LATENCY RESET",
            "ACL WHOAMI",
            "DBSIZE",
            "TYPE k",
            "CLUSTER INFO",
            "LOLWUT VERSION 1 a",
            "FUNCTION LIST",
            "SCRIPT EXISTS abc",
        ]);
        let info = client.ask("INFO server");
        replies.push(
            info.contains(&format!("tcp_port:{}", stage.server.port()))
                .to_string(),
        );
        replies
    });
}

#[test]
fn renamed_commands_keep_their_nature() {
    let renamed = [
        "--rename-command",
        "BLPOP",
        "WAITPOP",
        "--rename-command",
        "MULTI",
        "BEGIN",
        "--rename-command",
        "EXEC",
        "COMMIT",
        "--rename-command",
        "FLUSHALL",
        "",
        "--rename-command",
        "SUBSCRIBE",
        "LISTEN",
        "--rename-command",
        "SELECT",
        "USE",
    ];
    alike(&renamed, |stage| {
        let (mut client, mut other) = (stage.client(), stage.client());
        let mut replies = client.ask_all(&["FLUSHALL", "BLPOP q 0", "MULTI", "SELECT 1"]);
        client.say(&["WAITPOP q 0"]);
        stage.until_blocked(1);
        replies.extend(other.ask_all(&["SET k 1", "GET k", "RPUSH q x"]));
        replies.push(client.text());
        replies.extend(client.ask_all(&["BEGIN", "INCR k"]));
        replies.extend(other.ask_all(&["INCR k", "GET k"]));
        replies.extend(client.ask_all(&["GET k", "COMMIT", "USE 3", "GET k", "SET k 3"]));
        replies.extend(other.ask_all(&["GET k"]));
        replies.extend(client.ask_all(&["LISTEN c"]));
        replies.extend(other.ask_all(&["PUBLISH c hello", "GET k"]));
        replies.push(client.text());
        replies
    });
}

//! Bytes: what is a request, and what is none (traps 25 to 27).

use std::io::Write;

use crate::alike;
use crate::support::{Front, command, primary};

/// Sends these bytes, and returns all that is answered until the connection is closed.
fn answers(args: &[&str], bytes: &[u8]) -> Vec<String> {
    alike(args, |stage| {
        let mut client = stage.client();
        client.send(bytes);
        client.texts_to_the_end()
    })
}

/// Trap 25: what is no request is answered in Redis's words, behind the replies that are due.
#[test]
fn protocol_errors_are_those_of_redis() {
    for broken in [
        "*1\r\n+x\r\n",
        "*1\r\n:1\r\n",
        "*x\r\n",
        "*\r\n",
        "*2147483648\r\n",
        "*99999999999999999999\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$99999999999999999999\r\n",
        "*2\r\n$4\r\nECHO\r\n*1\r\n",
        "SET \"a\r\n",
        "SET 'a\r\n",
        "SET \"a\"b c\r\n",
    ] {
        let replies = answers(&[], format!("PING\r\n{broken}").as_bytes());
        assert_eq!(replies[0], "+PONG\r\n");
        let error = "-ERR Protocol error: ";
        assert!(replies[1].starts_with(error), "{broken:?}: {replies:?}");
    }
}

/// Trap 25: lines without an end.
#[test]
fn endless_lines_are_refused() {
    let long = vec![b'x'; 70 << 10];
    let inline = answers(&[], &long);
    assert_eq!(inline, ["-ERR Protocol error: too big inline request\r\n"]);
    let count = answers(&[], &[b"*".as_slice(), &[b'1'; 70 << 10]].concat());
    assert_eq!(
        count,
        ["-ERR Protocol error: too big mbulk count string\r\n"]
    );
    let length = answers(&[], &[b"*1\r\n$".as_slice(), &[b'1'; 70 << 10]].concat());
    assert_eq!(
        length,
        ["-ERR Protocol error: too big bulk count string\r\n"]
    );
}

/// Trap 25: whoever has not said who it is may not make the proxy keep much.
#[test]
fn before_authentication_little_is_read() {
    let password = ["--requirepass", "secret"];
    let many = answers(&password, b"*11\r\n");
    assert_eq!(
        many,
        ["-ERR Protocol error: unauthenticated multibulk length\r\n"]
    );
    let long = answers(&password, b"*2\r\n$4\r\nECHO\r\n$16385\r\n");
    assert_eq!(
        long,
        ["-ERR Protocol error: unauthenticated bulk length\r\n"]
    );
    alike(&password, |stage| {
        let mut client = stage.client();
        let mut replies = client.ask_all(&["GET k", "PING", "AUTH wrong", "AUTH secret"]);
        replies.extend(client.ask_all(&["MGET 1 2 3 4 5 6 7 8 9 10 11"]));
        client.send(&command(&[b"ECHO", &[b'x'; 20_000]]));
        replies.push(client.text());
        client.send(b"*1\r\n+x\r\n");
        replies.extend(client.texts_to_the_end());
        replies
    });
}

/// Trap 26: nothing is reserved for what is only announced, and nobody waits for it.
#[test]
fn a_slow_upload_holds_up_nobody() {
    let server = primary();
    let front = Front::of(&server);
    let mut slow: Vec<_> = (0..8).map(|_| front.client()).collect();
    for (i, client) in slow.iter_mut().enumerate() {
        let size = [500 << 20, 40_000][i % 2];
        let header = format!("*3\r\n$3\r\nSET\r\n$1\r\n{i}\r\n${size}\r\n");
        client.send(&[header.as_bytes(), &[b'x'; 39_000]].concat());
    }
    let mut others: Vec<_> = (0..20).map(|_| front.client()).collect();
    for n in 1..=20 {
        for other in &mut others {
            assert!(other.number("INCR n") > 20 * (n - 1));
        }
    }
    for (i, client) in slow.iter_mut().enumerate().filter(|(i, _)| i % 2 == 1) {
        client.send(&[b'x'; 1000]);
        client.send(b"\r\n");
        assert_eq!(client.text(), "+OK\r\n");
        assert_eq!(client.ask(&format!("STRLEN {i}")), ":40000\r\n");
    }
}

/// Trap 26: a value that streams through does not lose its place among others.
#[test]
fn large_values_keep_their_place() {
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    let large: Vec<_> = (0..20)
        .map(|i| vec![b'a' + i; 20_000 * usize::from(i)])
        .collect();
    let mut writer = client.stream.try_clone().unwrap();
    let requests: Vec<u8> = (large.iter())
        .flat_map(|large| {
            [
                command(&[b"SET", b"k", large]),
                command(&[b"STRLEN", b"k"]),
                command(&[b"SET", b"k", b"small"]),
                command(&[b"GET", b"k"]),
            ]
            .concat()
        })
        .collect();
    let sender = std::thread::spawn(move || writer.write_all(&requests).unwrap());
    for large in &large {
        let replies = client.texts(4);
        let length = format!(":{}\r\n", large.len());
        assert_eq!(replies, ["+OK\r\n", &length, "+OK\r\n", "$5\r\nsmall\r\n"]);
    }
    sender.join().unwrap();
}

/// Trap 27: inline requests, with quotes and escapes, ended by LF alone, and lines that say nothing.
#[test]
fn inline_requests_are_read_as_redis_reads_them() {
    let replies = alike(&[], |stage| {
        let mut client = stage.client();
        client.send(b"\r\n\n  \r\n*0\r\n*-1\r\n*-5\r\n");
        client.send(b"SET 'a b' \"\\x00\\xff\\n\\t\\\"\\\\\"\n");
        client.send(b"GET \"a b\"\r\n");
        client.send(b"SET c 'it\\'s \\n'\r\n  get   c  \r\n");
        client.send(b"SET '' \"\"\r\nGET ''\r\n");
        client.send(b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\nPING x\r\n");
        client.texts(8)
    });
    assert_eq!(replies[7], "$1\r\nx\r\n");
}

/// Trap 27: types of RESP3, and attributes, maps and sets within each other.
#[test]
fn every_type_of_resp3_passes() {
    alike(&[], |stage| {
        let mut client = stage.client();
        let hello = client.ask("HELLO 3");
        assert!(hello.starts_with('%') && hello.contains("proto"), "{hello}");
        [
            "string", "integer", "double", "null", "array", "set", "map", "attrib", "bignum",
            "true", "false", "verbatim",
        ]
        .map(|kind| client.ask(&format!("DEBUG PROTOCOL {kind}")))
        .into()
    });
    let nested = alike(&[], |stage| {
        let mut client = stage.client();
        client.ask("HELLO 3");
        let script = b"redis.setresp(3) return {1, {2, {3, {map={a={b={}}}}}}, {double=1.5}}";
        client.send(&command(&[b"EVAL", script, b"0"]));
        vec![client.text(), client.ask("PING")]
    });
    assert_eq!(nested[1], "+PONG\r\n");
}

//! Requests compared with what a real redis-server makes of the same bytes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bellwether_resp::{Decoder, Limits, RequestError, RequestScanner, Value};
use bellwether_testkit::{Boot, Options, Redis};
use bytes::BytesMut;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

mod arbitrary;

/// One plain connection.
struct Client {
    stream: TcpStream,
    input: BytesMut,
    decoder: Decoder,
}

impl Client {
    fn connect(server: &Redis) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        Self {
            stream,
            input: BytesMut::new(),
            decoder: Decoder::new(Limits::CONTROL),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn reply(&mut self) -> Value {
        loop {
            if let Some(value) = self.decoder.decode(&mut self.input).unwrap() {
                return value;
            }
            let mut piece = [0; 4096];
            let n = self.stream.read(&mut piece).unwrap();
            assert!(n > 0, "the server closed the connection");
            self.input.extend_from_slice(&piece[..n]);
        }
    }
}

fn server() -> Redis {
    Redis::start(Options {
        boot: Boot::Plain,
        ..Options::default()
    })
    .unwrap()
}

fn scan(input: &[u8]) -> (RequestScanner, Result<Option<usize>, RequestError>) {
    scan_within(Limits::default(), input)
}

fn scan_within(
    limits: Limits,
    input: &[u8],
) -> (RequestScanner, Result<Option<usize>, RequestError>) {
    let mut scanner = RequestScanner::new(limits);
    let scanned = scanner.scan(input);
    (scanner, scanned)
}

/// The server splits the line, a script returns its arguments.
#[test]
fn inline_arguments_are_the_same() {
    let server = server();
    let line = "[ab\"'\\\\x4Fn \t]{0,14}|[^\\x00]{0,8}|[\"'][\\x01-\\x7f]{0,8}[\"']";
    // Shrinking stays short, because a case in which the server waits takes long.
    let mut runner = TestRunner::new(ProptestConfig {
        max_shrink_iters: 8,
        failure_persistence: None,
        ..arbitrary::config()
    });
    let client = std::cell::RefCell::new(Client::connect(&server));
    let compare = |tail: String| {
        let line = format!("EVAL \"return ARGV\" 0 {}\r\n", tail.replace('\n', "\\n"));
        let mut client = client.borrow_mut();
        client.write(line.as_bytes());
        match scan(line.as_bytes()) {
            (mut scanner, Ok(Some(_))) => {
                let args = scanner.take_inline().unwrap().split_off(3);
                let args = args.into_iter().map(|arg| Value::Bulk(arg.into()));
                prop_assert_eq!(client.reply(), Value::Array(args.collect()));
            }
            (_, Err(error)) => {
                let reply = client.reply();
                prop_assert_eq!(reply.error().unwrap().to_string(), format!("ERR {error}"));
                *client = Client::connect(&server);
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    };
    runner.run(&line, compare).unwrap();
}

#[test]
fn broken_requests_get_the_same_error() {
    let server = server();
    for input in [
        "*x\r\n",
        "*\r\n",
        "*01\r\n",
        "*+1\r\n",
        "*-0\r\n",
        "*2147483648\r\n",
        "*99999999999999999999\r\n",
        "*1\r\n:1\r\n",
        "*1\r\nX\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$+1\r\n",
        "*1\r\n$01\r\n",
        "*1\r\n$536870913\r\n",
        "'a\r\n",
        "\"a\"b\r\n",
    ] {
        let (_, scanned) = scan(input.as_bytes());
        let error = scanned.expect_err(input);
        let mut client = Client::connect(&server);
        client.write(input.as_bytes());
        let reply = client.reply();
        assert_eq!(
            reply.error().unwrap().to_string(),
            format!("ERR {error}"),
            "{input:?}"
        );
    }
}

/// Of NUL the server does not see the end of the line, and waits.
#[test]
fn the_byte_in_place_of_an_argument_is_shown_alike() {
    let server = server();
    for byte in (1..128_u8).filter(|byte| *byte != b'$') {
        let input = [b"*1\r\n", [byte].as_slice(), b"\r\n"].concat();
        let (_, scanned) = scan(&input);
        let mut client = Client::connect(&server);
        client.write(&input);
        let reply = client.reply();
        assert_eq!(
            reply.error().unwrap().to_string(),
            format!("ERR {}", scanned.unwrap_err()),
        );
    }
}

#[test]
fn overlong_lines_get_the_same_error() {
    let server = server();
    for start in ["*", "*1\r\n$", "x"] {
        let input = format!("{start}{}", "1".repeat(70_000));
        let (_, scanned) = scan(input.as_bytes());
        let error = scanned.expect_err(start);
        let mut client = Client::connect(&server);
        client.write(input.as_bytes());
        let reply = client.reply();
        assert_eq!(
            reply.error().unwrap().to_string(),
            format!("ERR {error}"),
            "{start:?}"
        );
    }
}

/// What the scanner calls empty, the server does not answer.
#[test]
fn empty_requests_get_no_answer() {
    let server = server();
    let mut client = Client::connect(&server);
    for input in ["*0\r\n", "*-1\r\n", "*-77\r\n", "\r\n", "\n", " \t \r\n"] {
        let (scanner, scanned) = scan(input.as_bytes());
        assert_eq!(scanned, Ok(Some(input.len())));
        assert!(scanner.is_empty(), "{input:?}");
        client.write(input.as_bytes());
        client.write(b"ECHO next\r\n");
        assert_eq!(client.reply(), Value::Bulk("next".into()), "{input:?}");
    }
}

/// A request is refused before authentication as the server refuses it, and
/// afterwards as by then.
#[test]
fn limits_before_authentication_are_the_same() {
    let server = Redis::start(Options {
        boot: Boot::Plain,
        password: Some("secret".into()),
        ..Options::default()
    })
    .unwrap();
    let bulk = |length: usize| format!("*1\r\n${length}\r\n{}\r\n", "x".repeat(length));
    use RequestError as E;
    for (input, before, after) in [
        ("*11\r\n".into(), Some(E::UnauthenticatedMultibulk), None),
        (
            "*2147483647\r\n".into(),
            Some(E::UnauthenticatedMultibulk),
            None,
        ),
        (
            "*2147483648\r\n".into(),
            Some(E::MultibulkLength),
            Some(E::MultibulkLength),
        ),
        (
            "*10\r\n$16385\r\n".into(),
            Some(E::UnauthenticatedBulk),
            None,
        ),
        (
            "*1\r\n$536870912\r\n".into(),
            Some(E::UnauthenticatedBulk),
            None,
        ),
        (
            "*1\r\n$536870913\r\n".into(),
            Some(E::BulkLength),
            Some(E::BulkLength),
        ),
        (
            "*1\r\n$-1\r\n".into(),
            Some(E::BulkLength),
            Some(E::BulkLength),
        ),
        (format!("*10\r\n{}", "$1\r\nx\r\n".repeat(10)), None, None),
        (bulk(16_384), None, None),
        (format!("{}\r\n", "x ".repeat(20)), None, None),
    ] {
        let input: String = input;
        let mut client = Client::connect(&server);
        compare(&mut client, Limits::UNAUTHENTICATED, &input, before);
        let mut client = Client::connect(&server);
        client.write(b"AUTH secret\r\n");
        assert_eq!(client.reply(), Value::Simple("OK".into()));
        compare(&mut client, Limits::default(), &input, after);
    }
}

/// Scanner and server refuse the input with this error, or both accept it.
fn compare(client: &mut Client, limits: Limits, input: &str, expected: Option<RequestError>) {
    let (_, scanned) = scan_within(limits, input.as_bytes());
    assert_eq!(scanned.err(), expected, "{input:?}");
    client.write(input.as_bytes());
    if scanned == Ok(None) {
        // The server waits for the rest and says nothing.
        return;
    }
    let reply = client.reply();
    let reply = reply.error().unwrap().to_string();
    match expected {
        Some(error) => assert_eq!(reply, format!("ERR {error}"), "{input:?}"),
        None => assert!(!reply.contains("Protocol error"), "{input:?}: {reply}"),
    }
}

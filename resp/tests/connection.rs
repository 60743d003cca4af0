//! The connection against a real redis-server, and against servers that misbehave.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::future::Future;
use std::time::Duration;

use bellwether_resp::{
    Cause, Command, ConnectOptions, Connection, Credentials, Error, Protocol, ScanError, Value,
};
use bellwether_testkit::{Boot, Options, Redis, ports, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// What DEBUG PROTOCOL answers.
#[expect(clippy::approx_constant, reason = "it is Redis's constant")]
const DOUBLE: f64 = 3.141;
/// How long what should happen at once may take on an overloaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn server(args: &[&str]) -> Redis {
    let args = args.iter().map(ToString::to_string).collect();
    Redis::start(Options {
        boot: Boot::Plain,
        args,
        ..Options::default()
    })
    .unwrap()
}

fn patient() -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.connect_timeout = PATIENCE;
    options.command_timeout = PATIENCE;
    options
}

fn resp3() -> ConnectOptions {
    let mut options = patient();
    options.protocol = Protocol::Resp3;
    options
}

fn login(mut options: ConnectOptions, user: Option<&str>, password: &str) -> ConnectOptions {
    options.credentials = Some(Credentials {
        user: user.map(str::to_owned),
        password: password.into(),
    });
    options
}

async fn connect(server: &Redis, options: &ConnectOptions) -> Result<Connection, Error> {
    Connection::connect("127.0.0.1", server.port(), options).await
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens soon")
}

fn clients(server: &Redis) -> String {
    server.command(&["CLIENT", "LIST"]).unwrap()
}

#[tokio::test]
async fn commands_and_pipelines_are_answered_in_order() {
    let server = server(&[]);
    let connection = connect(&server, &patient()).await.unwrap();
    let pong = connection.send(Command::new("PING")).await.unwrap();
    assert_eq!(pong.as_str(), Some("PONG"));
    let echoes = (0..500).map(|n| Command::new("ECHO").arg(n)).collect();
    let replies = connection.pipeline(echoes).await.unwrap();
    let echoed: Vec<_> = replies.iter().map(Value::as_int).collect();
    assert_eq!(echoed, (0..500).map(Some).collect::<Vec<_>>());
    assert_eq!(connection.pipeline(vec![]).await.unwrap(), vec![]);
    assert_eq!(connection.protocol(), Protocol::Resp2);
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn many_handles_share_a_connection() {
    let server = server(&[]);
    let connection = connect(&server, &patient()).await.unwrap();
    let tasks = (0..300).map(|n| {
        let connection = connection.clone();
        tokio::spawn(async move {
            let transaction = vec![
                Command::new("MULTI"),
                Command::new("ECHO").arg(n),
                Command::new("EXEC"),
            ];
            let mut replies = connection.pipeline(transaction).await.unwrap();
            let echoed = replies.pop().unwrap().into_array().unwrap();
            assert_eq!(echoed[0].as_int(), Some(n));
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn error_replies_are_values() {
    let server = server(&[]);
    let connection = connect(&server, &patient()).await.unwrap();
    let reply = connection.send(Command::new("NOSUCH")).await.unwrap();
    assert_eq!(reply.error().unwrap().code(), "ERR");
    assert!(matches!(reply.into_result(), Err(Error::Server(_))));
}

#[tokio::test]
async fn the_password_is_checked() {
    let server = server(&["--requirepass", "right"]);
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut options = patient();
        options.protocol = protocol;
        let wrong = connect(&server, &login(options.clone(), None, "wrong")).await;
        assert!(
            matches!(&wrong, Err(Error::Auth(e)) if e.code() == "WRONGPASS"),
            "{wrong:?}"
        );
        let right = connect(&server, &login(options, None, "right"))
            .await
            .unwrap();
        assert!(
            right
                .send(Command::new("PING"))
                .await
                .unwrap()
                .error()
                .is_none()
        );
        assert_eq!(right.protocol(), protocol);
    }
    let mute = connect(&server, &patient()).await.unwrap();
    let refused = mute.send(Command::new("PING")).await.unwrap();
    assert_eq!(refused.error().unwrap().code(), "NOAUTH");
    let mute = connect(&server, &resp3()).await;
    assert!(matches!(mute, Err(Error::Auth(_))), "{mute:?}");
}

#[tokio::test]
async fn a_password_that_the_server_does_not_want_is_an_error() {
    let server = server(&[]);
    let refused = connect(&server, &login(patient(), None, "any")).await;
    assert!(matches!(refused, Err(Error::Auth(_))), "{refused:?}");
}

#[tokio::test]
async fn users_of_the_acl_log_in() {
    let server = server(&["--user", "agent", "on", ">secret", "~*", "+@all"]);
    for options in [patient(), resp3()] {
        let wrong = connect(&server, &login(options.clone(), Some("agent"), "x")).await;
        assert!(matches!(wrong, Err(Error::Auth(_))), "{wrong:?}");
        let right = login(options, Some("agent"), "secret");
        let connection = connect(&server, &right).await.unwrap();
        let who = connection
            .send(Command::new("ACL").arg("WHOAMI"))
            .await
            .unwrap();
        assert_eq!(who.as_str(), Some("agent"));
    }
}

#[tokio::test]
async fn the_client_name_is_set() {
    let server = server(&[]);
    for mut options in [patient(), resp3()] {
        options.client_name = Some("bellwether".to_owned());
        let connection = connect(&server, &options).await.unwrap();
        let name = connection
            .send(Command::new("CLIENT").arg("GETNAME"))
            .await
            .unwrap();
        assert_eq!(name.as_str(), Some("bellwether"));
        options.client_name = Some("not allowed".to_owned());
        connect(&server, &options)
            .await
            .expect("a refused name does not matter");
    }
}

#[tokio::test]
async fn resp3_has_its_types() {
    let server = server(&[]);
    let connection = connect(&server, &resp3()).await.unwrap();
    assert_eq!(connection.protocol(), Protocol::Resp3);
    let config = Command::new("CONFIG").arg("GET").arg("port");
    let config = connection.send(config).await.unwrap();
    let Value::Map(pairs) = config else {
        panic!("{config:?}");
    };
    assert_eq!(pairs[0].1.as_int(), Some(i64::from(server.port())));
    for (name, expected) in [
        ("null", Value::Null),
        ("true", Value::Bool(true)),
        ("double", Value::Double(DOUBLE)),
        (
            "verbatim",
            Value::Verbatim {
                format: *b"txt",
                text: "This is a verbatim\nstring".into(),
            },
        ),
        (
            "set",
            Value::Set(vec![Value::Int(0), Value::Int(1), Value::Int(2)]),
        ),
        (
            "attrib",
            Value::Attributed(
                vec![(
                    Value::Bulk("key-popularity".into()),
                    Value::Array(vec![Value::Bulk("key:123".into()), Value::Int(90)]),
                )],
                Box::new(Value::Bulk(
                    "Some real reply following the attribute".into(),
                )),
            ),
        ),
    ] {
        let asked = Command::new("DEBUG").arg("PROTOCOL").arg(name);
        assert_eq!(connection.send(asked).await.unwrap(), expected);
    }
    let big = Command::new("DEBUG").arg("PROTOCOL").arg("bignum");
    let big = connection.send(big).await.unwrap();
    assert!(matches!(big, Value::BigNumber(_)), "{big:?}");
}

#[tokio::test]
async fn a_server_without_hello_is_spoken_to_in_resp2() {
    let server = server(&["--rename-command", "HELLO", "", "--requirepass", "pw"]);
    let connection = connect(&server, &login(resp3(), None, "pw")).await.unwrap();
    assert_eq!(connection.protocol(), Protocol::Resp2);
    assert!(
        connection
            .send(Command::new("SET").arg("k").arg("v"))
            .await
            .unwrap()
            .is_ok()
    );
}

#[tokio::test]
async fn push_messages_come_apart_from_replies() {
    let server = server(&[]);
    let connection = connect(&server, &resp3()).await.unwrap();
    let mut pushes = connection.take_pushes().unwrap();
    assert!(connection.clone().take_pushes().is_none());
    let track = Command::new("CLIENT")
        .arg("TRACKING")
        .arg("ON")
        .arg("BCAST");
    assert!(connection.send(track).await.unwrap().is_ok());
    for n in 0..50 {
        let set = Command::new("SET").arg("k").arg(n);
        assert!(connection.send(set).await.unwrap().is_ok());
        let get = connection.send(Command::new("GET").arg("k")).await.unwrap();
        assert_eq!(get.as_int(), Some(n));
        let push = soon(pushes.next()).await.unwrap();
        assert_eq!(push.as_array().unwrap()[0].as_str(), Some("invalidate"));
    }
    assert_eq!(pushes.dropped(), 0);
    drop(server);
    while soon(pushes.next()).await.is_some() {}
}

#[tokio::test]
async fn pushes_that_nobody_takes_are_counted_and_harm_nobody() {
    let server = server(&[]);
    let connection = connect(&server, &resp3()).await.unwrap();
    let track = Command::new("CLIENT")
        .arg("TRACKING")
        .arg("ON")
        .arg("BCAST");
    assert!(connection.send(track).await.unwrap().is_ok());
    for n in 0..2000 {
        let set = Command::new("SET").arg(format!("k{n}")).arg(n);
        assert!(connection.send(set).await.unwrap().is_ok());
    }
    let mut pushes = connection.take_pushes().unwrap();
    assert!(pushes.dropped() > 0);
    let first = soon(pushes.next()).await.unwrap();
    assert_eq!(
        first.as_array().unwrap()[1].as_array().unwrap()[0].as_str(),
        Some("k0")
    );
}

#[tokio::test]
async fn a_timeout_drops_the_socket_and_says_that_the_outcome_is_unknown() {
    // Long enough that both commands are surely sent before.
    const SHORT: Duration = Duration::from_millis(500);
    let mut server = server(&[]);
    let connection = connect(&server, &patient()).await.unwrap();
    server.stop().unwrap();
    let waits = |n: i32, timeout| {
        let incr = Command::new("INCRBY").arg("k").arg(n).timeout(timeout);
        tokio::spawn({
            let connection = connection.clone();
            async move { connection.send(incr).await }
        })
    };
    let (long, short) = (waits(1, PATIENCE), waits(10, SHORT));
    for lost in [short, long] {
        let lost = soon(lost).await.unwrap();
        let expected = Cause::Timeout(SHORT);
        assert!(
            matches!(&lost, Err(Error::OutcomeUnknown(cause)) if *cause == expected),
            "{lost:?}"
        );
    }
    assert_eq!(soon(connection.closed()).await, Cause::Timeout(SHORT));
    assert!(connection.is_closed());
    let after = connection.send(Command::new("PING")).await;
    assert!(
        matches!(after, Err(Error::NotSent(Cause::Timeout(_)))),
        "{after:?}"
    );

    // Rule 9: what timed out runs all the same, once the server goes on.
    server.cont().unwrap();
    let ran = || -> Result<(), String> {
        let k = server
            .command(&["GET", "k"])
            .map_err(|error| error.to_string())?;
        if k == "11" { Ok(()) } else { Err(k) }
    };
    until(PATIENCE, "both commands to run late", ran).unwrap();
}

#[tokio::test]
async fn what_never_left_is_told_apart_from_what_may_have_run() {
    let mut server = server(&[]);
    let connection = connect(&server, &patient()).await.unwrap();
    server.stop().unwrap();
    // More than the socket's buffers hold.
    let large = Command::new("SET").arg("k").arg(vec![b'x'; 64 << 20]);
    let first = tokio::spawn({
        let connection = connection.clone();
        async move { connection.send(large.timeout(Duration::from_secs(2))).await }
    });
    tokio::task::yield_now().await;
    let second = soon(connection.send(Command::new("PING"))).await;
    let first = soon(first).await.unwrap();
    assert!(
        matches!(first, Err(Error::OutcomeUnknown(Cause::Timeout(_)))),
        "{first:?}"
    );
    assert!(
        matches!(second, Err(Error::NotSent(Cause::Timeout(_)))),
        "{second:?}"
    );
}

#[tokio::test]
async fn closed_resolves_when_an_idle_server_is_killed() {
    let mut server = server(&[]);
    let connection = connect(&server, &patient()).await.unwrap();
    let watching = tokio::spawn({
        let connection = connection.clone();
        async move { connection.closed().await }
    });
    server.kill().unwrap();
    let cause = soon(watching).await.unwrap();
    assert!(matches!(cause, Cause::Eof | Cause::Io(_)), "{cause}");
    let refused = connection.send(Command::new("PING")).await;
    assert!(matches!(refused, Err(Error::NotSent(_))), "{refused:?}");
    let gone = connect(&server, &patient()).await;
    assert!(matches!(gone, Err(Error::Connect { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_dropped_future_shifts_no_reply() {
    let server = server(&[]);
    let connection = connect(&server, &patient()).await.unwrap();
    for n in 0..200 {
        let abandoned = connection.send(Command::new("ECHO").arg("abandoned"));
        // From not polled at all to perhaps answered.
        let _ = timeout(Duration::from_micros(n * 5), abandoned).await;
        let echoed = connection.send(Command::new("ECHO").arg(n)).await.unwrap();
        assert_eq!(echoed.as_int(), Some(n as i64));
    }
}

#[tokio::test]
async fn the_last_handle_closes_the_socket() {
    let server = server(&[]);
    let mut options = patient();
    options.client_name = Some("leaving".to_owned());
    let connection = connect(&server, &options).await.unwrap();
    let other = connection.clone();
    drop(connection);
    assert!(other.send(Command::new("PING")).await.is_ok());
    assert!(clients(&server).contains("name=leaving"));
    drop(other);
    tokio::task::spawn_blocking(move || {
        let gone = || !clients(&server).contains("name=leaving");
        until(PATIENCE, "the server to see the client leave", gone).unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_reply_beyond_the_limits_ends_the_connection() {
    let server = server(&[]);
    let mut options = patient();
    options.limits.bulk = 1000;
    let connection = connect(&server, &options).await.unwrap();
    let echo = |n| Command::new("ECHO").arg(vec![b'x'; n]);
    assert!(connection.send(echo(1000)).await.is_ok());
    let refused = connection.send(echo(1001)).await;
    let expected = Cause::Protocol(ScanError::BulkTooLong);
    assert!(
        matches!(&refused, Err(Error::OutcomeUnknown(c)) if *c == expected),
        "{refused:?}"
    );
    assert_eq!(soon(connection.closed()).await, expected);
}

#[tokio::test]
async fn commands_without_one_reply_are_not_sent() {
    let server = server(&[]);
    let connection = connect(&server, &patient()).await.unwrap();
    for refused in [
        Command::new("subscribe").arg("c"),
        Command::new("PUNSUBSCRIBE"),
        Command::new("MONITOR"),
        Command::new("PSYNC").arg("?").arg(-1),
        Command::new("client").arg("reply").arg("off"),
    ] {
        let pipeline = vec![Command::new("SET").arg("k").arg("v"), refused];
        let refused = connection.pipeline(pipeline).await;
        assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
    }
    let exists = connection
        .send(Command::new("EXISTS").arg("k"))
        .await
        .unwrap();
    assert_eq!(exists.as_int(), Some(0));
}

#[tokio::test]
async fn the_whole_handshake_has_one_deadline() {
    let mut server = server(&[]);
    server.stop().unwrap();
    let mut options = login(ConnectOptions::default(), None, "pw");
    options.connect_timeout = Duration::from_millis(50);
    // The kernel accepts, but nobody answers AUTH.
    let hung = soon(connect(&server, &options)).await;
    assert!(
        matches!(hung, Err(Error::ConnectTimeout { .. })),
        "{hung:?}"
    );
}

#[tokio::test]
async fn nobody_there_and_no_such_name_cannot_be_connected_to() {
    let nobody = Connection::connect("127.0.0.1", ports::free().unwrap(), &patient()).await;
    let Err(error @ Error::Connect { .. }) = nobody else {
        panic!("{nobody:?}");
    };
    assert!(
        error
            .to_string()
            .starts_with("cannot connect to 127.0.0.1:")
    );
    let nameless = Connection::connect("nobody.invalid", 1, &patient()).await;
    assert!(
        matches!(
            nameless,
            Err(Error::Connect { .. } | Error::ConnectTimeout { .. })
        ),
        "{nameless:?}"
    );
}

/// Accepts one connection, reads something if asked to, and says this.
async fn scripted(read: bool, answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        if read {
            let mut some = [0; 100];
            assert!(stream.read(&mut some).await.unwrap() > 0);
        }
        stream.write_all(answer).await.unwrap();
        // Until the client hangs up.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    port
}

#[tokio::test]
async fn a_reply_that_nobody_asked_for_ends_the_connection() {
    let port = scripted(false, b"+OK\r\n").await;
    let connection = Connection::connect("127.0.0.1", port, &patient())
        .await
        .unwrap();
    assert_eq!(soon(connection.closed()).await, Cause::Unasked);
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let port = scripted(true, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let connection = Connection::connect("127.0.0.1", port, &patient())
        .await
        .unwrap();
    let lost = connection.send(Command::new("PING")).await;
    let expected = Cause::Protocol(ScanError::UnknownType(b'H'));
    assert!(
        matches!(&lost, Err(Error::OutcomeUnknown(c)) if *c == expected),
        "{lost:?}"
    );
}

#[tokio::test]
async fn a_connection_refused_during_the_handshake_is_not_a_matter_of_credentials() {
    let port = scripted(true, b"-ERR max number of clients reached\r\n").await;
    let full = Connection::connect("127.0.0.1", port, &login(patient(), None, "pw")).await;
    assert!(matches!(full, Err(Error::Server(_))), "{full:?}");
    let port = scripted(true, b"?\r\n").await;
    let odd = Connection::connect("127.0.0.1", port, &login(patient(), None, "pw")).await;
    assert!(matches!(odd, Err(Error::Connect { .. })), "{odd:?}");
}

#[test]
fn no_debug_output_shows_a_password() {
    let options = login(patient(), Some("agent"), "hush");
    let command = Command::new("AUTH").arg("agent").arg("hush");
    let shown = format!("{options:?} {command:?}");
    assert!(shown.contains("AUTH") && !shown.contains("hush"), "{shown}");
}

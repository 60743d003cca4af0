//! The connection against a real redis-server.

use std::time::Duration;

use bellwether_resp::{Cause, Command, ConnectOptions, Connection, Error, Protocol, Value};
use bellwether_testkit::{Boot, Options, Redis};
use tokio::time::timeout;

/// How long what should happen at once may take on an overloaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn server(args: &[&str]) -> Redis {
    let args = args.iter().map(ToString::to_string).collect();
    Redis::start(Options {
        boot: Boot::Plain,
        args,
        ..Options::default()
    })
    .expect("redis-server starts")
}

fn patient() -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.connect_timeout = PATIENCE;
    options.command_timeout = PATIENCE;
    options
}

async fn connect(server: &Redis, options: &ConnectOptions) -> Result<Connection, Error> {
    Connection::connect("127.0.0.1", server.port(), options).await
}

#[tokio::test]
async fn commands_and_pipelines_are_answered_in_order() {
    let server = server(&[]);
    let connection = connect(&server, &patient()).await.unwrap();
    let pong = connection.send(Command::new("PING")).await.unwrap();
    assert_eq!(pong.as_str(), Some("PONG"));
    let echoes = (0..500).map(|n| Command::new("ECHO").arg(n)).collect();
    let replies = connection.pipeline(echoes).await.unwrap();
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(reply.as_int(), Some(n as i64));
    }
    assert_eq!(connection.pipeline(vec![]).await.unwrap(), vec![]);
    assert_eq!(connection.protocol(), Protocol::Resp2);
    assert!(!connection.is_closed());
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
    let cause = timeout(PATIENCE, watching).await.unwrap().unwrap();
    assert!(matches!(cause, Cause::Eof | Cause::Io(_)), "{cause}");
    let refused = connection.send(Command::new("PING")).await;
    assert!(matches!(refused, Err(Error::NotSent(_))), "{refused:?}");
}

#[tokio::test]
async fn error_replies_are_values() {
    let server = server(&[]);
    let connection = connect(&server, &patient()).await.unwrap();
    let reply = connection.send(Command::new("NOSUCH")).await.unwrap();
    assert!(matches!(reply, Value::Error(_)));
    assert_eq!(reply.error().unwrap().code(), "ERR");
    assert!(matches!(reply.into_result(), Err(Error::Server(_))));
}

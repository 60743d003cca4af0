//! Client libraries that others wrote work through the proxy: redis-py, ioredis and redis-rs.
//!
//! The first two come from their registries into folders of their own. Where that is not possible,
//! their tests say so and count as skipped.

mod environment;
mod redis_rs;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use bellwether_testkit::{Boot, Program, Redis, skip};
use support::{Front, server};

/// How long the cases of one topic may take on an overloaded machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A proxy in front of a server.
struct Stage {
    front: Front,
    _server: Redis,
}

impl Stage {
    fn open() -> Self {
        Self::of(server(Boot::Plain, &[]))
    }

    /// The server asks for the password `secret`, and knows a user `alice`.
    fn guarded() -> Self {
        let password = ["--requirepass", "secret"];
        let alice = ["--user", "alice", "on", ">wonderland", "~alice:*", "+@all"];
        Self::of(server(Boot::Plain, &[&password[..], &alice].concat()))
    }

    fn of(server: Redis) -> Self {
        let front = Front::of(&server);
        Self {
            front,
            _server: server,
        }
    }

    fn port(&self) -> u16 {
        self.front.proxy.local_addr().port()
    }
}

/// Runs the cases of a topic in a language of their own, each of which is told by its name.
fn play(library: &str, file: &str, topic: &str, interpreter: Result<Program, String>) {
    let test = format!("{library}::{topic}");
    let interpreter = match interpreter {
        Ok(interpreter) => interpreter,
        Err(reason) => {
            let line: String = reason.replace('\n', " ").chars().take(300).collect();
            return skip(&test, &line);
        }
    };
    let stage = if topic == "auth" {
        Stage::guarded()
    } else {
        Stage::open()
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(file);
    let program = interpreter
        .arg(script)
        .args(["127.0.0.1", &stage.port().to_string(), topic]);
    let log = format!("{library}-{topic}-{}.log", std::process::id());
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(log);
    let said = environment::run(program, &log, PATIENCE);
    let said = said.unwrap_or_else(|error| panic!("{test}: {error}"));
    assert!(said.starts_with("ok "), "{test} tried nothing: {said}");
    std::fs::remove_file(log).expect("the log can be removed");
}

macro_rules! topics {
    ($library:ident, $file:literal, $interpreter:ident: $($topic:ident)*) => {
        mod $library {
            $(#[test]
            fn $topic() {
                let interpreter = super::environment::$interpreter();
                super::play(stringify!($library), $file, stringify!($topic), interpreter);
            })*
        }
    };
}

topics!(redis_py, "redis_py.py", python:
    strings pipelines transactions pubsub blocking scripts resp3 client auth);
topics!(ioredis, "ioredis.js", node:
    strings pipelines transactions pubsub blocking scripts caching client auth);

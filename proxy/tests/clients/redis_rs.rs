//! redis-rs through the proxy.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;

use bellwether_testkit::until;
use redis::caching::CacheConfig;
use redis::{
    AsyncCommands, AsyncConnectionConfig, Client, Commands, Connection, ErrorKind, PushInfo,
    PushKind, RedisResult, Script, ServerErrorKind, Value,
};

use crate::Stage;
use crate::support::{PATIENCE, block_on};

impl Stage {
    /// `end` is what stands behind the port in the address.
    fn redis_rs(&self, user: &str, end: &str) -> RedisResult<Connection> {
        let connection = self.client(user, end)?.get_connection()?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(connection)
    }

    fn client(&self, user: &str, end: &str) -> RedisResult<Client> {
        Client::open(format!("redis://{user}127.0.0.1:{}{end}", self.port()))
    }

    fn plain(&self) -> Connection {
        self.redis_rs("", "").expect("a connection")
    }
}

#[test]
fn strings() {
    let stage = Stage::open();
    let mut connection = stage.plain();
    for size in [0, 1, 255, 16_384, 32_767, 32_768, 65_537, 8 << 20] {
        let value: Vec<u8> = (0..size).map(|i| (i % 256) as u8).collect();
        let _: () = connection.set(&value[..size.min(300)], &value).unwrap();
        let found: Vec<u8> = connection.get(&value[..size.min(300)]).unwrap();
        assert!(found == value, "{size} bytes");
    }
    let none: Option<String> = connection.get("none").unwrap();
    assert_eq!(none, None);
    let texts: Vec<Option<String>> = redis::cmd("MGET")
        .arg(&["none", ""])
        .query(&mut connection)
        .unwrap();
    assert_eq!(texts, [None, Some(String::new())]);
}

#[test]
fn pipelines() {
    let stage = Stage::open();
    let mut connection = stage.plain();
    let mut pipeline = redis::pipe();
    for n in 0..5000 {
        pipeline
            .set(format!("p{n}"), n)
            .ignore()
            .get(format!("p{n}"));
    }
    let found: Vec<i32> = pipeline.query(&mut connection).unwrap();
    assert!(found.into_iter().eq(0..5000));
    // Many tasks on one connection, which is one long pipeline.
    block_on(async {
        let shared = stage.client("", "").unwrap();
        let shared = shared.get_multiplexed_async_connection().await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..500 {
            let mut shared = shared.clone();
            tasks.spawn(async move {
                let echo: i32 = redis::cmd("ECHO")
                    .arg(n)
                    .query_async(&mut shared)
                    .await
                    .unwrap();
                assert_eq!(echo, n);
            });
        }
        assert_eq!(tasks.join_all().await.len(), 500);
    });
}

#[test]
fn transactions() {
    let stage = Stage::open();
    let (mut one, mut other) = (stage.plain(), stage.plain());
    let mut pipeline = redis::pipe();
    let atomic = pipeline.atomic().set("t", 1).ignore().incr("t", 1).get("t");
    let found: (i32, i32) = atomic.query(&mut one).unwrap();
    assert_eq!(found, (2, 2));

    let mut tries = 0;
    let (found,): (i32,) = redis::transaction(&mut one, &["t"], |one, pipeline| {
        tries += 1;
        let before: i32 = one.get("t")?;
        if tries == 1 {
            let _: () = other.set("t", 10)?;
        }
        pipeline.set("t", before + 1).ignore().get("t").query(one)
    })
    .unwrap();
    assert_eq!((found, tries), (11, 2), "the first one saw a conflict");
}

#[test]
fn pubsub() {
    let stage = Stage::open();
    let (mut connection, mut publisher) = (stage.plain(), stage.plain());
    for round in 1..=3 {
        let mut subscriber = connection.as_pubsub();
        subscriber.subscribe("news").unwrap();
        subscriber.psubscribe("n*").unwrap();
        let receivers: i32 = publisher.publish("news", b"\x00\xff").unwrap();
        assert_eq!(receivers, 2);
        for pattern in [None, Some("n*".to_owned())] {
            let message = subscriber.get_message().unwrap();
            assert_eq!(message.get_payload_bytes(), b"\x00\xff");
            assert_eq!(message.get_pattern::<Option<String>>().unwrap(), pattern);
        }
        subscriber.unsubscribe("news").unwrap();
        // Dropped, it ends its subscriptions, and the connection goes on.
        drop(subscriber);
        let rounds: i32 = connection.incr("rounds", 1).unwrap();
        assert_eq!(rounds, round);
    }
    let receivers: i32 = publisher.publish("news", "x").unwrap();
    assert_eq!(receivers, 0);
}

#[test]
fn blocking() {
    let stage = Stage::open();
    let (mut connection, mut waiting) = (stage.plain(), stage.plain());
    let none: Option<(String, String)> = waiting.blpop("q", 0.2).unwrap();
    assert_eq!(none, None);
    let read = "XREAD BLOCK 200 STREAMS s $".split(' ').collect::<Vec<_>>();
    let none: Value = redis::cmd(read[0])
        .arg(&read[1..])
        .query(&mut waiting)
        .unwrap();
    assert_eq!(none, Value::Nil);
    let waiter = thread::spawn(move || waiting.blpop::<_, (String, String)>(&["p", "q"], 0.0));
    until(PATIENCE, "a blocked client", || {
        let info: RedisResult<String> = redis::cmd("INFO").arg("clients").query(&mut connection);
        info.is_ok_and(|info| info.contains("blocked_clients:1\r\n"))
    })
    .unwrap();
    let _: () = connection.rpush("q", &["x", "y"]).unwrap();
    assert_eq!(waiter.join().unwrap().unwrap(), ("q".into(), "x".into()));
    let there: (String, String) = connection.blpop("q", 0.0).unwrap();
    assert_eq!(there.1, "y");
}

#[test]
fn scripts() {
    let stage = Stage::open();
    let mut connection = stage.plain();
    let script = Script::new("return redis.call('incrby', KEYS[1], ARGV[1])");
    for n in 1..=3 {
        // By its digest first; then loaded.
        let found: i32 = script.key("n").arg(5).invoke(&mut connection).unwrap();
        assert_eq!(found, 5 * n);
        let _: () = redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query(&mut connection)
            .unwrap();
    }
    let unknown = redis::cmd("EVALSHA")
        .arg(script.get_hash())
        .arg(0)
        .query::<()>(&mut connection);
    let kind = unknown.unwrap_err().kind();
    assert_eq!(kind, ErrorKind::Server(ServerErrorKind::NoScript));
}

#[test]
fn resp3() {
    let stage = Stage::open();
    let (mut two, mut three) = (
        stage.plain(),
        stage.redis_rs("", "/?protocol=resp3").unwrap(),
    );
    let _: () = two.hset("h", "f", "v").unwrap();
    let map = HashMap::from([("f".to_owned(), "v".to_owned())]);
    assert_eq!(
        three.hgetall::<_, HashMap<String, String>>("h").unwrap(),
        map
    );
    let raw: Value = redis::cmd("HGETALL").arg("h").query(&mut three).unwrap();
    assert!(matches!(raw, Value::Map(_)), "{raw:?}");
    let raw: Value = redis::cmd("HGETALL").arg("h").query(&mut two).unwrap();
    assert!(matches!(raw, Value::Array(_)), "{raw:?}");

    let (send, pushes) = mpsc::channel::<PushInfo>();
    three.set_push_sender(send);
    let _: () = redis::cmd("CLIENT")
        .arg("TRACKING")
        .arg("ON")
        .query(&mut three)
        .unwrap();
    for n in 0..3 {
        let _: Option<i32> = three.get("k").unwrap();
        let _: () = two.set("k", n).unwrap();
        until(PATIENCE, "an invalidation", || {
            let _: () = redis::cmd("PING").query(&mut three).unwrap();
            pushes
                .try_iter()
                .any(|push| push.kind == PushKind::Invalidate)
        })
        .unwrap();
        assert_eq!(three.get::<_, i32>("k").unwrap(), n);
    }
}

#[test]
fn client_side_caching() {
    let stage = Stage::open();
    let mut writer = stage.plain();
    block_on(async {
        let client = stage.client("", "/?protocol=resp3").unwrap();
        let config = AsyncConnectionConfig::new().set_cache_config(CacheConfig::new());
        let cached = client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        let mut cached = cached.unwrap();
        for n in 0..3 {
            let _: () = writer.set("k", n).unwrap();
            let mut tries = 0..3000;
            while cached.get::<_, i32>("k").await.unwrap() != n {
                tries.next().expect("an invalidation in time");
                tokio::time::sleep(PATIENCE / 3000).await;
            }
            let hits =
                |statistics: Option<redis::caching::CacheStatistics>| statistics.unwrap().hit;
            let before = hits(cached.get_cache_statistics());
            assert_eq!(cached.get::<_, i32>("k").await.unwrap(), n);
            assert_eq!(hits(cached.get_cache_statistics()), before + 1);
        }
    });
}

#[test]
fn client() {
    let stage = Stage::open();
    let mut clients: Vec<_> = (0..4)
        .map(|db| stage.redis_rs("", &format!("/{db}")).unwrap())
        .collect();
    let mut ids = Vec::new();
    for (db, one) in clients.iter_mut().enumerate() {
        let _: () = one.client_setname(format!("name{db}")).unwrap();
        let _: () = one.set("where", db).unwrap();
        ids.push(one.client_id::<i64>().unwrap());
    }
    for (db, one) in clients.iter_mut().enumerate() {
        assert_eq!(one.client_getname::<String>().unwrap(), format!("name{db}"));
        assert_eq!(one.client_id::<i64>().unwrap(), ids[db]);
        assert_eq!(one.get::<_, usize>("where").unwrap(), db);
    }
    ids.dedup();
    assert_eq!(ids.len(), 4);
    let _: () = redis::cmd("SELECT").arg(3).query(&mut clients[0]).unwrap();
    assert_eq!(clients[0].get::<_, usize>("where").unwrap(), 3);
}

#[test]
fn auth() {
    let stage = Stage::guarded();
    for protocol in ["?protocol=resp2", "?protocol=resp3"] {
        let mut good = stage.redis_rs(":secret@", protocol).unwrap();
        let _: () = good.set("k", "v").unwrap();
        let mut alice = stage.redis_rs("alice:wonderland@", protocol).unwrap();
        let name: String = redis::cmd("ACL").arg("WHOAMI").query(&mut alice).unwrap();
        assert_eq!(name, "alice");
        let _: () = alice.set("alice:k", "v").unwrap();
        let refused = alice.get::<_, String>("k").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Server(ServerErrorKind::NoPerm));
        assert!(stage.redis_rs("alice:wrong@", protocol).is_err());
    }
    let refused = stage.plain().get::<_, String>("k").unwrap_err();
    assert_eq!(refused.code(), Some("NOAUTH"));
}

//! What real servers become when they are told to.

mod support;

use std::time::Duration;

use bellwether_replication::{
    Address, Clients, Error, Instance, Link, Redis, RedisOptions, Relation,
};
use bellwether_resp::Credentials;
use bellwether_testkit::Options;
use support::{
    Client, PATIENCE, address, eventually, fresh, inspected, instance, passport, primary, start,
    with_args,
};

fn nowhere() -> Address {
    Address::new(Address::NOWHERE.0, Address::NOWHERE.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_may_be_repeated() {
    let (first, second) = (fresh(), fresh());
    let (one, two) = (instance(&first), instance(&second));
    one.promote(&passport(1)).await.unwrap();
    let promoted = one.inspect().await.unwrap();
    one.promote(&passport(1)).await.unwrap();
    assert_eq!(one.inspect().await.unwrap().position, promoted.position);

    two.follow(&address(&first)).await.unwrap();
    inspected(&two, "the link", |found| found.link() == Some(Link::Up)).await;
    two.follow(&address(&first)).await.unwrap();
    let again = two.inspect().await.unwrap();
    assert_eq!(
        again.link(),
        Some(Link::Up),
        "a link that is up is left alone"
    );

    for _ in 0..2 {
        two.fence(Clients::Cut).await.unwrap();
        assert!(two.inspect().await.unwrap().follows(&nowhere()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_cuts_every_client() {
    let server = primary();
    let instance = instance(&server);
    instance.inspect().await.unwrap();
    let mut blocked = Client::of(&server);
    blocked.send("BLPOP nothing 0");
    let mut transaction = Client::of(&server);
    assert_eq!(transaction.ask("MULTI").as_deref(), Some("+OK"));
    assert_eq!(transaction.ask("SET k v").as_deref(), Some("+QUEUED"));
    let mut subscriber = Client::of(&server);
    subscriber.send("SUBSCRIBE news");
    assert_eq!(subscriber.line().as_deref(), Some("*3"));
    let mut paused = Client::of(&server);
    instance.pause_writes(PATIENCE).await.unwrap();
    paused.send("SET paused write");
    eventually("two clients that wait", || async {
        let info = server.info("clients").ok()?;
        (info.get("blocked_clients")? == "2").then_some(())
    })
    .await;

    instance.fence(Clients::Cut).await.unwrap();

    let ended = |client: &mut Client| std::iter::from_fn(|| client.line()).last();
    assert_eq!(ended(&mut blocked), None);
    assert_eq!(ended(&mut transaction), None);
    ended(&mut subscriber);
    assert!(ended(&mut paused).is_none_or(|reply| reply.starts_with("-READONLY")));
    let mut writer = Client::of(&server);
    assert!(writer.ask("SET k v").unwrap().starts_with("-READONLY"));
    assert_eq!(instance.inspect().await.unwrap().keys, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_keeps_clients_refuses_the_write_that_was_paused() {
    let server = primary();
    let instance = instance(&server);
    let mut writer = Client::of(&server);
    assert_eq!(writer.ask("SET k before").as_deref(), Some("+OK"));
    instance.pause_writes(PATIENCE).await.unwrap();
    writer.send("SET k after");
    eventually("the write to be held", || async {
        let info = server.info("clients").ok()?;
        (info.get("blocked_clients")? == "1").then_some(())
    })
    .await;
    instance.fence(Clients::Keep).await.unwrap();
    assert!(writer.line().unwrap().starts_with("-READONLY"));
    assert_eq!(server.command(&["GET", "k"]).unwrap(), "before");
}

#[tokio::test(flavor = "multi_thread")]
async fn resumed_writes_run() {
    let server = primary();
    let instance = instance(&server);
    instance.pause_writes(PATIENCE).await.unwrap();
    let mut writer = Client::of(&server);
    writer.send("SET k v");
    eventually("the write to be held", || async {
        let info = server.info("clients").ok()?;
        (info.get("blocked_clients")? == "1").then_some(())
    })
    .await;
    instance.resume_writes().await.unwrap();
    assert_eq!(writer.line().as_deref(), Some("+OK"));
    // A promotion ends a pause too: a former agent may have left one.
    instance.pause_writes(PATIENCE).await.unwrap();
    writer.send("SET k w");
    instance.promote(&passport(1)).await.unwrap();
    assert_eq!(writer.line().as_deref(), Some("+OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_ends_a_pending_failover() {
    let (first, mut second) = (primary(), fresh());
    let (one, two) = (instance(&first), instance(&second));
    two.follow(&address(&first)).await.unwrap();
    inspected(&two, "the link", |found| found.link() == Some(Link::Up)).await;
    second.stop().unwrap();
    first.command(&["SET", "k", "v"]).unwrap();
    first.command(&["FAILOVER", "TIMEOUT", "60000"]).unwrap();
    assert!(one.inspect().await.unwrap().failing_over);
    one.fence(Clients::Cut).await.unwrap();
    let found = one.inspect().await.unwrap();
    assert!(!found.failing_over && found.follows(&nowhere()));
    second.cont().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_primary_rejoins_without_a_full_copy() {
    let (first, second) = (primary(), fresh());
    let (one, two) = (instance(&first), instance(&second));
    first.command(&["SET", "k", "v"]).unwrap();
    two.follow(&address(&first)).await.unwrap();
    inspected(&two, "the link", |found| found.link() == Some(Link::Up)).await;
    one.fence(Clients::Keep).await.unwrap();
    let end = one.inspect().await.unwrap().position;
    inspected(&two, "the last write", |found| {
        found.position.relation(&end) == Relation::Same
    })
    .await;
    two.promote(&passport(1)).await.unwrap();
    one.follow(&address(&second)).await.unwrap();
    inspected(&one, "the link", |found| found.link() == Some(Link::Up)).await;
    let stats = second.info("stats").unwrap();
    assert_eq!(stats["sync_full"], "0");
    assert_eq!(stats["sync_partial_ok"], "1");
    let (one, two) = (one.inspect().await.unwrap(), two.inspect().await.unwrap());
    assert_eq!(two.position.relation(&end), Relation::Ahead);
    assert_eq!(one.position.replication_id, two.position.replication_id);
}

fn locked(password: &str) -> bellwether_testkit::Redis {
    start(Options {
        args: ["--requirepass", password].map(String::from).to_vec(),
        ..Options::default()
    })
}

fn with_password(server: &bellwether_testkit::Redis, user: Option<&str>, password: &str) -> Redis {
    let credentials = Credentials {
        user: user.map(str::to_owned),
        password: password.to_owned().into(),
    };
    let mut options = RedisOptions::default();
    options.timeout = Some(PATIENCE);
    options.credentials = Some(credentials.clone());
    options.replication_credentials = Some(credentials);
    Redis::new(address(server), options)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_given_the_password() {
    let (first, second) = (locked("secret"), locked("secret"));
    let one = with_password(&first, None, "secret");
    let two = with_password(&second, None, "secret");
    one.promote(&passport(1)).await.unwrap();
    two.follow(&address(&first)).await.unwrap();
    inspected(&two, "the link", |found| found.link() == Some(Link::Up)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_no_more_than_is_documented() {
    let rights = "--user keeper on >secret +auth +client +config +exec +failover +fcall_ro \
                  +function +info +multi +psync +replconf +replicaof +role";
    let server = || with_args(&rights.split(' ').collect::<Vec<_>>());
    let (first, second) = (server(), server());
    let one = with_password(&first, Some("keeper"), "secret");
    let two = with_password(&second, Some("keeper"), "secret");
    one.promote(&passport(1)).await.unwrap();
    two.follow(&address(&first)).await.unwrap();
    inspected(&two, "the link", |found| found.link() == Some(Link::Up)).await;
    one.pause_writes(Duration::from_secs(1)).await.unwrap();
    one.fence(Clients::Cut).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named() {
    let server = locked("secret");
    let wrong = with_password(&server, None, "guess").inspect().await;
    let error = wrong.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Refused { .. }), "{text}");
    assert!(
        text.contains("WRONGPASS") && text.contains(&server.port().to_string()),
        "{text}"
    );
    assert!(!text.contains("guess"), "{text}");
    let text = instance(&server).inspect().await.unwrap_err().to_string();
    assert!(text.contains("NOAUTH"), "{text}");
    // And so is what a user may not do.
    let server = with_args(&[
        "--user",
        "default",
        "on",
        "nopass",
        "~*",
        "&*",
        "+@all",
        "-replicaof",
    ]);
    let error = instance(&server).promote(&passport(1)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("NOPERM"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_works_without_config_and_checks_what_it_could_not_set() {
    let forbidden = [
        "--user", "default", "on", "nopass", "~*", "&*", "+@all", "-config",
    ];
    let server = with_args(&forbidden);
    let instance = instance(&server);
    instance.promote(&passport(1)).await.unwrap();
    instance.fence(Clients::Cut).await.unwrap();
    let mut writer = Client::of(&server);
    assert!(writer.ask("SET k v").unwrap().starts_with("-READONLY"));

    let writable = [&forbidden[..], &["--replica-read-only", "no"]].concat();
    let server = with_args(&writable);
    let error = support::instance(&server)
        .fence(Clients::Cut)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("replica-read-only"), "{error}");
}

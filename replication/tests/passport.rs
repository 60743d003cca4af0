//! Where a passport survives, and how it is written where functions are not to be had.

mod support;

use bellwether_election::Term;
use bellwether_replication::{Clients, Error, Inspection, Instance, Link, Papers, Passport, Redis};
use bellwether_testkit::{self as testkit, Boot, Data, Options};
use support::{
    PATIENCE, address, eventually, fresh, inspected, instance, passport, primary, start, with_args,
};

const KEY: &str = "bellwether:passport";

fn has(found: &Inspection, passport: &Passport) -> bool {
    found.papers.passport() == Some(passport)
}

async fn promoted(options: Options) -> (testkit::Redis, Redis) {
    let server = start(options);
    let instance = instance(&server);
    let before = instance.inspect().await.expect("it answers");
    assert_eq!(before.papers, Papers::None);
    instance.promote(&passport(7)).await.expect("it obeys");
    let after = instance.inspect().await.expect("it answers");
    assert!(has(&after, &passport(7)));
    (server, instance)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_no_key_and_survives_flushall() {
    let (server, instance) = promoted(Options::default()).await;
    assert_eq!(server.command(&["DBSIZE"]).unwrap(), "0");
    server.command(&["SET", "k", "v"]).unwrap();
    server.command(&["FLUSHALL"]).unwrap();
    let found = instance.inspect().await.unwrap();
    assert!(has(&found, &passport(7)) && !found.has_data() && !found.is_blank());
    // A user's functions are left alone, whoever goes first.
    let code = "#!lua name=users\nredis.register_function('one',function() return 1 end)";
    server.command(&["FUNCTION", "LOAD", code]).unwrap();
    instance.stamp(&passport(8)).await.unwrap();
    assert_eq!(server.command(&["FCALL", "one", "0"]).unwrap(), "1");
    server.command(&["FUNCTION", "FLUSH"]).unwrap();
    assert_eq!(instance.inspect().await.unwrap().papers, Papers::None);
    instance.stamp(&passport(9)).await.unwrap();
    assert!(has(&instance.inspect().await.unwrap(), &passport(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_group_and_the_greatest_numbers_come_back_as_written() {
    let server = fresh();
    let instance = instance(&server);
    let passport = Passport {
        group: "' \" \\ ]] \n ü".into(),
        term: Term((1 << 63) - 1),
        mark: (1 << 63) - 1,
        blank: false,
    };
    instance.promote(&passport).await.unwrap();
    assert!(has(&instance.inspect().await.unwrap(), &passport));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_to_replicas_and_stays_when_they_are_fenced_or_promoted() {
    let (first, _) = promoted(Options::default()).await;
    let args = ["--replica-serve-stale-data", "no"];
    let (second, third) = (with_args(&args), fresh());
    let (two, three) = (instance(&second), instance(&third));
    for replica in [&two, &three] {
        replica.follow(&address(&first)).await.unwrap();
        inspected(replica, "the link", |found| found.link() == Some(Link::Up)).await;
        assert!(has(&replica.inspect().await.unwrap(), &passport(7)));
    }
    // Without a link, this server answers MASTERDOWN to reads.
    two.fence(Clients::Cut).await.unwrap();
    assert!(has(&two.inspect().await.unwrap(), &passport(7)));
    // Passports come over the link too, not only with a full copy.
    instance(&first).stamp(&passport(8)).await.unwrap();
    inspected(&three, "the later passport", |found| {
        has(found, &passport(8))
    })
    .await;
    two.promote(&passport(9)).await.unwrap();
    assert!(has(&two.inspect().await.unwrap(), &passport(9)));
    three.follow(&address(&second)).await.unwrap();
    inspected(&three, "the latest passport", |found| {
        has(found, &passport(9))
    })
    .await;
}

/// Redis forgets its history over a restart with an append-only file, and not with a snapshot that was
/// taken when it had a replica.
#[tokio::test(flavor = "multi_thread")]
async fn it_survives_restarts_with_either_kind_of_file() {
    for persistent in [true, false] {
        let options = Options {
            persistent,
            ..Options::default()
        };
        let (mut server, instance) = promoted(options).await;
        let replica = fresh();
        support::instance(&replica)
            .follow(&address(&server))
            .await
            .unwrap();
        inspected(&instance, "a replica", |found| !found.attached.is_empty()).await;
        server.command(&["SET", "k", "v"]).unwrap();
        if !persistent {
            server.command(&["SAVE"]).unwrap();
        }
        let before = instance.inspect().await.unwrap();
        server.restart(Data::Keep, Boot::ReplicaOfNowhere).unwrap();
        let after = inspected(&instance, "the data", Inspection::has_data).await;
        assert!(has(&after, &passport(7)));
        let same = after.position.replication_id == before.position.replication_id;
        assert_eq!(same, !persistent);
        server.restart(Data::Empty, Boot::ReplicaOfNowhere).unwrap();
        let blank = |found: &Inspection| found.papers == Papers::None && found.is_blank();
        inspected(&instance, "nothing", blank).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_takes_its_place_where_functions_are_not_to_be_had() {
    let denied = |what: &'static str| {
        [
            "--user", "default", "on", "nopass", "~*", "&*", "+@all", what,
        ]
    };
    let without: Vec<testkit::Redis> = vec![
        with_args(&[
            "--rename-command",
            "FUNCTION",
            "",
            "--rename-command",
            "FCALL_RO",
            "",
        ]),
        with_args(&["--rename-command", "FUNCTION", ""]),
        with_args(&denied("-function")),
        with_args(&denied("-fcall_ro")),
    ];
    for server in &without {
        let instance = instance(server);
        assert_eq!(instance.inspect().await.unwrap().papers, Papers::None);
        instance.promote(&passport(7)).await.unwrap();
        let found = instance.inspect().await.unwrap();
        assert!(has(&found, &passport(7)) && !found.has_data(), "{found:?}");
        assert!(server.command(&["GET", KEY]).unwrap().contains("flock"));
        server.command(&["SET", "k", "v"]).unwrap();
        assert_eq!(instance.inspect().await.unwrap().keys, 1);
        // It goes with the keys, and can be written again.
        server.command(&["FLUSHALL"]).unwrap();
        assert_eq!(instance.inspect().await.unwrap().papers, Papers::None);
        instance.stamp(&passport(8)).await.unwrap();
        assert!(has(&instance.inspect().await.unwrap(), &passport(8)));
    }
    // A replica that reads no keys without a link says so.
    let replica = with_args(&[
        "--rename-command",
        "FUNCTION",
        "",
        "--rename-command",
        "FCALL_RO",
        "",
        "--replica-serve-stale-data",
        "no",
    ]);
    let two = instance(&replica);
    two.follow(&address(&without[0])).await.unwrap();
    inspected(&two, "the passport", |found| has(found, &passport(8))).await;
    without[0].command(&["SET", "k", "v"]).unwrap();
    inspected(&two, "the key", |found| found.keys == 1).await;
    two.fence(Clients::Cut).await.unwrap();
    assert_eq!(two.inspect().await.unwrap().papers, Papers::Unknown);
}

/// Nothing is changed before it is known that a passport can be written.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_keep_none_is_not_promoted() {
    let server = with_args(&[
        "--user",
        "default",
        "on",
        "nopass",
        "~*",
        "&*",
        "+@all",
        "-function",
        "-set",
    ]);
    let instance = instance(&server);
    let before = instance.inspect().await.unwrap();
    let error = instance.promote(&passport(7)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { reason, .. } if reason.contains(KEY)),
        "{error}"
    );
    assert_eq!(instance.inspect().await.unwrap(), before);
}

/// What makes a server refuse all writes must not keep it from serving.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_every_write_are_lifted_for_the_passport_alone() {
    let settings = [
        ("min-replicas-to-write", "1", "NOREPLICAS"),
        ("maxmemory", "1", "OOM"),
    ];
    for (name, value, refusal) in settings {
        let server = fresh();
        server.command(&["CONFIG", "SET", name, value]).unwrap();
        let instance = instance(&server);
        instance.promote(&passport(7)).await.unwrap();
        assert!(has(&instance.inspect().await.unwrap(), &passport(7)));
        let refused = server.command(&["SET", "k", "v"]).unwrap_err();
        assert!(format!("{refused:#}").contains(refusal), "{refused:#}");
    }
    // Both at once, and a snapshot that failed.
    let server = fresh();
    server
        .command(&["CONFIG", "SET", "save", "3600 1"])
        .unwrap();
    server
        .command(&["CONFIG", "SET", "maxmemory", "1"])
        .unwrap();
    server
        .command(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .unwrap();
    std::fs::remove_dir_all(server.dir().join("data")).unwrap();
    let _ = server.command(&["BGSAVE"]);
    eventually("the snapshot to fail", || async {
        let info = server.info("persistence").ok()?;
        (info.get("rdb_last_bgsave_status")? == "err").then_some(())
    })
    .await;
    let instance = instance(&server);
    instance.promote(&passport(7)).await.unwrap();
    assert!(has(&instance.inspect().await.unwrap(), &passport(7)));
    for (name, value) in [
        ("stop-writes-on-bgsave-error", "yes"),
        ("maxmemory", "1"),
        ("min-replicas-to-write", "1"),
    ] {
        let kept = server.command(&["CONFIG", "GET", name]).unwrap();
        assert!(kept.ends_with(value), "{kept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_a_later_passport_is_not_promoted_with_an_earlier_one() {
    let (first, _) = promoted(Options::default()).await;
    let second = fresh();
    let two = instance(&second);
    two.follow(&address(&first)).await.unwrap();
    inspected(&two, "the passport", |found| has(found, &passport(7))).await;
    for earlier in [6, 7] {
        let error = two.promote(&passport(earlier)).await.unwrap_err();
        assert!(error.to_string().contains("7.0"), "{error}");
        assert!(!two.inspect().await.unwrap().is_primary());
    }
    two.promote(&passport(8)).await.unwrap();
    // Who was told already may be told again.
    two.promote(&passport(8)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_not_stamped_and_a_pause_holds_no_question_back() {
    let (server, one) = promoted(Options::default()).await;
    one.pause_writes(PATIENCE).await.unwrap();
    assert!(has(&one.inspect().await.unwrap(), &passport(7)));
    one.promote(&passport(8)).await.unwrap();
    assert!(has(&one.inspect().await.unwrap(), &passport(8)));
    one.fence(Clients::Cut).await.unwrap();
    let error = one.stamp(&passport(9)).await.unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    assert!(has(
        &instance(&server).inspect().await.unwrap(),
        &passport(8)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_says_who_is_in_step() {
    let (first, second) = (primary(), fresh());
    let (one, two) = (instance(&first), instance(&second));
    two.follow(&address(&first)).await.unwrap();
    inspected(&one, "the replica", |found| {
        found.attached.contains(&address(&second))
    })
    .await;
    two.fence(Clients::Keep).await.unwrap();
    inspected(&one, "its end", |found| found.attached.is_empty()).await;
}

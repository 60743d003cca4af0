use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::commands::{Commands, Reads, Treat};

fn text(text: &str) -> Value {
    Value::Bulk(Bytes::copy_from_slice(text.as_bytes()))
}

fn array<'a>(words: impl Iterator<Item = &'a str>) -> Value {
    Value::Array(words.map(text).collect())
}

/// `NAME FLAGS` as Redis 7 lists it, with arity -2 and first key 1.
fn command(line: &str, subcommands: &[&str]) -> Value {
    let (name, flags) = line.split_once(' ').unwrap_or((line, ""));
    let flags = flags.split(' ').filter(|flag| !flag.is_empty());
    let (flags, categories): (Vec<_>, Vec<_>) = flags.partition(|flag| !flag.starts_with('@'));
    let subcommands = subcommands.iter().map(|line| command(line, &[]));
    Value::Array(vec![
        text(name),
        Value::Int(-2),
        array(flags.into_iter()),
        Value::Int(1),
        Value::Int(1),
        Value::Int(1),
        array(categories.into_iter()),
        Value::Array(vec![]),
        Value::Array(vec![]),
        Value::Array(subcommands.collect()),
    ])
}

fn base() -> Commands {
    Commands::new(&BTreeMap::new()).expect("no renames are well")
}

fn overlaid(commands: &[Value]) -> Commands {
    base().overlay(&Value::Array(commands.to_vec()))
}

fn find(commands: &Commands, name: &str) -> Option<(Treat, Reads, Family)> {
    let (name, sub) = match name.split_once('|') {
        Some((name, sub)) => (name, Some(sub)),
        None => (name, None),
    };
    let spec = commands.find(name.as_bytes(), sub.map(str::as_bytes))?;
    Some((spec.treat, spec.reads, spec.family))
}

#[test]
fn what_is_new_is_judged_by_its_flags() {
    use Family::{Connection, Generic, Hash, Module, Pubsub};
    use Reads::{Anywhere, No, PrimaryOnly};
    use Treat::{Plain, Sticky};
    for (line, treat, reads, family) in [
        (
            "hexpire write denyoom fast @write @hash @fast",
            Plain,
            No,
            Hash,
        ),
        (
            "httl readonly fast @read @hash @fast",
            Plain,
            Anywhere,
            Hash,
        ),
        ("sent readonly may_replicate", Plain, PrimaryOnly, Generic),
        ("both readonly write", Plain, No, Generic),
        ("neither fast loading", Sticky, No, Generic),
        ("waits readonly blocking", Sticky, No, Generic),
        (
            "state fast noscript loading stale @connection",
            Sticky,
            No,
            Connection,
        ),
        ("listen pubsub readonly @pubsub", Sticky, No, Pubsub),
        ("rule write admin", Sticky, No, Generic),
        (
            "unknown-flag readonly with_a_flag_of_the_future",
            Plain,
            Anywhere,
            Generic,
        ),
        ("json.get readonly module", Plain, Anywhere, Module),
        ("json.set write module", Plain, No, Module),
        ("bf.scandump readonly module", Plain, PrimaryOnly, Module),
        ("ft.search readonly module", Plain, PrimaryOnly, Module),
        ("ft.cursor readonly module", Plain, No, Module),
        ("seek readonly module", Plain, PrimaryOnly, Module),
    ] {
        let (name, _) = line.split_once(' ').unwrap_or_default();
        let found = find(&overlaid(&[command(line, &[])]), name);
        assert_eq!(found, Some((treat, reads, family)), "{line}");
    }
}

#[test]
fn what_is_known_becomes_stricter_only() {
    for (line, treat, reads) in [
        ("get readonly fast", Treat::Plain, Reads::Anywhere),
        ("GET readonly fast", Treat::Plain, Reads::Anywhere),
        (
            "get readonly may_replicate",
            Treat::Plain,
            Reads::PrimaryOnly,
        ),
        ("get fast", Treat::Plain, Reads::PrimaryOnly),
        ("get write", Treat::Plain, Reads::No),
        ("get readonly blocking", Treat::Sticky, Reads::No),
        ("get readonly noscript", Treat::Sticky, Reads::No),
        ("set readonly", Treat::Plain, Reads::No),
        ("publish readonly", Treat::Plain, Reads::No),
        ("multi readonly", Treat::Multi, Reads::No),
        ("scan readonly blocking", Treat::Sticky, Reads::No),
        ("ping write", Treat::Plain, Reads::No),
        ("xread readonly", Treat::MayBlock, Reads::Anywhere),
        ("xread write", Treat::MayBlock, Reads::No),
    ] {
        let (name, _) = line.split_once(' ').unwrap_or_default();
        let found = find(&overlaid(&[command(line, &[])]), name);
        let found = found.map(|(treat, reads, _)| (treat, reads));
        assert_eq!(found, Some((treat, reads)), "{line}");
    }
}

#[test]
fn arity_and_key_follow_the_server() {
    let spec = overlaid(&[command("get readonly", &[])]).find(b"get", None);
    assert_eq!(spec.map(|spec| (spec.arity, spec.first_key)), Some((-2, 1)));
}

#[test]
fn what_is_not_listed_is_dropped_except_what_all_understand() {
    let config = command(
        "config",
        &["config|get admin noscript", "config|new readonly"],
    );
    let commands = overlaid(&[
        config,
        command("object", &[]),
        command("zz", &["zz|a write"]),
    ]);
    assert_eq!(find(&commands, "get"), None);
    assert_eq!(find(&commands, "waitaof"), None);
    for name in ["quit", "post", "host:", "config|get"] {
        assert_eq!(find(&commands, name), find(&base(), name), "{name}");
    }
    let reads = |name| find(&commands, name).map(|(treat, reads, _)| (treat, reads));
    // A new subcommand of a known container, one it lacks, and a new container.
    assert_eq!(
        reads("config|new"),
        Some((Treat::Plain, Reads::PrimaryOnly))
    );
    assert_eq!(reads("config|set"), Some((Treat::Sticky, Reads::No)));
    assert_eq!(reads("zz|a"), Some((Treat::Plain, Reads::No)));
    assert_eq!(reads("zz|b"), Some((Treat::Sticky, Reads::No)));
    // This server lists no subcommands of OBJECT at all.
    assert_eq!(find(&commands, "object|freq"), find(&base(), "object|freq"));
}

#[test]
fn an_overlay_does_not_depend_on_the_one_before() {
    let first = overlaid(&[command("zz write", &[])]);
    let second = first.overlay(&Value::Array(vec![command("get readonly", &[])]));
    assert_eq!(find(&second, "zz"), None);
    assert_eq!(find(&second, "get"), find(&base(), "get"));
}

#[test]
fn a_server_may_list_the_new_names() {
    let renames = [("cfg-x".to_owned(), "config".to_owned())];
    let renamed = Commands::new(&renames.into()).expect("CONFIG may be renamed");
    for name in ["config", "cfg-x"] {
        let config = command(name, &[&format!("{name}|get")]);
        let commands = renamed.overlay(&Value::Array(vec![config]));
        assert_eq!(find(&commands, "cfg-x|get"), find(&base(), "config|get"));
        assert_eq!(find(&commands, "config"), None);
    }
}

#[test]
fn commands_that_changed_places_are_told_apart() {
    let renames = [("get", "set"), ("set", "get")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let renamed = Commands::new(&renames.into()).expect("they may change places");
    let listed = [command("get readonly", &[]), command("set write", &[])];
    let commands = renamed.overlay(&Value::Array(listed.to_vec()));
    assert_eq!(find(&commands, "set"), find(&base(), "get"));
    assert_eq!(find(&commands, "get"), find(&base(), "set"));
}

#[test]
fn what_is_no_list_changes_nothing() {
    let error = Value::decode(&Bytes::from_static(b"-NOPERM no\r\n")).expect("an error");
    for reply in [error, Value::Null, Value::Array(vec![]), text("get")] {
        assert!(same(&base(), &base().overlay(&reply)), "{reply:?}");
    }
}

#[test]
fn a_list_that_is_broken_in_part_drops_nothing() {
    let long = "x".repeat(LONGEST + 1);
    for broken in [
        Value::Null,
        Value::Array(vec![]),
        Value::Array(vec![text("zz")]),
        Value::Array(vec![
            text("zz"),
            text("many"),
            array([].into_iter()),
            Value::Int(1),
        ]),
        command("zz|a readonly", &[]),
        command(&long, &[]),
        command("", &[]),
        command("zz", &["zz|"]),
    ] {
        let commands = overlaid(&[command("hexpire write", &[]), broken.clone()]);
        assert_eq!(find(&commands, "get"), find(&base(), "get"), "{broken:?}");
        assert!(find(&commands, "hexpire").is_some());
    }
}

#[test]
fn a_list_without_end_is_cut() {
    let names = (0..2 * MOST).map(|n| command(&format!("zz{n} write"), &[]));
    let commands = overlaid(&names.collect::<Vec<_>>());
    assert!(find(&commands, "zz0").is_some());
    assert_eq!(find(&commands, &format!("zz{MOST}")), None);
    assert_eq!(find(&commands, "get"), find(&base(), "get"));
}

fn same(one: &Commands, other: &Commands) -> bool {
    rows().all(|row| find(one, row.name) == find(other, row.name))
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(Value::NullArray),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Double),
        any::<Vec<u8>>().prop_map(|bytes| Value::Bulk(bytes.into())),
        "get|GET|client|cfg-x|readonly|write|blocking|[a-z|.]{0,30}".prop_map(|it| text(&it)),
        "[a-z]{1,9}".prop_map(|name| command(&name, &["x readonly"])),
    ];
    leaf.prop_recursive(4, 64, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Value::Array),
            prop::collection::vec(inner.clone(), 0..12).prop_map(Value::Set),
            prop::collection::vec((inner.clone(), inner), 0..6).prop_map(Value::Map),
        ]
    })
}

/// A list of commands one part of which is something else.
fn nearly_a_list() -> impl Strategy<Value = Value> {
    let part = (any_value(), 0..3_usize, 0..10_usize);
    part.prop_map(|(value, at, field)| {
        let get = command("get readonly fast @read", &[]);
        let client = command("client", &["client|list admin", "client|new noscript"]);
        let mut commands = vec![get, client, command("zz.x write module", &[])];
        if let Value::Array(fields) = &mut commands[at] {
            fields[field] = value;
        }
        Value::Array(commands)
    })
}

proptest! {
    #[test]
    fn any_reply_is_taken(
        reply in prop_oneof![any_value(), nearly_a_list()],
        name in any::<Vec<u8>>(),
        sub in any::<Option<Vec<u8>>>(),
    ) {
        let renames = [("cfg-x".to_owned(), "config".to_owned())];
        let commands = Commands::new(&renames.into()).expect("CONFIG may be renamed");
        let commands = commands.overlay(&reply);
        let _ = commands.find(&name, sub.as_deref());
        prop_assert!(commands.find(b"quit", None).is_some());
        // Whatever it says, a write is never a read.
        let set = commands.find(b"set", None);
        prop_assert!(set.is_none_or(|set| set.reads == Reads::No));
        prop_assert!(same(&commands, &commands.overlay(&reply)));
    }
}

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use bellwether_resp::{Decoder, Limits, Value, encode};
use bellwether_testkit::{Options, Redis};
use bytes::BytesMut;

use super::flags::{ADMIN, NOSCRIPT, READONLY, WRITE};
use super::judge::judge;
use super::known::rows;
use super::*;

fn commands() -> Commands {
    renamed(&[]).unwrap()
}

fn renamed(renames: &[(&str, &str)]) -> Result<Commands, String> {
    let own = |(name, original): &(&str, &str)| ((*name).to_owned(), (*original).to_owned());
    Commands::new(&renames.iter().map(own).collect())
}

/// Looks up a name as the table writes it.
fn find(commands: &Commands, name: &str) -> Option<Spec> {
    match name.split_once('|') {
        Some((name, sub)) => commands.find(name.as_bytes(), Some(sub.as_bytes())),
        None => commands.find(name.as_bytes(), None),
    }
}

/// Every command and what is decided about it, so that a change is seen. After a change that is
/// meant, run the test with `UPDATE_GOLDEN=1` and look at the difference.
#[test]
fn golden() {
    let commands = commands();
    let mut names: Vec<_> = rows().map(|row| row.name).collect();
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        let spec = find(&commands, name).unwrap();
        let treat = format!("{:?}", spec.treat).replace("Blocking { timeout: ", "Blocking { ");
        let reads = format!("{:?}", spec.reads);
        let family = spec.family.name();
        let (arity, key) = (spec.arity, spec.first_key);
        writeln!(
            text,
            "{name:<29} {treat:<23} {reads:<11} {family:<12} {arity:>2} {key}"
        )
        .unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/golden.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
    } else {
        let golden = std::fs::read_to_string(path).unwrap();
        for (is, should_be) in text.lines().zip(golden.lines()) {
            assert_eq!(is, should_be);
        }
        assert_eq!(text.lines().count(), golden.lines().count());
    }
}

/// What the flags do not decide is decided by name, so that they make no difference: a new command
/// in the table does not slip in.
#[test]
fn every_command_is_decided_about() {
    for row in rows() {
        let is_clear = matches!(
            row.flags & (WRITE | READONLY | NOSCRIPT | ADMIN),
            WRITE | READONLY
        );
        let by_name = judge(row.name, WRITE) == judge(row.name, READONLY);
        assert!(is_clear || by_name, "{} is not named in judge.rs", row.name);
        if by_name {
            assert_eq!(
                judge(row.name, row.flags),
                judge(row.name, WRITE),
                "{}",
                row.name
            );
        }
    }
}

#[test]
fn a_replica_answers_only_what_reads_and_does_not_wait() {
    for row in rows().filter(|row| row.spec().reads == Reads::Anywhere) {
        assert_eq!(
            row.flags & (WRITE | READONLY | ADMIN | NOSCRIPT),
            READONLY,
            "{}",
            row.name
        );
        let treat = row.spec().treat;
        let is_answered = matches!(treat, Treat::Plain | Treat::Scan { .. } | Treat::MayBlock);
        assert!(is_answered, "{}", row.name);
    }
    for name in [
        "publish",
        "spublish",
        "pfcount",
        "eval",
        "eval_ro",
        "fcall_ro",
        "xreadgroup",
        "object|freq",
        "memory|usage",
        "touch",
        "info",
        "getex",
        "sort",
        "georadius",
        "bitfield",
        "wait",
    ] {
        let reads = find(&commands(), name).map(|spec| spec.reads);
        assert_ne!(reads, Some(Reads::Anywhere), "{name}");
    }
}

#[test]
fn names_are_found_in_any_case() {
    let commands = commands();
    for row in rows() {
        let upper = row.name.to_ascii_uppercase();
        assert_eq!(find(&commands, &upper), Some(row.spec()), "{upper}");
    }
    for name in [
        "",
        "gett",
        "ge",
        "get\0",
        "client|list",
        "no-such-command-of-any-server-at-all",
    ] {
        assert_eq!(
            commands.find(name.as_bytes(), Some(b"list")),
            None,
            "{name}"
        );
    }
}

#[test]
fn arguments_of_commands_are_no_subcommands() {
    let commands = commands();
    let get = commands.find(b"get", None);
    assert_eq!(commands.find(b"GET", Some(b"list")), get);
    assert_eq!(commands.find(b"command", None).unwrap().treat, Treat::Plain);
}

#[test]
fn unknown_subcommands_are_treated_with_care() {
    let commands = commands();
    for (container, treat) in [
        (&b"client"[..], Treat::Client),
        (b"config", Treat::Sticky),
        (b"command", Treat::Sticky),
        (b"xinfo", Treat::Sticky),
    ] {
        let spec = commands.find(container, Some(b"frobnicate")).unwrap();
        assert_eq!((spec.treat, spec.reads), (treat, Reads::No));
        assert!(spec.takes(2) && spec.takes(3));
    }
}

#[test]
fn a_renamed_command_has_only_its_new_name() {
    let secret = "b840fc02d524045429941cc15f59e41cb7be6c52";
    let commands = renamed(&[
        (secret, "CONFIG"),
        ("Cfg", "get"),
        ("flushall", ""),
        ("", "keys"),
        // Two that change places.
        ("set", "append"),
        ("append", "set"),
    ])
    .unwrap();
    let plain = super::tests::commands();
    let config_get = plain.find(b"config", Some(b"get"));
    let upper = secret.to_ascii_uppercase();
    assert_eq!(commands.find(upper.as_bytes(), Some(b"GET")), config_get);
    assert_eq!(commands.find(b"CFG", None), plain.find(b"get", None));
    assert_eq!(commands.find(b"set", None), plain.find(b"append", None));
    assert_eq!(commands.find(b"append", None), plain.find(b"set", None));
    for name in [&b"config"[..], b"get", b"flushall", b"keys"] {
        assert_eq!(commands.find(name, Some(b"get")), None);
    }
}

#[test]
fn renames_that_cannot_be_say_which_and_why() {
    for (renames, text) in [
        (&[("x", "no-such")][..], "\"no-such\" is no command"),
        (&[("x", "config|get")], "\"config|get\" is no command"),
        (&[("x", "get"), ("y", "GET")], "\"get\" is renamed twice"),
        (&[("x", "get"), ("get", "")], "\"get\" is renamed twice"),
        (
            &[("x", "get"), ("X", "set")],
            "two commands are renamed to \"x\"",
        ),
        (
            &[("set", "get")],
            "\"set\" is another command, which is not renamed",
        ),
        (&[("", "")], "from nothing to nothing"),
    ] {
        let error = renamed(renames).unwrap_err();
        assert!(error.contains(text), "{renames:?}: {error}");
    }
}

/// What a server answers.
fn ask(server: &Redis, words: &[&str]) -> Value {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut request = Vec::new();
    encode::command(&mut request, words);
    stream.write_all(&request).unwrap();
    let (mut decoder, mut bytes) = (Decoder::new(Limits::default()), BytesMut::new());
    loop {
        if let Some(value) = decoder.decode(&mut bytes).unwrap() {
            return value;
        }
        let mut part = [0; 1 << 16];
        let n = stream.read(&mut part).unwrap();
        assert!(n > 0, "{words:?}: the server closed the connection");
        bytes.extend_from_slice(&part[..n]);
    }
}

/// Its names, subcommands included.
fn listed(reply: &Value) -> Vec<String> {
    let name = |value: &Value| value.as_array().unwrap()[0].as_str().unwrap().to_owned();
    let mut names = Vec::new();
    for command in reply.as_array().unwrap() {
        names.push(name(command));
        let subcommands = command.as_array().unwrap().get(9);
        let subcommands = subcommands.and_then(Value::as_array).unwrap_or_default();
        names.extend(subcommands.iter().map(name));
    }
    names
}

#[test]
fn a_real_server_changes_nothing_it_does_not_say() {
    let server = Redis::fresh().unwrap();
    let version = server.info("server").unwrap()["redis_version"].clone();
    let reply = ask(&server, &["COMMAND"]);
    let names = listed(&reply);
    assert!(names.len() > 200);
    let overlaid = commands().overlay(&reply);
    for name in &names {
        assert!(find(&overlaid, name).is_some(), "{name}");
    }
    for name in ["quit", "host:", "post"] {
        assert_eq!(find(&overlaid, name), find(&commands(), name));
    }
    if version.starts_with("7.0.") {
        for row in rows().filter(|row| names.iter().any(|name| name == row.name)) {
            assert_eq!(find(&overlaid, row.name), Some(row.spec()), "{}", row.name);
        }
        assert_eq!(overlaid.find(b"waitaof", None), None);
        let unknown = commands().find(b"client", Some(b"frobnicate"));
        assert_eq!(overlaid.find(b"client", Some(b"setinfo")), unknown);
    }
}

#[test]
fn a_real_server_lists_renamed_commands_so_that_they_are_found() {
    let args = [
        "--rename-command",
        "CONFIG",
        "cfg-x",
        "--rename-command",
        "KEYS",
        "",
    ];
    let server = Redis::start(Options {
        args: args.map(str::to_owned).to_vec(),
        ..Options::default()
    })
    .unwrap();
    let renames = [("cfg-x", "config"), ("keys", "")];
    let overlaid = renamed(&renames)
        .unwrap()
        .overlay(&ask(&server, &["COMMAND"]));
    let expected = commands().find(b"config", Some(b"get"));
    assert_eq!(overlaid.find(b"cfg-x", Some(b"get")), expected);
    assert!(ask(&server, &["cfg-x", "GET", "port"]).as_array().is_some());
    for name in ["config", "keys"] {
        assert_eq!(overlaid.find(name.as_bytes(), None), None);
        assert!(ask(&server, &[name, "*"]).error().is_some());
    }
}

/// Why these words must not share a connection.
#[test]
fn a_real_server_closes_the_connection_after_the_first_word_of_http() {
    let server = Redis::fresh().unwrap();
    for word in ["POST", "host:"] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut request = Vec::new();
        encode::command(&mut request, &[word, "x"]);
        stream.write_all(&request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let treat = commands().find(word.as_bytes(), None).unwrap().treat;
        assert_eq!((answer.len(), treat), (0, Treat::Sticky), "{word}");
    }
}

#[test]
fn commands_are_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Commands>();
    let none = BTreeMap::new();
    assert!(Commands::new(&none).is_ok());
}

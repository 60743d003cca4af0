//! Decides what is to be done about a command.
//!
//! By flags, where flags tell:
//!
//! - `write`: plain, on the primary, never twice.
//! - `readonly`: plain, and a replica may answer.
//! - Anything else, and whatever carries a flag of [`UNSURE`]: not known to be harmless.
//!
//! By name, where they do not:
//!
//! - What is neither `write` nor `readonly` (59 of 240 commands, 109 of 126 subcommands).
//!   A test makes sure that each one of Redis 7.0 is named.
//! - What answers from the server itself rather than from the data: two servers answer differently
//!   and both are right, so the client asks the primary, always: INFO, CONFIG, OBJECT, MEMORY, SLOWLOG,
//!   LATENCY, PUBSUB, CLUSTER and so on, and TOUCH, which is for the server's eviction.
//! - What may propagate without being `write`: EVAL, FCALL, PUBLISH, SPUBLISH, PFCOUNT. `COMMAND` of
//!   Redis 7.0 does not show the flag `may_replicate`.

use super::flags::{
    ADMIN, ALLOW_BUSY, ASKING, BLOCKING, MAY_REPLICATE, MODULE, NO_AUTH, NO_MULTI, NOSCRIPT,
    PUBSUB, READONLY, SKIP_MONITOR, WRITE,
};
use super::spec::Space::{Channel, Pattern, Shard};
use super::spec::{Reads, TimeoutArg, Treat};

/// On a command whose name says nothing to us, each of these is a reason to take it for one that
/// leaves something in the connection, waits, runs scripts, or answers otherwise than once.
const UNSURE: u32 =
    PUBSUB | NOSCRIPT | BLOCKING | ADMIN | NO_AUTH | NO_MULTI | ALLOW_BUSY | ASKING | SKIP_MONITOR;

/// On a plain command that we know otherwise, each of these is a reason not to trust what we know.
const CHANGED: u32 = PUBSUB | NOSCRIPT | BLOCKING;

/// What is to be done about the command (in lower case) with these flags.
pub(super) fn judge(name: &str, flags: u32) -> (Treat, Reads) {
    named(name).unwrap_or_else(|| by_flags(name, flags))
}

/// As [`judge`], when the flags of a command that the table knows with `known` flags are now what
/// the server says: they can only make it stricter.
pub(super) fn rejudge(name: &str, known: u32, server: u32) -> (Treat, Reads) {
    let (treat, reads) = judge(name, known);
    let shares = matches!(treat, Treat::Plain | Treat::Scan { .. });
    if shares && server & CHANGED & !known != 0 {
        return (Treat::Sticky, Reads::No);
    }
    let reads = if server & WRITE != 0 {
        Reads::No
    } else if server & READONLY == 0 || server & MAY_REPLICATE != 0 {
        reads.min(Reads::PrimaryOnly)
    } else {
        reads
    };
    (treat, reads)
}

/// Data types of well-known modules, whose `readonly` commands read keys and nothing else. Of others
/// (searches with cursors, time slices, graphs) that is not known.
const DATA_TYPES: [&str; 7] = ["json.", "ts.", "bf.", "cf.", "cms.", "topk.", "tdigest."];

fn by_flags(name: &str, flags: u32) -> (Treat, Reads) {
    if flags & UNSURE != 0 || flags & (WRITE | READONLY) == 0 {
        return (Treat::Sticky, Reads::No);
    }
    // A cursor belongs to one server, and reading from it twice skips what came between.
    if flags & WRITE != 0 || name.contains("cursor") {
        return (Treat::Plain, Reads::No);
    }
    let is_of_module = flags & MODULE != 0 || name.contains('.');
    let is_subcommand = name.contains('|');
    let only_primary = flags & MAY_REPLICATE != 0
        || name.contains("scan")
        || is_subcommand
        || is_of_module && !DATA_TYPES.iter().any(|prefix| name.starts_with(prefix));
    let reads = match only_primary {
        true => Reads::PrimaryOnly,
        false => Reads::Anywhere,
    };
    (Treat::Plain, reads)
}

fn named(name: &str) -> Option<(Treat, Reads)> {
    state(name)
        .or_else(|| waiting(name))
        .map(|treat| (treat, Reads::No))
        .or_else(|| treated_reads(name))
        .or_else(|| plain(name).map(|reads| (Treat::Plain, reads)))
}

/// What changes or asks for the state of the connection. The engine decides itself when these run
/// again.
fn state(name: &str) -> Option<Treat> {
    Some(match name {
        "select" => Treat::Select,
        "auth" => Treat::Auth,
        "hello" => Treat::Hello,
        "reset" => Treat::Reset,
        "quit" => Treat::Quit,
        "client" => Treat::Client,
        "multi" => Treat::Multi,
        "exec" => Treat::Exec,
        "discard" => Treat::Discard,
        "watch" => Treat::Watch,
        "unwatch" => Treat::Unwatch,
        "subscribe" => Treat::Subscribe(Channel),
        "psubscribe" => Treat::Subscribe(Pattern),
        "ssubscribe" => Treat::Subscribe(Shard),
        "unsubscribe" => Treat::Unsubscribe(Channel),
        "punsubscribe" => Treat::Unsubscribe(Pattern),
        "sunsubscribe" => Treat::Unsubscribe(Shard),
        "monitor" => Treat::Monitor,
        "sync" | "psync" | "replconf" => Treat::Relay,
        "shutdown" => Treat::Shutdown,
        "script|load" => Treat::ScriptLoad,
        "script|flush" => Treat::ScriptFlush,
        _ if is_in(&ALONE, name) => Treat::Alone,
        _ if is_in(&STICKY, name) => Treat::Sticky,
        _ if name.starts_with("client|") => Treat::Client,
        _ => return None,
    })
}

#[rustfmt::skip]
const ALONE: [(&str, &str); 3] = [
    // While a script runs, its connection is not read: these must come by another one.
    ("script", "kill"),
    ("function", "kill stats"),
    // DEBUG can do anything; DEBUG PROTOCOL sends what is no reply.
    ("", "debug"),
];

#[rustfmt::skip]
const STICKY: [(&str, &str); 4] = [
    // Of the connection: cluster redirection, the script debugger.
    ("", "asking readonly readwrite"),
    ("script", "debug"),
    // The server closes the connection.
    ("", "host: post"),
    // Containers, where the subcommand is missing or not known. (COMMAND alone is a command.)
    ("", "acl cluster config function latency memory module object pubsub script slowlog xgroup xinfo"),
];

/// What keeps its connection from others for a while.
fn waiting(name: &str) -> Option<Treat> {
    let timeout = match name {
        "wait" | "waitaof" => return Some(Treat::Wait),
        "blmpop" | "bzmpop" => TimeoutArg::First,
        "blpop" | "brpop" | "brpoplpush" | "blmove" | "bzpopmin" | "bzpopmax" => TimeoutArg::Last,
        _ => return None,
    };
    Some(Treat::Blocking { timeout })
}

/// What may run again though it is not plain.
fn treated_reads(name: &str) -> Option<(Treat, Reads)> {
    use Reads::{Anywhere, No, PrimaryOnly};
    Some(match name {
        "eval" | "evalsha" | "fcall" => (Treat::Script, No),
        // These cannot write, nor publish.
        "eval_ro" | "evalsha_ro" | "fcall_ro" => (Treat::Script, PrimaryOnly),
        // Where it does not block. XREADGROUP moves the group on.
        "xread" => (Treat::MayBlock, Anywhere),
        "xreadgroup" => (Treat::MayBlock, No),
        "scan" => (Treat::Scan { cursor: 1 }, Anywhere),
        "sscan" | "hscan" | "zscan" => (Treat::Scan { cursor: 2 }, Anywhere),
        "info" => (Treat::Info, PrimaryOnly),
        _ => return None,
    })
}

/// What is plain though its flags do not say so, and what may run less freely than they say.
fn plain(name: &str) -> Option<Reads> {
    if is_in(&OF_THE_SERVER, name) {
        Some(Reads::PrimaryOnly)
    } else if is_in(&CHANGES_THE_SERVER, name) {
        Some(Reads::No)
    } else {
        None
    }
}

fn is_in(list: &[(&str, &str)], name: &str) -> bool {
    let (container, name) = name.split_once('|').unwrap_or(("", name));
    let mut names = list.iter().filter(|(of, _)| *of == container);
    names.any(|(_, names)| names.split(' ').any(|it| it == name))
}

/// Answers from the server itself. Running it twice does what running it once does. By container.
#[rustfmt::skip]
const OF_THE_SERVER: [(&str, &str); 18] = [
    ("", "ping echo time lastsave role command pfselftest"),
    // Writes the estimate down in its key, which may propagate.
    ("", "pfcount"),
    // Counts as a use of the key for the server's eviction.
    ("", "touch"),
    ("acl", "cat dryrun genpass getuser list users whoami help"),
    ("cluster", "count-failure-reports countkeysinslot getkeysinslot info keyslot links myid nodes"),
    ("cluster", "replicas shards slaves slots help"),
    ("command", "count docs getkeys getkeysandflags info list help"),
    ("config", "get help"),
    ("function", "dump list help"),
    ("latency", "doctor graph histogram history latest help"),
    ("memory", "doctor malloc-stats stats usage help"),
    ("module", "list help"),
    ("object", "encoding freq idletime refcount help"),
    ("pubsub", "channels numpat numsub shardchannels shardnumsub help"),
    // A script that is loaded twice is loaded.
    ("script", "exists load help"),
    ("slowlog", "get len help"),
    // When consumers were last seen is not replicated.
    ("xinfo", "consumers groups stream help"),
    ("xgroup", "help"),
];

/// Changes the server, its files, its role or who listens, but nothing in the connection.
#[rustfmt::skip]
const CHANGES_THE_SERVER: [(&str, &str); 13] = [
    ("", "bgrewriteaof bgsave save failover replicaof slaveof publish spublish"),
    // Writes of data, whose other flags would look strange.
    ("", "pfdebug restore-asking"),
    // LOG may say RESET.
    ("acl", "deluser load log save setuser"),
    ("cluster", "addslots addslotsrange bumpepoch delslots delslotsrange failover flushslots forget"),
    ("cluster", "meet replicate reset saveconfig set-config-epoch setslot"),
    ("config", "resetstat rewrite set"),
    ("function", "delete flush load restore"),
    ("latency", "reset"),
    ("memory", "purge"),
    ("module", "load loadex unload"),
    ("script", "flush"),
    ("slowlog", "reset"),
    ("xgroup", "create createconsumer delconsumer destroy setid"),
];

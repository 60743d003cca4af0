//! Reads a server's reply to `COMMAND`, and lays it over what is known.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_resp::Value;

use super::flags::{MODULE, Row, flag};
use super::judge::{judge, rejudge};
use super::known::{Specs, rows};
use super::renames::Renames;
use super::spec::{Family, Spec};
use super::supplement::NEVER_LISTED;

/// How many commands and subcommands are looked at. Redis 7 with all of its modules has 700.
const MOST: usize = 8192;

/// The longest name that is taken.
const LONGEST: usize = 128;

/// What a server lists.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// By original name in lower case, subcommands as `container|subcommand`.
    entries: BTreeMap<String, Entry>,
    /// Commands of which subcommands are listed.
    containers: BTreeSet<String>,
    /// Some of it could not be read: nothing can be said about what is not in it.
    is_partial: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    arity: i16,
    flags: u32,
    first_key: i16,
    family: Family,
}

impl Listing {
    /// Reads the reply. Redis lists commands by their original names; `renames` translates the new
    /// ones for servers that list those.
    pub(super) fn read(reply: &Value, renames: &Renames) -> Self {
        let mut this = Self::default();
        for value in reply.as_array().unwrap_or_default() {
            let is_read = this.read_command(value, renames);
            this.is_partial |= is_read.is_none();
        }
        this.is_partial |= this.entries.is_empty();
        this
    }

    fn read_command(&mut self, value: &Value, renames: &Renames) -> Option<()> {
        let fields = value.as_array()?;
        let listed = name(fields)?;
        let name = match renames.original(&listed) {
            Some(original) if rows().all(|row| row.name != listed) => original.to_owned(),
            _ => listed,
        };
        let entry = entry(fields)?;
        self.insert(name.clone(), entry)?;
        let Some(subcommands) = fields.get(9) else {
            return Some(());
        };
        for value in subcommands.as_array()? {
            let is_read = self.read_subcommand(value, &name, entry.family);
            self.is_partial |= is_read.is_none();
        }
        Some(())
    }

    fn read_subcommand(&mut self, value: &Value, container: &str, family: Family) -> Option<()> {
        let fields = value.as_array()?;
        let full = full_name(fields)?;
        let sub = full.rsplit('|').next().filter(|sub| !sub.is_empty())?;
        let entry = Entry {
            family,
            ..entry(fields)?
        };
        self.insert(format!("{container}|{sub}"), entry)?;
        self.containers.insert(container.to_owned());
        Some(())
    }

    fn insert(&mut self, name: String, entry: Entry) -> Option<()> {
        if self.entries.len() >= MOST {
            return None;
        }
        self.entries.insert(name, entry);
        Some(())
    }

    /// What is to be done about each command of the server.
    pub(super) fn over_rows(mut self) -> Specs {
        let mut specs = Specs::new();
        for row in rows() {
            if let Some(entry) = self.entries.remove(row.name) {
                specs.insert(row.name.to_owned(), entry.over(row));
            } else if self.keeps(row) {
                specs.insert(row.name.to_owned(), row.spec());
            }
        }
        let new = self.entries.into_iter();
        specs.extend(new.map(|(name, entry)| {
            let spec = entry.spec(judge(&name, entry.flags), entry.family);
            (name, spec)
        }));
        specs
    }

    /// Whether a command that is not listed is kept.
    fn keeps(&self, row: &Row) -> bool {
        let lists_no_subcommands = || match row.name.split_once('|') {
            Some((container, _)) => !self.containers.contains(container),
            None => false,
        };
        self.is_partial || NEVER_LISTED.contains(&row.name) || lists_no_subcommands()
    }
}

impl Entry {
    fn over(self, row: &Row) -> Spec {
        self.spec(rejudge(row.name, row.flags, self.flags), row.family)
    }

    fn spec(self, (treat, reads): (super::Treat, super::Reads), family: Family) -> Spec {
        Spec {
            treat,
            reads,
            family,
            arity: self.arity,
            first_key: self.first_key,
        }
    }
}

/// The name of a command, in lower case.
fn name(fields: &[Value]) -> Option<String> {
    full_name(fields).filter(|name| !name.contains('|'))
}

fn full_name(fields: &[Value]) -> Option<String> {
    let name = fields.first()?.as_str()?;
    (1..=LONGEST)
        .contains(&name.len())
        .then(|| name.to_ascii_lowercase())
}

fn entry(fields: &[Value]) -> Option<Entry> {
    let int = |i: usize| i16::try_from(fields.get(i)?.as_int()?).ok();
    let names = fields.get(2)?.as_array()?.iter();
    let mut flags = names.map(|name| name.as_bytes().map(|name| flag(name)));
    let flags = flags.try_fold(0, |all, flag| Some(all | flag?))?;
    Some(Entry {
        arity: int(1).filter(|arity| *arity != 0)?,
        flags,
        first_key: int(3)?.max(0),
        family: family(flags, fields.get(6)),
    })
}

/// The server tells the group only in `COMMAND DOCS`, but the categories of its ACLs say much.
fn family(flags: u32, categories: Option<&Value>) -> Family {
    if flags & MODULE != 0 {
        return Family::Module;
    }
    let categories = categories.and_then(Value::as_array).unwrap_or_default();
    let mut families = categories.iter().filter_map(|it| of_category(it.as_str()?));
    families.next().unwrap_or(Family::Generic)
}

fn of_category(category: &str) -> Option<Family> {
    Some(match category {
        "@string" => Family::String,
        "@list" => Family::List,
        "@set" => Family::Set,
        "@sortedset" => Family::SortedSet,
        "@hash" => Family::Hash,
        "@pubsub" => Family::Pubsub,
        "@transaction" => Family::Transactions,
        "@connection" => Family::Connection,
        "@scripting" => Family::Scripting,
        "@hyperloglog" => Family::Hyperloglog,
        "@geo" => Family::Geo,
        "@stream" => Family::Stream,
        "@bitmap" => Family::Bitmap,
        "@admin" => Family::Server,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::{Commands, Reads, Treat};
    use super::*;

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
        // A module's command of that name cannot be: the server would not have loaded it.
        let both = [command("config", &[]), command("cfg-x write", &[])];
        let commands = renamed.overlay(&Value::Array(both.to_vec()));
        assert_eq!(find(&commands, "cfg-x|get"), find(&base(), "config|get"));
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
}

//! Reads a server's reply to `COMMAND`, and lays it over what is known.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bellwether_resp::Value;

use super::flags::{MODULE, Row, flag};
use super::judge::{judge, rejudge};
use super::known::{Specs, rows};
use super::renames::Renames;
use super::spec::{Family, Spec};
use super::supplement::NEVER_LISTED;

/// How many commands and subcommands are looked at. Redis 7.0 has 366; modules bring more.
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

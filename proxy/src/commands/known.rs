//! All commands of a server.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_resp::Value;

use super::flags::Row;
use super::index::{Found, Index, TOP};
use super::overlay::Listing;
use super::renames::Renames;
use super::spec::Spec;
use super::supplement::{HTTP, SUPPLEMENT};
use super::table::TABLE;

/// All commands of a server, as far as they are known. It does not change; workers share it.
#[derive(Debug)]
pub(crate) struct Commands {
    renames: Renames,
    index: Index,
}

/// By name in lower case, subcommands as `container|subcommand`.
pub(super) type Specs = BTreeMap<String, Spec>;

impl Commands {
    /// The commands of Redis 7.0, under the names that `renames` gives them: what the server calls
    /// it, to what it is. `rename-command CONFIG cfg-x` in the server's configuration is
    /// `"cfg-x" = "config"`, and `config` is unknown then. What was renamed to nothing is either
    /// `"" = "config"` or, for there may be several, `"config" = ""`.
    ///
    /// # Errors
    /// A name is not a command, is renamed twice, or is given to two commands. The text says which
    /// one and what is allowed.
    pub(crate) fn new(renames: &BTreeMap<String, String>) -> Result<Self, String> {
        let is_command = |name: &str| !name.contains('|') && rows().any(|row| row.name == name);
        let renames = Renames::new(renames, is_command)?;
        Ok(Self::called(renames, &specs()))
    }

    /// These commands as a server has them, by its reply to `COMMAND`.
    ///
    /// What it does not have is dropped. What is new, of a newer version or of a module, is judged by
    /// its flags; what these do not show to be harmless becomes [`Treat::Sticky`](super::Treat).
    /// What is known follows the server where that is stricter. Servers before Redis 7 list no
    /// subcommands: then the known ones stay.
    ///
    /// The result depends on the renames and on `reply`, not on earlier overlays. An error reply, or
    /// anything that is no list of commands, changes nothing; of a list that is malformed or too long
    /// in part, what can be read is taken, and nothing is dropped.
    #[must_use]
    pub(crate) fn overlay(&self, reply: &Value) -> Self {
        let listing = Listing::read(reply, &self.renames);
        Self::called(self.renames.clone(), &listing.over_rows())
    }

    /// What is known of a command. `sub` is its first argument, if it has one.
    ///
    /// A subcommand that is not known gets what is safe for any. `None`: the server does not have
    /// the command, as far as is known; it may have come with a module since.
    #[inline]
    #[must_use]
    pub(crate) fn find(&self, name: &[u8], sub: Option<&[u8]>) -> Option<Spec> {
        let found = self.index.find(TOP, name)?;
        match sub {
            Some(sub) if found.container != TOP => Some(self.find_sub(found, sub)),
            _ => Some(found.spec),
        }
    }

    /// What Redis calls a command, subcommands as `container|subcommand`. `None`: it is not known.
    #[must_use]
    pub(crate) fn full_name(&self, name: &[u8], sub: Option<&[u8]>) -> Option<String> {
        let found = self.index.find(TOP, name)?;
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let name = self
            .renames
            .original(&name)
            .map_or_else(|| name.clone(), str::to_owned);
        let Some(sub) = sub.filter(|_| found.container != TOP) else {
            return Some(name);
        };
        self.index.find(found.container, sub)?;
        let sub = String::from_utf8_lossy(sub).to_ascii_lowercase();
        Some(format!("{name}|{sub}"))
    }

    fn find_sub(&self, container: &Found, sub: &[u8]) -> Spec {
        match self.index.find(container.container, sub) {
            Some(found) => found.spec,
            None => container.spec.of_unknown_subcommand(),
        }
    }

    fn called(renames: Renames, specs: &Specs) -> Self {
        let containers: BTreeSet<&str> = specs.keys().filter_map(|name| container(name)).collect();
        let containers: BTreeMap<&str, u16> = containers.into_iter().zip(TOP + 1..).collect();
        let mut index = Index::with_capacity(specs.len());
        for (name, &spec) in specs {
            if let Some((container, sub)) = name.split_once('|') {
                let found = Found {
                    spec,
                    container: TOP,
                };
                index.insert(containers[container], sub.as_bytes(), found);
            } else if let Some(called) = renames.name(name) {
                let container = containers.get(name.as_str()).copied().unwrap_or(TOP);
                index.insert(TOP, called.as_bytes(), Found { spec, container });
            }
        }
        Self { renames, index }
    }
}

/// What is known without asking a server.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().chain(SUPPLEMENT).chain(HTTP)
}

fn specs() -> Specs {
    let spec = |row: &Row| (row.name.to_owned(), row.spec());
    rows().map(spec).collect()
}

fn container(name: &str) -> Option<&str> {
    name.split_once('|').map(|(container, _)| container)
}

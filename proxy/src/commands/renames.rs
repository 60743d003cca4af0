//! What `rename-command` in the server's configuration did to the names of commands.

use std::collections::BTreeMap;

/// By original name: the name that the server gave it, `None` if it took it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Renames {
    renamed: BTreeMap<String, Option<String>>,
}

impl Renames {
    /// `renames` is what the server calls it, to what it is; `is_command` knows the originals.
    ///
    /// # Errors
    /// See [`Commands::new`](super::Commands::new).
    pub(super) fn new(
        renames: &BTreeMap<String, String>,
        is_command: impl Fn(&str) -> bool,
    ) -> Result<Self, String> {
        let mut this = Self::default();
        for (name, original) in renames {
            let (name, original) = (name.to_ascii_lowercase(), original.to_ascii_lowercase());
            let (original, name) = match (name.is_empty(), original.is_empty()) {
                (true, true) => return Err("a rename from nothing to nothing".to_owned()),
                (true, false) => (original, None),
                (false, true) => (name, None),
                (false, false) => (original, Some(name)),
            };
            if !is_command(&original) {
                return Err(format!(
                    "{original:?} is no command of Redis 7.0; leave out what newer servers and \
                     modules rename"
                ));
            }
            if this.renamed.contains_key(&original) {
                return Err(format!("{original:?} is renamed twice"));
            }
            this.renamed.insert(original, name);
        }
        this.check_names(is_command)?;
        Ok(this)
    }

    /// No two commands may have one name.
    fn check_names(&self, is_command: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut names: Vec<_> = self.renamed.values().flatten().collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two commands are renamed to {:?}", twice[0]));
        }
        let is_taken = |name: &&&String| is_command(name) && !self.renamed.contains_key(**name);
        match names.iter().find(is_taken) {
            Some(name) => Err(format!("{name:?} is another command, which is not renamed")),
            None => Ok(()),
        }
    }

    /// What the server calls this command, `None` if nothing.
    pub(super) fn name<'a>(&'a self, original: &'a str) -> Option<&'a str> {
        match self.renamed.get(original) {
            Some(name) => name.as_deref(),
            None => Some(original),
        }
    }

    /// What the command with this new name is.
    pub(super) fn original(&self, name: &str) -> Option<&str> {
        let mut all = self.renamed.iter();
        let (original, _) = all.find(|(_, to)| to.as_deref() == Some(name))?;
        Some(original)
    }
}

//! The differences that are accepted.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::cargo::root;

/// One of them. Where a unit runs a case in several ways under one name, it stands for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) unit: String,
    pub(super) case: String,
    pub(super) reason: String,
}

/// All of them, from a file whose lines are `unit | case | reason`.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) entries: Vec<Entry>,
}

/// In the workspace.
pub(super) const FILE: &str = "xtask/src/conformance/known.txt";

impl Known {
    /// # Errors
    ///
    /// When the file cannot be read, or a line is not made as it should be.
    pub(super) fn read() -> Result<Self> {
        let text = fs::read_to_string(root().join(FILE)).context(FILE)?;
        Self::parse(&text).context(FILE)
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().enumerate();
        let entries = lines
            .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
            .map(|(index, line)| entry(line).with_context(|| format!("line {}", index + 1)))
            .collect::<Result<_>>()?;
        Ok(Self { entries })
    }

    pub(super) fn find(&self, unit: &str, case: &str) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.unit == unit && entry.case == case)
    }
}

fn entry(line: &str) -> Result<Entry> {
    let parts: Vec<_> = line.split(" | ").map(str::trim).collect();
    let [unit, case, reason] = parts[..] else {
        anyhow::bail!("not `unit | case | reason`: {line}");
    };
    ensure!(!reason.is_empty(), "no reason is given: {line}");
    Ok(Entry {
        unit: unit.to_owned(),
        case: case.to_owned(),
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_a_reason() {
        let known = Known::parse("# why\n\nunit/a | a case, or two | because\n").unwrap();
        assert_eq!(
            known.find("unit/a", "a case, or two").unwrap().reason,
            "because"
        );
        assert_eq!(known.find("unit/b", "a case, or two"), None);
        assert_eq!(known.find("unit/a", "a case"), None);
        for line in [
            "unit/a | case",
            "unit/a | case | ",
            "unit/a",
            "a | b | c | d",
        ] {
            assert!(Known::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_file_can_be_read() {
        Known::read().unwrap();
    }
}

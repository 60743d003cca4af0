//! A model of a dataset: a log of what was written, and its place in a history.

use bellwether_election::Term;

use crate::{Papers, Passport, Position, passport::Issue};

/// The group of the agents.
pub(super) const GROUP: &str = "flock";

/// One step of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Write(u32),
    /// A passport, of this group or of another.
    Stamp {
        issue: Issue,
        foreign: bool,
        blank: bool,
    },
    /// A user removes all keys.
    Flush,
    /// A user removes all functions, and so the passport.
    FlushFunctions,
}

/// A dataset and its place in a history of writes.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) id: u64,
    /// The offset before the first entry of `log`; negative after a restart that kept the data and
    /// not the offset.
    base: i64,
    pub(super) log: Vec<Entry>,
    pub(super) previous: Option<(u64, u64)>,
}

impl Data {
    pub(super) fn empty(id: u64) -> Self {
        Self {
            id,
            base: 0,
            log: Vec::new(),
            previous: None,
        }
    }

    /// What was written so far under another name and from offset 0, as after loading a file that
    /// keeps no replication id.
    pub(super) fn renamed(mut self, id: u64) -> Self {
        self.id = id;
        self.base = -i64::try_from(self.log.len()).expect("short logs");
        self.previous = None;
        self
    }

    /// What a file holds that was written when there were `most` entries: it knows the history of
    /// then.
    pub(super) fn snapshot(mut self, most: usize) -> Self {
        let least = usize::try_from(-self.base).unwrap_or(0);
        self.log.truncate(most.max(least));
        if let Some((id, end)) = self.previous.take()
            && self.offset() < end
        {
            self.id = id;
        }
        self
    }

    /// The same under a new history that continues the old one.
    pub(super) fn continued(mut self, id: u64) -> Self {
        self.previous = Some((self.id, self.offset() + 1));
        self.id = id;
        self
    }

    /// All is dropped, to be replaced by a copy that begins to arrive.
    pub(super) fn drop_all(&mut self) {
        self.log.clear();
        self.base = 0;
    }

    pub(super) fn offset(&self) -> u64 {
        let end = self.base + i64::try_from(self.log.len()).expect("short logs");
        u64::try_from(end).expect("no offset is negative")
    }

    pub(super) fn keys(&self) -> u64 {
        let since_flush = self
            .log
            .iter()
            .rev()
            .take_while(|entry| **entry != Entry::Flush);
        since_flush
            .filter(|entry| matches!(entry, Entry::Write(_)))
            .count() as u64
    }

    pub(super) fn has_data(&self) -> bool {
        self.keys() > 0
    }

    pub(super) fn is_blank(&self) -> bool {
        let papers = self.papers();
        !self.has_data() && papers.passport().is_none_or(|passport| passport.blank)
    }

    /// Whether users removed what there was.
    pub(super) fn was_emptied(&self) -> bool {
        self.log.contains(&Entry::Flush) || self.log.contains(&Entry::FlushFunctions)
    }

    pub(super) fn papers(&self) -> Papers {
        let last = self.log.iter().rev().find_map(|entry| match entry {
            Entry::Stamp {
                issue,
                foreign,
                blank,
            } => Some(Some((issue, foreign, blank))),
            Entry::FlushFunctions => Some(None),
            Entry::Write(_) | Entry::Flush => None,
        });
        last.flatten()
            .map_or(Papers::None, |(issue, foreign, blank)| {
                Papers::Passport(Passport {
                    group: if *foreign { "another" } else { GROUP }.to_owned(),
                    term: issue.term,
                    mark: issue.mark,
                    blank: *blank,
                })
            })
    }

    pub(super) fn is_foreign(&self) -> bool {
        let papers = self.papers();
        papers
            .passport()
            .is_some_and(|passport| passport.group != GROUP)
    }

    /// How late it is; what has no passport of this group comes first.
    pub(super) fn issue(&self) -> Issue {
        let papers = self.papers();
        let ours = papers.passport().filter(|passport| passport.group == GROUP);
        ours.map(Passport::issue).unwrap_or_default()
    }

    /// How late it was made, whatever users removed since.
    pub(super) fn stamped(&self) -> Issue {
        let issues = self.log.iter().filter_map(|entry| match entry {
            Entry::Stamp { issue, foreign, .. } if !foreign => Some(*issue),
            _ => None,
        });
        issues.max().unwrap_or_default()
    }

    /// Some writes of a group that this one does not know.
    pub(super) fn foreign(id: u64) -> Self {
        let mut data = Self::empty(id);
        let issue = Issue {
            term: Term(1_000),
            mark: 0,
        };
        let stamp = Entry::Stamp {
            issue,
            foreign: true,
            blank: false,
        };
        data.log = vec![stamp, Entry::Write(u32::MAX)];
        data
    }

    /// What comes after `offset`.
    pub(super) fn after(&self, offset: u64) -> &[Entry] {
        let from = i64::try_from(offset).expect("small offsets") - self.base;
        &self.log[usize::try_from(from).expect("not before the log")..]
    }

    pub(super) fn position(&self) -> Position {
        let name = |id: u64| format!("{id:08x}");
        Position {
            replication_id: name(self.id),
            offset: self.offset(),
            previous: self.previous.map(|(id, end)| (name(id), end)),
        }
    }
}

/// The entry that a passport is written by.
pub(super) fn stamp(passport: &Passport) -> Entry {
    Entry::Stamp {
        issue: passport.issue(),
        foreign: passport.group != GROUP,
        blank: passport.blank,
    }
}

//! What the members of a group keep the same by Raft: who they are, and who leads.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    sync::Arc,
};

use bellwether_raft::{Commands, StateMachine, View};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{MAX_CARD, MAX_RANK, NodeId, Rank};

/// A node of the Raft group: a member for as long as it has its log.
pub(crate) type Voter = u64;

/// More members are not kept.
const MAX_MEMBERS: usize = 256;

/// A member's name has at most this many bytes.
const MAX_NAME: usize = 255;

/// A snapshot is at most this long, in bytes: all members with the longest names, cards and ranks.
pub(crate) const MAX_TABLE: u64 = 2 * 1024 * 1024;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) members: BTreeMap<Voter, Entry>,
    /// Counts the spells of leadership: the number of the present one, or of the last one.
    pub(crate) spells: u64,
    /// Who has taken the lead in the last spell, unless it has given it up.
    pub(crate) holder: Option<Holder>,
    /// Whom the others let go first in this vacancy.
    pub(crate) heir: Option<Voter>,
}

/// A member by its own word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) node: NodeId,
    pub(crate) card: Bytes,
    /// What it has said in the present vacancy.
    pub(crate) word: Option<Word>,
}

/// Whether a member stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Word {
    /// The spell before the vacancy in which this was said.
    pub(crate) after: u64,
    /// With which rank it stands, if it does.
    pub(crate) candidacy: Option<Rank>,
}

/// Who has taken the lead, as the Raft leader of which of Raft's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) voter: Voter,
    pub(crate) raft_term: u64,
}

/// A change. Each is harmless when it comes late or twice: a member's own word it repeats until the
/// table agrees, and all others name the spell that they were decided in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// A member says who it is and whether it stands.
    Tell(Voter, Entry),
    /// The Raft leader takes the lead; the spell before is `after`.
    Take { holder: Holder, after: u64 },
    /// Who leads gives up, in favour of `heir` if there is one.
    Vacate { spell: u64, heir: Option<Voter> },
    /// The vote in the vacancy after this spell was for `heir`.
    Appoint { after: u64, heir: Voter },
    /// A member is gone.
    Forget(Voter),
}

impl Command {
    pub(crate) fn encode(&self) -> Bytes {
        let bytes = postcard::to_stdvec(self);
        bytes
            .expect("commands have no part that cannot be encoded")
            .into()
    }

    /// Nothing, if it is none, or one that no honest member proposes.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let Ok((command, [])) = postcard::take_from_bytes::<Self>(bytes) else {
            return None;
        };
        match &command {
            Self::Tell(_, entry) if !entry.is_bounded() => None,
            _ => Some(command),
        }
    }
}

impl Entry {
    fn is_bounded(&self) -> bool {
        let rank = self.word.as_ref().and_then(|word| word.candidacy.as_ref());
        (1..=MAX_NAME).contains(&self.node.member.len())
            && self.card.len() <= MAX_CARD
            && rank.is_none_or(|rank| rank.0.len() <= MAX_RANK)
    }
}

impl Table {
    /// What this member has said in the present vacancy.
    pub(crate) fn word(&self, voter: Voter) -> Option<&Word> {
        let word = self.members.get(&voter)?.word.as_ref();
        word.filter(|word| word.after == self.spells)
    }

    pub(crate) fn apply(&mut self, command: Command) {
        match command {
            Command::Tell(voter, entry) => {
                if self.members.len() < MAX_MEMBERS || self.members.contains_key(&voter) {
                    self.members.insert(voter, entry);
                }
            }
            Command::Take { holder, after } if after == self.spells => {
                self.spells += 1;
                self.holder = Some(holder);
                self.heir = None;
                // What was said in this vacancy is not valid in the next one.
                self.members
                    .values_mut()
                    .for_each(|entry| entry.word = None);
            }
            Command::Vacate { spell, heir } if spell == self.spells && self.holder.is_some() => {
                self.holder = None;
                self.heir = heir;
            }
            Command::Appoint { after, heir } if after == self.spells => self.heir = Some(heir),
            Command::Take { .. } | Command::Vacate { .. } | Command::Appoint { .. } => {}
            Command::Forget(voter) => {
                self.members.remove(&voter);
            }
        }
    }
}

/// The table as Raft keeps it. Each change is told.
#[derive(Debug)]
pub(crate) struct Register {
    table: Table,
    news: watch::Sender<Arc<Table>>,
}

impl Register {
    pub(crate) fn new() -> (Self, watch::Receiver<Arc<Table>>) {
        let (news, told) = watch::channel(Arc::default());
        let table = Table::default();
        (Self { table, news }, told)
    }
}

impl StateMachine for Register {
    type View = Table;

    fn apply(&mut self, _index: u64, commands: &Commands) -> Vec<Bytes> {
        for command in commands.iter().filter_map(Command::decode) {
            self.table.apply(command);
        }
        self.news.send_replace(Arc::new(self.table.clone()));
        Vec::new()
    }

    fn view(&self) -> Table {
        self.table.clone()
    }

    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.take(MAX_TABLE + 1).read_to_end(&mut bytes)?;
        let Ok((table, [])) = postcard::take_from_bytes(&bytes) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        self.table = table;
        self.news.send_replace(Arc::new(self.table.clone()));
        Ok(())
    }
}

impl View for Table {
    fn write(self, to: &mut dyn io::Write) -> io::Result<()> {
        let bytes = postcard::to_stdvec(&self).map_err(io::Error::other)?;
        to.write_all(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn entry(card: usize) -> Entry {
        Entry {
            node: NodeId {
                member: "dolly".into(),
                incarnation: Uuid::from_u128(1),
            },
            card: vec![7; card].into(),
            word: Some(Word {
                after: 0,
                candidacy: Some(Rank(vec![1])),
            }),
        }
    }

    fn take(voter: Voter, after: u64) -> Command {
        let holder = Holder {
            voter,
            raft_term: 1,
        };
        Command::Take { holder, after }
    }

    #[test]
    fn what_comes_late_or_twice_changes_nothing() {
        let mut table = Table::default();
        table.apply(Command::Tell(1, entry(3)));
        assert!(table.word(1).is_some());
        table.apply(take(1, 0));
        assert_eq!((table.spells, table.word(1)), (1, None));
        let leads = table.clone();
        for late in [
            take(1, 0),
            take(2, 0),
            Command::Vacate {
                spell: 0,
                heir: Some(2),
            },
            Command::Appoint { after: 0, heir: 2 },
        ] {
            table.apply(late);
            assert_eq!(table, leads);
        }
        let vacate = Command::Vacate {
            spell: 1,
            heir: Some(2),
        };
        table.apply(vacate);
        assert_eq!((table.holder, table.heir), (None, Some(2)));
        let again = Command::Vacate {
            spell: 1,
            heir: None,
        };
        table.apply(again);
        assert_eq!(table.heir, Some(2), "nobody led any more");
        table.apply(take(2, 1));
        assert_eq!((table.spells, table.heir), (2, None));
    }

    #[test]
    fn what_is_too_long_or_too_much_is_not_kept() {
        let whole = |card| Command::decode(&Command::Tell(1, entry(card)).encode());
        assert!(whole(MAX_CARD).is_some());
        assert!(whole(MAX_CARD + 1).is_none());
        let mut table = Table::default();
        for voter in 0..=256 {
            table.apply(Command::Tell(voter, entry(MAX_CARD)));
        }
        assert_eq!(table.members.len(), MAX_MEMBERS);
        let mut snapshot = Vec::new();
        table.clone().write(&mut snapshot).unwrap();
        assert!(snapshot.len() as u64 <= MAX_TABLE);
        let (mut register, told) = Register::new();
        register.restore(&mut &snapshot[..]).unwrap();
        assert_eq!(**told.borrow(), table);
        assert!(register.restore(&mut &snapshot[1..]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_command_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            if let Some(command) = Command::decode(&bytes) {
                let mut table = Table::default();
                table.apply(command);
            }
        }
    }
}

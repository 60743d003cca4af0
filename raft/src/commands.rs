//! Commands on their way to the state machine: one log entry carries many.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// How many bytes each command takes besides its own.
pub(crate) const OVERHEAD: usize = 4;

/// The commands of one log entry, in the order in which they were proposed.
///
/// They lie in one piece of memory, each behind its length, so that an entry is copied to the log
/// and to the network as it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Commands {
    count: usize,
    bytes: Bytes,
}

impl Commands {
    /// Gathers commands.
    pub(crate) fn gather<'a>(commands: impl IntoIterator<Item = &'a Bytes>) -> Self {
        let mut bytes = BytesMut::new();
        let mut count = 0;
        for command in commands {
            bytes.put_u32(u32::try_from(command.len()).expect("proposals are bounded"));
            bytes.put_slice(command);
            count += 1;
        }
        Self {
            count,
            bytes: bytes.freeze(),
        }
    }

    /// Takes what another node or the log holds; `None` if these are no commands.
    pub(crate) fn read(bytes: Bytes) -> Option<Self> {
        let mut count = 0;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = split(rest)?.1;
            count += 1;
        }
        Some(Self { count, bytes })
    }

    /// As they travel and are stored.
    pub(crate) fn encoded(&self) -> &Bytes {
        &self.bytes
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One after the other, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (command, behind) = split(rest)?;
            rest = behind;
            Some(command)
        })
    }

    /// As [`iter`](Self::iter), for who keeps commands: each is a handle on the shared memory.
    pub fn slices(&self) -> impl Iterator<Item = Bytes> {
        self.iter().map(|command| self.bytes.slice_ref(command))
    }
}

/// The first command and what is behind it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<OVERHEAD>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands in {} bytes", self.count, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_cut_short_is_no_command() {
        let whole = Commands::gather(&[Bytes::from("INCR a"), Bytes::new()]);
        for length in 1..whole.encoded().len() {
            let cut = Commands::read(whole.encoded().slice(..length));
            // A cut between two commands leaves the first one.
            assert_eq!(cut.is_some(), length == OVERHEAD + 6, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn commands_are_read_as_they_were_gathered(
            all in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..9),
        ) {
            let all: Vec<Bytes> = all.into_iter().map(Bytes::from).collect();
            let gathered = Commands::gather(&all);
            let read = Commands::read(gathered.encoded().clone()).expect("it is whole");
            prop_assert_eq!(&read, &gathered);
            prop_assert_eq!(read.len(), all.len());
            prop_assert_eq!(read.slices().collect::<Vec<_>>(), all);
        }
    }
}

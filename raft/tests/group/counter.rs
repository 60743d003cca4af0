//! A replicated counter.

use std::io::{self, Read, Write};

use bellwether_raft::{Commands, StateMachine, View};
use bytes::Bytes;

/// Adds up what is proposed, and remembers each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) sum: u64,
    pub(crate) seen: Vec<u64>,
}

/// A command.
pub(crate) fn add(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// A reply.
pub(crate) fn sum(reply: &Bytes) -> u64 {
    u64::from_be_bytes(reply[..].try_into().expect("a reply is a number"))
}

impl StateMachine for Counter {
    type View = Counter;

    fn apply(&mut self, _index: u64, commands: &Commands) -> Vec<Bytes> {
        let add_one = |command: &[u8]| {
            let number = u64::from_be_bytes(command.try_into().expect("a command is a number"));
            self.sum += number;
            self.seen.push(number);
            add(self.sum)
        };
        commands.iter().map(add_one).collect()
    }

    fn view(&self) -> Counter {
        self.clone()
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let (numbers, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.seen = numbers.iter().map(|n| u64::from_be_bytes(*n)).collect();
        self.sum = self.seen.iter().sum();
        Ok(())
    }
}

impl View for Counter {
    fn write(self, to: &mut dyn Write) -> io::Result<()> {
        for number in self.seen {
            to.write_all(&number.to_be_bytes())?;
        }
        Ok(())
    }
}

//! A small state, so that applying costs little beside what is measured.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
};

use bellwether_raft::{Commands, StateMachine, View};
use bytes::Bytes;

/// A command has so many bytes: a key of eight, the rest is its value.
pub(crate) const COMMAND: usize = 64;

/// There are so many keys.
pub(crate) const KEYS: u64 = 10_000;

/// The last value of each key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(HashMap<[u8; 8], [u8; COMMAND - 8]>);

/// A command, of any number.
pub(crate) fn set(number: u64) -> Bytes {
    let mut command = [7; COMMAND];
    command[..8].copy_from_slice(&(number % KEYS).to_be_bytes());
    Bytes::copy_from_slice(&command)
}

impl Slots {
    fn set(&mut self, command: &[u8]) -> io::Result<()> {
        let (key, value) = command
            .split_first_chunk()
            .ok_or(io::ErrorKind::InvalidData)?;
        let value = value.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
        self.0.insert(*key, value);
        Ok(())
    }
}

impl StateMachine for Slots {
    type View = Self;

    fn apply(&mut self, _index: u64, commands: &Commands) -> Vec<Bytes> {
        let set = |command| {
            self.set(command).expect("nothing else is proposed");
            Bytes::from_static(b"OK")
        };
        commands.iter().map(set).collect()
    }

    fn view(&self) -> Self {
        self.clone()
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        self.0.clear();
        bytes
            .chunks(COMMAND)
            .try_for_each(|command| self.set(command))
    }
}

impl View for Slots {
    fn write(self, to: &mut dyn Write) -> io::Result<()> {
        for (key, value) in &self.0 {
            to.write_all(key)?;
            to.write_all(value)?;
        }
        Ok(())
    }
}

//! The state of a client's connection that can be set up again on another one.

use bellwether_resp::encode;
use bytes::{Bytes, BytesMut};

use super::buffer::Buffer;

/// What a command that was answered with success has set.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Requests, ready to be sent. The fields stand in the order in which they must run.
    auth: Option<Bytes>,
    protocol: Option<Bytes>,
    database: Option<Bytes>,
    name: Option<Bytes>,
    library: Option<Bytes>,
    library_version: Option<Bytes>,
}

impl Memory {
    /// What this command sets if it succeeds. `None` if that is not understood: then the server
    /// will not accept it, or the session cannot be restored.
    pub(crate) fn of(arguments: &[&[u8]]) -> Option<Self> {
        let mut set = Self::default();
        let (name, rest) = arguments.split_first()?;
        if name.eq_ignore_ascii_case(b"AUTH") {
            set.auth = Some(request(arguments));
        } else if name.eq_ignore_ascii_case(b"SELECT") {
            set.database = Some(request(arguments));
        } else if name.eq_ignore_ascii_case(b"HELLO") {
            set.hello(rest)?;
        } else {
            set.client(rest)?;
        }
        Some(set)
    }

    /// `[protover [AUTH username password] [SETNAME clientname]]`
    fn hello(&mut self, arguments: &[&[u8]]) -> Option<()> {
        let Some((version, mut options)) = arguments.split_first() else {
            return Some(());
        };
        self.protocol = Some(request(&[b"HELLO", version]));
        loop {
            options = match options {
                [] => return Some(()),
                [word, user, password, rest @ ..] if word.eq_ignore_ascii_case(b"AUTH") => {
                    self.auth = Some(request(&[b"AUTH", user, password]));
                    rest
                }
                [word, name, rest @ ..] if word.eq_ignore_ascii_case(b"SETNAME") => {
                    self.name = Some(request(&[b"CLIENT", b"SETNAME", name]));
                    rest
                }
                _ => return None,
            };
        }
    }

    /// `SETNAME name`, `SETINFO LIB-NAME name`, `SETINFO LIB-VER version`
    fn client(&mut self, arguments: &[&[u8]]) -> Option<()> {
        match arguments {
            [word, name] if word.eq_ignore_ascii_case(b"SETNAME") => {
                self.name = Some(request(&[b"CLIENT", b"SETNAME", name]));
            }
            [word, what, value] if word.eq_ignore_ascii_case(b"SETINFO") => {
                let info = Some(request(&[b"CLIENT", b"SETINFO", what, value]));
                if what.eq_ignore_ascii_case(b"LIB-NAME") {
                    self.library = info;
                } else if what.eq_ignore_ascii_case(b"LIB-VER") {
                    self.library_version = info;
                } else {
                    return None;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Takes over what `newer` sets.
    pub(crate) fn learn(&mut self, newer: Self) {
        let pairs = self.fields_mut().into_iter().zip(newer.into_fields());
        for (field, new) in pairs {
            if new.is_some() {
                *field = new;
            }
        }
    }

    /// Writes the requests that set all of it up again; returns how many.
    pub(crate) fn write(&self, out: &mut Buffer) -> usize {
        let requests = self.fields().into_iter().flatten();
        requests.map(|request| out.extend(request)).count()
    }

    fn fields(&self) -> [&Option<Bytes>; 6] {
        [
            &self.auth,
            &self.protocol,
            &self.database,
            &self.name,
            &self.library,
            &self.library_version,
        ]
    }

    fn fields_mut(&mut self) -> [&mut Option<Bytes>; 6] {
        [
            &mut self.auth,
            &mut self.protocol,
            &mut self.database,
            &mut self.name,
            &mut self.library,
            &mut self.library_version,
        ]
    }

    fn into_fields(self) -> [Option<Bytes>; 6] {
        [
            self.auth,
            self.protocol,
            self.database,
            self.name,
            self.library,
            self.library_version,
        ]
    }
}

fn request(arguments: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    encode::command(&mut out, arguments);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(lines: &[&str]) -> String {
        let mut memory = Memory::default();
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            memory.learn(Memory::of(&words).unwrap());
        }
        let mut out = Buffer::default();
        memory.write(&mut out);
        let text = String::from_utf8(out.as_slice().to_vec()).unwrap();
        let words = text
            .split("\r\n")
            .filter(|line| !line.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_latest_of_each_is_restored_in_a_working_order() {
        let lines = [
            "select 3",
            "hello 3 auth u p setname n",
            "auth v q",
            "hello 2",
            "select 1",
        ];
        assert_eq!(
            learned(&lines),
            "auth v q HELLO 2 select 1 CLIENT SETNAME n "
        );
    }

    #[test]
    fn client_info_is_kept_per_attribute() {
        let lines = ["client setinfo lib-name a", "client setinfo lib-ver 1"];
        assert_eq!(
            learned(&lines),
            "CLIENT SETINFO lib-name a CLIENT SETINFO lib-ver 1 "
        );
    }

    #[test]
    fn what_is_not_understood_is_not_learned() {
        assert_eq!(Memory::of(&[b"HELLO", b"3", b"NEWOPTION"]), None);
        assert_eq!(Memory::of(&[b"CLIENT", b"SETINFO", b"x", b"y"]), None);
        assert_eq!(Memory::of(&[b"HELLO"]), Some(Memory::default()));
    }
}

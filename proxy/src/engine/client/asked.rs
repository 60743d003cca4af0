//! What a client asked last.

use crate::commands::Commands;

/// Enough for the longest name of a command and of its subcommand.
const HEAD: usize = 48;

/// The beginning of the last request. What it says is only read when somebody wants to know, because
/// it changes with each read from each client.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Asked([u8; HEAD]);

impl Default for Asked {
    fn default() -> Self {
        Self([0; HEAD])
    }
}

impl Asked {
    /// This, with which the bytes begin, is a client's last request.
    #[inline]
    pub(in crate::engine) fn note(&mut self, bytes: &[u8]) {
        match bytes.first_chunk() {
            Some(head) => self.0 = *head,
            None => {
                self.0 = [0; HEAD];
                self.0[..bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// Redis's name of the command, subcommands as `container|subcommand`; `NULL` if there was none
    /// or it is not known.
    pub(super) fn name(&self, commands: &Commands) -> String {
        let words = self.words();
        let mut words = words.iter().map(Vec::as_slice);
        let name = words.next().unwrap_or_default();
        let name = commands.full_name(name, words.next());
        name.unwrap_or_else(|| "NULL".to_owned())
    }

    /// The first two words, as far as they are there.
    fn words(&self) -> Vec<Vec<u8>> {
        if self.0[0] == b'*' {
            return self.bulks().unwrap_or_default();
        }
        let line = self
            .0
            .split(|byte| matches!(byte, b'\r' | b'\n' | 0))
            .next();
        let words = line.unwrap_or_default().split(u8::is_ascii_whitespace);
        words
            .filter(|word| !word.is_empty())
            .take(2)
            .map(<[u8]>::to_vec)
            .collect()
    }

    fn bulks(&self) -> Option<Vec<Vec<u8>>> {
        let (count, mut rest) = header(&self.0)?;
        let mut words = Vec::new();
        while words.len() < count.min(2)
            && let Some((len, after)) = header(rest)
            && let Some(word) = after.get(..len)
        {
            words.push(word.to_vec());
            rest = after.get(len + 2..).unwrap_or_default();
        }
        Some(words)
    }
}

/// The number of `*3` or `$3`, and what is behind that line.
fn header(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let number = std::str::from_utf8(bytes.get(1..end)?).ok()?;
    Some((number.trim_end().parse().ok()?, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn name(request: &[u8]) -> String {
        let commands = Commands::new(&BTreeMap::new()).expect("no renames");
        let mut asked = Asked::default();
        asked.note(request);
        asked.name(&commands)
    }

    #[test]
    fn the_last_command_has_its_full_name() {
        for (request, expected) in [
            ("", "NULL"),
            ("*1\r\n$4\r\nPING\r\n", "ping"),
            ("*2\r\n$4\r\nPING\r\n$4\r\nlist\r\n", "ping"),
            ("*2\r\n$6\r\nclient\r\n$4\r\nLIST\r\n", "client|list"),
            (
                "*2\r\n$6\r\nCLIENT\r\n$12\r\nTRACKINGINFO\r\n",
                "client|trackinginfo",
            ),
            (
                "*5\r\n$6\r\nXGROUP\r\n$14\r\nCREATECONSUMER\r\n",
                "xgroup|createconsumer",
            ),
            ("*1\r\n$6\r\nCLIENT\r\n", "client"),
            ("*2\r\n$6\r\nCLIENT\r\n$3\r\nfoo\r\n", "NULL"),
            ("*1\r\n$8\r\nnonsense\r\n", "NULL"),
            ("  get  k\r\nset k v\r\n", "get"),
            ("config get *\n", "config|get"),
            (
                "*3\r\n$3\r\nSET\r\n$100\r\nkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
                "set",
            ),
            ("*1\r\n$99999999999999999999\r\n", "NULL"),
        ] {
            assert_eq!(name(request.as_bytes()), expected, "{request}");
        }
    }
}

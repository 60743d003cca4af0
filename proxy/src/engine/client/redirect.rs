//! Numbers of clients in what servers say and are told: they know only the proxy's connections.

use std::time::Instant;

use bellwether_resp::{Limits, Scanner};

use super::filter::{NOBODY, number};
use crate::commands::Spec;
use crate::control::Question;
use crate::engine::link::Kind;
use crate::engine::profile::request;
use crate::engine::session::Pending;
use crate::engine::{ClientId, Engine, arguments};

const BROKEN: &[u8] = b">2\r\n$21\r\ntracking-redir-broken\r\n";

/// CLIENT TRACKING is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Tracking {
    /// The client that gets the messages.
    pub(super) redirect: Option<u64>,
    pub(super) broadcast: bool,
    /// That client is gone.
    pub(super) broken: bool,
}

/// What `CLIENT TRACKING ON` is told, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// Where the first number of a client stands.
    redirect: Option<usize>,
    broadcast: bool,
}

impl Options {
    fn of(words: &[Vec<u8>]) -> Self {
        let mut options = Self::default();
        let mut at = 3;
        while let Some(word) = words.get(at) {
            at += match word.to_ascii_uppercase().as_slice() {
                b"REDIRECT" => {
                    options.redirect.get_or_insert(at + 1);
                    2
                }
                b"PREFIX" => 2,
                b"BCAST" => {
                    options.broadcast = true;
                    1
                }
                _ => 1,
            };
        }
        options
    }
}

impl Engine {
    /// CLIENT TRACKING: the connection stays with its client until it is off.
    pub(super) fn track(&mut self, now: Instant, id: ClientId, said: &[u8], spec: Spec) -> bool {
        let mut words = arguments(said);
        let options = Options::of(&words);
        let mut redirect = None;
        if let Some(word) = options.redirect.and_then(|at| words.get_mut(at))
            && let Some(number) = number(word)
        {
            let Some(link) = self.find_link(now, id, Question::Address(number)) else {
                return false;
            };
            // The server says that there is no such client.
            *word = link.unwrap_or_else(|| NOBODY.to_vec());
            redirect = Some(number);
        }
        let on = !words[2].eq_ignore_ascii_case(b"OFF");
        let state = on.then_some(Tracking {
            redirect,
            broadcast: options.broadcast,
            broken: false,
        });
        let said = said.into();
        let words: Vec<_> = words.iter().map(Vec::as_slice).collect();
        let pending = Pending::Tracking { state, said };
        self.send_alone(now, id, &request(&words), Kind::Sticky, spec, pending)
    }

    pub(super) fn tell_redirection(&mut self, id: ClientId) -> bool {
        let number = self
            .session(id)
            .tracking
            .as_ref()
            .map(|tracking| tracking.redirect);
        let reply = match number {
            None => ":-1\r\n".to_owned(),
            Some(number) => format!(":{}\r\n", number.unwrap_or(0)),
        };
        self.answer(id, reply.into_bytes())
    }

    /// CLIENT TRACKINGINFO's reply in the client's numbers. `None`: as it is.
    pub(in crate::engine) fn with_redirection(
        &mut self,
        id: ClientId,
        frame: &[u8],
    ) -> Option<Vec<u8>> {
        let number = self.session(id).tracking.as_ref()?.redirect?;
        renumbered(frame, b"$8\r\nredirect\r\n", number)
    }

    /// A message in the client's numbers. `None`: as it is.
    pub(in crate::engine) fn broken_redirection(
        &mut self,
        id: ClientId,
        frame: &[u8],
    ) -> Option<Vec<u8>> {
        if !frame.starts_with(BROKEN) {
            return None;
        }
        let tracking = self.session(id).tracking.as_mut()?;
        tracking.broken = true;
        renumbered(frame, BROKEN, tracking.redirect?)
    }

    /// An EXEC's reply with this client's number in these places. `None`: as it is.
    pub(in crate::engine) fn with_numbers(
        &mut self,
        id: ClientId,
        frame: &[u8],
        places: &[u32],
    ) -> Option<Vec<u8>> {
        let number = self.session(id).identity.number;
        let mut out = Vec::with_capacity(frame.len() + 16);
        let mut at = memchr::memchr(b'\n', frame)? + 1;
        out.extend_from_slice(&frame[..at]);
        for place in 0.. {
            let rest = frame.get(at..).filter(|rest| !rest.is_empty());
            let Some(rest) = rest else { break };
            let len = Scanner::new(Limits::default()).scan(rest).ok()??;
            match places.contains(&place) {
                true => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
                false => out.extend_from_slice(&rest[..len]),
            }
            at += len;
        }
        Some(out)
    }
}

/// The frame with this number in place of the one behind `before`, if there is one.
pub(in crate::engine) fn renumbered(frame: &[u8], before: &[u8], number: u64) -> Option<Vec<u8>> {
    let at = memchr::memmem::find(frame, before)? + before.len();
    let rest = frame.get(at..)?.strip_prefix(b":")?;
    let end = memchr::memchr(b'\r', rest)?;
    let number = number.to_string();
    Some([&frame[..=at], number.as_bytes(), &rest[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_no_option() {
        let options = |line: &str| Options::of(&arguments(line.as_bytes()));
        let told = options("client tracking on prefix redirect bcast redirect 5 redirect 6\r\n");
        assert_eq!(told.redirect, Some(7));
        assert!(told.broadcast);
        assert_eq!(
            options("client tracking on optin prefix bcast\r\n"),
            Options::default()
        );
    }

    #[test]
    fn a_number_is_replaced() {
        let frame = b"*2\r\n$8\r\nredirect\r\n:5\r\n$1\r\nx\r\n";
        let expected = b"*2\r\n$8\r\nredirect\r\n:123\r\n$1\r\nx\r\n";
        assert_eq!(renumbered(frame, b"redirect\r\n", 123).unwrap(), expected);
        assert_eq!(renumbered(b"$8\r\nredirect\r\n", b"redirect\r\n", 1), None);
        assert_eq!(renumbered(b"+OK\r\n", b"redirect\r\n", 1), None);
    }
}

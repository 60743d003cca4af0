//! CLIENT: it speaks of the proxy's clients, whatever connections to servers they use.
//!
//! What is the client's own is answered at once. What concerns others, on this worker or another, is an
//! [errand]: the server is asked whether this client may, then all workers are asked.

mod asked;
mod errand;
mod filter;
mod line;
mod redirect;

use std::time::{Duration, Instant};

use super::info::string;
use super::link::Kind;
use super::local::optional_bulk;
use super::session::{Pending, Replies};
use super::{ClientId, Engine, texts};
use crate::commands::Spec;
use crate::control::Question;

pub(super) use asked::Asked;
pub(super) use errand::Errand;
pub(crate) use filter::{Filter, Selection};
pub(super) use redirect::{Tracking, renumbered};

impl Engine {
    /// CLIENT with a subcommand, outside of MULTI.
    pub(super) fn client_command(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
    ) -> bool {
        let words = super::arguments(request);
        let subcommand = words.get(1).map(|word| word.to_ascii_uppercase());
        let rest = words.get(2..).unwrap_or_default();
        match (subcommand.unwrap_or_default().as_slice(), rest) {
            (b"ID", []) => {
                let number = self.session(id).identity.number;
                self.answer(id, format!(":{number}\r\n").into_bytes())
            }
            (b"GETNAME", []) => {
                let session = self.session(id);
                let name = optional_bulk(&session.identity.name, session.profile.is_resp3());
                self.answer(id, name)
            }
            (b"SETNAME", [name]) => self.set_name(id, name),
            (b"SETINFO", [attribute, value]) => self.set_info(id, &words[1], attribute, value),
            (b"INFO", []) => self.tell_info(now, id, request),
            (b"LIST", selection) => match Selection::of(selection) {
                Ok(selection) => self.list(now, id, request, spec, selection),
                Err(error) => self.answer(id, error),
            },
            (b"KILL", filters) => match Filter::of(filters) {
                Ok(filter) => self.kill(now, id, request, spec, filter),
                Err(error) => self.answer(id, error),
            },
            (b"UNBLOCK", [_] | [_, _]) => self.unblock(now, id, request, spec),
            (b"REPLY", [mode]) => self.set_replies(now, id, mode, request, spec),
            (b"TRACKING", [_, ..]) => self.track(now, id, request, spec),
            (b"GETREDIR", []) => self.tell_redirection(id),
            (b"TRACKINGINFO", []) => self.send_query(now, id, request, spec, Pending::Redirection),
            (b"PAUSE", [milliseconds, ..]) => self.pause(now, id, milliseconds, request, spec),
            (b"UNPAUSE", []) => {
                let errand = Errand::new(Question::Pause(Duration::ZERO), request);
                // What is paused must not stand before it.
                self.send_alone(
                    now,
                    id,
                    request,
                    Kind::Query,
                    spec,
                    Pending::Permission(errand),
                )
            }
            (b"HELP", []) => self.send(now, id, request, Kind::Read, spec),
            (b"NO-EVICT" | b"NO-TOUCH", [switch]) if switch.eq_ignore_ascii_case(b"OFF") => {
                self.send_alone(now, id, request, Kind::Query, spec, Pending::Alone)
            }
            // What this is may leave anything behind.
            _ => self.send_alone(now, id, request, Kind::Sticky, spec, Pending::Sticky),
        }
    }

    /// Sends what nothing may follow until it is answered, over a link that others use, too.
    fn send_query(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
        pending: Pending,
    ) -> bool {
        if self.session(id).outstanding > 0 || !self.send(now, id, request, Kind::Query, spec) {
            return false;
        }
        self.session(id).pending = Some(Box::new(pending));
        true
    }

    fn set_name(&mut self, id: ClientId, name: &[u8]) -> bool {
        if !is_name(name) {
            return self.answer(id, texts::BAD_NAME);
        }
        let told = self.answer(id, texts::OK);
        if told {
            self.session(id).identity.name = name.into();
        }
        told
    }

    /// The name and the version of the client's library. Servers before 7.2 do not know of that.
    fn set_info(&mut self, id: ClientId, word: &[u8], attribute: &[u8], value: &[u8]) -> bool {
        if !self.knows_libraries() {
            let before = "unknown subcommand '";
            return self.answer(id, filter::error(before, word, "'. Try CLIENT HELP."));
        }
        let version = attribute.eq_ignore_ascii_case(b"LIB-VER");
        if !version && !attribute.eq_ignore_ascii_case(b"LIB-NAME") {
            return self.answer(id, filter::error("Unrecognized option '", attribute, "'"));
        }
        if !is_name(value) {
            let after = " cannot contain spaces, newlines or special characters.";
            return self.answer(id, filter::error("", attribute, after));
        }
        let told = self.answer(id, texts::OK);
        if told {
            let identity = &mut self.session(id).identity;
            match version {
                true => identity.library_version = value.into(),
                false => identity.library = value.into(),
            }
        }
        told
    }

    /// Whether the server is one that has CLIENT SETINFO.
    fn knows_libraries(&self) -> bool {
        // What is not known of a container is taken to have any number of arguments.
        let spec = self.commands.find(b"client", Some(b"setinfo"));
        spec.is_some_and(|spec| spec.arity == 4)
    }

    fn tell_info(&mut self, now: Instant, id: ClientId, request: &[u8]) -> bool {
        let session = self.sessions.get(id.0).expect("a session that lives");
        let line = self.line(now, session, Some(request)) + "\n";
        let resp3 = session.profile.is_resp3();
        self.answer(id, string(line.as_bytes(), resp3))
    }

    /// CLIENT REPLY is the proxy's own, since a shared link must answer everything.
    fn set_replies(
        &mut self,
        now: Instant,
        id: ClientId,
        mode: &[u8],
        request: &[u8],
        spec: Spec,
    ) -> bool {
        let replies = match mode.to_ascii_uppercase().as_slice() {
            b"ON" => Replies::On,
            b"OFF" => Replies::Off,
            b"SKIP" => Replies::Skip,
            _ => return self.send(now, id, request, Kind::Read, spec),
        };
        if replies == Replies::On {
            if self.session(id).outstanding > 0 {
                return false;
            }
            self.session(id).replies = replies;
            return self.answer(id, texts::OK);
        }
        // Without effect while replies are off.
        if self.session(id).replies != Replies::Off {
            self.session(id).replies = replies;
        }
        true
    }

    /// From now on the server does not read on where it meets a write: other workers must know.
    fn pause(
        &mut self,
        now: Instant,
        id: ClientId,
        milliseconds: &[u8],
        request: &[u8],
        spec: Spec,
    ) -> bool {
        let Some(milliseconds) = filter::number(milliseconds) else {
            return self.send(now, id, request, Kind::Read, spec);
        };
        let pause = Duration::from_millis(milliseconds);
        let errand = Errand::new(Question::Pause(pause), request);
        let sent = self.send_query(now, id, request, spec, Pending::Permission(errand));
        if sent {
            self.pause_writes(now, pause);
        }
        sent
    }

    /// CLIENT between MULTI and EXEC is the server's. Its answers still are about this client.
    pub(super) fn queue_client(&mut self, id: ClientId, request: &[u8]) {
        let words = super::arguments(request);
        let Some(transaction) = &mut self.session(id).transaction else {
            return;
        };
        let subcommand = words.get(1).map(|word| word.to_ascii_uppercase());
        match (subcommand.unwrap_or_default().as_slice(), words.get(2..)) {
            (b"ID", Some([])) => transaction.tells_number = true,
            (b"PAUSE", Some([milliseconds, ..])) => {
                let pause = filter::number(milliseconds).map(Duration::from_millis);
                transaction.pause = transaction.pause.max(pause);
            }
            _ => {}
        }
    }

    /// The server takes no writes for so long, at least; with zero, it takes them.
    pub(super) fn pause_writes(&mut self, now: Instant, pause: Duration) {
        let until = now.checked_add(pause).filter(|_| !pause.is_zero());
        self.writes_paused = match until {
            // As in Redis, a pause is not made shorter.
            Some(_) => self.writes_paused.max(until),
            None => None,
        };
    }
}

/// Whether CLIENT with this subcommand leaves nothing in its connection.
pub(super) fn leaves_nothing(request: &[u8]) -> bool {
    const SUBCOMMANDS: [&[u8]; 11] = [
        b"ID",
        b"GETNAME",
        b"INFO",
        b"LIST",
        b"KILL",
        b"UNBLOCK",
        b"PAUSE",
        b"UNPAUSE",
        b"GETREDIR",
        b"TRACKINGINFO",
        b"HELP",
    ];
    let words = super::arguments(request);
    let is = |word: &Vec<u8>| SUBCOMMANDS.contains(&word.to_ascii_uppercase().as_slice());
    words.get(1).is_some_and(is)
}

/// Whether Redis takes it as a name.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

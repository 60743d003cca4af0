//! Commands that speak of the proxy and its clients, not of the server.

use std::sync::Arc;
use std::time::Instant;

use bellwether_resp::Limits;
use bytes::Bytes;

use super::link::Kind;
use super::profile::Change;
use super::session::{Input, Pending, Replies};
use super::{ClientId, Engine, texts};
use crate::commands::{Spec, Treat};

impl Engine {
    /// A client that has not authenticated at the proxy.
    pub(super) fn dispatch_stranger(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
    ) -> bool {
        let words = super::arguments(request);
        match spec.treat {
            Treat::Auth => self.log_in(id, &words[1..]),
            Treat::Hello => self.hello(now, id, &words, spec),
            _ => self.answer(id, texts::NOAUTH),
        }
    }

    fn log_in(&mut self, id: ClientId, credentials: &[Vec<u8>]) -> bool {
        let admitted = self.admits(credentials);
        if !self.answer(
            id,
            if admitted {
                texts::OK
            } else {
                texts::WRONGPASS
            },
        ) {
            return false;
        }
        if admitted {
            self.admit(id);
        }
        true
    }

    /// What one may send who has just connected: little, as in Redis, if that must authenticate.
    pub(super) fn stranger_limits(&self) -> Limits {
        match self.settings.password.is_some() || self.needs_auth == Some(true) {
            true => texts::UNADMITTED,
            false => Limits::default(),
        }
    }

    /// Whether the server knows who has not authenticated there is known now.
    pub(super) fn learn_whether_auth_is_needed(&mut self, needed: bool) {
        if self.needs_auth == Some(needed) {
            return;
        }
        self.needs_auth = Some(needed);
        if self.settings.password.is_some() {
            return;
        }
        let limits = self.stranger_limits();
        for session in self.sessions.iter_mut() {
            if Arc::ptr_eq(&session.profile, &self.profile) {
                session.scanner.set_limits(limits);
            }
        }
    }

    /// `password`, or `default password`.
    fn admits(&self, credentials: &[Vec<u8>]) -> bool {
        let password = match credentials {
            [password] => password,
            [user, password] if user == b"default" => password,
            _ => return false,
        };
        let right = self
            .settings
            .password
            .as_ref()
            .map(|right| right.as_bytes());
        right.is_some_and(|right| equals(right, password))
    }

    fn admit(&mut self, id: ClientId) {
        let session = self.session(id);
        session.admitted = true;
        session.scanner.set_limits(Limits::default());
    }

    /// HELLO of a client that authenticates at the proxy: the server does not get the password.
    fn hello(&mut self, now: Instant, id: ClientId, words: &[Vec<u8>], spec: Spec) -> bool {
        let auth = words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(b"AUTH"));
        let Some(auth) = auth.filter(|auth| words.len() >= auth + 3) else {
            if self.session(id).admitted {
                return self.forward_hello(now, id, words, spec);
            }
            return self.answer(id, texts::NOAUTH_HELLO);
        };
        if !self.admits(&words[auth + 1..auth + 3]) {
            return self.answer(id, texts::WRONGPASS);
        }
        let mut rest = words.to_vec();
        rest.drain(auth..auth + 3);
        let sent = self.forward_hello(now, id, &rest, spec);
        if sent {
            self.admit(id);
        }
        sent
    }

    fn forward_hello(&mut self, now: Instant, id: ClientId, words: &[Vec<u8>], spec: Spec) -> bool {
        let Some(change) = Change::of(words) else {
            return self.answer(id, texts::NOPROTO);
        };
        let request = change.told(words);
        self.send_alone(
            now,
            id,
            &request,
            Kind::Setting,
            spec,
            Pending::Setting(change),
        )
    }

    /// AUTH, HELLO and SELECT of a client that may.
    pub(super) fn send_setting(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
    ) -> bool {
        let words = super::arguments(request);
        if self.settings.password.is_some() {
            match spec.treat {
                Treat::Auth => return self.log_in(id, &words[1..]),
                Treat::Hello => return self.hello(now, id, &words, spec),
                _ => {}
            }
        }
        match Change::of(&words) {
            Some(change) => {
                let told = match change.name() {
                    Some(_) => change.told(&words),
                    None => Bytes::copy_from_slice(request),
                };
                let pending = Pending::Setting(change);
                self.send_alone(now, id, &told, Kind::Setting, spec, pending)
            }
            None => self.send_alone(now, id, request, Kind::Sticky, spec, Pending::Sticky),
        }
    }

    /// RESET: as if the client had just connected.
    pub(super) fn reset(&mut self, now: Instant, id: ClientId) -> bool {
        self.session(id).replies = Replies::On;
        if !self.answer(id, texts::RESET) {
            return false;
        }
        if self.session(id).leased {
            self.leave_lease(now, id);
        }
        let profile = Arc::clone(&self.profile);
        let admitted = self.settings.password.is_none();
        let limits = self.stranger_limits();
        let session = self.session(id);
        session.profile = profile;
        session.admitted = admitted;
        session.scanner.set_limits(limits);
        session.transaction = None;
        (session.watching, session.dirty, session.sticky) = (false, false, false);
        session.subscriptions = None;
        session.tracking = None;
        session.addressed = false;
        session.input = Input::Requests;
        session.identity.name = Box::default();
        true
    }

    /// HELLO tells a client its number: the proxy's, not the server's.
    pub(super) fn with_number(&mut self, id: ClientId, frame: &[u8]) -> Option<Vec<u8>> {
        let number = self.session(id).identity.number;
        super::client::renumbered(frame, b"$2\r\nid\r\n", number)
    }
}

/// Compares in a time that does not tell how much is right.
fn equals(right: &[u8], other: &[u8]) -> bool {
    let differ = right
        .iter()
        .zip(other)
        .fold(0, |differ, (a, b)| differ | (a ^ b));
    right.len() == other.len() && differ == 0
}

pub(super) fn optional_bulk(bytes: &[u8], resp3: bool) -> Vec<u8> {
    match (bytes, resp3) {
        ([], true) => b"_\r\n".to_vec(),
        ([], false) => b"$-1\r\n".to_vec(),
        (bytes, _) => bulk(bytes),
    }
}

pub(super) fn bulk(bytes: &[u8]) -> Vec<u8> {
    let header = format!("${}\r\n", bytes.len());
    [header.as_bytes(), bytes, b"\r\n"].concat()
}

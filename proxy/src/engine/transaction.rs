//! WATCH, MULTI, EXEC: on a link of the session's own, and begun anew when that is lost.

use std::time::Instant;

use super::link::Kind;
use super::session::{Pending, Session, Transaction};
use super::{ClientId, Engine, LinkId, texts};
use crate::commands::{Spec, Treat};

/// A command was answered that it did not run. Without its MULTI, a transaction must not run either.
pub(super) fn denied(session: &mut Session, treat: Option<Treat>) {
    let transaction = &mut session.transaction;
    match treat {
        Some(Treat::Multi) if transaction.is_none() => {
            let aborted = Transaction {
                aborted: true,
                ..Transaction::default()
            };
            *transaction = Some(Box::new(aborted));
        }
        Some(Treat::Exec | Treat::Discard) => {
            *transaction = None;
            (session.watching, session.dirty) = (false, false);
        }
        _ => {
            if let Some(transaction) = transaction {
                transaction.aborted = true;
            }
        }
    }
}

impl Engine {
    pub(super) fn begin_transaction(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
    ) -> bool {
        if self.session(id).outstanding > 0
            || !self.send_to_lease(now, id, request, Kind::Multi, spec)
        {
            return false;
        }
        self.session(id).transaction = Some(Box::default());
        true
    }

    pub(super) fn watch(&mut self, now: Instant, id: ClientId, request: &[u8], spec: Spec) -> bool {
        let sent = self.send_to_lease(now, id, request, Kind::Watch, spec);
        self.session(id).watching |= sent;
        sent
    }

    pub(super) fn unwatch(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
    ) -> bool {
        let sent = self.send(now, id, request, Kind::Watch, spec);
        if sent {
            let session = self.session(id);
            (session.watching, session.dirty) = (false, false);
        }
        sent
    }

    /// Between MULTI and EXEC everything goes to the server, which judges it.
    pub(super) fn dispatch_queued(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
    ) -> bool {
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        let transaction = session.transaction.as_mut().expect("an open transaction");
        if transaction.aborted {
            return self.answer_aborted(id, spec.treat);
        }
        let ends = matches!(spec.treat, Treat::Exec | Treat::Discard);
        if !ends {
            let unruly = spec.treat.ends_the_rule();
            let sticky = matches!(
                spec.treat,
                Treat::Select | Treat::Auth | Treat::Hello | Treat::Client | Treat::Sticky
            );
            let client = spec.treat == Treat::Client;
            if client && is_about_others(request) {
                // The server would close links that the proxy's other clients share, or leave
                // requests of this one without replies.
                return self.answer(id, texts::NOT_IN_MULTI);
            }
            let sticky = sticky && !(client && super::client::leaves_nothing(request));
            if !self.send_to_lease(now, id, request, Kind::Queued, spec) {
                return false;
            }
            let session = self.session(id);
            session.sticky |= sticky;
            if let Some(transaction) = &mut session.transaction {
                transaction.unruly |= unruly;
            }
            if client {
                self.queue_client(id, request);
            }
            return true;
        }
        let (unruly, dirty) = (transaction.unruly, session.dirty);
        let (tells_number, pause) = (transaction.tells_number, transaction.pause);
        let sent = match spec.treat {
            Treat::Exec if dirty => {
                let discard = super::profile::request(&[b"DISCARD"]);
                self.send_to_lease(now, id, &discard, Kind::ExecNull, spec)
            }
            Treat::Exec if unruly => self.send_relay(now, id, request),
            Treat::Exec if tells_number => self.send_numbered(now, id, request, spec),
            Treat::Exec => self.send_to_lease(now, id, request, Kind::Exec, spec),
            _ => self.send_to_lease(now, id, request, Kind::Discard, spec),
        };
        if sent {
            if let Some(pause) = pause.filter(|_| spec.treat == Treat::Exec) {
                self.pause_writes(now, pause);
            }
            let session = self.session(id);
            if let Some(mut ending) = session.transaction.take() {
                ending.watched = session.watching || dirty;
                session.ending = Some(ending).filter(|_| !unruly);
            }
            (session.watching, session.dirty) = (false, false);
        }
        sent
    }

    /// Sends an EXEC in whose reply the number of the link stands for that of the client.
    fn send_numbered(&mut self, now: Instant, id: ClientId, request: &[u8], spec: Spec) -> bool {
        let session = self.session(id);
        if session.outstanding > 0 {
            // Where it stands is known when all are queued.
            return false;
        }
        let transaction = session.transaction.as_ref().expect("an open transaction");
        let pending = Pending::Numbers(transaction.numbers.clone());
        self.send_alone(now, id, request, Kind::Exec, spec, pending)
    }

    pub(super) fn answer_aborted(&mut self, id: ClientId, treat: Treat) -> bool {
        let (answer, ends) = match treat {
            Treat::Exec => (texts::EXECABORT, true),
            Treat::Discard => (texts::OK, true),
            _ => (texts::NOT_RUN, false),
        };
        let told = self.answer(id, answer);
        if told && ends {
            let session = self.session(id);
            session.transaction = None;
            (session.watching, session.dirty) = (false, false);
        }
        told
    }

    /// Sets up on a new link what the session had in its last one.
    pub(super) fn restore(&mut self, now: Instant, id: ClientId, link: LinkId) {
        let session = self.session(id);
        if let Some(transaction) = &mut session.transaction
            && std::mem::take(&mut transaction.restore)
        {
            let log = transaction.log.clone();
            let lengths = transaction.lengths.clone();
            let mut at = 0;
            for length in lengths {
                self.push_own(now, link, &log[at..at + length], Kind::Ignore);
                at += length;
            }
        }
        self.resubscribe(now, id, link);
    }
}

impl Transaction {
    /// The server has queued another command.
    pub(super) fn count(&mut self, request: Option<&[u8]>) {
        let is_id = |request: &[u8]| {
            let words = super::arguments(request);
            words.len() == 2
                && words[0].eq_ignore_ascii_case(b"CLIENT")
                && words[1].eq_ignore_ascii_case(b"ID")
        };
        if self.tells_number && request.is_some_and(is_id) {
            self.numbers.push(self.queued);
        }
        self.queued += 1;
    }
}

/// CLIENT KILL and CLIENT REPLY.
fn is_about_others(request: &[u8]) -> bool {
    let words = super::arguments(request);
    words.get(1).is_some_and(|word| {
        word.eq_ignore_ascii_case(b"KILL") || word.eq_ignore_ascii_case(b"REPLY")
    })
}

impl Treat {
    /// Whether its reply in an EXEC is not one reply.
    fn ends_the_rule(self) -> bool {
        matches!(
            self,
            Self::Subscribe(_) | Self::Unsubscribe(_) | Self::Monitor | Self::Relay
        )
    }
}

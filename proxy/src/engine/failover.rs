//! What becomes of requests when their link or the primary is lost.

use std::time::Instant;

use super::link::{Fate, Kind, Owner, Phase};
use super::planted::{Bug, planted};
use super::session::{Held, Input, Pending, Transaction};
use super::transaction::denied;
use super::{ClientId, Engine, LinkId, texts};
use crate::commands::Treat;
use crate::topology::Topology;

impl Engine {
    /// The last topology has ended, and there is no new one.
    pub(super) fn lose_leadership(&mut self, now: Instant) {
        let replicas = self.replicas.iter();
        let replicas = replicas
            .map(|id| self.server(*id).upstream.clone())
            .collect();
        let none = Topology {
            replicas,
            ..Topology::default()
        };
        self.aim(now, &none);
    }

    pub(super) fn retry_at(&mut self, at: Instant) {
        self.retry = Some(self.retry.map_or(at, |before| before.min(at)));
    }

    /// The link is of no use any more.
    pub(super) fn doom(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id.0) {
            link.phase = Phase::Doomed;
            self.touch_link(id);
        }
    }

    /// The server closed the link, or it could not be connected, or nothing is left to be read
    /// from a stale one.
    pub(super) fn link_closed(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get(id.0) else {
            return;
        };
        let (server, owner) = (link.server, link.owner);
        if matches!(link.phase, Phase::Connecting(_) | Phase::Greeting(_)) {
            let at = self.server_mut(server).failed(now);
            self.retry_at(at);
        }
        self.server_lost(now, server, owner);
        self.lose_link(now, id);
    }

    /// Gives what was given to the link back to its sessions: to be sent again, or answered.
    pub(super) fn lose_link(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get(id.0) else {
            return;
        };
        let owner = link.owner;
        self.give_all_back(id);
        if let Owner::Leased(client) = owner
            && self
                .sessions
                .get(client.0)
                .is_some_and(|session| session.at == Some(id))
        {
            self.lose_lease(client);
            self.stick(now, client);
        }
        self.forget_link(id);
        self.free_stuck();
    }

    /// As [`lose_link`](Self::lose_link), but the link remains, with nothing left in it.
    pub(super) fn give_all_back(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id.0) else {
            return;
        };
        let cut = link.partial == Some(Fate::Deliver);
        let first = link.entries.front().and_then(|entry| entry.client);
        let mut of_sent_transaction = link.sent_transaction();
        if let Some(client) = first.filter(|_| cut)
            && self.sessions.get(client.0).is_some()
        {
            // Nothing can be said after half a reply.
            self.end_with_answers(client);
        }
        while let Some(link) = self.links.get_mut(id.0)
            && let Some(entry) = link.entries.front().copied()
        {
            let open = link.open && link.entries.len() == 1;
            let sent = link.awaited().is_some();
            let resends = planted(Bug::RepeatUnknown) || planted(Bug::ResendExec);
            let unknowable = of_sent_transaction > 0 && !resends;
            of_sent_transaction = of_sent_transaction.saturating_sub(1);
            let Some(client) = entry
                .client
                .filter(|client| self.sessions.get(client.0).is_some())
            else {
                link.pop();
                continue;
            };
            if open {
                self.session(client).input = Input::Skip;
            }
            let repeatable = entry.kind.is_repeatable()
                || planted(Bug::RepeatUnknown)
                || entry.kind == Kind::Exec && planted(Bug::ResendExec);
            let (again, answer) = match (open, sent) {
                (true, _) | (_, false) => (!open, texts::NOT_RUN),
                (false, true) if planted(Bug::DenySent) => {
                    (repeatable && !unknowable, texts::NOT_RUN)
                }
                (false, true) => (repeatable && !unknowable, texts::UNKNOWN),
            };
            self.give_back(id, client, again.then_some(None), answer);
        }
    }

    /// The session has lost its link, and the state in it.
    fn lose_lease(&mut self, id: ClientId) {
        let session = self.session(id);
        session.at = None;
        session.leased = false;
        session.addressed = false;
        if !matches!(session.pending.as_deref(), Some(Pending::Control { .. })) {
            session.pending = None;
        }
        if session.watching {
            session.watching = false;
            session.dirty = !planted(Bug::ForgetWatch);
        }
        let mut lost = session.is_bound() || session.input == Input::Relay;
        if let Some(transaction) = &mut session.transaction {
            transaction.restore = !transaction.log.is_empty();
            lost |= transaction.lost;
        }
        let resp3 = session.profile.is_resp3();
        if let Some(subscriptions) = &mut session.subscriptions {
            // Messages may have been missed. RESP3 has a way to say so.
            lost |= !resp3 || subscriptions.is_restoring();
            subscriptions.restore = true;
        }
        if lost {
            self.end_with_answers(id);
        }
        self.touch_client(id);
    }

    /// Delivers the answers that are known and next in order, then ends the session.
    pub(super) fn end_with_answers(&mut self, id: ClientId) {
        let session = self.session(id);
        let cut = session.closing;
        session.closing = true;
        for held in std::mem::take(&mut session.returned) {
            match held {
                Held::Answer(answer) if !cut => self.tell(id, &answer),
                _ => break,
            }
        }
        self.touch_client(id);
    }

    /// The session has waited as long as it may: answers what waits with its refusal, or that it
    /// did not run.
    pub(super) fn give_up(&mut self, id: ClientId) {
        let mut not_run = 0;
        let session = self.sessions.get_mut(id.0).expect("a session that lives");
        session.since = None;
        let mut waited = std::mem::take(&mut session.held);
        for held in &mut waited {
            if let Held::Request {
                bytes,
                refusal,
                mute,
                ..
            } = held
            {
                not_run += 1;
                let words = super::arguments(bytes);
                let found = words
                    .first()
                    .and_then(|name| self.commands.find(name, None));
                denied(session, found.map(|spec| spec.treat));
                let refusal = refusal.take().map(|refusal| refusal.into_vec().into());
                let answer = refusal.unwrap_or(texts::NOT_RUN.into());
                *held = Held::Answer(if *mute { (&[]).into() } else { answer });
            }
        }
        session.held = waited;
        let mut at = 0;
        while session.input == Input::Requests {
            let rest = &session.inbox.as_slice()[at..];
            match session.scanner.scan(rest) {
                Ok(Some(len)) => {
                    if !session.scanner.is_empty() {
                        not_run += 1;
                        let name = session.scanner.arg(rest, 0).unwrap_or_default();
                        let treat = self.commands.find(name, None).map(|spec| spec.treat);
                        denied(session, treat);
                        session.input = match treat {
                            Some(Treat::Quit) => Input::Ended,
                            _ => Input::Requests,
                        };
                        session.held.push_back(Held::Answer(texts::NOT_RUN.into()));
                    }
                    at += len;
                }
                Ok(None) => break,
                Err(error) => {
                    let error = format!("-ERR {error}\r\n").into_bytes();
                    session.input = Input::Ended;
                    session.held.push_back(Held::Answer(error.into()));
                    at = session.inbox.len();
                }
            }
        }
        session.inbox.consume(at);
        if session.half_closed {
            // Its last request will never be whole.
            session.input = Input::Ended;
        }
        let (scanned, needed) = (session.scanner.scanned(), session.scanner.needed());
        let large = scanned > 0 && scanned + needed >= texts::LARGE;
        if large && session.input == Input::Requests {
            // It waited for a link of its own.
            session.input = Input::Skip;
            denied(session, None);
            session.held.push_back(Held::Answer(texts::NOT_RUN.into()));
            not_run += 1;
        }
        self.stats.refused += not_run;
        let session = self.session(id);
        if std::mem::take(&mut session.withheld) {
            self.stats.held += not_run;
        }
        let session = self.session(id);
        let idle = session.leased && session.outstanding == 0 && session.transaction.is_none();
        if let Some(link) = session.at.filter(|_| idle)
            && !self.links.get(link.0).is_some_and(super::Link::is_ready)
        {
            self.session(id).at = None;
            self.session(id).leased = false;
            self.doom(link);
        }
        self.recount(id);
    }

    /// What a link has left to say is said, or it is given up.
    pub(super) fn check_link(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get_mut(id.0) else {
            return;
        };
        match link.phase {
            Phase::Connecting(by) if by <= now => {
                let (server, owner) = (link.server, link.owner);
                let at = self.server_mut(server).failed(now);
                self.retry_at(at);
                self.server_lost(now, server, owner);
                self.abandon(now, id);
            }
            Phase::Doomed => self.abandon(now, id),
            Phase::Stale(_) if !link.is_busy() || link.awaited().is_none() => self.abandon(now, id),
            Phase::Stale(by) if !link.draining && by <= now => {
                link.draining = true;
                self.actions.push(super::Action::Drain(id));
            }
            Phase::Retiring(_) if !link.is_busy() => {
                self.close_link(id);
            }
            Phase::Retiring(by) if by <= now => self.abandon(now, id),
            _ => {}
        }
    }

    pub(super) fn abandon(&mut self, now: Instant, id: LinkId) {
        self.actions.push(super::Action::Abandon(id));
        self.lose_link(now, id);
    }
}

impl Transaction {
    /// A request of it was answered: it can be sent again before what follows.
    pub(super) fn keep(&mut self, request: Option<&[u8]>, most: usize) {
        match request {
            Some(request) if self.log.len() + request.len() <= most => {
                self.log.extend_from_slice(request);
                self.lengths.push(request.len());
            }
            _ => self.lost = true,
        }
    }
}

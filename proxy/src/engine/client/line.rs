//! How a client is, as a line of CLIENT LIST.

use std::fmt::Write as _;
use std::time::Instant;

use super::filter::{Traits, Type};
use crate::commands::Space;
use crate::engine::Engine;
use crate::engine::link::Kind;
use crate::engine::session::{Input, Pending, Session};

/// What an idle client of Redis has allocated, in bytes, without its buffers, and for replies.
const IDLE: (usize, usize) = (1800, 1024);
/// Redis's query buffer while it runs a command.
const QUERY: usize = 20_474;
/// The part of Redis's output that is no list.
const OUTPUT: usize = 16 << 10;

impl Engine {
    /// One of CLIENT LIST, without its end. `request` is what this very client asks.
    ///
    /// What the proxy has no counterpart of is as for an idle client of Redis.
    pub(super) fn line(&self, now: Instant, session: &Session, request: Option<&[u8]>) -> String {
        let identity = &*session.identity;
        let age = now
            .saturating_duration_since(session.since_accept)
            .as_secs();
        let idle = now.saturating_duration_since(session.heard).as_secs();
        let (query, free) = match request {
            Some(request) => (request.len(), QUERY.saturating_sub(request.len())),
            None => (session.inbox.len(), 0),
        };
        let words = request.map_or(0, |request| {
            crate::engine::arguments(request).iter().map(Vec::len).sum()
        });
        let transaction = session.transaction.as_ref();
        let multi = transaction.map_or(-1, |transaction| i64::from(transaction.queued));
        let multi_memory = transaction.map_or(0, |transaction| transaction.log.len());
        let output = session.out.len().min(OUTPUT);
        let list = session.out.len() - output;
        let memory = IDLE.0 + query + free + output + list + multi_memory;
        let redirection = session
            .tracking
            .as_ref()
            .map_or(-1, |tracking| tracking.redirect.map_or(0, u64::cast_signed));
        let mut line = format!(
            "id={} addr={} laddr={} fd=-1 name={} age={age} idle={idle} flags={} db={} sub={} \
            psub={} ssub={} multi={multi} qbuf={query} qbuf-free={free} argv-mem={words} \
            multi-mem={multi_memory} rbs={} rbp=0 obl={output} oll={} omem={list} tot-mem={memory} \
            events={} cmd={} user={} redir={redirection} resp={}",
            identity.number,
            identity.peer,
            identity.local,
            String::from_utf8_lossy(&identity.name),
            self.flags(session),
            session.profile.database(),
            session.count(Space::Channel),
            session.count(Space::Pattern),
            session.count(Space::Shard),
            IDLE.1,
            list.div_ceil(OUTPUT),
            if session.out.is_empty() { "r" } else { "rw" },
            session.asked.name(&self.commands),
            session.profile.user(),
            if session.profile.is_resp3() { 3 } else { 2 },
        );
        if self.knows_libraries() {
            let name = String::from_utf8_lossy(&identity.library);
            let version = String::from_utf8_lossy(&identity.library_version);
            write!(line, " lib-name={name} lib-ver={version}").expect("memory takes it");
        }
        line
    }

    /// In Redis's order.
    fn flags(&self, session: &Session) -> String {
        let tracking = session.tracking.as_ref();
        let all = [
            ('O', self.monitors(session)),
            ('S', self.kind(session) == Type::Replica),
            ('P', session.subscriptions.is_some()),
            ('x', session.transaction.is_some()),
            ('b', self.is_blocked(session)),
            ('t', tracking.is_some()),
            ('R', tracking.is_some_and(|tracking| tracking.broken)),
            ('B', tracking.is_some_and(|tracking| tracking.broadcast)),
            ('d', session.dirty),
            ('c', session.closing),
        ];
        let flags = all.iter().filter(|(_, set)| *set).map(|(flag, _)| *flag);
        let flags: String = flags.collect();
        if flags.is_empty() {
            "N".to_owned()
        } else {
            flags
        }
    }

    fn is_blocked(&self, session: &Session) -> bool {
        match session.pending.as_deref() {
            Some(Pending::Blocking(_)) => true,
            // WAIT is, other commands that are alone are not.
            Some(Pending::Alone) => {
                let link = session.at.and_then(|link| self.links.get(link.0));
                let mut entries = link.into_iter().flat_map(|link| &link.entries);
                entries.any(|entry| entry.kind == Kind::Blocking)
            }
            _ => false,
        }
    }

    /// Whether all that this session gets is what others do.
    pub(in crate::engine) fn monitors(&self, session: &Session) -> bool {
        session.input == Input::Relay && session.asked.name(&self.commands) == "monitor"
    }

    fn kind(&self, session: &Session) -> Type {
        let last = || session.asked.name(&self.commands);
        if session.subscriptions.is_some() {
            Type::Pubsub
        } else if session.input == Input::Relay
            && matches!(last().as_str(), "sync" | "psync" | "replconf")
        {
            Type::Replica
        } else {
            Type::Normal
        }
    }

    pub(super) fn traits<'a>(&self, now: Instant, session: &'a Session) -> Traits<'a> {
        Traits {
            identity: &session.identity,
            kind: self.kind(session),
            user: session.profile.user(),
            age: now.saturating_duration_since(session.since_accept),
        }
    }
}

impl Session {
    fn count(&self, space: Space) -> usize {
        let subscriptions = self.subscriptions.as_ref();
        subscriptions.map_or(0, |subscriptions| subscriptions.count(space))
    }
}

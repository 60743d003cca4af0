//! Clients whose primary is lost are closed, if the settings say so: see [`Orphans`].
//!
//! They come back by whatever way leads to the next primary, so nothing is kept for them here. What
//! a closed connection leaves unanswered, many client libraries send again; so whatever may have run
//! is answered by an error first, and only what did not run, or only read, is left unanswered.

use std::time::{Duration, Instant};

use tracing::info;

use super::buffer::Buffer;
use super::link::Owner;
use super::planted::{Bug, planted};
use super::session::{Held, Input, Pending, Session};
use super::{ClientId, Engine, LinkId, texts};
use crate::config::Orphans;

/// How long a client that is closed may take to read its last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

impl Engine {
    /// Whether clients are closed when there is no primary.
    pub(super) fn closes_orphans(&self) -> bool {
        self.settings.orphans == Orphans::Close
    }

    /// A client has connected: there may be nobody to serve it.
    pub(super) fn admit_or_close(&mut self, id: ClientId) {
        let orphan = self.closes_orphans() && self.primary.is_none();
        if orphan && !planted(Bug::AdmitOrphans) {
            self.stats.orphaned += 1;
            self.session(id).closing = true;
            self.touch_client(id);
        }
    }

    /// The primary is lost: closes all clients, and forgets what they asked.
    pub(super) fn close_orphans(&mut self, now: Instant) {
        if !self.closes_orphans() || planted(Bug::KeepOrphans) {
            return;
        }
        // Whoever still has answers from the time of an earlier primary had its time.
        self.cut_orphans();
        self.orphaned_at = Some(now);
        let before = self.stats.orphaned;
        for session in self.sessions.iter_mut().filter(|session| !session.closing) {
            self.stats.orphaned += 1;
            // Confirmations are all that it waits for, and some may have come. Its library makes
            // subscriptions again when it has connected again, unless it meets an error.
            let subscribes = session.pending.as_deref();
            session.closing = matches!(subscribes, Some(Pending::Subscription(_)));
        }
        let links = self.links_of_clients();
        for link in &links {
            self.give_all_back(*link);
        }
        let all: Vec<_> = self.sessions.iter().map(|session| session.id).collect();
        for client in all {
            self.close_orphan(client);
        }
        // Not only those to the primary: requests that are not sent yet may be in others as well.
        for link in links {
            self.abandon(now, link);
        }
        let clients = self.stats.orphaned - before;
        info!(clients, "the primary is lost: its clients are closed");
    }

    /// When those that were closed have had time enough for their last answers.
    pub(super) fn orphans_leave_by(&self) -> Option<Instant> {
        self.orphaned_at.map(|at| at + LAST_ANSWERS)
    }

    /// Waits no longer for those that were closed and do not read.
    pub(super) fn cut_orphans(&mut self) {
        let Some(at) = self.orphaned_at.take() else {
            return;
        };
        let left = |session: &&mut Session| session.closing && session.since_accept <= at;
        let left: Vec<_> = self
            .sessions
            .iter_mut()
            .filter(left)
            .map(|session| {
                session.gone = true;
                session.id
            })
            .collect();
        for client in left {
            self.touch_client(client);
        }
    }

    fn links_of_clients(&self) -> Vec<LinkId> {
        let links = self.links.iter();
        let links = links.filter(|link| link.owner != Owner::Probe);
        links.map(|link| link.id).collect()
    }

    /// Tells the client its last words, and that there are no more. Its links have given its
    /// requests back.
    fn close_orphan(&mut self, id: ClientId) {
        let session = self.session(id);
        if !session.closing {
            self.say_last_words(id);
        }
        let session = self.session(id);
        session.closing = true;
        session.input = Input::Ended;
        session.inbox = Buffer::default();
        session.held.clear();
        session.returned.clear();
        session.pending = None;
        (session.at, session.leased) = (None, false);
        self.recount(id);
        self.touch_client(id);
    }

    /// What is known, or known to be unknown, and what stands before it.
    fn say_last_words(&mut self, id: ClientId) {
        let session = self.session(id);
        let returned = std::mem::take(&mut session.returned).into_iter();
        let mut words: Vec<_> = returned.chain(session.held.drain(..)).collect();
        let last = words.iter().rposition(Held::is_worth_saying);
        words.truncate(last.map_or(0, |last| last + 1));
        if planted(Bug::MuteOrphans) {
            return;
        }
        for held in words {
            match held {
                Held::Answer(answer) => self.tell(id, &answer),
                Held::Request { mute: true, .. } => {}
                Held::Request {
                    refusal: Some(refusal),
                    ..
                } => self.tell(id, &refusal),
                Held::Request { .. } => {
                    self.stats.unknown += 1;
                    self.tell(id, texts::UNKNOWN);
                }
            }
        }
    }
}

impl Held {
    /// Whether a client that is closed must hear it: of what did not run, silence says enough.
    fn is_worth_saying(&self) -> bool {
        matches!(self, Self::Answer(answer) if &**answer != texts::NOT_RUN)
    }
}

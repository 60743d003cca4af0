//! Each request to where it belongs.

use std::time::Instant;

use super::link::Kind;
use super::session::{Input, Pending, Replies, Session};
use super::{ClientId, Engine, texts};
use crate::commands::{Family, Reads, Spec, Treat};

/// A request that is dispatched again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again {
    /// Until when it may block, if it had begun to.
    pub(super) until: Option<Option<Instant>>,
}

impl Engine {
    /// Gives a request to where it belongs. False: it must wait, because others of its session are
    /// before it, or there is nobody to take it.
    pub(super) fn dispatch(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
        again: Option<Again>,
    ) -> bool {
        let session = self.sessions.get(id.0).expect("a session that lives");
        if !session.may_send(self.settings.session_output) {
            return false;
        }
        self.session(id).asked.note(request);
        let session = self.sessions.get(id.0).expect("a session that lives");
        let local = matches!(spec.treat, Treat::Quit | Treat::Reset);
        let done = if !session.admitted && !local {
            self.dispatch_stranger(now, id, request, spec)
        } else if session.transaction.is_some() && !local {
            self.dispatch_queued(now, id, request, spec)
        } else if session.is_confined() && !local && !spec.treat.is_subscription() {
            // The server refuses whatever is not allowed there.
            self.send_to_lease(now, id, request, Kind::Read, spec)
        } else {
            self.dispatch_open(now, id, request, spec, again)
        };
        if done && again.is_none() {
            self.stats.requests += 1;
        }
        done
    }

    fn dispatch_open(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
        again: Option<Again>,
    ) -> bool {
        match spec.treat {
            Treat::Plain | Treat::MayBlock => {
                let kind = match spec.reads {
                    Reads::No => Kind::Write,
                    Reads::PrimaryOnly | Reads::Anywhere => Kind::Read,
                };
                self.send(now, id, request, kind, spec)
            }
            Treat::Script => self.send(now, id, request, Kind::Script, spec),
            Treat::ScriptLoad => {
                let body = super::arguments(request).pop().unwrap_or_default();
                let pending = Pending::Script(body.into());
                self.send_alone(now, id, request, Kind::Query, spec, pending)
            }
            Treat::ScriptFlush => {
                self.scripts.forget();
                self.send(now, id, request, Kind::Write, spec)
            }
            Treat::Blocking { timeout } => {
                self.send_blocking(now, id, request, spec, timeout, again)
            }
            Treat::Wait => self.send_wait(now, id, request, spec),
            Treat::Select | Treat::Auth | Treat::Hello => self.send_setting(now, id, request, spec),
            Treat::Reset => self.reset(now, id),
            Treat::Quit => {
                let told = self.answer(id, texts::OK);
                if told {
                    self.session(id).input = Input::Ended;
                }
                told
            }
            Treat::Client => self.client_command(now, id, request, spec),
            Treat::Multi => self.begin_transaction(now, id, request, spec),
            // Without MULTI they are refused, wherever they run.
            Treat::Exec | Treat::Discard => self.send(now, id, request, Kind::Read, spec),
            Treat::Watch => self.watch(now, id, request, spec),
            Treat::Unwatch => self.unwatch(now, id, request, spec),
            Treat::Subscribe(space) => self.subscribe(now, id, request, spec, space),
            Treat::Unsubscribe(space) => self.unsubscribe(now, id, request, spec, space),
            Treat::Monitor | Treat::Relay => self.send_relay(now, id, request),
            Treat::Info => self.send_info(now, id, request, spec),
            Treat::Scan { cursor } => self.send_scan(now, id, request, spec, cursor),
            Treat::Alone if spec.family == Family::Scripting => {
                self.send_aside(now, id, request, spec)
            }
            Treat::Alone | Treat::Shutdown => {
                self.send_alone(now, id, request, Kind::Write, spec, Pending::Alone)
            }
            Treat::Sticky => self.send_alone(now, id, request, Kind::Sticky, spec, Pending::Sticky),
        }
    }
}

impl Session {
    /// Whether the next command's reply is not wanted.
    pub(super) fn takes_no_reply(&mut self) -> bool {
        match self.replies {
            Replies::On => false,
            Replies::Off => true,
            Replies::Skip => {
                self.replies = Replies::On;
                true
            }
        }
    }

    /// In RESP2, who has subscribed may do little else.
    fn is_confined(&self) -> bool {
        self.subscriptions.is_some() && !self.profile.is_resp3()
    }
}

impl Treat {
    fn is_subscription(self) -> bool {
        matches!(self, Self::Subscribe(_) | Self::Unsubscribe(_))
    }
}

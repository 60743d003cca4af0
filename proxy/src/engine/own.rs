//! Replies to requests of the engine's own.

use super::link::{Kind, Owner, Phase};
use super::replies::Garbage;
use super::session::Pending;
use super::{Engine, LinkId, texts};
use bellwether_resp::Value;
use bytes::Bytes;
use std::time::Instant;
use tracing::debug;

impl Engine {
    /// A reply to the engine itself.
    pub(super) fn take_own(
        &mut self,
        now: Instant,
        id: LinkId,
        kind: Kind,
        frame: &[u8],
    ) -> Result<(), Garbage> {
        let link = self.links.get_mut(id.0).expect("a link that sends");
        link.pop();
        link.release();
        let (owner, phase, server) = (link.owner, link.phase, link.server);
        let error = frame[0] == b'-';
        match kind {
            Kind::Greeting if error && texts::is_temporary(frame) => return Err(Garbage),
            Kind::Greeting if error => self.rejected(now, id, frame),
            Kind::Greeting => {
                let Phase::Greeting(left) = phase else {
                    return if matches!(phase, Phase::Stale(_)) {
                        Ok(())
                    } else {
                        Err(Garbage)
                    };
                };
                link.phase = Phase::Greeting(left - 1);
                if left == 1 {
                    self.ready(id);
                }
            }
            Kind::Identify => {
                let text = std::str::from_utf8(&frame[1..]).unwrap_or_default();
                link.number = text.trim_end().parse().ok();
                self.free_stuck();
            }
            Kind::Ignore if error => {
                if let Owner::Leased(client) = owner
                    && let Some(session) = self.sessions.get_mut(client.0)
                    && let Some(pending) = &mut session.pending
                    && matches!(**pending, Pending::Alone)
                {
                    **pending = Pending::Denied(frame.into());
                }
            }
            Kind::Overlay => self.overlay(id, frame),
            Kind::Probe => self.probed(now, server, frame),
            _ => {}
        }
        self.touch_link(id);
        Ok(())
    }

    fn overlay(&mut self, id: LinkId, frame: &[u8]) {
        let of_strangers = self.links.get(id.0).is_some_and(|link| {
            std::sync::Arc::ptr_eq(&link.profile, &self.profile) && !link.profile.is_authenticated()
        });
        if of_strangers {
            self.learn_whether_auth_is_needed(frame.starts_with(b"-NOAUTH"));
            self.free_stuck();
        }
        if let Ok(reply) = Value::decode(&Bytes::copy_from_slice(frame)) {
            self.commands = std::sync::Arc::new(self.commands.overlay(&reply));
        }
    }

    /// The server does not accept what a new connection of this profile must say.
    fn rejected(&mut self, now: Instant, id: LinkId, frame: &[u8]) {
        let link = self.links.get(id.0).expect("a link that sends");
        debug!(error = %String::from_utf8_lossy(frame).trim_end(), "a server rejects a login");
        let (server, profile) = (link.server, std::sync::Arc::clone(&link.profile));
        if self.replicas.contains(&server) {
            // The primary serves this profile.
            if link.owner == Owner::Probe {
                self.trust_answers(server);
            }
            self.server_mut(server).reject(now, profile);
            return self.doom(id);
        }
        let at = self.server_mut(server).failed(now);
        self.retry_at(at);
        self.doom(id);
        for client in self.stuck.clone() {
            if let Some(session) = self.sessions.get(client.0)
                && std::sync::Arc::ptr_eq(&session.profile, &profile)
            {
                self.tell(client, frame);
                self.session(client).closing = true;
            }
        }
    }
}

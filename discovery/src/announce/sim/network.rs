//! The calls of a world: late, lost, repeated, and watches that are deaf or cut.

use std::time::Duration;

use super::super::core::{Event, Failure};
use super::super::plan::Write;
use super::super::seen::Seen;
use super::SECOND;
use super::api::{Api, Change, Watch};
use super::flaw::Flaw;
use super::setting::{Setting, TERM, config};
use super::world::{Answer, Call, What, World, see};

impl<S: Setting> World<S> {
    /// A call may arrive, even long after it was given up, and even twice.
    pub(super) fn send(&mut self, n: usize, what: Call) {
        self.serial += 1;
        let id = self.serial;
        self.nodes[n].call = id;
        let late = Failure::Away("nobody answers".into());
        let late = match &what {
            Call::Read => Answer::Read(Err(late)),
            Call::Write(_) => Answer::Wrote(Err(late)),
        };
        self.later(config().timeout, What::Answer(n, id, late));
        if self.chance(self.weather.loss) {
            return;
        }
        if let Call::Write(write) = &what
            && self.chance(self.weather.repeats)
        {
            let again = Duration::from_millis(self.rng.u64(0..30_000));
            self.later(again, What::Arrive(n, id, Call::Write(write.clone())));
        }
        let delay = self.transit();
        self.later(delay, What::Arrive(n, id, what));
    }

    pub(super) fn arrive(&mut self, n: usize, id: u64, what: Call) {
        let failure = self
            .chance(self.weather.errors)
            .then(|| self.draw_failure());
        let answer = match (what, failure) {
            (Call::Read, Some(failure)) => Answer::Read(Err(failure)),
            (Call::Write(_), Some(failure)) => Answer::Wrote(Err(failure)),
            (Call::Read, None) => {
                let objects = self.api.objects().values();
                let seen = objects.map(|object| see(&self.subject, object));
                let view = seen.map(|seen| (seen.name.clone(), seen)).collect();
                Answer::Read(Ok((view, self.api.version)))
            }
            (Call::Write(write), None) => Answer::Wrote(self.write(&write)),
        };
        if !self.chance(self.weather.loss) {
            let delay = self.transit();
            self.later(delay, What::Answer(n, id, answer));
        }
    }

    fn draw_failure(&mut self) -> Failure {
        let why = String::from("an error of the API");
        match self.rng.u8(0..5) {
            0 => Failure::Outdated(why),
            1 => Failure::Busy(Some(SECOND), why),
            2 => Failure::Busy(None, why),
            3 => Failure::Refused(why),
            _ => Failure::Away(why),
        }
    }

    fn write(&mut self, write: &Write) -> Result<Seen, Failure> {
        if !self.api.objects().contains_key(&write.object) {
            return Err(Failure::Outdated("gone".into()));
        }
        let written = self.change(|api| api.patch(&write.object, &write.patch));
        let object = written.ok_or_else(|| Failure::Rejected("it does not apply".into()))?;
        Ok(see(&self.subject, &object))
    }

    /// Whoever changes something, all invariants are checked, and all who watch are told.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Api) -> T) -> T {
        let changed = change(&mut self.api);
        for (name, object) in self.api.objects() {
            let Some(term) = see(&self.subject, object).mark.term() else {
                continue;
            };
            let uid = object["metadata"]["uid"].as_str().expect("it has one");
            let highest = self.marks.entry((name.clone(), uid.into())).or_default();
            assert!(
                term >= *highest,
                "{TERM} of {name} falls from {highest} to {term}"
            );
            *highest = term;
        }
        if !self.hands {
            S::check(self.api.objects());
        }
        let ids: Vec<u64> = self.api.watches.iter().map(|watch| watch.id).collect();
        for id in ids {
            let delay = self.transit();
            self.later(delay, What::Serve(id));
        }
        changed
    }

    pub(super) fn open(&mut self, node: usize, id: u64, version: u64) {
        if self.nodes[node].watch != Some(id) {
            return;
        }
        if self.chance(self.weather.errors) {
            let failure = self.draw_failure();
            return self.later(
                SECOND / 50,
                What::Hear(node, id, Event::Unwatched(Err(failure))),
            );
        }
        let deaf = self.subject.flaw == Some(Flaw::Deaf);
        let watch = Watch {
            node,
            id,
            told: version,
            silent: self.chance(self.weather.loss),
            cut: false,
        };
        let (reread, timeout) = (config().reread, config().timeout);
        if deaf {
            self.later(SECOND / 50, What::Hear(node, id, Event::Watching));
            return;
        }
        let (end, how) = if watch.silent {
            let silence = Failure::Away("the API has gone silent".into());
            (reread + timeout, Err(silence))
        } else {
            (reread, Ok(()))
        };
        self.api.watches.push(watch);
        self.later(SECOND / 50, What::Hear(node, id, Event::Watching));
        self.later(SECOND / 40, What::Serve(id));
        self.later(end, What::Hear(node, id, Event::Unwatched(how)));
    }

    /// Tells all that has happened, in order.
    pub(super) fn serve(&mut self, id: u64) {
        let nodes = &self.nodes;
        self.api
            .watches
            .retain(|watch| nodes[watch.node].watch == Some(watch.id));
        let version = self.api.version;
        let Some(watch) = self.api.watches.iter_mut().find(|watch| watch.id == id) else {
            return;
        };
        if watch.silent {
            return;
        }
        let (node, told, cut) = (watch.node, watch.told, watch.cut);
        watch.told = version;
        let news: Vec<Change> = self.api.since(told).cloned().collect();
        for Change { name, object, .. } in news {
            let event = match object {
                Some(object) => Event::Changed(see(&self.subject, &object)),
                None => Event::Gone(name),
            };
            self.later(Duration::ZERO, What::Hear(node, id, event));
        }
        if cut {
            self.later(
                Duration::ZERO,
                What::Hear(node, id, Event::Unwatched(Ok(()))),
            );
        }
    }
}

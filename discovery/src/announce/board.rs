use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::leader::Announcement;

/// Puts together what the parts of an announcement tell.
#[derive(Debug)]
pub(super) struct Board<'a> {
    parts: Mutex<Vec<Announcement>>,
    told: &'a watch::Sender<Announcement>,
}

impl<'a> Board<'a> {
    pub(super) fn new(told: &'a watch::Sender<Announcement>, parts: usize) -> Self {
        Self {
            parts: Mutex::new(vec![Announcement::Idle; parts]),
            told,
        }
    }

    pub(super) fn tell(&self, part: usize, announcement: Announcement) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts[part] = announcement;
        let all = parts.iter().cloned().reduce(Announcement::with);
        self.publish(all.unwrap_or_default());
    }

    fn publish(&self, announcement: Announcement) {
        self.told.send_if_modified(|told| {
            let changed = *told != announcement;
            *told = announcement;
            changed
        });
    }
}

/// Nothing is announced by what does not run.
impl Drop for Board<'_> {
    fn drop(&mut self) {
        self.publish(Announcement::Idle);
    }
}

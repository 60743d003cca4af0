use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::until;

/// The lines that a process has written so far; clones see the same lines.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    /// Sources that have not ended.
    open: Arc<AtomicUsize>,
}

impl Lines {
    /// All lines so far, of standard output and error in the order in which they were read.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.locked().clone()
    }

    /// Waits for a line that contains `text`, one that came already included, and returns it.
    ///
    /// # Errors
    ///
    /// When none came `within`; shows the last lines that did.
    pub fn wait_for(&self, text: &str, within: Duration) -> Result<String> {
        until(within, &format!("a line with {text:?}"), || {
            let lines = self.locked();
            let found = lines.iter().find(|line| line.contains(text)).cloned();
            found.ok_or_else(|| {
                let last = lines.len().saturating_sub(20);
                format!("the last lines were\n{}", lines[last..].join("\n"))
            })
        })
    }

    /// Adds the lines of `source` until it ends, from a thread of its own.
    pub(crate) fn read_from(&self, source: impl Read + Send + 'static) {
        let lines = self.clone();
        self.open.fetch_add(1, Ordering::SeqCst);
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut bytes = Vec::new();
            // An error is as good an end as any: the writer is gone.
            while source
                .read_until(b'\n', &mut bytes)
                .is_ok_and(|length| length > 0)
            {
                let line = String::from_utf8_lossy(&bytes)
                    .trim_end_matches('\n')
                    .to_owned();
                lines.locked().push(line);
                bytes.clear();
            }
            lines.open.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Waits until all sources have ended and been read, which one does not whose writer's children
    /// live on: then no longer than this.
    pub(crate) fn drain(&self, within: Duration) {
        let drained = || self.open.load(Ordering::SeqCst) == 0;
        // Not to have drained is no failure.
        let _ = until(within, "the end of what it writes", drained);
    }

    fn locked(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

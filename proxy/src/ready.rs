//! Which connections of a worker are ready, so that one task can serve them all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use crate::control::Mail;
use crate::engine::Conn;

/// The ready connections of one worker, each once, and what other workers sent it.
#[derive(Debug, Default)]
pub(crate) struct ReadyList {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ready: Vec<Arc<Readiness>>,
    mail: Vec<Mail>,
    /// The worker has ended.
    closed: bool,
    /// The worker's task, while it waits.
    worker: Option<Waker>,
}

/// Wakes the worker for one connection.
#[derive(Debug)]
pub(crate) struct Readiness {
    pub(crate) conn: Conn,
    listed: AtomicBool,
    list: Arc<ReadyList>,
}

impl ReadyList {
    pub(crate) fn readiness(self: &Arc<Self>, conn: Conn) -> Arc<Readiness> {
        Arc::new(Readiness {
            conn,
            listed: AtomicBool::new(false),
            list: Arc::clone(self),
        })
    }

    /// Ready when any connection is, or there is mail.
    pub(crate) fn poll_any(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.is_empty() {
            return Poll::Ready(());
        }
        if !state
            .worker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            state.worker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Takes all connections that are ready, and the mail.
    pub(crate) fn take(&self, into: &mut Vec<Arc<Readiness>>) -> Vec<Mail> {
        let mut state = self.lock();
        into.append(&mut state.ready);
        let mail = std::mem::take(&mut state.mail);
        drop(state);
        for ready in into {
            ready.listed.store(false, Ordering::Release);
        }
        mail
    }

    /// Sends something to the worker. If that has ended, it is dropped.
    pub(crate) fn post(&self, mail: Mail) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return drop(mail);
        }
        let worker = state.is_empty().then(|| state.worker.take()).flatten();
        state.mail.push(mail);
        drop(state);
        if let Some(worker) = worker {
            worker.wake();
        }
    }

    /// The worker has ended: what was sent to it is dropped.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left = (
            std::mem::take(&mut state.ready),
            std::mem::take(&mut state.mail),
        );
        // Not before: who lets go of a question may post its answer here.
        drop(state);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it is locked")
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.mail.is_empty()
    }
}

impl Readiness {
    /// Puts the connection on the list, if it is not there.
    pub(crate) fn list(self: &Arc<Self>) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.list.lock();
        let worker = state.is_empty().then(|| state.worker.take()).flatten();
        state.ready.push(Arc::clone(self));
        drop(state);
        if let Some(worker) = worker {
            worker.wake();
        }
    }
}

impl Wake for Readiness {
    fn wake(self: Arc<Self>) {
        self.list();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list();
    }
}

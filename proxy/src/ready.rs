//! Which connections of a worker are ready, so that one task can serve them all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use crate::engine::Conn;

/// The ready connections of one worker, each once.
#[derive(Debug, Default)]
pub(crate) struct ReadyList {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ready: Vec<Arc<Readiness>>,
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

    /// Ready when any connection is.
    pub(crate) fn poll_any(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.ready.is_empty() {
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

    /// Takes all connections that are ready.
    pub(crate) fn take(&self, into: &mut Vec<Arc<Readiness>>) {
        into.append(&mut self.lock().ready);
        for ready in into {
            ready.listed.store(false, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it is locked")
    }
}

impl Readiness {
    /// Puts the connection on the list, if it is not there.
    pub(crate) fn list(self: &Arc<Self>) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.list.lock();
        state.ready.push(Arc::clone(self));
        let worker = (state.ready.len() == 1)
            .then(|| state.worker.take())
            .flatten();
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

//! Push messages, apart from replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::value::Value;

/// Messages that may wait to be taken.
const KEPT: usize = 1024;

/// The push messages of a connection, in order.
///
/// At most 1024 wait to be taken. When nobody takes them, further ones are
/// dropped and [counted](Self::dropped): what is kept stays without gaps, and who
/// must not miss any sees that it did.
#[derive(Debug)]
pub struct Pushes {
    messages: mpsc::Receiver<Value>,
    dropped: Arc<AtomicU64>,
}

impl Pushes {
    /// The next message; `None` when the connection is lost and all were taken.
    ///
    /// # Cancel safety
    /// Yes: no message is lost.
    pub async fn next(&mut self) -> Option<Value> {
        self.messages.recv().await
    }

    /// How many messages were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The driver's end.
#[derive(Debug)]
pub(crate) struct PushSender {
    messages: mpsc::Sender<Value>,
    dropped: Arc<AtomicU64>,
}

pub(crate) fn channel() -> (PushSender, Pushes) {
    let (sender, receiver) = mpsc::channel(KEPT);
    let dropped = Arc::new(AtomicU64::new(0));
    let sender = PushSender {
        messages: sender,
        dropped: Arc::clone(&dropped),
    };
    let receiver = Pushes {
        messages: receiver,
        dropped,
    };
    (sender, receiver)
}

impl PushSender {
    pub(crate) fn send(&self, message: Value) {
        if self.messages.try_send(message).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

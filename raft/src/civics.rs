//! What this node has promised and joined: read by those who ask, changed by those who found.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::{
    founding::{Acceptor, Answer, Inquiry},
    net::Identity,
};

/// This node's part in founding a group.
#[derive(Debug)]
pub(crate) struct Civics {
    identity: Arc<Identity>,
    name: String,
    acceptor: Mutex<Acceptor>,
}

impl Civics {
    pub(crate) fn new(identity: Arc<Identity>, name: String) -> Self {
        Self {
            identity,
            name,
            acceptor: Mutex::default(),
        }
    }

    /// Acts on an inquiry and says where this node stands. A node that belongs to a group takes
    /// part in no founding.
    pub(crate) fn answer(&self, inquiry: &Inquiry) -> Answer {
        let mut acceptor = self.acceptor();
        let charter = self.identity.charter();
        Answer {
            id: self.identity.id,
            name: self.name.clone(),
            charter,
            agreed: charter == 0 && acceptor.answer(inquiry),
            acceptor: acceptor.clone(),
        }
    }

    /// Joins the group of this founding; `false` if this node belongs to another one.
    #[must_use]
    pub(crate) fn join(&self, charter: u128) -> bool {
        // Not in the middle of an answer.
        let _acceptor = self.acceptor();
        self.identity.join(charter)
    }

    fn acceptor(&self) -> MutexGuard<'_, Acceptor> {
        self.acceptor
            .lock()
            .expect("nobody panics while holding it")
    }
}

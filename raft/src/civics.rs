//! What this node has promised and joined: read by those who ask, changed by those who found.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::{
    founding::{Acceptor, Answer, Inquiry},
    home::Papers,
    log::disk::Disk,
    net::Identity,
};

/// This node's part in founding a group.
#[derive(Debug)]
pub(crate) struct Civics {
    identity: Arc<Identity>,
    papers: Mutex<Papers>,
    /// Where they are kept, if they shall outlive this node.
    disk: Option<Arc<dyn Disk>>,
}

impl Civics {
    pub(crate) fn new(
        identity: Arc<Identity>,
        papers: Papers,
        disk: Option<Arc<dyn Disk>>,
    ) -> Self {
        Self {
            identity,
            papers: Mutex::new(papers),
            disk,
        }
    }

    /// Acts on an inquiry and says where this node stands. A node that belongs to a group takes
    /// part in no founding.
    pub(crate) fn answer(&self, inquiry: &Inquiry) -> Answer {
        let mut papers = self.papers();
        let mut then = papers.clone();
        let agreed = papers.charter == 0 && then.acceptor.answer(inquiry);
        // What could be forgotten is not promised.
        let kept = self.change(&mut papers, then);
        Answer {
            id: papers.id,
            name: papers.member.clone(),
            charter: papers.charter,
            agreed: agreed && kept,
            acceptor: papers.acceptor.clone(),
        }
    }

    /// Leaves the group for a new one of this founding, and keeps that; the papers that say so.
    pub(crate) fn leave_for(&self, charter: u128) -> Option<Papers> {
        let mut papers = self.papers();
        let then = Papers {
            charter,
            acceptor: Acceptor::default(),
            ..papers.clone()
        };
        let belongs = papers.charter != 0;
        (belongs && self.change(&mut papers, then)).then(|| papers.clone())
    }

    /// Where this node's papers are kept.
    pub(crate) fn disk(&self) -> Option<Arc<dyn Disk>> {
        self.disk.clone()
    }

    /// Takes on the founding that was agreed on, before its group begins. It is kept only by
    /// [`join`](Self::join), once the log knows of the group: a node that would belong to a group
    /// and have nothing of it would wait for others to begin, and they for it.
    #[must_use]
    pub(crate) fn found(&self, charter: u128) -> bool {
        let papers = self.papers();
        papers.charter == 0 && self.identity.join(charter)
    }

    /// Joins the group of this founding; `false` if this node belongs to another one.
    #[must_use]
    pub(crate) fn join(&self, charter: u128) -> bool {
        let mut papers = self.papers();
        if papers.charter == charter {
            return true;
        }
        let taken_on = self.identity.charter();
        if taken_on != 0 && taken_on != charter {
            return false;
        }
        let mut then = papers.clone();
        then.charter = charter;
        papers.charter == 0 && self.change(&mut papers, then) && self.identity.join(charter)
    }

    /// Keeps other papers, if that can be done.
    fn change(&self, papers: &mut Papers, then: Papers) -> bool {
        if *papers == then {
            return true;
        }
        // A node that belongs to no group has nothing else to do, and this is done a few times.
        if let Some(disk) = &self.disk
            && let Err(error) = then.write(&**disk)
        {
            tracing::error!(%error, "cannot keep what this node would promise");
            return false;
        }
        *papers = then;
        true
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().expect("nobody panics while holding it")
    }
}

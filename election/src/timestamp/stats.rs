use crate::timestamp::wire::Fault;

/// What became of a member's connections: all counted since its election began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections whose two ends told each other who they are.
    pub connections_opened: u64,
    /// Connections closed because what came is no message of this protocol.
    pub garbage: u64,
    /// Connections closed because a message was announced to be too long.
    pub oversize: u64,
    /// Connections closed because the other end belongs to another group.
    pub other_group: u64,
    /// Connections closed because the other end speaks another version of the protocol.
    pub other_version: u64,
    /// Connections closed because the other end did not say hello, or did not read, in time; dials
    /// that were not answered in time are among them.
    pub slow: u64,
    /// Connections that the network or the other end closed, and dials that failed.
    pub broken: u64,
}

impl Stats {
    pub(crate) fn count(&mut self, fault: &Fault) {
        let counter = match fault {
            Fault::Io(_) => &mut self.broken,
            Fault::Version { .. } => &mut self.other_version,
            Fault::Group(_) => &mut self.other_group,
            Fault::Oversize(_) => &mut self.oversize,
            Fault::Garbage => &mut self.garbage,
            Fault::Slow => &mut self.slow,
        };
        *counter += 1;
    }
}

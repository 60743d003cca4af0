use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bellwether_raft::{Config, Roster, Storage};

use crate::{
    Error,
    raft::{core::Timing, table::MAX_TABLE},
};

/// The longest command, with room to spare: names, card and rank are bounded.
const MAX_COMMAND: usize = 16 * 1024;

/// The log is cut each time that so many bytes were written.
const MAX_LOG: usize = 1024 * 1024;

/// No time may be longer: a group that waits for an hour waits for a typing error.
const MAX_TIME: Duration = Duration::from_secs(3600);

/// How a member of a Raft election is called, reached and timed.
///
/// [`new`](Self::new) fills in the defaults; all fields may then be changed. All members of a group
/// should have the same times.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RaftConfig {
    /// The group's name: members of groups with other names are turned away. 1 to 255 bytes.
    pub group: String,
    /// This member's name, unique in the group and stable over restarts, as in the [`Roster`]. 1 to
    /// 255 bytes.
    pub member: String,
    /// Where peers are listened for. Port 0 takes a free one, see
    /// [`Raft::local_addr`](crate::Raft::local_addr).
    pub listen: SocketAddr,
    /// A directory of this member's own, for Raft's log and vote. Without it (the default) they are
    /// in memory: a member that restarts comes back as another voter, and a majority that is lost at
    /// once begins a new group, whose terms begin anew.
    pub data: Option<PathBuf>,
    /// How often the leader tells the others that it is there, and at the least how long a message
    /// may take to another member and back. Default 75 ms.
    pub heartbeat: Duration,
    /// Who has heard no leader for `election_max` stands after a random time between `election_min`
    /// and `election_max`. Default 200 ms; longer than twice `heartbeat`.
    pub election_min: Duration,
    /// See `election_min`. Default 400 ms. A leader's own lease ends after nine tenths of this.
    pub election_max: Duration,
    /// How long the founding of a group waits for members that are expected, once enough of them
    /// answer. Default 2 s.
    pub form_timeout: Duration,
    /// A member that discovery no longer names for so long is removed. Default 60 s.
    pub remove_after: Duration,
    /// In a vacancy, how long to wait for a member that answers but does not say whether it stands.
    /// Default 1 s.
    pub vote_timeout: Duration,
    /// How long the others hold back for a successor that was named at a resignation; shorter than
    /// `vote_timeout`. Default 500 ms.
    pub handover_timeout: Duration,
    /// A member that has not answered the leader for so long is no longer told of as a peer; no
    /// shorter than `election_max`. Default 1 s.
    pub forget_after: Duration,
}

impl RaftConfig {
    /// A configuration with default times, in memory.
    #[must_use]
    pub fn new(group: impl Into<String>, member: impl Into<String>, listen: SocketAddr) -> Self {
        Self {
            group: group.into(),
            member: member.into(),
            listen,
            data: None,
            heartbeat: Duration::from_millis(75),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
            form_timeout: Duration::from_secs(2),
            remove_after: Duration::from_secs(60),
            vote_timeout: Duration::from_secs(1),
            handover_timeout: Duration::from_millis(500),
            forget_after: Duration::from_secs(1),
        }
    }

    /// Checks what must hold of single fields and between fields.
    pub(crate) fn check(&self, roster: &Roster) -> Result<(), Error> {
        let config = |error: bellwether_raft::Error| Error::Config(error.to_string());
        self.group_config().check().map_err(config)?;
        roster.check(&self.group_config()).map_err(config)?;
        let wrong = |what: String| Err(Error::Config(what));
        for (field, time) in [
            ("vote_timeout", self.vote_timeout),
            ("forget_after", self.forget_after),
        ] {
            if time > MAX_TIME {
                return wrong(format!("{field} ({time:?}) must be at most {MAX_TIME:?}"));
            }
        }
        if self.handover_timeout >= self.vote_timeout {
            return wrong(format!(
                "handover_timeout ({:?}) must be shorter than vote_timeout ({:?})",
                self.handover_timeout, self.vote_timeout
            ));
        }
        if self.forget_after < self.election_max {
            return wrong(format!(
                "forget_after ({:?}) must be no shorter than election_max ({:?})",
                self.forget_after, self.election_max
            ));
        }
        Ok(())
    }

    pub(crate) fn timing(&self) -> Timing {
        Timing {
            settle: self.heartbeat * 2,
            vote_timeout: self.vote_timeout,
            handover_timeout: self.handover_timeout,
            forget_after: self.forget_after,
        }
    }

    /// The group underneath.
    pub(crate) fn group_config(&self) -> Config {
        let storage = match &self.data {
            None => Storage::Memory,
            Some(directory) => Storage::Directory(directory.clone()),
        };
        let mut config = Config::new(&self.group, &self.member, self.listen, storage);
        config.heartbeat = self.heartbeat;
        config.election_min = self.election_min;
        config.election_max = self.election_max;
        config.form_timeout = self.form_timeout;
        config.remove_after = self.remove_after;
        config.proposal_timeout = config.peer_timeout.max(self.election_max);
        config.peer_timeout = config.proposal_timeout;
        config.max_proposal = MAX_COMMAND;
        config.max_batch = MAX_LOG;
        config.snapshot_after = MAX_LOG;
        config.max_snapshot = MAX_TABLE * 2;
        config
    }
}

#[cfg(test)]
mod tests {
    use bellwether_raft::Member;

    use super::*;

    fn complaint(change: impl FnOnce(&mut RaftConfig)) -> String {
        let mut config = RaftConfig::new("flock", "a", ([127, 0, 0, 1], 0).into());
        change(&mut config);
        let roster = Roster::fixed([Member::new("a", "127.0.0.1", 1)]);
        let checked = config.check(&roster).err();
        checked.map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn a_broken_relation_names_both_fields() {
        assert_eq!(complaint(|_| {}), "");
        let said = complaint(|c| c.handover_timeout = c.vote_timeout);
        assert!(said.contains("handover_timeout") && said.contains("vote_timeout"));
        let said = complaint(|c| c.forget_after = c.election_min);
        assert!(said.contains("forget_after") && said.contains("election_max"));
        let said = complaint(|c| c.election_min = c.heartbeat);
        assert!(said.contains("election_min") && said.contains("heartbeat"));
    }

    #[test]
    fn names_and_times_are_bounded() {
        assert!(complaint(|c| c.group.clear()).contains("group"));
        assert!(complaint(|c| c.member = "b".into()).contains("\"b\""));
        assert!(complaint(|c| c.vote_timeout = Duration::MAX).contains("vote_timeout"));
        assert!(complaint(|c| c.forget_after = Duration::MAX).contains("forget_after"));
        assert!(complaint(|c| c.election_max = Duration::MAX).contains("election_max"));
    }
}

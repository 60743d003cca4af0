use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::Error;

/// Names and hosts have at most this many bytes.
pub(crate) const MAX_NAME: usize = 255;

/// No time may be longer: a group that waits for an hour waits for a typing error.
const MAX_TIME: Duration = Duration::from_secs(3600);

/// Nor may a batch be larger: it travels and is stored in one piece.
const MAX_BATCH: usize = 64 * 1024 * 1024;

/// Where a node keeps its log, its vote and its snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory. After each start the node has a new id and begins with nothing. **A group that
    /// loses a majority of its nodes at once has lost its data.**
    Memory,
    /// In a directory of its own, which is made if it is not there. A node that restarts goes on
    /// with what it finds. What was acknowledged was synced to the disks of a majority.
    Directory(PathBuf),
}

/// How a node of a group is called, reached, timed and bounded.
///
/// [`new`](Self::new) fills in the defaults; all fields may then be changed. All nodes of a group
/// should have the same times and bounds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The group's name: nodes of groups with other names are turned away. 1 to 255 bytes.
    pub group: String,
    /// This member's name, unique in the group and stable over restarts. 1 to 255 bytes.
    pub member: String,
    /// Where peers are listened for. Port 0 takes a free one, see
    /// [`Group::local_addr`](crate::Group::local_addr).
    pub listen: SocketAddr,
    /// Where the log is kept.
    pub storage: Storage,
    /// How often the leader tells the others that it is there. Default 75 ms. A heartbeat counts
    /// only if it is answered within this time, so it must be longer than the way to another node
    /// and back ever takes.
    pub heartbeat: Duration,
    /// A node that has heard no leader for `election_max` waits for a random time between
    /// `election_min` and `election_max` before it stands for election, so that few do so at once.
    /// Default 200 ms; longer than twice `heartbeat`.
    pub election_min: Duration,
    /// See `election_min`; also how long a leader that no majority answers goes on taking proposals:
    /// its lease. Default 400 ms. A leader that is killed has a successor after one to two times
    /// this.
    pub election_max: Duration,
    /// How long a proposal or a read waits before it ends as [`Error::Unknown`] or
    /// [`Error::NoQuorum`]. Default 5 s; no shorter than `election_max`.
    pub proposal_timeout: Duration,
    /// How long another node may take for what it is asked, and how long a connection to it may stand
    /// still. Default 2 s; no shorter than `election_max`.
    pub peer_timeout: Duration,
    /// How long the founding of a group waits for expected members that do not answer, once enough of
    /// them do. Default 2 s.
    pub form_timeout: Duration,
    /// A node that discovery no longer names for so long is removed from the group. Default 60 s.
    pub remove_after: Duration,
    /// A command has at most this many bytes. Default 1 MiB; no more than `max_batch`.
    pub max_proposal: usize,
    /// Commands that are proposed at the same time share a log entry of at most this many bytes.
    /// Default 1 MiB.
    pub max_batch: usize,
    /// So many commands share a log entry at most. Default 256.
    pub max_batch_commands: usize,
    /// A snapshot is taken each time that so many bytes of commands were applied; about as many
    /// bytes of log are kept behind it, for nodes that are behind. Default 64 MiB; no less than
    /// `max_batch`.
    pub snapshot_after: usize,
    /// A snapshot that another node sends has at most this many bytes. Default 16 GiB.
    pub max_snapshot: u64,
}

impl Config {
    /// A configuration with default times and bounds.
    #[must_use]
    pub fn new(
        group: impl Into<String>,
        member: impl Into<String>,
        listen: SocketAddr,
        storage: Storage,
    ) -> Self {
        Self {
            group: group.into(),
            member: member.into(),
            listen,
            storage,
            heartbeat: Duration::from_millis(75),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
            proposal_timeout: Duration::from_secs(5),
            peer_timeout: Duration::from_secs(2),
            form_timeout: Duration::from_secs(2),
            remove_after: Duration::from_secs(60),
            max_proposal: 1024 * 1024,
            max_batch: 1024 * 1024,
            max_batch_commands: 256,
            snapshot_after: 64 * 1024 * 1024,
            max_snapshot: 16 * 1024 * 1024 * 1024,
        }
    }

    /// Checks what must hold of single fields and between fields, as [`Group::start`] does.
    ///
    /// [`Group::start`]: crate::Group::start
    ///
    /// # Errors
    ///
    /// [`Error::Config`], which names the fields.
    pub fn check(&self) -> Result<(), Error> {
        for (field, name) in [("group", &self.group), ("member", &self.member)] {
            if name.is_empty() || name.len() > MAX_NAME {
                return wrong(format!("{field} must have 1 to {MAX_NAME} bytes"));
            }
        }
        let least = Duration::from_millis(5);
        for (field, time) in self.times() {
            if time < least || time > MAX_TIME {
                return wrong(format!(
                    "{field} ({time:?}) must be between {least:?} and {MAX_TIME:?}"
                ));
            }
            if time.subsec_nanos() % 1_000_000 != 0 {
                return wrong(format!("{field} ({time:?}) must be whole milliseconds"));
            }
        }
        self.check_times()?;
        self.check_bounds()
    }

    fn times(&self) -> [(&'static str, Duration); 7] {
        [
            ("heartbeat", self.heartbeat),
            ("election_min", self.election_min),
            ("election_max", self.election_max),
            ("proposal_timeout", self.proposal_timeout),
            ("peer_timeout", self.peer_timeout),
            ("form_timeout", self.form_timeout),
            ("remove_after", self.remove_after),
        ]
    }

    fn check_times(&self) -> Result<(), Error> {
        if self.election_min <= self.heartbeat * 2 {
            return wrong(format!(
                "election_min ({:?}) must be longer than twice heartbeat ({:?})",
                self.election_min, self.heartbeat
            ));
        }
        if self.election_max <= self.election_min {
            return wrong(format!(
                "election_max ({:?}) must be longer than election_min ({:?})",
                self.election_max, self.election_min
            ));
        }
        for (field, time) in [
            ("proposal_timeout", self.proposal_timeout),
            ("peer_timeout", self.peer_timeout),
        ] {
            if time < self.election_max {
                return wrong(format!(
                    "{field} ({time:?}) must be no shorter than election_max ({:?})",
                    self.election_max
                ));
            }
        }
        Ok(())
    }

    fn check_bounds(&self) -> Result<(), Error> {
        if self.max_batch_commands == 0 || self.max_proposal == 0 {
            return wrong("max_batch_commands and max_proposal must be at least 1".into());
        }
        if self.max_batch > MAX_BATCH {
            return wrong(format!(
                "max_batch ({}) must be at most {MAX_BATCH}",
                self.max_batch
            ));
        }
        if self.max_proposal > self.max_batch {
            return wrong(format!(
                "max_proposal ({}) must be no more than max_batch ({})",
                self.max_proposal, self.max_batch
            ));
        }
        if self.snapshot_after < self.max_batch {
            return wrong(format!(
                "snapshot_after ({}) must be no less than max_batch ({})",
                self.snapshot_after, self.max_batch
            ));
        }
        Ok(())
    }

    /// As the library wants it.
    pub(crate) fn library(&self) -> openraft::Config {
        openraft::Config {
            cluster_name: self.group.clone(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(self.peer_timeout),
            // The log's own bound is in bytes.
            max_payload_entries: 4096,
            // A snapshot is taken, and the log cut, by bytes: see `keep.rs`.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            // Behind by fewer entries than this, a learner counts as caught up.
            replication_lag_threshold: 1024,
            // A leader that leaves hands over first, see `steward.rs`.
            removed_leader_step_down: openraft::StepDownPolicy::Never,
            // A node that cannot win must not end another's leadership by trying.
            enable_pre_vote: Some(true),
            // A leader that restarts may have lost its committed index, and with it the state that
            // it has already shown.
            enable_leader_restore: Some(false),
            backoff: "20ms 40ms 80ms ...400ms".into(),
            ..openraft::Config::default()
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("times are bounded")
}

fn wrong(what: String) -> Result<(), Error> {
    Err(Error::Config(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new(
            "flock",
            "dolly",
            ([127, 0, 0, 1], 0).into(),
            Storage::Memory,
        )
    }

    fn complaint(change: impl FnOnce(&mut Config)) -> String {
        let mut config = config();
        change(&mut config);
        config.check().expect_err("it cannot work").to_string()
    }

    #[test]
    fn the_defaults_fit_together() {
        config().check().unwrap();
        config().library().validate().unwrap();
    }

    #[test]
    fn a_complaint_names_both_fields() {
        for (said, fields) in [
            (
                complaint(|c| c.heartbeat = Duration::from_millis(100)),
                ["election_min", "heartbeat"],
            ),
            (
                complaint(|c| c.election_min = c.election_max),
                ["election_max", "election_min"],
            ),
            (
                complaint(|c| c.proposal_timeout = c.election_min),
                ["proposal_timeout", "election_max"],
            ),
            (
                complaint(|c| c.peer_timeout = c.election_min),
                ["peer_timeout", "election_max"],
            ),
            (
                complaint(|c| c.max_proposal = c.max_batch + 1),
                ["max_proposal", "max_batch"],
            ),
            (
                complaint(|c| c.snapshot_after = 1),
                ["snapshot_after", "max_batch"],
            ),
        ] {
            assert!(fields.iter().all(|field| said.contains(field)), "{said}");
        }
    }

    #[test]
    fn names_times_and_bounds_are_bounded() {
        assert!(complaint(|c| c.group.clear()).contains("group"));
        assert!(complaint(|c| c.member = "x".repeat(256)).contains("member"));
        assert!(complaint(|c| c.heartbeat = Duration::ZERO).contains("heartbeat"));
        assert!(complaint(|c| c.peer_timeout = Duration::MAX).contains("peer_timeout"));
        assert!(complaint(|c| c.heartbeat = Duration::from_micros(7500)).contains("heartbeat"));
        assert!(complaint(|c| c.max_batch_commands = 0).contains("max_batch_commands"));
        assert!(complaint(|c| c.max_batch = usize::MAX).contains("max_batch"));
    }
}

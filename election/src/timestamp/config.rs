use std::{net::SocketAddr, time::Duration};

use crate::{
    Error,
    timestamp::message::{Address, MAX_NAME},
};

/// No time may be longer: a group that waits for an hour waits for a typing error.
const MAX_TIME: Duration = Duration::from_secs(3600);

/// How a member of a timestamp election is called, reached and timed.
///
/// [`new`](Self::new) fills in the defaults; all fields may then be changed. All members of a group
/// should have the same times.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TimestampConfig {
    /// The group's name: members of groups with other names are turned away. 1 to 255 bytes.
    pub group: String,
    /// This member's name, unique in the group and stable over restarts. 1 to 255 bytes.
    pub member: String,
    /// Where peers are listened for. Port 0 takes a free one, see
    /// [`Timestamp::local_addr`](crate::Timestamp::local_addr).
    pub listen: SocketAddr,
    /// The host and port at which peers reach this member. Without it (the default) they dial the
    /// address that this member's own connections come from, at the port that it listens on.
    pub advertise: Option<Address>,
    /// How often a member tells its peers that it is there. Default 100 ms: with `lost_after` of
    /// ten times that, a peer is not lost to a few lost packets.
    pub heartbeat: Duration,
    /// A peer that is silent for this long is lost; at least four times `heartbeat`. Default 1 s.
    /// A leader's own lease ends a heartbeat and a tenth of this earlier.
    pub lost_after: Duration,
    /// In a vacancy, how long to wait for a member that does not speak or vote. Default 1 s.
    pub vote_timeout: Duration,
    /// After its start, how long a member waits for the members that discovery names, before it
    /// votes without them; no shorter than `lost_after`, as a leader that it does not hear may lead
    /// for so long. Default 1 s.
    pub form_timeout: Duration,
    /// How long the others hold back for a successor that was named at a resignation; shorter than
    /// `vote_timeout`. Default 500 ms.
    pub handover_timeout: Duration,
}

/// The times of a [`TimestampConfig`], as the core needs them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) heartbeat: Duration,
    pub(crate) lost_after: Duration,
    pub(crate) vote_timeout: Duration,
    pub(crate) form_timeout: Duration,
    pub(crate) handover_timeout: Duration,
}

impl TimestampConfig {
    /// A configuration with default times.
    #[must_use]
    pub fn new(group: impl Into<String>, member: impl Into<String>, listen: SocketAddr) -> Self {
        Self {
            group: group.into(),
            member: member.into(),
            listen,
            advertise: None,
            heartbeat: Duration::from_millis(100),
            lost_after: Duration::from_secs(1),
            vote_timeout: Duration::from_secs(1),
            form_timeout: Duration::from_secs(1),
            handover_timeout: Duration::from_millis(500),
        }
    }

    /// Checks what must hold of single fields and between fields.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        for (field, name) in [("group", &self.group), ("member", &self.member)] {
            if name.is_empty() || name.len() > MAX_NAME {
                return wrong(format!("{field} must have 1 to {MAX_NAME} bytes"));
            }
        }
        if let Some((host, port)) = &self.advertise
            && (host.is_empty() || host.len() > MAX_NAME || *port == 0)
        {
            return wrong(format!("advertise is no address: {host:?}, port {port}"));
        }
        if self.heartbeat < Duration::from_millis(1) {
            return wrong("heartbeat must be at least 1 ms".into());
        }
        for (field, time) in [
            ("heartbeat", self.heartbeat),
            ("lost_after", self.lost_after),
            ("vote_timeout", self.vote_timeout),
            ("form_timeout", self.form_timeout),
        ] {
            if time > MAX_TIME {
                return wrong(format!("{field} ({time:?}) must be at most {MAX_TIME:?}"));
            }
        }
        if self.lost_after < self.heartbeat * 4 {
            return wrong(format!(
                "lost_after ({:?}) must be at least four times heartbeat ({:?})",
                self.lost_after, self.heartbeat
            ));
        }
        if self.form_timeout < self.lost_after {
            return wrong(format!(
                "form_timeout ({:?}) must be no shorter than lost_after ({:?})",
                self.form_timeout, self.lost_after
            ));
        }
        if self.handover_timeout >= self.vote_timeout {
            return wrong(format!(
                "handover_timeout ({:?}) must be shorter than vote_timeout ({:?})",
                self.handover_timeout, self.vote_timeout
            ));
        }
        Ok(())
    }

    pub(crate) fn timing(&self) -> Timing {
        Timing {
            heartbeat: self.heartbeat,
            lost_after: self.lost_after,
            vote_timeout: self.vote_timeout,
            form_timeout: self.form_timeout,
            handover_timeout: self.handover_timeout,
        }
    }
}

impl Timing {
    /// For how long a leader may act on what it last told its peers. They replace it no sooner than
    /// `lost_after` after they heard it. A heartbeat is taken off because the last snapshot may
    /// have been made without being sent, a tenth because their clocks may run faster.
    pub(crate) fn lease(&self) -> Duration {
        self.lost_after * 9 / 10 - self.heartbeat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TimestampConfig {
        TimestampConfig::new("flock", "a", ([127, 0, 0, 1], 0).into())
    }

    fn complaint(change: impl FnOnce(&mut TimestampConfig)) -> String {
        let mut config = config();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_hold() {
        config().check().unwrap();
        assert_eq!(config().timing().lease(), Duration::from_millis(800));
    }

    #[test]
    fn a_broken_relation_names_both_fields() {
        let said = complaint(|c| c.lost_after = Duration::from_millis(399));
        assert!(
            said.contains("lost_after") && said.contains("heartbeat"),
            "{said}"
        );
        let said = complaint(|c| c.form_timeout = Duration::from_millis(999));
        assert!(
            said.contains("form_timeout") && said.contains("lost_after"),
            "{said}"
        );
        let said = complaint(|c| c.handover_timeout = Duration::from_secs(1));
        assert!(
            said.contains("handover_timeout") && said.contains("vote_timeout"),
            "{said}"
        );
    }

    #[test]
    fn names_and_addresses_are_bounded() {
        assert!(complaint(|c| c.group.clear()).contains("group"));
        assert!(complaint(|c| c.member = "x".repeat(256)).contains("member"));
        assert!(complaint(|c| c.advertise = Some((String::new(), 1))).contains("advertise"));
        assert!(complaint(|c| c.heartbeat = Duration::ZERO).contains("heartbeat"));
        assert!(complaint(|c| c.vote_timeout = Duration::MAX).contains("vote_timeout"));
    }
}

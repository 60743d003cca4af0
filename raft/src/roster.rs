use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::{Config, Error, Member, config::MAX_NAME};

/// Who is expected to take part in a group, this node included, and how many of them must agree to
/// found it.
#[derive(Clone, Debug)]
pub struct Roster {
    members: watch::Receiver<BTreeSet<Member>>,
    quorum: usize,
    fixed: bool,
}

impl Roster {
    /// A list that does not change. A majority of it founds the group.
    #[must_use]
    pub fn fixed(members: impl IntoIterator<Item = Member>) -> Self {
        let members: BTreeSet<_> = members.into_iter().collect();
        Self {
            quorum: members.len() / 2 + 1,
            members: watch::channel(members).1,
            fixed: true,
        }
    }

    /// What discovery says at present. It may not know of all members when the group is founded, so
    /// `quorum` has to be told: **more than half of the members that there will be**. With less,
    /// two groups may be founded.
    #[must_use]
    pub fn discovered(members: watch::Receiver<BTreeSet<Member>>, quorum: usize) -> Self {
        Self {
            members,
            quorum,
            fixed: false,
        }
    }

    pub(crate) fn quorum(&self) -> usize {
        self.quorum
    }

    pub(crate) fn members(&self) -> watch::Receiver<BTreeSet<Member>> {
        self.members.clone()
    }

    /// Checks what must hold of the list, and between it and the configuration, as
    /// [`Group::start`](crate::Group::start) does.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], which names the fields.
    pub fn check(&self, config: &Config) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        if self.quorum == 0 {
            return wrong("quorum must be at least 1".into());
        }
        if !self.fixed {
            return Ok(());
        }
        let members = self.members.borrow();
        if !members.iter().any(|member| member.name == config.member) {
            return wrong(format!(
                "member {:?} is not among the members that are listed",
                config.member
            ));
        }
        let names: BTreeSet<_> = members.iter().map(|member| &member.name).collect();
        if names.len() < members.len() {
            return wrong("two of the members that are listed have the same name".into());
        }
        let fits = |text: &str| (1..=MAX_NAME).contains(&text.len());
        match members
            .iter()
            .find(|m| !fits(&m.name) || !fits(&m.host) || m.port == 0)
        {
            Some(odd) => wrong(format!("a member that is listed is none: {odd}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Storage;

    fn complaint(roster: &Roster) -> String {
        let config = Config::new("flock", "a", ([127, 0, 0, 1], 0).into(), Storage::Memory);
        let checked = roster.check(&config);
        checked
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn a_list_must_hold_this_member_once_and_be_sane() {
        let member = |name: &str, port| Member::new(name, "127.0.0.1", port);
        assert_eq!(complaint(&Roster::fixed([member("a", 1)])), "");
        assert!(complaint(&Roster::fixed([member("b", 1)])).contains("\"a\""));
        let twice = Roster::fixed([member("a", 1), member("a", 2)]);
        assert!(complaint(&twice).contains("same name"));
        let nowhere = Roster::fixed([member("a", 1), member("b", 0)]);
        assert!(complaint(&nowhere).contains("b (127.0.0.1:0)"));
        let (_, members) = watch::channel(BTreeSet::new());
        assert_eq!(complaint(&Roster::discovered(members.clone(), 2)), "");
        assert!(complaint(&Roster::discovered(members, 0)).contains("quorum"));
    }

    #[test]
    fn a_majority_of_a_list_founds_the_group() {
        for (count, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            let all = (0..count).map(|n| Member::new(format!("{n}"), "h", 1));
            assert_eq!(Roster::fixed(all).quorum(), quorum);
        }
    }
}

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::address::{Address, bracketed};

/// Where a member of the group is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// What joins discovery, election and replication: one name for each member, the same for
    /// all who speak of it. In a fixed list and with DNS it is `host:port`, an IPv6 host in
    /// brackets.
    pub name: String,
    /// An IP address, without brackets, or a name to be resolved on connecting.
    pub host: String,
    /// Never zero.
    pub port: u16,
}

/// All members of a group at one time.
pub type Members = BTreeSet<Member>;

impl Member {
    /// The member whose name is its address.
    #[must_use]
    pub fn at(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self {
            name: format!("{}:{port}", bracketed(&host)),
            host,
            port,
        }
    }
}

/// Its name.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Reads `host:port`, where the host is an IPv4 address, an IPv6 address in brackets or a name.
/// Spellings of the same address give the same member.
impl FromStr for Member {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let Address { host, port } = Address::parse(text).map_err(Error::Invalid)?;
        Ok(Self::at(host.trim_end_matches('.'), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_one_address() {
        for (text, name, host) in [
            ("10.0.0.1:3000", "10.0.0.1:3000", "10.0.0.1"),
            (
                "Redis-0.Example.:3000",
                "redis-0.example:3000",
                "redis-0.example",
            ),
            ("[0:0::0:1]:3000", "[::1]:3000", "::1"),
            ("[FD00::A]:3000", "[fd00::a]:3000", "fd00::a"),
        ] {
            let member: Member = text.parse().unwrap();
            assert_eq!((member.name.as_str(), member.host.as_str()), (name, host));
            assert_eq!(member.port, 3000);
            assert_eq!(member.to_string().parse::<Member>().unwrap(), member);
        }
    }
}

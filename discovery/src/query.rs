use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::Error;
use crate::address::{self, Address};

const EXPECTED: &str = "expected dns://name:port or srv://name";

/// What is asked of DNS. Reads and shows `dns://name:port` and `srv://name`.
///
/// A name that ends with a dot is absolute. Any other is tried with the system's search domains,
/// as by the C library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Every A and AAAA record of a name is a member at this port, named by its address: the way
    /// of a headless Service of Kubernetes.
    Addresses {
        /// The name to ask for.
        name: String,
        /// The port of every member; not zero.
        port: u16,
    },
    /// Every SRV record of a name is a member, named `target:port`. A record whose target is `.`
    /// or whose port is zero offers no service (RFC 2782) and is passed over.
    Services {
        /// The name to ask for, such as `_peer._tcp.redis.example`.
        name: String,
    },
}

impl Query {
    #[cfg(feature = "dns")]
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Addresses { name, .. } | Self::Services { name } => name,
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses { name, port } => write!(f, "dns://{name}:{port}"),
            Self::Services { name } => write!(f, "srv://{name}"),
        }
    }
}

impl FromStr for Query {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let query = match text.split_once("://") {
            Some(("dns", rest)) => addresses(rest),
            Some(("srv", rest)) => services(rest),
            Some((scheme, _)) => Err(format!("unknown scheme {scheme:?}")),
            None => Err(format!("{text:?} has no scheme")),
        };
        query.map_err(|complaint| Error::Invalid(format!("{complaint}; {EXPECTED}")))
    }
}

fn addresses(text: &str) -> Result<Query, String> {
    if text.contains(',') {
        return Err("a query by DNS is for one name, not a list".into());
    }
    let Address { host, port } = Address::parse(text)?;
    if host.parse::<IpAddr>().is_ok() {
        return Err(format!(
            "{host} is an address, not a name; list addresses as host:port"
        ));
    }
    Ok(Query::Addresses { name: host, port })
}

fn services(text: &str) -> Result<Query, String> {
    if text.contains(',') {
        return Err("a query by DNS is for one name, not a list".into());
    }
    if text.contains(':') {
        return Err(format!(
            "{text:?} has a port, but SRV records tell the ports"
        ));
    }
    if text.contains(char::is_whitespace) {
        return Err(format!("{text:?} contains a space"));
    }
    Ok(Query::Services {
        name: address::name(text)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows() {
        for text in [
            "dns://redis-hive-headless:3000",
            "dns://a.b.:1",
            "srv://_peer._tcp.redis",
        ] {
            assert_eq!(text.parse::<Query>().unwrap().to_string(), text);
        }
        let upper = "dns://Redis:3000".parse::<Query>().unwrap();
        assert_eq!(
            upper,
            Query::Addresses {
                name: "redis".into(),
                port: 3000
            }
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, complaint) in [
            ("redis:3000", "\"redis:3000\" has no scheme"),
            ("http://redis", "unknown scheme \"http\""),
            ("DNS://redis:1", "unknown scheme \"DNS\""),
            ("dns://redis", "\"redis\" has no port"),
            ("dns://", "the address is empty"),
            (
                "dns://a:1,b:2",
                "a query by DNS is for one name, not a list",
            ),
            (
                "dns://10.0.0.1:1",
                "10.0.0.1 is an address, not a name; list addresses as host:port",
            ),
            (
                "dns://redis:3000/",
                "port \"3000/\" in \"redis:3000/\" is not a number from 1 to 65535",
            ),
            (
                "srv://redis:3000",
                "\"redis:3000\" has a port, but SRV records tell the ports",
            ),
            ("srv://", "the host name is empty"),
            ("srv://a b", "\"a b\" contains a space"),
        ] {
            let error = text.parse::<Query>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{complaint}; {EXPECTED}"),
                "{text}"
            );
        }
    }
}

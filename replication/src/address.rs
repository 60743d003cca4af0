use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest name in DNS, in bytes.
const LONGEST_HOST: usize = 253;

/// Where a server listens: a host name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// A name or an IP address; an IPv6 address without brackets.
    pub host: String,
    /// The TCP port, not 0.
    pub port: u16,
}

impl Address {
    /// Where a fenced server is sent to replicate from: nobody listens there.
    pub const NOWHERE: (&'static str, u16) = ("127.0.0.1", 1);

    /// An address from its two parts.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Whether this is [`Address::NOWHERE`].
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        (self.host.as_str(), self.port) == Self::NOWHERE
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} {what}; an address is HOST:PORT or [IPV6]:PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .ok_or_else(|| wrong("has an open bracket"))?,
            None if host.contains(':') => return Err(wrong("has several colons")),
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong("has no host"));
        }
        if host.len() > LONGEST_HOST {
            // It is not repeated whole.
            let bytes = host.len();
            return Err(format!(
                "the host has {bytes} bytes, it may have {LONGEST_HOST}"
            ));
        }
        match port.parse() {
            Ok(port) if port != 0 => Ok(Self::new(host, port)),
            _ => Err(wrong("has a port that is not between 1 and 65535")),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["redis-0.redis:6379", "10.0.0.1:1", "[::1]:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "a",
            ":1",
            "a:0",
            "a:65536",
            "::1:6379",
            "[::1:6379",
            "a b:1",
            "a:x",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains("HOST:PORT"), "{error}");
        }
        let host = |bytes| "x".repeat(bytes);
        assert!(format!("{}:1", host(253)).parse::<Address>().is_ok());
        let error = format!("{}:1", host(254)).parse::<Address>().unwrap_err();
        assert!(error.contains("254") && error.contains("253"), "{error}");
    }
}

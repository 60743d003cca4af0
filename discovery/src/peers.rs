use std::fmt;
use std::str::FromStr;

#[cfg(feature = "dns")]
use crate::{Discovery, Dns, DnsConfig, Fixed};
use crate::{Error, Member, Members, Query};

const EXPECTED: &str = "expected host:port,host:port,… or dns://name:port or srv://name";

/// A list longer than this is a mistake.
const MOST: usize = 1024;

/// How a program was told to find its peers: the value of its `--peers` flag.
///
/// Reads a list `a:1,b:2,[::1]:3`, `dns://name:port` or `srv://name`, and shows them so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Exactly these, the program itself included.
    Fixed(Members),
    /// Whoever DNS names.
    Dns(Query),
}

impl Peers {
    /// The discovery that was asked for. `dns` is used by [`Peers::Dns`] only.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `dns` or a query that was not parsed cannot work.
    #[cfg(feature = "dns")]
    pub fn into_discovery(self, dns: DnsConfig) -> Result<Box<dyn Discovery>, Error> {
        Ok(match self {
            Self::Fixed(members) => Box::new(Fixed::new(members)),
            Self::Dns(query) => Box::new(Dns::new(query, dns)?),
        })
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(members) => {
                let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
                f.write_str(&names.join(","))
            }
            Self::Dns(query) => query.fmt(f),
        }
    }
}

impl FromStr for Peers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.starts_with("dns://") || text.starts_with("srv://") {
            return text.parse().map(Self::Dns);
        }
        let members = list(text);
        let invalid = |complaint| Error::Invalid(format!("{complaint}; {EXPECTED}"));
        members.map(Self::Fixed).map_err(invalid)
    }
}

fn list(text: &str) -> Result<Members, String> {
    if text.trim().is_empty() {
        return Err("no peers are given".into());
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!("unknown scheme {scheme:?}"));
    }
    let mut members = Members::new();
    for (index, entry) in text.split(',').enumerate() {
        if entry.is_empty() {
            return Err(format!("entry {} of {text:?} is empty", index + 1));
        }
        let member: Member = entry.parse().map_err(|error: Error| error.to_string())?;
        if let Some(twice) = members.replace(member) {
            return Err(format!("{twice} is given twice"));
        }
        if members.len() > MOST {
            return Err(format!("more than {MOST} peers are given"));
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_and_queries() {
        let Peers::Fixed(members) = "b:2,A:1,[::1]:3".parse().unwrap() else {
            panic!("it is a list");
        };
        let expected = [Member::at("::1", 3), Member::at("a", 1), Member::at("b", 2)];
        assert_eq!(members, expected.into());
        for text in ["[::1]:3,a:1,b:2", "dns://redis:3000", "srv://redis"] {
            assert_eq!(text.parse::<Peers>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_named_in_one_line() {
        for (text, complaint) in [
            ("", "no peers are given"),
            (" ", "no peers are given"),
            ("a:1,,b:2", "entry 2 of \"a:1,,b:2\" is empty"),
            ("a:1,", "entry 2 of \"a:1,\" is empty"),
            ("a:1, b:2", "\" b:2\" contains a space"),
            ("a:1\n", "\"a:1\\n\" contains a space"),
            ("a:1,A:1", "a:1 is given twice"),
            ("a:1,[::1]:3,[0::1]:3", "[::1]:3 is given twice"),
            ("redis", "\"redis\" has no port"),
            ("redis://a:1", "unknown scheme \"redis\""),
            ("a:1,dns://b:2", "unknown scheme \"a:1,dns\""),
        ] {
            let error = text.parse::<Peers>().unwrap_err().to_string();
            assert_eq!(error, format!("{complaint}; {EXPECTED}"), "{text:?}");
            assert!(!error.contains('\n'));
        }
        let many: Vec<_> = (1..=1025).map(|port| format!("a:{port}")).collect();
        many[..1024].join(",").parse::<Peers>().unwrap();
        many.join(",").parse::<Peers>().unwrap_err();
        assert!(
            "dns://redis"
                .parse::<Peers>()
                .unwrap_err()
                .to_string()
                .contains("has no port")
        );
    }
}

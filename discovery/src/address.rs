//! Reads addresses and names as people type them. Errors are one line, to be shown as they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host and a port, both in bounds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// An IP address in its usual spelling, or a name in lower case.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Reads `host:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the address is empty".into());
        }
        if text.contains(char::is_whitespace) {
            return Err(format!("{text:?} contains a space"));
        }
        let no_port = || format!("{text:?} has no port");
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (ip, rest) = rest
                    .split_once(']')
                    .ok_or_else(|| format!("{text:?} has an open bracket"))?;
                let ip: Ipv6Addr = ip
                    .parse()
                    .map_err(|_| format!("{ip:?} in {text:?} is not an IPv6 address"))?;
                (
                    named_peer(ip.into())?,
                    rest.strip_prefix(':').ok_or_else(no_port)?,
                )
            }
            None => {
                let (host, port) = text.rsplit_once(':').ok_or_else(no_port)?;
                if host.contains(':') {
                    let example = "an IPv6 address needs brackets, as in [::1]:3000";
                    return Err(format!("{text:?} has too many colons; {example}"));
                }
                let host = match host.parse::<Ipv4Addr>() {
                    Ok(ip) => named_peer(ip.into())?,
                    Err(_) => name(host)?,
                };
                (host, port)
            }
        };
        Ok(Self {
            host,
            port: self::port(port, text)?,
        })
    }
}

/// Reads a name of DNS; with a dot at its end it is absolute, and the dot is kept.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let relative = text.strip_suffix('.').unwrap_or(text);
    if relative.is_empty() {
        return Err("the host name is empty".into());
    }
    if relative.len() > 253 {
        return Err(format!(
            "a host name has {} characters, more than 253",
            relative.len()
        ));
    }
    let last = relative.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && !last.is_empty() {
        return Err(format!("{text:?} is neither a name nor an IPv4 address"));
    }
    if !relative.split('.').all(is_label) {
        return Err(format!("{text:?} is not a host name"));
    }
    Ok(text.to_ascii_lowercase())
}

/// An IPv6 address in brackets, anything else as it is.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// With underscores, which host names must not have but services of Docker and SRV records do.
fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn named_peer(ip: IpAddr) -> Result<String, String> {
    if ip.is_unspecified() {
        return Err(format!(
            "{ip} is where one listens, not where a peer is reached"
        ));
    }
    Ok(ip.to_string())
}

fn port(text: &str, whole: &str) -> Result<u16, String> {
    if text.is_empty() {
        return Err(format!("{whole:?} has no port"));
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(format!(
            "port {text:?} in {whole:?} is not a number from 1 to 65535"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        for (text, complaint) in [
            ("", "the address is empty"),
            (" a:1", "\" a:1\" contains a space"),
            ("a", "\"a\" has no port"),
            ("a:", "\"a:\" has no port"),
            ("[::1]", "\"[::1]\" has no port"),
            ("[::1", "\"[::1\" has an open bracket"),
            ("[a]:1", "\"a\" in \"[a]:1\" is not an IPv6 address"),
            (
                "::1:3000",
                "\"::1:3000\" has too many colons; an IPv6 address needs brackets, as in [::1]:3000",
            ),
            (
                "a:0",
                "port \"0\" in \"a:0\" is not a number from 1 to 65535",
            ),
            (
                "a:65536",
                "port \"65536\" in \"a:65536\" is not a number from 1 to 65535",
            ),
            (
                "a:+1",
                "port \"+1\" in \"a:+1\" is not a number from 1 to 65535",
            ),
            (":1", "the host name is empty"),
            ("-a:1", "\"-a\" is not a host name"),
            ("a..b:1", "\"a..b\" is not a host name"),
            ("a/b:1", "\"a/b\" is not a host name"),
            ("ä:1", "\"ä\" is not a host name"),
            (
                "10.0.0.300:1",
                "\"10.0.0.300\" is neither a name nor an IPv4 address",
            ),
            (
                "0.0.0.0:1",
                "0.0.0.0 is where one listens, not where a peer is reached",
            ),
            (
                "[::]:1",
                ":: is where one listens, not where a peer is reached",
            ),
        ] {
            assert_eq!(Address::parse(text).unwrap_err(), complaint, "{text}");
        }
        let long = format!("{}:1", "a.".repeat(127));
        assert_eq!(long.len(), 256);
        Address::parse(&long).unwrap();
        let too_long = format!("b{long}");
        assert!(
            Address::parse(&format!("a.{too_long}"))
                .unwrap_err()
                .contains("more than 253")
        );
        Address::parse(&format!("{}:1", "a".repeat(64))).unwrap_err();
    }
}

//! What Kubernetes allows as names, label keys and label values. An error says what is allowed.

use crate::kube::names::{is_label, is_subdomain};

/// A Service's or a namespace's name: a label of DNS.
pub(super) fn dns_label(text: &str) -> Result<(), &'static str> {
    if is_label(text) {
        return Ok(());
    }
    Err("1 to 63 lower-case letters, digits and '-', with a letter or digit at both ends")
}

/// A label's or an annotation's key: a name, before which a prefix of DNS and '/' may stand.
pub(super) fn key(text: &str) -> Result<(), &'static str> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if prefix.is_none_or(is_subdomain) && !name.is_empty() && value(name).is_ok() {
        return Ok(());
    }
    Err(
        "a name of 1 to 63 letters, digits, '-', '_' and '.', optionally after a DNS name and '/', \
         as in example.com/role",
    )
}

/// A label's value, which may be empty.
pub(super) fn value(text: &str) -> Result<(), &'static str> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || (text.len() <= 63 && text.bytes().all(inner) && has_ends(text)) {
        return Ok(());
    }
    Err("at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends")
}

fn has_ends(text: &str) -> bool {
    let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    end(text.as_bytes().first()) && end(text.as_bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        let long = "x".repeat(64);
        for good in ["redis", "redis-leader", "r2", "0", &long[1..]] {
            dns_label(good).unwrap();
        }
        for bad in [
            "",
            "Redis",
            "redis_leader",
            "-redis",
            "redis-",
            "a.b",
            &long,
        ] {
            dns_label(bad).unwrap_err();
        }
        for good in [
            "role",
            "bellwether.dev/term",
            "a/B_c.d",
            "statefulset.kubernetes.io/pod-name",
        ] {
            key(good).unwrap();
        }
        for bad in ["", "/", "a/", "/a", "a/b/c", "A.b/c", "a b", "-a", &long] {
            key(bad).unwrap_err();
        }
        for good in ["", "redis-0", "A_b.c"] {
            value(good).unwrap();
        }
        for bad in ["a b", ".a", "a-", "ä", &long] {
            value(bad).unwrap_err();
        }
    }
}

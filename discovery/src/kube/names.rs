//! What Kubernetes takes for a name.

/// A DNS label of RFC 1123, as the names of namespaces, Services and most pods are.
pub(crate) fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
        && [bytes.first(), bytes.last()]
            .into_iter()
            .flatten()
            .all(|&byte| alphanumeric(byte))
}

/// Labels with dots between them, 253 characters at most.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Digits only.
pub(crate) fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Complains of a name, and says which field it stands in.
pub(crate) fn check(field: &str, name: &str) -> Result<(), String> {
    if is_label(name) {
        return Ok(());
    }
    Err(format!(
        "{field} {name:?} is not a name of Kubernetes: 1 to 63 lower-case letters, digits and \
         \"-\", neither first nor last a \"-\""
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_from_other_words() {
        for good in ["a", "redis-0", "0", "a--b", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
            check("namespace", good).unwrap();
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a_b",
            "ä",
            "a b",
            "a/b",
            "a\n",
            &"a".repeat(64),
        ] {
            assert!(!is_label(bad), "{bad}");
            check("namespace", bad).unwrap_err();
        }
        assert!(is_subdomain("example.org") && is_subdomain("a"));
        assert!(!is_subdomain("a..b") && !is_subdomain("") && !is_subdomain(&"a.".repeat(127)));
    }
}

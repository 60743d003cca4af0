//! What may be a name, a label, a key (`apimachinery/pkg/util/validation`), of which each function
//! says what is wrong; and names and ids that the server gives.

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
    'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
    characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
    '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LETTER_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters \
    or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
    'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_KEY: &str = "a valid label key must consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an \
    optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric \
    characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
    'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// The name of most objects.
pub(crate) fn subdomain(name: &str) -> Option<&'static str> {
    if name.len() > 253 {
        return Some("must be no more than 253 characters");
    }
    (!name.split('.').all(is_label)).then_some(SUBDOMAIN)
}

/// The name of a namespace.
pub(crate) fn label(name: &str) -> Option<&'static str> {
    if name.len() > 63 {
        return Some("must be no more than 63 characters");
    }
    (!is_label(name)).then_some(LABEL)
}

/// The name of a Service.
pub(crate) fn letter_label(name: &str) -> Option<&'static str> {
    if name.contains('.') {
        return Some("must not contain dots");
    }
    if name.len() > 63 {
        return Some("must be no more than 63 characters");
    }
    let right = is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase());
    (!right).then_some(LETTER_LABEL)
}

/// The key of a label or an annotation.
pub(crate) fn qualified(key: &str) -> Option<&'static str> {
    let name = match key.split_once('/') {
        Some((_, name)) if name.contains('/') => return Some(LABEL_KEY),
        Some((prefix, name)) if subdomain(prefix).is_none() => name,
        Some(_) => return Some("prefix part must be a lowercase RFC 1123 subdomain"),
        None => key,
    };
    if name.is_empty() {
        return Some("name part must be non-empty");
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes");
    }
    (!is_word(name)).then_some(QUALIFIED)
}

/// The value of a label.
pub(crate) fn label_value(value: &str) -> Option<&'static str> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes");
    }
    (!value.is_empty() && !is_word(value)).then_some(LABEL_VALUE)
}

/// What is put behind `generateName`.
pub(crate) fn random() -> String {
    // As in Kubernetes: nothing that spells a word, or is mistaken for another.
    let alphabet = b"bcdfghjklmnpqrstvwxz2456789";
    let letter = || char::from(alphabet[fastrand::usize(..alphabet.len())]);
    (0..5).map(|_| letter()).collect()
}

/// A UUID of version 4.
pub(crate) fn random_uid() -> String {
    let bits = fastrand::u128(..);
    let version = bits & !(0xf << 76) | (4 << 76);
    let variant = version & !(3 << 62) | (2 << 62);
    let hex = format!("{variant:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(inner) && has_ends(text)
}

fn is_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes().all(inner) && has_ends(text)
}

fn has_ends(text: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    alphanumeric(bytes.first()) && alphanumeric(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        for name in ["a", "a-b.c1", "1a"] {
            assert_eq!(subdomain(name), None, "{name}");
        }
        for name in [
            "",
            "A",
            "a_b",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a b",
            &"a".repeat(254),
        ] {
            assert!(subdomain(name).is_some(), "{name}");
        }
        assert!(label("a.b").is_some() && label("1a").is_none());
        assert!(letter_label("1a").is_some() && letter_label("a1").is_none());
        for key in ["a", "Role", "bellwether.dev/term", "a_b.c"] {
            assert_eq!(qualified(key), None, "{key}");
        }
        for key in ["", "a/", "/a", "a/b/c", "A.dev/x", "a b", "_a"] {
            assert!(qualified(key).is_some(), "{key}");
        }
        assert!(label_value("").is_none() && label_value("a b").is_some());
    }
}

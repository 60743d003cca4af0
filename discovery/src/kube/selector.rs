//! Label selectors, as the API reads them: refused here, a typing error is told at once and by
//! name, not by an API that may be away.

use crate::kube::names;

const ALLOWED: &str = "expected key, !key, key=value, key!=value, key in (a,b) or key notin (a,b), with commas between";

/// Says what is wrong with a label selector.
///
/// The grammar is that of Kubernetes' page "Labels and Selectors".
pub(crate) fn check(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("it is empty, which would be every pod of the namespace".into());
    }
    let requirements = split(text);
    requirements
        .into_iter()
        .try_for_each(requirement)
        .map_err(|why| format!("{why}; {ALLOWED}"))
}

/// At the commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|char| {
        match char {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        char == ',' && !inside
    })
    .map(str::trim)
    .collect()
}

fn requirement(text: &str) -> Result<(), String> {
    if let Some((key, set)) = text.split_once('(') {
        let Some(set) = set.strip_suffix(')') else {
            return Err(format!("{text:?} has an open parenthesis"));
        };
        let words: Vec<&str> = key.split_whitespace().collect();
        let [key, "in" | "notin"] = words[..] else {
            return Err(format!("{text:?} is not a requirement"));
        };
        self::key(key)?;
        return set.split(',').map(str::trim).try_for_each(value);
    }
    for operator in ["!=", "==", "="] {
        if let Some((key, value)) = text.split_once(operator) {
            self::key(key.trim())?;
            return self::value(value.trim());
        }
    }
    key(text.strip_prefix('!').unwrap_or(text).trim())
}

fn key(text: &str) -> Result<(), String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if prefix.is_none_or(names::is_subdomain) && is_name(name) {
        return Ok(());
    }
    Err(format!("{text:?} is not the key of a label"))
}

fn value(text: &str) -> Result<(), String> {
    if text.is_empty() || is_name(text) {
        return Ok(());
    }
    Err(format!("{text:?} is not the value of a label"))
}

fn is_name(text: &str) -> bool {
    let alphanumeric = |char: char| char.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text
            .chars()
            .all(|char| alphanumeric(char) || "-_.".contains(char))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_grammar_is_taken() {
        for text in [
            "app=redis",
            "app==redis",
            "app != redis",
            "app=",
            "app",
            "!app",
            "app.kubernetes.io/name=redis,tier in (cache, queue) , zone notin (),!legacy",
            "tier in (a,),x",
        ] {
            check(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, complaint) in [
            (
                " ",
                "it is empty, which would be every pod of the namespace",
            ),
            ("app=redis,", "\"\" is not the key of a label"),
            ("=redis", "\"\" is not the key of a label"),
            ("app=a b", "\"a b\" is not the value of a label"),
            ("app redis", "\"app redis\" is not the key of a label"),
            ("app in (a", "\"app in (a\" has an open parenthesis"),
            ("app of (a)", "\"app of (a)\" is not a requirement"),
            ("app in a", "\"app in a\" is not the key of a label"),
            ("a=b=c", "\"b=c\" is not the value of a label"),
            ("app>1", "\"app>1\" is not the key of a label"),
            (
                "Example.org/app",
                "\"Example.org/app\" is not the key of a label",
            ),
            ("a/b/c", "\"a/b/c\" is not the key of a label"),
            ("app in (a))", "\"a)\" is not the value of a label"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.starts_with(complaint), "{text}: {error}");
        }
        check(&format!("app={}", "a".repeat(64))).unwrap_err();
    }
}

//! Label and field selectors (`apimachinery/pkg/labels`, `pkg/fields`).

use serde_json::Value;

use super::call::Call;
use super::resource::Resource;
use super::status::Failure;

/// What a list or a watch is restricted to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selection {
    /// # Errors
    ///
    /// 400 for a selector that cannot be read, or a field that cannot be selected by.
    pub(crate) fn of(call: &Call, resource: &Resource) -> Result<Self, Failure> {
        let labels = parse_labels(call.parameter("labelSelector"))
            .map_err(|why| Failure::bad_request(&format!("unable to parse requirement: {why}")))?;
        let fields = parse_fields(call.parameter("fieldSelector"), resource)
            .map_err(|why| Failure::bad_request(&why))?;
        Ok(Self { labels, fields })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|wanted| wanted.met(labels))
            && self
                .fields
                .iter()
                .all(|(path, equal, value)| (field(object, path) == *value) == *equal)
    }
}

impl Requirement {
    /// A label that is missing is in no set, and thus not in any.
    fn met(&self, labels: &Value) -> bool {
        let label = |key: &str| labels.get(key).and_then(Value::as_str);
        let within = |key: &str, values: &[String]| {
            label(key).is_some_and(|label| values.iter().any(|value| value == label))
        };
        match self {
            Self::In(key, values) => within(key, values),
            Self::NotIn(key, values) => !within(key, values),
            Self::Exists(key) => label(key).is_some(),
            Self::Missing(key) => label(key).is_none(),
        }
    }
}

/// The text of a field; empty when it is missing.
fn field(object: &Value, path: &str) -> String {
    let value = path.split('.').fold(object, |value, part| &value[part]);
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut rest = text.trim();
    let mut requirements = Vec::new();
    while !rest.is_empty() {
        let (one, after) = parse_requirement(rest)?;
        requirements.push(one);
        rest = match after.trim_start().strip_prefix(',') {
            Some(after) if after.trim().is_empty() => {
                return Err("found '', expected: identifier after ','".into());
            }
            Some(after) => after.trim_start(),
            None if after.trim().is_empty() => "",
            None => return Err(format!("found '{after}', expected: ',' or 'end of string'")),
        };
    }
    Ok(requirements)
}

/// One requirement, and the text behind it.
fn parse_requirement(text: &str) -> Result<(Requirement, &str), String> {
    if let Some(rest) = text.strip_prefix('!') {
        let (key, rest) = word(rest.trim_start())?;
        return Ok((Requirement::Missing(key), rest));
    }
    let (key, rest) = word(text)?;
    let rest = rest.trim_start();
    for (operator, equal) in [("==", true), ("!=", false), ("=", true)] {
        if let Some(rest) = rest.strip_prefix(operator) {
            let rest = rest.trim_start();
            let (value, rest) = word(rest).unwrap_or((String::new(), rest));
            let made = if equal {
                Requirement::In
            } else {
                Requirement::NotIn
            };
            return Ok((made(key, vec![value]), rest));
        }
    }
    for (operator, within) in [("in", true), ("notin", false)] {
        if let Some(set) = rest.strip_prefix(operator)
            && let Some(set) = set.trim_start().strip_prefix('(')
        {
            let (values, rest) = set
                .split_once(')')
                .ok_or("found '', expected: ',' or ')'")?;
            let values = values.split(',').map(|value| value.trim().into()).collect();
            let made = if within {
                Requirement::In
            } else {
                Requirement::NotIn
            };
            return Ok((made(key, values), rest));
        }
    }
    if rest.is_empty() || rest.starts_with(',') {
        return Ok((Requirement::Exists(key), rest));
    }
    Err(format!(
        "found '{rest}', expected: in, notin, =, ==, !=, gt, lt"
    ))
}

fn word(text: &str) -> Result<(String, &str), String> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c)))
        .unwrap_or(text.len());
    if end == 0 {
        return Err(format!("found '{text}', expected: identifier"));
    }
    Ok((text[..end].into(), &text[end..]))
}

fn parse_fields(text: &str, resource: &Resource) -> Result<Vec<(String, bool, String)>, String> {
    let terms = text.split(',').filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let (path, equal, value) = if let Some((path, value)) = term.split_once("!=") {
                (path, false, value)
            } else if let Some((path, value)) = term.split_once("==") {
                (path, true, value)
            } else if let Some((path, value)) = term.split_once('=') {
                (path, true, value)
            } else {
                return Err(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                ));
            };
            let general = matches!(path, "metadata.name" | "metadata.namespace");
            if general || resource.fields.contains(&path) {
                Ok((path.into(), equal, value.into()))
            } else if resource.fields.is_empty() {
                Err(format!(
                    "{path:?} is not a known field selector: only \"metadata.name\", \
                     \"metadata.namespace\""
                ))
            } else {
                Err(format!("field label not supported: {path}"))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_selected_by_equality_and_by_set() {
        let object = json!({"metadata": {"labels": {"app": "redis", "tier": "db", "x/y": ""}}});
        for (selector, expected) in [
            ("", true),
            ("app=redis", true),
            ("app==redis,tier = db", true),
            ("app=redis,tier!=db", false),
            ("app!=other,missing!=x", true),
            ("app in (a, redis),tier notin (web)", true),
            ("app in (a,b)", false),
            ("missing notin (a)", true),
            ("missing in (a)", false),
            ("app", true),
            ("!app", false),
            ("! missing , tier", true),
            ("x/y=", true),
            ("inner", false),
        ] {
            let labels = parse_labels(selector).unwrap();
            let fields = Vec::new();
            let selection = Selection { labels, fields };
            assert_eq!(selection.matches(&object), expected, "{selector}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for selector in ["=a", "a,", "a in (b", "a b", "a in b", ",a", "a=b c"] {
            assert!(parse_labels(selector).is_err(), "{selector}");
        }
        let leases = Resource::named("leases").unwrap();
        assert!(parse_fields("spec.holderIdentity=a", leases).is_err());
        assert!(parse_fields("metadata.name", leases).is_err());
    }

    #[test]
    fn fields_are_selected_by_equality() {
        let pods = Resource::named("pods").unwrap();
        let pod = json!({"metadata": {"name": "a"}, "spec": {"hostNetwork": true}});
        for (selector, expected) in [
            ("metadata.name=a", true),
            ("metadata.name==a,status.phase!=Failed", true),
            ("metadata.name!=a", false),
            ("spec.hostNetwork=true", true),
            ("status.podIP=", true),
        ] {
            let fields = parse_fields(selector, pods).unwrap();
            let labels = Vec::new();
            let selection = Selection { labels, fields };
            assert_eq!(selection.matches(&pod), expected, "{selector}");
        }
    }
}

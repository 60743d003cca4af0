//! An object of the API as far as an announcement cares, and the writes to it.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, TestOperation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

pub(super) type Labels = BTreeMap<String, String>;

/// All objects of a selection, by name.
pub(super) type View = BTreeMap<String, Seen>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) name: String,
    /// Its resourceVersion.
    pub(super) version: String,
    /// A Service's selector, a pod's labels. Empty and absent are the same: the API leaves an empty
    /// map out of what a patch is applied to.
    pub(super) labels: Labels,
    pub(super) mark: Mark,
    /// Whether it has any annotation.
    pub(super) annotated: bool,
    /// It is a Service of type ExternalName.
    pub(super) external: bool,
}

/// The term that an object is marked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    None,
    /// Written by something else. It counts as none, since nobody could ever replace it otherwise.
    Unreadable(String),
    Term(u64),
}

impl Seen {
    pub(super) fn new(metadata: ObjectMeta, labels: Option<Labels>, annotation: &str) -> Self {
        let annotations = metadata.annotations.unwrap_or_default();
        Self {
            name: metadata.name.unwrap_or_default(),
            version: metadata.resource_version.unwrap_or_default(),
            labels: labels.unwrap_or_default(),
            mark: Mark::read(annotations.get(annotation)),
            annotated: !annotations.is_empty(),
            external: false,
        }
    }

    /// A patch that applies only to the object as it was seen: if it fails on that, the object has
    /// changed, and the decision is void. This is what makes a write harmless that arrives late.
    ///
    /// `change` is a path and a value, which replaces what is there.
    pub(super) fn patch(&self, change: (&[&str], Value), annotation: &str, term: u64) -> Patch {
        let version = TestOperation {
            path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
            value: json!(self.version),
        };
        let annotations = ["metadata", "annotations"];
        let mark = if self.annotated {
            let path = annotations.into_iter().chain([annotation]);
            add(path, json!(term.to_string()))
        } else {
            add(annotations, json!({ annotation: term.to_string() }))
        };
        let (path, value) = change;
        Patch(vec![
            PatchOperation::Test(version),
            add(path.iter().copied(), value),
            mark,
        ])
    }
}

impl Mark {
    fn read(annotation: Option<&String>) -> Self {
        let Some(text) = annotation else {
            return Self::None;
        };
        text.parse()
            .map_or_else(|_| Self::Unreadable(text.clone()), Self::Term)
    }

    pub(super) fn term(&self) -> Option<u64> {
        match self {
            Self::Term(term) => Some(*term),
            Self::None | Self::Unreadable(_) => None,
        }
    }
}

/// `add` also replaces.
fn add<'a>(path: impl IntoIterator<Item = &'a str>, value: Value) -> PatchOperation {
    let path = PointerBuf::from_tokens(path);
    PatchOperation::Add(AddOperation { path, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: &str = "bellwether.dev/term";

    fn seen(annotations: &Value) -> Seen {
        let metadata = json!({"name": "x", "resourceVersion": "41", "annotations": annotations});
        let metadata = serde_json::from_value(metadata).unwrap();
        Seen::new(metadata, None, TERM)
    }

    #[test]
    fn marks_are_read() {
        for (annotations, mark) in [
            (json!(null), Mark::None),
            (json!({"other": "1"}), Mark::None),
            (json!({TERM: "7"}), Mark::Term(7)),
            (json!({TERM: "18446744073709551615"}), Mark::Term(u64::MAX)),
            (
                json!({TERM: "18446744073709551616"}),
                Mark::Unreadable("18446744073709551616".into()),
            ),
            (json!({TERM: "-1"}), Mark::Unreadable("-1".into())),
            (json!({TERM: ""}), Mark::Unreadable(String::new())),
        ] {
            assert_eq!(seen(&annotations).mark, mark);
        }
    }

    #[test]
    fn a_patch_tests_the_version_and_escapes_the_key() {
        let change = (["spec", "selector"].as_slice(), json!({"a": "b"}));
        let expected = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": "41"},
            {"op": "add", "path": "/spec/selector", "value": {"a": "b"}},
            {"op": "add", "path": "/metadata/annotations/bellwether.dev~1term", "value": "8"},
        ]);
        let patch = seen(&json!({"other": "1"})).patch(change.clone(), TERM, 8);
        assert_eq!(serde_json::to_value(patch).unwrap(), expected);

        // The API does not show an empty map, so nothing could be added inside it.
        for annotations in [json!(null), json!({})] {
            let patch = seen(&annotations).patch(change.clone(), TERM, 8);
            let patch = serde_json::to_value(patch).unwrap();
            let mark = json!({"op": "add", "path": "/metadata/annotations", "value": {TERM: "8"}});
            assert_eq!(patch[2], mark);
            assert_eq!((&patch[0], &patch[1]), (&expected[0], &expected[1]));
        }
    }
}

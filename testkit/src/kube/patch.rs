//! The patches that change an object: JSON patch, merge patch, and as much of the strategic merge
//! patch as labels, annotations, selectors and conditions need.

use json_patch::PatchOperation;
use serde_json::{Map, Value};

use super::status::Failure;

pub(crate) const JSON: &str = "application/json-patch+json";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// The most operations in one JSON patch.
const OPERATIONS: usize = 10_000;

/// Lists that a strategic merge patch merges, by the field that tells their elements apart; an
/// empty one stands for the element itself. All others are replaced.
const MERGED: [(&str, &str); 6] = [
    ("metadata.finalizers", ""),
    ("metadata.ownerReferences", "uid"),
    ("spec.containers", "name"),
    ("spec.ports", "port"),
    ("status.conditions", "type"),
    ("status.podIPs", "ip"),
];

/// The object as a patch of this content type leaves it.
///
/// # Errors
///
/// 400 for what is no patch, 415 for another type, 422 for a JSON patch that does not fit the
/// object, a failed `test` among them.
pub(crate) fn apply(content_type: &str, object: &Value, patch: &[u8]) -> Result<Value, Failure> {
    let unreadable =
        |error: serde_json::Error| Failure::bad_request(&format!("error decoding patch: {error}"));
    let mut object = object.clone();
    match content_type {
        JSON => {
            let patch = serde_json::from_slice(patch).map_err(unreadable)?;
            json(&mut object, patch)?;
        }
        MERGE => {
            let patch = serde_json::from_slice(patch).map_err(unreadable)?;
            json_patch::merge(&mut object, &Value::Object(patch));
        }
        STRATEGIC => {
            let patch = serde_json::from_slice(patch).map_err(unreadable)?;
            strategic(&mut object, &patch, "")?;
        }
        _ => return Err(Failure::unsupported_patch()),
    }
    Ok(object)
}

/// RFC 6902, with two liberties of the Go library that Kubernetes uses: where the parent is a map,
/// `replace` also adds, and a `test` for null holds for what is missing.
fn json(object: &mut Value, patch: Vec<Map<String, Value>>) -> Result<(), Failure> {
    if patch.len() > OPERATIONS {
        let got = patch.len();
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is \
             {OPERATIONS}, got {got}"
        );
        return Err(Failure::new(
            413,
            "RequestEntityTooLarge",
            &message,
            Value::Null,
        ));
    }
    for mut operation in patch {
        let path = operation.get("path").and_then(Value::as_str);
        if is_absent_in_map(object, path.unwrap_or_default()) {
            match operation.get("op").and_then(Value::as_str) {
                Some("replace") => {
                    operation.insert("op".into(), "add".into());
                }
                Some("test") if operation.get("value").is_none_or(Value::is_null) => continue,
                _ => {}
            }
        }
        let operation: PatchOperation = serde_json::from_value(Value::Object(operation))
            .map_err(|_| Failure::patch_rejected())?;
        json_patch::patch(object, &[operation]).map_err(|_| Failure::patch_rejected())?;
    }
    Ok(())
}

fn is_absent_in_map(object: &Value, path: &str) -> bool {
    let parent = path
        .rsplit_once('/')
        .and_then(|(parent, _)| object.pointer(parent));
    parent.is_some_and(Value::is_object) && object.pointer(path).is_none()
}

fn strategic(target: &mut Value, patch: &Map<String, Value>, path: &str) -> Result<(), Failure> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("delete") => {
            *target = Value::Null;
            return Ok(());
        }
        Some("replace") => *target = Value::Null,
        Some(other) => {
            let message = format!("Unknown patch type found: {other}");
            return Err(Failure::bad_request(&message));
        }
        None => {}
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if key == "$patch" || key.starts_with("$setElementOrder/") || key == "$retainKeys" {
            continue;
        }
        if key.starts_with('$') {
            let message = format!("this server does not know the directive {key}");
            return Err(Failure::bad_request(&message));
        }
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match value {
            Value::Null => {
                target.as_object_mut().and_then(|map| map.remove(key));
            }
            Value::Object(inner) => strategic(&mut target[key], inner, &path)?,
            Value::Array(list) => {
                let by = MERGED.iter().find(|(of, _)| *of == path).map(|(_, by)| *by);
                match by {
                    Some(by) => merge_list(&mut target[key], list, by, &path)?,
                    None => target[key] = value.clone(),
                }
            }
            _ => target[key] = value.clone(),
        }
    }
    Ok(())
}

fn merge_list(target: &mut Value, patch: &[Value], by: &str, path: &str) -> Result<(), Failure> {
    let mut list = target.as_array().cloned().unwrap_or_default();
    for element in patch {
        let same = |other: &Value| {
            if by.is_empty() {
                other == element
            } else {
                other[by] == element[by]
            }
        };
        let place = list.iter().position(same);
        let deleted = element["$patch"] == "delete";
        match (place, element.as_object()) {
            (Some(place), _) if deleted => {
                list.remove(place);
            }
            (None, _) if deleted => {}
            (Some(place), Some(fields)) => strategic(&mut list[place], fields, path)?,
            (None, _) => list.push(element.clone()),
            (Some(_), None) => {}
        }
    }
    *target = Value::Array(list);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(content_type: &str, patch: &Value) -> Result<Value, u16> {
        let object = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x"]},
            "spec": {"selector": {"app": "x"}, "ports": [{"port": 1, "name": "a"}], "ips": [1]},
        });
        apply(content_type, &object, patch.to_string().as_bytes())
            .map_err(|failure| failure.code.as_u16())
    }

    #[test]
    fn json_patches_are_all_or_nothing() {
        let replace = json!([
            {"op": "test", "path": "/metadata/labels/a", "value": "1"},
            {"op": "add", "path": "/spec/selector", "value": {"pod": "p"}},
            {"op": "add", "path": "/metadata/labels/x~1y", "value": "z"},
        ]);
        let object = patched(JSON, &replace).unwrap();
        assert_eq!(object["spec"]["selector"], json!({"pod": "p"}));
        assert_eq!(object["metadata"]["labels"]["x/y"], "z");
        let failing = json!([{"op": "test", "path": "/metadata/labels/a", "value": "2"}]);
        assert_eq!(patched(JSON, &failing), Err(422));
        let missing = json!([{"op": "add", "path": "/metadata/annotations/a", "value": "2"}]);
        assert_eq!(patched(JSON, &missing), Err(422));
        assert_eq!(
            patched(JSON, &json!([{"op": "guess", "path": "/a"}])),
            Err(422)
        );
        assert_eq!(patched(JSON, &json!({"op": "add"})), Err(400));
        let gone = json!([{"op": "remove", "path": "/metadata/labels/z"}]);
        assert_eq!(patched(JSON, &gone), Err(422));
        let liberal = json!([
            {"op": "test", "path": "/metadata/labels/z", "value": null},
            {"op": "replace", "path": "/metadata/labels/z", "value": "9"},
        ]);
        assert_eq!(
            patched(JSON, &liberal).unwrap()["metadata"]["labels"]["z"],
            "9"
        );
        let too_liberal = json!([{"op": "replace", "path": "/status/x", "value": "9"}]);
        assert_eq!(patched(JSON, &too_liberal), Err(422));
    }

    #[test]
    fn merge_patches_merge_maps_and_replace_lists() {
        let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}}, "spec": {"ips": [2]}});
        let object = patched(MERGE, &patch).unwrap();
        assert_eq!(object["metadata"]["labels"], json!({"b": "2", "c": "3"}));
        assert_eq!(object["spec"]["ips"], json!([2]));
        assert_eq!(patched(MERGE, &json!([])), Err(400));
        assert_eq!(patched("application/json", &json!({})), Err(415));
    }

    #[test]
    fn strategic_patches_merge_lists_that_have_a_key() {
        let patch = json!({
            "metadata": {"labels": {"b": null}, "finalizers": ["y"]},
            "spec": {
                "selector": {"$patch": "replace", "pod": "p"},
                "ports": [{"port": 1, "name": "z"}, {"port": 2}],
            },
        });
        let object = patched(STRATEGIC, &patch).unwrap();
        assert_eq!(object["metadata"]["labels"], json!({"a": "1"}));
        assert_eq!(object["metadata"]["finalizers"], json!(["x", "y"]));
        assert_eq!(object["spec"]["selector"], json!({"pod": "p"}));
        let ports = json!([{"port": 1, "name": "z"}, {"port": 2}]);
        assert_eq!(object["spec"]["ports"], ports);
        let removed = json!({"spec": {"ports": [{"port": 1, "$patch": "delete"}]}});
        let object = patched(STRATEGIC, &removed).unwrap();
        assert_eq!(object["spec"]["ports"], json!([]));
        assert_eq!(patched(STRATEGIC, &json!({"$unheard": 1})), Err(400));
    }
}

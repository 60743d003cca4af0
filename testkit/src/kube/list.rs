//! Lists: what there is, whole or page by page, now or at an earlier revision.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::call::{Call, Target};
use super::resource::Resource;
use super::selector::Selection;
use super::status::{Cause, Failure};
use super::store::Store;

/// The answer to a list.
///
/// # Errors
///
/// 400 for parameters that cannot be read, 410 for a revision that is compacted, 504 for one that
/// is not yet.
pub(crate) fn list(
    store: &Store,
    resource: &Resource,
    target: &Target,
    call: &Call,
) -> Result<Value, Failure> {
    let selection = Selection::of(call, resource)?;
    let page = Page::of(store, call)?;
    let namespace = if resource.namespaced {
        &target.namespace
    } else {
        ""
    };
    let mut objects = match page.revision {
        Some(revision) => store.all_at(resource, namespace, revision)?,
        None => store.all(resource, namespace),
    };
    let revision = page.revision.unwrap_or_else(|| store.revision());
    objects.retain(|(key, object)| {
        selection.matches(object) && (&key.namespace, &key.name) > (&page.after.0, &page.after.1)
    });
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(limit) = page.limit
        && objects.len() > limit
    {
        let remaining = objects.len() - limit;
        objects.truncate(limit);
        if let Some((last, _)) = objects.last() {
            let token = json!({"rv": revision, "namespace": last.namespace, "name": last.name});
            metadata["continue"] = BASE64_URL_SAFE_NO_PAD.encode(token.to_string()).into();
        }
        // With a selector, a real server does not know how many are left.
        if call.parameter("labelSelector").is_empty() && call.parameter("fieldSelector").is_empty()
        {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let items: Vec<Value> = objects.iter().map(|(_, object)| as_item(object)).collect();
    Ok(json!({
        "kind": format!("{}List", resource.kind),
        "apiVersion": resource.api_version(),
        "metadata": metadata,
        "items": items,
    }))
}

/// In a list, objects do not say what they are.
fn as_item(object: &Value) -> Value {
    let mut item = object.clone();
    if let Some(fields) = item.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    item
}

/// Which part of the list is wanted.
struct Page {
    limit: Option<usize>,
    /// As it was then; otherwise as it is.
    revision: Option<u64>,
    /// Namespace and name of the last object that was answered before.
    after: (String, String),
}

impl Page {
    fn of(store: &Store, call: &Call) -> Result<Self, Failure> {
        let limit: usize = number(call, "limit")?.unwrap_or(0);
        let limit = (limit > 0).then_some(limit);
        let mut page = Self {
            limit,
            revision: None,
            after: (String::new(), String::new()),
        };
        let token = call.parameter("continue");
        if !token.is_empty() {
            let token = read_token(token)
                .ok_or_else(|| Failure::bad_request("continue key is not valid"))?;
            let part = |name: &str| token[name].as_str().unwrap_or_default().to_owned();
            page.revision = token["rv"].as_u64();
            page.after = (part("namespace"), part("name"));
            return Ok(page);
        }
        let asked = asked_version(store, call)?;
        match call.parameter("resourceVersionMatch") {
            "" if asked > 0 || call.parameter("resourceVersion") == "0" => {}
            "" | "NotOlderThan" => {}
            "Exact" if asked > 0 => page.revision = Some(asked),
            other => {
                let field = "resourceVersionMatch";
                let allowed = ["Exact", "NotOlderThan", ""];
                let cause = Cause::unsupported(field, &other.into(), &allowed);
                let details = json!({"group": "meta.k8s.io", "kind": "ListOptions"});
                let what = "ListOptions.meta.k8s.io";
                return Err(Failure::invalid_as(what, "", details, &[cause]));
            }
        }
        Ok(page)
    }
}

fn read_token(token: &str) -> Option<Value> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The resourceVersion of the query; 0 for none.
///
/// # Errors
///
/// 504 for one that is not yet, of which a real server says so after three seconds of waiting.
pub(crate) fn asked_version(store: &Store, call: &Call) -> Result<u64, Failure> {
    let asked = number(call, "resourceVersion")?.unwrap_or(0);
    if asked > store.revision() {
        return Err(Failure::too_large_version(asked, store.revision()));
    }
    Ok(asked)
}

/// A parameter that is a number.
pub(crate) fn number<T: std::str::FromStr>(call: &Call, name: &str) -> Result<Option<T>, Failure> {
    let text = call.parameter(name);
    if text.is_empty() {
        return Ok(None);
    }
    let message = format!("{name}: Invalid value: {text:?}: must be a number");
    let number = text.parse().map_err(|_| Failure::bad_request(&message))?;
    Ok(Some(number))
}

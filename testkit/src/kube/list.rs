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
/// 400 and 422 for parameters that make no sense, 410 for a revision that is compacted, 504 for one
/// that is not yet.
pub(crate) fn list(
    store: &Store,
    resource: &Resource,
    target: &Target,
    call: &Call,
) -> Result<Value, Failure> {
    check(call)?;
    let selection = Selection::of(call, resource)?;
    let page = Page::of(store, call)?;
    let mut objects = match page.revision {
        Some(revision) => store.all_at(resource, &target.namespace, revision),
        None => store.all(resource, &target.namespace),
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
            let last = (last.namespace.clone(), last.name.clone());
            metadata["continue"] = token(Some(revision), &last).into();
        }
        // With a selector, a real server does not know how many are left.
        let is_selected = |name| !call.parameter(name).is_empty();
        if !is_selected("labelSelector") && !is_selected("fieldSelector") {
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
pub(crate) fn as_item(object: &Value) -> Value {
    let mut item = object.clone();
    if let Some(fields) = item.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    item
}

/// The rules between parameters (`apis/meta/internalversion/validation`).
fn check(call: &Call) -> Result<(), Failure> {
    let field = "resourceVersionMatch";
    let has = |name: &str| !call.parameter(name).is_empty();
    let mut causes = Vec::new();
    if has(field) && !has("resourceVersion") {
        let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        causes.push(Cause::forbidden(field, detail));
    }
    if has(field) && has("continue") {
        let detail = "resourceVersionMatch is forbidden when continue is provided";
        causes.push(Cause::forbidden(field, detail));
    }
    let matching = call.parameter(field);
    if !matches!(matching, "" | "Exact" | "NotOlderThan") {
        let allowed = ["Exact", "NotOlderThan", ""];
        causes.push(Cause::unsupported(field, &matching.into(), &allowed));
    }
    if matching == "Exact" && call.parameter("resourceVersion") == "0" {
        let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        causes.push(Cause::forbidden(field, detail));
    }
    if has("sendInitialEvents") {
        let detail = "sendInitialEvents is forbidden for list";
        causes.push(Cause::forbidden("sendInitialEvents", detail));
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid_options("ListOptions", &causes))
    }
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
        let mut page = Self {
            limit: (limit > 0).then_some(limit),
            revision: None,
            after: (String::new(), String::new()),
        };
        let continued = call.parameter("continue");
        if continued.is_empty() {
            let asked = version(store, call).map_err(|failure| in_list(call, failure))?;
            if call.parameter("resourceVersionMatch") == "Exact" {
                if store.is_compacted(asked) {
                    let message = "The resourceVersion for the provided list is too old.";
                    return Err(Failure::expired(message));
                }
                page.revision = Some(asked);
            } else if asked == 0 && call.parameter("resourceVersion") == "0" {
                // Served from the cache, which knows no pages.
                page.limit = None;
            }
            return Ok(page);
        }
        if !call.parameter("resourceVersion").is_empty() {
            let message = "specifying resource version is not allowed when using continue";
            return Err(Failure::bad_request(message));
        }
        let token = read_token(continued).ok_or_else(|| {
            Failure::bad_request("invalid continue token: continue key is not valid")
        })?;
        let part = |name: &str| token[name].as_str().unwrap_or_default().to_owned();
        page.after = (part("namespace"), part("name"));
        page.revision = token["rv"].as_u64();
        if page
            .revision
            .is_some_and(|revision| store.is_compacted(revision))
        {
            return Err(expired(&page.after));
        }
        Ok(page)
    }
}

/// What a real server says of a page whose revision is compacted, with a token to go on as of now.
fn expired(after: &(String, String)) -> Failure {
    let message = "The provided continue parameter is too old to display a consistent list \
                   result. You can start a new list without the continue parameter, or use the \
                   continue token in this response to retrieve the remainder of the results.";
    let mut failure = Failure::expired(message);
    failure.status["metadata"]["continue"] = token(None, after).into();
    failure
}

fn token(revision: Option<u64>, after: &(String, String)) -> String {
    let token = json!({"rv": revision, "namespace": after.0, "name": after.1});
    BASE64_URL_SAFE_NO_PAD.encode(token.to_string())
}

fn read_token(token: &str) -> Option<Value> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A version that is no number is told apart in lists.
fn in_list(call: &Call, failure: Failure) -> Failure {
    if failure.code.as_u16() != 500 {
        return failure;
    }
    let text = call.parameter("resourceVersion");
    let why = format!(
        "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: \
         parsing {text:?}: invalid syntax"
    );
    Failure::bad_request(&why)
}

/// The resourceVersion of the query, at least which the answer must show; 0 for any.
///
/// # Errors
///
/// 504 for one that is not yet. (A real server waits three seconds before it says so.)
pub(crate) fn version(store: &Store, call: &Call) -> Result<u64, Failure> {
    let asked = any_version(call)?;
    if asked > store.revision() {
        return Err(Failure::too_large_version(asked, store.revision()));
    }
    Ok(asked)
}

/// As [`version`], be it in the future.
pub(crate) fn any_version(call: &Call) -> Result<u64, Failure> {
    let text = call.parameter("resourceVersion");
    if text.is_empty() {
        return Ok(0);
    }
    let prefix = format!("resourceVersion: Invalid value: {text:?}: ");
    text.parse().map_err(|_| Failure::no_version(&prefix, text))
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

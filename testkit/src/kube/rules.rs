//! What an object may say: the validation of an API server, as far as leader election and discovery
//! meet it.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::events;
use super::names;
use super::resource::{Names, Resource};
use super::status::Cause;

/// How much all annotations of an object may hold, in bytes of keys and values.
const ANNOTATIONS: usize = 256 * 1024;

/// What is wrong with an object that has the right types.
pub(crate) fn faults(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = metadata(resource, &object["metadata"]);
    match resource.kind {
        "Lease" => lease(&object["spec"], &mut causes),
        "EndpointSlice" => slice(object, &mut causes),
        "Service" => {
            for (key, value) in entries(&object["spec"]["selector"]) {
                labelled("spec.selector", key, value, &mut causes);
            }
        }
        "Event" => causes.extend(events::faults(object)),
        _ => {}
    }
    causes
}

/// What is wrong with a change.
pub(crate) fn changes(resource: &Resource, live: &Value, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let finalizers = |of: &Value| of["metadata"]["finalizers"].as_array().cloned();
    let had = finalizers(live).unwrap_or_default();
    let added: Vec<String> = finalizers(object)
        .unwrap_or_default()
        .iter()
        .filter(|finalizer| !had.contains(finalizer))
        .map(ToString::to_string)
        .collect();
    if live["metadata"].get("deletionTimestamp").is_some() && !added.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers \
             []string{{{}}}",
            added.join(", ")
        );
        causes.push(Cause::forbidden("metadata.finalizers", &detail));
    }
    if resource.kind == "Event" {
        causes.extend(events::changes(live, object));
    }
    if resource.kind == "EndpointSlice" && live["addressType"] != object["addressType"] {
        let detail = "field is immutable";
        causes.push(Cause::invalid(
            "addressType",
            &object["addressType"],
            detail,
        ));
    }
    causes
}

fn metadata(resource: &Resource, metadata: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match metadata["name"].as_str().unwrap_or_default() {
        "" => {
            let detail = "name or generateName is required";
            causes.push(Cause::required("metadata.name", detail));
        }
        name => {
            let wrong = match resource.names {
                Names::Subdomain => names::subdomain(name),
                Names::Label => names::label(name),
                Names::LetterLabel => names::letter_label(name),
            };
            let wrong = wrong.map(|why| Cause::invalid("metadata.name", &name.into(), why));
            causes.extend(wrong);
        }
    }
    for (key, value) in entries(&metadata["labels"]) {
        labelled("metadata.labels", key, value, &mut causes);
    }
    let mut size = 0;
    for (key, value) in entries(&metadata["annotations"]) {
        size += key.len() + value.len();
        // Unlike those of labels, keys of annotations may have capitals before the slash.
        let wrong = names::qualified(&key.to_ascii_lowercase());
        let wrong = wrong.map(|why| Cause::invalid("metadata.annotations", &key.into(), why));
        causes.extend(wrong);
    }
    if size > ANNOTATIONS {
        let detail = format!("may not be more than {ANNOTATIONS} bytes");
        causes.push(Cause::too_long("metadata.annotations", &detail));
    }
    causes
}

fn labelled(field: &str, key: &str, value: &str, causes: &mut Vec<Cause>) {
    let wrong_key = names::qualified(key).map(|why| Cause::invalid(field, &key.into(), why));
    let wrong = names::label_value(value).map(|why| Cause::invalid(field, &value.into(), why));
    causes.extend(wrong_key.into_iter().chain(wrong));
}

fn entries(map: &Value) -> impl Iterator<Item = (&str, &str)> {
    let entries = map.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

/// `pkg/apis/coordination/validation` in Kubernetes. An empty holder is allowed there.
fn lease(spec: &Value, causes: &mut Vec<Cause>) {
    let duration = &spec["leaseDurationSeconds"];
    if duration.as_i64().is_some_and(|seconds| seconds <= 0) {
        let field = "spec.leaseDurationSeconds";
        causes.push(Cause::invalid(field, duration, "must be greater than 0"));
    }
    let transitions = &spec["leaseTransitions"];
    if transitions.as_i64().is_some_and(|count| count < 0) {
        let detail = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.leaseTransitions", transitions, detail));
    }
}

/// `pkg/apis/discovery/validation` in Kubernetes.
fn slice(slice: &Value, causes: &mut Vec<Cause>) {
    let kinds = ["IPv4", "IPv6", "FQDN"];
    let kind = slice["addressType"].as_str().unwrap_or_default();
    if kind.is_empty() {
        causes.push(Cause::required("addressType", ""));
    } else if !kinds.contains(&kind) {
        causes.push(Cause::unsupported("addressType", &kind.into(), &kinds));
    }
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    for (index, endpoint) in endpoints.enumerate() {
        let field = format!("endpoints[{index}].addresses");
        let addresses = endpoint["addresses"].as_array();
        let addresses = addresses.map_or(&[][..], Vec::as_slice);
        if addresses.is_empty() {
            causes.push(Cause::required(&field, "must contain at least 1 address"));
        }
        for address in addresses {
            let text = address.as_str().unwrap_or_default();
            let is_right = match kind {
                "IPv4" => text.parse::<Ipv4Addr>().is_ok(),
                "IPv6" => text.parse::<Ipv6Addr>().is_ok(),
                _ => true,
            };
            if !is_right {
                let detail = format!("must be an {kind} address");
                causes.push(Cause::invalid(&field, address, &detail));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn count(plural: &str, mut object: Value) -> usize {
        object["metadata"]["name"] = "a".into();
        faults(Resource::named(plural).unwrap(), &object).len()
    }

    #[test]
    fn leases_are_checked_as_kubernetes_does() {
        assert_eq!(count("leases", json!({})), 0);
        let least = json!({"holderIdentity": "", "leaseDurationSeconds": 1});
        assert_eq!(count("leases", json!({"spec": least})), 0);
        let wrong = json!({"leaseDurationSeconds": 0, "leaseTransitions": -1});
        assert_eq!(count("leases", json!({"spec": wrong})), 2);
    }

    #[test]
    fn slices_hold_addresses_of_their_family() {
        let of = |kind: &str, addresses: &[&str]| {
            let endpoints = json!([{"addresses": addresses}]);
            count(
                "endpointslices",
                json!({"addressType": kind, "endpoints": endpoints}),
            )
        };
        assert_eq!(of("IPv4", &["10.0.0.1"]), 0);
        assert_eq!(of("IPv6", &["fd00::1"]), 0);
        assert_eq!(of("FQDN", &["a.b"]), 0);
        assert_eq!(of("IPv6", &["10.0.0.1"]), 1);
        assert_eq!(of("IPv4", &[]), 1);
        assert_eq!(of("IPX", &["x"]), 1);
        assert_eq!(of("", &["10.0.0.1"]), 1);
    }

    #[test]
    fn labels_and_annotations_are_bounded() {
        let labels = |value: &str| json!({"metadata": {"labels": {"a": value}}});
        assert_eq!(count("pods", labels("b")), 0);
        assert_eq!(count("pods", labels("b/c")), 1);
        let selector = json!({"spec": {"selector": {"pod": "x".repeat(64)}}});
        assert_eq!(count("services", selector), 1);
        let annotations =
            |size: usize| json!({"metadata": {"annotations": {"A.dev/x": "x".repeat(size - 7)}}});
        assert_eq!(count("leases", annotations(ANNOTATIONS)), 0);
        assert_eq!(count("leases", annotations(ANNOTATIONS + 1)), 1);
    }
}

//! What an object must look like: the types of its fields, what is filled in, what is forbidden.
//!
//! Only the fields that matter to leader election and discovery are looked at; what is not, is kept
//! as it came.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::names;
use super::resource::{Names, Resource};
use super::status::{Cause, Failure};

/// How much all annotations of an object may hold, in bytes of keys and values.
const ANNOTATIONS: usize = 256 * 1024;

/// Reads the object in a body, and brings it into the form in which it would be stored.
///
/// # Errors
///
/// 400 for what is no such object.
pub(crate) fn decode(resource: &Resource, body: &[u8]) -> Result<Value, Failure> {
    let object: Value = serde_json::from_slice(body)
        .map_err(|error| cannot_be_handled(resource, &error.to_string()))?;
    if !object.is_object() {
        return Err(cannot_be_handled(resource, "it is no JSON object"));
    }
    let expected = resource.api_version();
    let version = object["apiVersion"].as_str().unwrap_or(&expected);
    if version != expected {
        return Err(Failure::bad_request(&format!(
            "the API version in the data ({version}) does not match the expected API version \
             ({expected})"
        )));
    }
    let kind = object["kind"].as_str().unwrap_or(resource.kind);
    if kind != resource.kind {
        let why = format!("it is a {kind}");
        return Err(cannot_be_handled(resource, &why));
    }
    typed(resource, object).map_err(|why| cannot_be_handled(resource, &why))
}

fn cannot_be_handled(resource: &Resource, why: &str) -> Failure {
    let (kind, version) = (resource.kind, resource.version);
    Failure::bad_request(&format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
    ))
}

/// Checks the types, and drops what a typed server does not keep: nulls and empty maps.
///
/// # Errors
///
/// Says what has the wrong type.
pub(crate) fn typed(resource: &Resource, mut object: Value) -> Result<Value, String> {
    drop_nulls(&mut object);
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.into();
    if object.get("metadata").is_none() {
        object["metadata"] = json!({});
    }
    let metadata = object["metadata"]
        .as_object_mut()
        .ok_or("metadata: it is no object")?;
    for field in [
        "name",
        "namespace",
        "generateName",
        "uid",
        "resourceVersion",
    ] {
        expect(metadata, field, Value::is_string, "metadata", "string")?;
    }
    for field in ["labels", "annotations"] {
        let strings = |map: &Value| {
            map.as_object()
                .is_some_and(|map| map.values().all(Value::is_string))
        };
        expect(metadata, field, strings, "metadata", "map[string]string")?;
    }
    expect(
        metadata,
        "finalizers",
        Value::is_array,
        "metadata",
        "[]string",
    )?;
    metadata.retain(|_, value| !is_empty(value));
    metadata.remove("managedFields");
    metadata.remove("selfLink");
    if resource.kind == "Lease" {
        if object.get("spec").is_none() {
            object["spec"] = json!({});
        }
        let spec = object["spec"]
            .as_object_mut()
            .ok_or("spec: it is no object")?;
        lease_types(spec)?;
    }
    Ok(object)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn expect(
    map: &Map<String, Value>,
    field: &str,
    right: impl Fn(&Value) -> bool,
    of: &str,
    kind: &str,
) -> Result<(), String> {
    match map.get(field) {
        Some(value) if !right(value) => Err(format!(
            "json: cannot unmarshal {value} into Go struct field {of}.{field} of type {kind}"
        )),
        _ => Ok(()),
    }
}

fn lease_types(spec: &mut Map<String, Value>) -> Result<(), String> {
    for field in ["holderIdentity", "strategy", "preferredHolder"] {
        expect(spec, field, Value::is_string, "LeaseSpec.spec", "string")?;
    }
    for field in ["leaseDurationSeconds", "leaseTransitions"] {
        let int32 = |value: &Value| value.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
        expect(spec, field, int32, "LeaseSpec.spec", "int32")?;
    }
    for field in ["acquireTime", "renewTime"] {
        if let Some(time) = spec.get_mut(field) {
            *time = micro_time(time)?.into();
        }
    }
    Ok(())
}

/// A `MicroTime`, in UTC: it is refused unless it has exactly six digits behind the second.
fn micro_time(time: &Value) -> Result<String, String> {
    const LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
    let wrong = || format!("parsing time {time} as {LAYOUT:?}: cannot parse {time} as {LAYOUT:?}");
    let text = time.as_str().ok_or_else(wrong)?;
    let (_, fraction) = text.split_once(['.', ',']).ok_or_else(wrong)?;
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits != 6 || text.as_bytes().get(10) != Some(&b'T') {
        return Err(wrong());
    }
    let time: Timestamp = text.parse().map_err(|_| wrong())?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

/// Now, to the second, as in creationTimestamp.
pub(crate) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Fills in what a new object leaves open.
pub(crate) fn fill(resource: &Resource, object: &mut Value) {
    match resource.kind {
        "EndpointSlice" => object["metadata"]["generation"] = 1.into(),
        "Pod" => object["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"}),
        "Service" => {
            object["status"] = json!({"loadBalancer": {}});
            if object.get("spec").is_none() {
                object["spec"] = json!({});
            }
            default(&mut object["spec"], "type", "ClusterIP");
            default(&mut object["spec"], "sessionAffinity", "None");
        }
        "Namespace" => {
            object["status"] = json!({"phase": "Active"});
            let name = object["metadata"]["name"].clone();
            if object["metadata"].get("labels").is_none() {
                object["metadata"]["labels"] = json!({});
            }
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        _ => {}
    }
}

fn default(map: &mut Value, field: &str, value: &str) {
    if map.get(field).is_none() {
        map[field] = value.into();
    }
}

/// What is wrong with an object that has the right types.
pub(crate) fn faults(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = metadata_faults(resource, &object["metadata"]);
    match resource.kind {
        "Lease" => lease_faults(&object["spec"], &mut causes),
        "EndpointSlice" => slice_faults(object, &mut causes),
        _ => {}
    }
    causes
}

fn metadata_faults(resource: &Resource, metadata: &Value) -> Vec<Cause> {
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
        let field = "metadata.labels";
        let wrong = names::qualified(key).map(|why| Cause::invalid(field, &key.into(), why));
        causes.extend(wrong);
        let wrong = names::label_value(value).map(|why| Cause::invalid(field, &value.into(), why));
        causes.extend(wrong);
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

fn entries(map: &Value) -> impl Iterator<Item = (&str, &str)> {
    let entries = map.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

/// `pkg/apis/coordination/validation` in Kubernetes. An empty holder is allowed there.
fn lease_faults(spec: &Value, causes: &mut Vec<Cause>) {
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
    let strategy = spec["strategy"].as_str();
    if let Some(name) = strategy
        && !name.contains('/')
        && name != "OldestEmulationVersion"
    {
        let allowed = &["OldestEmulationVersion"];
        let field = "spec.strategy.strategy";
        causes.push(Cause::unsupported(field, &name.into(), allowed));
    }
    let preferred = spec["preferredHolder"].as_str().unwrap_or_default();
    if !preferred.is_empty() && strategy.unwrap_or_default().is_empty() {
        let detail = "may only be specified if `strategy` is defined";
        causes.push(Cause::forbidden("spec.preferredHolder", detail));
    }
}

fn slice_faults(slice: &Value, causes: &mut Vec<Cause>) {
    let kinds = ["IPv4", "IPv6", "FQDN"];
    match slice["addressType"].as_str() {
        None | Some("") => causes.push(Cause::required("addressType", "")),
        Some(kind) if !kinds.contains(&kind) => {
            causes.push(Cause::unsupported("addressType", &kind.into(), &kinds));
        }
        Some(_) => {}
    }
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    for (index, endpoint) in endpoints.enumerate() {
        let field = format!("endpoints[{index}].addresses");
        let addresses = endpoint["addresses"].as_array();
        let addresses = addresses.map_or(&[][..], Vec::as_slice);
        if addresses.is_empty() {
            let detail = "must contain at least 1 address";
            causes.push(Cause::required(&field, detail));
        }
        for (number, address) in addresses.iter().enumerate() {
            let text = address.as_str().unwrap_or_default();
            let (right, detail) = match slice["addressType"].as_str() {
                Some("IPv4") => (
                    text.parse::<std::net::Ipv4Addr>().is_ok(),
                    "must be a valid IPv4 address",
                ),
                Some("IPv6") => (
                    text.parse::<std::net::Ipv6Addr>().is_ok(),
                    "must be a valid IPv6 address",
                ),
                _ => (true, ""),
            };
            if !right {
                let field = format!("{field}[{number}]");
                causes.push(Cause::invalid(&field, address, detail));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_times_have_six_digits() {
        for (text, expected) in [
            (
                "2026-01-02T03:04:05.000000Z",
                Some("2026-01-02T03:04:05.000000Z"),
            ),
            (
                "2026-01-02T03:04:05.123456+02:00",
                Some("2026-01-02T01:04:05.123456Z"),
            ),
            ("2026-01-02T03:04:05Z", None),
            ("2026-01-02T03:04:05.123Z", None),
            ("2026-01-02T03:04:05.123456789Z", None),
            ("2026-01-02 03:04:05.123456Z", None),
            ("2026-01-02T03:04:05.123456", None),
            ("yesterday", None),
        ] {
            let got = micro_time(&text.into()).ok();
            assert_eq!(got.as_deref(), expected, "{text}");
        }
        assert!(micro_time(&5.into()).is_err());
    }

    #[test]
    fn leases_are_checked_as_kubernetes_does() {
        let leases = Resource::named("leases").unwrap();
        let count = |spec: Value| {
            let object = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec});
            faults(leases, &typed(leases, object).unwrap()).len()
        };
        assert_eq!(count(json!({})), 0);
        assert_eq!(
            count(json!({"holderIdentity": "", "leaseDurationSeconds": 1})),
            0
        );
        assert_eq!(
            count(json!({"leaseDurationSeconds": 0, "leaseTransitions": -1})),
            2
        );
        assert_eq!(count(json!({"preferredHolder": "a"})), 1);
        assert_eq!(
            count(json!({"preferredHolder": "a", "strategy": "OldestEmulationVersion"})),
            0
        );
        assert_eq!(count(json!({"strategy": "mine"})), 1);
        let typed = |spec: Value| typed(leases, json!({"spec": spec}));
        assert!(typed(json!({"leaseDurationSeconds": 1.5})).is_err());
        assert!(typed(json!({"leaseDurationSeconds": 1u64 << 40})).is_err());
        assert!(typed(json!({"holderIdentity": 1})).is_err());
        assert_eq!(
            typed(json!({"holderIdentity": null})).unwrap()["spec"],
            json!({})
        );
    }
}

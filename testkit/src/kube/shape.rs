//! The form of an object: the types of its fields, and what is filled in.
//!
//! Only the fields that matter to leader election and discovery are looked at; others are kept as
//! they came.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::resource::Resource;
use super::status::Failure;

/// Reads the object in a body, and brings it into the form in which it would be stored.
///
/// # Errors
///
/// 400 for what is no such object.
pub(crate) fn decode(resource: &Resource, body: &[u8]) -> Result<Value, Failure> {
    let kind = resource.kind;
    let object: Value = serde_json::from_slice(body).map_err(|error| {
        let why = format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get \
             version/kind; json parse error: {error}"
        );
        Failure::bad_request(&why)
    })?;
    let cannot = |kind: &str, version: &str, why: &str| {
        let of = resource.kind;
        let why = format!("{kind} in version {version:?} cannot be handled as a {of}: {why}");
        Failure::bad_request(&why)
    };
    let expected = resource.api_version();
    let group_version = object["apiVersion"].as_str().unwrap_or(&expected);
    let version = group_version.rsplit('/').next().unwrap_or_default();
    let its_kind = object["kind"].as_str().unwrap_or(kind);
    if its_kind != kind || group_version != expected {
        let why = format!("no kind {its_kind:?} is registered for version {group_version:?}");
        return Err(cannot(its_kind, version, &why));
    }
    typed(resource, object).map_err(|why| cannot(kind, resource.version, &why))
}

/// Checks the types, and drops what a typed server does not keep: nulls, empty maps, and in a Lease
/// what it does not know.
///
/// # Errors
///
/// Says what has the wrong type.
pub(crate) fn typed(resource: &Resource, mut object: Value) -> Result<Value, String> {
    if !object.is_object() {
        return Err("it is no JSON object".into());
    }
    drop_nulls(&mut object);
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.into();
    let metadata = as_map(&mut object, "metadata")?;
    for field in [
        "name",
        "namespace",
        "generateName",
        "uid",
        "resourceVersion",
    ] {
        expect(
            metadata,
            field,
            Value::is_string,
            "ObjectMeta.metadata",
            "string",
        )?;
    }
    for field in ["labels", "annotations"] {
        let strings = |map: &Value| {
            let map = map.as_object();
            map.is_some_and(|map| map.values().all(Value::is_string))
        };
        expect(metadata, field, strings, "ObjectMeta.metadata", "string")?;
    }
    expect(
        metadata,
        "finalizers",
        Value::is_array,
        "ObjectMeta.metadata",
        "[]string",
    )?;
    metadata.retain(|field, value| {
        // Owners are kept elsewhere, and not shown.
        !is_empty(value) && !matches!(field.as_str(), "managedFields" | "selfLink")
    });
    if resource.kind == "Lease" {
        lease(as_map(&mut object, "spec")?)?;
    }
    Ok(object)
}

/// A field that is a map; made if it is missing.
fn as_map<'a>(object: &'a mut Value, field: &str) -> Result<&'a mut Map<String, Value>, String> {
    if object.get(field).is_none() {
        object[field] = json!({});
    }
    let map = object[field].as_object_mut();
    map.ok_or_else(|| format!("json: cannot unmarshal into Go struct field {field}"))
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

fn lease(spec: &mut Map<String, Value>) -> Result<(), String> {
    expect(
        spec,
        "holderIdentity",
        Value::is_string,
        "LeaseSpec.spec",
        "string",
    )?;
    for field in ["leaseDurationSeconds", "leaseTransitions"] {
        let int32 = |value: &Value| value.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
        expect(spec, field, int32, "LeaseSpec.spec", "int32")?;
    }
    for field in ["acquireTime", "renewTime"] {
        if let Some(time) = spec.get_mut(field) {
            let parsed = micro_time(time)?;
            // Go's zero time is told as null, and stays in the object.
            let is_zero = parsed == "0001-01-01T00:00:00.000000Z";
            *time = if is_zero { Value::Null } else { parsed.into() };
        }
    }
    // Without the feature gate CoordinatedLeaderElection, which is off unless asked for, a server
    // also drops strategy and preferredHolder.
    const KNOWN: [&str; 5] = [
        "holderIdentity",
        "leaseDurationSeconds",
        "leaseTransitions",
        "acquireTime",
        "renewTime",
    ];
    spec.retain(|field, _| KNOWN.contains(&field.as_str()));
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

/// Fills in what an object leaves open; when it replaces another, `live`, also from that one.
pub(crate) fn fill(resource: &Resource, object: &mut Value, live: Option<&Value>) {
    fill_lists(resource, object);
    let is_new = live.is_none();
    match resource.kind {
        "EndpointSlice" => {
            if is_new {
                object["metadata"]["generation"] = 1.into();
            }
            // Go writes a list that is not there as null, unless it is told to leave it out.
            default(object, "endpoints", Value::Null);
            default(object, "ports", Value::Null);
        }
        "Pod" if is_new => {
            object["metadata"]["generation"] = 1.into();
            object["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
        }
        "Service" => service(object, live),
        "Namespace" if is_new => {
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
            let name = object["metadata"]["name"].clone();
            default(&mut object["metadata"], "labels", json!({}));
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        _ => {}
    }
}

/// Fills in what the elements of its lists leave open.
pub(crate) fn fill_lists(resource: &Resource, object: &mut Value) {
    match resource.kind {
        "EndpointSlice" => {
            for endpoint in elements(object, "/endpoints") {
                default(endpoint, "conditions", json!({}));
            }
            for port in elements(object, "/ports") {
                default(port, "protocol", "TCP".into());
                default(port, "name", "".into());
            }
        }
        "Service" => {
            for port in elements(object, "/spec/ports") {
                let number = port["port"].clone();
                default(port, "protocol", "TCP".into());
                default(port, "targetPort", number);
            }
        }
        _ => {}
    }
}

fn elements<'a>(object: &'a mut Value, path: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = object.pointer_mut(path).and_then(Value::as_array_mut);
    list.into_iter()
        .flatten()
        .filter(|element| element.is_object())
}

fn service(service: &mut Value, live: Option<&Value>) {
    if live.is_none() {
        service["status"] = json!({"loadBalancer": {}});
    }
    default(service, "spec", json!({}));
    let spec = &mut service["spec"];
    default(spec, "type", "ClusterIP".into());
    default(spec, "sessionAffinity", "None".into());
    if spec["type"] == "ExternalName" {
        return;
    }
    default(spec, "internalTrafficPolicy", "Cluster".into());
    let kept = live.map(|live| live["spec"]["clusterIP"].clone());
    let kept = kept.filter(Value::is_string);
    // No two of a store's few Services are likely to meet, and nothing asks that they do not.
    let drawn = || format!("10.0.0.{}", fastrand::u8(1..255)).into();
    default(spec, "clusterIP", kept.unwrap_or_else(drawn));
    let address = spec["clusterIP"].clone();
    default(spec, "clusterIPs", json!([address]));
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", "SingleStack".into());
}

fn default(map: &mut Value, field: &str, value: Value) {
    if map.get(field).is_none() {
        map[field] = value;
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
    fn the_types_of_a_lease_are_checked() {
        let leases = Resource::named("leases").unwrap();
        let typed = |spec: Value| typed(leases, json!({"spec": spec}));
        assert!(typed(json!({"leaseDurationSeconds": 1.5})).is_err());
        assert!(typed(json!({"leaseDurationSeconds": 1u64 << 40})).is_err());
        assert!(typed(json!({"holderIdentity": 1})).is_err());
        let kept = typed(json!({"holderIdentity": "", "renewTime": null, "strategy": "x"}));
        assert_eq!(kept.unwrap()["spec"], json!({"holderIdentity": ""}));
    }
}

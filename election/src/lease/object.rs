//! Between a Lease of the Kubernetes API and what the core knows of it.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use serde_json::{Value, json};

use crate::{
    MAX_CARD,
    lease::record::{Record, Snapshot, Version, Wall, read_list, read_term, write_list},
};

const TERM: &str = "bellwether.dev/term";
const CLAIMANT: &str = "bellwether.dev/holder";
const CARD: &str = "bellwether.dev/card";
const SUCCESSOR: &str = "bellwether.dev/successor";
const LAST: &str = "bellwether.dev/last";

/// While it is there and does not say "false", automatic failover is paused. For operators to write,
/// by whatever way; no election does.
pub(crate) const PAUSED: &str = "bellwether.dev/paused";
const LISTED: &str = "bellwether.dev/failsafe";

/// What the Lease says; `None` if it has no version, which the API never leaves out.
pub(crate) fn snapshot(lease: &Lease) -> Option<Snapshot> {
    Some(Snapshot {
        version: Version(lease.metadata.resource_version.clone()?),
        object: lease.metadata.uid.clone().unwrap_or_default(),
        record: Box::new(record(lease)),
    })
}

/// Read as client-go reads it: what is missing is empty, or nothing.
fn record(lease: &Lease) -> Record {
    let none = BTreeMap::new();
    let annotations = lease.metadata.annotations.as_ref().unwrap_or(&none);
    let annotation = |key| annotations.get(key).filter(|text| !text.is_empty());
    let empty = LeaseSpec::default();
    let spec = lease.spec.as_ref().unwrap_or(&empty);
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    Record {
        holder: spec
            .holder_identity
            .clone()
            .filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(seconds.max(0).unsigned_abs().into()),
        acquired: spec.acquire_time.as_ref().map(wall),
        renewed: spec.renew_time.as_ref().map(wall),
        transitions: spec.lease_transitions.unwrap_or_default(),
        term: annotation(TERM).and_then(|term| read_term(term)),
        claimant: annotation(CLAIMANT).cloned(),
        card: annotation(CARD)
            .and_then(|card| read_card(card))
            .unwrap_or_default(),
        successor: annotation(SUCCESSOR).cloned(),
        last: annotation(LAST).cloned(),
        paused: annotation(PAUSED).is_some_and(|text| text != "false"),
        listed: annotation(LISTED).map(|list| read_list(list)),
    }
}

fn read_card(text: &str) -> Option<Bytes> {
    let card = STANDARD.decode(text).ok()?;
    (card.len() <= MAX_CARD).then(|| card.into())
}

fn wall(time: &MicroTime) -> Wall {
    time.0.as_microsecond()
}

/// The change that makes a Lease say this, as a merge patch (RFC 7386): what it does not name stays
/// as it is, and it does not name whether the Lease is paused. With a version, the API refuses it
/// once the Lease has another one.
pub(crate) fn patch(version: Option<&Version>, record: &Record) -> Value {
    let mut metadata = json!({ "annotations": annotations(record) });
    if let Some(Version(version)) = version {
        metadata["resourceVersion"] = json!(version);
    }
    json!({
        "metadata": metadata,
        "spec": {
            // Not null: client-go takes an empty holder for a Lease that was released.
            "holderIdentity": record.holder.as_deref().unwrap_or_default(),
            "leaseDurationSeconds": seconds(record),
            "acquireTime": record.acquired.map(micro_time),
            "renewTime": record.renewed.map(micro_time),
            "leaseTransitions": record.transitions,
        },
    })
}

/// The change that sets one annotation, or removes it, of the Lease of this version.
pub(crate) fn annotation(Version(version): &Version, key: &str, text: Option<&str>) -> Value {
    json!({ "metadata": { "resourceVersion": version, "annotations": { key: text } } })
}

/// A new Lease that says this.
pub(crate) fn lease(name: &str, record: &Record) -> Lease {
    let annotations = annotations(record)
        .into_iter()
        .filter_map(|(key, text)| Some((key.to_string(), text?)))
        .collect();
    Lease {
        metadata: ObjectMeta {
            name: Some(name.into()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(record.holder.clone().unwrap_or_default()),
            lease_duration_seconds: Some(seconds(record)),
            acquire_time: record.acquired.map(micro_time),
            renew_time: record.renewed.map(micro_time),
            lease_transitions: Some(record.transitions),
            ..LeaseSpec::default()
        }),
    }
}

fn annotations(record: &Record) -> BTreeMap<&'static str, Option<String>> {
    let card = (!record.card.is_empty()).then(|| STANDARD.encode(&record.card));
    BTreeMap::from([
        (TERM, record.term.map(|term| term.to_string())),
        (CLAIMANT, record.claimant.clone()),
        (CARD, card),
        (SUCCESSOR, record.successor.clone()),
        (LAST, record.last.clone()),
        (LISTED, record.listed.as_ref().map(write_list)),
    ])
}

fn seconds(record: &Record) -> i32 {
    // The API takes nothing below one.
    i32::try_from(record.duration.as_secs())
        .unwrap_or(i32::MAX)
        .max(1)
}

fn micro_time(wall: Wall) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(wall).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Term;

    fn held() -> Record {
        Record {
            holder: Some("a_1".into()),
            duration: Duration::from_secs(6),
            acquired: Some(1_700_000_000_000_001),
            renewed: Some(1_700_000_000_000_002),
            transitions: 3,
            term: Some(Term(9)),
            claimant: Some("a_1".into()),
            card: Bytes::from_static(b"\xff\x00card"),
            successor: Some("b_2".into()),
            last: Some("a".into()),
            paused: false,
            listed: Some(["a".into(), "b".into()].into()),
        }
    }

    #[test]
    fn a_lease_says_what_was_written() {
        for record in [
            held(),
            Record {
                duration: Duration::from_secs(1),
                ..Record::default()
            },
        ] {
            assert_eq!(self::record(&lease("redis", &record)), record);
        }
    }

    #[test]
    fn a_patch_removes_what_is_no_longer_so() {
        let patch = patch(Some(&Version("7".into())), &Record::default());
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["metadata"]["annotations"][CARD], Value::Null);
        assert!(
            patch["metadata"]["annotations"]
                .as_object()
                .unwrap()
                .contains_key(CARD)
        );
        assert_eq!(patch["spec"]["holderIdentity"], "");
        assert_eq!(patch["spec"]["leaseDurationSeconds"], 1);
        assert!(patch["spec"].as_object().unwrap().contains_key("renewTime"));
        let patch = self::patch(None, &held());
        assert_eq!(patch["spec"]["renewTime"], "2023-11-14T22:13:20.000002Z");
        assert!(patch["metadata"].get("resourceVersion").is_none());
    }

    #[test]
    fn a_pause_is_read_and_never_written() {
        let paused = |text: &str| {
            let lease = json!({ "metadata": { "annotations": { PAUSED: text } } });
            record(&serde_json::from_value(lease).unwrap()).paused
        };
        assert!(paused("true") && paused("by dolly, until the move is done"));
        assert!(!paused("") && !paused("false"));
        for pause in [true, false] {
            let held = Record {
                paused: pause,
                ..held()
            };
            let patch = patch(None, &held);
            let annotations = patch["metadata"]["annotations"].as_object().unwrap();
            assert!(!annotations.contains_key(PAUSED), "{patch}");
        }
    }

    #[test]
    fn what_others_wrote_is_read_as_client_go_reads_it() {
        let read = |text: Value| record(&serde_json::from_value(text).unwrap());
        assert_eq!(read(json!({})), Record::default());
        assert_eq!(
            read(json!({ "spec": { "holderIdentity": "" } })).holder,
            None
        );
        let other = read(json!({
            "metadata": { "annotations": {
                TERM: "many", CLAIMANT: "", CARD: "not base64!", "other": "x",
            } },
            "spec": { "holderIdentity": "kubectl", "leaseDurationSeconds": -4 },
        }));
        assert_eq!(other.holder.as_deref(), Some("kubectl"));
        assert_eq!(other.duration, Duration::ZERO);
        assert_eq!((other.term, other.claimant), (None, None));
        assert!(other.card.is_empty());
        let long = STANDARD.encode(vec![0; MAX_CARD + 1]);
        let read = read(json!({ "metadata": { "annotations": { CARD: long } } }));
        assert!(read.card.is_empty(), "longer than any card");
    }
}

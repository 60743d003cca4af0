//! Our own store and a real server, asked the same things at random, answer alike.

use std::env;

use bellwether_testkit::{KubeApi, skip};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::asking::{Asker, Events, LEASES, SERVICES, lease, version};

/// How many questions.
const QUESTIONS: usize = 400;
/// Where they are drawn from, unless `BELLWETHER_SEED` says so.
const SEED: u64 = 4;

#[derive(Debug, Clone)]
struct Question {
    verb: &'static str,
    path: String,
    body: Value,
    /// Which of the objects seen before gives version and uid, if any.
    version_of: Option<usize>,
    uid_of: Option<usize>,
}

/// One of the two, with the objects that it has answered.
struct Side {
    asker: Asker,
    seen: Vec<Value>,
    /// Of all leases, and of some.
    watches: [Events; 2],
}

impl Side {
    async fn new(api: &KubeApi) -> Self {
        let asker = Asker::new(api).await;
        let (_, list) = asker.get(LEASES).await;
        let from = format!("{LEASES}?watch=1&resourceVersion={}", version(&list));
        Self {
            watches: [
                asker.watch(&from).await,
                asker.watch(&format!("{from}&labelSelector=a%3D1")).await,
            ],
            asker,
            seen: Vec::new(),
        }
    }

    async fn answer(&mut self, question: &Question) -> (u16, Value) {
        let mut body = question.body.clone();
        let of = |index: Option<usize>| index.and_then(|index| self.seen.get(index));
        for (from, field) in [
            (question.version_of, "resourceVersion"),
            (question.uid_of, "uid"),
        ] {
            let Some(object) = of(from) else { continue };
            let value = object["metadata"][field].clone();
            match question.verb {
                "delete" => body["preconditions"][field] = value,
                "json" => {
                    let path = format!("/metadata/{field}");
                    let test = json!({"op": "test", "path": path, "value": value});
                    body.as_array_mut().expect("a list").insert(0, test);
                }
                _ => body["metadata"][field] = value,
            }
        }
        let (asker, path) = (&self.asker, &question.path);
        let answer = match question.verb {
            "get" => asker.get(path).await,
            "post" => asker.post(path, &body).await,
            "put" => asker.put(path, &body).await,
            "delete" => asker.delete(path, &body).await,
            kind => asker.patch(kind, path, &body).await,
        };
        if answer.1["metadata"]["uid"].is_string() {
            self.seen.push(answer.1.clone());
        }
        answer
    }
}

/// What both must answer alike: not times, addresses and numbers that are drawn.
fn comparable(side: &Side, answer: &(u16, Value)) -> Value {
    let (code, body) = answer;
    let mut body = body.clone();
    let known = |field: &str| {
        let value = &body["metadata"][field];
        side.seen
            .iter()
            .position(|seen| seen["metadata"][field] == *value)
    };
    // A version or uid counts as the first object that had it.
    let (version, uid) = (known("resourceVersion"), known("uid"));
    if body["kind"] == "Status" {
        return json!([
            code,
            body["reason"],
            body["details"]["kind"],
            body["details"]["name"]
        ]);
    }
    let metadata = body["metadata"].as_object_mut().expect("an object");
    for field in ["managedFields", "creationTimestamp", "deletionTimestamp"] {
        metadata.remove(field);
    }
    metadata.insert("resourceVersion".into(), json!(version));
    metadata.insert("uid".into(), json!(uid));
    if let Some(spec) = body["spec"].as_object_mut() {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    json!([code, body])
}

fn question(random: &mut Rng, seen: usize) -> Question {
    let pick = |random: &mut Rng, of: &[&'static str]| of[random.usize(..of.len())];
    let name = pick(random, &["x", "y"]);
    let verbs = [
        "get",
        "post",
        "put",
        "put",
        "delete",
        "merge",
        "strategic-merge",
        "json",
        "apply",
    ];
    let verb = pick(random, &verbs);
    let on_service = random.u8(..4) == 0;
    let root = if on_service { SERVICES } else { LEASES };
    let mut path = format!("{root}/{name}");
    let value = pick(random, &["1", "2"]);
    let key = pick(random, &["a", "b"]);
    let metadata = json!({"name": name, "labels": {key: value}});
    let body = match verb {
        "get" => Value::Null,
        "delete" => json!({}),
        "json" => {
            let op = pick(random, &["add", "replace", "remove", "test"]);
            let places = [
                "/metadata/labels",
                "/metadata/labels/a",
                "/metadata/annotations/a",
            ];
            let place = pick(random, &places);
            let value = if place.ends_with('a') {
                json!(value)
            } else {
                json!({key: value})
            };
            json!([{"op": op, "path": place, "value": value}])
        }
        _ if on_service => {
            let spec = json!({"selector": {key: value}, "ports": [{"port": 80}]});
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        }
        "merge" | "strategic-merge" if random.bool() => {
            json!({"metadata": {"labels": {key: null}}, "spec": {"holderIdentity": null}})
        }
        _ => {
            let spec = match random.u8(..4) {
                0 => json!({}),
                1 => json!({"leaseDurationSeconds": random.u8(..3)}),
                _ => json!({"holderIdentity": value, "leaseTransitions": random.u8(..2)}),
            };
            let mut lease = lease(name, &spec);
            lease["metadata"] = metadata;
            lease
        }
    };
    match verb {
        "post" => path = root.into(),
        "apply" => {
            let by = pick(random, &["one", "two"]);
            let force = pick(random, &["true", "false"]);
            path += &format!("?fieldManager={by}&force={force}");
        }
        _ => {}
    }
    // Mostly of a recent object, which is often the current one.
    let recent = |random: &mut Rng| seen.checked_sub(1 + random.usize(..3));
    let is_versioned = random.u8(..3) > 0 && verb != "post";
    Question {
        version_of: is_versioned.then(|| recent(random)).flatten(),
        uid_of: (random.u8(..3) == 0 && verb == "put")
            .then(|| recent(random))
            .flatten(),
        verb,
        path,
        body,
    }
}

#[tokio::test]
async fn the_same_questions_get_the_same_answers() {
    if env::var_os("KUBEBUILDER_ASSETS").is_none_or(|folder| folder.is_empty()) {
        let reason = "KUBEBUILDER_ASSETS names no etcd and kube-apiserver";
        skip("the_same_questions_get_the_same_answers", reason);
        return;
    }
    let (real, ours) = (
        KubeApi::start().unwrap(),
        KubeApi::start_in_memory().unwrap(),
    );
    let (mut real, mut ours) = (Side::new(&real).await, Side::new(&ours).await);
    let seed = env::var("BELLWETHER_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let mut random = Rng::with_seed(seed);
    let mut codes = std::collections::BTreeMap::new();
    for number in 0..QUESTIONS {
        let question = question(&mut random, ours.seen.len());
        let expected = real.answer(&question).await;
        let got = ours.answer(&question).await;
        let (right, left) = (comparable(&real, &expected), comparable(&ours, &got));
        let bodies = format!("{}\n{}", got.1, expected.1);
        assert_eq!(
            left, right,
            "question {number} of seed {seed}: {question:#?}\n{bodies}"
        );
        *codes.entry(expected.0).or_insert(0) += 1;
    }
    // The questions are worth asking: each kind of answer came.
    for code in [200, 201, 404, 409, 422] {
        assert!(
            codes.get(&code).is_some_and(|count| *count >= 10),
            "{codes:?}"
        );
    }
    // And whoever watched saw the same.
    let mut last = lease("last", &json!({}));
    last["metadata"]["labels"] = json!({"a": "1"});
    for side in [&mut real, &mut ours] {
        assert_eq!(side.asker.post(LEASES, &last).await.0, 201);
    }
    for (theirs, ours) in real.watches.iter_mut().zip(&mut ours.watches) {
        loop {
            let (expected, got) = (theirs.next().await, ours.next().await);
            let seen = |event: &(String, Value)| {
                json!([event.0, event.1["metadata"]["labels"], event.1["spec"]])
            };
            assert_eq!(seen(&got), seen(&expected));
            if got.1["metadata"]["name"] == "last" {
                break;
            }
        }
    }
}

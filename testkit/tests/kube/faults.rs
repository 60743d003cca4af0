//! Faults by request.

use std::time::{Duration, Instant};

use bellwether_testkit::kube::{Access, Act, Fault, Refusal};
use bellwether_testkit::{KubeApi, until};
use http::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::asking::{Asker, LEASES, PATIENCE, lease, refusal};

/// How long nothing is seen to happen.
const SHORT: Duration = Duration::from_millis(300);
/// A delay that does not pass meanwhile, on a machine that is busy.
const LONG: Duration = Duration::from_secs(3);

async fn create(asker: &Asker, name: &str) -> Result<u16, kube::Error> {
    let body = lease(name, &json!({})).to_string().into_bytes();
    let answer = asker
        .try_ask(Method::POST, LEASES, "application/json", body)
        .await?;
    Ok(answer.0)
}

fn is_there(api: &KubeApi, name: &str) -> bool {
    api.object("leases", "default", name)
        .expect("it is asked")
        .is_some()
}

#[tokio::test]
async fn each_refusal_looks_real() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    for (how, code, reason) in [
        (Refusal::Unauthorized, 401, "Unauthorized"),
        (Refusal::Forbidden, 403, "Forbidden"),
        (Refusal::Conflict, 409, "Conflict"),
        (Refusal::Expired, 410, "Expired"),
        (Refusal::TooManyRequests(7), 429, "TooManyRequests"),
        (Refusal::Internal, 500, "InternalError"),
        (Refusal::Unavailable, 503, "ServiceUnavailable"),
        (Refusal::Timeout, 504, "Timeout"),
    ] {
        let id = api.add_fault(Fault::new(Act::Refuse(how)).verbs(&["create"]));
        let refused = asker.post(LEASES, &lease("x", &json!({}))).await;
        let (got, why, message) = refusal(&refused);
        assert_eq!((got, why), (code, reason));
        assert!(!message.is_empty());
        assert_eq!(
            asker.get(LEASES).await.0,
            200,
            "only to the verb that was named"
        );
        assert_eq!(api.struck(id), 1);
        api.remove_fault(id);
    }
    assert!(!is_there(&api, "x"));
    api.add_fault(Fault::new(Act::Refuse(Refusal::BadGateway)));
    assert_eq!(asker.get(LEASES).await.0, 502);
    api.clear_faults();
    assert_eq!(asker.get(LEASES).await.0, 200);
    let statuses: Vec<_> = api
        .requests()
        .iter()
        .filter_map(|request| request.status)
        .collect();
    assert_eq!(statuses.len(), 18);
    assert_eq!(statuses[..4], [401, 200, 403, 200]);
}

#[tokio::test]
async fn retry_after_is_a_header() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    for (how, seconds) in [
        (Refusal::TooManyRequests(7), "7"),
        (Refusal::Overloaded, "1"),
    ] {
        api.clear_faults();
        api.add_fault(Fault::new(Act::Refuse(how)));
        let response = asker.raw(LEASES).await;
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], seconds);
    }
}

#[tokio::test]
async fn a_fault_strikes_some_requests() {
    let api = KubeApi::start().unwrap();
    let (a, b) = (api.user("a", Access::all()), api.user("b", Access::all()));
    let (a, b) = (Asker::of(&api, &a).await, Asker::of(&api, &b).await);
    let codes = async |asker: &Asker, count: usize| {
        let mut codes = Vec::new();
        for _ in 0..count {
            codes.push(asker.get(LEASES).await.0);
        }
        codes
    };
    let refuse = || Fault::new(Act::Refuse(Refusal::Unavailable));
    api.add_fault(refuse().every(2));
    assert_eq!(codes(&a, 4).await, [200, 503, 200, 503]);
    api.clear_faults();
    api.add_fault(refuse().first(2));
    assert_eq!(codes(&a, 4).await, [503, 503, 200, 200]);
    api.clear_faults();
    api.add_fault(refuse().user("b"));
    assert_eq!(
        (codes(&a, 1).await, codes(&b, 1).await),
        (vec![200], vec![503])
    );
    api.clear_faults();
    api.add_fault(refuse().resource("pods"));
    assert_eq!(codes(&a, 1).await, [200]);
    api.clear_faults();
    api.add_fault(refuse().matching(|request| request.name == "x"));
    assert_eq!(codes(&a, 1).await, [200]);
    assert_eq!(a.get(&format!("{LEASES}/x")).await.0, 503);
    api.clear_faults();
    let drawn = async |seed: u64| {
        let id = api.add_fault(refuse().chance(0.5, seed));
        let codes = codes(&a, 40).await;
        api.remove_fault(id);
        codes
    };
    let first = drawn(7).await;
    assert_eq!(first, drawn(7).await, "a seed repeats itself");
    let refused = first.iter().filter(|code| **code == 503).count();
    assert!((8..=32).contains(&refused), "{refused} of 40");
}

#[tokio::test]
async fn a_dropped_request_has_no_effect_a_dropped_answer_has() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    for (act, name, effect) in [
        (Act::DropBefore, "before", false),
        (Act::DropAfter, "after", true),
    ] {
        api.add_fault(Fault::new(act).verbs(&["create"]));
        create(&asker, name).await.unwrap_err();
        assert_eq!(is_there(&api, name), effect, "{name}");
        let last = api.requests().pop().unwrap();
        assert_eq!((&*last.what(), last.status), ("create leases", None));
        api.clear_faults();
    }
    assert_eq!(asker.get(LEASES).await.0, 200, "by a new connection");
}

#[tokio::test]
async fn a_refused_write_may_have_taken_effect() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    api.add_fault(Fault::new(Act::RefuseAfter(Refusal::Timeout)));
    assert_eq!(create(&asker, "x").await.unwrap(), 504);
    assert!(is_there(&api, "x"));
    assert_eq!(api.requests()[0].status, Some(504));
}

#[tokio::test]
async fn a_delayed_write_lands_though_its_client_is_gone() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    api.add_fault(Fault::new(Act::Delay(LONG)).verbs(&["create"]));
    timeout(SHORT, create(&asker, "late")).await.unwrap_err();
    assert!(!is_there(&api, "late"));
    // Not by this thread's runtime, which `until` would block.
    until(PATIENCE, "the late write", || is_there(&api, "late")).unwrap();
    let begin = Instant::now();
    assert_eq!(create(&asker, "waited").await.unwrap(), 201);
    assert!(begin.elapsed() >= LONG);
}

#[tokio::test]
async fn a_delayed_answer_is_of_a_write_that_is_done() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    let delay = Act::DelayAnswer(LONG);
    api.add_fault(Fault::new(delay).verbs(&["create"]));
    let begin = Instant::now();
    let creation = create(&asker, "x");
    tokio::pin!(creation);
    timeout(SHORT, &mut creation).await.unwrap_err();
    until(PATIENCE, "the write", || is_there(&api, "x")).unwrap();
    assert_eq!(creation.await.unwrap(), 201);
    assert!(begin.elapsed() >= LONG);
}

#[tokio::test]
async fn hanging_requests_are_never_answered() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    for (act, name, effect) in [
        (Act::Hang, "before", false),
        (Act::HangAfter, "after", true),
    ] {
        api.add_fault(Fault::new(act).verbs(&["create"]));
        timeout(SHORT, create(&asker, name)).await.unwrap_err();
        if effect {
            until(PATIENCE, "the write", || is_there(&api, name)).unwrap();
        }
        assert_eq!(is_there(&api, name), effect, "{name}");
        api.clear_faults();
    }
    assert_eq!(create(&asker, "x").await.unwrap(), 201);
}

#[tokio::test]
async fn a_watch_can_be_silent_from_the_start() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    create(&asker, "x").await.unwrap();
    let fault = api.add_fault(Fault::new(Act::SilentWatch).verbs(&["watch"]));
    let mut events = asker.watch(&format!("{LEASES}?watch=1")).await;
    assert!(events.is_silent(SHORT).await);
    assert_eq!(api.struck(fault), 1);
    api.revive_watches(|_| true);
    assert_eq!(events.next().await.0, "ADDED");
}

#[tokio::test]
async fn faults_add_up() {
    let api = KubeApi::start().unwrap();
    let asker = Asker::new(&api).await;
    api.add_fault(Fault::new(Act::Delay(SHORT)));
    api.add_fault(Fault::new(Act::Refuse(Refusal::Internal)).verbs(&["delete"]));
    let begin = Instant::now();
    assert_eq!(
        asker.delete(&format!("{LEASES}/x"), &Value::Null).await.0,
        500
    );
    assert_eq!(asker.get(LEASES).await.0, 200);
    assert!(begin.elapsed() >= 2 * SHORT);
}

use std::time::{Duration, Instant};

use bellwether_discovery::{Error, KubernetesConfig};
use bellwether_testkit::kube::{Access, Act, Fault, Refusal};

use crate::flock::{
    Flock, PATIENCE, endpoints, line, members, next, nothing_for, nothing_until, permitted,
    service, until_they_are,
};

const SECOND: Duration = Duration::from_secs(1);

/// What falls silent is noticed within 11 s.
fn impatient() -> KubernetesConfig {
    let mut config = service();
    config.timeout = 5 * SECOND;
    config.max_silence = SECOND;
    config.refused_interval = SECOND / 2;
    config
}

#[tokio::test]
async fn a_watch_that_ends_or_is_cut_goes_on_where_it_was() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([0]));
    let mut discovery = flock.discovery(service()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([0]));
    let api = &flock.api;
    let ends: [fn(&Flock); 3] = [
        |flock| flock.api.end_watches(|_| true),
        |flock| flock.api.cut_watches(|_| true),
        |flock| flock.api.link().break_off().unwrap(),
    ];
    for (number, end) in (1..).zip(ends) {
        nothing_until(&mut discovery, || api.watches().len() == 1).await;
        end(&flock);
        flock.slice("redis-a", "IPv4", &endpoints(0..=number));
        assert_eq!(next(&mut discovery).await.unwrap(), members(0..=number));
    }
    assert_eq!(flock.lists(), 1);
}

#[tokio::test]
async fn what_is_forgotten_is_listed_anew() {
    let flock = Flock::in_memory();
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    flock.slice("redis-b", "IPv4", &endpoints([2]));
    let mut discovery = flock.discovery(service()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
    let api = &flock.api;
    nothing_until(&mut discovery, || api.watches().len() == 1).await;
    // Both by a watch that is told so and by one that begins too late.
    api.forget_requests();
    api.expire_watches(|_| true);
    flock.slice("redis-a", "IPv4", &endpoints([1, 3]));
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2, 3]));
    nothing_until(&mut discovery, || api.watches().len() == 1).await;
    assert_eq!(
        flock.asked(),
        ["list endpointslices", "watch endpointslices"]
    );
    let refuse = api.add_fault(Fault::new(Act::DropBefore));
    api.cut_watches(|_| true);
    next(&mut discovery).await.expect_err("the API is away");
    // What happens meanwhile leaves no trace but its end.
    flock.slice("redis-c", "IPv4", &endpoints([4]));
    api.remove("endpointslices", "default", "redis-a").unwrap();
    api.compact();
    api.remove_fault(refuse);
    until_they_are(&mut discovery, &members([2, 4])).await;
}

#[tokio::test]
async fn a_version_that_is_no_more_is_no_outage() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    let mut discovery = flock.discovery(service()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    let api = &flock.api;
    nothing_until(&mut discovery, || api.watches().len() == 1).await;
    let watches = Fault::new(Act::Refuse(Refusal::Expired)).verbs(&["watch"]);
    let fault = api.add_fault(watches.first(2));
    api.end_watches(|_| true);
    flock.slice("redis-a", "IPv4", &endpoints([1, 2]));
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
    nothing_until(&mut discovery, || {
        api.struck(fault) == 2 && api.watches().len() == 1
    })
    .await;
}

#[tokio::test]
async fn an_api_that_is_away_is_told_once_and_found_again() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    let mut discovery = flock.discovery(service()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    for number in 2..=3 {
        let api = &flock.api;
        nothing_until(&mut discovery, || api.watches().len() == 1).await;
        api.link().refuse().unwrap();
        let error = next(&mut discovery).await.unwrap_err();
        let line = line(&error);
        assert!(matches!(error, Error::Unanswered { .. }), "{line}");
        assert!(line.starts_with("kubernetes://default/service/redis is not answered: cannot "));
        assert!(line.contains(": the API is not reached: "), "{line}");
        flock.slice("redis-a", "IPv4", &endpoints(1..=number));
        nothing_for(2 * SECOND, &mut discovery).await;
        api.link().heal().unwrap();
        assert_eq!(next(&mut discovery).await.unwrap(), members(1..=number));
    }
}

#[tokio::test]
async fn an_outage_without_a_change_ends_unnoticed() {
    let flock = Flock::new();
    let mut discovery = flock.discovery(service()).await;
    let api = &flock.api;
    api.link().refuse().unwrap();
    next(&mut discovery)
        .await
        .expect_err("it was away before we came");
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    api.link().heal().unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    nothing_until(&mut discovery, || api.watches().len() == 1).await;
    api.link().refuse().unwrap();
    next(&mut discovery).await.expect_err("it is away");
    api.link().heal().unwrap();
    nothing_until(&mut discovery, || api.watches().len() == 1).await;
}

#[tokio::test]
async fn a_black_hole_is_noticed_in_bounded_time() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    let mut discovery = flock.discovery(impatient()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    let api = &flock.api;
    nothing_until(&mut discovery, || api.watches().len() == 1).await;
    api.link().silence().unwrap();
    let silent = Instant::now();
    flock.slice("redis-a", "IPv4", &endpoints([1, 2]));
    let error = next(&mut discovery).await.unwrap_err();
    assert!(
        line(&error).contains("the API does not answer within 5s"),
        "{}",
        line(&error)
    );
    // 11 s, and what a busy machine adds.
    assert!(silent.elapsed() < PATIENCE, "{:?}", silent.elapsed());
    api.link().heal().unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
}

#[tokio::test]
async fn a_watch_that_falls_silent_alone_is_replaced() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    let mut discovery = flock.discovery(impatient()).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    let api = &flock.api;
    nothing_until(&mut discovery, || api.watches().len() == 1).await;
    let silent = api.add_fault(Fault::new(Act::SilentWatch).first(1));
    api.silence_watches(|_| true);
    flock.slice("redis-a", "IPv4", &endpoints([1, 2]));
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
    assert_eq!(
        api.struck(silent),
        1,
        "the one that followed was silent, too"
    );
}

#[tokio::test]
async fn a_missing_permission_is_named_and_its_arrival_noticed() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    flock.api.permit(&flock.shaun, Access::none());
    let mut discovery = flock.discovery(impatient()).await;
    let error = next(&mut discovery).await.unwrap_err();
    let line = line(&error);
    assert!(matches!(error, Error::Refused { .. }), "{line}");
    for part in [
        "kubernetes://default/service/redis is refused: ",
        "cannot list endpointslices.discovery.k8s.io in namespace \"default\": ",
        "a Role must permit the verb \"list\" on \"endpointslices.discovery.k8s.io\" there",
        "User \"system:serviceaccount:default:shaun\" cannot list resource",
    ] {
        assert!(line.contains(part), "{line}");
    }
    nothing_for(2 * SECOND, &mut discovery).await;
    let lists = |access: Access| access.allow(&["list"], "discovery.k8s.io", "endpointslices");
    flock.api.permit(&flock.shaun, lists(Access::none()));
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
    // Only to watch is still not permitted: the outage goes on, and so do the lists.
    flock.slice("redis-a", "IPv4", &endpoints([1, 2]));
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2]));
    flock.api.permit(&flock.shaun, permitted());
    let api = &flock.api;
    nothing_until(&mut discovery, || api.watches().len() == 1).await;
    flock.slice("redis-a", "IPv4", &endpoints([1, 2, 3]));
    assert_eq!(next(&mut discovery).await.unwrap(), members([1, 2, 3]));
}

#[tokio::test]
async fn credentials_that_are_not_accepted_are_told() {
    let flock = Flock::new();
    let mut discovery = flock.discovery(impatient()).await;
    flock.api.forget_user(&flock.shaun);
    let error = next(&mut discovery).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(
        line(&error).contains("does not accept the credentials (401: "),
        "{}",
        line(&error)
    );
}

#[tokio::test]
async fn a_namespace_that_is_not_ours_is_named() {
    let flock = Flock::new();
    let mut config = impatient();
    config.namespace = Some("meadow".into());
    let mut discovery = flock.discovery(config).await;
    let error = next(&mut discovery).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let line = line(&error);
    assert!(
        line.starts_with("kubernetes://meadow/service/redis is refused: "),
        "{line}"
    );
    assert!(
        line.contains("in namespace \"meadow\": a Role must permit"),
        "{line}"
    );
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_has_no_members_yet() {
    let flock = Flock::new();
    let everywhere = Access::none().allow(&["list", "watch"], "discovery.k8s.io", "endpointslices");
    flock.api.permit(&flock.shaun, everywhere);
    let mut config = service();
    config.namespace = Some("meadow".into());
    let mut discovery = flock.discovery(config).await;
    assert_eq!(next(&mut discovery).await.unwrap(), members([]));
    flock.api.add_namespace("meadow").unwrap();
    let mut slice = serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "a", "namespace": "meadow" }, "endpoints": endpoints([1]),
    });
    slice["metadata"]["labels"]["kubernetes.io/service-name"] = "redis".into();
    flock.api.put(&slice).unwrap();
    assert_eq!(next(&mut discovery).await.unwrap(), members([1]));
}

#[tokio::test]
async fn an_api_that_fails_half_of_the_time_is_followed_all_the_same() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([0]));
    let api = &flock.api;
    for (seed, refusal) in (1..).zip([
        Refusal::TooManyRequests(1),
        Refusal::Overloaded,
        Refusal::Internal,
        Refusal::BadGateway,
        Refusal::Unavailable,
        Refusal::Timeout,
    ]) {
        api.add_fault(Fault::new(Act::Refuse(refusal)).chance(0.1, seed));
    }
    api.add_fault(Fault::new(Act::DropAfter).chance(0.1, 7));
    let mut config = service();
    config.max_retry_interval = SECOND / 10;
    let mut discovery = flock.discovery(config).await;
    let mut outages = 0;
    for number in 0..8 {
        let expected = members(0..=number);
        flock.slice("redis-a", "IPv4", &endpoints(0..=number));
        api.cut_watches(|_| true);
        loop {
            match next(&mut discovery).await {
                Ok(found) if found == expected => break,
                Ok(_) => {}
                Err(Error::Unanswered { .. }) => outages += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    assert!(outages > 0, "the faults were not felt");
}

/// Two calls race, as in a `select!`, and the losing one is dropped again and again.
#[tokio::test]
async fn dropped_calls_lose_nothing_and_ask_nothing_anew() {
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([0]));
    let api = &flock.api;
    api.add_fault(Fault::new(Act::DelayAnswer(SECOND / 5)));
    let mut discovery = flock.discovery(service()).await;
    let mut dropped = 0_u32;
    for number in 0..5 {
        let deadline = Instant::now() + 2 * PATIENCE;
        let found = loop {
            assert!(Instant::now() < deadline, "nothing happens");
            tokio::select! {
                biased;
                members = bellwether_discovery::Discovery::changed(&mut discovery) => break members,
                () = tokio::time::sleep(Duration::from_millis(2)) => dropped += 1,
            }
        };
        assert_eq!(found.unwrap(), members(0..=number));
        flock.slice("redis-a", "IPv4", &endpoints(0..=number + 1));
    }
    assert!(dropped > 20, "{dropped} calls were dropped");
    assert_eq!(flock.lists(), 1);
    let few = api.requests().len() <= 4;
    assert!(few, "one watch in 30 s: {:?}", api.requests());
}

//! The Service, while the API is not well.

use bellwether_discovery::Announcement;
use bellwether_testkit::kube::{Act, Fault, KubeApi, Refusal, Request};
use bellwether_testkit::{skip, until};
use serde_json::{Value, json};

use crate::scene::{
    Node, PATIENCE, SECOND, api, config, edit_service, patches, points_at, watched,
};

fn break_selector(api: &KubeApi) {
    edit_service(api, |service| {
        service["spec"]["selector"] = json!({"app": "x"});
    });
}

/// Waits until it is told that changes would be noticed late; what was announced stays so.
fn is_hindered(node: &Node) {
    node.tells("a hindrance", |told| {
        let stays = matches!(told, Announcement::Announced { .. });
        assert!(stays, "{told:?}");
        matches!(
            told,
            Announcement::Announced {
                hindrance: Some(_),
                ..
            }
        )
    });
}

/// Announces terms while half of the calls are refused in this way.
async fn half_refused(refusal: Refusal, terms: u64) {
    let api = api(&Value::Null);
    let node = Node::start(&api, "redis-1", config()).await;
    let half = Fault::new(Act::Refuse(refusal)).chance(0.5, 7);
    let half = api.add_fault(half);
    for term in 1..=terms {
        node.lead(term);
        points_at(&api, "redis-1", term);
        break_selector(&api);
        points_at(&api, "redis-1", term);
    }
    assert!(api.struck(half) > 0, "{refusal:?}");
    api.clear_faults();
    node.is_announced(terms);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_calls_may_fail() {
    for refusal in [
        Refusal::Conflict,
        Refusal::Expired,
        Refusal::Internal,
        Refusal::BadGateway,
        Refusal::Unavailable,
        Refusal::Timeout,
    ] {
        half_refused(refusal, 3).await;
    }
}

/// Each refusal costs the second that the API asks for.
#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_calls_may_be_too_many() {
    half_refused(Refusal::TooManyRequests(1), 1).await;
    half_refused(Refusal::Overloaded, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_may_break_before_and_after_each_call() {
    for (seed, act) in [(1, Act::DropBefore), (2, Act::DropAfter)] {
        let api = api(&Value::Null);
        let node = Node::start(&api, "redis-1", config()).await;
        let half = api.add_fault(Fault::new(act.clone()).chance(0.5, seed));
        for term in 1..=3 {
            node.lead(term);
            points_at(&api, "redis-1", term);
        }
        assert!(api.struck(half) > 0, "{act:?}");
        api.clear_faults();
        node.is_announced(3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_not_repeated() {
    for act in [Act::DropAfter, Act::HangAfter] {
        let api = api(&Value::Null);
        let mut config = config();
        config.timeout = 2 * SECOND;
        let node = Node::start(&api, "redis-1", config).await;
        api.add_fault(Fault::new(act).verbs(&["patch"]).first(1));
        node.lead(5);
        node.is_announced(5);
        assert_eq!(patches(&api), 1, "it is found to be right by reading");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_may_be_away_or_silent() {
    for silent in [false, true] {
        let api = api(&Value::Null);
        let mut config = config();
        config.timeout = 2 * SECOND;
        config.reread = SECOND;
        let node = Node::start(&api, "redis-1", config).await;
        node.lead(5);
        node.is_announced(5);
        if silent {
            node.link.silence().unwrap();
        } else {
            node.link.refuse().unwrap();
        }
        is_hindered(&node);
        break_selector(&api);
        node.link.heal().unwrap();
        points_at(&api, "redis-1", 5);
        node.is_announced(5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_at_the_start_is_told_and_passes() {
    let api = api(&Value::Null);
    let node = Node::start(&api, "redis-1", config()).await;
    node.link.refuse().unwrap();
    node.lead(5);
    node.says(&["cannot list services \"redis-leader\" in namespace \"default\""]);
    node.link.heal().unwrap();
    node.is_announced(5);
    points_at(&api, "redis-1", 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_api_is_no_outage() {
    let api = api(&Value::Null);
    let node = Node::start(&api, "redis-1", config()).await;
    let slow = Fault::new(Act::DelayAnswer(3 * SECOND)).verbs(&["list", "patch"]);
    api.add_fault(slow);
    node.lead(5);
    let told = node.tells("an end", |told| {
        !matches!(told, Announcement::Idle | Announcement::Pending { .. })
    });
    assert!(
        matches!(
            told,
            Announcement::Announced {
                hindrance: None,
                ..
            }
        ),
        "{told:?}"
    );
    assert_eq!(patches(&api), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_may_end_in_any_way() {
    type End = fn(&KubeApi);
    let ends: [(&str, End); 3] = [
        ("ended", |api| api.end_watches(|_| true)),
        ("cut", |api| api.cut_watches(|_| true)),
        ("expired", |api| api.expire_watches(|_| true)),
    ];
    let api = api(&Value::Null);
    let node = Node::start(&api, "redis-1", config()).await;
    node.lead(5);
    for (how, end) in ends {
        node.is_announced(5);
        until(PATIENCE, "a watch", || api.watches().len() == 1).unwrap();
        let watches = || {
            api.requests()
                .iter()
                .filter(|it| it.verb == "watch")
                .count()
        };
        let before = watches();
        end(&api);
        break_selector(&api);
        points_at(&api, "redis-1", 5);
        until(PATIENCE, how, || watches() > before).unwrap();
    }
}

/// After a restart, API servers refuse to watch from a version that they have not seen themselves,
/// such as that of an object that was last written before.
#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_history_is_no_obstacle() {
    let api = api(&Value::Null);
    if api.is_real() {
        let reason = "a real API server forgets only when it is restarted";
        return skip("a_forgotten_history_is_no_obstacle", reason);
    }
    let node = Node::start(&api, "redis-1", config()).await;
    node.lead(5);
    node.is_announced(5);
    until(PATIENCE, "a watch", || api.watches().len() == 1).unwrap();
    api.add_namespace("elsewhere").unwrap();
    api.compact();
    api.forget_requests();
    api.cut_watches(|_| true);
    watched(&api, 1);
    node.is_announced(5);
    let asked: Vec<String> = api.requests().iter().map(Request::what).collect();
    assert_eq!(asked, ["list services", "watch services"]);
    break_selector(&api);
    points_at(&api, "redis-1", 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_watch_is_noticed() {
    let api = api(&Value::Null);
    let mut config = config();
    config.reread = 2 * SECOND;
    config.timeout = 2 * SECOND;
    let node = Node::start(&api, "redis-1", config).await;
    let silent = api.add_fault(Fault::new(Act::SilentWatch));
    node.lead(5);
    until(PATIENCE, "a watch", || api.watches().len() == 1).unwrap();
    break_selector(&api);
    points_at(&api, "redis-1", 5);
    // And again, as each later watch is silent, too.
    break_selector(&api);
    points_at(&api, "redis-1", 5);
    api.remove_fault(silent);
    api.forget_requests();
    watched(&api, 1);
    node.is_announced(5);
}

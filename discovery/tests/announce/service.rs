//! The Service, while the API is well.

use std::time::Instant;

use bellwether_discovery::{Announcement, Announcer, AnnouncerConfig};
use bellwether_testkit::kube::{Access, Act, Fault, KubeApi};
use bellwether_testkit::until;
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::scene::{
    Node, PATIENCE, POD_NAME, SECOND, SERVICE, TERM, api, config, edit_service, patches, points_at,
    put_service, role, seen, verbs, watched,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_announced_and_then_nothing_is_written() {
    let api = api(&json!({"app": "redis", "old": "label"}));
    let mut config = config();
    config.reread = SECOND;
    let node = Node::start(&api, "redis-1", config.clone()).await;
    let follower = Node::start(&api, "redis-0", config).await;
    assert_eq!(node.told(), Announcement::Idle);
    assert_eq!(api.requests().len(), 0, "who does not lead asks nothing");

    node.lead(7);
    node.is_announced(7);
    points_at(&api, "redis-1", 7);
    // It reads again and again, and finds nothing to do.
    watched(&api, 4);
    assert_eq!(
        verbs(&api),
        ["list services", "patch services", "watch services"]
    );
    assert_eq!(patches(&api), 1);
    let requests = api.requests();
    assert!(
        requests
            .iter()
            .all(|it| it.user.as_ref() == Some(&node.user.name))
    );
    let patch = requests.iter().find(|it| it.verb == "patch").unwrap();
    assert_eq!(patch.content_type, "application/json-patch+json");
    assert!(
        patch.path.contains("fieldManager=bellwether"),
        "{}",
        patch.path
    );
    let service = api.object("services", "default", SERVICE).unwrap().unwrap();
    assert_eq!(service["spec"]["ports"][0]["port"], 6379, "the rest stays");

    follower.end().await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_term_takes_over_and_a_lower_one_never_comes_back() {
    let api = api(&Value::Null);
    let old = Node::start(&api, "redis-0", config()).await;
    let new = Node::start(&api, "redis-1", config()).await;
    old.lead(1);
    old.is_announced(1);
    new.lead(2);
    new.is_announced(2);
    old.is_superseded_by(2);
    points_at(&api, "redis-1", 2);

    // Neither what happens to the Service nor a new beginning makes the old one write.
    edit_service(&api, |service| {
        service["spec"]["selector"] = json!({"app": "x"});
    });
    points_at(&api, "redis-1", 2);
    old.depose();
    old.tells("it to be idle", |told| *told == Announcement::Idle);
    old.lead(1);
    old.is_superseded_by(2);
    points_at(&api, "redis-1", 2);
    let wrote = |node: &Node| {
        let requests = api.requests();
        let own = |user: &Option<String>| user.as_ref() == Some(&node.user.name);
        requests
            .iter()
            .filter(|it| it.verb == "patch" && own(&it.user))
            .count()
    };
    assert_eq!((wrote(&old), wrote(&new)), (1, 2));

    // The same pod in another term is announced, too; so is the old one, when it leads rightly.
    new.lead(3);
    new.is_announced(3);
    points_at(&api, "redis-1", 3);
    old.lead(4);
    old.is_announced(4);
    new.is_superseded_by(4);
    points_at(&api, "redis-0", 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_lands_late_changes_nothing() {
    let api = api(&json!({"app": "redis"}));
    let mut hasty = config();
    hasty.timeout = SECOND;
    let old = Node::start(&api, "redis-0", hasty).await;
    let new = Node::start(&api, "redis-1", config()).await;
    let late = Fault::new(Act::Delay(8 * SECOND)).verbs(&["patch"]);
    let late = api.add_fault(late.user(&old.user.name).first(1));
    old.lead(1);
    until(PATIENCE, "the patch", || api.struck(late) == 1).unwrap();
    old.depose();
    new.lead(2);
    new.is_announced(2);
    let landed = until(PATIENCE, "the late patch to land", || {
        let requests = api.requests();
        let patch = requests.into_iter().find(|it| it.verb == "patch");
        patch.and_then(|patch| patch.status)
    });
    assert_eq!(
        landed.unwrap(),
        422,
        "the object is not the one it was decided on"
    );
    points_at(&api, "redis-1", 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_race_the_higher_term_wins() {
    let api = api(&Value::Null);
    let one = Node::start(&api, "redis-0", config()).await;
    let two = Node::start(&api, "redis-1", config()).await;
    for round in 0..10 {
        let (low, high) = if round % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        let term = 2 * round + 1;
        low.lead(term);
        high.lead(term + 1);
        high.is_announced(term + 1);
        low.is_superseded_by(term + 1);
        points_at(&api, &high.name, term + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_by_hand_is_put_back() {
    let api = api(&Value::Null);
    let node = Node::start(&api, "redis-1", config()).await;
    node.lead(5);
    node.is_announced(5);
    let edits: [fn(&mut Value); 6] = [
        |service| service["spec"]["selector"] = json!({POD_NAME: "redis-0"}),
        |service| service["spec"]["selector"]["app"] = json!("redis"),
        |service| service["spec"]["selector"] = Value::Null,
        |service| service["metadata"]["annotations"] = Value::Null,
        |service| service["metadata"]["annotations"][TERM] = json!("3"),
        |service| service["metadata"]["annotations"][TERM] = json!("five"),
    ];
    for (done, edit) in edits.into_iter().enumerate() {
        edit_service(&api, edit);
        until(PATIENCE, "the repair", || patches(&api) == done + 2).unwrap();
        points_at(&api, "redis-1", 5);
        node.is_announced(5);
    }
    edit_service(&api, |service| {
        service["metadata"]["annotations"]["other"] = json!("x");
    });
    edit_service(&api, |service| service["spec"]["selector"] = json!({}));
    points_at(&api, "redis-1", 5);
    let service = api.object("services", "default", SERVICE).unwrap().unwrap();
    assert_eq!(service["metadata"]["annotations"]["other"], "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fight_is_not_a_busy_loop() {
    let api = api(&Value::Null);
    let mut config = config();
    config.max_repair_interval = 30 * SECOND;
    let node = Node::start(&api, "redis-1", config).await;
    node.lead(5);
    node.is_announced(5);
    let began = Instant::now();
    while began.elapsed() < 5 * SECOND {
        edit_service(&api, |service| {
            service["spec"]["selector"] = json!({"app": "mine"});
        });
        tokio::task::yield_now().await;
    }
    let took = began.elapsed().as_secs();
    let requests = api.requests();
    let done = requests
        .iter()
        .filter(|it| it.verb == "patch" && it.status == Some(200));
    let done = u32::try_from(done.count()).expect("they are few");
    // The announcement, the first repair, and those that come after pauses that double. What met a
    // Service that had changed again was not done.
    assert!(done >= 2, "it is put back at once");
    assert!(done <= 3 + (took + 1).ilog2(), "{done} in {took} s");
    points_at(&api, "redis-1", 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_from_the_end_of_the_lease_on() {
    let api = api(&Value::Null);
    let node = Node::start(&api, "redis-1", config()).await;
    node.lead_until(5, Some(Instant::now()));
    tokio::time::sleep(SECOND).await;
    assert_eq!(node.told(), Announcement::Idle);
    assert_eq!(api.requests().len(), 0);

    node.lead_until(5, Some(Instant::now() + PATIENCE));
    node.is_announced(5);
    let end = Instant::now() + SECOND;
    node.lead_until(5, Some(end));
    node.tells("its lease to end", |told| *told == Announcement::Idle);
    assert!(Instant::now() >= end);
    until(PATIENCE, "its watch to end", || api.watches().is_empty()).unwrap();
    let before = api.requests().len();
    edit_service(&api, |service| {
        service["spec"]["selector"] = json!({"app": "x"});
    });
    tokio::time::sleep(SECOND).await;
    assert_eq!(api.requests().len(), before, "it asks nothing, either");
    assert_eq!(seen(&api).0, json!({"app": "x"}));

    node.lead_until(5, Some(Instant::now() + PATIENCE));
    points_at(&api, "redis-1", 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_way_is_dropped_at_the_end_of_the_lease() {
    let api = api(&Value::Null);
    let node = Node::start(&api, "redis-1", config()).await;
    let hang = api.add_fault(Fault::new(Act::Hang).verbs(&["patch"]));
    node.lead_until(5, Some(Instant::now() + PATIENCE));
    until(PATIENCE, "the patch", || api.struck(hang) == 1).unwrap();
    node.lead_until(5, Some(Instant::now() + SECOND));
    node.tells("its lease to end", |told| *told == Announcement::Idle);
    assert_eq!(seen(&api), (Value::Null, Value::Null));
    assert_eq!(patches(&api), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_missing_is_waited_for() {
    let api = KubeApi::start().unwrap();
    let node = Node::start(&api, "redis-1", config()).await;
    node.lead(5);
    node.says(&["no Service \"redis-leader\" in the namespace \"default\""]);
    until(PATIENCE, "a watch", || api.watches().len() == 1).unwrap();
    put_service(&api, &json!({"app": "redis"}));
    points_at(&api, "redis-1", 5);
    node.is_announced(5);
    assert_eq!(
        verbs(&api),
        ["list services", "patch services", "watch services"]
    );

    assert!(api.remove("services", "default", SERVICE).unwrap());
    node.says(&["no Service \"redis-leader\""]);
    put_service(&api, &Value::Null);
    points_at(&api, "redis-1", 5);
    node.is_announced(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn headless_services_work_and_external_names_do_not() {
    let api = KubeApi::start().unwrap();
    let service = |spec: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": "default"},
            "spec": spec,
        })
    };
    let external = json!({"type": "ExternalName", "externalName": "example.com"});
    api.put(&service(external)).unwrap();
    let node = Node::start(&api, "redis-1", config()).await;
    node.lead(5);
    node.says(&["ExternalName", "make it a ClusterIP"]);
    assert_eq!(patches(&api), 0);
    // Without a policy it would become dual stack, and no selector be accepted where that is not had.
    let headless = json!({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"});
    api.put(&service(headless)).unwrap();
    node.is_announced(5);
    points_at(&api, "redis-1", 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_role_lacks_is_named() {
    for verb in ["list", "patch", "watch"] {
        let api = api(&Value::Null);
        let access = role().deny(&[verb], "", "services");
        let node = Node::with(&api, "redis-1", access, config()).await;
        node.lead(5);
        let names_it = |reason: &str| {
            assert!(!reason.contains('\n'), "{reason}");
            reason.contains(&format!("verb {verb:?} on \"services\""))
        };
        node.tells("what is missing", |told| match told {
            Announcement::Retrying { reason, .. } => names_it(reason),
            Announcement::Announced { hindrance, .. } => {
                // Without a watch it is announced, only not guarded.
                verb == "watch" && hindrance.as_deref().is_some_and(names_it)
            }
            _ => false,
        });
        if verb == "watch" {
            edit_service(&api, |service| service["spec"]["selector"] = Value::Null);
            points_at(&api, "redis-1", 5);
        }
        api.permit(&node.user, role());
        node.is_announced(5);
        points_at(&api, "redis-1", 5);
    }
    let api = api(&Value::Null);
    let node = Node::with(&api, "redis-1", Access::none(), config()).await;
    api.forget_user(&node.user);
    node.lead(5);
    node.says(&["cannot list services", "credentials"]);
    api.permit(&node.user, role());
    node.is_announced(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_may_select_more_than_the_pod() {
    let api = api(&Value::Null);
    let mut config = config();
    config.selector = [
        ("app".into(), "redis".into()),
        ("pod".into(), "x.{pod}".into()),
    ]
    .into();
    config.term_annotation = "example.com/epoch".into();
    let node = Node::start(&api, "redis-1", config).await;
    node.lead(5);
    node.is_announced(5);
    let service = api.object("services", "default", SERVICE).unwrap().unwrap();
    let expected = json!({"app": "redis", "pod": "x.redis-1"});
    assert_eq!(service["spec"]["selector"], expected);
    assert_eq!(
        service["metadata"]["annotations"],
        json!({"example.com/epoch": "5"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_refused_at_once() {
    let nowhere = Config::new("https://127.0.0.1:1".parse().unwrap());
    let client = Client::try_from(nowhere).unwrap();
    let complaint = |config: AnnouncerConfig| {
        let error = Announcer::new(client.clone(), config).unwrap_err();
        error.to_string()
    };
    let said = complaint(AnnouncerConfig::new(""));
    assert!(said.starts_with("service \"\" must be 1 to 63"), "{said}");
    let mut config = config();
    config.selector.clear();
    let said = complaint(config.clone());
    assert!(said.starts_with("selector must have"), "{said}");
    let said = Announcer::connect(config).await.unwrap_err().to_string();
    assert!(
        said.starts_with("selector must have"),
        "before any cluster: {said}"
    );
}

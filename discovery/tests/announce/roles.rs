//! The role label of pods.

use bellwether_discovery::{AnnouncerConfig, RoleLabel};
use bellwether_testkit::kube::{Act, Fault, KubeApi, Refusal};
use bellwether_testkit::until;
use serde_json::{Value, json};

use crate::scene::{
    Node, PATIENCE, POD_NAME, SECOND, SERVICE, TERM, api, config, patches, points_at, role, verbs,
    watched,
};

const ROLE: &str = "bellwether.dev/role";

fn with_roles() -> AnnouncerConfig {
    let mut config = config();
    config.role_label = Some(RoleLabel::new("app=redis"));
    config
}

fn put_pod(api: &KubeApi, name: &str, app: &str) {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [{"name": "redis", "image": "redis"}]},
    });
    api.put(&pod).expect("it is a pod");
}

fn group() -> KubeApi {
    let api = api(&Value::Null);
    for name in ["redis-0", "redis-1", "redis-2"] {
        put_pod(&api, name, "redis");
    }
    put_pod(&api, "other", "other");
    api
}

fn label(api: &KubeApi, pod: &str, role: &Value) {
    api.update("pods", "default", pod, |pod| {
        let labels = pod["metadata"]["labels"]
            .as_object_mut()
            .expect("it has some");
        labels.insert(ROLE.into(), role.clone());
        labels.retain(|_, value| !value.is_null());
    })
    .expect("it is there");
}

/// Each pod's role.
fn roles(api: &KubeApi) -> Vec<(String, String)> {
    let pods = api.objects("pods", "default").expect("it answers");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let role = |pod: &Value| {
        let metadata = &pod["metadata"];
        (text(&metadata["name"]), text(&metadata["labels"][ROLE]))
    };
    pods.iter().map(role).collect()
}

fn become_so(api: &KubeApi, expected: &[(&str, &str)]) {
    let owned = |(name, role): &(&str, &str)| ((*name).to_owned(), (*role).to_owned());
    let expected: Vec<_> = expected.iter().map(owned).collect();
    until(PATIENCE, &format!("{expected:?}"), || {
        let roles = roles(api);
        if roles == expected {
            Ok(())
        } else {
            Err(format!("{roles:?}"))
        }
    })
    .expect("it comes to that");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_labelled_the_leader_last_and_then_nothing_is_written() {
    let api = group();
    label(&api, "redis-2", &json!("primary"));
    let mut config = with_roles();
    config.reread = SECOND;
    let node = Node::start(&api, "redis-1", config).await;
    node.lead(5);
    node.is_announced(5);
    points_at(&api, "redis-1", 5);
    become_so(
        &api,
        &[
            ("other", ""),
            ("redis-0", "replica"),
            ("redis-1", "primary"),
            ("redis-2", "replica"),
        ],
    );
    let requests = api.requests();
    let patched = requests.iter().filter(|it| it.what() == "patch pods");
    let patched: Vec<_> = patched.map(|it| it.name.as_str()).collect();
    assert_eq!(patched, ["redis-2", "redis-0", "redis-1"]);
    watched(&api, 8);
    assert_eq!(patches(&api), 4, "three pods and the Service");
    let expected = [
        "list pods",
        "list services",
        "patch pods",
        "patch services",
        "watch pods",
        "watch services",
    ];
    assert_eq!(verbs(&api), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_leaves_one_primary_and_an_older_leader_out() {
    let api = group();
    let old = Node::start(&api, "redis-0", with_roles()).await;
    let new = Node::start(&api, "redis-1", with_roles()).await;
    old.lead(1);
    old.is_announced(1);
    new.lead(2);
    new.is_announced(2);
    old.is_superseded_by(2);
    let expected = [
        ("other", ""),
        ("redis-0", "replica"),
        ("redis-1", "primary"),
        ("redis-2", "replica"),
    ];
    become_so(&api, &expected);
    let before = patches(&api);
    old.depose();
    old.lead(1);
    old.is_superseded_by(2);
    assert_eq!(patches(&api), before);
    become_so(&api, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_leaders_late_label_fails() {
    let api = group();
    let mut hasty = with_roles();
    hasty.timeout = SECOND;
    let old = Node::start(&api, "redis-0", hasty).await;
    let new = Node::start(&api, "redis-1", with_roles()).await;
    // The label that would make it primary, which comes after those of the others.
    let late = Fault::new(Act::Delay(8 * SECOND))
        .user(&old.user.name)
        .matching(|it| it.what() == "patch pods" && it.name == "redis-0")
        .first(1);
    let late = api.add_fault(late);
    old.lead(1);
    until(PATIENCE, "the late label", || api.struck(late) == 1).unwrap();
    old.depose();
    new.lead(2);
    new.is_announced(2);
    let landed = until(PATIENCE, "the late label to land", || {
        let requests = api.requests();
        let mut own = requests
            .into_iter()
            .filter(|it| it.user.as_ref() == Some(&old.user.name));
        let patch = own.find(|it| it.what() == "patch pods" && it.name == "redis-0");
        patch.and_then(|patch| patch.status)
    });
    assert_eq!(landed.unwrap(), 422);
    let expected = [
        ("other", ""),
        ("redis-0", "replica"),
        ("redis-1", "primary"),
        ("redis-2", "replica"),
    ];
    become_so(&api, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_changed_by_hand_and_new_pods_are_set_right() {
    let api = group();
    let node = Node::start(&api, "redis-1", with_roles()).await;
    node.lead(5);
    node.is_announced(5);
    let right = [
        ("other", ""),
        ("redis-0", "replica"),
        ("redis-1", "primary"),
        ("redis-2", "replica"),
    ];
    for (pod, role) in [
        ("redis-1", Value::Null),
        ("redis-1", json!("replica")),
        ("redis-0", json!("primary")),
        ("redis-0", Value::Null),
    ] {
        label(&api, pod, &role);
        become_so(&api, &right);
    }
    put_pod(&api, "redis-3", "redis");
    become_so(
        &api,
        &[
            ("other", ""),
            ("redis-0", "replica"),
            ("redis-1", "primary"),
            ("redis-2", "replica"),
            ("redis-3", "replica"),
        ],
    );
    assert!(api.remove("pods", "default", "redis-3").unwrap());
    // A role of somebody else's is left alone.
    label(&api, "redis-2", &json!("witness"));
    label(&api, "redis-0", &json!("primary"));
    become_so(
        &api,
        &[
            ("other", ""),
            ("redis-0", "replica"),
            ("redis-1", "primary"),
            ("redis-2", "witness"),
        ],
    );
    node.is_announced(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_pod_comes_later_is_labelled_then() {
    let api = group();
    let node = Node::start(&api, "redis-7", with_roles()).await;
    node.lead(5);
    node.says(&["no pod \"redis-7\" matches \"app=redis\""]);
    points_at(&api, "redis-7", 5);
    put_pod(&api, "redis-7", "redis");
    node.is_announced(5);
    let pod = api.object("pods", "default", "redis-7").unwrap().unwrap();
    assert_eq!(pod["metadata"]["labels"][ROLE], "primary");
    assert_eq!(pod["metadata"]["annotations"][TERM], "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_calls_may_fail() {
    let api = group();
    let one = Node::start(&api, "redis-0", with_roles()).await;
    let two = Node::start(&api, "redis-1", with_roles()).await;
    for (seed, refusal) in [Refusal::Conflict, Refusal::Internal, Refusal::Unavailable]
        .into_iter()
        .enumerate()
    {
        api.add_fault(Fault::new(Act::Refuse(refusal)).chance(0.2, seed as u64));
    }
    for term in 1..=4 {
        let (new, old) = if term % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        new.lead(term);
        points_at(&api, &new.name, term);
        let role = |name: &str| {
            if *name == new.name {
                "primary"
            } else {
                "replica"
            }
        };
        become_so(
            &api,
            &[
                ("other", ""),
                ("redis-0", role("redis-0")),
                ("redis-1", role("redis-1")),
                ("redis-2", "replica"),
            ],
        );
        if term > 1 {
            old.is_superseded_by(term);
        }
    }
    api.clear_faults();
    one.is_announced(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_permission_on_pods_the_service_is_announced_all_the_same() {
    let api = group();
    let access = role().deny(&["*"], "", "pods");
    let node = Node::with(&api, "redis-1", access, with_roles()).await;
    node.lead(5);
    node.says(&["verb \"list\" on \"pods\""]);
    points_at(&api, "redis-1", 5);
    api.permit(&node.user, role());
    node.is_announced(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_select_by_the_role() {
    let api = group();
    let mut config = with_roles();
    config.selector = [
        ("app".into(), "redis".into()),
        (ROLE.into(), "primary".into()),
    ]
    .into();
    let node = Node::start(&api, "redis-1", config).await;
    node.lead(5);
    node.is_announced(5);
    let service = api.object("services", "default", SERVICE).unwrap().unwrap();
    let expected = json!({"app": "redis", ROLE: "primary"});
    assert_eq!(service["spec"]["selector"], expected);
    assert!(service["spec"]["selector"][POD_NAME].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_that_matches_too_much_is_refused() {
    let api = api(&Value::Null);
    for number in 0..1025 {
        put_pod(&api, &format!("redis-{number}"), "redis");
    }
    let node = Node::start(&api, "redis-1", with_roles()).await;
    node.lead(5);
    node.says(&["\"app=redis\" matches more than 1024 pods in namespace \"default\""]);
    assert!(!verbs(&api).contains(&"patch pods".into()));
    assert!(api.remove("pods", "default", "redis-1024").unwrap());
    let one = |pod: &str| {
        let pod = api.object("pods", "default", pod).unwrap().unwrap();
        pod["metadata"]["labels"][ROLE].clone()
    };
    node.is_announced(5);
    assert_eq!(
        (one("redis-1"), one("redis-1023")),
        (json!("primary"), json!("replica"))
    );
}

//! The manifests say what Kubernetes understands, and agree with each other and with the program.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use bellwether_hive::cli::Checked as _;
use bellwether_lease::Settings;
use clap::Parser as _;
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        coordination::v1::Lease,
        core::v1::{Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
        rbac::v1::{Role, RoleBinding},
    },
    serde::{Serialize, de::DeserializeOwned},
};
use serde_json::{Value, json};

const FOLDERS: [&str; 4] = ["base", "without-volume", "tied-to-agent", "failsafe"];

#[test]
fn every_field_is_known_to_the_types_of_kubernetes() {
    let mut count = 0;
    for folder in FOLDERS {
        for (file, documents) in manifests(folder) {
            for written in documents {
                let read = read(&written).unwrap_or_else(|error| panic!("{file}: {error}"));
                assert_covers(&read, &written, &file);
                count += 1;
            }
        }
    }
    assert_eq!(
        count,
        10 + 1 + 1 + 2,
        "ten objects, a patch in each overlay, and one more object for failsafe"
    );
}

#[test]
fn each_kustomization_names_all_files_beside_it() {
    for folder in FOLDERS {
        let kustomization = &documents(folder, "kustomization.yaml")[0];
        let resources = list(&kustomization["resources"]).into_iter();
        let patches = list(&kustomization["patches"]).into_iter();
        let named: BTreeSet<_> = resources
            .chain(patches.map(|patch| patch["path"].clone()))
            .map(|name| text(&name))
            .filter(|name| name != "../base")
            .collect();
        let found: BTreeSet<_> = manifests(folder)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(named, found, "{folder}");
    }
}

#[test]
fn no_server_boots_writable_and_the_variant_without_volume_keeps_nothing() {
    let kept = options(&container("base", "redis")["args"]);
    let forgotten = options(&container("without-volume", "redis")["args"]);
    for options in [&kept, &forgotten] {
        for option in [
            "replicaof 127.0.0.1 1",
            "repl-diskless-sync no",
            "dir /data",
            "requirepass $(REDIS_PASSWORD)",
        ] {
            assert!(options.contains(option), "{option} is not in {options:?}");
        }
    }
    let only =
        |one: &BTreeSet<String>, other| -> Vec<_> { one.difference(other).cloned().collect() };
    assert_eq!(only(&kept, &forgotten), ["appendonly yes", "save 3600 1"]);
    assert_eq!(
        only(&forgotten, &kept),
        ["appendonly no", "rdb-del-sync-files yes", "save "]
    );

    let patch = object("without-volume", "StatefulSet", "redis");
    let claims = patch["spec"].get("volumeClaimTemplates");
    assert_eq!(claims, Some(&Value::Null), "the claim is taken out");
    let volume = json!([{ "name": "data", "emptyDir": {} }]);
    assert_eq!(patch["spec"]["template"]["spec"]["volumes"], volume);
}

#[test]
fn the_agents_flags_name_what_the_manifests_contain() {
    let settings = settings();
    settings.check().expect("the flags go together");
    let service = |name: &str| object("base", "Service", name);

    let headless = service(&settings.headless_service);
    assert_eq!(headless["spec"]["clusterIP"], "None");
    assert_eq!(headless["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(
        stateful_set()["spec"]["serviceName"],
        headless["metadata"]["name"],
        "or the members have no names in DNS"
    );
    assert_eq!(object("base", "Lease", &settings.lease)["spec"], json!({}));

    let name = settings.leader_service.as_ref().expect("it is announced");
    let leader = service(name);
    assert_eq!(leader["spec"].get("selector"), None, "the leader writes it");
    assert_eq!(leader["spec"]["publishNotReadyAddresses"], true);
    let replica_listen = settings.agent.replica_listen.expect("reads are offered");
    for (service, listen) in [
        (&leader, settings.leader_listen),
        (&service("redis-replica"), replica_listen),
    ] {
        let port = json!([{ "name": "redis", "port": 6379, "targetPort": listen.port() }]);
        assert_eq!(service["spec"]["ports"], port);
    }

    let admin_listen = settings.agent.admin_listen.expect("probes are answered");
    assert_eq!(
        container("base", "agent")["ports"],
        json!([
            { "name": "leader", "containerPort": settings.leader_listen.port() },
            { "name": "replica", "containerPort": replica_listen.port() },
            { "name": "admin", "containerPort": admin_listen.port() },
        ])
    );
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        let get = json!({ "path": path, "port": "admin" });
        assert_eq!(container("base", "agent")[probe]["httpGet"], get);
    }
    let tied = &container("tied-to-agent", "redis")["livenessProbe"];
    let get = json!({ "path": "/livez", "port": admin_listen.port() });
    assert_eq!((&tied["httpGet"], &tied["exec"]), (&get, &Value::Null));
}

#[test]
fn clients_reach_the_agents_and_only_members_reach_servers() {
    let settings = settings();
    let policy = object("base", "NetworkPolicy", "redis");
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    let replica_listen = settings.agent.replica_listen.expect("reads are offered");
    assert_eq!(
        policy["spec"]["ingress"],
        json!([
            { "ports": [{ "port": settings.leader_listen.port() }, { "port": replica_listen.port() }] },
            {
                "from": [{ "podSelector": { "matchLabels": { "app": "redis" } } }],
                "ports": [{ "port": settings.agent.server.redis.port }],
            },
        ])
    );
    let server = &container("base", "redis")["ports"];
    assert_eq!(server[0]["containerPort"], settings.agent.server.redis.port);
}

#[test]
fn with_failsafe_members_ask_each_other_and_nobody_else_does() {
    let agent = container("failsafe", "agent");
    let flags = list(&agent["env"]).into_iter().flat_map(|variable| {
        // As the program names the variables of its flags.
        let name = text(&variable["name"]);
        let flag = name
            .strip_prefix("BELLWETHER_")
            .expect("one of its variables");
        let flag = format!("--{}", flag.to_lowercase().replace('_', "-"));
        let value = text(&variable["value"]);
        if value == "true" {
            vec![flag]
        } else {
            vec![flag, value]
        }
    });
    let settings = settings_with(flags);
    settings.check().expect("the flags go together");
    assert!(settings.failsafe);
    let listen = settings.peer_listen.expect("it is asked");
    let ports = json!([{ "name": "peer", "containerPort": listen.port() }]);
    assert_eq!(agent["ports"], ports);
    let policy = object("failsafe", "NetworkPolicy", "redis-failsafe");
    let pods = json!({ "matchLabels": { "app": "redis" } });
    assert_eq!(policy["spec"]["podSelector"], pods);
    assert_eq!(
        policy["spec"]["ingress"],
        json!([{ "from": [{ "podSelector": pods }], "ports": [{ "port": listen.port() }] }])
    );
    let others = container("base", "agent")["ports"].clone();
    let taken = |port: &Value| port["containerPort"] == listen.port();
    assert!(!list(&others).iter().any(taken), "a port of its own");
}

#[test]
fn every_selector_means_these_pods() {
    let set = stateful_set();
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(*labels, json!({ "app": "redis" }));
    for (kind, name, path) in [
        ("StatefulSet", "redis", "/spec/selector/matchLabels"),
        ("PodDisruptionBudget", "redis", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "redis", "/spec/podSelector/matchLabels"),
        ("Service", "redis", "/spec/selector"),
        ("Service", "redis-replica", "/spec/selector"),
    ] {
        let object = object("base", kind, name);
        assert_eq!(object.pointer(path), Some(labels), "{kind} {name}");
    }
}

#[test]
fn a_hand_over_ends_before_its_server_and_both_before_the_pod() {
    let hook = &container("base", "redis")["lifecycle"]["preStop"]["exec"]["command"];
    let sleep: u64 = text(&hook[1]).parse().expect("seconds");
    assert_eq!(*hook, json!(["sleep", sleep.to_string()]));
    let server_stays = Duration::from_secs(sleep);
    let shutdown_timeout = settings().agent.shutdown_timeout;
    assert!(server_stays > shutdown_timeout);
    let probe = &container("base", "agent")["livenessProbe"];
    let grace = &probe["terminationGracePeriodSeconds"];
    assert!(grace.as_u64() > Some(shutdown_timeout.as_secs()));
    let set = stateful_set();
    let grace = &set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    let grace = Duration::from_secs(grace.as_u64().expect("seconds"));
    assert!(
        grace >= server_stays + Duration::from_secs(10),
        "redis-server takes up to ten seconds to end"
    );
}

#[test]
fn members_start_together() {
    // One that is alone knows of nobody who might have newer data.
    assert_eq!(stateful_set()["spec"]["podManagementPolicy"], "Parallel");
}

/// That the Role permits what the agents do, and nothing else, is shown by a scene of them.
#[test]
fn the_agents_have_the_role() {
    let account = object("base", "ServiceAccount", "redis");
    let name = &account["metadata"]["name"];
    let binding = object("base", "RoleBinding", "redis");
    assert_eq!(binding["subjects"][0]["name"], *name);
    assert_eq!(
        binding["roleRef"],
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "redis" })
    );
    let set = stateful_set();
    assert_eq!(set["spec"]["template"]["spec"]["serviceAccountName"], *name);
}

#[test]
fn nothing_runs_as_root_or_writes_outside_its_volume() {
    let set = stateful_set();
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    for name in ["redis", "agent"] {
        let container = container("base", name);
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(
            context["capabilities"],
            json!({ "drop": ["ALL"] }),
            "{name}"
        );
    }
    let mounts = &container("base", "redis")["volumeMounts"];
    assert_eq!(*mounts, json!([{ "name": "data", "mountPath": "/data" }]));
    let claims = &set["spec"]["volumeClaimTemplates"];
    assert_eq!(claims[0]["metadata"]["name"], mounts[0]["name"]);
}

/// What the agent makes of its arguments, in a pod.
fn settings() -> Settings {
    settings_with([])
}

/// The same with more of them.
fn settings_with(more: impl IntoIterator<Item = String>) -> Settings {
    let password = tempfile::NamedTempFile::new().expect("a file");
    fs::write(password.path(), "secret").expect("it is written");
    let from_file = format!("file:{}", password.path().display());
    let agent = container("base", "agent");
    let variables: Vec<_> = list(&agent["env"])
        .iter()
        .map(|v| text(&v["name"]))
        .collect();
    assert_eq!(variables, ["POD_NAME", "POD_UID", "REDIS_PASSWORD"]);
    // Tests cannot set variables of their own process.
    let arguments = list(&agent["args"]).into_iter().map(|argument| {
        text(&argument)
            .replace("$(POD_NAME)", "redis-0")
            .replace("$(POD_UID)", "6f2c")
            .replace("env:REDIS_PASSWORD", &from_file)
    });
    let program = std::iter::once("bellwether-lease".to_owned());
    let arguments = program.chain(arguments).chain(more);
    let settings = Settings::try_parse_from(arguments).expect("known flags");
    assert_eq!(settings.member, "redis-0");
    assert_eq!(settings.pod_uid.as_deref(), Some("6f2c"));
    assert!(
        settings.agent.server.redis_password_from.is_some(),
        "or clients are refused"
    );
    settings
}

/// The arguments of a redis-server, one line each as in its configuration file.
fn options(arguments: &Value) -> BTreeSet<String> {
    let mut lines: Vec<String> = Vec::new();
    for argument in list(arguments) {
        let argument = text(&argument);
        match (argument.strip_prefix("--"), lines.last_mut()) {
            (Some(option), _) => lines.push(option.to_owned()),
            (None, Some(line)) => *line = format!("{line} {argument}"),
            (None, None) => panic!("{argument} belongs to no option"),
        }
    }
    lines.into_iter().collect()
}

fn stateful_set() -> Value {
    object("base", "StatefulSet", "redis")
}

fn container(folder: &str, name: &str) -> Value {
    let set = object(folder, "StatefulSet", "redis");
    let containers = list(&set["spec"]["template"]["spec"]["containers"]);
    let found = containers.into_iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("no container {name} in {folder}"))
}

fn object(folder: &str, kind: &str, name: &str) -> Value {
    let mut all = manifests(folder)
        .into_iter()
        .flat_map(|(_, documents)| documents);
    let found = all.find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} in {folder}"))
}

/// All files of a folder but its kustomization, with their documents.
fn manifests(folder: &str) -> Vec<(String, Vec<Value>)> {
    let entries = fs::read_dir(path(folder)).expect("the folder is there");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.into_string().expect("a name in UTF-8"))
        .filter(|name| name != "kustomization.yaml")
        .map(|name| (name.clone(), documents(folder, &name)))
        .collect()
}

fn documents(folder: &str, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(path(folder).join(file)).expect("the file is there");
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{folder}/{file}: {error}"))
}

fn path(folder: &str) -> PathBuf {
    let manifests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kubernetes");
    manifests.join(folder)
}

/// The document as its Kubernetes type understands it.
fn read(written: &Value) -> Result<Value, String> {
    match written["kind"].as_str() {
        Some("ServiceAccount") => through::<ServiceAccount>(written),
        Some("Role") => through::<Role>(written),
        Some("RoleBinding") => through::<RoleBinding>(written),
        Some("Lease") => through::<Lease>(written),
        Some("NetworkPolicy") => through::<NetworkPolicy>(written),
        Some("PodDisruptionBudget") => through::<PodDisruptionBudget>(written),
        Some("Service") => through::<Service>(written),
        Some("StatefulSet") => through::<StatefulSet>(written),
        kind => Err(format!("unexpected kind {kind:?}")),
    }
}

fn through<T: DeserializeOwned + Serialize>(written: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(written.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// Types skip what they do not know, so each written field has to come out again. A null, with which
/// a patch takes something out, is no field.
fn assert_covers(read: &Value, written: &Value, place: &str) {
    match written {
        Value::Object(fields) => {
            for (name, field) in fields.iter().filter(|(_, field)| !field.is_null()) {
                assert_covers(&read[name], field, &format!("{place}: {name}"));
            }
        }
        Value::Array(items) => {
            let length = read.as_array().map(Vec::len);
            assert_eq!(length, Some(items.len()), "{place}");
            for (index, item) in items.iter().enumerate() {
                assert_covers(&read[index], item, &format!("{place}: {index}"));
            }
        }
        plain => assert_eq!(read, plain, "{place}"),
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

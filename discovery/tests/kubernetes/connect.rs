use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use bellwether_discovery::{Kubernetes, KubernetesConfig, Source};

use crate::flock::{Flock, endpoints, members, next};

/// Set in the process that connects: the environment is the process's, so each case has its own.
const INSIDE: &str = "BELLWETHER_TEST_CONNECTS";

fn config() -> KubernetesConfig {
    KubernetesConfig::new(Source::Service("redis".into()), 6379)
}

/// Runs this very test anew, there to connect, and returns what it said.
fn connect_with(kubeconfig: Option<&Path>, home: &Path) -> String {
    let mut inside = Command::new(env::current_exe().expect("this program has a path"));
    inside
        .args([
            "--exact",
            "connect::the_cluster_is_found_or_each_place_named",
            "--nocapture",
        ])
        .env(INSIDE, "1")
        .env("HOME", home)
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env_remove("KUBERNETES_SERVICE_PORT");
    if let Some(path) = kubeconfig {
        inside.env("KUBECONFIG", path);
    }
    let output = inside.output().expect("this program runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn inside() {
    match Kubernetes::connect(config()).await {
        Ok(mut discovery) => println!("found {:?}", next(&mut discovery).await),
        Err(error) => println!("error {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_found_or_each_place_named() {
    if env::var_os(INSIDE).is_some() {
        return inside().await;
    }
    let flock = Flock::new();
    flock.slice("redis-a", "IPv4", &endpoints([1]));
    let home = tempfile::tempdir().unwrap();
    let said = connect_with(None, home.path());
    let error = said.lines().find_map(|line| line.strip_prefix("error "));
    let error = error.unwrap_or_else(|| panic!("{said}"));
    for part in [
        "no Kubernetes cluster is configured: not by the service account of a pod (",
        "not by KUBECONFIG (which is not set) and not by ~/.kube/config (",
    ] {
        assert!(error.contains(part), "{error}");
    }

    let found = format!("found {:?}", Ok::<_, ()>(members([1])));
    let kubeconfig = flock.api.kubeconfig(&flock.shaun);
    let named = home.path().join("flock.yaml");
    fs::write(&named, &kubeconfig).unwrap();
    let said = connect_with(Some(&named), home.path());
    assert!(said.contains(&found), "{said}");

    fs::create_dir(home.path().join(".kube")).unwrap();
    fs::write(home.path().join(".kube/config"), &kubeconfig).unwrap();
    let said = connect_with(None, home.path());
    assert!(said.contains(&found), "{said}");

    // Whoever names a file means it, and not that of ~/.kube.
    let missing = home.path().join("missing.yaml");
    let said = connect_with(Some(&missing), home.path());
    assert!(said.contains("error KUBECONFIG names"), "{said}");
    assert!(said.contains("missing.yaml"), "{said}");
    fs::write(&named, "{ no yaml").unwrap();
    let said = connect_with(Some(&named), home.path());
    assert!(said.contains("error KUBECONFIG names"), "{said}");
}

#[tokio::test]
async fn what_cannot_work_is_told_before_anything_is_asked() {
    let flock = Flock::new();
    let client = flock.client().await;
    let complaint = |change: fn(&mut KubernetesConfig)| {
        let mut config = config();
        change(&mut config);
        let refused = Kubernetes::new(client.clone(), config);
        refused.expect_err("it cannot work").to_string()
    };
    assert_eq!(
        complaint(|config| config.namespace = Some("Meadow".into())),
        "namespace \"Meadow\" is not a name of Kubernetes: 1 to 63 lower-case letters, digits and \
         \"-\", neither first nor last a \"-\""
    );
    assert!(complaint(|config| config.source = Source::Service(String::new())).contains("Service"));
    assert!(complaint(|config| config.source = Source::Pods("a=b=c".into())).contains("\"b=c\""));
    assert!(flock.api.requests().is_empty());
}

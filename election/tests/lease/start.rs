//! How processes find their cluster, run as processes.

use std::{path::PathBuf, process::Command, time::Duration};

use bellwether_election::{Lease, LeaseConfig};
use bellwether_testkit::{
    Process, Program,
    kube::{Access, KubeApi},
    until,
};
use serde_json::json;

use crate::group::DEADLINE;

const CHILD: &str = "BELLWETHER_TEST_CHILD";

/// A process of this very test, without a cluster: the environment of the test itself is not
/// changed.
#[test]
fn without_a_cluster_one_line_says_where_it_was_looked_for() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let error = runtime.block_on(Lease::connect(LeaseConfig::new("redis", "redis-0")));
        println!("told: {}", error.expect_err("there is no cluster"));
        return;
    }
    let nowhere = told(&[("HOME", "/nowhere")]);
    for part in [
        "no Kubernetes cluster is configured",
        "KUBECONFIG",
        "service account",
    ] {
        assert!(nowhere.contains(part), "{nowhere}");
    }
    let no_file = told(&[("KUBECONFIG", "/nowhere/kubeconfig")]);
    assert!(
        no_file.contains("KUBECONFIG (/nowhere/kubeconfig) cannot be used"),
        "{no_file}"
    );
}

/// What a process with this environment is told.
fn told(environment: &[(&str, &str)]) -> String {
    let name = "start::without_a_cluster_one_line_says_where_it_was_looked_for";
    let output = Command::new(std::env::current_exe().expect("it runs"))
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .envs(environment.iter().copied())
        .output()
        .expect("it runs");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut told = output.lines().filter(|line| line.contains("told: "));
    let one = told
        .next()
        .unwrap_or_else(|| panic!("nothing is told: {output}"));
    assert!(told.next().is_none(), "one line: {output}");
    one.to_owned()
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_before_anything_is_called() {
    let mut config = LeaseConfig::new("redis", "redis-0");
    config.lease_duration = Duration::from_secs(2);
    let error = Lease::connect(config)
        .await
        .expect_err("the times do not fit");
    assert!(error.to_string().contains("renew_deadline"), "{error}");
}

/// A stopped process that goes on does nothing more as the leader that it was. The example of the
/// documentation, as two processes.
#[test]
fn a_leader_that_was_stopped_does_nothing_more() {
    let api = KubeApi::start().expect("the API starts");
    api.put(
        &json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "example", "namespace": "default" }, "spec": {} }),
    )
    .expect("the Lease is made");
    let folder = tempfile::tempdir().expect("a folder");
    let start = |name: &str| {
        let user = api.user(name, Access::all());
        let kubeconfig = folder.path().join(name);
        std::fs::write(&kubeconfig, api.kubeconfig(&user)).expect("it is written");
        Program::new(example("lease"))
            .env("KUBECONFIG", kubeconfig)
            .env("HOSTNAME", name)
            .captured()
            .spawn()
            .expect("it starts")
    };
    let mut first = start("first");
    let leads = |process: &Process| process.lines().wait_for("leading in term", DEADLINE);
    leads(&first).expect("the first leads");
    let second = start("second");
    first.stop().expect("it is stopped");
    leads(&second).expect("the second leads");
    let spoken = first.lines().all();
    first.cont().expect("it goes on");
    // A leader says something every second.
    let said = second.lines().all().len();
    until(DEADLINE, "the second goes on", || {
        second.lines().all().len() > said + 3
    })
    .expect("it does");
    assert_eq!(
        first.exit_status().expect("it can be asked"),
        None,
        "it runs"
    );
    assert_eq!(first.lines().all(), spoken);
}

/// Examples are built beside the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("it runs");
    let built = test
        .ancestors()
        .nth(2)
        .expect("it is in a folder of the build's");
    built.join("examples").join(name)
}

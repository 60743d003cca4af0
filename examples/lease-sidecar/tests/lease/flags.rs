//! What cannot work is refused with one line and exit code 2.

use std::process::Command;

use crate::scene::AGENT;

/// The line that an agent with these flags ends with.
fn complaint(flags: &[&str], environment: &[(&str, &str)]) -> String {
    let needed = [
        ("--lease", "redis"),
        ("--headless-service", "redis"),
        ("--member", "redis-0"),
    ];
    let needed = needed.iter().filter(|(flag, _)| !flags.contains(flag));
    let output = Command::new(AGENT)
        .args(needed.flat_map(|(flag, value)| [flag, value]))
        .args(flags)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[test]
fn what_contradicts_is_named() {
    let long = "x".repeat(5000);
    let long_address = format!("{long}:6379");
    for (flags, parts) in [
        (
            &["--leader-listen", "0.0.0.0:0"][..],
            &["--leader-listen"][..],
        ),
        (&["--role-label", "role"], &["--role-label", "--role-pods"]),
        (&["--reach-by", "addresses"], &["--reach-by", "--advertise"]),
        (&["--group", ""], &["--group"]),
        (&["--advertise", &long], &["--advertise", "253"]),
        (
            &["--advertise-redis", &long_address],
            &["--advertise-redis", "253"],
        ),
        (&["--max-clients", "0"], &["--max-clients"]),
        (&["--lease", "a/b"], &["--lease (", "a-z"]),
        (&["--namespace", "A"], &["--namespace (", "a-z"]),
        (&["--member", ""], &["--member"]),
        (
            &["--lease-duration", "5s"],
            &["--lease-duration (5s)", "--renew-deadline", "5.25s"],
        ),
        (
            &["--retry-period", "2s"],
            &["--retry-period", "--renew-deadline"],
        ),
        (
            &["--min-replicas-to-write", "3", "--members", "3"],
            &["--min-replicas-to-write (3)", "--members (3)"],
        ),
        (&["--failsafe"], &["--failsafe", "--peer-listen"]),
        (
            &["--peer-listen", "0.0.0.0:6380"],
            &["--failsafe", "--peer-listen"],
        ),
        (
            &["--failsafe", "--peer-listen", "0.0.0.0:0"],
            &["--peer-listen", "port"],
        ),
        (
            &[
                "--failsafe",
                "--peer-listen",
                "0.0.0.0:6380",
                "--member",
                "a,b",
            ],
            &["--member must not have commas"],
        ),
        (&["--form-timeout", "1ms"], &["--form-timeout"]),
        (&["--redis-user", "app"], &["--redis-password-from"]),
    ] {
        let said = complaint(flags, &[]);
        for part in parts {
            assert!(said.contains(part), "{said}");
        }
    }
}

#[test]
fn without_a_cluster_one_line_says_what_is_needed() {
    let said = complaint(&[], &[("HOME", "/nowhere")]);
    assert!(
        said.contains("no Kubernetes cluster is configured"),
        "{said}"
    );
}

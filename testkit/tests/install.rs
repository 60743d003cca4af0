//! Missing tools are installed by root, without starting services, and otherwise asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bellwether_testkit::{Program, install};
use nix::unistd::geteuid;

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Stands for apt-get: knows the package only after an update, and installs a program beside
/// itself. Notes what it was asked, and what the services' policy was.
const APT_GET: &str = r#"#!/bin/sh
here=$(dirname "$0")
case "$*" in
    *update) verb=update ;;
    *"install --yes --no-install-recommends the-package") verb=install ;;
    *) verb="strange: $*" ;;
esac
policy=none
if [ -e /usr/sbin/policy-rc.d ]; then /usr/sbin/policy-rc.d; policy=$?; fi
echo "$verb $DEBIAN_FRONTEND $policy" >> "$here/asked"
case $verb in
    update) touch "$here/updated" ;;
    install) [ -e "$here/updated" ] && touch "$here/the-tool" ;;
esac
"#;

/// This test binary once more, running only [`ask_for_a_tool`], with a `PATH` of its own.
#[test]
fn a_missing_tool_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let apt_get = dir.path().join("apt-get");
    fs::write(&apt_get, APT_GET).unwrap();
    fs::set_permissions(&apt_get, fs::Permissions::from_mode(0o755)).unwrap();
    let own_policy = Path::new(POLICY).exists();

    let path = format!(
        "{}:{}",
        dir.path().display(),
        std::env::var("PATH").unwrap()
    );
    let mut run = Program::new(std::env::current_exe().unwrap())
        .args(["--exact", "ask_for_a_tool", "--nocapture"])
        .env("BELLWETHER_ASK", "yes")
        .env("PATH", path)
        .captured()
        .spawn()
        .unwrap();
    let said = run
        .lines()
        .wait_for("tool: ", Duration::from_secs(60))
        .unwrap();
    assert!(run.wait(Duration::from_secs(60)).unwrap().success());

    if geteuid().is_root() {
        assert_eq!(said, "tool: Ok(())");
        let asked = fs::read_to_string(dir.path().join("asked")).unwrap();
        let lines: Vec<&str> = asked.lines().collect();
        if !own_policy {
            let frontend = "noninteractive 101";
            let expected =
                ["install", "update", "install"].map(|verb| format!("{verb} {frontend}"));
            assert_eq!(lines, expected);
        }
        assert_eq!((lines.len(), Path::new(POLICY).exists()), (3, own_policy));
    } else {
        let line = "sudo apt-get install --no-install-recommends the-package";
        assert!(said.contains(line), "{said}");
    }
}

/// Not a test of its own: without the variable it returns at once.
#[test]
fn ask_for_a_tool() {
    if std::env::var_os("BELLWETHER_ASK").is_none() {
        return;
    }
    println!("\ntool: {:?}", install::tool("the-tool", "the-package"));
}

#[test]
fn what_is_there_is_left_alone() {
    install::tool("sh", "no-such-package").unwrap();
}

//! Bad input: one line on stderr that names the flag, and exit code 2; 1 for what the machine
//! refuses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::{Program, install, ports, until};

use crate::scene::{AGENT, Lone, LoneOptions, PATIENCE, ready, turn};

/// Runs the agent until it ends by itself; its exit code and what it wrote.
fn ends(flags: &[&str]) -> Result<(Option<i32>, Vec<String>)> {
    let program = Program::new(AGENT).args(flags).env("RUST_LOG", "error");
    let mut agent = program.captured().spawn()?;
    let status = agent.wait(PATIENCE).with_context(|| format!("{flags:?}"))?;
    let lines = agent.lines();
    // The threads that read its output may be a little behind.
    until(PATIENCE, "what it says", || !lines.all().is_empty())?;
    Ok((status.code(), lines.all()))
}

fn complains(flags: &[&str], code: i32, parts: &[&str]) -> Result<()> {
    let (found, lines) = ends(flags)?;
    let told = format!("{flags:?} ended with {found:?} and said {lines:#?}");
    ensure!(found == Some(code), "{told}");
    ensure!(lines.len() == 1, "{told}");
    for part in parts {
        ensure!(lines[0].contains(part), "nothing of {part:?}: {told}");
    }
    Ok(())
}

#[test]
fn bad_input_is_named_in_one_line() -> Result<()> {
    let peers = "--peers=a:1,b:2";
    let cases: &[(&[&str], &str)] = &[
        (&[], "--peers"),
        (&["--peers", ""], "--peers"),
        (&["--peers", " "], "--peers"),
        (&["--peers", "a:1,,b:2"], "--peers"),
        (&["--peers", "a"], "--peers"),
        (&["--peers", "a:0"], "--peers"),
        (&["--peers", "a:65536"], "--peers"),
        (&["--peers", "a:1,a:1"], "--peers"),
        (&["--peers", "http://a:1"], "--peers"),
        (&["--peers", "dns://"], "--peers"),
        (&["--peers", "dns://name"], "--peers"),
        (&["--peers", "srv://name:3000"], "--peers"),
        (&["--peers", "dns://na me:1"], "--peers"),
        (&["--peers"], "--peers"),
        (&[peers, "--peers", "a:1"], "--peers"),
        (&[peers, "--colour", "red"], "--colour"),
        (&[peers, "stray"], "stray"),
        (&[peers, "--listen", "0.0.0.0:65536"], "--listen"),
        (&[peers, "--listen", "0.0.0.0:0"], "--listen"),
        (&[peers, "--listen", "7000"], "--listen"),
        (&[peers, "--listen", "host:7000"], "--listen"),
        (&[peers, "--replica-listen", ":7001"], "--replica-listen"),
        (&[peers, "--peer-listen", "0.0.0.0:-1"], "--peer-listen"),
        (&[peers, "--admin-listen", "0.0.0.0:0"], "--admin-listen"),
        (
            &[peers, "--admin-token-file", "/no/such/file"],
            "--admin-token-file",
        ),
        (
            &[peers, "--admin-token-file", "/dev/null"],
            "--admin-token-file",
        ),
        (&[peers, "--admin-token-file", "/"], "--admin-token-file"),
        (&[peers, "--redis", "127.0.0.1:0"], "--redis"),
        (&[peers, "--redis", "127.0.0.1"], "--redis"),
        (&[peers, "--advertise-redis", "a:b"], "--advertise-redis"),
        (&[peers, "--advertise", ""], "--advertise"),
        (&[peers, "--advertise", "a:1"], "--advertise"),
        (&[peers, "--redis-user", "app"], "--redis-user"),
        (&[peers, "--replication-user", "app"], "--replication-user"),
        (
            &[peers, "--redis-password-from", "env:BELLWETHER_NONE"],
            "BELLWETHER_NONE",
        ),
        (&[peers, "--redis-password-from", "file:/none"], "/none"),
        (
            &[peers, "--redis-password-from", "file:/"],
            "--redis-password-from",
        ),
        (
            &[peers, "--redis-password-from", "secret"],
            "--redis-password-from",
        ),
        (
            &[peers, "--redis-password-from", "file:/dev/null"],
            "--redis-password-from",
        ),
        (&[peers, "--heartbeat", "often"], "--heartbeat"),
        (&[peers, "--heartbeat", "0s"], "--heartbeat"),
        (&[peers, "--hold=-1s"], "--hold"),
        (&[peers, "--hold", "5"], "--hold"),
        (&[peers, "--down-after", "1ms"], "--down-after"),
        (&[peers, "--lost-after", "399ms"], "--lost-after"),
        (&[peers, "--lost-after", "0s"], "--lost-after"),
        (&[peers, "--lost-after", "2s"], "--form-timeout"),
        (&[peers, "--form-timeout", "999ms"], "--lost-after"),
        (&[peers, "--heartbeat", "99999999999y"], "--heartbeat"),
        (
            &[peers, "--form-timeout", "99999999999999999999y"],
            "--form-timeout",
        ),
        (&[peers, "--heartbeat", "500000000000y"], "--heartbeat"),
        (&[peers, "--group", ""], "--group"),
        (&[peers, "--max-clients", "0"], "--max-clients"),
        (&[peers, "--workers", "0"], "--workers"),
        (&[peers, "--workers", "many"], "--workers"),
        (&[peers, "--dns-servers", "1.1.1.1"], "--dns-servers"),
        (&[peers, "--protected-mode", "maybe"], "--protected-mode"),
        (&[peers, "--log-format", "xml"], "--log-format"),
    ];
    let mut failures = Vec::new();
    for (flags, part) in cases {
        if let Err(error) = complains(flags, 2, &[part]) {
            failures.push(format!("{error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn a_secret_is_not_repeated_in_a_complaint() -> Result<()> {
    for flag in ["--redis-password-from", "--admin-token-file"] {
        let flags = ["--peers=a:1", flag, "hunter2-unmasked"];
        let (code, lines) = ends(&flags)?;
        ensure!(code == Some(2) && lines.len() == 1, "{code:?} {lines:?}");
        ensure!(!lines[0].contains("hunter2"), "{lines:?}");
    }
    Ok(())
}

#[test]
fn help_and_version_are_no_errors() -> Result<()> {
    let (code, lines) = ends(&["--help"])?;
    ensure!(code == Some(0) && lines.len() > 40, "{code:?} {lines:?}");
    let (code, lines) = ends(&["--version"])?;
    ensure!(code == Some(0) && lines.len() == 1, "{code:?} {lines:?}");
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_named() -> Result<()> {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, ports::free()?))?;
    let taken = taken.local_addr()?.to_string();
    let flags = [
        "--listen",
        "--replica-listen",
        "--peer-listen",
        "--admin-listen",
    ];
    let _held = &taken;
    for flag in flags {
        listens_in_vain(flag, &taken)?;
    }
    Ok(())
}

fn listens_in_vain(flag: &str, taken: &str) -> Result<()> {
    let all = ["--listen", "--peer-listen"];
    let mut line = vec![
        "--peers=127.0.0.1:1".to_owned(),
        "--advertise=127.0.0.1".to_owned(),
    ];
    for other in all.iter().filter(|other| **other != flag) {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        line.push(format!("{other}={free}"));
    }
    line.push(format!("{flag}={taken}"));
    let line: Vec<_> = line.iter().map(String::as_str).collect();
    complains(&line, 1, &[flag, taken])
}

/// Another agent's port is taken too, although its workers share it among themselves.
#[test]
fn two_agents_do_not_share_a_port() -> Result<()> {
    let _turn = turn();
    install::redis_server()?;
    let node: Lone = LoneOptions::alone()?.start()?;
    let scene = || {
        until(PATIENCE, "the first agent", || ready(node.admin))?;
        listens_in_vain("--listen", &node.proxy.to_string())?;
        listens_in_vain("--replica-listen", &node.proxy.to_string())?;
        listens_in_vain("--admin-listen", &node.admin.to_string())
    };
    scene().with_context(|| node.log())
}

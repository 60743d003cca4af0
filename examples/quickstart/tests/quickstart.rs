//! The built program, as its user runs it: typed to, signalled, killed.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its scene cannot be set"
)]

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    process::{Command, Output},
    time::Duration,
};

use bellwether_testkit::{Process, Program, install, skip, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_bellwether");
/// The user without rights.
const NOBODY: u32 = 65534;
/// Far more than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn started(arguments: &[&str]) -> Process {
    install::redis_server().unwrap();
    let group = Program::new(PROGRAM).args(arguments).captured().typed();
    let group = group.spawn().unwrap();
    group.lines().wait_for("Type help", DEADLINE).unwrap();
    group
}

/// The processes that it started and that still run, by `/proc/PID/stat`: "pid (name) state ppid".
fn children(parent: u32) -> Vec<u32> {
    let stats = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        // Some end while we look.
        fs::read_to_string(entry.ok()?.path().join("stat")).ok()
    });
    let child = |stat: String| {
        let (name, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let alive = fields.next()? != "Z";
        let ours = fields.next()? == parent.to_string();
        (alive && ours).then(|| name.split(' ').next()?.parse().ok())?
    };
    stats.filter_map(child).collect()
}

fn gone(pids: &[u32]) {
    until(DEADLINE, "the end of all that was started", || {
        let left: Vec<_> = pids.iter().filter(|pid| runs(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?} still run"))
        }
    })
    .unwrap();
}

/// Not gone and not a zombie that waits for its new parent.
fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, fields)| !fields.starts_with(" Z"))
    })
}

#[test]
fn ends_all_on_sigterm_without_anyone_typing() {
    let mut group = started(&["--nodes", "2"]);
    let pids = children(group.pid());
    assert_eq!(pids.len(), 4, "two redis-servers, two agents");
    group.close_input();
    group.terminate().unwrap();
    assert!(group.wait(DEADLINE).unwrap().success());
    gone(&pids);
}

#[test]
fn ends_all_even_when_killed_itself() {
    let mut group = started(&["--nodes", "2"]);
    let pids = children(group.pid());
    assert_eq!(pids.len(), 4, "two redis-servers, two agents");
    group.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    group.wait(DEADLINE).unwrap();
    gone(&pids);
    // Nobody was left to remove the logs.
    let logs = group.lines().wait_for("Logs: ", DEADLINE).unwrap();
    fs::remove_dir_all(logs.trim_start_matches("Logs: ")).unwrap();
}

/// The program's screen since something was last typed. What happens to several nodes at once is
/// shown in any order.
struct Screen {
    group: Process,
    since: usize,
}

impl Screen {
    fn type_line(&mut self, line: &str) {
        self.since = self.group.lines().all().len();
        self.group.type_line(line).unwrap();
    }

    /// Waits for a line that ends so.
    fn shows(&self, end: &str) -> String {
        let what = format!("a line that ends with {end:?}");
        until(DEADLINE, &what, || {
            let lines = self.group.lines().all().split_off(self.since);
            let found = lines.iter().find(|line| line.ends_with(end)).cloned();
            found.ok_or_else(|| lines.join("\n"))
        })
        .unwrap()
    }

    /// Waits for a primary, shown as "[   0.512] node 2: redis-server is the primary".
    fn primary(&self) -> usize {
        let line = self.shows(": redis-server is the primary");
        let (_, node) = line.split_once("node ").unwrap();
        node[..1].parse().unwrap()
    }

    /// The ports for clients, from the table: node, clients, …
    fn clients(&self) -> Vec<u16> {
        let lines = self.group.lines().all();
        let rows = lines.iter().filter(|line| line.ends_with("/status"));
        rows.map(|row| row.split_whitespace().nth(1).unwrap().parse().unwrap())
            .collect()
    }
}

/// Commands in Redis's inline form, through the proxy on this port; the replies as they came.
fn redis(port: u16, commands: &str) -> String {
    let mut proxy = TcpStream::connect(("127.0.0.1", port)).unwrap();
    proxy.set_read_timeout(Some(DEADLINE)).unwrap();
    proxy
        .write_all(format!("{commands}\r\nQUIT\r\n").as_bytes())
        .unwrap();
    let mut replies = String::new();
    proxy.read_to_string(&mut replies).unwrap();
    replies
}

#[test]
fn a_group_survives_what_is_typed() {
    let mut screen = Screen {
        group: started(&[]),
        since: 0,
    };
    let pids = children(screen.group.pid());
    assert_eq!(pids.len(), 6, "three redis-servers, three agents");
    let clients = screen.clients();

    let first = screen.primary();
    for node in (1..=3).filter(|node| *node != first) {
        screen.shows(&format!("node {node}: redis-server follows node {first}"));
    }
    // Both replicas have it before the primary is lost.
    let replies = redis(clients[0], "SET greeting hello\r\nWAIT 2 30000");
    assert!(replies.starts_with("+OK\r\n:2\r\n"), "{replies}");

    screen.type_line(&format!("kill redis {first}"));
    let second = screen.primary();
    assert_ne!(second, first);
    let greeting = || redis(clients[first - 1], "GET greeting");
    assert!(greeting().starts_with("$5\r\nhello\r\n"), "{}", greeting());

    screen.type_line(&format!("restart redis {first}"));
    screen.shows(&format!("node {first}: redis-server follows node {second}"));
    assert!(
        greeting().starts_with("$5\r\nhello\r\n"),
        "it came back empty: {}",
        greeting()
    );

    screen.type_line(&format!("switchover {first}"));
    screen.shows(&format!("node {first}: redis-server is the primary"));
    screen.shows(&format!("node {second}: redis-server follows node {first}"));
    assert!(greeting().starts_with("$5\r\nhello\r\n"), "{}", greeting());

    screen.type_line(&format!("kill agent {second}"));
    screen.shows(&format!("node {second}: agent killed"));
    screen.type_line("status");
    screen.shows(&format!(
        "node {first}: redis-server is the primary; agent runs"
    ));
    screen.type_line("jump");
    screen.shows("type help");
    screen.type_line("quit");
    screen.shows("All processes have ended.");
    assert!(screen.group.wait(DEADLINE).unwrap().success());
    gone(&pids);
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

#[test]
fn bad_input_is_one_line_that_names_the_flag() {
    for (arguments, flag) in [
        (["--nodes", "1"], "--nodes"),
        (["--nodes", "6"], "--nodes"),
        (["--nodes", "three"], "--nodes"),
        (["--base-port", "0"], "--base-port"),
        (["--base-port", "65535"], "--base-port"),
        (["--base-port", "-1"], "-1"),
        (["--frobnicate", "1"], "--frobnicate"),
        (["frobnicate", "1"], "frobnicate"),
    ] {
        let output = run(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(flag), "{arguments:?}: {said}");
    }
}

#[test]
fn a_missing_redis_server_is_explained_to_whoever_cannot_install_it() {
    let mut command = Command::new(PROGRAM);
    command.env("PATH", "/nowhere");
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            skip(
                "a_missing_redis_server_is_explained",
                "the build is readable by root only",
            );
            return;
        }
        output => output.unwrap(),
    };
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("apt-get install"), "{said}");
}

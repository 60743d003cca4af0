//! Hosts in network namespaces: joined, cut, healed and removed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use bellwether_testkit::{
    Host, Network, Options, Program, Redis, install, networks_or_skip, until,
};

const PATIENCE: Duration = Duration::from_secs(30);
const PORT: u16 = 4000;

/// Serves, in a host, whatever is sent to it back, on any number of connections.
fn echo(host: &Host) {
    let listener = host
        .run(|| Ok(TcpListener::bind(("0.0.0.0", PORT))?))
        .expect("a host listens");
    thread::spawn(move || {
        for connection in listener.incoming() {
            let connection = connection.expect("it accepts");
            thread::spawn(move || std::io::copy(&mut &connection, &mut &connection));
        }
    });
}

fn connect(from: &Host, to: &Host) -> Result<TcpStream> {
    let address = SocketAddr::new(to.address, PORT);
    let connection = from.run(|| {
        Ok(TcpStream::connect_timeout(
            &address,
            Duration::from_millis(300),
        )?)
    })?;
    connection.set_read_timeout(Some(Duration::from_millis(300)))?;
    Ok(connection)
}

fn says_back(connection: &mut TcpStream) -> std::io::Result<()> {
    connection.write_all(b"x")?;
    connection.read_exact(&mut [0])
}

fn timed_out(result: Result<TcpStream>) -> bool {
    let error = result.expect_err("the cut lets nothing pass");
    let error = error
        .downcast_ref::<std::io::Error>()
        .expect("it is an I/O error");
    error.kind() == ErrorKind::TimedOut
}

#[test]
fn a_cut_is_silent_and_heals() {
    if !networks_or_skip("a_cut_is_silent_and_heals") {
        return;
    }
    let network = Network::new(3).unwrap();
    let hosts = network.hosts();
    hosts.iter().for_each(echo);
    let mut standing = connect(&hosts[0], &hosts[1]).unwrap();
    until(PATIENCE, "the first echo", || says_back(&mut standing)).unwrap();

    network.partition(&[&[0], &[1, 2]]).unwrap();
    standing.write_all(b"y").unwrap();
    let silent = standing.read(&mut [0]).unwrap_err();
    assert!(
        matches!(silent.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{silent}"
    );
    assert!(timed_out(connect(&hosts[0], &hosts[2])));
    assert!(timed_out(connect(&hosts[2], &hosts[0])));
    says_back(&mut connect(&hosts[1], &hosts[2]).unwrap()).unwrap();
    // The management link is not cut.
    let address = SocketAddr::new(hosts[0].management, PORT);
    says_back(&mut TcpStream::connect_timeout(&address, PATIENCE).unwrap()).unwrap();

    network.heal().unwrap();
    until(PATIENCE, "what was sent into the cut to arrive", || {
        standing.read_exact(&mut [0])
    })
    .unwrap();
    standing.shutdown(Shutdown::Both).unwrap();
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        until(PATIENCE, "all to meet again", || {
            Ok::<_, anyhow::Error>(says_back(&mut connect(&hosts[from], &hosts[to])?)?)
        })
        .unwrap();
    }
}

#[test]
fn servers_run_in_hosts_and_end_with_the_network() {
    if !networks_or_skip("servers_run_in_hosts_and_end_with_the_network") {
        return;
    }
    install::redis_server().unwrap();
    let network = Network::new(2).unwrap();
    let [first, second] = network.hosts() else {
        panic!("two hosts");
    };
    let options = |host: &Host| Options {
        port: Some(6379),
        host: Some(host.clone()),
        ..Options::default()
    };
    let primary = Redis::start(options(first)).unwrap();
    let replica = Redis::start(options(second)).unwrap();
    primary.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    let address = first.address.to_string();
    replica.command(&["REPLICAOF", &address, "6379"]).unwrap();
    until(PATIENCE, "replication between hosts", || {
        replica.role().is_ok_and(|role| role.follows(6379))
    })
    .unwrap();
    let mut sleep = Program::new("sleep")
        .arg("1000")
        .namespace(&first.namespace)
        .spawn()
        .unwrap();
    until(PATIENCE, "sleep to be in its host", || {
        let pids = std::process::Command::new("ip")
            .args(["netns", "pids", &first.namespace])
            .output()
            .unwrap();
        String::from_utf8_lossy(&pids.stdout)
            .lines()
            .any(|pid| pid == sleep.pid().to_string())
    })
    .unwrap();
    let namespace = format!("/run/netns/{}", first.namespace);
    drop(network);
    assert!(!std::path::Path::new(&namespace).exists());
    assert!(!sleep.wait(PATIENCE).unwrap().success());
}

/// The crashed run is this test binary once more, running only [`hold_a_network`].
#[test]
fn what_a_crashed_run_left_is_removed() {
    if !networks_or_skip("what_a_crashed_run_left_is_removed") {
        return;
    }
    let mut crashed = Program::new(std::env::current_exe().unwrap())
        .args(["--exact", "hold_a_network", "--nocapture"])
        .env("BELLWETHER_HOLD", "yes")
        .captured()
        .spawn()
        .unwrap();
    let line = crashed.lines().wait_for("network has ", PATIENCE).unwrap();
    let namespace = format!("/run/netns/{}", line.rsplit(' ').next().unwrap());
    assert!(std::path::Path::new(&namespace).exists());
    let _other = Network::new(1).unwrap();
    assert!(std::path::Path::new(&namespace).exists(), "it still lives");
    crashed.kill().unwrap();
    until(PATIENCE, "a later network to remove it", || {
        let later = Network::new(1).unwrap();
        // It may have taken over the number and so the name, but not the second host.
        drop(later);
        !std::path::Path::new(&namespace).exists()
    })
    .unwrap();
}

/// Not a test of its own: without the variable it returns at once.
#[test]
fn hold_a_network() {
    if std::env::var_os("BELLWETHER_HOLD").is_none() {
        return;
    }
    let network = Network::new(2).unwrap();
    println!("\nnetwork has {}", network.hosts()[1].namespace);
    let mut sleep = Program::new("sleep").arg("1000").spawn().unwrap();
    sleep.wait(Duration::from_secs(600)).unwrap();
}

//! The DNS server answers, by UDP and TCP, falls silent and fails; asked by hand-made questions.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use bellwether_testkit::{DnsServer, Program, mounts_or_skip};

const TTL: Duration = Duration::from_secs(5);

/// A question of RFC 1035 for the A records of a name.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("labels are short"));
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Truncated, response code, number of answers.
fn summary(answer: &[u8]) -> (bool, u8, u16) {
    assert_eq!(answer[..2], [0x12, 0x34]);
    let answers = u16::from_be_bytes([answer[6], answer[7]]);
    (answer[2] & 2 != 0, answer[3] & 15, answers)
}

fn ask(server: &DnsServer, name: &str, patience: Duration) -> std::io::Result<(bool, u8, u16)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(patience))?;
    socket.send_to(&question(name), server.address())?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer)?;
    assert!(length <= 512);
    Ok(summary(&answer[..length]))
}

fn ask_by_tcp(server: &DnsServer, name: &str) -> std::io::Result<(bool, u8, u16)> {
    let question = question(name);
    let mut connection = TcpStream::connect(server.address())?;
    connection.write_all(&[0, u8::try_from(question.len()).expect("names are short")])?;
    connection.write_all(&question)?;
    let mut length = [0; 2];
    connection.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    connection.read_exact(&mut answer)?;
    Ok(summary(&answer))
}

#[test]
fn records_change_at_run_time() {
    let patience = Duration::from_secs(30);
    let server = DnsServer::start().unwrap();
    let name = "flock.test";
    let addresses: Vec<IpAddr> = (1..=100)
        .map(|last| Ipv4Addr::new(10, 0, 0, last).into())
        .collect();
    assert_eq!(ask(&server, name, patience).unwrap(), (false, 3, 0));
    server.set_addresses(name, TTL, &addresses[..2]).unwrap();
    assert_eq!(ask(&server, name, patience).unwrap(), (false, 0, 2));
    server.set_addresses(name, TTL, &addresses).unwrap();
    assert!(ask(&server, name, patience).unwrap().0, "too long for UDP");
    assert_eq!(ask_by_tcp(&server, name).unwrap(), (false, 0, 100));
    server
        .set_addresses(name, TTL, &["::1".parse().unwrap()])
        .unwrap();
    assert_eq!(ask(&server, name, patience).unwrap(), (false, 0, 0));
    server.remove(name).unwrap();
    assert_eq!(ask(&server, name, patience).unwrap(), (false, 3, 0));
    assert_eq!(server.queries(), 6);
}

#[test]
fn it_falls_silent_and_fails_on_demand() {
    let server = DnsServer::start().unwrap();
    server.silence();
    let silent = ask(&server, "flock.test", Duration::from_millis(300)).unwrap_err();
    assert!(matches!(
        silent.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    server.fail();
    let patience = Duration::from_secs(30);
    assert_eq!(ask(&server, "flock.test", patience).unwrap(), (false, 2, 0));
    server.revive();
    assert_eq!(ask(&server, "flock.test", patience).unwrap(), (false, 3, 0));
    assert_eq!(server.queries(), 3);
}

/// What a program has for `/etc/resolv.conf` is its own.
#[test]
fn a_program_resolves_by_it() {
    if !mounts_or_skip("a_program_resolves_by_it") {
        return;
    }
    let server = DnsServer::start_for_system().unwrap();
    let other = DnsServer::start_for_system().unwrap();
    assert_ne!(server.address(), other.address());
    let address = IpAddr::from([10, 1, 2, 3]);
    let name = "redis-0.redis.default.svc.cluster.local";
    server.set_addresses(name, TTL, &[address]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, server.resolv_conf()).unwrap();
    let getent = Program::new("getent").args(["hosts", name]).captured();
    let resolves = |program: &Program| {
        let mut process = program.spawn().unwrap();
        let status = process.wait(Duration::from_secs(60)).unwrap();
        (status.success(), process.lines().all().join("\n"))
    };
    let (found, said) = resolves(&getent.clone().mounted(file.path(), "/etc/resolv.conf"));
    assert!(found && said.contains("10.1.2.3"), "{said}");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !mounts.contains(&*file.path().to_string_lossy()),
        "here, too"
    );
    server.remove(name).unwrap();
    let (found, said) = resolves(&getent.mounted(file.path(), "/etc/resolv.conf"));
    assert!(!found, "{said}");
}

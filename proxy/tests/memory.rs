//! Memory, measured of this whole process: alone in its file.

mod support;

use std::io::Read;

use bellwether_testkit::until;
use support::{Front, PATIENCE, primary};

/// A proxy that pipes its server into a client that does not read would keep everything.
#[test]
fn a_large_value_passes_in_little_memory() {
    const SIZE: usize = 256 << 20;
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${SIZE}\r\n").as_bytes());
    let chunk = vec![b'v'; 1 << 20];
    let before = resident();
    let mut most = before;
    for _ in 0..SIZE / chunk.len() {
        client.send(&chunk);
        most = most.max(resident());
    }
    client.send(b"\r\n");
    assert_eq!(client.text(), "+OK\r\n");
    client.say(&["GET k"]);
    until(
        PATIENCE,
        "the server to wait for the proxy, and the proxy for the client",
        || {
            most = most.max(resident());
            server
                .command(&["CLIENT", "LIST"])
                .map(|list| list.contains(" cmd=get "))
        },
    )
    .unwrap();
    let mut left = SIZE + format!("${SIZE}\r\n\r\n").len();
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let n = client.stream.read(&mut buffer).unwrap();
        assert!(n > 0, "{left} bytes are missing");
        left -= n;
        most = most.max(resident());
    }
    assert_eq!(client.ask("STRLEN k"), format!(":{SIZE}\r\n"));
    assert!(
        most - before < 64 << 20,
        "{} KiB more",
        (most - before) >> 10
    );
}

/// Bytes of memory of this process, in which the proxy runs.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).expect("a second number");
    pages.parse::<usize>().expect("a number") * 4096
}

//! Order, and whose reply is whose (traps 5, 6, 28 to 30).

use std::io::Write;
use std::net::Shutdown;
use std::thread;

use socket2::SockRef;

use crate::support::{Front, command, primary};
use crate::{alike, both};

/// Traps 5 and 6: a client's requests run in the order in which it sent them.
#[test]
fn requests_run_in_order() {
    let server = primary();
    let front = Front::of(&server);
    thread::scope(|scope| {
        for c in 0..10 {
            let mut client = front.client();
            scope.spawn(move || {
                for round in 0..20 {
                    let mut expected = Vec::new();
                    for n in 0..50 {
                        let value = format!("{round}-{n}");
                        client.say(&[&format!("SET k{c} {value}"), &format!("GET k{c}")]);
                        client.say(&[&format!("RPUSH l{c} x")]);
                        expected.push("+OK\r\n".into());
                        expected.push(format!("${}\r\n{value}\r\n", value.len()));
                        expected.push(format!(":{}\r\n", round * 50 + n + 1));
                    }
                    assert_eq!(client.texts(150), expected);
                }
            });
        }
    });
}

/// The elements of an answer are in the order of the keys.
#[test]
fn commands_with_many_keys_keep_their_order() {
    let replies = alike(&[], |stage| {
        let mut client = stage.client();
        let keys: Vec<_> = (0..500).rev().map(|i| format!("key:{i}")).collect();
        let pairs: Vec<_> = keys.iter().map(|key| format!("{key} v{key}")).collect();
        client.ask_all(&[
            &format!("MSET {}", pairs.join(" ")),
            &format!("MGET {}", keys.join(" ")),
            &format!("EXISTS {} nothing", keys.join(" ")),
            &format!("MSETNX new x {}", pairs[7]),
            &format!("DEL {} nothing", keys.join(" ")),
            &format!("UNLINK {}", keys.join(" ")),
            "DBSIZE",
        ])
    });
    assert!(replies[1].starts_with("*500\r\n$8\r\nvkey:499\r\n"));
    assert_eq!(replies[4], ":500\r\n");
}

/// Trap 28: the end of what a client says is not the end of what it wants to hear.
#[test]
fn whoever_closes_its_half_gets_every_reply() {
    let server = primary();
    let front = Front::of(&server);
    let mut clients: Vec<_> = (0..10).map(|_| front.client()).collect();
    for (c, client) in clients.iter_mut().enumerate() {
        for n in 0..1000 {
            client.say(&[&format!("ECHO {c}-{n}")]);
        }
        client.half_close();
    }
    for (c, client) in clients.iter_mut().enumerate() {
        let replies = client.texts_to_the_end();
        let last = format!("{c}-999");
        assert_eq!(replies.len(), 1000, "client {c}");
        assert_eq!(replies[999], format!("${}\r\n{last}\r\n", last.len()));
    }
}

/// Trap 29: whoever does not read what it asked for waits alone.
#[test]
fn a_slow_reader_holds_up_nobody() {
    let server = primary();
    let front = Front::of(&server);
    let mut other = front.client();
    other.send(&command(&[b"SET", b"large", &vec![b'x'; 1 << 20]]));
    assert_eq!(other.text(), "+OK\r\n");
    let mut slow = front.client();
    slow.say(&["GET large"; 100]);
    for n in 1..=1000 {
        assert_eq!(other.ask("INCR n"), format!(":{n}\r\n"));
    }
    for _ in 0..100 {
        assert_eq!(slow.reply().len(), (1 << 20) + "$1048576\r\n\r\n".len());
    }
    assert_eq!(slow.ask("PING"), "+PONG\r\n");
}

/// Trap 29: nor does it wait for itself. Common libraries write a whole pipeline before they read.
#[test]
fn whoever_reads_only_after_it_has_said_all_gets_every_reply() {
    both(&[], |stage| {
        let mut client = stage.client();
        for n in 0..=255u8 {
            client.send(&command(&[b"ECHO", &[b'a' + n % 26; 64 << 10]]));
        }
        for n in 0..=255u8 {
            let reply = client.reply();
            assert_eq!(
                reply.len(),
                (64 << 10) + "$65536\r\n\r\n".len(),
                "reply {n}"
            );
            assert_eq!(reply[100], b'a' + n % 26);
        }
    });
}

/// Trap 30: whoever leaves before its replies come leaves gaps that nobody falls into.
#[test]
fn a_client_that_leaves_shifts_no_replies() {
    let mut server = primary();
    let front = Front::of(&server);
    for round in 0..10 {
        front.until("those before to be gone", |stats| stats.clients == 0);
        let mut clients: Vec<_> = (0..20).map(|_| front.client()).collect();
        for client in &mut clients {
            assert_eq!(client.ask("PING"), "+PONG\r\n");
        }
        let asked = front.stats().requests;
        server.stop().unwrap();
        for (c, client) in clients.iter_mut().enumerate() {
            for n in 0..5 {
                client.say(&[&format!("ECHO {round}-{c}-{n}")]);
            }
        }
        front.until("all have asked", |stats| stats.requests == asked + 100);
        let mut stay = Vec::new();
        for (c, client) in clients.into_iter().enumerate() {
            match c % 3 {
                0 => stay.push((c, client)),
                1 => drop(client),
                _ => SockRef::from(&client.stream)
                    .set_linger(Some(std::time::Duration::ZERO))
                    .unwrap(),
            }
        }
        // Who only closed may have closed its half, and is waited for.
        front.until("resets to be seen", |stats| stats.clients == 14);
        server.cont().unwrap();
        for (c, client) in &mut stay {
            for n in 0..5 {
                let text = format!("{round}-{c}-{n}");
                assert_eq!(client.text(), format!("${}\r\n{text}\r\n", text.len()));
            }
        }
    }
}

/// Trap 30: not even within a request or a reply.
#[test]
fn a_client_that_leaves_in_the_middle_shifts_no_bytes() {
    let server = primary();
    let front = Front::of(&server);
    let mut stays = front.client();
    stays.send(&command(&[b"SET", b"large", &vec![b'x'; 3 << 20]]));
    assert_eq!(stays.text(), "+OK\r\n");
    for n in 0..30 {
        let mut leaves = front.client();
        match n % 3 {
            0 => leaves.say(&["GET large", "GET large"]),
            1 => leaves.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\nxxx"),
            _ => {
                leaves.say(&["GET large"]);
                leaves.stream.shutdown(Shutdown::Read).unwrap();
            }
        }
        stays.say(&[&format!("ECHO {n}"), "STRLEN large"]);
        if n % 2 == 0 {
            (&leaves.stream).write_all(b"PING\r\n").ok();
        }
        drop(leaves);
        let text = n.to_string();
        assert_eq!(stays.text(), format!("${}\r\n{text}\r\n", text.len()));
        assert_eq!(stays.text(), ":3145728\r\n");
    }
    assert_eq!(
        stays.ask("EXISTS k"),
        ":0\r\n",
        "half a request does not run"
    );
    front.until("one is left", |stats| stats.clients == 1);
}

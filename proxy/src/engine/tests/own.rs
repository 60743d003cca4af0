//! What the proxy answers itself: CLIENT REPLY, RESET, QUIT, the password, broken protocol.

use super::rig::{Rig, settings, wire};
use crate::engine::Settings;

#[test]
fn replies_can_be_switched_off_though_the_link_is_shared() {
    let mut rig = Rig::new();
    let other = rig.join();
    rig.say(0, &["CLIENT REPLY SKIP", "SET a 1", "GET a"]);
    rig.say(other, &["GET o"]);
    assert_eq!(rig.sent(0), "SET a 1 | GET a | GET o");
    rig.reply(0, "+OK\r\n$1\r\n1\r\n$1\r\no\r\n");
    assert_eq!(
        (rig.got(0).as_str(), rig.got(other).as_str()),
        ("$1\r\n1\r\n", "$1\r\no\r\n")
    );
    rig.say(
        0,
        &[
            "CLIENT REPLY OFF",
            "SET a 2",
            "CLIENT REPLY SKIP",
            "SET a 3",
        ],
    );
    rig.reply(0, "+OK\r\n-ERR no\r\n");
    assert_eq!(rig.got(0), "");
    rig.say(0, &["CLIENT REPLY ON", "GET a"]);
    rig.reply(0, "$1\r\n3\r\n");
    assert_eq!(rig.got(0), "+OK\r\n$1\r\n3\r\n");
}

#[test]
fn reset_forgets_all() {
    let mut rig = Rig::new();
    rig.say(0, &["SELECT 2"]);
    rig.reply(1, "+OK\r\n");
    rig.say(0, &["MULTI"]);
    rig.reply(2, "+OK\r\n");
    rig.reply(2, "+OK\r\n");
    rig.got(0);
    rig.say(0, &["RESET", "GET a"]);
    assert_eq!(rig.got(0), "+RESET\r\n");
    assert_eq!(rig.sent(0), "GET a");
}

#[test]
fn quitting_is_answered_after_everything_else() {
    let mut rig = Rig::new();
    rig.say(0, &["INCR a", "QUIT", "INCR b"]);
    assert_eq!((rig.sent(0).as_str(), rig.is_closed(0)), ("INCR a", false));
    rig.reply(0, ":1\r\n");
    assert_eq!(
        (rig.got(0).as_str(), rig.is_closed(0)),
        (":1\r\n+OK\r\n", true)
    );
}

#[test]
fn breaking_the_protocol_is_answered_in_its_turn() {
    let mut rig = Rig::new();
    rig.say(0, &["INCR a"]);
    rig.send(0, b"*1\r\n+x\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!((rig.sent(0).as_str(), rig.got(0).as_str()), ("INCR a", ""));
    rig.reply(0, ":1\r\n");
    assert_eq!(
        rig.got(0),
        ":1\r\n-ERR Protocol error: expected '$', got '+'\r\n"
    );
    assert!(rig.is_closed(0));
}

#[test]
fn the_password_is_the_proxy_s_own() {
    let mut rig = Rig::pointed(Settings {
        password: Some("secret".into()),
        ..settings()
    });
    rig.say(0, &["GET a", "AUTH wrong", "AUTH secret", "GET a"]);
    let got = rig.got(0);
    assert!(
        got.starts_with("-NOAUTH Authentication required.\r\n-WRONGPASS "),
        "{got}"
    );
    assert!(got.ends_with("\r\n+OK\r\n"), "{got}");
    assert_eq!(rig.sent(0), "GET a");
    let other = rig.join();
    rig.say(other, &["HELLO 3 AUTH default secret"]);
    assert_eq!(
        rig.sent(1),
        "HELLO 3",
        "the server does not get the password"
    );
    let stranger = rig.join();
    rig.send(
        stranger,
        wire(&[&format!("SET k {}", "x".repeat(20_000))]).as_bytes(),
    );
    assert!(
        rig.got(stranger)
            .starts_with("-ERR Protocol error: unauthenticated bulk length")
    );
    assert!(rig.is_closed(stranger));
}

#[test]
fn a_half_closed_client_gets_its_replies() {
    let mut rig = Rig::new();
    rig.say(0, &["INCR a", "INCR b"]);
    rig.half_close(0);
    rig.reply(0, ":1\r\n");
    assert!(!rig.is_closed(0));
    rig.reply(0, ":1\r\n");
    assert_eq!(
        (rig.got(0).as_str(), rig.is_closed(0)),
        (":1\r\n:1\r\n", true)
    );
}

#[test]
fn what_the_server_says_of_its_commands_is_heeded() {
    let mut rig = Rig::lost();
    rig.asks_for_commands = true;
    rig.point(1, 1);
    assert_eq!(rig.sent(0), "COMMAND");
    rig.reply(
        0,
        "*1\r\n*6\r\n$8\r\nnew.read\r\n:2\r\n*1\r\n+write\r\n:1\r\n:1\r\n:1\r\n",
    );
    rig.say(0, &["NEW.READ k"]);
    assert!(
        rig.sent(0).ends_with("NEW.READ k"),
        "it is plain, and shares"
    );
}

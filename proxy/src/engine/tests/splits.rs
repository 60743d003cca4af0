//! However the bytes are cut, the outcome is the same.

use proptest::prelude::*;

use super::rig::{Rig, wire};

const REPLIES: &str = "+OK\r\n$-1\r\n%1\r\n+k\r\n*2\r\n:1\r\n_\r\n>1\r\n+push\r\n-ERR no\r\n\
    |1\r\n+a\r\n:1\r\n$5\r\na\r\nbc\r\n:7\r\n*0\r\n+QUEUED\r\n*1\r\n+OK\r\n-MOVED x\r\n:9\r\n";

fn requests() -> String {
    let multibulk = wire(&[
        "SET k v",
        "GET x",
        "HELLO 3",
        "GET a",
        "GET b",
        "CLIENT LIST",
    ]);
    let rest = wire(&["MULTI", "INCR a", "EXEC", "GET c"]);
    format!("\r\n{multibulk}*0\r\nset 'a b' \"c\"\r\n{rest}\n")
}

fn run(requests: &[&[u8]], replies: &[&[u8]]) -> (Vec<u8>, String) {
    let mut rig = Rig::new();
    for piece in requests {
        rig.client_bytes(piece);
    }
    let sent = rig.sent_bytes();
    for piece in replies {
        rig.server_bytes(piece);
    }
    rig.half_close();
    let got = rig.got();
    assert_eq!(
        rig.closed,
        got.len() == REPLIES.len(),
        "every request is answered"
    );
    (sent, got)
}

#[test]
fn at_every_single_point() {
    let requests = requests();
    let (sent, got) = run(&[requests.as_bytes()], &[REPLIES.as_bytes()]);
    // The empty request at the end is not forwarded.
    assert_eq!(sent, requests.as_bytes()[..requests.len() - 1]);
    assert_eq!(got, REPLIES);
    for at in 0..=requests.len() {
        let (a, b) = requests.as_bytes().split_at(at);
        let outcome = run(&[a, b], &[REPLIES.as_bytes()]);
        assert_eq!(
            without_blanks(&outcome.0),
            without_blanks(&sent),
            "cut at {at}"
        );
        assert_eq!(outcome.1, got, "cut at {at}");
    }
    for at in 0..=REPLIES.len() {
        let (a, b) = REPLIES.as_bytes().split_at(at);
        assert_eq!(run(&[requests.as_bytes()], &[a, b]).1, got, "cut at {at}");
    }
}

#[test]
fn into_single_bytes() {
    let requests = requests();
    let bytes: Vec<&[u8]> = requests.as_bytes().chunks(1).collect();
    let replies: Vec<&[u8]> = REPLIES.as_bytes().chunks(1).collect();
    let (sent, got) = run(&bytes, &replies);
    assert_eq!(got, REPLIES);
    assert_eq!(without_blanks(&sent), without_blanks(requests.as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_a_client_sends_is_survived(pieces in prop::collection::vec(bytes(), 0..20)) {
        let mut rig = Rig::new();
        for piece in &pieces {
            rig.client_bytes(piece);
        }
        rig.point(2, 2);
        rig.leave();
        prop_assert!(rig.engine.is_empty());
        prop_assert_eq!(rig.engine.bytes, 0);
    }

    #[test]
    fn anything_a_server_sends_is_survived(pieces in prop::collection::vec(bytes(), 0..20)) {
        let mut rig = Rig::new();
        rig.say(&["GET a", "SET b c", "EVAL s 0", "SELECT 1", "GET d"]);
        for piece in &pieces {
            if rig.link.is_some() && !rig.closed {
                rig.server_bytes(piece);
            }
        }
        rig.after(std::time::Duration::from_secs(10));
        rig.leave();
        prop_assert!(rig.engine.is_empty());
    }
}

/// Bytes that are more often meaningful than chance would have it.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"*1\r\n$4\r\nPING\r\n".to_vec()),
        Just(b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n".to_vec()),
        Just(b"*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n".to_vec()),
        Just(b"*1\r\n$4\r\nQUIT\r\n".to_vec()),
        Just(b"-READONLY x\r\n".to_vec()),
        Just(b"+OK\r\n".to_vec()),
        Just(b"$3\r\nab".to_vec()),
        Just(b">1\r\n".to_vec()),
        Just(b"|1\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
        prop::sample::select(b"*$:-+%0123\r\n".to_vec()).prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(token, 1..8).prop_map(|tokens| tokens.concat())
}

/// Without the empty requests, which a server ignores wherever they stand.
fn without_blanks(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("*0\r\n", "");
    text.replace("\n\r\n", "\n")
        .trim_matches(['\r', '\n'])
        .to_owned()
}

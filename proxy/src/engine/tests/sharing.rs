//! Many clients, one link: everyone gets what is its own, in its order.

use super::rig::{OUTCOME_UNKNOWN, Rig, settings, wire};
use crate::engine::Settings;

const KIB: usize = 1 << 10;

#[test]
fn two_clients_share_one_link() {
    let mut rig = Rig::new();
    let other = rig.join();
    rig.say(0, &["GET a"]);
    rig.say(other, &["GET b", "SET b 1"]);
    rig.say(0, &["GET c"]);
    assert_eq!(rig.sent(0), "GET a | GET b | SET b 1 | GET c");
    rig.reply(0, "$1\r\na\r\n$1\r\nb\r\n+OK\r\n$1\r\nc\r\n");
    assert_eq!(rig.got(0), "$1\r\na\r\n$1\r\nc\r\n");
    assert_eq!(rig.got(other), "$1\r\nb\r\n+OK\r\n");
    assert_eq!(rig.lines.len(), 1);
}

/// Clients rely on it: whoever was told something asks after it.
#[test]
fn who_comes_first_is_served_first() {
    let mut rig = Rig::new();
    let clients: Vec<_> = (0..10).map(|_| rig.join()).collect();
    let mut expected = Vec::new();
    for client in clients.iter().rev() {
        rig.receive(*client, wire(&[&format!("GET {client}")]).as_bytes());
        expected.push(format!("GET {client}"));
    }
    rig.settle();
    assert_eq!(rig.sent(0), expected.join(" | "));
}

#[test]
fn links_are_written_in_the_order_of_their_first_requests() {
    let mut rig = Rig::new();
    let (sharer, blocked) = (rig.join(), rig.join());
    rig.say(blocked, &["WATCH k"]);
    rig.reply(1, "+OK\r\n");
    rig.receive(blocked, wire(&["GET x"]).as_bytes());
    rig.receive(sharer, wire(&["GET y"]).as_bytes());
    let order = flushed(&mut rig);
    assert_eq!(order, [1, 0]);
    rig.receive(sharer, wire(&["GET y"]).as_bytes());
    rig.receive(blocked, wire(&["GET x"]).as_bytes());
    let order = flushed(&mut rig);
    assert_eq!(order, [0, 1]);
}

/// The links that have something to write, in the order in which they are to be written.
fn flushed(rig: &mut Rig) -> Vec<usize> {
    let mut actions = Vec::new();
    rig.engine.settle(rig.now, &mut actions);
    let flushes = actions.into_iter().filter_map(|action| match action {
        crate::engine::Action::Flush(conn) => {
            let n = rig.engine.output(conn).len();
            rig.engine.written(conn, n);
            (0..rig.lines.len()).find(|line| rig.link(*line) == conn)
        }
        _ => None,
    });
    flushes.collect()
}

#[test]
fn the_reply_to_someone_who_left_goes_to_nobody() {
    let mut rig = Rig::new();
    let other = rig.join();
    rig.say(0, &["GET secret"]);
    rig.say(other, &["GET mine"]);
    rig.leave(0);
    let late = rig.join();
    rig.say(late, &["GET late"]);
    rig.reply(0, "$6\r\nsec");
    rig.reply(0, "ret\r\n$4\r\nmine\r\n$4\r\nlate\r\n");
    assert_eq!(rig.got(0), "");
    assert_eq!(rig.got(other), "$4\r\nmine\r\n");
    assert_eq!(rig.got(late), "$4\r\nlate\r\n");
}

#[test]
fn a_large_reply_to_someone_who_left_in_its_middle_goes_to_nobody() {
    let mut rig = Rig::new();
    let other = rig.join();
    rig.say(0, &["GET large"]);
    rig.say(other, &["GET mine"]);
    rig.reply(0, &format!("$200000\r\n{}", "x".repeat(100_000)));
    assert!(rig.got(0).ends_with('x'), "it comes as it comes");
    rig.leave(0);
    rig.reply(0, &format!("{}\r\n$4\r\nmine\r\n", "x".repeat(100_000)));
    assert_eq!(rig.got(other), "$4\r\nmine\r\n");
}

/// Over a link of their own, so that who sends slowly keeps nobody waiting.
#[test]
fn large_values_stream_and_never_block_the_shared_link() {
    let mut rig = Rig::new();
    let other = rig.join();
    let total = 8 << 20;
    let head = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${total}\r\n");
    rig.send(0, head.as_bytes());
    rig.send(0, &[b'x'; 32 * KIB]);
    rig.say(other, &["GET a"]);
    assert_eq!(rig.sent(0), "GET a");
    rig.reply(0, "$-1\r\n");
    assert_eq!(rig.got(other), "$-1\r\n");
    for _ in 1..total / (32 * KIB) {
        rig.send(0, &[b'x'; 32 * KIB]);
        assert!(rig.held() <= 160 * KIB, "{} bytes are held", rig.held());
    }
    rig.send(0, b"\r\n");
    assert_eq!(rig.sent_bytes(1).len(), head.len() + total + 2);
    rig.say(0, &["GET k"]);
    rig.reply(1, "+OK\r\n");
    rig.say(0, &["GET k"]);
    assert!(rig.got(0).starts_with("+OK\r\n"));
}

#[test]
fn a_value_below_32_kib_waits_for_its_end() {
    let mut rig = Rig::new();
    let set = wire(&[&format!("SET k {}", "x".repeat(30 * KIB))]);
    let (begin, rest) = set.as_bytes().split_at(20 * KIB);
    rig.send(0, begin);
    assert_eq!(rig.sent(0), "");
    rig.send(0, rest);
    assert_eq!(rig.sent_bytes(0), set.as_bytes());
}

/// Many requests, each small: all at once is more than is given to a link.
#[test]
fn whoever_pipelines_deeply_gets_everything_in_order() {
    let mut rig = Rig::new();
    let lines: Vec<_> = (0..40_000).map(|n| format!("GET {n}")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    for chunk in lines.chunks(1000) {
        rig.say(0, chunk);
    }
    let mut answered = 0;
    while answered < lines.len() {
        let sent = rig.sent(0);
        assert!(!sent.is_empty(), "stuck after {answered}");
        for command in sent.split(" | ") {
            assert_eq!(command, lines[answered]);
            answered += 1;
            rig.reply(0, "+OK\r\n");
        }
    }
    assert_eq!(rig.got(0), "+OK\r\n".repeat(lines.len()));
}

#[test]
fn a_script_does_not_stand_before_the_others() {
    let mut rig = Rig::new();
    let other = rig.join();
    rig.say(0, &["EVAL s 0", "GET a"]);
    rig.say(other, &["GET b", "SCRIPT KILL"]);
    rig.reply(0, "-BUSY x\r\n");
    assert_eq!(rig.got(other), "-BUSY x\r\n");
    let killer = rig
        .open()
        .into_iter()
        .find(|line| rig.sent(*line) == "SCRIPT KILL");
    rig.reply(killer.expect("one link takes it"), "+OK\r\n");
    assert_eq!(rig.got(other), "+OK\r\n");
    rig.reply(1, "-ERR killed\r\n$-1\r\n");
    assert_eq!(rig.got(0), "-ERR killed\r\n$-1\r\n");
}

#[test]
fn garbage_from_the_server_ends_the_link_only() {
    let mut rig = Rig::new();
    let other = rig.join();
    rig.say(0, &["INCR a", "INCR b"]);
    rig.say(other, &["GET c"]);
    rig.reply(0, ":1\r\nwhat?");
    assert_eq!(rig.got(0), format!(":1\r\n{OUTCOME_UNKNOWN}"));
    assert!(!rig.lines[0].open);
    rig.after(super::rig::HOLD / 5);
    let last = rig.lines.len() - 1;
    assert_eq!(rig.sent(last), "GET c");
    rig.reply(last, "$1\r\nc\r\n");
    assert_eq!(rig.got(other), "$1\r\nc\r\n");
    // One reply too many.
    rig.reply(last, "+OK\r\n");
    assert!(!rig.lines[last].open);
}

#[test]
fn empty_requests_are_not_kept() {
    let mut rig = Rig::lost();
    rig.send(0, &b"\r\n*0\r\n*-1\r\n".repeat(1000));
    assert_eq!(rig.held(), 0);
    rig.send(0, b"\r\nPING");
    rig.send(0, b"\r\n\r\n");
    rig.point(1, 1);
    assert!(rig.sent_bytes(0).ends_with(b"PING\r\n"));
}

#[test]
fn a_push_answers_nothing() {
    let mut rig = Rig::new();
    rig.say(0, &["HELLO 3"]);
    rig.reply(1, "%0\r\n");
    rig.got(0);
    rig.say(0, &["CLIENT TRACKING ON"]);
    let line = 2;
    assert_eq!(rig.sent(line), "HELLO 3");
    rig.reply(line, "%0\r\n");
    assert_eq!(rig.sent(line), "CLIENT TRACKING ON");
    rig.reply(line, "+OK\r\n");
    rig.say(0, &["GET a", "GET b"]);
    let replies = ">2\r\n+invalidate\r\n*0\r\n$1\r\n1\r\n>1\r\n+x\r\n|1\r\n+k\r\n:1\r\n$1\r\n2\r\n";
    rig.reply(line, replies);
    assert_eq!(rig.got(0), format!("+OK\r\n{replies}"));
    rig.half_close(0);
    assert!(rig.is_closed(0), "both are answered");
}

#[test]
fn every_user_database_and_protocol_has_a_link_of_its_own() {
    let mut rig = Rig::pointed(Settings {
        pool_idle: 0,
        ..settings()
    });
    let clients: Vec<_> = (0..3).map(|_| rig.join()).collect();
    for (client, setting) in clients.iter().zip(["SELECT 1", "HELLO 3", "SELECT 1"]) {
        rig.say(*client, &[setting]);
        let line = rig.lines.len() - 1;
        assert_eq!(rig.sent(line), setting);
        rig.reply(line, "+OK\r\n");
    }
    for client in &clients {
        rig.say(*client, &[&format!("GET {client}")]);
    }
    let sent: Vec<_> = (0..rig.lines.len()).map(|line| rig.sent(line)).collect();
    assert_eq!(sent, ["", "GET 1 | GET 3", "GET 2", ""]);
    assert_eq!(
        rig.open(),
        [0, 1, 2],
        "the second link to database 1 is not needed"
    );
}

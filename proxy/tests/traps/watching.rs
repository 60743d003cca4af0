//! Messages that nobody asked for at that moment (traps 13 and 14).

use std::thread;

use crate::support::Client;
use crate::{alike, both};

/// Trap 13: one reply for each channel, with the count over channels and patterns.
#[test]
fn subscriptions_are_counted_as_redis_counts_them() {
    for hello in ["HELLO 2", "HELLO 3"] {
        let replies = alike(&[], |stage| {
            let mut client = stage.client();
            client.ask(hello);
            let scenes = [
                ("SUBSCRIBE a b a", 3),
                ("PSUBSCRIBE a* b*", 2),
                ("SSUBSCRIBE s", 1),
                ("UNSUBSCRIBE a nothing", 2),
                ("UNSUBSCRIBE", 1),
                ("PUNSUBSCRIBE a*", 1),
                ("SUNSUBSCRIBE", 1),
                ("PUNSUBSCRIBE", 1),
                ("UNSUBSCRIBE", 1),
                ("PUNSUBSCRIBE", 1),
                ("SUNSUBSCRIBE", 1),
                ("GET k", 1),
                ("PING", 1),
            ];
            let mut replies = Vec::new();
            for (line, count) in scenes {
                client.say(&[line]);
                replies.extend(client.texts(count));
            }
            replies
        });
        assert!(
            replies[4].ends_with("$2\r\nb*\r\n:4\r\n"),
            "{:?}",
            replies[4]
        );
    }
}

/// Trap 13: what a subscriber of RESP2 may say, and what PING is answered.
#[test]
fn a_subscriber_may_say_little() {
    alike(&[], |stage| {
        let mut client = stage.client();
        client.ask_all(&[
            "PING",
            "PING x",
            "SUBSCRIBE c",
            "PING",
            "PING x",
            "GET k",
            "SET k v",
            "nonsense",
            "PUBLISH c x",
            "MULTI",
            "SELECT 1",
            "CLIENT ID",
            "PSUBSCRIBE p",
            "UNSUBSCRIBE c",
            "GET k",
            "PUNSUBSCRIBE",
            "GET k",
            "PING",
            "SUBSCRIBE d",
            "RESET",
            "GET k",
            "SUBSCRIBE e",
            "QUIT",
        ])
    });
}

/// Trap 13: requests behind a subscription in one batch.
#[test]
fn a_subscription_within_a_batch() {
    for hello in ["HELLO 2", "HELLO 3"] {
        alike(&[], |stage| {
            let mut client = stage.client();
            client.ask(hello);
            client.say(&[
                "SET k v",
                "SUBSCRIBE a b",
                "GET k",
                "UNSUBSCRIBE a b",
                "GET k",
                "PING",
            ]);
            client.texts(8)
        });
    }
}

/// Messages come as they were sent, to who is subscribed, by channel and by pattern.
#[test]
fn messages_arrive_in_order() {
    both(&[], |stage| {
        let mut subscribers: Vec<_> = (0..10).map(|_| stage.client()).collect();
        for (i, subscriber) in subscribers.iter_mut().enumerate() {
            let line = if i % 2 == 0 {
                "SUBSCRIBE news"
            } else {
                "PSUBSCRIBE n?ws"
            };
            subscriber.ask(line);
        }
        let mut publisher = stage.client();
        for n in 0..200 {
            assert_eq!(publisher.ask(&format!("PUBLISH news {n}")), ":10\r\n");
        }
        for (i, subscriber) in subscribers.iter_mut().enumerate() {
            for n in 0..200 {
                let message = subscriber.text();
                let text = n.to_string();
                assert!(
                    message.ends_with(&format!("${}\r\n{text}\r\n", text.len())),
                    "{message}"
                );
                assert_eq!(message.contains("pmessage"), i % 2 == 1);
            }
            let line = if i % 2 == 0 {
                "UNSUBSCRIBE"
            } else {
                "PUNSUBSCRIBE"
            };
            assert!(subscriber.ask(line).ends_with(":0\r\n"));
        }
        assert_eq!(publisher.ask("PUBLISH news x"), ":0\r\n");
    });
}

/// Trap 14: a push between two replies is neither of them.
#[test]
fn pushes_do_not_count_as_replies() {
    both(&[], |stage| {
        let mut client = stage.client();
        assert!(client.ask("HELLO 3").starts_with('%'));
        assert!(client.ask("SUBSCRIBE c").starts_with('>'));
        let mut publisher = stage.client();
        thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..500 {
                    assert_eq!(publisher.ask(&format!("PUBLISH c {n}")), ":1\r\n");
                }
            });
            let mut pushed = 0;
            for round in 0..100 {
                let texts: Vec<_> = (0..10).map(|n| format!("{round}-{n}")).collect();
                for text in &texts {
                    client.say(&[&format!("ECHO {text}")]);
                }
                for text in &texts {
                    pushed = skip_messages(
                        &mut client,
                        pushed,
                        &format!("${}\r\n{text}\r\n", text.len()),
                    );
                }
            }
            while pushed < 500 {
                let message = client.text();
                pushed = message_number(&message, pushed);
            }
        });
    });
}

/// Reads the messages before this reply; how many have come so far.
fn skip_messages(client: &mut Client, mut pushed: usize, reply: &str) -> usize {
    loop {
        let next = client.text();
        if next == reply {
            return pushed;
        }
        pushed = message_number(&next, pushed);
    }
}

fn message_number(push: &str, expected: usize) -> usize {
    let text = expected.to_string();
    let whole = format!(
        ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n{text}\r\n",
        text.len()
    );
    assert_eq!(push, whole);
    expected + 1
}

/// Trap 14: invalidations reach who reads, and only them.
#[test]
fn invalidations_reach_their_client() {
    both(&[], |stage| {
        let mut tracking: Vec<_> = (0..4).map(|_| stage.client()).collect();
        let mut writer = stage.client();
        for (i, client) in tracking.iter_mut().enumerate() {
            client.ask("HELLO 3");
            let mode = if i == 3 {
                "CLIENT TRACKING ON BCAST PREFIX k"
            } else {
                "CLIENT TRACKING ON"
            };
            assert_eq!(client.ask(mode), "+OK\r\n");
            assert_eq!(client.ask(&format!("GET k{i}")), "_\r\n");
        }
        for i in [2, 0, 1, 3] {
            assert_eq!(writer.ask(&format!("SET k{i} v")), "+OK\r\n");
            let push = format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\nk{i}\r\n");
            if i < 3 {
                assert_eq!(tracking[i].text(), push);
            }
            assert_eq!(tracking[3].text(), push);
        }
        for client in &mut tracking {
            assert_eq!(client.ask("CLIENT TRACKING OFF"), "+OK\r\n");
            assert_eq!(client.ask("GET k0"), "$1\r\nv\r\n");
        }
        assert_eq!(writer.ask("SET k0 w"), "+OK\r\n");
        for client in &mut tracking {
            assert_eq!(client.ask("PING"), "+PONG\r\n", "nothing came before");
        }
    });
}

/// MONITOR shows what others ask, and ends with RESET.
#[test]
fn monitor_shows_what_others_ask() {
    both(&[], |stage| {
        let (mut monitor, mut other) = (stage.client(), stage.client());
        assert_eq!(monitor.ask("MONITOR"), "+OK\r\n");
        for n in 0..20 {
            other.ask(&format!("SET k{n} v"));
            let wanted = format!("\"SET\" \"k{n}\" \"v\"");
            while !monitor.text().contains(&wanted) {}
        }
        monitor.say(&["RESET"]);
        while monitor.text() != "+RESET\r\n" {}
        assert_eq!(monitor.ask("GET k1"), "$1\r\nv\r\n");
    });
}

//! Clients have the proxy's numbers, and are listed, closed and woken by them (trap 16).

use bellwether_testkit::until;

use crate::support::{Client, PATIENCE};
use crate::{Stage, alike, both, field};

fn info(client: &mut Client) -> String {
    client.ask("CLIENT INFO")
}

#[test]
fn a_client_has_one_number() {
    both(&[], |stage| {
        let mut clients: Vec<_> = (0..5).map(|_| stage.client()).collect();
        let ids: Vec<_> = clients
            .iter_mut()
            .map(|client| client.number("CLIENT ID"))
            .collect();
        for (i, client) in clients.iter_mut().enumerate() {
            for line in [
                "SET k v",
                "WATCH k",
                "MULTI",
                "EXEC",
                "SELECT 2",
                "BLPOP none 0.01",
                "HELLO 3",
                "SUBSCRIBE c",
                "UNSUBSCRIBE c",
                "CLIENT TRACKING ON",
                "CLIENT TRACKING OFF",
                "RESET",
            ] {
                assert!(!client.ask(line).starts_with('-'), "{line}");
                // Between MULTI and EXEC it would be queued.
                if line != "MULTI" {
                    assert_eq!(client.number("CLIENT ID"), ids[i], "after {line}");
                }
            }
            assert_eq!(field(&info(client), "id"), ids[i].to_string());
            client.say(&["MULTI", "CLIENT ID", "EXEC"]);
            assert_eq!(client.texts(3)[2], format!("*1\r\n:{}\r\n", ids[i]));
        }
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted, ids, "each has its own, and they grow");
    });
}

/// CLIENT LIST tells of clients, not of the proxy's own connections.
#[test]
fn client_list_shows_clients() {
    both(&[], |stage| {
        let mut clients: Vec<_> = (0..5).map(|_| stage.client()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.ask(&format!("CLIENT SETNAME me{i}")), "+OK\r\n");
            assert_eq!(client.ask(&format!("SELECT {i}")), "+OK\r\n");
        }
        let list = clients[0].ask("CLIENT LIST");
        let lines: Vec<_> = list.lines().filter(|line| line.contains("id=")).collect();
        assert_eq!(lines.len(), 5, "{list}");
        for (i, client) in clients.iter_mut().enumerate() {
            let id = client.number("CLIENT ID").to_string();
            let line = lines.iter().find(|line| field(line, "id") == id);
            let line = line.unwrap_or_else(|| panic!("no client {id} in {list}"));
            assert_eq!(field(line, "name"), format!("me{i}"));
            assert_eq!(
                field(line, "addr"),
                client.stream.local_addr().unwrap().to_string()
            );
            assert_eq!(
                field(line, "laddr"),
                client.stream.peer_addr().unwrap().to_string()
            );
            assert_eq!(field(line, "db"), i.to_string());
            let listed = client.ask(&format!("CLIENT LIST ID {id}"));
            assert!(listed.contains(&format!("name=me{i} ")), "{listed}");
            assert_eq!(field(&info(client), "name"), format!("me{i}"));
        }
    });
}

/// CLIENT KILL closes the client that it names, and no other.
#[test]
fn client_kill_closes_one_client() {
    both(&[], |stage| {
        let (mut killer, mut stays) = (stage.client(), stage.client());
        assert_eq!(stays.ask("SET k v"), "+OK\r\n");
        for how in ["ID", "ADDR", "old", "both"] {
            let mut victim = stage.client();
            let id = victim.number("CLIENT ID");
            let address = victim.stream.local_addr().unwrap();
            let reply = match how {
                "ID" => killer.ask(&format!("CLIENT KILL ID {id}")),
                "ADDR" => killer.ask(&format!("CLIENT KILL ADDR {address}")),
                "old" => killer.ask(&format!("CLIENT KILL {address}")),
                // More than one filter must all hold.
                _ => killer.ask(&format!("CLIENT KILL ID {id} ADDR {address} TYPE normal")),
            };
            let expected = if how == "old" { "+OK\r\n" } else { ":1\r\n" };
            assert_eq!(reply, expected, "{how}");
            assert_eq!(victim.next(), None, "{how}");
            assert_eq!(stays.ask("GET k"), "$1\r\nv\r\n", "{how}");
        }
        assert_eq!(killer.ask("CLIENT KILL ID 123456789"), ":0\r\n");
        assert_eq!(
            killer.ask("CLIENT KILL 127.0.0.1:1"),
            "-ERR No such client\r\n"
        );
        let own = killer.number("CLIENT ID");
        assert_eq!(
            killer.ask(&format!("CLIENT KILL ID {own}")),
            ":0\r\n",
            "SKIPME is yes"
        );
        assert_eq!(
            killer.ask(&format!("CLIENT KILL ID {own} SKIPME no")),
            ":1\r\n"
        );
        assert_eq!(killer.next(), None);
    });
}

/// CLIENT UNBLOCK wakes the client that it names.
#[test]
fn client_unblock_wakes_one_client() {
    both(&[], |stage| {
        let (mut waker, mut a, mut b) = (stage.client(), stage.client(), stage.client());
        let (id_a, id_b) = (a.number("CLIENT ID"), b.number("CLIENT ID"));
        assert_eq!(
            waker.ask(&format!("CLIENT UNBLOCK {id_a}")),
            ":0\r\n",
            "not blocked"
        );
        a.say(&["BLPOP q 0"]);
        b.say(&["BRPOP q 0"]);
        stage.until_blocked(2);
        assert_eq!(waker.ask(&format!("CLIENT UNBLOCK {id_a}")), ":1\r\n");
        assert_eq!(a.text(), "*-1\r\n");
        assert_eq!(waker.ask(&format!("CLIENT UNBLOCK {id_b} ERROR")), ":1\r\n");
        assert!(b.text().starts_with("-UNBLOCKED"));
        assert_eq!(a.ask("PING"), "+PONG\r\n");
        assert_eq!(b.ask("PING"), "+PONG\r\n");
    });
}

/// The one who gets another's invalidations is named by the number that the proxy gave it.
#[test]
fn tracking_is_redirected_by_number() {
    both(&[], |stage| {
        let (mut listener, mut reader, mut writer) =
            (stage.client(), stage.client(), stage.client());
        let id = listener.number("CLIENT ID");
        listener.ask("SUBSCRIBE __redis__:invalidate");
        assert_eq!(
            reader.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")),
            "+OK\r\n"
        );
        assert_eq!(reader.number("CLIENT GETREDIR"), id);
        assert_eq!(reader.ask("GET k"), "$-1\r\n");
        assert_eq!(writer.ask("SET k v"), "+OK\r\n");
        let message = listener.text();
        assert!(
            message.contains("__redis__:invalidate") && message.ends_with("$1\r\nk\r\n"),
            "{message}"
        );
        assert!(
            reader
                .ask("CLIENT TRACKING ON REDIRECT 123456789")
                .starts_with("-ERR")
        );
    });
}

/// Others that are not the proxy's clients are not closed by a kill that names its clients.
#[test]
fn a_kill_by_type_leaves_the_proxy_working() {
    both(&[], |stage| {
        let (mut killer, mut normal, mut subscriber) =
            (stage.client(), stage.client(), stage.client());
        assert_eq!(normal.ask("PING"), "+PONG\r\n");
        subscriber.ask("SUBSCRIBE c");
        assert_eq!(killer.ask("CLIENT KILL TYPE pubsub"), ":1\r\n");
        assert_eq!(subscriber.next(), None);
        assert_eq!(normal.ask("PING"), "+PONG\r\n");
        assert_eq!(killer.ask("CLIENT KILL TYPE normal"), ":1\r\n");
        assert_eq!(normal.next(), None);
        assert_eq!(killer.ask("PING"), "+PONG\r\n");
    });
}

/// What is wrong with a command is said in Redis's words.
#[test]
fn refusals_are_in_the_words_of_redis() {
    alike(&[], |stage| {
        let lines = [
            "CLIENT",
            "CLIENT nonsense",
            "CLIENT ID x",
            "CLIENT INFO x",
            "CLIENT GETNAME x",
            "CLIENT SETNAME",
            "CLIENT SETNAME a b",
            "CLIENT SETNAME a\nb",
            "CLIENT SETINFO LIB-NAME x",
            "CLIENT LIST ID",
            "CLIENT LIST ID x",
            "CLIENT LIST ID 1 9223372036854775808",
            "CLIENT LIST TYPE",
            "CLIENT LIST TYPE nonsense",
            "CLIENT LIST nonsense",
            "CLIENT LIST ID -1 999999",
            "CLIENT LIST TYPE master",
            "CLIENT LIST TYPE slave",
            "CLIENT KILL",
            "CLIENT KILL ID",
            "CLIENT KILL ID x",
            "CLIENT KILL ID 0",
            "CLIENT KILL ID -1",
            "CLIENT KILL ID +1",
            "CLIENT KILL ID 999999 nonsense",
            "CLIENT KILL ID 999999 nonsense x",
            "CLIENT KILL ID 999999 MAXAGE 5",
            "CLIENT KILL TYPE nonsense",
            "CLIENT KILL USER nobody",
            "CLIENT KILL USER default ID 999999",
            "CLIENT KILL SKIPME perhaps",
            "CLIENT KILL 1.2.3.4:5",
            "CLIENT UNBLOCK",
            "CLIENT UNBLOCK x",
            "CLIENT UNBLOCK -1",
            "CLIENT UNBLOCK 999999",
            "CLIENT UNBLOCK 999999 nonsense",
            "CLIENT UNBLOCK 999999 TIMEOUT ERROR",
            "CLIENT REPLY",
            "CLIENT REPLY nonsense",
            "CLIENT NO-EVICT nonsense",
            "CLIENT NO-EVICT OFF",
            "CLIENT NO-EVICT ON",
            "CLIENT NO-TOUCH ON",
            "CLIENT TRACKING",
            "CLIENT TRACKING nonsense",
            "CLIENT TRACKING ON REDIRECT",
            "CLIENT TRACKING ON REDIRECT x",
            "CLIENT TRACKING ON REDIRECT 999999",
            "CLIENT TRACKING ON OPTIN OPTOUT",
            "CLIENT CACHING YES",
            "CLIENT GETREDIR",
            "CLIENT GETREDIR x",
            "CLIENT TRACKINGINFO",
            "CLIENT PAUSE",
            "CLIENT PAUSE x",
            "CLIENT PAUSE -1",
            "CLIENT PAUSE 1 nonsense",
            "CLIENT PAUSE 1",
            "CLIENT UNPAUSE x",
            "CLIENT UNPAUSE",
            "CLIENT HELP",
            "PING",
        ];
        stage.client().ask_all(&lines)
    });
}

/// The fields of this client's line that are no matter of chance.
fn shown(watcher: &mut Client, id: i64) -> String {
    let list = watcher.ask(&format!("CLIENT LIST ID {id}"));
    let names = [
        "name", "flags", "db", "sub", "psub", "ssub", "multi", "qbuf", "obl", "oll", "omem",
        "events", "cmd", "user", "resp",
    ];
    let shown = names.map(|name| format!("{name}={}", field(&list, name)));
    shown.join(" ")
}

/// What CLIENT LIST says of clients in all their states.
#[test]
fn a_line_shows_the_state_of_its_client() {
    let lines = alike(&[], |stage| {
        let mut watcher = stage.client();
        let scenes: [&[&str]; 16] = [
            &[],
            &["nonsense"],
            &["SET k v"],
            &["OBJECT ENCODING k"],
            &["CLIENT SETNAME me", "SELECT 5"],
            &["HELLO 3 SETNAME you"],
            &[
                "HELLO 3 SETNAME you",
                "CLIENT SETNAME x",
                "HELLO 2",
                "RESET",
            ],
            &["MULTI"],
            &["MULTI", "SET a 1", "GET a"],
            &["MULTI", "SET a 1", "EXEC"],
            &["SUBSCRIBE a"],
            &["PSUBSCRIBE a*", "SSUBSCRIBE s"],
            &["HELLO 3", "CLIENT TRACKING ON"],
            &["CLIENT TRACKING ON BCAST"],
            &["CLIENT TRACKING ON", "CLIENT TRACKING OFF"],
            &["CLIENT TRACKING ON", "RESET"],
        ];
        let mut lines = Vec::new();
        for scene in scenes {
            let mut client = stage.client();
            let id = client.number("CLIENT ID");
            client.ask_all(scene);
            lines.push(shown(&mut watcher, id));
        }
        let mut blocked = stage.client();
        let id = blocked.number("CLIENT ID");
        blocked.say(&["BLPOP none 0"]);
        stage.until_blocked(1);
        lines.push(shown(&mut watcher, id));
        let own = watcher.number("CLIENT ID");
        lines.push(shown(&mut watcher, own));
        let list = watcher.ask("CLIENT LIST");
        for name in ["qbuf", "qbuf-free", "argv-mem", "cmd"] {
            let own = list.lines().find(|line| line.contains("cmd=client|list"));
            lines.push(field(own.expect("its own line"), name).to_owned());
        }
        for name in ["qbuf", "qbuf-free", "argv-mem", "multi-mem", "redir", "cmd"] {
            lines.push(field(&info(&mut watcher), name).to_owned());
        }
        lines
    });
    assert!(lines[16].contains("flags=b "), "{}", lines[16]);
    assert_eq!(lines[18], "26");
}

/// A line has Redis's fields, in Redis's order; and it is text in RESP3.
#[test]
fn a_line_has_the_form_of_redis() {
    alike(&[], |stage| {
        let mut client = stage.client();
        let mut forms = Vec::new();
        for line in [
            "CLIENT LIST",
            "CLIENT INFO",
            "HELLO 3",
            "CLIENT INFO",
            "CLIENT LIST",
        ] {
            let reply = client.ask(line);
            if line == "HELLO 3" {
                continue;
            }
            let (header, text) = reply.split_once("id=").expect("a line");
            forms.push(header[..1].to_owned());
            forms.push(header.trim_start_matches(|c: char| c != 't').to_owned());
            assert!(text.ends_with("\n\r\n"), "{text:?}");
            let names = text
                .split_whitespace()
                .filter_map(|field| field.split_once('='));
            forms.extend(names.map(|(name, _)| name.to_owned()));
        }
        forms
    });
}

#[test]
fn clients_are_listed_by_type_and_number() {
    both(&[], |stage| {
        let (mut asker, mut other, mut subscriber) =
            (stage.client(), stage.client(), stage.client());
        let mut ids = [&mut asker, &mut other, &mut subscriber].map(|c| c.number("CLIENT ID"));
        subscriber.ask("SUBSCRIBE c");
        let mut list = |what: &str| -> Vec<i64> {
            let list = asker.ask(format!("CLIENT LIST {what}").trim_end());
            let lines = list.lines().filter(|line| line.starts_with("id="));
            lines
                .map(|line| field(line, "id").parse().unwrap())
                .collect()
        };
        assert_eq!(list(""), ids);
        assert_eq!(list("TYPE normal"), ids[..2]);
        assert_eq!(list("TYPE PubSub"), ids[2..]);
        assert!(list("TYPE replica").is_empty());
        assert_eq!(
            list(&format!("ID {} 7777 {}", ids[2], ids[0])),
            [ids[2], ids[0]]
        );
        ids.reverse();
        assert_eq!(list(&format!("ID {} {} {}", ids[0], ids[1], ids[2])), ids);
    });
}

/// Who is closed does not count any more, and does not come back; who asks is closed last.
#[test]
fn those_who_are_closed_do_not_count() {
    let connected = |client: &mut Client| {
        let info = client.ask("INFO clients");
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        let line = lines.find(|(name, _)| *name == "connected_clients");
        line.expect("a number of clients")
            .1
            .parse::<i64>()
            .expect("a number")
    };
    both(&[], |stage| {
        let mut killer = stage.client();
        let mut others: Vec<_> = (0..5).map(|_| stage.client()).collect();
        for other in &mut others {
            assert_eq!(other.ask("PING"), "+PONG\r\n");
        }
        others[1].ask("SUBSCRIBE c");
        others[2].ask("MULTI");
        others[3].say(&["BLPOP q 0"]);
        stage.until_blocked(1);
        let before = connected(&mut killer);
        // One is the test's own, directly.
        let killed = killer.number("CLIENT KILL SKIPME YES");
        assert_eq!(killed, before - 1);
        assert_eq!(connected(&mut killer), 1);
        for other in &mut others {
            assert_eq!(other.next(), None);
        }
        stage.until_blocked(0);
        let mut other = stage.client();
        assert_eq!(other.ask("PING"), "+PONG\r\n");
        killer.say(&["CLIENT KILL SKIPME NO", "SET k v", "PING"]);
        assert!(killer.text().starts_with(':'));
        assert_eq!(killer.texts_to_the_end(), [""; 0]);
        assert_eq!(other.next(), None);
        assert_eq!(stage.client().ask("EXISTS k"), ":0\r\n");
    });
}

/// With the old form one closes oneself, too; and whoever wants no reply gets none.
#[test]
fn a_kill_in_the_old_form_may_be_of_oneself() {
    both(&[], |stage| {
        let (mut a, mut b) = (stage.client(), stage.client());
        let (id, address) = (b.number("CLIENT ID"), a.stream.local_addr().unwrap());
        assert_eq!(a.ask(&format!("CLIENT KILL {address}")), "+OK\r\n");
        assert_eq!(a.next(), None);
        let mut c = stage.client();
        c.say(&["CLIENT REPLY SKIP", &format!("CLIENT KILL ID {id}"), "PING"]);
        assert_eq!(c.text(), "+PONG\r\n");
        assert_eq!(b.next(), None);
        c.say(&[
            "CLIENT REPLY OFF",
            "CLIENT LIST",
            "CLIENT INFO",
            "CLIENT REPLY ON",
        ]);
        assert_eq!(c.text(), "+OK\r\n");
        let local = c.stream.peer_addr().unwrap();
        let mut d = stage.client();
        assert_eq!(d.ask("PING"), "+PONG\r\n");
        let reply = c.ask(&format!(
            "CLIENT KILL LADDR {local} USER default TYPE normal"
        ));
        assert_eq!(reply, ":1\r\n");
        assert_eq!(d.next(), None);
    });
}

/// What its user may not, a client may not, whoever answers.
#[test]
fn rights_hold_for_what_the_proxy_answers() {
    alike(&[], |stage| {
        let (mut admin, mut weak) = (stage.client(), stage.client());
        admin.ask("ACL SETUSER weak on >pass ~* +@all -client|kill -client|list -client|unblock -client|pause");
        let id = admin.number("CLIENT ID");
        assert_eq!(weak.ask("AUTH weak pass"), "+OK\r\n");
        let kill = format!("CLIENT KILL ID {id}");
        let unblock = format!("CLIENT UNBLOCK {id}");
        let lines = [
            &kill,
            &unblock,
            "CLIENT LIST",
            "CLIENT KILL TYPE normal",
            "CLIENT PAUSE 1",
        ];
        let mut replies = weak.ask_all(&lines);
        replies.extend(admin.ask_all(&["PING", "CLIENT KILL USER weak"]));
        assert_eq!(weak.next(), None);
        replies
    });
}

/// Between MULTI and EXEC, too, the number is the client's.
#[test]
fn a_transaction_tells_the_number() {
    both(&[], |stage| {
        let mut client = stage.client();
        let id = client.number("CLIENT ID");
        client.ask("RPUSH list a b");
        let script = [
            "MULTI",
            "LRANGE list 0 -1",
            "CLIENT ID",
            "GET none",
            "client id",
            "EXEC",
        ];
        let expected = format!("*4\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n:{id}\r\n$-1\r\n:{id}\r\n");
        client.say(&script);
        assert_eq!(client.texts(6)[5], expected);
        assert_eq!(client.ask_all(&script)[5], expected);
        let aborted = client.ask_all(&["MULTI", "CLIENT ID", "nonsense", "EXEC", "PING"]);
        assert!(aborted[3].starts_with("-EXECABORT"), "{}", aborted[3]);
        client.ask("WATCH list");
        stage.client().ask("RPUSH list c");
        assert_eq!(
            client.ask_all(&["MULTI", "CLIENT ID", "EXEC"])[2],
            "*-1\r\n"
        );
        assert_eq!(client.number("CLIENT ID"), id);
    });
}

/// RESET ends MONITOR; who said it is a client as others.
#[test]
fn reset_ends_monitor() {
    both(&[], |stage| {
        let (mut monitor, mut other) = (stage.client(), stage.client());
        let id = monitor.number("CLIENT ID");
        assert_eq!(monitor.ask("MONITOR"), "+OK\r\n");
        assert_eq!(
            field(&other.ask(&format!("CLIENT LIST ID {id}")), "flags"),
            "O"
        );
        assert_eq!(other.ask("SET seen 1"), "+OK\r\n");
        while !monitor.text().contains("\"seen\"") {}
        monitor.say(&["RESET"]);
        while monitor.text() != "+RESET\r\n" {}
        assert_eq!(
            field(&other.ask(&format!("CLIENT LIST ID {id}")), "flags"),
            "N"
        );
        assert_eq!(other.ask("SET unseen 1"), "+OK\r\n");
        monitor.say(&["GET seen", "CLIENT ID"]);
        assert_eq!(monitor.texts(2), ["$1\r\n1\r\n", &format!(":{id}\r\n")]);
    });
}

fn redirected(stage: &Stage) -> (Client, Client, i64) {
    let (mut listener, mut reader) = (stage.client(), stage.client());
    let id = listener.number("CLIENT ID");
    listener.ask("SUBSCRIBE __redis__:invalidate");
    assert!(reader.ask("HELLO 3").starts_with('%'));
    let tracking = format!("CLIENT TRACKING ON REDIRECT {id}");
    assert_eq!(reader.ask(&tracking), "+OK\r\n");
    (listener, reader, id)
}

/// Who tracks sees the numbers that the proxy gave, until it is off.
#[test]
fn redirections_are_shown_by_number() {
    both(&[], |stage| {
        let (_listener, mut reader, id) = redirected(stage);
        let info = reader.ask("CLIENT TRACKINGINFO");
        assert!(info.contains(&format!("redirect\r\n:{id}\r\n")), "{info}");
        assert_eq!(reader.number("CLIENT GETREDIR"), id);
        let line = reader.ask("CLIENT INFO");
        assert_eq!(
            [field(&line, "flags"), field(&line, "redir")],
            ["t", &id.to_string()]
        );
        assert_eq!(reader.ask("CLIENT TRACKING OFF"), "+OK\r\n");
        assert_eq!(reader.number("CLIENT GETREDIR"), -1);
        assert_eq!(reader.ask("CLIENT TRACKING ON"), "+OK\r\n");
        assert_eq!(reader.number("CLIENT GETREDIR"), 0);
        let info = reader.ask("CLIENT TRACKINGINFO");
        assert!(info.contains("redirect\r\n:0\r\n"), "{info}");
    });
}

/// The message that there is nobody to redirect to names whom the proxy knows by that number.
#[test]
fn a_broken_redirection_is_told_by_number() {
    both(&[], |stage| {
        let (mut listener, mut reader, id) = redirected(stage);
        assert_eq!(reader.ask("GET k"), "_\r\n");
        listener.say(&["QUIT"]);
        assert_eq!(listener.texts_to_the_end().last().unwrap(), "+OK\r\n");
        let mut writer = stage.client();
        let broken = format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{id}\r\n");
        until(PATIENCE, "the message", || {
            writer.ask("SET k v");
            let told = reader.ask("GET k");
            let value = if told.starts_with('>') {
                reader.text()
            } else {
                String::new()
            };
            if told == broken && value.starts_with('$') {
                Ok(())
            } else {
                Err(told)
            }
        })
        .unwrap();
    });
}

/// In RESP3, who gets the messages need not subscribe to anything; nobody else ever gets them.
#[test]
fn invalidations_go_to_who_has_not_subscribed() {
    both(&[], |stage| {
        let (mut listener, mut reader, mut writer) =
            (stage.client(), stage.client(), stage.client());
        assert!(listener.ask("HELLO 3").starts_with('%'));
        assert_eq!(listener.ask("GET none"), "_\r\n");
        let id = listener.number("CLIENT ID");
        let tracking = format!("CLIENT TRACKING ON REDIRECT {id}");
        assert_eq!(reader.ask(&tracking), "+OK\r\n");
        for round in 0..3 {
            assert!(reader.ask("GET k").starts_with("$"), "{round}");
            assert_eq!(writer.ask("SET k v"), "+OK\r\n");
            assert_eq!(
                listener.text(),
                ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
            );
            assert_eq!(listener.ask("GET k"), "$1\r\nv\r\n");
        }
        reader.ask("GET k");
        drop(listener);
        let mut others: Vec<_> = (0..5).map(|_| stage.client()).collect();
        for other in &mut others {
            other.ask_all(&["HELLO 3", "WATCH k"]);
        }
        writer.ask("SET k v");
        for other in &mut others {
            assert_eq!(other.ask("PING"), "+PONG\r\n");
        }
    });
}

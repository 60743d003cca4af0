//! Clients have the proxy's numbers, and are listed, closed and woken by them (trap 16).

use crate::support::Client;
use crate::{both, field};

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

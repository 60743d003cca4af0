//! CLIENT, when the clients are on several workers.

mod support;

use bellwether_testkit::{Redis, until};
use support::{Client, Front, PATIENCE, primary};

/// So many that no worker is left without any, but once in thousands of runs.
const CLIENTS: usize = 32;

struct Crowd {
    server: Redis,
    front: Front,
    clients: Vec<Client>,
    ids: Vec<u64>,
}

impl Crowd {
    fn start() -> Self {
        let server = primary();
        let front = Front::start(|config| config.workers = 3);
        front.point_at(1, &server);
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| front.client()).collect();
        let ids = clients.iter_mut().map(id).collect();
        Self {
            server,
            front,
            clients,
            ids,
        }
    }

    fn until_blocked(&self, count: usize) {
        until(PATIENCE, "blocked clients", || {
            let info = self.server.info("clients");
            info.is_ok_and(|info| info["blocked_clients"] == count.to_string())
        })
        .expect("in time");
    }
}

fn id(client: &mut Client) -> u64 {
    let reply = client.ask("CLIENT ID");
    reply[1..].trim_end().parse().expect("a number")
}

fn listed(client: &mut Client, what: &str) -> Vec<u64> {
    let list = client.ask(&format!("CLIENT LIST{what}"));
    let ids = list.lines().filter_map(|line| line.strip_prefix("id="));
    let ids = ids.map(|line| line.split(' ').next().expect("a number"));
    ids.map(|id| id.parse().expect("a number")).collect()
}

#[test]
fn everybody_lists_everybody() {
    let mut crowd = Crowd::start();
    let mut sorted = crowd.ids.clone();
    sorted.sort_unstable();
    for client in &mut crowd.clients {
        assert_eq!(listed(client, ""), sorted);
    }
    let backwards: Vec<_> = sorted.iter().rev().map(u64::to_string).collect();
    let named = listed(
        &mut crowd.clients[0],
        &format!(" ID {}", backwards.join(" ")),
    );
    assert!(named.iter().rev().eq(&sorted));
    // Many ask at one time, and behind the question others wait in order.
    for client in &mut crowd.clients {
        client.say(&[
            "CLIENT LIST TYPE normal",
            "SET k v",
            "CLIENT LIST TYPE pubsub",
            "GET k",
        ]);
    }
    for client in &mut crowd.clients {
        assert_eq!(client.text().matches("id=").count(), CLIENTS);
        assert_eq!(client.text(), "+OK\r\n");
        assert_eq!(client.text(), "$0\r\n\r\n");
        assert_eq!(client.text(), "$1\r\nv\r\n");
    }
}

#[test]
fn a_name_shows_at_once_and_a_departed_client_does_not() {
    let mut crowd = Crowd::start();
    let last = crowd.clients.len() - 1;
    for n in 0..last {
        crowd.clients[n].ask(&format!("CLIENT SETNAME n{n}"));
        let list = crowd.clients[last].ask(&format!("CLIENT LIST ID {}", crowd.ids[n]));
        assert!(list.contains(&format!(" name=n{n} ")), "{list}");
    }
    crowd.clients.truncate(1);
    until(PATIENCE, "others to be gone", || {
        listed(&mut crowd.clients[0], "").len() == 1
    })
    .unwrap();
}

#[test]
fn clients_are_closed_wherever_they_are() {
    let mut crowd = Crowd::start();
    let mut killer = crowd.front.client();
    for n in 0..4 {
        let id = crowd.ids[n];
        assert_eq!(killer.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
        assert_eq!(killer.ask(&format!("CLIENT KILL ID {id}")), ":0\r\n");
        assert_eq!(crowd.clients[n].next(), None);
    }
    let address = crowd.clients[4].stream.local_addr().unwrap();
    assert_eq!(killer.ask(&format!("CLIENT KILL {address}")), "+OK\r\n");
    assert_eq!(
        killer.ask(&format!("CLIENT KILL {address}")),
        "-ERR No such client\r\n"
    );
    crowd.clients[5].ask("SUBSCRIBE c");
    assert_eq!(killer.ask("CLIENT KILL TYPE pubsub"), ":1\r\n");
    let left = CLIENTS - 6;
    assert_eq!(
        killer.ask("CLIENT KILL TYPE normal"),
        format!(":{left}\r\n")
    );
    // They do not count any more when that is said.
    let info = killer.ask("INFO clients");
    assert!(info.contains("connected_clients:1\r\n"), "{info}");
    for client in &mut crowd.clients {
        assert_eq!(client.next(), None);
    }
    assert_eq!(killer.ask("CLIENT KILL SKIPME no"), ":1\r\n");
    assert_eq!(killer.next(), None);
    assert_eq!(
        crowd.front.client().ask("PING"),
        "+PONG\r\n",
        "links are left alone"
    );
}

#[test]
fn blocked_clients_are_woken_wherever_they_are() {
    let mut crowd = Crowd::start();
    for client in &mut crowd.clients {
        client.say(&["BLPOP q 0"]);
    }
    crowd.until_blocked(CLIENTS);
    let mut waker = crowd.front.client();
    for (client, id) in crowd.clients.iter_mut().zip(&crowd.ids) {
        let line = waker.ask(&format!("CLIENT LIST ID {id}"));
        assert!(line.contains(" flags=b "), "{line}");
        assert_eq!(waker.ask(&format!("CLIENT UNBLOCK {id} ERROR")), ":1\r\n");
        let text = client.text();
        assert_eq!(text, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
        assert_eq!(waker.ask(&format!("CLIENT UNBLOCK {id}")), ":0\r\n");
    }
}

/// The number of a link is known as soon as anybody can know that its client is blocked.
#[test]
fn a_client_is_woken_as_soon_as_it_is_blocked() {
    let server = primary();
    let front = Front::of(&server);
    let (mut waker, mut watcher) = (front.client(), server.connect().expect("a connection"));
    for _ in 0..20 {
        // Each on a link that nobody has had yet.
        let mut blocked = front.client();
        let id = id(&mut blocked);
        blocked.say(&["BLPOP q 0"]);
        until(PATIENCE, "a blocked client", || {
            let info: String = redis::cmd("INFO")
                .arg("clients")
                .query(&mut watcher)
                .unwrap();
            info.contains("blocked_clients:1")
        })
        .unwrap();
        assert_eq!(waker.ask(&format!("CLIENT UNBLOCK {id}")), ":1\r\n");
        assert_eq!(blocked.text(), "*-1\r\n");
        blocked.ask("CLIENT NO-EVICT ON");
    }
}

#[test]
fn invalidations_go_to_clients_of_other_workers() {
    let mut crowd = Crowd::start();
    let (listeners, readers) = crowd.clients.split_at_mut(CLIENTS / 2);
    for ((listener, reader), id) in listeners.iter_mut().zip(readers).zip(&crowd.ids) {
        listener.ask("SUBSCRIBE __redis__:invalidate");
        assert_eq!(
            reader.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")),
            "+OK\r\n"
        );
        assert_eq!(reader.ask("CLIENT GETREDIR"), format!(":{id}\r\n"));
        assert_eq!(reader.ask("GET k"), "$-1\r\n");
    }
    assert_eq!(crowd.front.client().ask("SET k v"), "+OK\r\n");
    for listener in listeners {
        assert!(listener.text().ends_with("$1\r\nk\r\n"));
    }
}

/// While the server takes no writes, no worker puts one before the reads of others.
#[test]
fn a_pause_is_known_to_all_workers() {
    let mut crowd = Crowd::start();
    let mut admin = crowd.front.client();
    assert_eq!(admin.ask("CLIENT PAUSE 600000 WRITE"), "+OK\r\n");
    let (writers, readers) = crowd.clients.split_at_mut(CLIENTS / 2);
    for writer in writers.iter_mut() {
        writer.say(&["INCR n"]);
    }
    let mut counter = crowd.front.client();
    counter.say(&["PFCOUNT h"]);
    for reader in readers {
        assert_eq!(reader.ask("GET n"), "$-1\r\n");
    }
    let blocked = CLIENTS / 2;
    crowd.until_blocked(blocked + 1);
    assert_eq!(admin.ask("CLIENT UNPAUSE"), "+OK\r\n");
    assert_eq!(counter.text(), ":0\r\n");
    for writer in &mut crowd.clients[..blocked] {
        assert!(writer.text().starts_with(':'));
    }
    assert_eq!(
        admin.ask("GET n"),
        format!("${}\r\n{blocked}\r\n", blocked.to_string().len())
    );
}

/// Who is asked while it ends has nothing to say; nobody waits for it.
#[test]
fn questions_end_with_the_proxy() {
    let mut crowd = Crowd::start();
    for client in &mut crowd.clients {
        client.say(&["CLIENT LIST", "CLIENT KILL ID 123456"]);
    }
    crowd.front.shutdown(PATIENCE);
    for client in &mut crowd.clients {
        while client.next().is_some() {}
    }
}

/// Without a primary there is no link to redirect to, not even one's own: that is waited for, and the
/// worker has time for others.
#[test]
fn whoever_is_redirected_to_nowhere_waits_in_vain() {
    let front = Front::start(|config| {
        config.workers = 1;
        config.hold = std::time::Duration::from_secs(2);
    });
    let server = primary();
    front.point_at(1, &server);
    let (mut client, mut other) = (front.client(), front.client());
    let (own, others) = (id(&mut client), id(&mut other));
    front.point_nowhere(2);
    for id in [own, others] {
        client.say(&[&format!("CLIENT TRACKING ON REDIRECT {id}")]);
        assert_eq!(other.ask("CLIENT ID"), format!(":{others}\r\n"));
        let text = client.text();
        assert!(text.starts_with("-TRYAGAIN "), "{text}");
    }
    front.point_at(3, &server);
    let tracking = format!("CLIENT TRACKING ON REDIRECT {others}");
    assert_eq!(client.ask(&tracking), "+OK\r\n");
}

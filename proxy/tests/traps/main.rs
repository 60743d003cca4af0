//! What proxies for Redis have got wrong: thirty traps, each a test against a real server.
//!
//! Where Redis itself is the judge, a scene is played twice, in front of a server and in front of a
//! proxy to another one, and both must show the same.

mod failure;
mod flow;
mod identity;
mod protocol;
mod routing;
mod state;
#[path = "../support/mod.rs"]
mod support;
mod transactions;
mod watching;

use bellwether_testkit::{Boot, Redis, until};
use support::{Client, Front, PATIENCE, server};

/// A server, and where clients connect to reach it.
struct Stage {
    server: Redis,
    front: Option<Front>,
}

impl Stage {
    fn direct(args: &[&str]) -> Self {
        let server = server(Boot::Plain, args);
        Self {
            server,
            front: None,
        }
    }

    fn proxied(args: &[&str]) -> Self {
        let server = server(Boot::Plain, args);
        let front = Some(Front::of(&server));
        Self { server, front }
    }

    fn client(&self) -> Client {
        let proxy = self.front.as_ref().map(|front| front.proxy.local_addr());
        Client::to(proxy.unwrap_or(self.server.address()))
    }

    /// Waits until so many clients are blocked in the server.
    fn until_blocked(&self, count: usize) {
        let blocked = || {
            let info = self.server.info("clients");
            info.is_ok_and(|info| info["blocked_clients"] == count.to_string())
        };
        until(PATIENCE, "blocked clients", blocked).expect("in time");
    }
}

/// Plays a scene in front of a server with these arguments, which shows that it is right, and in
/// front of a proxy to another one.
fn both<T>(args: &[&str], scene: impl Fn(&Stage) -> T) -> [T; 2] {
    // Shown when the scene fails.
    println!("directly");
    let direct = scene(&Stage::direct(args));
    println!("through the proxy");
    [direct, scene(&Stage::proxied(args))]
}

/// Plays a scene in front of a server with these arguments and in front of a proxy to another one.
/// Both must show the same, which is returned.
fn alike(args: &[&str], scene: impl Fn(&Stage) -> Vec<String>) -> Vec<String> {
    let [expected, shown] = both(args, scene);
    for (i, expected) in expected.iter().enumerate() {
        let shown = shown.get(i);
        assert_eq!(
            shown,
            Some(expected),
            "reply {i}, through the proxy and directly"
        );
    }
    assert_eq!(shown.len(), expected.len(), "as many replies");
    expected
}

impl Client {
    /// Asks one after the other; what was answered.
    fn ask_all(&mut self, lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| self.ask(line)).collect()
    }

    /// The next replies.
    fn texts(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.text()).collect()
    }

    /// All replies until the connection is closed.
    fn texts_to_the_end(&mut self) -> Vec<String> {
        let replies = std::iter::from_fn(|| self.next());
        replies
            .map(|reply| String::from_utf8_lossy(&reply).into_owned())
            .collect()
    }

    /// The number that this command is answered with.
    fn number(&mut self, line: &str) -> i64 {
        let reply = self.ask(line);
        let number = reply
            .strip_prefix(':')
            .and_then(|number| number.trim_end().parse().ok());
        number.unwrap_or_else(|| panic!("{line}: {reply}"))
    }
}

/// The value of `name=…` in a line of CLIENT LIST.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut fields = line
        .split_whitespace()
        .filter_map(|field| field.split_once('='));
    let field = fields.find(|(key, _)| *key == name);
    field.unwrap_or_else(|| panic!("no {name} in {line}")).1
}

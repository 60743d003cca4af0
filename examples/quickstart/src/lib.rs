//! A highly available Redis group on this machine in one command, to look at and to hurt.
//!
//! [`Group::start`] starts real redis-servers and, beside each, an agent: this same program, run
//! anew as `bellwether agent …`, which is `bellwether-hive`. [`attend`] shows each change of role
//! and carries out what is typed.

mod command;
mod group;
mod ports;
mod session;
mod state;
mod switchover;
mod watch;

pub use group::Group;
pub use session::attend;

/// The first argument of this program when it is run as an agent.
pub const AGENT: &str = "agent";

/// Tells an agent, in its environment, the process that it must not outlive.
pub(crate) const PARENT: &str = "BELLWETHER_QUICKSTART_PARENT";

/// Whether the group that started this agent is gone.
///
/// The kernel kills an agent whose group is killed, but only once it was told to, a millisecond or
/// more after the agent's start. What was killed before that is found by this.
#[must_use]
pub fn is_orphan() -> bool {
    let parent = std::os::unix::process::parent_id().to_string();
    std::env::var(PARENT).is_ok_and(|expected| expected != parent)
}

/// What the group looks like.
#[derive(Clone, Debug, clap::Args)]
#[non_exhaustive]
pub struct Options {
    /// How many nodes, each a redis-server and an agent.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = nodes)]
    pub nodes: usize,
    /// The first of the ports: clients from here on, replica reads from 10 above, then
    /// redis-servers, agents, and HTTP, 10 apart. Free ports by default.
    #[arg(long, value_name = "PORT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=ports::LAST_BASE))]
    pub base_port: Option<u16>,
}

/// Two are the least that can fail over; more than five show nothing new.
fn nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 2..=5) => Ok(number),
        _ => Err("a group here has 2 to 5 nodes".to_owned()),
    }
}

//! What a redis-server is seen to be.

/// The role of a redis-server as it says itself, or why it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Takes writes.
    Primary,
    /// A replica of nowhere: refuses writes and follows nobody.
    Fenced,
    /// A replica of the server on this port; `joined` once the link stands.
    Replica { port: u16, joined: bool },
    /// Takes the connection, but does not answer.
    Silent,
    /// Does not take a connection.
    Down,
    /// Answers by an error or in a way that is none of these.
    Odd,
}

impl State {
    /// In words; `node_at` names the node whose redis-server has that port.
    pub(crate) fn describe(self, node_at: impl Fn(u16) -> Option<usize>) -> String {
        match self {
            Self::Primary => "is the primary".to_owned(),
            Self::Fenced => "is fenced: no writes, follows nobody".to_owned(),
            Self::Replica { port, joined } => {
                let whom = node_at(port).map_or_else(
                    || format!("a server on port {port}"),
                    |number| format!("node {number}"),
                );
                let verb = if joined { "follows" } else { "is joining" };
                format!("{verb} {whom}")
            }
            Self::Silent => "does not answer".to_owned(),
            Self::Down => "is down".to_owned(),
            Self::Odd => "answers, but tells no role".to_owned(),
        }
    }

    /// From the fields of ROLE: <https://redis.io/docs/latest/commands/role/>.
    pub(crate) fn from_role(fields: &[String]) -> Self {
        match fields {
            [role, ..] if role == "master" => Self::Primary,
            // Rule of the house: 127.0.0.1:1 is nowhere.
            [role, host, port, ..] if role == "slave" && host == "127.0.0.1" && port == "1" => {
                Self::Fenced
            }
            [role, _, port, link, ..] if role == "slave" => {
                let joined = link == "connected";
                port.parse()
                    .map_or(Self::Odd, |port| Self::Replica { port, joined })
            }
            _ => Self::Odd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_become_states() {
        for (fields, state) in [
            ("master 3129659", State::Primary),
            ("slave 127.0.0.1 1 connect -1", State::Fenced),
            (
                "slave 127.0.0.1 7020 sync 0",
                State::Replica {
                    port: 7020,
                    joined: false,
                },
            ),
            (
                "slave 127.0.0.1 7020 connected 1",
                State::Replica {
                    port: 7020,
                    joined: true,
                },
            ),
            ("slave 127.0.0.1 x connected 1", State::Odd),
            ("sentinel mymaster", State::Odd),
            ("", State::Odd),
        ] {
            let fields: Vec<_> = fields.split_whitespace().map(str::to_owned).collect();
            assert_eq!(State::from_role(&fields), state, "{fields:?}");
        }
    }

    #[test]
    fn replicas_name_the_node_that_they_follow() {
        let node_at = |port| (port == 7021).then_some(2);
        let state = State::Replica {
            port: 7021,
            joined: true,
        };
        assert_eq!(state.describe(node_at), "follows node 2");
        let state = State::Replica {
            port: 9,
            joined: false,
        };
        assert_eq!(state.describe(node_at), "is joining a server on port 9");
    }
}

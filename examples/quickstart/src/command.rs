//! What one can type while the group runs.

use std::fmt;

/// What `help` prints.
pub(crate) const HELP: &str = "\
status                     who is what at this moment
kill redis|agent N         end a process of node N at once (SIGKILL)
pause redis|agent N        let it hang, with its connections open (SIGSTOP)
continue redis|agent N     let it go on (SIGCONT)
restart redis|agent N      kill it if it runs, and start it anew; a redis-server comes back empty
switchover [N]             hand over to node N, or to the fittest
quit                       end the whole group";

/// A typed line that makes sense. Nodes count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Status,
    Do(Deed, Part, usize),
    Switchover(Option<usize>),
    Quit,
}

/// What can be done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Kill,
    Pause,
    Continue,
    Restart,
}

/// The processes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Redis,
    Agent,
}

/// As a word for what was done.
impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "killed",
            Self::Pause => "paused",
            Self::Continue => "continued",
            Self::Restart => "restarted",
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "redis-server",
            Self::Agent => "agent",
        })
    }
}

/// Reads a line typed to a group of so many nodes; `None` if it is blank. An error is one line for
/// whoever typed it.
pub(crate) fn parse(line: &str, nodes: usize) -> Result<Option<Command>, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    Ok(Some(match words.as_slice() {
        [] => return Ok(None),
        ["help" | "?"] => Command::Help,
        ["status"] => Command::Status,
        ["quit" | "exit"] => Command::Quit,
        ["switchover"] => Command::Switchover(None),
        ["switchover", to] => Command::Switchover(Some(node(to, nodes)?)),
        [word, rest @ ..] => {
            let deed = deed(word).ok_or_else(|| format!("no command {line:?}; type help"))?;
            let [part, number] = rest else {
                return Err(format!("say which: {word} redis|agent N"));
            };
            Command::Do(deed, self::part(part)?, node(number, nodes)?)
        }
    }))
}

fn deed(word: &str) -> Option<Deed> {
    Some(match word {
        "kill" => Deed::Kill,
        "pause" => Deed::Pause,
        "continue" => Deed::Continue,
        "restart" => Deed::Restart,
        _ => return None,
    })
}

fn part(word: &str) -> Result<Part, String> {
    match word {
        "redis" => Ok(Part::Redis),
        "agent" => Ok(Part::Agent),
        other => Err(format!("a node has a redis and an agent, but no {other:?}")),
    }
}

fn node(word: &str, nodes: usize) -> Result<usize, String> {
    match word.parse() {
        Ok(number) if (1..=nodes).contains(&number) => Ok(number),
        _ => Err(format!("no node {word:?}; there are 1 to {nodes}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood() {
        use Command::{Do, Help, Quit, Status, Switchover};
        for (line, command) in [
            ("help", Help),
            ("?", Help),
            ("  status\t", Status),
            ("kill redis 1", Do(Deed::Kill, Part::Redis, 1)),
            ("pause  agent 3", Do(Deed::Pause, Part::Agent, 3)),
            ("continue agent 3\r", Do(Deed::Continue, Part::Agent, 3)),
            ("restart redis 2", Do(Deed::Restart, Part::Redis, 2)),
            ("switchover", Switchover(None)),
            ("switchover 2", Switchover(Some(2))),
            ("quit", Quit),
            ("exit", Quit),
        ] {
            assert_eq!(parse(line, 3), Ok(Some(command)), "{line:?}");
        }
        assert_eq!(parse(" \t", 3), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (line, word) in [
            ("frobnicate", "frobnicate"),
            ("status now", "status now"),
            ("quit 1", "quit 1"),
            ("kill", "kill redis|agent N"),
            ("kill redis", "kill redis|agent N"),
            ("kill redis 1 2", "kill redis|agent N"),
            ("kill node 1", "\"node\""),
            ("kill redis 0", "1 to 3"),
            ("kill redis 4", "1 to 3"),
            ("pause agent -1", "1 to 3"),
            ("switchover x", "1 to 3"),
            ("switchover 1 2", "type help"),
            ("\u{1b}[A\n", "type help"),
        ] {
            let error = parse(line, 3).unwrap_err();
            assert!(error.contains(word), "{line:?}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for word in [
            "status",
            "kill",
            "pause",
            "continue",
            "restart",
            "switchover",
            "quit",
        ] {
            assert!(HELP.contains(word), "{word}");
        }
    }
}

//! What happens while the group runs: changes are shown, typed commands carried out.

use std::{
    io::{self, BufRead, Write},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::block_in_place,
    time::interval,
};

use crate::{
    command::{self, Command, HELP, Part},
    group::{Group, Life},
    state::State,
    switchover::switchover,
    watch::watch,
};

/// How often processes are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Something to react to.
pub(crate) enum Event {
    /// The redis-server of this node is now seen so.
    Seen(usize, State),
    /// Somebody typed a line.
    Typed(String),
    /// Something that was begun has ended.
    Said(String),
}

/// Shows what happens to the group and does what is typed, until `quit`, Ctrl-C, SIGTERM or SIGHUP;
/// then ends the group. Without standard input it runs until a signal comes.
///
/// # Errors
///
/// When standard output is closed, or the state of a process cannot be learnt.
pub async fn attend(group: Group) -> Result<()> {
    let mut ends = Ends::new()?;
    let (events, mut news) = mpsc::channel(64);
    for node in &group.nodes {
        tokio::spawn(watch(node.number, node.ports.redis, events.clone()));
    }
    let typed = events.clone();
    // A thread of its own: a runtime cannot end while it waits for someone to type.
    thread::spawn(move || read_lines(&typed));

    let mut session = Session::new(group, events);
    session.introduce()?;
    let mut ticks = interval(TICK);
    loop {
        tokio::select! {
            Some(event) = news.recv() => {
                if session.react(event)? == Next::End {
                    break;
                }
            }
            _ = ticks.tick() => session.look_at_agents()?,
            () = ends.wait() => break,
        }
    }
    session.end()
}

/// The signals that end us.
struct Ends([Signal; 3]);

impl Ends {
    fn new() -> Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self([
            catch(SignalKind::interrupt())?,
            catch(SignalKind::terminate())?,
            catch(SignalKind::hangup())?,
        ]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn read_lines(typed: &mpsc::Sender<Event>) {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    // An input that cannot be read is as good as one that has ended.
    while input
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if typed.blocking_send(Event::Typed(text)).is_err() {
            return;
        }
        line.clear();
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

struct Session {
    group: Group,
    events: mpsc::Sender<Event>,
    begun: Instant,
    /// By node; `None` before the first look.
    states: Vec<Option<State>>,
    /// By node: whether the agent's end is still to be told.
    agent_runs: Vec<bool>,
}

impl Session {
    fn new(group: Group, events: mpsc::Sender<Event>) -> Self {
        let nodes = group.nodes.len();
        Self {
            group,
            events,
            begun: Instant::now(),
            states: vec![None; nodes],
            agent_runs: vec![true; nodes],
        }
    }

    fn introduce(&self) -> Result<()> {
        let mut text = format!(
            "{} nodes, each a redis-server and an agent, on 127.0.0.1:\n\n\
             node   clients   replica reads   redis-server   status\n",
            self.group.nodes.len()
        );
        for node in &self.group.nodes {
            let ports = &node.ports;
            text += &format!(
                "{:<6} {:<9} {:<15} {:<14} http://127.0.0.1:{}/status\n",
                node.number, ports.clients, ports.reads, ports.redis, ports.admin
            );
        }
        let [first, second, ..] = self.group.nodes.as_slice() else {
            unreachable!("a group has at least two nodes");
        };
        text += &format!(
            "\nAny node takes reads and writes:\n  \
             redis-cli -p {} set greeting hello\n  redis-cli -p {} get greeting\n\
             Logs: {}\nType help for what can be done.\n",
            first.ports.clients,
            second.ports.clients,
            self.group.dir.path().display()
        );
        print(&text)
    }

    fn react(&mut self, event: Event) -> Result<Next> {
        match event {
            Event::Seen(number, state) => {
                self.states[number - 1] = Some(state);
                let state = self.describe(state);
                self.say(&format!("node {number}: redis-server {state}"))?;
            }
            Event::Said(text) => self.say(&text)?,
            Event::Typed(line) => match command::parse(&line, self.group.nodes.len()) {
                Ok(Some(Command::Quit)) => return Ok(Next::End),
                Ok(Some(command)) => self.carry_out(command)?,
                Ok(None) => {}
                Err(complaint) => self.say(&complaint)?,
            },
        }
        Ok(Next::GoOn)
    }

    fn carry_out(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Quit => Ok(()),
            Command::Help => print(&format!("{HELP}\n")),
            Command::Status => self.show_status(),
            Command::Switchover(to) => self.hand_over(to),
            Command::Do(deed, part, number) => {
                let done = block_in_place(|| self.group.node(number).suffer(deed, part));
                if part == Part::Agent && done.is_ok() {
                    self.agent_runs[number - 1] = true;
                }
                self.say(&done.unwrap_or_else(|error| format!("{error:#}")))
            }
        }
    }

    fn show_status(&mut self) -> Result<()> {
        let mut text = String::new();
        for index in 0..self.states.len() {
            let state = self.states[index].map_or_else(
                || "was not seen yet".to_owned(),
                |state| self.describe(state),
            );
            let node = &mut self.group.nodes[index];
            let agent = match node.life(Part::Agent)? {
                Life::Running => "runs".to_owned(),
                Life::Paused => "is paused".to_owned(),
                Life::Ended(status) => format!("has ended: {status}"),
            };
            text += &format!(
                "node {}: redis-server {state}; agent {agent}\n",
                node.number
            );
        }
        print(&text)
    }

    /// Asks the agent beside the primary: who leads is who hands over.
    fn hand_over(&mut self, to: Option<usize>) -> Result<()> {
        let Some(from) = self
            .states
            .iter()
            .position(|state| *state == Some(State::Primary))
        else {
            return self.say("switchover: there is no primary at this moment");
        };
        let admin = self.group.nodes[from].ports.admin;
        let to = to.map(|number| self.group.node(number).ports.member());
        let names: Vec<_> = self
            .group
            .nodes
            .iter()
            .map(|node| node.ports.member())
            .collect();
        let events = self.events.clone();
        tokio::spawn(async move {
            let done = switchover(admin, to).await;
            let mut text = done.unwrap_or_else(|error| format!("{error:#}"));
            for (name, number) in names.iter().zip(1..) {
                text = text.replace(name, &format!("node {number}"));
            }
            // If nobody listens any more, the group has ended.
            _ = events
                .send(Event::Said(format!("switchover: {text}")))
                .await;
        });
        Ok(())
    }

    /// Tells once that an agent has ended, and what it said last unless a signal ended it.
    fn look_at_agents(&mut self) -> Result<()> {
        for index in 0..self.agent_runs.len() {
            let node = &mut self.group.nodes[index];
            let Life::Ended(status) = node.life(Part::Agent)? else {
                continue;
            };
            if !std::mem::take(&mut self.agent_runs[index]) {
                continue;
            }
            let last_words = match status.code() {
                Some(_) => format!("\n{}", node.last_words()?),
                None => String::new(),
            };
            let number = node.number;
            self.say(&format!(
                "node {number}: agent has ended: {status}{last_words}"
            ))?;
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        drop(self.group);
        print("All processes have ended.\n")
    }

    fn describe(&self, state: State) -> String {
        let nodes = &self.group.nodes;
        let node_at = |port| nodes.iter().find(|node| node.ports.redis == port);
        state.describe(|port| node_at(port).map(|node| node.number))
    }

    /// A line with the time, in seconds since the start.
    fn say(&self, line: &str) -> Result<()> {
        print(&format!(
            "[{:8.3}] {line}\n",
            self.begun.elapsed().as_secs_f64()
        ))
    }
}

/// Unlike `println!`, does not panic when standard output is closed, so that the group is ended in
/// order.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .context("cannot write to standard output")?;
    stdout.flush().context("cannot write to standard output")
}

//! The nodes of a group as processes, and a writer that knows what it was told.

use std::{
    collections::BTreeSet,
    env,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bellwether_testkit::{Network, Process, Program, ports, until};
use tempfile::TempDir;

/// Long enough for any wait on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A group and who writes to it.
pub(crate) struct Flock {
    addresses: Vec<SocketAddr>,
    /// Where the nodes have a machine each, if they do.
    pub(crate) network: Option<Network>,
    disk: Option<TempDir>,
    pub(crate) nodes: Vec<Option<Process>>,
    orders: u64,
    number: u64,
    /// What was acknowledged.
    acknowledged: BTreeSet<u64>,
    /// What may have been applied.
    unknown: BTreeSet<u64>,
}

impl Flock {
    /// Three nodes, all started.
    pub(crate) fn of_three(disk: Option<TempDir>) -> Result<Self> {
        let address = |_| Ok(SocketAddr::from(([127, 0, 0, 1], ports::free()?)));
        let addresses: Result<Vec<_>> = (0..3).map(address).collect();
        Self::at(addresses?, disk, None)
    }

    /// Three nodes on a machine each, all started.
    pub(crate) fn on_network() -> Result<Self> {
        let network = Network::new(3)?;
        let addresses = network
            .hosts()
            .iter()
            .map(|host| (host.address, 7000).into());
        Self::at(addresses.collect(), None, Some(network))
    }

    fn at(
        addresses: Vec<SocketAddr>,
        disk: Option<TempDir>,
        network: Option<Network>,
    ) -> Result<Self> {
        let mut flock = Self {
            addresses,
            network,
            disk,
            nodes: Vec::new(),
            orders: 0,
            number: 0,
            acknowledged: BTreeSet::new(),
            unknown: BTreeSet::new(),
        };
        for n in 0..3 {
            flock.nodes.push(None);
            flock.start(n)?;
        }
        Ok(flock)
    }

    pub(crate) fn start(&mut self, n: usize) -> Result<()> {
        let address = self.addresses[n].to_string();
        let data = self
            .disk
            .as_ref()
            .map(|disk| disk.path().join(n.to_string()));
        let data = data.map_or("-".into(), |path| path.to_string_lossy().into_owned());
        let mut program = Program::new(env::current_exe()?)
            .args(["node", &address, &data])
            .args(self.addresses.iter().map(ToString::to_string))
            .captured()
            .typed();
        if let Some(network) = &self.network {
            program = program.namespace(&network.hosts()[n].namespace);
        }
        self.nodes[n] = Some(program.spawn()?);
        Ok(())
    }

    pub(crate) fn node(&mut self, n: usize) -> Result<&mut Process> {
        self.nodes[n].as_mut().context("it runs")
    }

    pub(crate) fn kill(&mut self, n: usize) -> Result<()> {
        self.node(n)?.kill()?;
        self.nodes[n] = None;
        Ok(())
    }

    /// Gives an order and waits for the answer; nothing, if none comes in time.
    fn order(&mut self, n: usize, order: &str, within: Duration) -> Result<Option<String>> {
        self.orders += 1;
        let tag = format!("#{} ", self.orders);
        let line = format!("{tag}{order}");
        let node = self.node(n)?;
        // One that has ended takes no orders.
        if node.type_line(line.trim_start_matches('#')).is_err() {
            return Ok(None);
        }
        let answer = node.lines().wait_for(&tag, within).ok();
        Ok(answer.and_then(|line| line.strip_prefix(&tag).map(Into::into)))
    }

    fn running(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|n| self.nodes[*n].is_some())
            .collect()
    }

    /// The node that says that it leads.
    pub(crate) fn leader(&mut self) -> Result<usize> {
        until(LONG, "a leader", || -> Result<usize> {
            for n in self.running() {
                if self.order(n, "leads", Duration::from_secs(1))?.as_deref() == Some("true") {
                    return Ok(n);
                }
            }
            bail!("nobody says so")
        })
    }

    /// Whether a node refuses what is proposed to it.
    pub(crate) fn refuses(&mut self, n: usize) -> Result<()> {
        until(LONG, "a refusal", || -> Result<()> {
            self.number += 1;
            let order = format!("add {}", self.number);
            let answer = self.order(n, &order, LONG)?.context("no answer")?;
            if answer.starts_with("refused") {
                return Ok(());
            }
            self.unknown.insert(self.number);
            ensure!(answer == "unknown", "{answer}");
            bail!("it is taken")
        })
    }

    /// Adds the next number wherever it is taken.
    pub(crate) fn write(&mut self) -> Result<()> {
        self.number += 1;
        let number = self.number;
        until(LONG, "a proposal", || -> Result<()> {
            for n in self.running() {
                match self.order(n, &format!("add {number}"), LONG)?.as_deref() {
                    Some(done) if done.starts_with("done") => {
                        self.acknowledged.insert(number);
                        return Ok(());
                    }
                    Some(refused) if refused.starts_with("refused") => {}
                    _ => {
                        self.unknown.insert(number);
                        return Ok(());
                    }
                }
            }
            bail!("all refuse")
        })
    }

    /// Gives the order to add the next number and does not wait: whether it is done nobody knows.
    pub(crate) fn write_blindly(&mut self, n: usize) -> Result<()> {
        self.number += 1;
        self.orders += 1;
        let line = format!("{} add {}", self.orders, self.number);
        self.unknown.insert(self.number);
        self.node(n)?.type_line(&line)
    }

    /// Writes until a proposal is acknowledged; how long that took.
    pub(crate) fn gap(&mut self) -> Result<Duration> {
        let (began, known) = (Instant::now(), self.acknowledged.len());
        while self.acknowledged.len() == known {
            self.write()?;
        }
        Ok(began.elapsed())
    }

    /// Waits until three nodes vote, this one among them, and all of them answer.
    pub(crate) fn settle(&mut self, n: usize) -> Result<()> {
        until(LONG, "three voters that answer", || -> Result<()> {
            // One that was killed a moment ago seems to answer, so the new one is asked itself.
            let votes = self.order(n, "votes", LONG)?.context("no answer")?;
            ensure!(votes == "true", "node {n} does not vote");
            let leader = self.leader()?;
            let voters = self.order(leader, "voters", LONG)?.context("no answer")?;
            ensure!(voters == "3 of 3, 0 learn", "{voters}");
            Ok(())
        })
    }

    /// All running nodes have all that was acknowledged, once and in the same order, and nothing
    /// that was never proposed.
    pub(crate) fn check(&mut self) -> Result<()> {
        let mut first: Option<Vec<u64>> = None;
        self.write()?;
        for n in self.running() {
            let seen = until(LONG, "a read", || -> Result<Vec<u64>> {
                let seen = self.order(n, "seen", LONG)?.context("no answer")?;
                let inner = seen.strip_prefix('[').and_then(|s| s.strip_suffix(']'));
                let numbers = inner.with_context(|| seen.clone())?.split(", ");
                Ok(numbers.map(str::parse).collect::<Result<Vec<u64>, _>>()?)
            })?;
            let once: BTreeSet<u64> = seen.iter().copied().collect();
            ensure!(
                once.len() == seen.len(),
                "node {n} has something twice: {seen:?}"
            );
            let lost: Vec<_> = self.acknowledged.difference(&once).collect();
            ensure!(lost.is_empty(), "node {n} has lost {lost:?} of {seen:?}");
            let strange = once.iter().find(|number| {
                !self.acknowledged.contains(number) && !self.unknown.contains(number)
            });
            ensure!(
                strange.is_none(),
                "node {n} has {strange:?}, which was refused"
            );
            // What is behind may be proposals that were unknown and are applied by now.
            let known = first.get_or_insert_with(|| seen.clone());
            let same = known.iter().zip(&seen).all(|(a, b)| a == b);
            ensure!(same, "node {n} has {seen:?}, another {known:?}");
        }
        Ok(())
    }
}

//! Three nodes as processes.

use std::{env, fmt, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bellwether_testkit::{Process, Program, ports, until};

use crate::load::Load;

/// Long enough for any wait on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// What is not measured before what is.
const WARM_UP: Duration = Duration::from_millis(200);

/// A run of clients, and what it cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) load: Load,
    /// Microseconds of processor time a command, over all three processes.
    pub(crate) cpu: f64,
}

impl Measured {
    /// Commands a second.
    pub(crate) fn rate(&self) -> f64 {
        self.load.commands as f64 / self.load.seconds
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, Load { p50, p99, .. }) = (self.rate(), self.load);
        let cpu = self.cpu;
        write!(
            f,
            "{rate:.0}/s, p50 {p50} µs, p99 {p99} µs, CPU {cpu:.2} µs"
        )
    }
}

/// A group whose nodes are processes. Dropping it kills them.
pub(crate) struct Flock {
    nodes: Vec<Process>,
    orders: u64,
}

impl Flock {
    /// Starts three nodes; they keep their logs in this directory, if one is named.
    pub(crate) fn start(data: Option<&Path>) -> Result<Self> {
        let address = |_| Ok(SocketAddr::from(([127, 0, 0, 1], ports::free()?)).to_string());
        let addresses: Vec<_> = (0..3).map(address).collect::<Result<_>>()?;
        let start = |address: &String| {
            let data = data.map(|data| data.join(address.replace(':', "-")));
            let data = data.map_or("-".into(), std::path::PathBuf::into_os_string);
            Program::new(env::current_exe()?)
                .args(["node", address])
                .arg(data)
                .args(&addresses)
                .captured()
                .typed()
                .spawn()
        };
        Ok(Self {
            nodes: addresses.iter().map(start).collect::<Result<_>>()?,
            orders: 0,
        })
    }

    /// Runs as many clients on the leader for so long.
    pub(crate) fn measure(&mut self, clients: usize, during: Duration) -> Result<Measured> {
        let leader = self.leader()?;
        let load = |flock: &mut Self, during: Duration| -> Result<Load> {
            let order = format!("load {clients} {}", during.as_millis());
            flock.order(leader, &order)?.parse()
        };
        load(self, WARM_UP)?;
        let before = self.cpu()?;
        let load = load(self, during)?;
        let spent = self.cpu()? - before;
        let cpu = spent as f64 / load.commands as f64;
        Ok(Measured { load, cpu })
    }

    fn leader(&mut self) -> Result<usize> {
        until(LONG, "a leader that all answer", || -> Result<usize> {
            for n in 0..self.nodes.len() {
                if self.order(n, "ready")? == "true" {
                    return Ok(n);
                }
            }
            anyhow::bail!("nobody says so")
        })
    }

    /// Microseconds that all nodes have used so far.
    fn cpu(&mut self) -> Result<u64> {
        let mut sum = 0;
        for n in 0..self.nodes.len() {
            sum += self.order(n, "cpu")?.parse::<u64>()?;
        }
        Ok(sum)
    }

    fn order(&mut self, n: usize, order: &str) -> Result<String> {
        self.orders += 1;
        let number = self.orders;
        let node = &mut self.nodes[n];
        node.type_line(&format!("{number} {order}"))?;
        let tag = format!("#{number} ");
        let line = node.lines().wait_for(&tag, LONG)?;
        let answer = line
            .strip_prefix(&tag)
            .context("an answer begins with its number")?;
        ensure!(!answer.starts_with("failed"), "{order}: {answer}");
        Ok(answer.to_owned())
    }
}

//! Clients on the leader: each proposes a command as soon as the one before is acknowledged.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Error, Result};
use bellwether_raft::Group;
use tokio::task::JoinSet;

use crate::slots::{Slots, set};

/// What the clients saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) commands: u64,
    pub(crate) seconds: f64,
    /// Microseconds that half of the commands took at most.
    pub(crate) p50: u64,
    /// Microseconds that all but a hundredth took at most.
    pub(crate) p99: u64,
}

/// Runs as many clients for so long.
pub(crate) async fn run(
    group: &Arc<Group<Slots>>,
    clients: usize,
    during: Duration,
) -> Result<Load> {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for client in 0..clients as u64 {
        let group = Arc::clone(group);
        running.spawn(async move {
            let mut times = Vec::new();
            let mut number = client;
            let mut asked = Instant::now();
            while asked.duration_since(began) < during {
                group.propose(set(number)).await?;
                let now = Instant::now();
                times.push(now.duration_since(asked).as_micros() as u64);
                asked = now;
                number += 1009;
            }
            Ok::<_, bellwether_raft::Error>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(client) = running.join_next().await {
        times.extend(client??);
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(Load {
        commands: times.len() as u64,
        seconds,
        p50: quantile(&mut times, 0.5)?,
        p99: quantile(&mut times, 0.99)?,
    })
}

fn quantile(times: &mut [u64], share: f64) -> Result<u64> {
    let at = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    let found = times
        .get(at)
        .is_some()
        .then(|| times.select_nth_unstable(at));
    found
        .map(|(_, time, _)| *time)
        .context("not one command was acknowledged")
}

/// On its way from the node to who ordered it.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            commands,
            seconds,
            p50,
            p99,
        } = self;
        write!(f, "{commands} {seconds} {p50} {p99}")
    }
}

impl FromStr for Load {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split(' ');
        let mut next = || words.next().with_context(|| text.to_owned());
        Ok(Self {
            commands: next()?.parse()?,
            seconds: next()?.parse()?,
            p50: next()?.parse()?,
            p99: next()?.parse()?,
        })
    }
}

//! How long nothing is acknowledged while leadership is handed over.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use bellwether_raft::{Config, Error, Group, Member, NodeId, Roster, Storage};
use bellwether_testkit::ports;
use tokio::{runtime::Builder, time::sleep};

use crate::slots::{Slots, set};

/// Long enough for any wait on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// For so long is written before and after.
const AROUND: Duration = Duration::from_millis(300);

/// A writer pauses for so long.
const TURN: Duration = Duration::from_millis(1);

type Nodes = BTreeMap<NodeId, Arc<Group<Slots>>>;

/// The longest times without an acknowledgement, among three nodes in this process.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// While leadership was handed over.
    pub(crate) handed_over: Vec<Duration>,
    /// While nothing happened: what the machine does to any writer.
    pub(crate) quiet: Vec<Duration>,
}

/// Measures so many of each, in turn.
pub(crate) fn gaps(count: usize) -> Result<Gaps> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let nodes = start().await?;
        let mut gaps = Gaps::default();
        for _ in 0..count {
            gaps.quiet.push(longest_pause(&nodes).await?);
            let leader = write(&nodes, nodes.keys().next().copied()).await?;
            let handing_over = tokio::spawn(hand_over(Arc::clone(&nodes[&leader])));
            gaps.handed_over.push(longest_pause(&nodes).await?);
            handing_over.await??;
        }
        Ok(gaps)
    })
}

async fn start() -> Result<Nodes> {
    let member = |n| {
        Ok(Member::new(
            format!("node-{n}"),
            "127.0.0.1",
            ports::free()?,
        ))
    };
    let members: Vec<_> = (0..3).map(member).collect::<Result<_>>()?;
    let mut nodes = Nodes::new();
    for member in &members {
        let listen = ([127, 0, 0, 1], member.port).into();
        let config = Config::new("flock", &member.name, listen, Storage::Memory);
        let roster = Roster::fixed(members.clone());
        let node = Group::start(config, roster, Slots::default()).await?;
        nodes.insert(node.id(), Arc::new(node));
    }
    Ok(nodes)
}

/// Hands over to another node, after a while.
async fn hand_over(from: Arc<Group<Slots>>) -> Result<()> {
    sleep(AROUND).await;
    let status = from.status();
    let others = status.voters.iter().map(|peer| peer.id);
    let to = others.filter(|id| *id != from.id()).max();
    Ok(from.transfer(to.context("it is not alone")?).await?)
}

/// Writes for a while, a command each millisecond or two, and finds the longest pause.
async fn longest_pause(nodes: &Nodes) -> Result<Duration> {
    let mut leader = write(nodes, nodes.keys().next().copied()).await?;
    let began = Instant::now();
    let (mut last, mut longest) = (began, Duration::ZERO);
    while began.elapsed() < AROUND * 3 {
        sleep(TURN).await;
        leader = write(nodes, Some(leader)).await?;
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    Ok(longest)
}

/// Has one command acknowledged, by whoever leads.
async fn write(nodes: &Nodes, first: Option<NodeId>) -> Result<NodeId> {
    let mut at = first.context("there are nodes")?;
    let began = Instant::now();
    while began.elapsed() < LONG {
        match nodes[&at].propose(set(1)).await {
            Ok(_) => return Ok(at),
            Err(Error::NotLeader {
                leader: Some(leader),
            }) => at = leader.id,
            // Being handed over: the others know who leads as soon as somebody does.
            Err(Error::NotLeader { leader: None } | Error::NoQuorum) => {
                let next = nodes.keys().find(|id| **id > at).or(nodes.keys().next());
                at = *next.context("there are nodes")?;
            }
            Err(error) => return Err(error.into()),
        }
        // Who tries without a pause is put off by the scheduler just when it matters.
        sleep(TURN).await;
    }
    bail!("nothing was acknowledged for {LONG:?}")
}

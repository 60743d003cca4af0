//! One node: takes orders from its standard input, and answers each with its number.

use std::{
    io::{BufRead as _, stdin},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use bellwether_raft::{Config, Group, Leadership, Member, Roster, Storage};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike as _},
};
use tokio::{runtime::Builder, sync::mpsc};

use crate::{load, slots::Slots};

/// Runs a node until its input ends. Its settings are its own address, its data directory or `-`,
/// and all addresses.
pub(crate) fn run(settings: &[String]) -> Result<()> {
    let [address, data, all @ ..] = settings else {
        bail!("a node needs an address, a directory and all addresses");
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let storage = match data.as_str() {
            "-" => Storage::Memory,
            path => Storage::Directory(path.into()),
        };
        let config = Config::new("flock", address, address.parse()?, storage);
        let members = all.iter().map(|address| member(address));
        let roster = Roster::fixed(members.collect::<Result<Vec<_>>>()?);
        let group = Arc::new(Group::start(config, roster, Slots::default()).await?);
        let mut orders = orders();
        while let Some(line) = orders.recv().await {
            let (number, order) = line.split_once(' ').context("an order has a number")?;
            let answer = answer(&group, order).await;
            println!(
                "#{number} {}",
                answer.unwrap_or_else(|error| format!("failed: {error:#}"))
            );
        }
        Ok(())
    })
}

/// The members of a fixed list are named by their addresses.
fn member(address: &str) -> Result<Member> {
    let at: SocketAddr = address.parse()?;
    Ok(Member::new(address, at.ip().to_string(), at.port()))
}

fn orders() -> mpsc::UnboundedReceiver<String> {
    let (orders, ordered) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if orders.send(line).is_err() {
                return;
            }
        }
    });
    ordered
}

async fn answer(group: &Arc<Group<Slots>>, order: &str) -> Result<String> {
    let words: Vec<_> = order.split(' ').collect();
    match words[..] {
        ["ready"] => {
            let leads = matches!(*group.leadership().borrow(), Leadership::Leading { .. });
            let status = group.status();
            Ok((leads && status.voters.len() == 3 && status.answering.len() == 3).to_string())
        }
        ["cpu"] => Ok(cpu()?.as_micros().to_string()),
        ["load", clients, millis] => {
            let during = Duration::from_millis(millis.parse()?);
            Ok(load::run(group, clients.parse()?, during)
                .await?
                .to_string())
        }
        _ => bail!("what is {order:?}?"),
    }
}

/// The processor time that this process has used so far, in user space and in the kernel.
fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |time: TimeVal| u64::try_from(time.num_microseconds());
    let micros = micros(usage.user_time())? + micros(usage.system_time())?;
    Ok(Duration::from_micros(micros))
}

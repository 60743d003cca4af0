//! One node: takes orders from its standard input, and answers each with its number.

use std::{
    io::{BufRead as _, stdin},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use bellwether_raft::{
    Config, Consistency, Error, Group, Leadership, Member, Peer, Roster, Storage,
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::counter::{Counter, add, sum};

/// Runs a node until its input ends or it is told to go. Its settings are its own address, its data
/// directory or `-`, and all addresses.
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
        let members: Result<Vec<_>> = all
            .iter()
            .map(|address| {
                let at: SocketAddr = address.parse()?;
                Ok(Member::new(address, at.ip().to_string(), at.port()))
            })
            .collect();
        let group = Group::start(config, Roster::fixed(members?), Counter::default()).await?;
        serve(Arc::new(group)).await
    })
}

async fn serve(group: Arc<Group<Counter>>) -> Result<()> {
    let (orders, mut ordered) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if orders.send(line).is_err() {
                return;
            }
        }
    });
    let mut goodbye = signal(SignalKind::terminate())?;
    loop {
        let line = tokio::select! {
            line = ordered.recv() => line,
            _ = goodbye.recv() => None,
        };
        let Some(line) = line else { break };
        let group = Arc::clone(&group);
        tokio::spawn(async move {
            let Some((number, order)) = line.split_once(' ') else {
                return;
            };
            println!("#{number} {}", answer(&group, order).await);
        });
    }
    match Arc::try_unwrap(group) {
        Ok(group) => group.shutdown().await,
        // An order is still under way.
        Err(_) => println!("ended in the middle of an order"),
    }
    Ok(())
}

async fn answer(group: &Group<Counter>, order: &str) -> String {
    match order.split_once(' ') {
        Some(("add", number)) => match propose(group, number).await {
            Ok(sum) => format!("done {sum}"),
            Err(error) => match error.downcast_ref::<Error>() {
                Some(Error::Unknown) => "unknown".into(),
                _ => format!("refused {error}"),
            },
        },
        None if order == "leads" => {
            let leads = matches!(*group.leadership().borrow(), Leadership::Leading { .. });
            format!("{leads}")
        }
        None if order == "votes" => {
            let status = group.status();
            let votes = status.voters.iter().any(|peer| peer.id == status.node.id);
            format!("{votes}")
        }
        None if order == "voters" => {
            let status = group.status();
            let answers = |peer: &&Peer| status.answering.contains(&peer.id);
            let answering = status.voters.iter().filter(answers).count();
            let learners = status.learners.len();
            format!("{answering} of {}, {learners} learn", status.voters.len())
        }
        None if order == "seen" => {
            match group
                .read(Consistency::Linearizable, |c| c.seen.clone())
                .await
            {
                Ok(seen) => format!("{seen:?}"),
                Err(error) => format!("refused {error}"),
            }
        }
        _ => format!("what is {order:?}?"),
    }
}

async fn propose(group: &Group<Counter>, number: &str) -> Result<u64> {
    let number = number.parse().context("a number")?;
    Ok(sum(&group.propose(add(number)).await?))
}

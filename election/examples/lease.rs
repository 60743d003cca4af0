//! Runs something on one of many processes: whichever holds a Lease in Kubernetes.
//!
//! Start it in several terminals: `cargo run -p bellwether-election --features kube --example lease`

use std::time::Duration;

use bellwether_election::{Election, Lease, LeaseConfig, Led, Rank, seat};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let member = std::env::var("HOSTNAME").unwrap_or_else(|_| "somebody".into());
    let mut election = Lease::connect(LeaseConfig::new("example", member)).await?;
    let (participant, seat) = seat("no card".into());
    let running = tokio::spawn(async move { election.run(seat).await });

    let greet = async |term| {
        for count in 1.. {
            println!("leading in term {term}, {count}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        _ = async { while participant.lead(Rank::default(), greet).await == Led::Deposed {} } => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    // Whoever leaves in peace is replaced at once.
    drop(participant);
    Ok(running.await??)
}

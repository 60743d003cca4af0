//! Why a leader hands its term to what it changes: a leader that was stopped finds out late.
//!
//! Two leaders of one Lease write to one account. The first is slow: when its write arrives, it
//! leads no more. The account refuses it, because it has seen a higher term.
//!
//! Run it: `cargo run -p bellwether-election --features kube --example fencing`

use std::sync::Mutex;

use bellwether_election::{Election, Leadership, Lease, LeaseConfig, Rank, Term, seat};

/// Something outside of the cluster that keeps the highest term it was ever shown.
#[derive(Default)]
struct Account(Mutex<(Term, i64)>);

impl Account {
    /// Takes the change, unless a later leader was here already.
    fn add(&self, term: Term, amount: i64) -> Result<i64, Term> {
        let mut state = self.0.lock().expect("nobody panics with it");
        let (highest, balance) = &mut *state;
        if term < *highest {
            return Err(*highest);
        }
        *highest = term;
        *balance += amount;
        Ok(*balance)
    }
}

/// Leads once and resigns; returns the term it led in.
async fn lead_once(member: &str) -> Result<Term, Box<dyn std::error::Error>> {
    let mut election = Lease::connect(LeaseConfig::new("example-account", member)).await?;
    let (participant, seat) = seat("no card".into());
    let running = tokio::spawn(async move { election.run(seat).await });
    participant.campaign(Rank::default());
    let mut leadership = participant.leadership();
    let leads = |now: &Leadership| matches!(now, Leadership::Leading { .. });
    let term = leadership.wait_for(leads).await?.term().expect("it leads");
    drop(participant);
    running.await??;
    Ok(term)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let account = Account::default();
    let slow = lead_once("slow").await?;
    let quick = lead_once("quick").await?;
    println!(
        "quick adds 100 in term {quick}: {:?}",
        account.add(quick, 100)
    );
    println!("slow adds 100 in term {slow}: {:?}", account.add(slow, 100));
    assert_eq!(account.add(slow, 100), Err(quick));
    Ok(())
}

//! How many commands a group of three processes takes, how long each is under way, and what it costs.
//!
//! `cargo xtask bench raft`, or `cargo bench -p bellwether-raft --bench group -- ROUNDS SECONDS`. The
//! clients are tasks on the leader, each with one command of 64 bytes under way at a time, so that
//! the group is measured and not a protocol in front of it. It ends with 1 if a limit was missed.

mod disk;
mod flock;
mod hand_over;
mod load;
mod node;
mod report;
mod slots;

use std::{env, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};

use flock::Flock;
use report::Report;

/// So many commands are under way at a time.
const IN_FLIGHT: [usize; 3] = [1, 64, 1024];

/// How often leadership is handed over.
const HAND_OVERS: usize = 10;

fn main() -> Result<ExitCode> {
    // Cargo adds `--bench`.
    let arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let arguments: Vec<_> = arguments.collect();
    if let Some(("node", settings)) = arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        node::run(settings)?;
        return Ok(ExitCode::SUCCESS);
    }
    let number = |at: usize, default: f64| {
        let given = arguments.get(at).map(|text| text.parse::<f64>());
        let given = given
            .transpose()
            .context("ROUNDS and SECONDS are numbers")?;
        let given = given.unwrap_or(default);
        ensure!(
            (0.1..=1000.0).contains(&given),
            "{given} is no number of rounds or seconds"
        );
        anyhow::Ok(given)
    };
    let rounds = number(0, 5.0)?.ceil() as usize;
    let during = Duration::from_secs_f64(number(1, 1.5)?);

    let report = measure(rounds, during)?;
    let gaps = hand_over::gaps(HAND_OVERS)?;
    Ok(if report.print(&gaps) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Both groups in turn, as often as asked for.
fn measure(rounds: usize, during: Duration) -> Result<Report> {
    let data = tempfile::tempdir()?;
    let mut memory = Flock::start(None)?;
    let mut durable = Flock::start(Some(data.path()))?;
    let mut report = Report::default();
    for round in 1..=rounds {
        for in_flight in IN_FLIGHT {
            for (storage, flock) in [("memory", &mut memory), ("durable", &mut durable)] {
                if storage == "durable" {
                    // Right before, as others use the disk too, and the last run's log is still
                    // being written.
                    report.syncs.push(disk::syncs_per_second(data.path())?);
                }
                match flock.measure(in_flight, during) {
                    Ok(measured) => {
                        println!("round {round}, {storage}, {in_flight} in flight: {measured}");
                        report.add(storage, in_flight, measured);
                    }
                    Err(error) => {
                        println!("round {round}, {storage}, {in_flight} in flight: {error:#}");
                        report.broken += 1;
                    }
                }
            }
        }
    }
    Ok(report)
}

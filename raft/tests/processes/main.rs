//! Groups whose nodes are processes: killed, stopped, ended and started again. This program starts
//! itself for each node.

#[path = "../group/counter.rs"]
mod counter;
mod flock;
mod node;
mod scenes;

use std::{env, process::ExitCode, time::Instant};

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(("node", settings)) = arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        node::run(settings)?;
        return Ok(ExitCode::SUCCESS);
    }
    // As the usual harness: words that a scene's name must contain, and switches that mean nothing
    // here.
    let words: Vec<_> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let chosen = |name: &&str| words.is_empty() || words.iter().any(|word| name.contains(*word));
    let mut failed = 0;
    for (name, scene) in scenes::ALL {
        if !chosen(name) || arguments.iter().any(|argument| argument == "--list") {
            continue;
        }
        let began = Instant::now();
        match scene() {
            Ok(()) => println!("scene {name} ... ok, {:.1?}", began.elapsed()),
            Err(error) => {
                println!("scene {name} ... FAILED: {error:#}");
                failed += 1;
            }
        }
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

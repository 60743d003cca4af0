//! The proxy beside its peers: redis-benchmark asks redis-server directly and through each, in turn.
//!
//! Where the scheduler happens to place client, proxy and server moves a single run between half
//! and one and a half times its usual speed. So runs are short and many, each run through a proxy
//! stands beside a direct one, and what counts is the median of the ratios of such pairs.

mod callgrind;
mod client;
mod cpu;
mod crowd;
mod hostile;
mod machine;
mod report;
mod rounds;
mod split;
mod spread;
mod stand;
mod targets;
mod workload;

use std::path::PathBuf;

use anyhow::Result;

use self::{targets::Peer, workload::Workload};

/// How the measurement is made.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each workload is run through each proxy, each time beside a direct run
    /// [default: 15, read split 7, crowd and callgrind 5].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// About how long a direct run takes.
    #[arg(long, default_value_t = 1.5, value_parser = seconds)]
    seconds: f64,
    /// Only this workload; may be given several times.
    #[arg(long, value_enum, value_name = "WORKLOAD")]
    only: Vec<Workload>,
    /// Only this peer; may be given several times.
    #[arg(long, value_enum, value_name = "NAME")]
    peer: Vec<Peer>,
    /// Leave the peers out.
    #[arg(long, conflicts_with = "peer")]
    alone: bool,
    /// More flags for our proxy, separated by blanks. Given several times: a variant each, measured
    /// side by side; limits are checked for the first.
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    ours_flags: Vec<String>,
    /// The proxy to measure, instead of one that is built from here.
    #[arg(long, value_name = "PATH")]
    proxy: Option<PathBuf>,
    /// Instead: what splitting reads from writes costs, in CPU time.
    #[arg(long, group = "instead")]
    read_split: bool,
    /// Instead: memory for each of 10,000 idle clients, and what hostile clients do to the others.
    #[arg(long, group = "instead")]
    crowd: bool,
    /// Instead: instructions for each command, counted by valgrind. A further variant may execute
    /// 1% more than the first.
    #[arg(long, group = "instead")]
    callgrind: bool,
}

impl Arguments {
    fn rounds(&self, default: u16) -> usize {
        self.rounds.unwrap_or(default).into()
    }

    fn workloads(&self) -> Vec<Workload> {
        chosen(&self.only)
    }

    fn peers(&self) -> Vec<Peer> {
        if self.alone {
            Vec::new()
        } else {
            chosen(&self.peer)
        }
    }

    fn variants(&self) -> Vec<String> {
        if self.ours_flags.is_empty() {
            vec![String::new()]
        } else {
            self.ours_flags.clone()
        }
    }
}

/// All there are, unless some were named.
fn chosen<T: clap::ValueEnum + Clone>(named: &[T]) -> Vec<T> {
    if named.is_empty() {
        T::value_variants().to_vec()
    } else {
        named.to_vec()
    }
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| (0.1..=60.0).contains(seconds))
        .ok_or_else(|| "must be a number of seconds from 0.1 to 60".to_owned())
}

/// Measures what was asked for, prints tables, and fails if a limit was missed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.read_split {
        split::run(arguments)
    } else if arguments.crowd {
        crowd::run(arguments)
    } else if arguments.callgrind {
        callgrind::run(arguments)
    } else {
        rounds::run(arguments)
    }
}

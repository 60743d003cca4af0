//! What is asked, and what the project's own proxy has to reach with it.

use std::iter;

use clap::ValueEnum;

/// Small values, as many as redis-benchmark's random numbers may name.
const SMALL: Data = Data {
    prefix: "key:",
    keys: 100_000,
    bytes: 64,
};
/// Large values. Fewer, or they would need 1.6 GB.
const LARGE: Data = Data {
    prefix: "large:",
    keys: 10_000,
    bytes: 16 << 10,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Workload {
    #[value(name = "get-c50")]
    GetC50,
    #[value(name = "set-c50")]
    SetC50,
    #[value(name = "get-c500")]
    GetC500,
    #[value(name = "get-c1")]
    GetC1,
    #[value(name = "get-p16")]
    GetP16,
    #[value(name = "set-p16")]
    SetP16,
    #[value(name = "get-16k")]
    Get16K,
}

/// What one run of redis-benchmark is asked to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) clients: usize,
    /// Requests that each client sends at once.
    pub(super) pipeline: usize,
    pub(super) command: Command,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Get,
    Set,
    GetLarge,
}

/// What must be reached, and what would be good, as ratios to redis-server asked directly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Requests per second: at least.
    pub(super) rate: Limit,
    /// Processor time for each command: at most.
    pub(super) cpu: Limit,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) limit: f64,
    pub(super) aim: f64,
}

impl Workload {
    /// As on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.expect("none is hidden").get_name().to_owned()
    }

    pub(super) fn load(self) -> Load {
        let load = |command, clients, pipeline| Load {
            clients,
            pipeline,
            command,
        };
        match self {
            Self::GetC50 => load(Command::Get, 50, 1),
            Self::SetC50 => load(Command::Set, 50, 1),
            Self::GetC500 => load(Command::Get, 500, 1),
            Self::GetC1 => load(Command::Get, 1, 1),
            Self::GetP16 => load(Command::Get, 50, 16),
            Self::SetP16 => load(Command::Set, 50, 16),
            Self::Get16K => load(Command::GetLarge, 50, 1),
        }
    }

    /// From what the best peer reached on the same machine: in short, as fast or faster, for less.
    pub(super) fn limits(self) -> Limits {
        let limits = |rate: (f64, f64), cpu: (f64, f64)| {
            let limit = |(limit, aim)| Limit { limit, aim };
            Limits {
                rate: limit(rate),
                cpu: limit(cpu),
            }
        };
        match self {
            Self::GetC50 | Self::SetC50 => limits((1.05, 1.12), (0.78, 0.65)),
            Self::GetC500 => limits((1.08, 1.20), (0.80, 0.65)),
            Self::GetC1 => limits((0.70, 0.75), (1.25, 1.10)),
            Self::GetP16 | Self::SetP16 => limits((0.80, 1.00), (0.60, 0.40)),
            Self::Get16K => limits((0.75, 0.90), (0.75, 0.60)),
        }
    }
}

impl Command {
    /// As redis-benchmark takes it: it puts twelve digits in the place of `__rand_int__`.
    pub(super) fn words(self) -> Vec<String> {
        let key = format!("{}__rand_int__", self.data().prefix);
        match self {
            Self::Get | Self::GetLarge => vec!["GET".into(), key],
            Self::Set => vec!["SET".into(), key, self.data().value()],
        }
    }

    pub(super) fn data(self) -> Data {
        match self {
            Self::Get | Self::Set => SMALL,
            Self::GetLarge => LARGE,
        }
    }
}

/// Keys that exist before the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    prefix: &'static str,
    pub(super) keys: usize,
    bytes: usize,
}

impl Data {
    pub(super) const ALL: [Self; 2] = [SMALL, LARGE];

    pub(super) fn key(self, number: usize) -> String {
        format!("{}{number:012}", self.prefix)
    }

    pub(super) fn value(self) -> String {
        iter::repeat_n('x', self.bytes).collect()
    }
}

//! `bellwether`: a highly available Redis group on this machine.

use std::{env, process::ExitCode};

use bellwether_hive::{
    Settings,
    cli::{self, Checked, LogFormat},
};
use bellwether_quickstart::{AGENT, Group, Options, attend, is_orphan};
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|word| word == AGENT) {
        if is_orphan() {
            eprintln!("bellwether: the group that started this agent is gone");
            return ExitCode::FAILURE;
        }
        cli::main(|Agent { role }: Agent| match role {
            Role::Agent(settings) => bellwether_hive::run(*settings, cli::terminated()),
        })
    } else {
        group()
    }
}

/// One agent of the group, as [`Group::start`] runs it.
#[derive(Debug, Parser)]
#[command(name = "bellwether")]
struct Agent {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    Agent(Box<Settings>),
}

impl Checked for Agent {
    fn log_format(&self) -> LogFormat {
        let Role::Agent(settings) = &self.role;
        settings.log_format()
    }

    fn check(&self) -> Result<(), String> {
        let Role::Agent(settings) = &self.role;
        settings.check()
    }
}

/// A highly available Redis group on this machine, to look at and to hurt.
///
/// Starts redis-servers and agents, prints where to connect, and shows every change of role. Type
/// help while it runs.
#[derive(Debug, Parser)]
#[command(name = "bellwether", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn group() -> ExitCode {
    let options = match Arguments::try_parse() {
        Ok(arguments) => arguments.options,
        Err(error) if error.use_stderr() => return refuse(&error),
        Err(help) => help.exit(),
    };
    let group = match Group::start(&options) {
        Ok(group) => group,
        Err(error) => {
            eprintln!("bellwether: {error:#}");
            return ExitCode::from(2);
        }
    };
    let attended = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(attend(group)));
    match attended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bellwether: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The first line of the message says what is wrong and names the flag.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or("bad arguments");
    eprintln!("bellwether: {}", line.trim_start_matches("error: "));
    ExitCode::from(2)
}

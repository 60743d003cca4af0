//! What every example program does alike: flags, logs, signals and exit codes.

use std::{
    fmt,
    future::Future,
    net::{Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use bellwether_replication::Address;
use clap::{
    Parser, ValueEnum,
    error::{ContextKind, ContextValue},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A program's settings: parsed by clap, then checked as a whole.
pub trait Checked: Parser {
    /// How to log.
    fn log_format(&self) -> LogFormat;

    /// Checks what flags mean together.
    ///
    /// # Errors
    ///
    /// One line that names the flags and what is allowed.
    fn check(&self) -> Result<(), String>;
}

/// The context of an error that only somebody who changes the configuration can mend: a program
/// ends with 2 for it, as for a wrong flag.
#[derive(Clone, Copy, Debug)]
pub struct Misconfigured;

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot work")
    }
}

/// Parses flags and environment, logs, runs, and ends with 0, with 1 for a failure, or with 2 and
/// one line for a bad configuration.
///
/// # Panics
///
/// If the system refuses what every process needs.
pub fn main<S, F>(run: impl FnOnce(S) -> F) -> ExitCode
where
    S: Checked,
    F: Future<Output = anyhow::Result<()>>,
{
    let settings = match parse::<S>() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    log_to_stderr(settings.log_format());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs only what every process has");
    let result = runtime.block_on(run(settings));
    // A name resolution that hangs must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let name = S::command().get_name().to_owned();
            if error.is::<Misconfigured>() {
                // The context says nothing that its cause does not say better.
                eprintln!("{name}: {:#}", error.root_cause());
                return ExitCode::from(2);
            }
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What any duration may be: longer is more than anything here may sensibly take.
const DURATIONS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));

/// Refuses port 0, which would be another one each time.
///
/// # Errors
///
/// One line that names the flag.
pub fn check_ports(listens: &[(&str, Option<SocketAddr>)]) -> Result<(), String> {
    for (flag, address) in listens {
        if address.is_some_and(|address| address.port() == 0) {
            return Err(format!("{flag}: the port must be between 1 and 65535"));
        }
    }
    Ok(())
}

/// Refuses durations that are too short or too long to mean anything.
///
/// # Errors
///
/// One line that names the flag and what is allowed.
pub fn check_durations(durations: &[(&str, Duration)]) -> Result<(), String> {
    let (shortest, longest) = DURATIONS;
    for (flag, duration) in durations {
        if !(shortest..=longest).contains(duration) {
            return Err(format!("{flag} must be from {shortest:?} to {longest:?}"));
        }
    }
    Ok(())
}

/// Refuses what is no host, or one that no name in DNS can have.
///
/// # Errors
///
/// One line that names the flag and what is allowed.
pub fn check_host(flag: &str, host: Option<&str>) -> Result<(), String> {
    if host.is_none_or(is_host) {
        return Ok(());
    }
    Err(format!(
        "{flag} must be a host name of at most 253 bytes or an IP address, without a port"
    ))
}

fn is_host(text: &str) -> bool {
    let address = Address::new(text, 1);
    let is_ipv6 = text.parse::<Ipv6Addr>().is_ok();
    address.to_string().parse() == Ok(address) && (!text.contains(':') || is_ipv6)
}

/// Refuses names of groups that cannot be written everywhere a group is named.
///
/// # Errors
///
/// One line that names the flag and what is allowed.
pub fn check_group(group: &str) -> Result<(), String> {
    let bytes = group.len();
    if !(1..=255).contains(&bytes) {
        return Err(format!("--group has {bytes} bytes, it must have 1 to 255"));
    }
    Ok(())
}

fn parse<S: Checked>() -> Result<S, ExitCode> {
    let name = S::command().get_name().to_owned();
    match S::try_parse() {
        Ok(settings) => match settings.check() {
            Ok(()) => Ok(settings),
            Err(complaint) => {
                eprintln!("{name}: {complaint}");
                Err(ExitCode::from(2))
            }
        },
        Err(mut error) if error.use_stderr() => {
            hide_secret(&mut error);
            eprintln!("{name}: {}", one_line(&error.to_string()));
            Err(ExitCode::from(2))
        }
        Err(help) => {
            // Help that nobody reads, as `--help | head` makes it, is no failure.
            let _ = help.print();
            Err(ExitCode::SUCCESS)
        }
    }
}

/// Who gives a password or a token where its source is expected must not find it in a log.
fn hide_secret(error: &mut clap::Error) {
    let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    if argument.is_some_and(|argument| ["password", "token"].iter().any(|s| argument.contains(s))) {
        let hidden = ContextValue::String("...".to_owned());
        error.insert(ContextKind::InvalidValue, hidden);
    }
}

/// The first paragraph of a complaint of clap's, without its usage and hints.
fn one_line(text: &str) -> String {
    let paragraph: Vec<_> = text
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect();
    paragraph.join(" ").trim_start_matches("error: ").to_owned()
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_target(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

/// Ends at the first SIGTERM or SIGINT.
///
/// # Panics
///
/// If the system refuses a signal handler.
pub async fn terminated() {
    let listen = |kind| signal(kind).expect("a signal handler can be set");
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_becomes_one_line() {
        let text = "error: the following were not provided:\n  --peers <PEERS>\n\nUsage: x\n";
        assert_eq!(
            one_line(text),
            "the following were not provided: --peers <PEERS>"
        );
    }
}

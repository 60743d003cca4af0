//! The proxy over a fixed topology: for trying it out, for the benchmark and for conformance.
//!
//! `cargo run --release -p bellwether-proxy --example proxy -- --primary 127.0.0.1:6379`

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bellwether_proxy::{Error, Proxy, ProxyConfig, Topology, Upstream};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long clients may take to get their last answers when the proxy ends.
const DRAIN: Duration = Duration::from_secs(5);

/// A RESP proxy in front of a primary and its replicas, which do not change. Logs as RUST_LOG says.
#[derive(Debug, Parser)]
#[command(name = "proxy")]
struct Flags {
    /// The server that takes writes.
    #[arg(long, value_name = "HOST:PORT", value_parser = upstream)]
    primary: Upstream,
    /// A copy of it; may be given several times.
    #[arg(long, value_name = "HOST:PORT", value_parser = upstream)]
    replica: Vec<Upstream>,
    /// Where clients connect.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7000")]
    listen: SocketAddr,
    /// Threads that serve clients [default: one on two cores or fewer, else half of the cores].
    #[arg(long)]
    workers: Option<usize>,
    /// Clients that may be connected at one time [default: 10000].
    #[arg(long)]
    max_clients: Option<usize>,
}

impl Flags {
    /// What was not given stays as the library has it.
    fn config(&self) -> ProxyConfig {
        let mut config = ProxyConfig::new(self.listen);
        set(&mut config.workers, self.workers);
        set(&mut config.max_clients, self.max_clients);
        config
    }

    fn topology(&self) -> Topology {
        Topology {
            term: 1,
            primary: Some(self.primary.clone()),
            replicas: self.replica.clone(),
            ..Topology::default()
        }
    }
}

fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}

/// A server by its address, which is also its name.
fn upstream(address: &str) -> Result<Upstream, String> {
    let parsed = address.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then(|| (host.to_owned(), port))
    });
    let (host, port) = parsed.ok_or("must be HOST:PORT, with a port from 1 to 65535")?;
    Ok(Upstream {
        name: address.to_owned(),
        host,
        port,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) if error.use_stderr() => return fail(2, &one_line(&error.to_string())),
        Err(help) => help.exit(),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let (_publish, topologies) = watch::channel(Arc::new(flags.topology()));
    let proxy = match Proxy::start(flags.config(), topologies) {
        Ok(proxy) => proxy,
        Err(error @ Error::Config(_)) => return fail(2, &error.to_string()),
        Err(error @ Error::Listen { .. }) => return fail(1, &with_source("--listen", &error)),
        Err(error) => return fail(1, &with_source("the proxy", &error)),
    };
    println!("clients connect to {}", proxy.local_addr());
    tokio::select! {
        () = terminated() => {}
        () = proxy.ended() => return fail(1, "a worker of the proxy ended"),
    }
    proxy.shutdown(DRAIN).await;
    ExitCode::SUCCESS
}

/// Ends at the first SIGTERM or SIGINT.
async fn terminated() {
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

fn fail(code: u8, complaint: &str) -> ExitCode {
    eprintln!("proxy: {complaint}");
    ExitCode::from(code)
}

fn with_source(what: &str, error: &Error) -> String {
    let source = std::error::Error::source(error);
    let source = source.map_or_else(String::new, |source| format!(": {source}"));
    format!("{what}: {error}{source}")
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

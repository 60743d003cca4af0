//! One run of redis-benchmark.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use bellwether_testkit::Program;

use super::workload::Load;

/// A run takes seconds; one that takes this long has lost an answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What clients saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// Requests per second.
    pub(super) rate: f64,
    /// Milliseconds.
    pub(super) p99: f64,
}

/// Has `requests` requests made at `address`.
///
/// # Errors
///
/// When one of them is answered with an error, or not at all.
pub(super) fn benchmark(address: SocketAddr, load: Load, requests: usize) -> Result<Service> {
    let words = load.command.words();
    let mut run = Program::new("redis-benchmark")
        .args(["-h", &address.ip().to_string()])
        .args(["-p", &address.port().to_string()])
        .args(["-c", &load.clients.to_string()])
        .args(["-P", &load.pipeline.to_string()])
        .args(["-n", &requests.to_string()])
        .args(["-r", &load.command.data().keys.to_string()])
        .arg("--csv")
        .args(&words)
        .captured()
        .spawn()?;
    let status = run.wait(PATIENCE)?;
    ensure!(
        status.success(),
        "redis-benchmark failed:\n{}",
        run.lines().all().join("\n")
    );
    let row = run
        .lines()
        .wait_for(&format!("\"{} ", words[0]), PATIENCE)?;
    parse(&row).with_context(|| format!("redis-benchmark wrote {row}"))
}

/// `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms",
/// "p99_latency_ms","max_latency_ms"`
fn parse(row: &str) -> Result<Service> {
    let fields: Vec<_> = row
        .split(',')
        .map(|field| field.trim_matches('"'))
        .collect();
    let number = |index: usize| -> Result<f64> {
        let field = fields.get(index).context("too few fields")?;
        field
            .parse()
            .with_context(|| format!("{field} is no number"))
    };
    Ok(Service {
        rate: number(1)?,
        p99: number(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_understood() {
        let row = r#""GET k","884955.75","0.742","0.168","0.679","1.543","2.671","4.887""#;
        let service = parse(row).unwrap();
        assert_eq!((service.rate, service.p99), (884_955.75, 2.671));
        assert!(parse(r#""GET k","1.0""#).is_err());
    }
}

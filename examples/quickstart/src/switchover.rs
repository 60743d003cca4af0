//! Asks an agent to hand over, as `curl -X POST` would.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than an agent takes to give up.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Longer than any answer that makes sense, in bytes.
const LONGEST: u64 = 16 * 1024;

/// Hands over to the member of that name, or to the fittest; a line that says what came of it.
///
/// # Errors
///
/// When the agent refuses or does not answer.
pub(crate) async fn switchover(admin: u16, to: Option<String>) -> Result<String> {
    let query = to.map_or_else(String::new, |to| format!("?to={to}"));
    let answer = timeout(TIMEOUT, post(admin, &format!("/switchover{query}")))
        .await
        .context("the agent does not answer")?
        .context("cannot ask the agent")?;
    outcome(&answer)
}

async fn post(port: u16, path: &str) -> std::io::Result<String> {
    let mut agent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    agent.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    agent.take(LONGEST).read_to_string(&mut answer).await?;
    Ok(answer)
}

fn outcome(answer: &str) -> Result<String> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the agent's answer is cut off")?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("{}", body.trim_end());
    }
    let done: Value = serde_json::from_str(body).context("the agent's answer is no JSON")?;
    match (&done["from"], &done["to"], &done["took_ms"]) {
        (Value::String(from), Value::String(to), Value::Number(took)) => {
            Ok(format!("from {from} to {to} in {took} ms"))
        }
        _ => bail!("the agent's answer lacks from, to or took_ms: {body}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let done =
            "HTTP/1.1 200 OK\r\nx: y\r\n\r\n{\"from\":\"a:1\",\"to\":\"b:2\",\"took_ms\":31}";
        assert_eq!(outcome(done).unwrap(), "from a:1 to b:2 in 31 ms");
        let refused = "HTTP/1.1 409 Conflict\r\n\r\nno replica is fit\n";
        assert_eq!(
            outcome(refused).unwrap_err().to_string(),
            "no replica is fit"
        );
        for nonsense in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\n\r\n{}",
            "\r\n\r\n[]",
        ] {
            outcome(nonsense).unwrap_err();
        }
    }
}

//! Free ports that nobody else takes before they are used.
//!
//! Asking the kernel for port 0 and closing the socket hands out a port that the next outgoing
//! connection may take. These come from below the range of such ephemeral ports, in blocks: each
//! process claims whole blocks, hands out every port once, and looks first whether a foreign
//! program listens on it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::claim::{Claim, claim};

const BLOCK: u16 = 32;
/// Below are the ports of well-known services, 6379 among them.
const LOWEST: u16 = 12_288;

static MINE: Mutex<Mine> = Mutex::new(Mine {
    claims: Vec::new(),
    left: 0..0,
});

struct Mine {
    claims: Vec<Claim>,
    left: Range<u16>,
}

/// A port on which nothing listens, by TCP or UDP on any address, and that no other call in any
/// test process of this user gets while this process lives.
///
/// # Errors
///
/// When every port is claimed, or the lock files cannot be written.
pub fn free() -> Result<u16> {
    let mut mine = MINE.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        for port in mine.left.by_ref() {
            if is_free(port) {
                return Ok(port);
            }
        }
        let (claim, block) = next_block()?;
        mine.claims.push(claim);
        mine.left = block;
    }
}

fn is_free(port: u16) -> bool {
    let any = (Ipv4Addr::UNSPECIFIED, port);
    TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok()
}

/// Begins the search at a place that depends on the process, so that a port of a run that just
/// ended, to which a stray client may still reconnect, is not the first to be given again.
fn next_block() -> Result<(Claim, Range<u16>)> {
    let range = range(ephemeral());
    let blocks = usize::from((range.end - range.start) / BLOCK);
    let first = std::process::id() as usize * 7;
    for number in (first..first + blocks).map(|number| number % blocks) {
        if let Some(claim) = claim("ports", number)? {
            let start = range.start + u16::try_from(number)? * BLOCK;
            return Ok((claim, start..start + BLOCK));
        }
    }
    bail!(
        "all ports from {} to {} are claimed by tests",
        range.start,
        range.end
    )
}

/// The larger part that ephemeral ports leave, below or above them.
fn range(ephemeral: (u16, u16)) -> Range<u16> {
    let below = LOWEST..ephemeral.0.max(LOWEST);
    let above = ephemeral.1..u16::MAX;
    let larger = if below.len() >= above.len() {
        below
    } else {
        above
    };
    if larger.len() >= usize::from(8 * BLOCK) {
        larger
    } else {
        // Ephemeral ports are nearly everywhere: no range is safe, so take the usual one.
        LOWEST..32_768
    }
}

/// First and last ephemeral port; Linux's default where it cannot be read.
fn ephemeral() -> (u16, u16) {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => (first, last),
        _ => (32_768, 60_999),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let threads: Vec<_> = (0..4)
            .map(|_| thread::spawn(|| (0..40).map(|_| free().unwrap()).collect::<Vec<_>>()))
            .collect();
        let ports: Vec<u16> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        let distinct: BTreeSet<_> = ports.iter().collect();
        assert_eq!((ports.len(), distinct.len()), (160, 160));
    }

    #[test]
    fn ephemeral_ports_are_avoided() {
        assert_eq!(range((32_768, 60_999)), LOWEST..32_768);
        assert_eq!(range((1024, 40_000)), 40_000..65_535);
        assert_eq!(range((1024, 65_535)), LOWEST..32_768);
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let port = free().unwrap();
        let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(!is_free(port));
    }
}

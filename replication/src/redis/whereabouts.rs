//! Whether a host's name still leads where it did.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    net::lookup_host,
    time::{Instant, timeout},
};

use super::Line;
use crate::Address;

/// How often a name is looked up while connections to it stand, and how long that may take.
const EVERY: Duration = Duration::from_secs(5);

/// A name that told old addresses while connections were made, as caches do for a while after pods
/// were made anew, would else be trusted for as long as these stand: they may lead to another member.
#[derive(Debug)]
pub(super) struct Whereabouts {
    /// Host and port, unless the host is an address, which leads nowhere else.
    name: Option<(String, u16)>,
    next: Mutex<Option<Instant>>,
}

impl Whereabouts {
    pub(super) fn of(address: &Address) -> Self {
        let is_name = address.host.parse::<IpAddr>().is_err();
        Self {
            name: is_name.then(|| (address.host.clone(), address.port)),
            next: Mutex::default(),
        }
    }

    /// Looks the name up if it is time, without keeping anybody waiting. What is not answered says
    /// nothing.
    pub(super) fn check(&self, lines: [&Arc<Line>; 2]) {
        let Some(name) = &self.name else { return };
        let mut next = self.next.lock().expect("no holder panics");
        let now = Instant::now();
        if now < *next.get_or_insert(now + EVERY) {
            return;
        }
        *next = Some(now + EVERY);
        let (name, lines) = (name.clone(), lines.map(Arc::clone));
        tokio::spawn(async move {
            let Ok(Ok(found)) = timeout(EVERY, lookup_host(name)).await else {
                return;
            };
            let addresses: Vec<IpAddr> = found.map(|at| at.ip()).collect();
            for line in lines.iter().filter(|_| !addresses.is_empty()) {
                line.keep_if_at(&addresses);
            }
        });
    }
}

//! Scripts that clients have loaded, for servers that do not know them.
//!
//! SCRIPT LOAD is not replicated: after a failover the new primary answers NOSCRIPT to an EVALSHA
//! that was right a moment ago. The proxy then sends the script itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes of scripts that are kept; the oldest go first.
const KEPT: usize = 16 << 20;

/// Shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Scripts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    bodies: HashMap<Box<[u8]>, Arc<[u8]>>,
    oldest_first: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Scripts {
    /// A server has accepted this script, and calls it so.
    pub(crate) fn learn(&self, digest: &[u8], body: &[u8]) {
        let mut known = self.lock();
        let digest: Box<[u8]> = digest.to_ascii_lowercase().into();
        if known.bodies.contains_key(&digest) || body.len() > KEPT {
            return;
        }
        known.bytes += body.len();
        known.bodies.insert(digest.clone(), body.into());
        known.oldest_first.push_back(digest);
        while known.bytes > KEPT {
            let oldest = known
                .oldest_first
                .pop_front()
                .expect("bytes belong to a script");
            let body = known.bodies.remove(&oldest).expect("each is in both");
            known.bytes -= body.len();
        }
    }

    pub(crate) fn body(&self, digest: &[u8]) -> Option<Arc<[u8]>> {
        let digest = digest.to_ascii_lowercase();
        self.lock().bodies.get(digest.as_slice()).cloned()
    }

    /// SCRIPT FLUSH: clients want them to be unknown.
    pub(crate) fn forget(&self) {
        *self.lock() = Known::default();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("nothing panics while it is locked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let scripts = Scripts::default();
        scripts.learn(b"AB", b"return 1");
        assert_eq!(scripts.body(b"ab").as_deref(), Some(&b"return 1"[..]));
        scripts.learn(b"cd", &vec![b'x'; KEPT]);
        assert_eq!(scripts.body(b"ab"), None);
        assert_eq!(scripts.body(b"cd").map(|body| body.len()), Some(KEPT));
        scripts.forget();
        assert_eq!(scripts.body(b"cd"), None);
    }
}

//! Cursors of the SCAN family: they mean something only to the server that issued them.
//!
//! While reads are split, the client gets each cursor with a mark of the server it came from, in
//! bits that no server uses: `server's mark (14 bits) | server's cursor (48 bits)`. It stays below
//! 2^62, so that clients whose integers are signed can keep it. Marks follow from addresses alone,
//! so that every worker, and another proxy in front of the same servers, knows them.
//!
//! Where the server of a cursor is gone or unfit, the scan begins again on the primary: only so is
//! it sure to find everything, as SCAN promises. What was found already may be found again, as it
//! may in any scan.

use std::time::Instant;

use super::lease::Lease;
use super::link::{Kind, Lane};
use super::route::Replica;
use super::server::ServerId;
use super::session::Pending;
use super::{ClientId, Engine, LinkId};
use crate::commands::{Reads, Spec};
use crate::config::ReadFrom;
use crate::topology::Upstream;

/// Bits of a server's own cursor: it would need a table of 2^48 buckets to use more.
const OWN: u32 = 48;
/// Bits of the mark above them.
const MARK: u32 = 14;

/// Names a server in a cursor. Never 0, which says that there is no mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u16);

impl Mark {
    pub(super) fn of(server: &Upstream) -> Self {
        // FNV-1a, the same everywhere and always; its upper half depends on all that came.
        let address = server.host.bytes().chain(server.port.to_be_bytes());
        let hash = address.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let marks = (1 << MARK) - 1;
        Self(u16::try_from(1 + ((mixed * marks) >> 32)).expect("14 bits"))
    }

    fn on(self, own: u64) -> u64 {
        u64::from(self.0) << OWN | own
    }
}

/// What a client gives as a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cursor {
    Begin,
    /// Without a mark.
    Plain(u64),
    Marked(Mark, u64),
}

impl Cursor {
    fn of(given: u64) -> Self {
        let own = given & ((1 << OWN) - 1);
        match given >> OWN {
            0 if own == 0 => Self::Begin,
            // More than we ever give.
            mark if mark == 0 || mark >= 1 << MARK => Self::Plain(given),
            mark => Self::Marked(Mark(u16::try_from(mark).expect("14 bits")), own),
        }
    }
}

impl Engine {
    /// A command of the SCAN family: its cursor goes back to the server that issued it.
    pub(super) fn send_scan(
        &mut self,
        now: Instant,
        id: ClientId,
        request: &[u8],
        spec: Spec,
        cursor: usize,
    ) -> bool {
        if self.settings.read_from == ReadFrom::Primary {
            return self.send(now, id, request, Kind::Read, spec);
        }
        let on_primary = Spec {
            reads: spec.reads.min(Reads::PrimaryOnly),
            ..spec
        };
        let mut words = super::arguments(request);
        let Some(given) = words.get(cursor).and_then(|word| number(word)) else {
            // The server will say what is wrong with it.
            return self.send(now, id, request, Kind::Read, on_primary);
        };
        if self.session(id).outstanding > 0 {
            return false;
        }
        let Some((link, own)) = self.scan_link(now, id, spec, on_primary, given) else {
            return false;
        };
        let server = self.links.get(link.0).expect("a ready link").server;
        let mark = self.unique_mark(server);
        words[cursor] = own.to_string().into_bytes();
        let words: Vec<_> = words.iter().map(Vec::as_slice).collect();
        self.push(
            now,
            id,
            link,
            &super::profile::request(&words),
            Kind::Query,
            spec,
        );
        let request = request.into();
        self.session(id).pending = Some(Box::new(Pending::Scan { mark, request }));
        true
    }

    /// Where the scan goes on, and with which cursor. `None`: it must wait.
    fn scan_link(
        &mut self,
        now: Instant,
        id: ClientId,
        spec: Spec,
        on_primary: Spec,
        given: u64,
    ) -> Option<(LinkId, u64)> {
        let cursor = Cursor::of(given);
        if !self.session(id).leased && spec.reads == Reads::Anywhere {
            match self.scanned_replica(now, id, cursor) {
                Replica::Link(link) => {
                    let own = match cursor {
                        Cursor::Begin => 0,
                        Cursor::Plain(own) | Cursor::Marked(_, own) => own,
                    };
                    return Some((link, own));
                }
                Replica::Soon => {
                    self.stick(now, id);
                    return None;
                }
                Replica::None => {}
            }
        }
        let link = if self.session(id).leased {
            match self.lease(now, id) {
                Lease::Ready(link) => link,
                Lease::Wait => return None,
            }
        } else {
            self.shared_link(now, id, Lane::Plain, on_primary)?
        };
        let own = match cursor {
            Cursor::Plain(own) => own,
            Cursor::Marked(mark, own) if self.marked(mark) == self.primary => own,
            Cursor::Begin | Cursor::Marked(..) => 0,
        };
        Some((link, own))
    }

    /// The replica that a scan begins on or goes on with, if it is one.
    fn scanned_replica(&mut self, now: Instant, id: ClientId, cursor: Cursor) -> Replica {
        match cursor {
            Cursor::Begin if self.splits_reads() => match self.replica_link(now, id) {
                Replica::Link(link) => {
                    let server = self.links.get(link.0).expect("a ready link").server;
                    match self.unique_mark(server) {
                        Some(_) => Replica::Link(link),
                        None => Replica::None,
                    }
                }
                other => other,
            },
            Cursor::Marked(mark, _) => match self.marked(mark) {
                Some(server) if self.primary != Some(server) && self.answers(now, id, server) => {
                    let link = self.usable_link(now, id, server, Lane::Plain);
                    link.map_or(Replica::Soon, Replica::Link)
                }
                _ => Replica::None,
            },
            Cursor::Begin | Cursor::Plain(_) => Replica::None,
        }
    }

    /// The one server with this mark.
    fn marked(&self, mark: Mark) -> Option<ServerId> {
        let servers = self.replicas.iter().copied().chain(self.primary);
        let mut marked = servers.filter(|server| self.server(*server).mark == mark);
        let server = marked.next()?;
        marked.next().is_none().then_some(server)
    }

    /// The server's mark, unless another one has the same.
    fn unique_mark(&self, server: ServerId) -> Option<Mark> {
        let mark = self.server(server).mark;
        (self.marked(mark) == Some(server)).then_some(mark)
    }

    /// The reply to a scan, or its beginning, with a mark in its cursor.
    pub(super) fn with_mark(&mut self, id: ClientId, reply: &[u8]) -> Option<Vec<u8>> {
        let Some(Pending::Scan { mark, .. }) = self.session(id).pending.as_deref() else {
            return None;
        };
        mark_cursor((*mark)?, reply)
    }
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// `*2 $n cursor …` with a mark in the cursor. `None` if the scan has ended, or it cannot be marked.
fn mark_cursor(mark: Mark, reply: &[u8]) -> Option<Vec<u8>> {
    let head = reply.strip_prefix(b"*2\r\n$")?;
    let (_, head) = line(head)?;
    let (own, rest) = line(head)?;
    let own = number(own).filter(|own| (1..1 << OWN).contains(own))?;
    let marked = mark.on(own).to_string();
    let head = format!("*2\r\n${}\r\n{marked}\r\n", marked.len());
    Some([head.as_bytes(), rest].concat())
}

/// The first line, and what is behind it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memmem::find(bytes, b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: u16) -> Upstream {
        Upstream {
            name: String::new(),
            host: host.into(),
            port,
        }
    }

    #[test]
    fn a_marked_cursor_comes_back() {
        let mark = Mark::of(&server("10.0.0.1", 6379));
        for own in [1, 17, (1 << OWN) - 1] {
            let marked = mark.on(own);
            assert!(marked < 1 << 62);
            assert_eq!(Cursor::of(marked), Cursor::Marked(mark, own));
        }
        assert_eq!(Cursor::of(0), Cursor::Begin);
        assert_eq!(Cursor::of(17), Cursor::Plain(17));
        assert_eq!(Cursor::of(u64::MAX), Cursor::Plain(u64::MAX));
        assert_eq!(Cursor::of(1 << 62), Cursor::Plain(1 << 62));
    }

    #[test]
    fn marks_differ_mostly_and_are_never_zero() {
        let marks: std::collections::BTreeSet<_> = (0..1000)
            .map(|port| Mark::of(&server("redis", port)).0)
            .collect();
        assert!(marks.len() > 950 && !marks.contains(&0), "{}", marks.len());
        assert_eq!(Mark::of(&server("a", 1)), Mark::of(&server("a", 1)));
    }

    #[test]
    fn only_the_cursor_of_a_reply_changes() {
        let mark = Mark(3);
        let rest = "*1\r\n$2\r\n17\r\n";
        let marked = mark.on(17).to_string();
        let expected = format!("*2\r\n${}\r\n{marked}\r\n{rest}", marked.len());
        let reply = format!("*2\r\n$2\r\n17\r\n{rest}");
        assert_eq!(
            mark_cursor(mark, reply.as_bytes()),
            Some(expected.into_bytes())
        );
        for reply in [
            "*2\r\n$1\r\n0\r\n*0\r\n",
            "*2\r\n$15\r\n281474976710656\r\n*0\r\n",
            "*2\r\n$1\r\nx\r\n*0\r\n",
            "-ERR invalid cursor\r\n",
            "*2\r\n$2\r\n1",
        ] {
            assert_eq!(mark_cursor(mark, reply.as_bytes()), None, "{reply}");
        }
    }
}

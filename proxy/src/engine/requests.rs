//! The requests of one session that are not answered yet, and their bytes.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::buffer::Buffer;
use super::command::Kind;
use super::intake;
use super::memory::Memory;
use super::planted::{Bug, planted};
use super::texts;

/// What is known of a request that stays in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This goes to the client as soon as everything before it is answered.
    Final(Cow<'static, [u8]>),
    /// The server refused it with this reply: it will be sent again.
    Refused(Box<[u8]>),
    /// A read that ran after something refused: it will be sent again, to run in its turn.
    Again,
}

#[derive(Debug)]
pub(crate) struct Entry {
    /// Its bytes in the log.
    pub(crate) len: usize,
    pub(crate) kind: Kind,
    /// Whether all of its bytes that came are in the log.
    pub(crate) whole: bool,
    pub(crate) answer: Option<Box<Answer>>,
    /// What it sets in the connection if it succeeds.
    pub(crate) learns: Option<Box<Memory>>,
}

impl Entry {
    pub(crate) fn new(len: usize, kind: Kind) -> Self {
        Self {
            len,
            kind,
            whole: true,
            answer: None,
            learns: None,
        }
    }
}

/// A queue of requests, oldest first, over one log of their bytes.
///
/// ```text
/// log:      | answered, kept to be sent again | sent | to be sent | incomplete |
///           0                         awaiting_at   sent        queued      log.len()
/// entries:  0                          awaiting
/// ```
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(super) log: Buffer,
    pub(super) entries: VecDeque<Entry>,
    /// Bytes of all entries.
    pub(super) queued: usize,
    /// Bytes, from the start of the log, that were written to the current link.
    sent: usize,
    /// The last entry is not complete: its further bytes are added as they come.
    pub(super) open: bool,
    /// The rest of a request that was given up while it came is to be thrown away.
    pub(super) skipping: bool,
    /// How many entries, from the first, have no bytes in the log any more.
    forgotten: usize,
    /// The first entry without an answer, and where its bytes begin.
    awaiting: usize,
    awaiting_at: usize,
}

impl Requests {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }

    /// All bytes kept.
    pub(crate) fn bytes(&self) -> usize {
        self.log.len()
    }

    /// Bytes that were received and not sent.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.log.len() - self.sent
    }

    /// Adds a request, whose bytes follow those of the last one in the log.
    pub(super) fn push(&mut self, entry: Entry) {
        self.queued += entry.len;
        self.entries.push_back(entry);
        self.skip_answered();
    }

    /// The last request will never be complete: it has this answer.
    pub(super) fn abandon_open(&mut self, reply: Vec<u8>) {
        self.open = false;
        let entry = self.entries.back_mut().expect("an open request");
        entry.answer = Some(Box::new(Answer::Final(reply.into())));
        self.skip_answered();
    }

    pub(crate) fn unsent(&self) -> &[u8] {
        &self.log.as_slice()[self.sent..self.queued]
    }

    /// What of the unsent bytes belongs to a request of which some were sent already.
    pub(crate) fn unsent_of_begun(&self) -> &[u8] {
        let mut end = self.awaiting_at;
        let mut rest = self.entries.range(self.awaiting..);
        while end < self.sent {
            end += rest.next().expect("sent bytes belong to entries").len;
        }
        if self.begun_is_open() {
            end = self.queued;
        }
        &self.log.as_slice()[self.sent..end.max(self.sent)]
    }

    fn begun_is_open(&self) -> bool {
        let Some(last) = self.entries.back().filter(|_| self.open) else {
            return false;
        };
        !last.whole || self.queued - last.len < self.sent
    }

    /// The first `n` of the unsent bytes were written to the link. Of what was sent, at most
    /// about `keep` bytes stay in memory.
    pub(crate) fn written(&mut self, n: usize, keep: usize) {
        assert!(n <= self.queued - self.sent, "wrote more than there was");
        self.sent += n;
        if self.sent > keep && self.awaiting == 0 {
            self.forget(keep);
        }
    }

    fn forget(&mut self, keep: usize) {
        while self.sent > keep {
            let last = self.forgotten + 1 == self.entries.len();
            let entry = &mut self.entries[self.forgotten];
            let n = entry.len.min(self.sent);
            entry.whole &= n == 0;
            entry.len -= n;
            self.log.consume(n);
            self.sent -= n;
            self.queued -= n;
            if entry.len == 0 && !(self.open && last) {
                self.forgotten += 1;
            }
        }
    }

    /// The request whose reply comes next, if it was sent in full.
    #[inline]
    pub(crate) fn awaited(&self) -> Option<&Entry> {
        let entry = self.entries.get(self.awaiting)?;
        let complete = !self.open || self.awaiting + 1 < self.entries.len();
        (complete && self.awaiting_at + entry.len <= self.sent).then_some(entry)
    }

    /// Whether requests before the awaited one wait for their second turn.
    #[inline]
    pub(crate) fn holds_back(&self) -> bool {
        self.awaiting > 0
    }

    /// Whether the next reply belongs to a session that became a relay.
    #[inline]
    pub(crate) fn relays(&self) -> bool {
        let next = self.entries.get(self.awaiting);
        next.is_some_and(|entry| entry.kind == Kind::Raw)
            && (self.sent > self.awaiting_at || !self.entries[self.awaiting].whole)
    }

    /// The awaited request is answered and nothing is before it: it leaves the queue.
    #[inline]
    pub(crate) fn answered(&mut self) -> Entry {
        assert!(self.awaiting == 0, "an earlier request is not answered");
        let entry = self.pop();
        self.skip_answered();
        entry
    }

    /// The awaited request has this answer, and stays until those before it are answered.
    pub(crate) fn answer(&mut self, answer: Answer) {
        let entry = &mut self.entries[self.awaiting];
        entry.answer = Some(Box::new(answer));
        self.skip_answered();
    }

    /// Takes the first request if its answer is final.
    pub(crate) fn take_final(&mut self) -> Option<Cow<'static, [u8]>> {
        let answer = self.entries.front_mut()?.answer.take_if(|a| is_final(a))?;
        self.awaiting -= 1;
        self.awaiting_at -= self.entries[0].len;
        self.pop();
        match *answer {
            Answer::Final(reply) => Some(reply),
            Answer::Refused(_) | Answer::Again => unreachable!("only final answers are taken"),
        }
    }

    fn pop(&mut self) -> Entry {
        let entry = self.entries.pop_front().expect("there is a first request");
        self.log.consume(entry.len);
        self.queued -= entry.len;
        self.sent = self.sent.saturating_sub(entry.len);
        self.forgotten = self.forgotten.saturating_sub(1);
        entry
    }

    fn skip_answered(&mut self) {
        while let Some(entry) = self.entries.get(self.awaiting) {
            if entry.answer.is_none() {
                break;
            }
            self.awaiting += 1;
            self.awaiting_at += entry.len;
        }
    }

    /// Whether everything that was sent is answered.
    pub(crate) fn drained(&self) -> bool {
        self.sent <= self.awaiting_at
    }

    /// The requests of which anything was sent and that have no answer.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &Entry> {
        let mut at = self.awaiting_at;
        let begun = self
            .entries
            .range(self.awaiting..)
            .take_while(move |entry| {
                let begun = at < self.sent || !entry.whole;
                at += entry.len;
                begun
            });
        begun.filter(|entry| entry.answer.is_none())
    }

    /// Whether a command may keep the server waiting for something to happen.
    pub(crate) fn any_blocks(&self) -> bool {
        let blocks = |entry: &Entry| matches!(entry.kind, Kind::Blocking | Kind::Wait);
        self.entries
            .iter()
            .any(|entry| entry.answer.is_none() && blocks(entry))
    }

    /// Whether the awaited command only reads, so that it may run again.
    pub(crate) fn awaits_read(&self) -> bool {
        let entry = &self.entries[self.awaiting];
        let bytes = &self.log.as_slice()[self.awaiting_at..][..entry.len];
        entry.kind == Kind::Plain
            && entry.whole
            && (intake::is_read(bytes) || planted(Bug::RepeatWrites))
    }

    /// The link is lost. Whatever was sent in full may have run: it gets this answer. What was
    /// sent in part did not run, and what sets only the connection may be repeated: they stay.
    ///
    /// Returns how many outcomes are unknown.
    pub(crate) fn lose(&mut self) -> u64 {
        let mut unknown = 0;
        let mut at = self.awaiting_at;
        let last = self.entries.len().wrapping_sub(1);
        for index in self.awaiting..self.entries.len() {
            let open = self.open && index == last;
            let entry = &mut self.entries[index];
            at += entry.len;
            if entry.answer.is_some() {
                continue;
            }
            let sent = !open && (at <= self.sent && (entry.len > 0 || !entry.whole));
            let repeats = entry.kind == Kind::Setting || planted(Bug::RepeatUnknown);
            if sent && !(entry.whole && repeats) {
                entry.answer = Some(Box::new(Answer::Final(texts::UNKNOWN.into())));
                unknown += 1;
            } else if !sent && !entry.whole {
                // A relay was not left unanswered: whatever came over it was delivered.
                let relay = entry.kind == Kind::Raw;
                let reply = if relay { &[] } else { texts::NOT_RUN };
                entry.answer = Some(Box::new(Answer::Final(reply.into())));
                self.skipping |= open;
                self.open &= !open;
            }
        }
        self.rewind();
        unknown
    }

    /// Makes everything that has no final answer unsent, in its order.
    ///
    /// Returns how many refused requests will be sent again.
    pub(crate) fn resend(&mut self) -> u64 {
        let mut again = 0;
        for entry in self.entries.iter_mut().take(self.awaiting) {
            again += u64::from(entry.answer.take_if(|a| !is_final(a)).is_some());
        }
        self.rewind();
        again
    }

    /// Ends the waiting: what was refused gets its refusal, and what was not sent, unless it
    /// still can be, the answer that it did not run.
    ///
    /// Returns how many did not run for lack of a primary.
    pub(crate) fn give_up(&mut self, unsent_too: bool) -> u64 {
        let mut not_run = 0;
        for entry in self.entries.iter_mut().take(self.awaiting) {
            let answer = entry.answer.as_deref_mut().expect("answered so far");
            match std::mem::replace(answer, Answer::Again) {
                Answer::Refused(reply) => *answer = Answer::Final(reply.into_vec().into()),
                Answer::Again => *answer = Answer::Final(texts::NOT_RUN.into()),
                Answer::Final(reply) => *answer = Answer::Final(reply),
            }
        }
        if unsent_too {
            for entry in self.entries.range_mut(self.awaiting..) {
                if entry.answer.is_none() {
                    entry.answer = Some(Box::new(Answer::Final(texts::NOT_RUN.into())));
                    not_run += 1;
                }
            }
            self.skipping |= self.open;
            self.open = false;
            self.rewind();
        }
        not_run
    }

    /// Drops the bytes of what has a final answer and forgets that anything was sent.
    fn rewind(&mut self) {
        let mut kept = Buffer::default();
        let mut at = 0;
        for entry in &mut self.entries {
            let bytes = &self.log.as_slice()[at..at + entry.len];
            at += entry.len;
            if done(entry) {
                entry.len = 0;
            } else {
                kept.extend(bytes);
            }
        }
        let queued = kept.len();
        kept.extend(&self.log.as_slice()[self.queued..]);
        self.log = kept;
        self.queued = queued;
        self.sent = 0;
        self.awaiting = 0;
        self.awaiting_at = 0;
        self.skip_answered();
    }
}

fn is_final(answer: &Answer) -> bool {
    matches!(answer, Answer::Final(_))
}

fn done(entry: &Entry) -> bool {
    entry.answer.as_deref().is_some_and(is_final)
}

//! What a session does with the replies of its server.

use super::command::Kind;
use super::link::{Fate, Phase};
use super::planted::{Bug, planted};
use super::requests::Answer;
use super::session::{Context, Refusal, Session};
use super::texts;

/// The server sent what is no reply, or one that nobody asked for.
#[derive(Debug)]
pub(crate) struct Garbage;

/// What is to be done with the reply that just ended.
enum Verdict {
    Deliver,
    Drop,
}

impl Session {
    /// Takes what came from the server.
    pub(crate) fn take_replies(
        &mut self,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<(), Garbage> {
        let link = self.link.as_mut().expect("replies come over a link");
        if link.inbox.is_empty() {
            let used = self.read_replies(bytes, cx)?;
            self.keep_unread(&bytes[used..]);
            return Ok(());
        }
        let mut inbox = std::mem::take(&mut link.inbox);
        inbox.extend(bytes);
        let used = self.read_replies(inbox.as_slice(), cx)?;
        inbox.consume(used);
        if let Some(link) = &mut self.link {
            link.inbox = inbox;
        }
        Ok(())
    }

    fn keep_unread(&mut self, rest: &[u8]) {
        if let Some(link) = self.link.as_mut().filter(|_| !rest.is_empty()) {
            link.inbox.extend(rest);
        }
    }

    /// Deals with all replies in `bytes` and returns how many bytes are done with.
    ///
    /// Replies that go to the client and lie side by side are copied as one run.
    fn read_replies(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Result<usize, Garbage> {
        let mut run = 0;
        let mut at = 0;
        loop {
            if self.closing {
                self.out.extend(&bytes[run..at]);
                return Ok(bytes.len());
            }
            if self.relays() {
                self.out.extend(&bytes[run..]);
                return Ok(bytes.len());
            }
            let rest = &bytes[at..];
            let Some(link) = &mut self.link else {
                return Ok(bytes.len());
            };
            let step = match link.scanner.scan(rest) {
                Ok(Some(len)) => {
                    let verdict = self.finish_reply(&rest[..len], &bytes[run..at], cx);
                    verdict.map(|verdict| (verdict, len))
                }
                Ok(None) => {
                    self.out.extend(&bytes[run..at]);
                    return Ok(at + self.read_partial(rest, cx)?);
                }
                Err(_) => Err(Garbage),
            };
            match step {
                Ok((Verdict::Deliver, len)) => at += len,
                Ok((Verdict::Drop, len)) => {
                    at += len;
                    run = at;
                }
                Err(garbage) => {
                    self.out.extend(&bytes[run..at]);
                    return Err(garbage);
                }
            }
        }
    }

    /// A reply ended. The `run` before it is copied out when the reply does not continue it.
    fn finish_reply(
        &mut self,
        frame: &[u8],
        run: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Verdict, Garbage> {
        let link = self.link.as_mut().expect("replies come over a link");
        let push = link.scanner.is_push();
        let (first, fate) = match link.partial.take() {
            Some(begun) => begun,
            None => (frame[0], self.fate(frame[0])?),
        };
        let verdict = match fate {
            _ if push => match fate {
                Fate::Deliver => Verdict::Deliver,
                Fate::Drop | Fate::Judge => Verdict::Drop,
            },
            Fate::Deliver => {
                self.answered(true);
                Verdict::Deliver
            }
            Fate::Drop => {
                self.dropped(cx);
                Verdict::Drop
            }
            Fate::Judge => self.judge(first, frame, cx)?,
        };
        if matches!(verdict, Verdict::Drop) {
            self.out.extend(run);
        } else if self.requests.holds_back() {
            self.out.extend(run);
            self.out.extend(frame);
            self.deliver();
            return Ok(Verdict::Drop);
        }
        Ok(verdict)
    }

    /// A reply has begun: forwards or drops what of it can be told apart.
    fn read_partial(&mut self, rest: &[u8], cx: &mut Context<'_>) -> Result<usize, Garbage> {
        let Some(&first) = rest.first() else {
            return Ok(0);
        };
        let link = self.link.as_ref().expect("replies come over a link");
        let scanned = link.scanner.scanned();
        if scanned == 0 {
            return Ok(0);
        }
        let (first, fate) = match link.partial {
            Some(begun) => begun,
            None => (first, self.fate(first)?),
        };
        let fate = match fate {
            Fate::Judge if rest.len() > cx.settings.session_buffer => {
                // Too much to be kept behind what was refused: that is over, then.
                self.give_up(cx);
                self.deliver();
                Fate::Deliver
            }
            fate => fate,
        };
        let link = self.link.as_mut().expect("replies come over a link");
        link.partial = Some((first, fate));
        match fate {
            Fate::Judge => return Ok(0),
            Fate::Deliver => self.out.extend(&rest[..scanned]),
            Fate::Drop => {}
        }
        link.scanner.release(scanned);
        Ok(scanned)
    }

    /// Decides about a reply by its first byte.
    #[inline]
    fn fate(&self, first: u8) -> Result<Fate, Garbage> {
        let link = self.link.as_ref().expect("replies come over a link");
        let push = first == b'>';
        match link.phase {
            Phase::Connecting(_) | Phase::Doomed => Err(Garbage),
            Phase::Restoring(_) | Phase::Stale if push => Ok(Fate::Drop),
            Phase::Restoring(_) => Ok(if first == b'-' {
                Fate::Judge
            } else {
                Fate::Drop
            }),
            Phase::Ready if push => Ok(Fate::Deliver),
            Phase::Ready | Phase::Stale => {
                let awaited = self.requests.awaited().ok_or(Garbage)?;
                Ok(match link.phase {
                    _ if first == b'-' => Fate::Judge,
                    Phase::Stale if !planted(Bug::DeliverStale) => Fate::Drop,
                    _ if !self.requests.holds_back() => match awaited.kind {
                        Kind::Wait if self.relinked => Fate::Judge,
                        _ => Fate::Deliver,
                    },
                    _ if awaited.kind == Kind::Setting || self.requests.awaits_read() => Fate::Drop,
                    _ => Fate::Judge,
                })
            }
        }
    }

    /// A reply that told success was thrown away.
    fn dropped(&mut self, cx: &mut Context<'_>) {
        let link = self.link.as_mut().expect("replies come over a link");
        match link.phase {
            Phase::Restoring(left) => {
                link.phase = match left {
                    1 => Phase::Ready,
                    _ => Phase::Restoring(left - 1),
                };
            }
            Phase::Stale => self.stale_answer(cx),
            Phase::Ready | Phase::Connecting(_) | Phase::Doomed => {
                let awaited = self.requests.awaited();
                self.spoiled |= awaited.is_some_and(|entry| entry.kind == Kind::Setting);
                self.requests.answer(Answer::Again);
            }
        }
    }

    /// The reply of a server that is not the primary any more.
    ///
    /// What sets only the connection may run again on the next one, whatever became of it here.
    fn stale_answer(&mut self, cx: &mut Context<'_>) {
        let awaited = self.requests.awaited();
        if awaited.is_some_and(|entry| entry.whole && entry.kind == Kind::Setting) {
            self.requests.answer(Answer::Again);
        } else {
            self.requests.answer(Answer::Final(texts::UNKNOWN.into()));
            cx.stats.unknown += 1;
        }
    }

    fn judge(&mut self, first: u8, reply: &[u8], cx: &mut Context<'_>) -> Result<Verdict, Garbage> {
        let error = first == b'-';
        let link = self.link.as_ref().expect("replies come over a link");
        let refused = error && texts::is_refusal(reply);
        match link.phase {
            Phase::Connecting(_) | Phase::Doomed => return Err(Garbage),
            Phase::Restoring(_) if refused => return Err(Garbage),
            Phase::Restoring(_) => {
                self.close();
                return Ok(Verdict::Drop);
            }
            Phase::Ready | Phase::Stale => {}
        }
        let stale = link.phase == Phase::Stale;
        let awaited = self.requests.awaited().ok_or(Garbage)?.kind;
        if awaited == Kind::Wait && self.relinked && !error {
            // The writes that it asks about went over a connection that is gone.
            self.close();
            return Ok(Verdict::Drop);
        }
        if refused && self.may_repeat() {
            self.requests.answer(Answer::Refused(reply.into()));
            self.refusal = self.refusal.max(Refusal::Draining);
            return Ok(Verdict::Drop);
        }
        if stale && !refused {
            self.stale_answer(cx);
            return Ok(Verdict::Drop);
        }
        if self.requests.holds_back() {
            self.stored += reply.len();
            self.requests.answer(Answer::Final(reply.to_vec().into()));
            return Ok(Verdict::Drop);
        }
        self.answered(!error);
        Ok(Verdict::Deliver)
    }
}

//! From a client's bytes to queued requests.

use bellwether_resp::{Limits, RequestError, RequestScanner};

use super::command::{self, Kind};
use super::memory::Memory;
use super::requests::{Answer, Entry, Requests};
use super::texts;

/// A request is streamed, not collected, from so many bytes on. With a line that is not complete
/// behind them, at most 64 KiB, they must fit into a session's buffer.
const STREAM: usize = 32 << 10;

/// What becomes of the bytes that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// They are requests.
    Requests,
    /// They are relayed unread.
    Relay,
    /// No more of them are taken: the client said so, quit, or broke the protocol.
    Ended,
}

/// Finds the requests in what one client sends.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) input: Input,
    scanner: RequestScanner,
    /// Bytes of empty requests before the current one; they go along with it.
    blank: usize,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self {
            input: Input::Requests,
            scanner: RequestScanner::new(Limits::default()),
            blank: 0,
        }
    }

    /// Queues what came. Returns how many requests were completed.
    pub(crate) fn receive(&mut self, bytes: &[u8], requests: &mut Requests) -> u64 {
        match self.input {
            Input::Ended => return 0,
            Input::Requests | Input::Relay => requests.log.extend(bytes),
        }
        let mut complete = 0;
        while self.input == Input::Requests {
            let at = requests.queued + self.blank;
            match self.scanner.scan(&requests.log.as_slice()[at..]) {
                Ok(Some(len)) => complete += u64::from(self.finish(len, requests)),
                Ok(None) => {
                    self.stream(requests);
                    break;
                }
                Err(error) => self.refuse(error, requests),
            }
        }
        match self.input {
            Input::Requests if requests.log.len() == requests.queued + self.blank => {
                self.drop_rest(requests);
            }
            Input::Requests => {}
            Input::Relay => relay(requests),
            Input::Ended => self.drop_rest(requests),
        }
        complete
    }

    /// The client sends nothing more.
    pub(crate) fn end(&mut self, requests: &mut Requests) {
        self.input = Input::Ended;
        if requests.open {
            requests.abandon_open(Vec::new());
        }
        self.drop_rest(requests);
    }

    /// The request that ends after `len` bytes is complete.
    fn finish(&mut self, len: usize, requests: &mut Requests) -> bool {
        if requests.skipping {
            requests.skipping = false;
            requests.log.remove(requests.queued, self.blank + len);
            self.blank = 0;
            return true;
        }
        if requests.open {
            requests.open = false;
            requests.queued += len;
            let entry = requests.entries.back_mut().expect("an open request");
            entry.len += len;
            return true;
        }
        if self.scanner.is_empty() {
            self.blank += len;
            return false;
        }
        let entry = self.entry(len, requests);
        match entry.kind {
            Kind::Quit => self.input = Input::Ended,
            Kind::Raw => {
                self.input = Input::Relay;
                requests.open = true;
            }
            _ => {}
        }
        if entry.kind == Kind::Quit {
            push_final(texts::QUIT.to_vec(), requests);
        } else {
            requests.push(entry);
        }
        self.blank = 0;
        true
    }

    /// The current request goes on: if it is large, what is there may be forwarded.
    fn stream(&mut self, requests: &mut Requests) {
        let scanned = self.scanner.scanned();
        if requests.skipping {
            requests.log.remove(requests.queued, self.blank + scanned);
            self.blank = 0;
        } else if requests.open {
            requests.queued += scanned;
            requests.entries.back_mut().expect("an open request").len += scanned;
        } else if scanned >= STREAM {
            let mut entry = self.entry(scanned, requests);
            match entry.kind {
                Kind::Setting => entry.kind = Kind::Pinning,
                Kind::Raw => self.input = Input::Relay,
                _ => {}
            }
            requests.push(entry);
            requests.open = true;
            self.blank = 0;
        } else {
            return;
        }
        self.scanner.release(scanned);
    }

    fn entry(&self, len: usize, requests: &Requests) -> Entry {
        let bytes = &requests.log.as_slice()[requests.queued + self.blank..][..len];
        let argument = |i| self.scanner.arg(bytes, i);
        let name = argument(0).unwrap_or_default();
        let kind = command::kind(name, (1..self.scanner.count()).map_while(argument));
        let mut entry = Entry::new(self.blank + len, kind);
        if kind == Kind::Setting {
            let arguments: Vec<_> = (0..self.scanner.count()).map_while(argument).collect();
            match Memory::of(&arguments) {
                Some(memory) => entry.learns = Some(Box::new(memory)),
                None => entry.kind = Kind::Pinning,
            }
        }
        entry
    }

    /// The client broke the protocol: that is the last that it hears.
    fn refuse(&mut self, error: RequestError, requests: &mut Requests) {
        self.input = Input::Ended;
        if requests.open {
            // The server has the beginning of this request and will never see its end.
            requests.abandon_open(format!("-ERR {error}\r\n").into_bytes());
        } else {
            push_final(format!("-ERR {error}\r\n").into_bytes(), requests);
        }
    }

    fn drop_rest(&mut self, requests: &mut Requests) {
        requests.log.truncate(requests.queued);
        self.blank = 0;
    }
}

fn relay(requests: &mut Requests) {
    let more = requests.log.len() - requests.queued;
    requests.queued += more;
    requests.entries.back_mut().expect("the relay's entry").len += more;
}

fn push_final(reply: Vec<u8>, requests: &mut Requests) {
    let mut entry = Entry::new(0, Kind::Plain);
    entry.answer = Some(Box::new(Answer::Final(reply.into())));
    requests.push(entry);
}

/// Whether this whole request only reads.
pub(crate) fn is_read(request: &[u8]) -> bool {
    let mut scanner = RequestScanner::new(Limits::default());
    let mut rest = request;
    while let Ok(Some(len)) = scanner.scan(rest) {
        if let Some(name) = scanner.arg(rest, 0) {
            return command::is_read(name);
        }
        rest = &rest[len..];
    }
    false
}

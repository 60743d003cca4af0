//! Entries and heartbeats: requests go out without waiting for the answers to those before, which
//! come back in order.

use std::{collections::VecDeque, pin::Pin};

use futures_util::{Stream, StreamExt as _, stream::unfold};
use openraft::{
    RPCTypes,
    errors::RPCError,
    raft::{AppendEntriesRequest, StreamAppendResult},
};
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    codec::Reader,
    net::{Fault, dial::Connection, frame, link::Link, messages},
    types::Types,
};

type Answer = Result<StreamAppendResult<Types>, RPCError<Types>>;

/// So many requests may wait for their answers; the other end takes as many without answering.
const WINDOW: usize = 64;

/// No further request is made while so many bytes wait to be written.
const HIGH_WATER: usize = 4 * 1024 * 1024;

/// A connection on which requests are under way.
#[derive(Debug)]
pub(crate) struct Line {
    connection: Connection,
    /// When each unanswered request was made, the oldest first.
    waiting: VecDeque<Instant>,
    /// So many of the oldest belong to streams that were given up: their answers are for nobody.
    orphans: usize,
}

impl Line {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            waiting: VecDeque::new(),
            orphans: 0,
        }
    }

    /// The next answer that is here and that somebody waits for.
    fn take(&mut self) -> Result<Option<StreamAppendResult<Types>>, Fault> {
        while let Some(message) = self.connection.inbox.take()? {
            let answer = messages::appended(Reader(message))?;
            if self.waiting.pop_front().is_none() {
                return Err(crate::codec::Malformed.into());
            }
            if self.orphans == 0 {
                return Ok(Some(answer));
            }
            self.orphans -= 1;
            if answer.is_err() {
                // The other end answers nothing more after that.
                return Err(Fault::Closed);
            }
        }
        Ok(None)
    }
}

/// Sends the requests of one stream and yields their answers. The connection is kept for the next
/// stream, also if this one is dropped: then the answers that it still owes are skipped.
pub(crate) fn stream<'s, S>(link: &'s mut Link, input: S) -> impl Stream<Item = Answer> + Send + 's
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    if let Some(line) = &mut link.line {
        line.orphans = line.waiting.len();
    }
    let session = Session {
        patience: Box::pin(sleep_until(Instant::now() + link.within())),
        link,
        input: Some(input),
        over: false,
    };
    unfold(session, |mut session| async move {
        let answer = session.next().await?;
        Some((answer, session))
    })
}

struct Session<'s, S> {
    link: &'s mut Link,
    /// Gone once all requests are made.
    input: Option<S>,
    over: bool,
    /// Ends no earlier than the time for the oldest unanswered request.
    patience: Pin<Box<Sleep>>,
}

impl<S> Session<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    async fn next(&mut self) -> Option<Answer> {
        if self.over {
            return None;
        }
        let answer = match self.step().await {
            Ok(answer) => Ok(answer?),
            Err(fault) => Err(self.link.told(RPCTypes::AppendEntries, &fault)),
        };
        if !matches!(answer, Ok(Ok(_))) {
            // After a refusal the other end closes, and after a fault nothing can be relied on.
            self.link.line = None;
            self.over = true;
        }
        Some(answer)
    }

    /// The next answer; nothing after the last one.
    async fn step(&mut self) -> Result<Option<StreamAppendResult<Types>>, Fault> {
        if self.link.line.is_none() {
            // The library waits inside the stream of requests before it tries again, so the first
            // request must be there before the connection is.
            let Some(first) = self.request().await else {
                return Ok(None);
            };
            let connection = self.link.dial_line().await?;
            self.link.line = Some(Line::new(connection));
            self.make(&first);
        }
        loop {
            let line = self.link.line.as_mut().expect("dialled above");
            if let Some(answer) = line.take()? {
                return Ok(Some(answer));
            }
            if self.input.is_none() && line.waiting.len() == line.orphans {
                return Ok(None);
            }
            let made = {
                let room = line.waiting.len() < WINDOW && line.connection.outbox.len() < HIGH_WATER;
                let Connection {
                    reads,
                    writes,
                    inbox,
                    outbox,
                } = &mut line.connection;
                tokio::select! {
                    request = next(&mut self.input), if room && self.input.is_some() => Some(request),
                    written = writes.write_buf(outbox), if !outbox.is_empty() => {
                        written?;
                        None
                    }
                    filled = inbox.fill(reads) => {
                        filled?;
                        None
                    }
                    () = &mut self.patience => {
                        self.look_at_the_clock()?;
                        None
                    }
                }
            };
            match made {
                Some(Some(request)) => self.make(&request),
                Some(None) => self.input = None,
                None => {}
            }
        }
    }

    async fn request(&mut self) -> Option<AppendEntriesRequest<Types>> {
        let request = next(&mut self.input).await;
        if request.is_none() {
            self.input = None;
        }
        request
    }

    /// Puts a request on its way.
    fn make(&mut self, request: &AppendEntriesRequest<Types>) {
        let line = self.link.line.as_mut().expect("there is a connection");
        line.waiting.push_back(Instant::now());
        frame::put(&mut line.connection.outbox, |to| {
            messages::put_append(to, request);
        });
    }

    /// Gives up if the oldest request has waited for too long.
    fn look_at_the_clock(&mut self) -> Result<(), Fault> {
        let (now, within) = (Instant::now(), self.link.within());
        let line = self.link.line.as_ref();
        let oldest = line.and_then(|line| line.waiting.front().copied());
        let due = oldest.unwrap_or(now) + within;
        if due <= now {
            return Err(Fault::Slow(within));
        }
        self.patience.as_mut().reset(due);
        Ok(())
    }
}

async fn next<S: Stream + Unpin>(input: &mut Option<S>) -> Option<S::Item> {
    match input {
        Some(input) => input.next().await,
        None => None,
    }
}

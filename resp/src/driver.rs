//! The task that owns the socket of a [`Connection`](crate::Connection).

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::command::Command;
use crate::decode::Decoder;
use crate::encode;
use crate::error::{Cause, Error};
use crate::limits::Limits;
use crate::pushes::PushSender;
use crate::socket;
use crate::value::Value;

/// Pipelines in flight at one time. Control traffic has a handful.
const IN_FLIGHT: usize = 128;
/// Room for one read.
const READ: usize = 16 * 1024;

/// Commands that go together, and who waits for their replies.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) commands: Vec<Command>,
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<Value>, Error>>,
}

/// Why the connection ended, known before anyone can see that it did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending(Arc<OnceLock<Cause>>);

impl Ending {
    pub(crate) fn cause(&self) -> Cause {
        self.0.get().cloned().unwrap_or(Cause::Stopped)
    }
}

/// A job whose commands are in the output or sent.
struct Flight {
    expected: usize,
    replies: Vec<Value>,
    timeout: Duration,
    deadline: Instant,
    /// How many bytes had been put out before its first.
    start: u64,
    reply: oneshot::Sender<Result<Vec<Value>, Error>>,
}

pub(crate) struct Driver {
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    /// Bytes ever put into `output`, and bytes ever taken by the socket.
    put: u64,
    written: u64,
    jobs: mpsc::Receiver<Job>,
    flights: VecDeque<Flight>,
    pushes: PushSender,
    ending: Ending,
}

impl Driver {
    pub(crate) fn new(
        limits: Limits,
        jobs: mpsc::Receiver<Job>,
        pushes: PushSender,
        ending: Ending,
    ) -> Self {
        Self {
            decoder: Decoder::new(limits),
            input: BytesMut::new(),
            output: BytesMut::new(),
            put: 0,
            written: 0,
            jobs,
            flights: VecDeque::new(),
            pushes,
            ending,
        }
    }

    /// Serves the connection until it is lost or nobody holds it any more. The
    /// socket is closed before anyone hears of it.
    pub(crate) async fn run(mut self, stream: TcpStream, address: String) {
        let Some(cause) = self.serve(stream).await else {
            return;
        };
        debug!(address, %cause, "connection lost");
        // Set once only, so there is no earlier cause to lose.
        let _ = self.ending.0.set(cause.clone());
        self.jobs.close();
        for flight in self.flights.drain(..) {
            let error = match flight.start < self.written {
                true => Error::OutcomeUnknown(cause.clone()),
                false => Error::NotSent(cause.clone()),
            };
            // Who no longer waits need not know.
            let _ = flight.reply.send(Err(error));
        }
        while let Some(job) = self.jobs.recv().await {
            let _ = job.reply.send(Err(Error::NotSent(cause.clone())));
        }
    }

    /// Returns why the connection is lost, or `None` when nobody holds it any more.
    async fn serve(&mut self, mut stream: TcpStream) -> Option<Cause> {
        let cause = self.exchange(&mut stream).await;
        if !self.flights.is_empty() {
            socket::discard_unsent(&stream);
        }
        cause
    }

    async fn exchange(&mut self, stream: &mut TcpStream) -> Option<Cause> {
        let (mut reader, mut writer) = stream.split();
        loop {
            self.input.reserve(READ);
            let deadline = self.flights.iter().map(|flight| flight.deadline).min();
            let stepped = tokio::select! {
                read = reader.read_buf(&mut self.input) => self.received(read),
                wrote = writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                    self.sent(wrote)
                }
                () = wait_until(deadline) => self.expire(&reader),
                job = self.jobs.recv(), if self.flights.len() < IN_FLIGHT => {
                    self.accept(job?);
                    Ok(())
                }
            };
            if let Err(cause) = stepped {
                return Some(cause);
            }
        }
    }

    fn accept(&mut self, job: Job) {
        if job.reply.is_closed() {
            return;
        }
        let start = self.put;
        let before = self.output.len();
        for command in &job.commands {
            encode::command(&mut self.output, command.args());
        }
        self.put += (self.output.len() - before) as u64;
        self.flights.push_back(Flight {
            expected: job.commands.len(),
            replies: Vec::with_capacity(job.commands.len()),
            timeout: job.timeout,
            deadline: job.deadline,
            start,
            reply: job.reply,
        });
    }

    fn sent(&mut self, wrote: io::Result<usize>) -> Result<(), Cause> {
        match wrote {
            Ok(n) => self.written += n as u64,
            Err(error) => return Err(Cause::Io(error.kind())),
        }
        Ok(())
    }

    fn received(&mut self, read: io::Result<usize>) -> Result<(), Cause> {
        match read {
            Ok(0) => return Err(Cause::Eof),
            Ok(_) => {}
            Err(error) => return Err(Cause::Io(error.kind())),
        }
        while let Some(value) = self.decoder.decode(&mut self.input)? {
            match value.is_push() {
                true => self.pushes.send(value),
                false => self.answer(value)?,
            }
        }
        Ok(())
    }

    fn answer(&mut self, value: Value) -> Result<(), Cause> {
        let flight = self.flights.front_mut().ok_or(Cause::Unasked)?;
        flight.replies.push(value);
        if flight.replies.len() == flight.expected
            && let Some(flight) = self.flights.pop_front()
        {
            // Who no longer waits drops the reply; the next one is still the next one's.
            let _ = flight.reply.send(Ok(flight.replies));
        }
        Ok(())
    }

    /// A deadline has passed. Perhaps it is this process that was late: what has
    /// arrived meanwhile still counts.
    fn expire(&mut self, reader: &ReadHalf<'_>) -> Result<(), Cause> {
        match reader.try_read_buf(&mut self.input) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => self.received(read)?,
        }
        let now = Instant::now();
        match self.flights.iter().find(|flight| flight.deadline <= now) {
            Some(flight) => Err(Cause::Timeout(flight.timeout)),
            None => Ok(()),
        }
    }
}

/// Pending for ever without a deadline.
async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

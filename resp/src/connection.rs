//! The handle of a control connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::command::Command;
use crate::driver::{Driver, Ending, Job};
use crate::error::{Cause, Error};
use crate::options::{ConnectOptions, Protocol};
use crate::pushes::{self, Pushes};
use crate::value::Value;
use crate::{handshake, socket};

/// Pipelines that may wait for the driver; a further sender waits its turn.
const WAITING: usize = 64;

/// A connection to a server for control traffic, as a handle that is cheap to clone.
///
/// A task of its own owns the socket. It ends, and closes the socket, when the
/// last handle is dropped or the connection is lost. A lost connection stays
/// lost: nothing is ever sent again by itself, because after a lost connection
/// only the caller can tell what may be repeated. Connect anew.
///
/// - Commands of all handles share the connection and are answered in order. What
///   belongs together, such as MULTI to EXEC, goes into one
///   [`pipeline`](Self::pipeline), which nobody else's command interrupts.
/// - A command that is not answered in time costs the connection: the socket is
///   dropped, and all commands in flight fail with [`Error::OutcomeUnknown`]. So
///   a late reply is never taken for another's.
/// - An error reply is a [`Value::Error`], not an `Err`.
///
/// # Cancel safety
/// Any future here may be dropped at any time. A command of a dropped future that
/// was not handed to the socket is not sent; otherwise it may run, and its reply is
/// dropped when it comes, without shifting the replies of others.
///
/// ```no_run
/// # async fn example() -> Result<(), bellwether_resp::Error> {
/// use bellwether_resp::{Command, ConnectOptions, Connection};
///
/// let connection = Connection::connect("127.0.0.1", 6379, &ConnectOptions::default()).await?;
/// let role = connection.send(Command::new("ROLE")).await?.into_result()?;
/// println!("{role:?}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Connection {
    jobs: mpsc::Sender<Job>,
    ending: Ending,
    pushes: Arc<Mutex<Option<Pushes>>>,
    protocol: Protocol,
    peer: SocketAddr,
    command_timeout: Duration,
}

impl Connection {
    /// Connects, authenticates if there are credentials, and agrees on the protocol.
    ///
    /// Without credentials and in RESP2 nothing is sent, so a server that wants a
    /// password says so (`NOAUTH`) to the first command.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::ConnectTimeout`], [`Error::Auth`], or
    /// [`Error::Server`] when the server refuses for another reason.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn connect(host: &str, port: u16, options: &ConnectOptions) -> Result<Self, Error> {
        let address = socket::describe(host, port);
        let opened = timeout(options.connect_timeout, async {
            let stream = socket::open(host, port).await;
            let stream = stream.map_err(|source| Error::Connect {
                address: address.clone(),
                source,
            })?;
            let peer = stream.peer_addr().map_err(|source| Error::Connect {
                address: address.clone(),
                source,
            })?;
            Self::start(stream, peer, &address, options).await
        });
        opened.await.unwrap_or_else(|_| {
            Err(Error::ConnectTimeout {
                address: address.clone(),
                timeout: options.connect_timeout,
            })
        })
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// [`Error::NotSent`], [`Error::OutcomeUnknown`] or [`Error::Unsupported`].
    ///
    /// # Cancel safety
    /// See [`Connection`].
    #[expect(clippy::missing_panics_doc, reason = "the driver counts the replies")]
    pub async fn send(&self, command: Command) -> Result<Value, Error> {
        let mut replies = self.pipeline(vec![command]).await?;
        Ok(replies.pop().expect("one reply for one command"))
    }

    /// Sends commands back to back and waits for all replies, one for each, in order.
    ///
    /// The time allowed for all of them together is the longest of their timeouts.
    ///
    /// # Errors
    /// As [`send`](Self::send), for all of them together: when the connection is
    /// lost, replies that did come are not reported.
    ///
    /// # Cancel safety
    /// See [`Connection`].
    pub async fn pipeline(&self, commands: Vec<Command>) -> Result<Vec<Value>, Error> {
        if let Some(refused) = commands.iter().find(|command| !command.has_one_reply()) {
            return Err(Error::Unsupported(refused.name()));
        }
        let default = self.command_timeout;
        let timeouts = commands.iter().map(|c| c.own_timeout().unwrap_or(default));
        let Some(timeout) = timeouts.max() else {
            return Ok(Vec::new());
        };
        let (reply, replies) = oneshot::channel();
        let job = Job {
            commands,
            timeout,
            deadline: Instant::now() + timeout,
            reply,
        };
        if self.jobs.send(job).await.is_err() {
            return Err(Error::NotSent(self.ending.cause()));
        }
        replies
            .await
            .unwrap_or_else(|_| Err(Error::OutcomeUnknown(self.ending.cause())))
    }

    /// Waits until the connection is lost, and says why. Also when nothing is in
    /// flight: a server that dies is seen at once. One that merely hangs, or
    /// vanishes from the network, is seen by an unanswered command only.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn closed(&self) -> Cause {
        self.jobs.closed().await;
        self.ending.cause()
    }

    /// Whether the connection is lost.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.jobs.is_closed()
    }

    /// The protocol that was agreed on.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Where it leads: what the host that was given meant when it was connected.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Takes the push messages of RESP3, such as invalidations of CLIENT TRACKING.
    /// `None` when they were taken before, through any handle.
    #[must_use]
    pub fn take_pushes(&self) -> Option<Pushes> {
        let mut pushes = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        pushes.take()
    }

    async fn start(
        stream: TcpStream,
        peer: SocketAddr,
        address: &str,
        options: &ConnectOptions,
    ) -> Result<Self, Error> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let (push_sender, pushes) = pushes::channel();
        let ending = Ending::default();
        let driver = Driver::new(options.limits, waiting, push_sender, ending.clone());
        tokio::spawn(driver.run(stream, address.to_owned()));
        let mut connection = Self {
            jobs,
            ending,
            pushes: Arc::new(Mutex::new(Some(pushes))),
            protocol: Protocol::Resp2,
            peer,
            // The caller's own deadline holds for the whole handshake.
            command_timeout: options.connect_timeout,
        };
        connection.protocol = handshake::run(&connection, address, options).await?;
        connection.command_timeout = options.command_timeout;
        Ok(connection)
    }
}

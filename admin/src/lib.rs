//! The HTTP face of a node: what probes, balancers, people and scripts may ask of it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /livez` | 200 while the node's main loop is alive, otherwise 503 |
//! | `GET /readyz` | 200, or 503 with a line that says why not; the line tells of a pause, too |
//! | `GET /primary` | 200 while the node's server is the published primary, otherwise 503 |
//! | `GET /replica` | 200 while the node's server is a replica with a working link, otherwise 503; with `?lag=BYTES` 200 only while it is known to be at most so far behind |
//! | `GET /status` | 200 with the JSON that the application gave |
//! | `GET /metrics` | 200 with what the application says to [`Admin::with_metrics`], else 404 |
//! | `POST /switchover` | hands leadership over to the fittest peer; `?to=NAME` to a certain one |
//! | `POST /pause` | from then on no failover happens by itself; doing it again changes nothing |
//! | `POST /resume` | ends a pause; doing it again changes nothing |
//!
//! Each `GET` may be a `HEAD`. The first four may also be `OPTIONS`, as HAProxy's `option httpchk`
//! says by default, and are answered like `GET`.
//!
//! A `POST` is answered with 200 when it is done, a switchover with `{"from","to","took_ms"}`; 409
//! if the application refused or one of its kind is already under way; 503 if nobody is there to
//! carry it out; 504 if its outcome is not known yet; 400 if it has a body or a parameter that it
//! does not take. Every other answer is one line of text.
//!
//! The seam is made of values: the application publishes a [`Report`] in a `watch` channel and
//! receives [`Request`]s. This crate decides nothing; it only ends a [`Role::Primary`] at its
//! `until` by itself, because a report that is late must not send writers to a former primary.
//!
//! # Load balancers
//!
//! `/primary` and `/replica` answer as those of Patroni's REST API, so that a balancer which is set
//! up for Patroni works here: `option httpchk OPTIONS /primary` with `http-check expect status 200`
//! in HAProxy. `BYTES` is a whole number, plain or with one of the units `B`, `kB`, `MB`, `GB` and
//! `TB`, each 1024 of the one before. Anything else is answered with 400, and so is any other
//! parameter of `/replica`: there are no tags here. (Patroni takes a bound that it cannot read for
//! none, and sends readers to replicas however far behind.)
//!
//! # Who may ask for changes
//!
//! | | `GET` | `POST` |
//! |---|---|---|
//! | with [`Admin::with_token`] | everyone | whoever gives `Authorization: Bearer TOKEN`, others get 401 |
//! | without | everyone | whoever connects from this machine, others and web pages get 403 |
//!
//! A proxy on this machine that passes on requests from elsewhere makes everyone a local: set a
//! token then. There is no TLS, so whoever can listen in reads the token: keep the port within a
//! network that only operators and probes reach.
//!
//! # Bounds
//!
//! Whoever reaches the port can cost a node little: 64 connections of 16 KiB of buffer each (a new
//! one ends the oldest, so that idle ones never keep a probe out), one request per connection,
//! 5 seconds for its head, no body, one switchover and one pause or resume at a time.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use bellwether_admin::{Admin, AdminConfig, Report, Role};
//! use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream, sync::{mpsc, oneshot, watch}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (_reports, report) = watch::channel(Arc::new(Report {
//!     live: true,
//!     ready: Err("no primary yet".to_owned()),
//!     paused: false,
//!     role: Role::Neither,
//!     status: serde_json::json!({ "role": "replica" }),
//! }));
//! let (requests, _requested) = mpsc::channel(2);
//! let (stop, stopped) = oneshot::channel::<()>();
//!
//! let admin = Admin::bind(AdminConfig::new("127.0.0.1:0".parse()?)).await?;
//! let address = admin.local_addr();
//! let node = tokio::spawn(admin.run(report, requests, async { _ = stopped.await }));
//!
//! let mut client = TcpStream::connect(address).await?;
//! client.write_all(b"GET /readyz HTTP/1.1\r\nHost: node\r\n\r\n").await?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await?;
//! assert!(answer.starts_with("HTTP/1.1 503"));
//! assert!(answer.ends_with("no primary yet\n"));
//!
//! drop(stop);
//! node.await?;
//! # Ok(())
//! # }
//! ```

mod changes;
mod error;
mod guard;
mod lag;
mod line;
mod probes;
mod report;
mod request;
mod routes;
mod server;

pub use error::Error;
pub use report::{Report, Role};
pub use request::{Answer, Request, SwitchoverDone};
pub use server::{Admin, AdminConfig};

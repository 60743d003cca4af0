//! The HTTP face of a node: what probes, people and scripts may ask of it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /livez` | 200 while the node's main loop is alive, otherwise 503 |
//! | `GET /readyz` | 200, or 503 with a line that says why not |
//! | `GET /status` | 200 with the JSON that the application gave |
//! | `GET /metrics` | 200 with what the application says to [`Admin::with_metrics`], else 404 |
//! | `POST /switchover` | hands leadership over to the fittest peer; `?to=NAME` to a certain one |
//!
//! A switchover is answered with 200 and `{"from","to","took_ms"}`; 409 if the application refused
//! or one is already under way; 503 if nobody is there to carry it out; 504 if its outcome is not
//! known yet. Every other answer is one line of text.
//!
//! The seam is made of values: the application publishes a [`Report`] in a `watch` channel and
//! receives [`SwitchoverRequest`]s. This crate decides nothing.
//!
//! # Bounds
//!
//! Whoever reaches the port can cost a node little: 64 connections of 16 KiB of buffer each (a new
//! one ends the oldest, so that idle ones never keep a probe out), one request per connection,
//! 5 seconds for its head, no body, one switchover at a time. There is neither TLS nor a password:
//! listen on an address that only operators and probes reach.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use bellwether_admin::{Admin, AdminConfig, Report};
//! use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream, sync::{mpsc, oneshot, watch}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (_reports, report) = watch::channel(Arc::new(Report {
//!     live: true,
//!     ready: Err("no primary yet".to_owned()),
//!     status: serde_json::json!({ "role": "replica" }),
//! }));
//! let (switchovers, _requests) = mpsc::channel(1);
//! let (stop, stopped) = oneshot::channel::<()>();
//!
//! let admin = Admin::bind(AdminConfig::new("127.0.0.1:0".parse()?)).await?;
//! let address = admin.local_addr();
//! let node = tokio::spawn(admin.run(report, switchovers, async { _ = stopped.await }));
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

mod error;
mod report;
mod routes;
mod server;

pub use error::Error;
pub use report::{Report, SwitchoverDone, SwitchoverRequest};
pub use server::{Admin, AdminConfig};

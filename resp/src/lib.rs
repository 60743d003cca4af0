//! RESP2 and RESP3, the protocols of Redis-compatible servers: frame scanner,
//! request parser, values, encoder, and a connection for control traffic.
//!
//! | part | for whom | allocates | memory bound |
//! |---|---|---|---|
//! | [`Scanner`] | a proxy: where does the next reply end? | nothing for flat frames | 8 bytes for each open aggregate, at most [`Limits::depth`] |
//! | [`RequestScanner`] | a proxy or server: the next request and its arguments | nothing for seven arguments or fewer, once for more; inline ones | [`KEPT_ARGS`] ranges; an inline line of [`Limits::line`] |
//! | [`Decoder`], [`Value::decode`] | control traffic: replies as values | a tree | some 30 times [`Limits::frame`] at worst: 40 bytes for a `_` |
//! | [`encode`] | commands and replies | the caller's buffer | – |
//! | [`Connection`] | control traffic: commands with timeouts | as [`Decoder`] | [`ConnectOptions::limits`] |
//!
//! What all of them keep to:
//!
//! - **Any split of the input gives the same result**, and no byte is looked at
//!   more than twice, however small the pieces.
//! - **Nothing is allocated from a declared length**, and nesting is bounded, so a
//!   hostile peer gets an error, never a crash or a large allocation.
//! - **Lengths are read as strictly as Redis does**: no sign, no leading zero; a
//!   missing CR LF is an error. Two parsers that disagree on where a request ends
//!   are a way to smuggle one.
//! - **A connection never guesses.** After a timeout it is gone, and [`Error`] says
//!   whether a command did not run or may have run. Nothing is sent twice.
//!
//! Not here: TLS, pub/sub over a [`Connection`], streamed frames of RESP3 (no known
//! server sends one), retries.
//!
//! ```
//! use bellwether_resp::{Command, Protocol, RequestScanner, Limits, Scanner, Value, encode};
//!
//! // A client's request ...
//! let mut request = Vec::new();
//! encode::command(&mut request, Command::new("SET").arg("k").arg(5).args());
//! let mut requests = RequestScanner::new(Limits::default());
//! let end = requests.scan(&request)?.expect("it is whole");
//! assert_eq!(requests.arg(&request[..end], 0), Some(&b"SET"[..]));
//!
//! // ... and a server's reply, of which a part has come.
//! let mut reply = Vec::new();
//! encode::value(&mut reply, &Value::Simple("OK".into()), Protocol::Resp2);
//! let mut replies = Scanner::new(Limits::default());
//! assert_eq!(replies.scan(&reply[..3])?, None);
//! let end = replies.scan(&reply)?.expect("it is whole now");
//! assert!(Value::decode(&reply[..end].to_vec().into())?.is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! None.

mod command;
mod connection;
mod decode;
mod driver;
pub mod encode;
mod error;
mod handshake;
mod inline;
mod kept;
mod limits;
mod line;
mod options;
mod pushes;
mod request;
mod scan;
mod server_error;
mod socket;
mod value;

pub use command::{Argument, Command};
pub use connection::Connection;
pub use decode::Decoder;
pub use error::{Cause, Error, RequestError, ScanError};
pub use limits::Limits;
pub use options::{ConnectOptions, Credentials, Protocol};
pub use pushes::Pushes;
pub use request::{KEPT_ARGS, RequestScanner};
pub use scan::Scanner;
pub use server_error::ServerError;
pub use value::Value;

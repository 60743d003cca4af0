//! RESP2 and RESP3: frame scanner, request parser, values, encoder, and a
//! connection for control traffic.

mod command;
mod connection;
mod decode;
mod driver;
pub mod encode;
mod error;
mod handshake;
mod inline;
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

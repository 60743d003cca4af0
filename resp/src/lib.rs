//! RESP2 and RESP3: frame scanner, request parser, values, encoder, and a
//! connection for control traffic.

pub mod encode;
mod error;
mod inline;
mod limits;
mod line;
mod request;
mod scan;
mod value;

pub use error::{Cause, Error, RequestError, ScanError};
pub use limits::Limits;
pub use request::{KEPT_ARGS, RequestScanner};
pub use scan::Scanner;
pub use value::ServerError;

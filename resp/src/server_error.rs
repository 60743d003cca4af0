//! The error reply of a server.

use std::fmt;

use bytes::Bytes;

/// An error reply of a server, such as `READONLY You can't write against a read only replica.`
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerError {
    text: Bytes,
}

impl ServerError {
    /// An error reply with this text, without the leading `-`.
    #[must_use]
    pub fn new(text: impl Into<Bytes>) -> Self {
        Self { text: text.into() }
    }

    /// The first word, by which errors are told apart: `ERR`, `READONLY`, `LOADING`.
    /// Empty when it is not ASCII.
    #[must_use]
    pub fn code(&self) -> &str {
        let code = self.text.split(|byte| *byte == b' ').next();
        code.and_then(|code| std::str::from_utf8(code).ok())
            .filter(|code| code.is_ascii())
            .unwrap_or("")
    }

    /// The whole text, code included, as it came.
    #[must_use]
    pub fn text(&self) -> &Bytes {
        &self.text
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerError({:?})", String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for ServerError {}

//! Commands to be sent over a connection.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

/// A command and its arguments.
///
/// Its `Debug` shows the name only, because arguments may be passwords.
///
/// ```
/// use bellwether_resp::Command;
///
/// let pause = Command::new("CLIENT").arg("PAUSE").arg(100);
/// assert_eq!(pause.args(), ["CLIENT", "PAUSE", "100"]);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    args: Vec<Bytes>,
    timeout: Option<Duration>,
}

impl Command {
    /// A command without arguments yet.
    #[must_use]
    pub fn new(name: impl Into<Argument>) -> Self {
        Self {
            args: vec![name.into().0],
            timeout: None,
        }
    }

    /// Adds an argument: text, bytes or an integer.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<Argument>) -> Self {
        self.args.push(arg.into().0);
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args_from<A: Into<Argument>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.into().0));
        self
    }

    /// How long to wait for the reply, in place of the connection's
    /// [`command_timeout`](crate::ConnectOptions::command_timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The name and the arguments.
    #[must_use]
    pub fn args(&self) -> &[Bytes] {
        &self.args
    }

    pub(crate) fn own_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The name, in capitals.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.args[0]).to_ascii_uppercase()
    }

    /// Whether its replies can be matched to it by counting: one for each command.
    /// Subscriptions are confirmed by any number of push messages, MONITOR never
    /// ends, SYNC is another protocol, and CLIENT REPLY silences the server.
    pub(crate) fn has_one_reply(&self) -> bool {
        match self.name().as_str() {
            "SYNC" | "PSYNC" | "MONITOR" => false,
            name if name.ends_with("SUBSCRIBE") => false,
            "CLIENT" => {
                !matches!(self.args.get(1), Some(sub) if sub.eq_ignore_ascii_case(b"REPLY"))
            }
            _ => true,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (+{} arguments)", self.name(), self.args.len() - 1)
    }
}

/// What [`Command::arg`] takes.
pub struct Argument(Bytes);

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&String> for Argument {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&[u8]> for Argument {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Argument {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<Vec<u8>> for Argument {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for Argument {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

macro_rules! integers {
    ($($int:ty)*) => {$(
        impl From<$int> for Argument {
            fn from(n: $int) -> Self {
                n.to_string().into()
            }
        }
    )*};
}

integers!(i32 i64 u8 u16 u32 u64 usize);

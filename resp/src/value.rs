//! Replies as values.

use bytes::Bytes;

use crate::error::Error;
use crate::server_error::ServerError;

/// A reply of a server, of any type of RESP2 and RESP3.
///
/// The accessors see through [`Attributed`](Self::Attributed) and do not tell
/// apart what merely changed its type between RESP2 and RESP3.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `_`, and the null bulk string `$-1` of RESP2.
    Null,
    /// `*-1`, the other null of RESP2: a transaction that WATCH stopped, or a
    /// blocking command that found nothing. RESP3 has only [`Null`](Self::Null).
    NullArray,
    /// `+`, a status such as `OK`.
    Simple(Bytes),
    /// `-` or `!`, a refusal.
    Error(ServerError),
    /// `:`
    Int(i64),
    /// `$`
    Bulk(Bytes),
    /// `*`
    Array(Vec<Value>),
    /// `#`
    Bool(bool),
    /// `,`
    Double(f64),
    /// `(`, an integer beyond 64 bits, in decimal.
    BigNumber(Bytes),
    /// `=`, a text with a three-letter format such as `txt`.
    Verbatim {
        /// What kind of text it is: `txt` or `mkd`.
        format: [u8; 3],
        /// The text.
        text: Bytes,
    },
    /// `%`, in the order in which the pairs came, duplicates included.
    Map(Vec<(Value, Value)>),
    /// `~`, in the order in which the elements came, duplicates included.
    Set(Vec<Value>),
    /// `>`, which answers no request.
    Push(Vec<Value>),
    /// `|`, remarks before a value.
    Attributed(Vec<(Value, Value)>, Box<Value>),
}

impl Value {
    /// The value without attributes.
    #[must_use]
    pub fn bare(&self) -> &Self {
        let mut value = self;
        while let Self::Attributed(_, inner) = value {
            value = inner;
        }
        value
    }

    /// As [`bare`](Self::bare), by value.
    #[must_use]
    pub fn into_bare(self) -> Self {
        let mut value = self;
        while let Self::Attributed(_, inner) = value {
            value = *inner;
        }
        value
    }

    /// Whether it is one of the two nulls.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.bare(), Self::Null | Self::NullArray)
    }

    /// Whether it is the status `OK`.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self.bare(), Self::Simple(text) if text == "OK")
    }

    /// Whether it is a push message.
    #[must_use]
    pub fn is_push(&self) -> bool {
        matches!(self.bare(), Self::Push(_))
    }

    /// The error, if it is one.
    #[must_use]
    pub fn error(&self) -> Option<&ServerError> {
        match self.bare() {
            Self::Error(error) => Some(error),
            _ => None,
        }
    }

    /// Turns an error reply into an `Err`.
    ///
    /// # Errors
    /// [`Error::Server`] when the value is an error reply. Errors *inside* an
    /// array, as EXEC returns them, stay values.
    pub fn into_result(self) -> Result<Self, Error> {
        match self.into_bare() {
            Self::Error(error) => Err(Error::Server(error)),
            value => Ok(value),
        }
    }

    /// The bytes of a status, bulk string, verbatim text or big number.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self.bare() {
            Self::Simple(bytes) | Self::Bulk(bytes) | Self::BigNumber(bytes) => Some(bytes),
            Self::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }

    /// As [`as_bytes`](Self::as_bytes), when they are UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// An integer, or a string that is one in decimal.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self.bare() {
            Self::Int(n) => Some(*n),
            other => other.as_str()?.parse().ok(),
        }
    }

    /// A boolean, or RESP2's integer 0 or 1 for it.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.bare() {
            Self::Bool(b) => Some(*b),
            Self::Int(0) => Some(false),
            Self::Int(1) => Some(true),
            _ => None,
        }
    }

    /// A double, an integer, or a string that is one, as RESP2 writes it.
    #[must_use]
    pub fn as_double(&self) -> Option<f64> {
        match self.bare() {
            Self::Double(d) => Some(*d),
            Self::Int(n) => Some(*n as f64),
            other => other.as_str()?.parse().ok(),
        }
    }

    /// The elements of an array, set or push message.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self.bare() {
            Self::Array(values) | Self::Set(values) | Self::Push(values) => Some(values),
            _ => None,
        }
    }

    /// As [`as_array`](Self::as_array), by value.
    #[must_use]
    pub fn into_array(self) -> Option<Vec<Self>> {
        match self.into_bare() {
            Self::Array(values) | Self::Set(values) | Self::Push(values) => Some(values),
            _ => None,
        }
    }

    /// The pairs of a map, or of the flat array that RESP2 has in its place.
    #[must_use]
    pub fn into_map(self) -> Option<Vec<(Self, Self)>> {
        match self.into_bare() {
            Self::Map(pairs) => Some(pairs),
            Self::Array(values) if values.len() % 2 == 0 => Some(pairs(values)),
            _ => None,
        }
    }
}

/// Takes every two neighbours as a pair; an odd last value is dropped.
pub(crate) fn pairs(values: Vec<Value>) -> Vec<(Value, Value)> {
    let mut pairs = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let (Some(key), Some(value)) = (values.next(), values.next()) {
        pairs.push((key, value));
    }
    pairs
}

//! What a backend answers, and what a backend is.

use async_trait::async_trait;
use http::StatusCode;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

use super::call::Call;
use super::status::Failure;

/// What stands behind the front: our own store, or a real API server.
#[async_trait]
pub(crate) trait Backend: std::fmt::Debug + Send + Sync {
    /// Answers a call that is allowed.
    async fn answer(&self, call: Call) -> Reply;
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: StatusCode,
    pub(crate) content_type: String,
    /// Seconds; 0 for no such header.
    pub(crate) retry_after: u64,
    pub(crate) body: Payload,
}

/// What follows the head of an answer.
#[derive(Debug)]
pub(crate) enum Payload {
    Whole(Bytes),
    /// A watch: lines, until the sender is gone.
    Stream(mpsc::Receiver<Bytes>),
}

impl Reply {
    pub(crate) fn json(code: StatusCode, value: &Value) -> Self {
        Self {
            code,
            content_type: "application/json".into(),
            retry_after: 0,
            body: Payload::Whole(value.to_string().into()),
        }
    }

    pub(crate) fn stream(lines: mpsc::Receiver<Bytes>) -> Self {
        Self {
            code: StatusCode::OK,
            content_type: "application/json".into(),
            retry_after: 0,
            body: Payload::Stream(lines),
        }
    }

    pub(crate) fn text(code: StatusCode, content_type: &str, text: &str) -> Self {
        Self {
            code,
            content_type: content_type.into(),
            retry_after: 0,
            body: Payload::Whole(text.to_owned().into()),
        }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self {
            retry_after: failure.retry_after(),
            ..Self::json(failure.code, &failure.status)
        }
    }
}

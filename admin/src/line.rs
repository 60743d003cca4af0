use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

/// An answer of one line.
#[derive(Debug)]
pub(crate) struct Line(pub(crate) StatusCode, pub(crate) String);

impl Line {
    pub(crate) fn ok(text: impl Into<String>) -> Self {
        Self(StatusCode::OK, text.into())
    }

    /// The request itself is wrong: asking again changes nothing.
    pub(crate) fn wrong(reason: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, reason.into())
    }

    /// The node will not, as it is now.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self(StatusCode::CONFLICT, reason.into())
    }

    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, reason.into())
    }
}

impl IntoResponse for Line {
    fn into_response(self) -> Response {
        let line = self.1.replace(char::is_control, " ");
        (self.0, format!("{line}\n")).into_response()
    }
}

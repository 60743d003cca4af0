#[allow(dead_code, reason = "what stands on it follows with the next change")]
pub(crate) mod api;

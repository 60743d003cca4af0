//! The HTTP face over real sockets: every route, and clients that are slow, silent, garbled or not
//! permitted.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its scene cannot be set"
)]

mod balancer;
mod changes;
mod ending;
mod hostile;
mod permission;
mod probes;
mod scene;

//! The election by a Kubernetes Lease: a compare-and-swap, and no clock that is compared with another.

mod config;
mod core;
mod flaw;
mod record;
#[cfg(test)]
mod sim;

pub use config::LeaseConfig;
use flaw::Flaw;

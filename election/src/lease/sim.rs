//! The core in seeded worlds. A failure prints its seed; `BELLWETHER_SEED=n` replays that one, and
//! tells what happens in it. `BELLWETHER_SEEDS=n` sets through how many it lives.
//!
//! The worlds of a program that is built on an election use the same candidates and the same API: see
//! [`Flock`].

mod calls;
mod clock;
#[cfg(feature = "simulation")]
mod flock;
#[cfg(test)]
mod floods;
mod foreign;
mod judge;
#[cfg(test)]
mod live;
mod node;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod paused;
mod pauses;
mod peers;
mod queue;
#[cfg(test)]
mod scenes;
mod server;
#[cfg(test)]
mod tests;
mod trouble;
mod watch;
mod weather;
mod world;

#[cfg(feature = "simulation")]
pub use flock::{Flock, Plant};

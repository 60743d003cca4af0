//! The built agent beside real redis-servers: formed, broken in every way, cut apart, misled.
//!
//! Scenes with a group take turns, so that an ordinary machine can run them all. For a soak,
//! `BELLWETHER_RESTARTS=50` and `BELLWETHER_PARTITIONS=5` repeat the scenes of those names.

mod scene;

mod admin;
mod adopting;
mod dns;
mod ending;
mod faults;
mod flags;
mod forming;
mod metrics;
mod partition;
mod passwords;
mod replicas;
mod restarts;

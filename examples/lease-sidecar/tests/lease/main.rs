//! The whole of `bellwether-lease`: real redis-servers, real agents, and a Kubernetes API under test.

mod cluster;
mod datasets;
mod failsafe;
mod faults;
mod flags;
mod names;
mod pauses;
mod permissions;
mod readiness;
mod replicas;
mod restarts;
mod scene;
mod telling;

//! Tests of the engine: tables of events and outcomes, splits, and simulated worlds.

mod connection_state;
mod failover;
mod flow;
mod refusals;
mod rig;
mod splits;
mod world;

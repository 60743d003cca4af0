//! The engine beside clients and servers that do what a test says.

mod bounds;
mod failover;
mod holds;
mod leases;
mod orphans;
mod own;
mod rig;
mod sharing;
mod sim;

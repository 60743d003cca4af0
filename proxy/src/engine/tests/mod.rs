//! The engine beside clients and servers that do what a test says.

mod holds;
mod leases;
mod rig;
mod sharing;
mod sim;

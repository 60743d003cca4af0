//! The election by Lease, against the Kubernetes API of the testkit.

mod failsafe;
mod foreign;
mod group;
mod handover;
mod outages;
mod pauses;
mod permissions;
mod races;
mod rest;
mod start;

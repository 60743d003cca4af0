//! Discovery by the Kubernetes API, against one in this process with the faults of real ones.

mod connect;
mod flock;
mod outages;
mod pods;
mod slices;

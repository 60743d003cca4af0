//! The whole of `bellwether-lease`: real redis-servers, real agents, and a Kubernetes API under test.

mod faults;
mod flags;
mod scene;

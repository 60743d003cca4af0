//! The leader, announced by a Service's selector and by labels of pods, against a Kubernetes API with
//! faults.

mod faults;
mod roles;
mod scene;
mod service;

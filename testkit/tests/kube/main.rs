//! The Kubernetes API under test, asked by kube's own client: our own store, and, where
//! `KUBEBUILDER_ASSETS` names one, a real server. The same tests, the same answers.

mod access;
mod asking;
mod clients;
mod faults;
mod links;
mod lists;
mod objects;
mod watches;

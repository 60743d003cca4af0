//! Groups of nodes in one process, over real sockets.

mod counter;
mod durable;
mod flock;
mod forming;
mod hostile;
mod members;

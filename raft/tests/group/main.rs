//! Groups of nodes in one process, over real sockets.

mod counter;
mod durable;
mod far;
mod flock;
mod forced;
mod forming;
mod hostile;
mod members;
mod submit;

//! Groups of nodes in one process, over real sockets.

mod counter;
mod flock;
mod forming;
mod hostile;

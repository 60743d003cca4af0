//! What each Redis server is told to be: promote, follow, fence, switch over.

mod address;
mod card;
mod error;
mod inspection;
mod instance;
mod position;
mod rank;
mod redis;
mod sidecar;
mod view;

pub use address::Address;
pub use card::Card;
pub use error::Error;
pub use inspection::{Inspection, Link, Role};
pub use instance::{Clients, Instance};
pub use position::{Position, Relation};
pub use redis::{Redis, RedisOptions};
pub use sidecar::{
    Connect, Decided, Handle, MemberStatus, Sidecar, SidecarConfig, Status, Switched,
};
pub use view::{Server, View};

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;

use crate::{Address, Papers, Position};

/// What a server says of itself at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Drawn by the server at its start: a changed one means a restart.
    pub run_id: String,
    /// What the server is.
    pub role: Role,
    /// How far its dataset is.
    pub position: Position,
    /// Number of keys in all databases. A key that holds the passport is none.
    pub keys: u64,
    /// Whose the dataset is.
    pub papers: Papers,
    /// The replicas that are connected to it and in step, as they say where they are.
    pub attached: BTreeSet<Address>,
    /// Another number whenever a replica has left, however short it was there: copies that were begun
    /// less replicas that are connected, by counters that start anew with the server and with
    /// `CONFIG RESETSTAT`.
    pub departed: i64,
    /// Whether it is still reading its dataset from disk.
    pub loading: bool,
    /// Redis's `replica-priority`: smaller is preferred, 0 never leads.
    pub priority: u32,
    /// Whether a `FAILOVER` command is under way.
    pub failing_over: bool,
    /// What it demands of replicas before it takes a write, if it says so.
    pub min_replicas: Option<MinReplicas>,
}

/// When a primary refuses writes for want of replicas, whoever looks after it: Redis's
/// `min-replicas-to-write` and `min-replicas-max-lag`. A replica keeps the setting and does not
/// mind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MinReplicas {
    /// How many must be attached and heard of. 0 demands none.
    pub count: u32,
    /// How long ago each must have been heard of at most. Redis counts whole seconds, and looks once
    /// a second: silence is noticed within this and two seconds more, a connection that ends at
    /// once.
    pub max_lag: Duration,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Accepts writes.
    Primary,
    /// Copies another server.
    Replica {
        /// The server that it was told to copy.
        of: Address,
        /// How that goes.
        link: Link,
    },
}

/// A replica's connection to its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// The stream of writes arrives.
    Up,
    /// A full copy is being transferred or loaded: the dataset may be anything.
    Syncing,
    /// No connection.
    Down,
}

impl Inspection {
    /// Whether it accepts writes.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    /// Whether it was told to copy the server at `address`.
    #[must_use]
    pub fn follows(&self, address: &Address) -> bool {
        matches!(&self.role, Role::Replica { of, .. } if of == address)
    }

    /// The state of its link, if it is a replica.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        match self.role {
            Role::Primary => None,
            Role::Replica { link, .. } => Some(link),
        }
    }

    /// Whether it has keys.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.keys > 0
    }

    /// Whether nothing would be lost with it: it has no keys, nor a passport that says that it had
    /// some. So a server that restarted without persistence is blank, and gives way to whoever has
    /// data; and one that a user flushed is not, and goes before older datasets that still have
    /// the keys.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.keys == 0 && self.papers.passport().is_none_or(|passport| passport.blank)
    }

    /// Why its dataset cannot be relied on at present, if so.
    ///
    /// # Errors
    ///
    /// The reason, in a few words.
    pub fn whole(&self) -> Result<(), &'static str> {
        if self.loading {
            Err("it is loading its dataset")
        } else if self.link() == Some(Link::Syncing) {
            Err("it is syncing")
        } else {
            Ok(())
        }
    }

    /// Why this server must not become primary whatever the others are, if so.
    ///
    /// # Errors
    ///
    /// The reason, in a few words.
    pub fn fit(&self) -> Result<(), &'static str> {
        self.whole()?;
        if self.priority == 0 {
            return Err("its replica-priority is 0");
        }
        Ok(())
    }
}

use bellwether_election::Term;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Address;

/// What a sidecar tells its peers about its server. Unknown fields of a later version are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Where the others reach the server.
    pub redis: Address,
    /// Whether it answers the sidecar.
    pub up: bool,
    /// The term in which it was promoted, while it serves as the verified primary.
    pub serving: Option<Term>,
    /// The term of its dataset's passport; 0 if it has none, or that is not known. For operators,
    /// and for members of an older version, which order datasets by it; others read the passport.
    #[serde(default)]
    pub lineage: Term,
    /// Whether the sidecar is about to end: leadership must not be handed to it.
    #[serde(default)]
    pub leaving: bool,
}

impl Card {
    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("a card is plain data")
            .into()
    }

    /// Reads a card; `None` for what is not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

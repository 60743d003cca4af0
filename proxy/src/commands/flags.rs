//! Flags of commands, as `COMMAND` names them.

use super::judge::judge;
use super::spec::{Family, Spec};

/// What the server says of a command or of a subcommand, whose name is `container|subcommand`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// In lower case.
    pub(super) name: &'static str,
    pub(super) arity: i16,
    pub(super) flags: u32,
    pub(super) family: Family,
    pub(super) first_key: i16,
}

impl Row {
    /// What is to be done about it, by what is known without asking a server.
    pub(super) fn spec(&self) -> Spec {
        let (treat, reads) = judge(self.name, self.flags);
        Spec {
            treat,
            reads,
            family: self.family,
            arity: self.arity,
            first_key: self.first_key,
        }
    }
}

/// Makes a row short to write.
pub(super) const fn row(
    name: &'static str,
    arity: i16,
    flags: u32,
    family: Family,
    first_key: i16,
) -> Row {
    Row {
        name,
        arity,
        flags,
        family,
        first_key,
    }
}

macro_rules! flags {
    ($($flag:ident = $text:literal),* $(,)?) => {
        #[derive(Clone, Copy)]
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "only counts them")]
        enum Position { $($flag),* }

        $(pub(super) const $flag: u32 = 1 << Position::$flag as u32;)*

        /// The flag of this name; 0 if it is none that matters here.
        pub(super) fn flag(name: &[u8]) -> u32 {
            $(if name == $text.as_bytes() { return $flag; })*
            0
        }
    };
}

flags! {
    WRITE = "write",
    READONLY = "readonly",
    DENYOOM = "denyoom",
    MODULE = "module",
    ADMIN = "admin",
    PUBSUB = "pubsub",
    NOSCRIPT = "noscript",
    BLOCKING = "blocking",
    LOADING = "loading",
    STALE = "stale",
    SKIP_MONITOR = "skip_monitor",
    SKIP_SLOWLOG = "skip_slowlog",
    ASKING = "asking",
    FAST = "fast",
    NO_AUTH = "no_auth",
    MAY_REPLICATE = "may_replicate",
    NO_MANDATORY_KEYS = "no_mandatory_keys",
    ALLOW_BUSY = "allow_busy",
    NO_ASYNC_LOADING = "no_async_loading",
    NO_MULTI = "no_multi",
    MOVABLEKEYS = "movablekeys",
}

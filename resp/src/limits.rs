//! Bounds on what a peer may send.

/// Bounds on what a peer may send, checked as soon as a length is declared.
///
/// The scanners allocate nothing from a declared length, so generous limits cost
/// no memory there. Who collects whole frames must bound [`frame`](Self::frame).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one line, with its type byte and CR LF. Default 64 KiB, as
    /// Redis's `PROTO_INLINE_MAX_SIZE`.
    pub line: usize,
    /// Bytes of one bulk string, blob error or verbatim string. Default 512 MiB,
    /// as Redis's `proto-max-bulk-len`.
    pub bulk: usize,
    /// Values directly in one aggregate; a pair of a map counts as two. Default
    /// 2³¹ - 1, Redis's own bound on arguments. A lower one would refuse honest
    /// replies: `KEYS *` on a large server has tens of millions of elements.
    pub elements: usize,
    /// Aggregates open at one time, an attribute counting as one. Default 128:
    /// Redis's own replies nest below ten deep, only a script can make deeper ones,
    /// and copying, printing or dropping 128 nested values needs little stack.
    pub depth: usize,
    /// Bytes of one whole frame or request. Default unbounded, because a proxy
    /// streams and keeps nothing.
    pub frame: usize,
    /// Whether [`elements`](Self::elements) and [`bulk`](Self::bulk) are the bounds
    /// on a client that has yet to authenticate. Redis has other error texts for
    /// what exceeds these but not the default limits; nothing else depends on this.
    /// Default no.
    pub unauthenticated: bool,
}

impl Limits {
    /// For control traffic, where whole replies are kept in memory: lines of
    /// 64 KiB, 1 Mi elements, depth 128, and 16 MiB for a bulk and for the whole
    /// frame. `INFO` is some KiB; only `CLIENT LIST` of a huge server comes near.
    pub const CONTROL: Self = Self {
        line: 64 * 1024,
        bulk: 16 * 1024 * 1024,
        elements: 1024 * 1024,
        depth: 128,
        frame: 16 * 1024 * 1024,
        unauthenticated: false,
    };

    /// For requests of a client that has yet to authenticate, as Redis bounds them:
    /// 10 arguments of 16 KiB, otherwise as the default. An inline request is
    /// bounded by its line alone.
    pub const UNAUTHENTICATED: Self = Self {
        elements: 10,
        bulk: 16 * 1024,
        unauthenticated: true,
        ..Self::DEFAULT
    };

    /// What `default` returns.
    const DEFAULT: Self = Self {
        line: 64 * 1024,
        bulk: 512 * 1024 * 1024,
        elements: i32::MAX as usize,
        depth: 128,
        frame: usize::MAX,
        unauthenticated: false,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

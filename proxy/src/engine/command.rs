//! What the engine must know about commands.
//!
//! Unknown commands are [`Kind::Plain`]: forwarded, answered once, and repeated only when the
//! server refused them. Only commands that touch the state of a connection, that block, or whose
//! refusal proves nothing have a kind of their own.

/// How a command is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One request, one reply, nothing left behind in the connection.
    Plain,
    /// Runs a script. A refusal may come from inside the script, after effects: never repeated.
    Script,
    /// May leave the connection waiting in the server.
    Blocking,
    /// WAIT and WAITAOF: their answer is about the writes of this very connection.
    Wait,
    /// Sets what is remembered and restored on a new upstream connection.
    Setting,
    /// Sets what cannot be restored: the session ends with its upstream connection.
    Pinning,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Reset,
    Quit,
    /// Ends the rule of one reply for one request: from here on bytes are relayed unread.
    Raw,
}

/// The longest name in the tables, `GEORADIUSBYMEMBER_RO`.
const LONGEST: usize = 20;

/// A name in upper case. Longer ones than any that is known become the empty name.
struct Upper {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Upper {
    fn new(name: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        let len = if name.len() <= LONGEST { name.len() } else { 0 };
        bytes[..len].copy_from_slice(&name[..len]);
        bytes[..len].make_ascii_uppercase();
        Self { bytes, len }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The kind of a command. `arguments` are those after the name, as far as they are known.
pub(crate) fn kind<'a>(name: &[u8], mut arguments: impl Iterator<Item = &'a [u8]>) -> Kind {
    match Upper::new(name).as_slice() {
        b"AUTH" | b"HELLO" | b"SELECT" => Kind::Setting,
        b"CLIENT" => arguments.next().map_or(Kind::Plain, client),
        b"MULTI" => Kind::Multi,
        b"EXEC" => Kind::Exec,
        b"DISCARD" => Kind::Discard,
        b"WATCH" => Kind::Watch,
        b"UNWATCH" => Kind::Unwatch,
        b"RESET" => Kind::Reset,
        b"QUIT" => Kind::Quit,
        b"EVAL" | b"EVAL_RO" | b"EVALSHA" | b"EVALSHA_RO" | b"FCALL" | b"FCALL_RO" => Kind::Script,
        b"WAIT" | b"WAITAOF" => Kind::Wait,
        b"BLPOP" | b"BRPOP" | b"BRPOPLPUSH" | b"BLMOVE" | b"BLMPOP" | b"BZPOPMIN" | b"BZPOPMAX"
        | b"BZMPOP" => Kind::Blocking,
        b"XREAD" | b"XREADGROUP" => {
            let mut options = arguments.take_while(|word| !word.eq_ignore_ascii_case(b"STREAMS"));
            match options.any(|word| word.eq_ignore_ascii_case(b"BLOCK")) {
                true => Kind::Blocking,
                false => Kind::Plain,
            }
        }
        b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE"
        | b"SUNSUBSCRIBE" | b"MONITOR" | b"SYNC" | b"PSYNC" | b"REPLCONF" => Kind::Raw,
        _ => Kind::Plain,
    }
}

fn client(subcommand: &[u8]) -> Kind {
    match Upper::new(subcommand).as_slice() {
        b"SETNAME" | b"SETINFO" => Kind::Setting,
        b"REPLY" => Kind::Raw,
        b"TRACKING" | b"CACHING" | b"NO-EVICT" | b"NO-TOUCH" => Kind::Pinning,
        _ => Kind::Plain,
    }
}

/// Whether running the command twice does what running it once does: Redis 7's commands with the
/// flag `readonly`, without those that run scripts or may block.
pub(crate) fn is_read(name: &[u8]) -> bool {
    READS.binary_search(&Upper::new(name).as_slice()).is_ok()
}

/// Sorted, from `COMMAND` of Redis 7.0.
#[rustfmt::skip]
static READS: [&[u8]; 79] = [
    b"BITCOUNT", b"BITFIELD_RO", b"BITPOS", b"DBSIZE", b"DUMP", b"EXISTS", b"EXPIRETIME",
    b"GEODIST", b"GEOHASH", b"GEOPOS", b"GEORADIUSBYMEMBER_RO", b"GEORADIUS_RO", b"GEOSEARCH",
    b"GET", b"GETBIT", b"GETRANGE", b"HEXISTS", b"HGET", b"HGETALL", b"HKEYS", b"HLEN", b"HMGET",
    b"HRANDFIELD", b"HSCAN", b"HSTRLEN", b"HVALS", b"KEYS", b"LCS", b"LINDEX", b"LLEN", b"LOLWUT",
    b"LPOS", b"LRANGE", b"MGET", b"PEXPIRETIME", b"PFCOUNT", b"PING", b"PTTL", b"RANDOMKEY",
    b"SCAN", b"SCARD", b"SDIFF", b"SINTER", b"SINTERCARD", b"SISMEMBER", b"SMEMBERS",
    b"SMISMEMBER", b"SORT_RO", b"SRANDMEMBER", b"SSCAN", b"STRLEN", b"SUBSTR", b"SUNION",
    b"TOUCH", b"TTL", b"TYPE", b"XLEN", b"XPENDING", b"XRANGE", b"XREVRANGE", b"ZCARD", b"ZCOUNT",
    b"ZDIFF", b"ZINTER", b"ZINTERCARD", b"ZLEXCOUNT", b"ZMSCORE", b"ZRANDMEMBER", b"ZRANGE",
    b"ZRANGEBYLEX", b"ZRANGEBYSCORE", b"ZRANK", b"ZREVRANGE", b"ZREVRANGEBYLEX",
    b"ZREVRANGEBYSCORE", b"ZREVRANK", b"ZSCAN", b"ZSCORE", b"ZUNION",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(line: &str) -> Kind {
        let mut words = line.split(' ').map(str::as_bytes);
        let name = words.next().unwrap();
        kind(name, words)
    }

    #[test]
    fn kinds_do_not_depend_on_case() {
        assert_eq!(kind_of("hElLo 3"), Kind::Setting);
        assert_eq!(kind_of("client setname x"), Kind::Setting);
        assert_eq!(kind_of("client reply off"), Kind::Raw);
        assert_eq!(kind_of("client list"), Kind::Plain);
        assert_eq!(kind_of("CLIENT"), Kind::Plain);
        assert_eq!(kind_of("subscribe a"), Kind::Raw);
        assert_eq!(kind_of("evalsha abc 0"), Kind::Script);
        assert_eq!(kind_of("SET k v"), Kind::Plain);
        assert_eq!(kind_of("an-unknown-command-with-a-long-name"), Kind::Plain);
    }

    #[test]
    fn reading_a_stream_blocks_only_when_it_says_so() {
        assert_eq!(kind_of("xread count 1 block 0 streams s $"), Kind::Blocking);
        assert_eq!(kind_of("xread streams block 0"), Kind::Plain);
    }

    #[test]
    fn reads_are_sorted_and_found() {
        assert!(READS.is_sorted());
        assert!(is_read(b"get") && is_read(b"GEORADIUSBYMEMBER_RO") && is_read(b"zunion"));
        assert!(!is_read(b"set") && !is_read(b"publish") && !is_read(b"eval_ro") && !is_read(b""));
    }
}

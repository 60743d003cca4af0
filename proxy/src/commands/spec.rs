//! What the engine is told about a command.

/// What the engine must know about a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) treat: Treat,
    pub(crate) reads: Reads,
    pub(crate) family: Family,
    /// How many arguments it takes, its name included; negative: at least so many.
    pub(crate) arity: i16,
    /// Where its first key stands, its name being argument 0; 0: it has none, or it moves.
    pub(crate) first_key: i16,
}

/// What the engine must do about a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treat {
    /// One request, one reply, nothing left behind in the connection: may share one.
    Plain,
    /// As `Plain`, but a refusal may come from inside the script, after effects.
    Script,
    /// SCRIPT LOAD, which the proxy remembers, and SCRIPT FLUSH, which makes it forget.
    ScriptLoad,
    ScriptFlush,
    /// Waits in the server until there is something or its timeout has passed.
    Blocking {
        timeout: TimeoutArg,
    },
    /// XREAD and XREADGROUP: `Blocking` or `Plain` by its arguments, which
    /// [`Spec::of_request`] looks at.
    MayBlock,
    /// WAIT and WAITAOF: the answer is about the writes of this very connection.
    Wait,
    Select,
    Auth,
    Hello,
    Reset,
    Quit,
    /// CLIENT with any subcommand, known or not.
    Client,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Subscribe(Space),
    Unsubscribe(Space),
    Monitor,
    /// SYNC, PSYNC and REPLCONF: the rule of one reply for one request ends.
    Relay,
    Info,
    /// Closes the connection instead of answering, if all goes well.
    Shutdown,
    /// The SCAN family. Argument `cursor` belongs to the server that issued it.
    Scan {
        cursor: usize,
    },
    /// Leaves nothing, but must not wait behind what others asked: it may be what ends that.
    Alone,
    /// Leaves something in the connection that the proxy cannot name, closes it, or is not known
    /// to do neither.
    Sticky,
}

/// Where the timeout of a blocking command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeoutArg {
    /// Argument 1, in seconds.
    First,
    /// The last argument, in seconds.
    Last,
    /// After the word BLOCK, in milliseconds.
    AfterBlock,
}

/// What is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Channel,
    Pattern,
    Shard,
}

/// Where a command may run, and whether it may run twice. Ordered by how much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reads {
    /// On the primary, and never twice.
    No,
    /// On the primary, because the answer is its own; running it twice does what running it once
    /// does.
    PrimaryOnly,
    /// A replica may answer as well.
    Anywhere,
}

/// What a command works on, in Redis's own groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Pubsub,
    Transactions,
    Connection,
    Server,
    Scripting,
    Hyperloglog,
    Cluster,
    Sentinel,
    Geo,
    Stream,
    Bitmap,
    Module,
}

impl Spec {
    /// What holds for this request: what may block, blocks only if its arguments say so.
    ///
    /// `args` are those after the name. As Redis reads them, the word BLOCK must stand before the
    /// word STREAMS, and is no option where it names a group. When the arguments end before
    /// STREAMS, because there are more than are known, it is taken to block.
    #[must_use]
    pub(crate) fn of_request<'a>(self, args: impl Iterator<Item = &'a [u8]>) -> Self {
        if self.treat != Treat::MayBlock {
            return self;
        }
        if may_block(args) {
            Self {
                treat: Treat::Blocking {
                    timeout: TimeoutArg::AfterBlock,
                },
                reads: self.reads.min(Reads::PrimaryOnly),
                ..self
            }
        } else {
            Self {
                treat: Treat::Plain,
                ..self
            }
        }
    }

    /// Whether the server takes a request of so many arguments, the name included. If not, it
    /// refuses the request, which then has no effect whatever its treatment.
    #[must_use]
    pub(crate) fn takes(self, count: usize) -> bool {
        let least = usize::from(self.arity.unsigned_abs());
        count == least || self.arity < 0 && count > least
    }

    /// What holds for a subcommand that is not known.
    #[must_use]
    pub(super) fn of_unknown_subcommand(self) -> Self {
        Self {
            treat: match self.treat {
                Treat::Client => Treat::Client,
                _ => Treat::Sticky,
            },
            reads: Reads::No,
            arity: -2,
            first_key: 0,
            ..self
        }
    }
}

impl Family {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 18] = [
        Self::Generic,
        Self::String,
        Self::List,
        Self::Set,
        Self::SortedSet,
        Self::Hash,
        Self::Pubsub,
        Self::Transactions,
        Self::Connection,
        Self::Server,
        Self::Scripting,
        Self::Hyperloglog,
        Self::Cluster,
        Self::Sentinel,
        Self::Geo,
        Self::Stream,
        Self::Bitmap,
        Self::Module,
    ];

    /// Redis's name of the group.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Hash => "hash",
            Self::Pubsub => "pubsub",
            Self::Transactions => "transactions",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Scripting => "scripting",
            Self::Hyperloglog => "hyperloglog",
            Self::Cluster => "cluster",
            Self::Sentinel => "sentinel",
            Self::Geo => "geo",
            Self::Stream => "stream",
            Self::Bitmap => "bitmap",
            Self::Module => "module",
        }
    }
}

fn may_block<'a>(mut args: impl Iterator<Item = &'a [u8]>) -> bool {
    while let Some(word) = args.next() {
        match StreamWord::of(word) {
            StreamWord::Streams => return false,
            StreamWord::Block => return true,
            other => other.skip(&mut args),
        }
    }
    true
}

/// A word before STREAMS, as the parser of XREAD and XREADGROUP sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamWord {
    Streams,
    Block,
    Count,
    Group,
    /// NOACK, or an option of a newer server; words after it are looked at one by one.
    Other,
}

impl StreamWord {
    pub(super) fn of(word: &[u8]) -> Self {
        if word.eq_ignore_ascii_case(b"STREAMS") {
            Self::Streams
        } else if word.eq_ignore_ascii_case(b"BLOCK") {
            Self::Block
        } else if word.eq_ignore_ascii_case(b"COUNT") {
            Self::Count
        } else if word.eq_ignore_ascii_case(b"GROUP") {
            Self::Group
        } else {
            Self::Other
        }
    }

    /// Takes the values of this option.
    pub(super) fn skip<T>(self, args: &mut impl Iterator<Item = T>) {
        let values = match self {
            Self::Streams | Self::Other => 0,
            Self::Block | Self::Count => 1,
            Self::Group => 2,
        };
        args.take(values).for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xread() -> Spec {
        Spec {
            treat: Treat::MayBlock,
            reads: Reads::Anywhere,
            family: Family::Stream,
            arity: -4,
            first_key: 0,
        }
    }

    #[test]
    fn reading_a_stream_blocks_only_when_it_says_so() {
        for (args, blocks) in [
            ("block 0 streams s $", true),
            ("COUNT 1 BLOCK 0 STREAMS s $", true),
            ("COUNT 1 STREAMS s $", false),
            ("streams BLOCK 0", false),
            ("COUNT BLOCK STREAMS s $", false),
            ("GROUP BLOCK STREAMS STREAMS s >", false),
            ("GROUP BLOCK STREAMS NOACK BLOCK 0 STREAMS s >", true),
            ("GROUP STREAMS STREAMS COUNT 1 BLOCK 0 STREAMS s >", true),
            ("CLAIM 5 BLOCK 0 STREAMS s >", true),
            // More arguments than are known, perhaps.
            ("COUNT 1 COUNT 1", true),
            ("", true),
        ] {
            let spec = xread().of_request(args.split(' ').map(str::as_bytes));
            let expected = match blocks {
                true => Spec {
                    treat: Treat::Blocking {
                        timeout: TimeoutArg::AfterBlock,
                    },
                    reads: Reads::PrimaryOnly,
                    ..xread()
                },
                false => Spec {
                    treat: Treat::Plain,
                    ..xread()
                },
            };
            assert_eq!(spec, expected, "{args}");
        }
    }

    #[test]
    fn other_commands_do_not_depend_on_arguments() {
        let get = Spec {
            treat: Treat::Plain,
            ..xread()
        };
        assert_eq!(get.of_request([&b"BLOCK"[..], b"1"].into_iter()), get);
    }

    #[test]
    fn arity_counts_the_name() {
        let takes = |arity, count| Spec { arity, ..xread() }.takes(count);
        assert!(takes(2, 2) && !takes(2, 1) && !takes(2, 3));
        assert!(takes(-2, 2) && takes(-2, 1000) && !takes(-2, 1));
    }

    #[test]
    fn families_stand_in_the_order_of_their_numbers() {
        let numbers = Family::ALL.map(|family| family as usize);
        assert!(numbers.into_iter().eq(0..Family::ALL.len()));
    }
}

//! Brings Redis clients to the current primary.
//!
//! A [`Proxy`] listens for clients and forwards what they send, byte by byte, to the primary that
//! a [`Topology`] names, over few connections that many clients share. Any command passes, in
//! RESP2 and RESP3. Each client gets its replies in the order of its requests.
//!
//! ```no_run
//! use std::sync::Arc;
//! use bellwether_proxy::{Proxy, ProxyConfig, Topology, Upstream};
//! use tokio::sync::watch;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let primary = Upstream { name: "a".into(), host: "127.0.0.1".into(), port: 6379 };
//! let topology = Topology { term: 1, primary: Some(primary), ..Topology::default() };
//! let (publish, topologies) = watch::channel(Arc::new(topology));
//! let proxy = Proxy::start(ProxyConfig::new(([127, 0, 0, 1], 0).into()), topologies)?;
//! println!("clients connect to {}", proxy.local_addr());
//! publish.send_replace(Arc::new(Topology { term: 2, ..Topology::default() })); // none at all
//! proxy.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(()) }
//! ```
//!
//! # What is shared
//!
//! Each of the [`workers`](ProxyConfig::workers) has clients and connections of its own. Its
//! clients share one connection to each server if they have the same login, database and protocol;
//! another one takes their scripts. Who needs more gets a connection for itself from a pool, and
//! goes back to sharing when nothing of its own is left in that. When a client leaves, what it left
//! behind is cleaned by RESET, or the connection is closed.
//!
//! | command | its connection |
//! |---|---|
//! | what is known to leave nothing in its connection, by a table made from Redis's own and by the server's `COMMAND` | shared |
//! | EVAL, EVALSHA, FCALL and their `_RO` forms | shared by scripts: one that does not end holds up no other commands |
//! | MULTI; WATCH | its own, until EXEC or DISCARD; for WATCH also until UNWATCH |
//! | BLPOP and other commands that block; XREAD and XREADGROUP with BLOCK; WAIT, WAITAOF | its own, until answered |
//! | SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE | its own, as long as a subscription is left |
//! | AUTH, HELLO, SELECT | its own, until answered; then the client shares with those who have set the same |
//! | CLIENT TRACKING ON | its own, until CLIENT TRACKING OFF; that of a client which others name by REDIRECT, until RESET or until it goes |
//! | SCRIPT LOAD, SCRIPT KILL, FUNCTION KILL, FUNCTION STATS, DEBUG, SHUTDOWN, CLIENT UNPAUSE | its own, until answered |
//! | a plain command or a script of 32 KiB and more that comes in pieces | its own, until answered: it is passed on as it comes |
//! | all but reads of keys, while the CLIENT PAUSE of a client holds | its own, until answered: the server may read no further there |
//! | MONITOR, SYNC, PSYNC, REPLCONF | its own, until the client goes; all bytes are relayed |
//! | what is not known, and what leaves a trace that cannot be set up elsewhere: CLIENT NO-EVICT ON, READONLY, SCRIPT DEBUG | its own, until RESET or until the client goes |
//! | CLIENT ID, GETNAME, SETNAME, SETINFO, INFO, REPLY and GETREDIR, RESET, QUIT, INFO proxy; AUTH if the proxy has a [`password`](ProxyConfig::password) | none: the proxy answers |
//!
//! CLIENT LIST, KILL, UNBLOCK and TRACKING REDIRECT are about the clients of the proxy, of all
//! workers, in its own numbers. The server decides whether who asks may.
//!
//! # What happens in a failover
//!
//! Clients stay, unless [`ProxyConfig::orphans`] says otherwise.
//!
//! | the request was | what its client gets |
//! |---|---|
//! | not sent, or only in part | nothing yet: it waits, and goes to the next primary; after [`ProxyConfig::hold`] an error `TRYAGAIN`: it did not run. One that was passed on while the client still sends it gets that error at once |
//! | refused with READONLY, LOADING, MASTERDOWN or NOREPLICAS | the same; after the hold the refusal itself. EVAL, EVALSHA, FCALL and a transaction whose EXEC was sent get the refusal at once, because a script may have had effects before |
//! | a read whose answer was lost, or came when its server had been replaced | the answer of the next primary. It may show what its client sent behind it and is told unknown |
//! | another one whose answer was lost, or came when its server had been replaced | an error that says that the outcome is unknown. It is never sent again |
//! | MULTI, and what was queued, without EXEC | its answers: the transaction is begun anew. Behind a WATCH its EXEC then answers null |
//! | EXEC that was sent | an error that says that the outcome is unknown; so do those of its transaction that were not answered |
//! | blocking, and thrown out by its server with UNBLOCKED | nothing yet: it goes on at the next primary for the time that is left |
//! | blocking, and lost | as a read, if it only reads, as XREAD does; else unknown: it may have taken an element |
//! | EVALSHA of a script that the next primary does not know | its answer, if the script was loaded through this proxy by SCRIPT LOAD: it is sent as EVAL |
//! | WAIT, WAITAOF behind a write that a former primary ran | an error that says that the outcome is unknown |
//! | AUTH, HELLO, SELECT | its answer; the same is set up on each new connection. If a server rejects that, the client gets the server's error and is closed |
//!
//! A client with subscriptions may have missed messages. In RESP3 they are made again, and a push
//! `>2 resubscribed :n` says so, and how many they are. In RESP2 there are no words for that, and
//! the client is closed. So is, once it has what can be delivered, whoever has other state in a lost
//! connection: CLIENT TRACKING, MONITOR, what is not known, half a reply, or a transaction that is
//! too large to be kept.
//!
//! When the primary changes, the former one has [`ProxyConfig::linger`] more to refuse what it was
//! sent: in a switchover such refusals are on their way. Nothing else that it says then is believed.
//! A primary that refuses commands gets no others for 50 ms, except those about the server itself, one
//! of which may mend it; so until the topology names another one, or it takes them again.
//!
//! Requests that a client pipelined behind a refused one keep their order: reads run again after
//! it. What is not known to only read and was answered with success did run, and is never
//! repeated: its answer waits until it is due.
//!
//! # Clients that are closed with their primary
//!
//! With [`Orphans::Close`] a proxy serves only while it has a primary, as the port of a leader must
//! that clients reach through something that knows the leader, such as a Service. When the primary is
//! lost:
//!
//! | the client | before it is closed, it gets |
//! |---|---|
//! | has answers that were read before | these, if it takes them within 5 s and before the next primary is lost |
//! | asked what was sent and may have run: a write, a script, EXEC with its transaction, what blocks and may take something | an error that says that the outcome is unknown |
//! | asked what was sent and only reads, sets up its connection, or is a transaction without EXEC | the same if it asked one of those above behind it, else nothing |
//! | asked what was not sent, or in part, or was refused | its refusal if it asked one of those above behind it, else nothing |
//! | subscribes, listens or sends half a request | nothing |
//! | got half a reply | nothing |
//! | has just connected | nothing |
//!
//! So what a client was not answered did not run, or only read, unless it got half a reply, wanted
//! no replies, or did not take them in time. Some libraries send again what a closed connection left unanswered, and hand an error on as
//! it is: redis-py and ioredis by default, through both of which nothing runs twice then. Commands
//! to a primary that is away or refuses, and that the topology names still, wait as ever.
//!
//! # Reads from replicas
//!
//! With [`ProxyConfig::read_from`], commands that only read keys go to replicas that are fit, see
//! [`ReadFrom`]. Such a read may be older than what the client wrote before and was answered, and
//! than what it read before from another server: by the lag of its replica, which
//! [`ProxyConfig::max_lag_bytes`] bounds as of the last [`ProxyConfig::probe_interval`]. Pipelined
//! behind a write that is not answered, a read goes where that went. A read that a replica refuses
//! or loses is answered by another server, without an error. A replica that has lost its primary is
//! left out; if none is fit, reads go to the primary.
//!
//! # Bounds
//!
//! | against | bound |
//! |---|---|
//! | too many clients, strangers | [`max_clients`](ProxyConfig::max_clients), [`local_only`](ProxyConfig::local_only), [`password`](ProxyConfig::password); who must log in first may send ten arguments of 16 KiB until then |
//! | a client that sends more than is taken | [`session_buffer`](ProxyConfig::session_buffer), and [`worker_buffer`](ProxyConfig::worker_buffer) for all that wait for a primary: it is not read from |
//! | a client that asks and does not read | as many unanswered requests as have answers of `session_buffer`, by the size of those before; [`session_output`](ProxyConfig::session_output): it is not read from; [`output_buffer`](ProxyConfig::output_buffer): the client that is most behind is cut |
//! | a client that has a connection for itself and does not read | `session_buffer`: the connection is not read from |
//! | a client that says nothing | [`idle_timeout`](ProxyConfig::idle_timeout), and TCP's keepalive |
//! | too many connections | [`pool_max`](ProxyConfig::pool_max): commands that need one wait, up to `hold` |
//! | a server that cannot be connected | [`connect_timeout`](ProxyConfig::connect_timeout); that a connected primary hangs is for the topology to say |
//!
//! # What can be seen
//!
//! [`Proxy::stats`], [`Proxy::families`] and [`Proxy::upstreams`] tell what was done and how things
//! are. INFO through the proxy is the server's, with `connected_clients` as the number of the
//! proxy's own clients, and a section `# Proxy`; `INFO proxy` is that section alone, and needs no
//! primary once a first one was met. All its names begin with `proxy_`.
//!
//! If the program has a recorder of the `metrics` facade, it is told each second, with the label
//! `listen` (the address that clients connect to):
//!
//! | name | kind | what |
//! |---|---|---|
//! | `bellwether_proxy_<field>_total` | counter | the fields of [`Stats`] that count |
//! | `bellwether_proxy_<field>` | gauge | those that say how much there is now |
//! | `bellwether_proxy_request_microseconds_bucket`, `_sum`, `_count` | counter | a histogram as Prometheus keeps it, by `family` and `le`, in microseconds |
//! | `bellwether_proxy_upstream_up`, `_primary` | gauge | 1 or 0, by `upstream` (its name) |
//! | `bellwether_proxy_upstream_pending`, `_links`, `_lag_bytes` | gauge | the fields of [`UpstreamStats`]; NaN where the lag is not known |
//!
//! # What it does not do
//!
//! - A reply that was read before [`Topology::until`] or before the next topology was published
//!   is delivered, even if its client gets it later.
//! - A request that was read before `until` may reach the server after it, if something stops the
//!   thread between a last look at the clock and the write that follows: that one write, of what one
//!   connection had to send. What was read later is not forwarded.
//! - A client that ended its sending half loses what waits for a primary, and is closed if it blocks
//!   or subscribes: it may have left. One that left behind more than the proxy and the system buffer
//!   cannot be told from one that waits: what the proxy has read of it runs.
//! - Commands of different clients run in the order in which they came only as far as they share a
//!   connection: not across workers, nor where one is a script or has a connection for itself.
//! - A reply that is larger than [`ProxyConfig::output_buffer`] reaches only who reads as fast as the
//!   server writes, or has a connection for itself.
//! - What the proxy answers itself is missing in the server's statistics, and names of clients in
//!   what the server tells of its connections.
//! - It encrypts nothing, and follows no MOVED or ASK of Redis Cluster: clients get them as they are.

mod commands;
mod config;
mod control;
mod driver;
mod engine;
mod error;
mod metrics;
mod proxy;
mod ready;
mod record;
mod scripts;
mod socket;
mod stats;
mod topology;

/// A way in for the fuzzer.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::engine::fuzzing::run;
}

pub use config::{Balance, Credentials, Orphans, Password, ProxyConfig, ReadFrom};
pub use error::Error;
pub use proxy::Proxy;
pub use stats::{Bucket, FamilyStats, Stats, UpstreamRole, UpstreamState, UpstreamStats};
pub use topology::{Topology, Upstream};

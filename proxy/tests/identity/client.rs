//! Clients that ask, check what they are answered, and leave as rudely as clients do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinSet;

use crate::ledger::{Expected, Ledger, Mode};
use crate::support::wire::{self, Replies};

/// What all clients of a run share.
pub(crate) struct World {
    pub(crate) proxy: SocketAddr,
    pub(crate) seed: u64,
    pub(crate) stop: AtomicBool,
    /// Grows before and after each change of the primary that may lose writes: it is odd meanwhile.
    pub(crate) losses: AtomicU64,
}

/// What clients did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connections: u64,
    /// Replies that were read and checked.
    pub(crate) replies: u64,
    /// Those of them that said that nobody knows the outcome.
    pub(crate) unknown: u64,
    /// Connections that the client ended in the middle of a pipeline.
    pub(crate) aborted: u64,
    /// Connections with state in their server that the proxy closed.
    pub(crate) closed: u64,
}

/// How a client ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// With a FIN, when some of the replies have come.
    Close,
    /// With a RST.
    Reset,
    /// In the middle of a request.
    Torn,
    /// It has said all, and reads on.
    HalfClosed,
}

/// Runs all clients until the world stops, or one of them has seen what it should not.
pub(crate) async fn all(world: &Arc<World>, clients: u64) -> Result<Tally, String> {
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        tasks.spawn(client(Arc::clone(world), number));
    }
    let mut sum = Tally::default();
    while let Some(ended) = tasks.join_next().await {
        let tally = ended.map_err(|error| error.to_string())??;
        sum.connections += tally.connections;
        sum.replies += tally.replies;
        sum.unknown += tally.unknown;
        sum.aborted += tally.aborted;
        sum.closed += tally.closed;
    }
    Ok(sum)
}

async fn client(world: Arc<World>, number: u64) -> Result<Tally, String> {
    let mut rng = Rng::with_seed(world.seed << 32 | number);
    let mut tally = Tally::default();
    while !world.stop.load(Ordering::Relaxed) {
        let name = format!("c{number}.{}", tally.connections);
        tally.connections += 1;
        connection(&world, &name, &mut rng, &mut tally)
            .await
            .map_err(|error| format!("client {name}: {error}"))?;
    }
    Ok(tally)
}

/// One connection, from its first request to its end.
async fn connection(
    world: &World,
    name: &str,
    rng: &mut Rng,
    tally: &mut Tally,
) -> Result<(), String> {
    let (mut writer, mut replies) = wire::connect(world.proxy)
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let mode = match rng.u32(..4) {
        0 => Mode::Resp3,
        1 => Mode::Stateful,
        _ => Mode::Plain,
    };
    let mut ledger = Ledger::new(name, mode);
    for _ in 0..rng.usize(1..40) {
        if world.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let most = [1, 4, 16, 64][rng.usize(..4)];
        let depth = 1 + rng.usize(..most);
        let (bytes, expected) = ledger.pipeline(depth, rng);
        let mut pipeline = Pipeline {
            world,
            ledger: &mut ledger,
            tally,
        };
        if rng.u32(..20) == 0 {
            return pipeline.abort(writer, replies, &bytes, expected, rng).await;
        }
        let sent = async {
            // Whether it was taken shows in the replies.
            writer.write_all(&bytes).await.ok();
        };
        let (go_on, ()) = tokio::join!(pipeline.check(&mut replies, expected), sent);
        if !go_on? {
            return Ok(());
        }
        if rng.u32(..4) == 0 {
            tokio::time::sleep(Duration::from_millis(rng.u64(..30))).await;
        }
    }
    Ok(())
}

/// What is under way on a connection.
struct Pipeline<'a> {
    world: &'a World,
    ledger: &'a mut Ledger,
    tally: &'a mut Tally,
}

impl Pipeline<'_> {
    /// Reads the replies to these requests. False says that the proxy has closed the connection,
    /// and might.
    async fn check(
        &mut self,
        replies: &mut Replies,
        expected: Vec<Expected>,
    ) -> Result<bool, String> {
        let before = self.world.losses.load(Ordering::SeqCst);
        let count = expected.len();
        for (i, expected) in expected.into_iter().enumerate() {
            let Some(reply) = replies.next().await? else {
                if self.ledger.may_be_closed() {
                    self.tally.closed += 1;
                    return Ok(false);
                }
                return Err(format!("closed before reply {i} of {count}: {expected:?}"));
            };
            let lost = self.world.losses.load(Ordering::SeqCst);
            let unknown = self.ledger.check(&expected, &reply, before, lost);
            let unknown = unknown.map_err(|error| format!("reply {i} of {count}: {error}"))?;
            self.tally.replies += 1;
            self.tally.unknown += u64::from(unknown);
        }
        Ok(true)
    }

    /// Ends the connection somewhere in its pipeline. What comes until then must be right.
    async fn abort(
        &mut self,
        mut writer: OwnedWriteHalf,
        mut replies: Replies,
        bytes: &[u8],
        mut expected: Vec<Expected>,
        rng: &mut Rng,
    ) -> Result<(), String> {
        self.tally.aborted += 1;
        let leave = [Leave::Close, Leave::Reset, Leave::Torn, Leave::HalfClosed][rng.usize(..4)];
        if leave == Leave::Torn {
            writer
                .write_all(&bytes[..bytes.len() - 1 - rng.usize(..bytes.len() - 1)])
                .await
                .ok();
            return Ok(());
        }
        if leave != Leave::HalfClosed {
            // To read them all would be no abort.
            expected.truncate(rng.usize(..expected.len()));
        }
        let sent = async {
            writer.write_all(bytes).await.ok();
            if leave == Leave::HalfClosed {
                writer.shutdown().await.ok();
            }
        };
        if leave == Leave::HalfClosed {
            return tokio::join!(self.check_to_the_end(&mut replies, expected), sent).0;
        }
        let (read, ()) = tokio::join!(self.check(&mut replies, expected), sent);
        read?;
        if leave == Leave::Reset {
            writer.as_ref().set_zero_linger().ok();
        }
        Ok(())
    }

    /// As [`Self::check`]; but whoever says nothing more may have left, so that what waits for a
    /// primary is not run: it ends with an error, or the replies end early.
    async fn check_to_the_end(
        &mut self,
        replies: &mut Replies,
        expected: Vec<Expected>,
    ) -> Result<(), String> {
        let before = self.world.losses.load(Ordering::SeqCst);
        for expected in expected {
            match replies.next().await? {
                None => return Ok(()),
                Some(reply) if did_not_run(&reply) => {
                    self.ledger.forget(&expected);
                }
                Some(reply) => {
                    let lost = self.world.losses.load(Ordering::SeqCst);
                    self.ledger.check(&expected, &reply, before, lost)?;
                }
            }
            self.tally.replies += 1;
        }
        match replies.next().await? {
            None => Ok(()),
            Some(reply) => Err(format!("one too many: {}", reply.escape_ascii())),
        }
    }
}

/// Whether the proxy, or a server that is no primary, says that it did nothing.
fn did_not_run(reply: &[u8]) -> bool {
    let codes: [&[u8]; 4] = [
        b"-TRYAGAIN not executed",
        b"-READONLY ",
        b"-LOADING ",
        b"-MASTERDOWN ",
    ];
    codes.iter().any(|code| reply.starts_with(code))
}

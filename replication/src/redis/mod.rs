//! A Redis or Valkey server, told what to be over its own protocol.

mod form;
mod line;
mod papers;
mod report;
mod whereabouts;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bellwether_resp::{Cause, Command, Credentials, Value};
use secrecy::ExposeSecret;

use self::{form::Form, line::Line, whereabouts::Whereabouts};
use crate::{Address, Clients, Error, Inspection, Instance, MinReplicas, Passport};

/// How a server is reached and what it is told besides.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RedisOptions {
    /// User and password of control connections. The user needs the commands AUTH, CLIENT, CONFIG,
    /// EXEC, FAILOVER, FCALL_RO, FUNCTION, INFO, MULTI, REPLICAOF and ROLE. In place of FCALL_RO and
    /// FUNCTION, which Redis has from 7.0 on, GET and SET of the key `bellwether:passport` will do:
    /// see [`Passport`]. Of CONFIG it reads `replica-priority` and `min-replicas-*`, and sets
    /// `replica-read-only`; `min-replicas-to-write` and `min-replicas-max-lag`, if so configured;
    /// `masteruser` and `masterauth`, if there are `replication_credentials`; and, for the instant in
    /// which a passport is written, whichever of `min-replicas-to-write`, `maxmemory` and
    /// `stop-writes-on-bgsave-error` forbids that. Where CONFIG is not to be had, servers do without:
    /// then `replica-read-only` has to be yes, and what forbids every write forbids a promotion.
    pub credentials: Option<Credentials>,
    /// What the server uses towards its primary (`masteruser`, `masterauth`), set with each
    /// [`Instance::follow`]. `None` leaves the server's own configuration alone.
    pub replication_credentials: Option<Credentials>,
    /// Bounds each attempt to connect and each command. Default 1 s.
    pub timeout: Option<Duration>,
}

/// A redis-server from 6.2 on, or a Valkey.
///
/// Keeps two control connections and replaces each when it is lost, or when the host's name leads
/// elsewhere by now, which is looked at every few seconds. A command that is not answered
/// in time costs its connection, so that no late reply is ever taken for another's (safety rule 9).
///
/// One is for questions and one for orders, because questions to a server that hangs are what costs
/// a connection, and a new one is not served until the server goes on. On its own connection a
/// fence waits in the server's buffer: a stopped server that continues runs it in the same turn of
/// its event loop as the writes that clients have sent meanwhile, before it answers them.
pub struct Redis {
    address: Address,
    options: RedisOptions,
    questions: Arc<Line>,
    orders: Arc<Line>,
    whereabouts: Whereabouts,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// The server at `address`; connects when first used, within a tokio runtime.
    #[must_use]
    pub fn new(address: Address, options: RedisOptions) -> Self {
        Self {
            questions: Arc::new(Line::new(address.clone(), &options)),
            orders: Arc::new(Line::new(address.clone(), &options)),
            whereabouts: Whereabouts::of(&address),
            address,
            options,
        }
    }

    /// Sends these and returns the replies; errors among them are replies.
    async fn pipeline(
        &self,
        line: &Line,
        name: &'static str,
        commands: &[Command],
    ) -> Result<Vec<Value>, Error> {
        let connection = line.connect().await;
        let connection = connection.map_err(|source| self.failed("AUTH", source))?;
        let replies = connection.pipeline(commands.to_vec()).await;
        replies.map_err(|source| self.failed(name, source))
    }

    /// As [`Self::pipeline`], for questions, which may be asked twice: if a connection was lost while
    /// nobody looked, another is tried before the server is given up.
    async fn query(&self, name: &'static str, commands: &[Command]) -> Result<Vec<Value>, Error> {
        let line = &self.questions;
        let had_connection = line.current().is_some();
        match self.pipeline(line, name, commands).await {
            Err(error) if had_connection && lost_only(&error) => {
                self.pipeline(line, name, commands).await
            }
            result => result,
        }
    }

    /// Runs a transaction and then `ROLE`, whose reply is returned; checks every element.
    async fn transact(
        &self,
        name: &'static str,
        before: &[Command],
        transaction: Vec<Command>,
    ) -> Result<Value, Error> {
        let mut commands = before.to_vec();
        commands.push(Command::new("MULTI"));
        commands.extend(transaction);
        commands.push(Command::new("EXEC"));
        commands.push(Command::new("ROLE"));
        let mut replies = self
            .pipeline(&self.orders, name, &commands)
            .await?
            .into_iter()
            .skip(before.len());
        let role = replies.next_back().unwrap_or(Value::Null);
        let executed = replies.next_back().unwrap_or(Value::Null);
        // A command that was refused while it was queued says why better than EXECABORT does.
        for queued in replies {
            self.check(name, queued)?;
        }
        let executed = self.check(name, executed)?;
        let results = executed
            .into_array()
            .ok_or_else(|| self.unexpected(name, "EXEC did not run"))?;
        for result in results {
            self.check(name, result)?;
        }
        self.check(name, role)
    }

    async fn check_read_only(&self) -> Result<(), Error> {
        let info = [Command::new("INFO").arg("replication")];
        let reply = self.query("INFO", &info).await?.remove(0);
        let reply = self.check("INFO", reply)?;
        if report::is_read_only(reply.as_str().unwrap_or_default()) {
            return Ok(());
        }
        Err(self.unexpected(
            "REPLICAOF",
            "its replica-read-only is no, and CONFIG is refused",
        ))
    }

    fn check(&self, command: &'static str, value: Value) -> Result<Value, Error> {
        value
            .into_result()
            .map_err(|source| self.failed(command, source))
    }

    fn failed(&self, command: &'static str, source: bellwether_resp::Error) -> Error {
        use bellwether_resp::Error as Resp;
        let address = self.address.clone();
        match source {
            Resp::Auth(error) | Resp::Server(error) => Error::Refused {
                address,
                command,
                reason: error.to_string(),
            },
            Resp::Connect { .. } | Resp::ConnectTimeout { .. } | Resp::NotSent(_) => {
                Error::Unreachable { address, source }
            }
            source => Error::Unknown { address, source },
        }
    }

    fn unexpected(&self, command: &'static str, reason: impl Into<String>) -> Error {
        Error::Unexpected {
            address: self.address.clone(),
            command,
            reason: reason.into(),
        }
    }
}

/// Whether the connection was lost without a sign that the server hangs.
fn lost_only(error: &Error) -> bool {
    use bellwether_resp::Error as Resp;
    match error {
        Error::Unreachable { source, .. } | Error::Unknown { source, .. } => matches!(
            source,
            Resp::NotSent(cause) | Resp::OutcomeUnknown(cause) if !matches!(cause, Cause::Timeout(_))
        ),
        _ => false,
    }
}

#[async_trait]
impl Instance for Redis {
    async fn inspect(&self) -> Result<Inspection, Error> {
        let info = |section: &'static str| Command::new("INFO").arg(section);
        let commands = [
            info("server"),
            info("replication"),
            info("persistence"),
            info("keyspace"),
            info("stats"),
            Command::new("CONFIG").arg("GET").arg("replica-priority"),
            Command::new("CONFIG").arg("GET").arg("min-replicas-*"),
            Form::Function.read(),
        ];
        let mut replies = self.query("INFO", &commands).await?;
        self.orders.prepare();
        self.whereabouts.check([&self.questions, &self.orders]);
        let function = replies.pop().unwrap_or(Value::Null);
        let demand = replies.pop().unwrap_or(Value::Null);
        let priority = replies.pop().unwrap_or(Value::Null);
        let mut text = String::new();
        for reply in replies {
            let reply = self.check("INFO", reply)?;
            text.push_str(reply.as_str().unwrap_or_default());
            text.push('\n');
        }
        let mut found = report::inspection(&text, &priority)
            .map_err(|reason| self.unexpected("INFO", reason))?;
        found.min_replicas = report::min_replicas(&demand);
        let (papers, no_data) = self.papers(&function, found.keys).await?;
        found.papers = papers;
        found.keys = found.keys.saturating_sub(no_data);
        Ok(found)
    }

    async fn promote(&self, passport: &Passport) -> Result<(), Error> {
        // A former agent may have left a pause, behind which every write would wait.
        self.resume_writes().await?;
        let form = self.form(passport).await?;
        let role = self
            .transact(
                "REPLICAOF NO ONE",
                &[],
                vec![
                    Command::new("CLIENT").arg("UNPAUSE"),
                    Command::new("REPLICAOF").arg("NO").arg("ONE"),
                ],
            )
            .await?;
        match report::role(&role) {
            Some(report::RoleReply::Primary) => self.write(form, passport).await,
            other => Err(self.unexpected("REPLICAOF NO ONE", format!("its role is {other:?}"))),
        }
    }

    async fn stamp(&self, passport: &Passport) -> Result<(), Error> {
        let form = self.form(passport).await?;
        self.write(form, passport).await
    }

    async fn demand_replicas(&self, demand: MinReplicas) -> Result<(), Error> {
        let set = |name: &'static str, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            Command::new("CONFIG").arg("SET").arg(name).arg(value)
        };
        let commands = [
            set("min-replicas-max-lag", demand.max_lag.as_secs()),
            set("min-replicas-to-write", demand.count.into()),
        ];
        let name = "CONFIG SET min-replicas-to-write";
        for reply in self.pipeline(&self.orders, name, &commands).await? {
            self.check(name, reply)?;
        }
        Ok(())
    }

    async fn follow(&self, primary: &Address) -> Result<(), Error> {
        let role = self.query("ROLE", &[Command::new("ROLE")]).await?.remove(0);
        let role = report::role(&self.check("ROLE", role)?);
        if matches!(&role, Some(report::RoleReply::Replica { of, connected: true }) if of == primary)
        {
            return Ok(());
        }
        let mut commands = Vec::new();
        if let Some(credentials) = &self.options.replication_credentials {
            let set = |name: &'static str, value: &str| {
                Command::new("CONFIG").arg("SET").arg(name).arg(value)
            };
            commands.push(set("masteruser", credentials.user.as_deref().unwrap_or("")));
            commands.push(set("masterauth", credentials.password.expose_secret()));
        }
        commands.push(Command::new("CLIENT").arg("UNPAUSE"));
        // REPLICAOF to where it points already does nothing, so a dead link is torn down first.
        commands.push(nowhere());
        commands.push(
            Command::new("REPLICAOF")
                .arg(primary.host.as_str())
                .arg(i64::from(primary.port)),
        );
        let role = self.transact("REPLICAOF", &[], commands).await?;
        match report::role(&role) {
            Some(report::RoleReply::Replica { of, .. }) if of == *primary => Ok(()),
            other => Err(self.unexpected("REPLICAOF", format!("its role is {other:?}"))),
        }
    }

    async fn fence(&self, clients: Clients) -> Result<(), Error> {
        // A pending FAILOVER would refuse REPLICAOF; without one this is an error of no interest.
        let abort = [Command::new("FAILOVER").arg("ABORT")];
        let mut commands = vec![Command::new("CLIENT").arg("UNPAUSE"), nowhere()];
        if clients == Clients::Cut {
            for kind in ["normal", "pubsub"] {
                commands.push(Command::new("CLIENT").arg("KILL").arg("TYPE").arg(kind));
            }
        }
        let read_only = Command::new("CONFIG")
            .arg("SET")
            .arg("replica-read-only")
            .arg("yes");
        let whole = std::iter::once(read_only).chain(commands.clone()).collect();
        let role = match self.transact("REPLICAOF", &abort, whole).await {
            // Where CONFIG is forbidden or renamed, the fence is what matters, and its default is
            // that replicas are read-only.
            Err(Error::Refused { .. }) => {
                let role = self.transact("REPLICAOF", &abort, commands).await?;
                self.check_read_only().await?;
                role
            }
            result => result?,
        };
        match report::role(&role) {
            Some(report::RoleReply::Replica { of, .. }) if of.is_nowhere() => Ok(()),
            other => Err(self.unexpected("REPLICAOF", format!("its role is {other:?}"))),
        }
    }

    async fn pause_writes(&self, period: Duration) -> Result<(), Error> {
        let millis = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
        let pause = Command::new("CLIENT").arg("PAUSE").arg(millis).arg("WRITE");
        let reply = self
            .pipeline(&self.orders, "CLIENT PAUSE", &[pause])
            .await?
            .remove(0);
        self.check("CLIENT PAUSE", reply).map(drop)
    }

    async fn resume_writes(&self) -> Result<(), Error> {
        let resume = Command::new("CLIENT").arg("UNPAUSE");
        let reply = self
            .pipeline(&self.orders, "CLIENT UNPAUSE", &[resume])
            .await?
            .remove(0);
        self.check("CLIENT UNPAUSE", reply).map(drop)
    }

    async fn lost(&self) {
        if let Some(connection) = self.questions.current() {
            connection.closed().await;
        }
    }
}

fn nowhere() -> Command {
    let (host, port) = Address::NOWHERE;
    Command::new("REPLICAOF").arg(host).arg(i64::from(port))
}

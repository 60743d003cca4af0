//! What is said before the first command.

use std::io;

use secrecy::ExposeSecret;
use tracing::debug;

use crate::command::Command;
use crate::connection::Connection;
use crate::error::Error;
use crate::options::{ConnectOptions, Credentials, Protocol};
use crate::server_error::ServerError;
use crate::value::Value;

/// Authenticates, agrees on the protocol and sets the client's name.
pub(crate) async fn run(
    connection: &Connection,
    address: &str,
    options: &ConnectOptions,
) -> Result<Protocol, Error> {
    let said = greet(connection, options).await;
    said.map_err(|error| match error {
        // Nothing but greetings was sent: to the caller it is a failed connect.
        Error::NotSent(cause) | Error::OutcomeUnknown(cause) => Error::Connect {
            address: address.to_owned(),
            source: io::Error::other(cause),
        },
        other => other,
    })
}

async fn greet(connection: &Connection, options: &ConnectOptions) -> Result<Protocol, Error> {
    let credentials = options.credentials.as_ref();
    let protocol = match options.protocol {
        Protocol::Resp3 => hello(connection, credentials).await?,
        Protocol::Resp2 => Protocol::Resp2,
    };
    if let (Protocol::Resp2, Some(credentials)) = (protocol, credentials) {
        accepted(connection.send(auth(credentials)).await?)?;
    }
    if let Some(name) = &options.client_name {
        let command = Command::new("CLIENT").arg("SETNAME").arg(name);
        if let Some(error) = connection.send(command).await?.error() {
            debug!(%error, "the server refused the client name");
        }
    }
    Ok(protocol)
}

/// Asks for RESP3. Servers before Redis 6 do not know the command; servers that
/// know it may still not speak that version.
async fn hello(
    connection: &Connection,
    credentials: Option<&Credentials>,
) -> Result<Protocol, Error> {
    let mut command = Command::new("HELLO").arg(3);
    if let Some(Credentials { user, password }) = credentials {
        let user = user.as_deref().unwrap_or("default");
        command = command.arg("AUTH").arg(user).arg(password.expose_secret());
    }
    let reply = connection.send(command).await?;
    match reply.error() {
        Some(error) if speaks_resp2_only(error) => Ok(Protocol::Resp2),
        _ => accepted(reply).map(|()| Protocol::Resp3),
    }
}

fn auth(credentials: &Credentials) -> Command {
    let command = Command::new("AUTH");
    let command = match &credentials.user {
        Some(user) => command.arg(user),
        None => command,
    };
    command.arg(credentials.password.expose_secret())
}

fn accepted(reply: Value) -> Result<(), Error> {
    match reply.into_result() {
        Err(Error::Server(error)) if blames_credentials(&error) => Err(Error::Auth(error)),
        other => other.map(|_| ()),
    }
}

fn speaks_resp2_only(error: &ServerError) -> bool {
    error.code() == "NOPROTO" || error.text().starts_with(b"ERR unknown command")
}

/// Servers before Redis 6 have no code for it: `ERR invalid password`,
/// `ERR Client sent AUTH, but no password is set`.
fn blames_credentials(error: &ServerError) -> bool {
    matches!(error.code(), "WRONGPASS" | "NOAUTH" | "NOPERM")
        || (error.code() == "ERR" && error.to_string().contains("password"))
}

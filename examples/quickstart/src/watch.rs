//! Looks at a redis-server again and again, as anyone would who asks it for its role.

use std::time::Duration;

use bellwether_resp::{Cause, Command, ConnectOptions, Connection, Error, Value};
use tokio::{sync::mpsc, time::sleep};

use crate::{session::Event, state::State};

/// Short enough to show each step of a failover, long enough to cost the server nothing.
const PERIOD: Duration = Duration::from_millis(100);

/// Tells each change until nobody listens.
pub(crate) async fn watch(number: usize, port: u16, events: mpsc::Sender<Event>) {
    let mut connection = None;
    let mut known = None;
    loop {
        if let Some(state) = look(&mut connection, port).await
            && known != Some(state)
        {
            known = Some(state);
            if events.send(Event::Seen(number, state)).await.is_err() {
                return;
            }
        }
        sleep(PERIOD).await;
    }
}

/// What it is now; `None` if that takes another look, over a new connection.
async fn look(connection: &mut Option<Connection>, port: u16) -> Option<State> {
    match ask(connection, port).await {
        Ok(role) => Some(State::from_role(&fields(&role))),
        Err(error) => {
            *connection = None;
            state_after(&error)
        }
    }
}

async fn ask(connection: &mut Option<Connection>, port: u16) -> Result<Value, Error> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection
            .insert(Connection::connect("127.0.0.1", port, &ConnectOptions::default()).await?),
    };
    connection.send(Command::new("ROLE")).await
}

fn state_after(error: &Error) -> Option<State> {
    match error {
        Error::Connect { .. } => Some(State::Down),
        Error::ConnectTimeout { .. } | Error::OutcomeUnknown(Cause::Timeout(_)) => {
            Some(State::Silent)
        }
        // A connection that was lost says nothing of the server yet.
        Error::NotSent(_) | Error::OutcomeUnknown(_) => None,
        _ => Some(State::Odd),
    }
}

fn fields(role: &Value) -> Vec<String> {
    let text = |value: &Value| match value.as_int() {
        Some(number) => number.to_string(),
        None => value.as_str().unwrap_or_default().to_owned(),
    };
    role.as_array()
        .unwrap_or_default()
        .iter()
        .map(text)
        .collect()
}

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bellwether_resp::{ConnectOptions, Connection};
use tracing::info;

use super::RedisOptions;
use crate::Address;

/// One connection, replaced when it is lost.
pub(super) struct Line {
    address: Address,
    options: ConnectOptions,
    connection: Mutex<Option<Connection>>,
    /// One caller connects at a time; the others use its connection.
    connecting: tokio::sync::Mutex<()>,
}

impl Line {
    pub(super) fn new(address: Address, options: &RedisOptions) -> Self {
        let timeout = options.timeout.unwrap_or(Duration::from_secs(1));
        let mut connect = ConnectOptions::default();
        connect.connect_timeout = timeout;
        connect.command_timeout = timeout;
        connect.credentials.clone_from(&options.credentials);
        connect.client_name = Some("bellwether".to_owned());
        Self {
            address,
            options: connect,
            connection: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn current(&self) -> Option<Connection> {
        let connection = self.connection.lock().expect("no holder panics");
        connection
            .clone()
            .filter(|connection| !connection.is_closed())
    }

    pub(super) async fn connect(&self) -> Result<Connection, bellwether_resp::Error> {
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let Address { host, port } = &self.address;
        let connection = Connection::connect(host, *port, &self.options).await?;
        *self.connection.lock().expect("no holder panics") = Some(connection.clone());
        Ok(connection)
    }

    /// Connects without keeping anybody waiting, unless that is done or under way. If it fails, so
    /// will the next order, which reports it.
    pub(super) fn prepare(self: &Arc<Self>) {
        if self.current().is_none() && self.connecting.try_lock().is_ok() {
            let line = Arc::clone(self);
            tokio::spawn(async move { line.connect().await.map(drop) });
        }
    }

    /// Parts with the connection if it leads to none of these. Commands that are
    /// under way on it are still answered.
    pub(super) fn keep_if_at(&self, addresses: &[IpAddr]) {
        let mut connection = self.connection.lock().expect("no holder panics");
        if let Some(now) = connection.as_ref().map(|now| now.peer_addr().ip())
            && !addresses.contains(&now)
        {
            info!(address = %self.address, was = %now, "the name leads elsewhere now: connecting anew");
            *connection = None;
        }
    }
}

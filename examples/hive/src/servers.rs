//! The flags about redis-servers, which every program has alike.

use std::{sync::Arc, time::Duration};

use bellwether_replication::{Address, Instance, Redis, RedisOptions};
use bellwether_resp::Credentials;
use clap::Args;

use crate::Password;

/// The own server, and how all servers of the group are logged in to.
#[derive(Clone, Debug, Args)]
pub struct ServerFlags {
    /// The own redis-server.
    #[arg(
        long,
        env = "BELLWETHER_REDIS",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:6379"
    )]
    pub redis: Address,

    /// User of control connections to all servers of the group; needs --redis-password-from.
    #[arg(long, env = "BELLWETHER_REDIS_USER", value_name = "NAME")]
    pub redis_user: Option<String>,

    /// Where the password of control connections is.
    #[arg(
        long,
        env = "BELLWETHER_REDIS_PASSWORD_FROM",
        value_name = "env:NAME|file:PATH"
    )]
    pub redis_password_from: Option<Password>,

    /// User with which replicas log in to the primary (masteruser); needs
    /// --replication-password-from.
    #[arg(long, env = "BELLWETHER_REPLICATION_USER", value_name = "NAME")]
    pub replication_user: Option<String>,

    /// Where the password of replicas (masterauth) is; by default that of --redis-password-from.
    #[arg(
        long,
        env = "BELLWETHER_REPLICATION_PASSWORD_FROM",
        value_name = "env:NAME|file:PATH"
    )]
    pub replication_password_from: Option<Password>,
}

impl ServerFlags {
    /// Checks what the flags mean together.
    ///
    /// # Errors
    ///
    /// One line that names the flags.
    pub fn check(&self) -> Result<(), String> {
        let users = [
            (
                "--redis-user",
                "--redis-password-from",
                &self.redis_user,
                &self.redis_password_from,
            ),
            (
                "--replication-user",
                "--replication-password-from",
                &self.replication_user,
                &self.replication_password_from,
            ),
        ];
        for (user_flag, flag, user, password) in users {
            if user.is_some() && password.is_none() {
                return Err(format!("{user_flag} needs {flag} env:NAME or file:PATH"));
            }
        }
        Ok(())
    }

    /// The server at an address, as the agent controls it.
    #[must_use]
    pub fn instance(&self, address: Address, timeout: Duration) -> Arc<dyn Instance> {
        Arc::new(Redis::new(address, self.options(timeout)))
    }

    /// How servers are controlled.
    #[must_use]
    pub fn options(&self, timeout: Duration) -> RedisOptions {
        let credentials = |user: &Option<String>, password: &Option<Password>| {
            password.as_ref().map(|password| Credentials {
                user: user.clone(),
                password: password.secret(),
            })
        };
        let control = credentials(&self.redis_user, &self.redis_password_from);
        let replication = credentials(&self.replication_user, &self.replication_password_from);
        let mut options = RedisOptions::default();
        options.timeout = Some(timeout);
        options.replication_credentials = replication.or_else(|| control.clone());
        options.credentials = control;
        options
    }
}

//! The cluster that this process belongs to.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bellwether_discovery::Kubernetes;
use bellwether_election::Seat;
use bellwether_hive::cli::Misconfigured;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::time::timeout;
use tracing::warn;

use crate::Settings;

/// For one question at the start.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client that is shared by election, discovery and announcer.
pub(crate) async fn connect() -> anyhow::Result<Client> {
    Kubernetes::client().await.context(Misconfigured)
}

/// Waits until the application has left.
pub(crate) async fn left(seat: &Seat) {
    let mut intent = seat.intent();
    while intent.changed().await.is_ok() {}
}

/// Refuses Services that do not exist. An API that is away, or does not permit the question, is no
/// reason to end.
pub(crate) async fn check_services(client: &Client, settings: &Settings) -> anyhow::Result<()> {
    let namespace = settings.namespace.as_deref();
    let namespace = namespace.unwrap_or_else(|| client.default_namespace());
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let named = [
        ("--headless-service", Some(&settings.headless_service)),
        ("--leader-service", settings.leader_service.as_ref()),
    ];
    for (flag, name) in named {
        let Some(name) = name else { continue };
        match timeout(PATIENCE, services.get_opt(name)).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => {
                let missing =
                    anyhow!("{flag}: there is no Service {name:?} in namespace {namespace:?}");
                return Err(missing.context(Misconfigured));
            }
            Ok(Err(kube::Error::Api(status))) => {
                warn!(reason = status.message, "{flag} cannot be checked");
            }
            Ok(Err(error)) => {
                warn!(%error, "{flag} cannot be checked");
            }
            Err(_) => warn!("{flag} cannot be checked: the Kubernetes API does not answer"),
        }
    }
    Ok(())
}

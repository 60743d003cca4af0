//! Which cluster this process belongs to.

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustls::crypto::{CryptoProvider, ring};

use crate::{Error, lease::api::chain};

/// A client of the cluster that `KUBECONFIG` names, else of the pod's service account, else of
/// `~/.kube/config`. It does not retry: that is decided here, once.
pub(crate) async fn connect() -> Result<Client, Error> {
    if CryptoProvider::get_default().is_none() {
        // Refused only if somebody has just chosen another, which then counts.
        let _ = ring::default_provider().install_default();
    }
    let mut cluster = find().await.map_err(Error::Config)?;
    cluster.default_retry = false;
    Client::try_from(cluster).map_err(|error| {
        Error::Config(format!(
            "the configuration of the Kubernetes cluster cannot be used: {}",
            chain(&error)
        ))
    })
}

async fn find() -> Result<Config, String> {
    let options = KubeConfigOptions::default();
    let named = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty());
    if let Some(path) = named {
        let read = Kubeconfig::read();
        let config = match read {
            Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
            Err(error) => Err(error),
        };
        // Who names a file does not want another cluster instead.
        return config.map_err(|error| {
            format!(
                "KUBECONFIG ({}) cannot be used: {}",
                path.display(),
                chain(&error)
            )
        });
    }
    let pod = match Config::incluster() {
        Ok(config) => return Ok(config),
        Err(error) => chain(&error),
    };
    Config::from_kubeconfig(&options).await.map_err(|file| {
        format!(
            "no Kubernetes cluster is configured: neither by KUBECONFIG, nor by the service account of a pod ({}), nor by ~/.kube/config ({})",
            pod,
            chain(&file)
        )
    })
}

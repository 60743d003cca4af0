//! Where clients connect.

use std::time::Duration;

use bellwether_proxy::Proxy;

/// The proxies of a program.
pub struct Ports {
    /// Brings clients to the primary.
    pub primary: Proxy,
    /// Brings clients that only read to a replica.
    pub replica: Option<Proxy>,
}

impl Ports {
    /// Waits until a proxy ends, which none should.
    pub async fn ended(&self) {
        let replica = async {
            match &self.replica {
                Some(replica) => replica.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.primary.ended() => {}
            () = replica => {}
        }
    }

    /// Lets clients have their answers, and ends.
    pub async fn shutdown(self, within: Duration) {
        let replica = async {
            if let Some(replica) = self.replica {
                replica.shutdown(within).await;
            }
        };
        tokio::join!(self.primary.shutdown(within), replica);
    }
}

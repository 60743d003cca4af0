use std::net::{SocketAddr, TcpListener};

use crate::Error;

/// Listens where peers connect.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|source| Error::Listen {
        address: address.to_string(),
        source,
    })
}

//! A proxy in front of one server, for trying things out: `front 127.0.0.1:7000 127.0.0.1:6379`.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bellwether_proxy::{Proxy, ProxyConfig, Topology, Upstream};
use tokio::sync::watch;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(listen), Some(server)) = (words.next(), words.next()) else {
        return Err("usage: front LISTEN SERVER".into());
    };
    let server: SocketAddr = server.parse()?;
    let primary = Upstream {
        name: server.to_string(),
        host: server.ip().to_string(),
        port: server.port(),
    };
    let topology = Topology {
        term: 1,
        primary: Some(primary),
        ..Topology::default()
    };
    let (_publish, topologies) = watch::channel(Arc::new(topology));
    let proxy = Proxy::start(ProxyConfig::new(listen.parse()?), topologies)?;
    println!("clients connect to {}", proxy.local_addr());
    loop {
        std::thread::park();
    }
}

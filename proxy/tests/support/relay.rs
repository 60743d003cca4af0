//! A wire to a server that can lose what the server says, and that can lead to another one.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes bytes on to a server, and back until it is [muted](Self::mute). Its threads end with the
/// connections, at the latest with the process.
pub(crate) struct Relay {
    address: SocketAddr,
    server: Arc<Mutex<SocketAddr>>,
    muted: Arc<AtomicBool>,
}

impl Relay {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let muted = Arc::new(AtomicBool::new(false));
        let server = Arc::new(Mutex::new(server));
        thread::spawn({
            let (server, muted) = (Arc::clone(&server), Arc::clone(&muted));
            move || {
                for client in listener.incoming().flatten() {
                    let server = *server.lock().expect("an address");
                    // A server that is gone is one that takes no connections.
                    if let Ok(upstream) = TcpStream::connect(server) {
                        join(client, upstream, &muted).expect("threads for a connection");
                    }
                }
            }
        });
        Self {
            address,
            server,
            muted,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on new connections lead there, as a Service's do. Those that are there stay.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.server.lock().expect("an address") = server;
    }

    /// From now on the server is heard, and nothing that it says is.
    pub(crate) fn mute(&self) {
        self.muted.store(true, Ordering::SeqCst);
    }
}

fn join(client: TcpStream, server: TcpStream, muted: &Arc<AtomicBool>) -> io::Result<()> {
    let (from_client, to_client) = (client.try_clone()?, client);
    let (from_server, to_server) = (server.try_clone()?, server);
    let muted = Arc::clone(muted);
    thread::spawn(move || pass(from_client, to_server, &AtomicBool::new(false)));
    thread::spawn(move || pass(from_server, to_client, &muted));
    Ok(())
}

/// Until either side ends, which the other one then sees.
fn pass(mut from: TcpStream, mut to: TcpStream, muted: &AtomicBool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if !muted.load(Ordering::SeqCst) && to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // Fails where the other side was first.
        stream.shutdown(std::net::Shutdown::Both).ok();
    }
}

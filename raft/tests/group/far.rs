//! Nodes that are far from each other.

use std::{net::SocketAddr, time::Duration};

use bellwether_raft::{Leadership, Member};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::flock::{Flock, until};

/// How long each byte takes each way.
const WAY: Duration = Duration::from_millis(50);

/// Passes on what comes, later.
async fn delay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (late, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((when, bytes)) = due.recv().await {
            sleep_until(when).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if late
            .send((Instant::now() + WAY, bytes[..read].to_vec()))
            .is_err()
        {
            return;
        }
    }
}

/// A port that leads to another one over a long way.
async fn far_from(port: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let far = listener.local_addr().expect("it has one").port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The near end believes that it is connected; over a long way that takes a while.
                sleep(WAY * 2).await;
                let there = SocketAddr::from(([127, 0, 0, 1], port));
                let Ok(there) = TcpStream::connect(there).await else {
                    return;
                };
                let (from, back) = near.into_split();
                let (answers, to) = there.into_split();
                tokio::spawn(delay(from, to));
                delay(answers, back).await;
            });
        }
    });
    far
}

#[tokio::test]
async fn a_heartbeat_need_not_be_longer_than_dialling_takes() {
    let mut flock = Flock::new(3);
    let near = flock.members.clone();
    for (far, near) in flock.members.iter_mut().zip(&near) {
        *far = Member::new(&near.name, "127.0.0.1", far_from(near.port).await);
    }
    for (n, near) in near.iter().enumerate() {
        let mut config = flock.patient(n);
        config.listen.set_port(near.port);
        // Dialling takes two ways there and back, a heartbeat one.
        config.heartbeat = WAY * 3;
        flock.start_as(n, config).await;
    }
    for number in 1..=3 {
        assert_eq!(flock.add(number).await, Some((1..=number).sum()));
    }
    let leader = flock.leader().await;
    let term = flock.nodes[&leader].status().term;
    assert_eq!(flock.state((leader + 1) % 3).await.seen, [1, 2, 3]);
    // With nothing to do, only answers to heartbeats push the lease further.
    let lease = || match *flock.nodes[&leader].leadership().borrow() {
        Leadership::Leading { until, .. } => Some(until),
        Leadership::Following { .. } | Leadership::Vacant => None,
    };
    let idle = lease().expect("nobody else stands for long");
    until("a longer lease", async || {
        lease().filter(|until| *until > idle + WAY * 40)
    })
    .await;
    assert_eq!(flock.nodes[&leader].status().term, term);
}

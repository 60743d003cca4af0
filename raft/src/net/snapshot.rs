//! Sending a snapshot in pieces, and receiving one. A transfer that breaks off leaves nothing behind
//! and begins anew.

use std::{
    io::{self, Read as _, Write as _},
    time::Duration,
};

use bytes::{BufMut as _, Bytes};
use crc32fast::Hasher;
use tokio::{io::AsyncWriteExt as _, sync::mpsc, time::timeout};

use crate::{
    apply::{Snapshot, blocking},
    codec::{self, Malformed, Reader},
    net::{
        Fault,
        dial::Connection,
        frame,
        hello::Purpose,
        link::Link,
        messages::{self, Header},
    },
    parcel::{PIECE, Parcel},
    shelf::Shelf,
    types::Vote,
};

/// Sends a snapshot; the vote of the other end once it has taken it.
pub(crate) async fn send(link: &Link, vote: Vote, snapshot: &Snapshot) -> Result<Vote, Fault> {
    let within = link.within();
    let mut connection = (link.dialler())
        .dial(Purpose::Snapshot, link.id, &link.member)
        .await?;
    let header = Header {
        vote,
        meta: snapshot.meta.clone(),
        length: snapshot.snapshot.len(),
    };
    let header = frame::one(|to| messages::put_header(to, &header));
    write(&mut connection, &header, within).await?;
    let mut sum = Hasher::new();
    let mut rest = snapshot.snapshot.len();
    let mut pieces = pieces(snapshot.snapshot.clone());
    while let Some(piece) = pieces.recv().await {
        let piece = piece?;
        rest = rest.saturating_sub(piece.len() as u64);
        sum.update(&piece);
        let head = u32::try_from(piece.len()).expect("pieces are short");
        write(&mut connection, &head.to_be_bytes(), within).await?;
        write(&mut connection, &piece, within).await?;
    }
    if rest > 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let sum = frame::one(|to| to.put_u32(sum.finalize()));
    write(&mut connection, &sum, within).await?;
    loop {
        // Taking it over may last; the other end says that it is at it.
        let mut answer = Reader(next(&mut connection, within).await?);
        if !answer.is_empty() {
            let vote = answer.vote()?;
            answer.end()?;
            return Ok(vote);
        }
    }
}

/// Reads a snapshot on a thread that may block, some pieces ahead of who takes them.
fn pieces(parcel: Parcel) -> mpsc::Receiver<io::Result<Bytes>> {
    let (pieces, taken) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let read = parcel.reader().and_then(|mut from| {
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                from.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
                // Who takes them may have given up.
                if piece.is_empty() || pieces.blocking_send(Ok(piece.into())).is_err() {
                    return Ok(());
                }
            }
        });
        if let Err(error) = read {
            drop(pieces.blocking_send(Err(error)));
        }
    });
    taken
}

/// Receives a snapshot, wholly and unharmed.
pub(crate) async fn receive(
    connection: &mut Connection,
    shelf: &Shelf,
    (max, within): (u64, Duration),
) -> Result<(Vote, Snapshot), Fault> {
    let header = messages::header(Reader(next(connection, within).await?))?;
    if header.length > max {
        return Err(Fault::Oversize(
            usize::try_from(header.length).unwrap_or(usize::MAX),
        ));
    }
    let (pieces, mut taken) = mpsc::channel::<Bytes>(2);
    let (shelf, meta) = (shelf.clone(), header.meta.clone());
    let packed = tokio::spawn(blocking(move || {
        let mut pack = shelf.pack(&meta)?;
        let mut end = false;
        while let Some(piece) = taken.blocking_recv() {
            // An empty one says that it was the last; without it the transfer broke off.
            end = piece.is_empty();
            pack.write_all(&piece)?;
        }
        if end {
            pack.finish().map(Some)
        } else {
            Ok(None)
        }
    }));
    let gone = |_| Fault::Closed;
    let mut sum = Hasher::new();
    let mut rest = header.length;
    while rest > 0 {
        let piece = next(connection, within).await?;
        if piece.is_empty() {
            return Err(Malformed.into());
        }
        rest = rest.checked_sub(piece.len() as u64).ok_or(Malformed)?;
        sum.update(&piece);
        pieces.send(piece).await.map_err(gone)?;
    }
    let mut end = Reader(next(connection, within).await?);
    if end.u32()? != sum.finalize() {
        return Err(Malformed.into());
    }
    end.end()?;
    pieces.send(Bytes::new()).await.map_err(gone)?;
    drop(pieces);
    let parcel = packed.await.map_err(io::Error::other)??;
    let snapshot = Snapshot {
        meta: header.meta,
        snapshot: parcel.ok_or(Fault::Closed)?,
    };
    Ok((header.vote, snapshot))
}

/// Says that the snapshot is being taken over.
pub(crate) async fn still_at_it(
    connection: &mut Connection,
    within: Duration,
) -> Result<(), Fault> {
    write(connection, &frame::one(|_| ()), within).await
}

/// Says that it was taken over, or that somebody else leads by now.
pub(crate) async fn taken(
    connection: &mut Connection,
    vote: &Vote,
    within: Duration,
) -> Result<(), Fault> {
    write(
        connection,
        &frame::one(|to| codec::put_vote(to, vote)),
        within,
    )
    .await
}

async fn next(connection: &mut Connection, within: Duration) -> Result<Bytes, Fault> {
    timeout(within, connection.next())
        .await
        .map_err(|_| Fault::Slow(within))?
}

async fn write(connection: &mut Connection, bytes: &[u8], within: Duration) -> Result<(), Fault> {
    timeout(within, connection.writes.write_all(bytes))
        .await
        .map_err(|_| Fault::Slow(within))??;
    Ok(())
}

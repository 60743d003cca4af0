//! Sending a snapshot in pieces, and receiving one. A transfer that breaks off leaves nothing behind
//! and begins anew.

use std::{io::Write as _, time::Duration};

use bytes::{BufMut as _, Bytes};
use crc32fast::Hasher;
use tokio::{io::AsyncWriteExt as _, time::timeout};

use crate::{
    apply::Snapshot,
    codec::{self, Malformed, Reader},
    net::{
        Fault,
        dial::Connection,
        frame,
        hello::Purpose,
        link::Link,
        messages::{self, Header},
    },
    parcel::Pack,
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
    for piece in snapshot.snapshot.pieces() {
        sum.update(piece);
        let head = u32::try_from(piece.len()).expect("pieces are short");
        write(&mut connection, &head.to_be_bytes(), within).await?;
        write(&mut connection, piece, within).await?;
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

/// Receives a snapshot, wholly and unharmed.
pub(crate) async fn receive(
    connection: &mut Connection,
    within: Duration,
) -> Result<(Vote, Snapshot), Fault> {
    let header = messages::header(Reader(next(connection, within).await?))?;
    let mut pack = Pack::default();
    let mut sum = Hasher::new();
    let mut rest = header.length;
    while rest > 0 {
        let piece = next(connection, within).await?;
        if piece.is_empty() {
            return Err(Malformed.into());
        }
        rest = rest.checked_sub(piece.len() as u64).ok_or(Malformed)?;
        sum.update(&piece);
        pack.write_all(&piece)?;
    }
    let mut end = Reader(next(connection, within).await?);
    if end.u32()? != sum.finalize() {
        return Err(Malformed.into());
    }
    end.end()?;
    let snapshot = Snapshot {
        meta: header.meta,
        snapshot: pack.finish(),
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

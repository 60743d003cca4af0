//! Questions that are answered once, each over a connection of its own.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use crate::{
    Member, NodeId,
    net::{Fault, dial::Dialler, frame, hello::Purpose},
};

/// Asks and waits for the answer, dialling included.
pub(crate) async fn ask(
    dialler: &Dialler,
    (id, member): (NodeId, &Member),
    (purpose, within): (Purpose, Duration),
    question: impl FnOnce(&mut BytesMut),
) -> Result<Bytes, Fault> {
    let answered = async {
        let mut connection = dialler.dial(purpose, id, member).await?;
        frame::put(&mut connection.outbox, question);
        connection.flush().await?;
        connection.next().await
    };
    timeout(within, answered)
        .await
        .map_err(|_| Fault::Slow(within))?
}

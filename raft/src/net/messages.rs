//! What nodes say to each other, as bytes.

use bytes::{BufMut, Bytes, BytesMut};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::{
    Error, NodeId, codec,
    codec::{MIN_ENTRY, Malformed, Reader},
    types::{LogId, SnapshotMeta, Types, Vote},
};

/// A question that is answered once.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Transfer(TransferLeaderRequest<Types>),
    /// Up to which entry a read must have applied to be linearizable.
    ReadIndex,
    /// A command that a node which does not lead has to propose.
    Propose(Bytes),
}

pub(crate) fn put_append(to: &mut BytesMut, request: &AppendEntriesRequest<Types>) {
    codec::put_vote(to, &request.vote);
    codec::put_maybe_log_id(to, request.prev_log_id.as_ref());
    codec::put_maybe_log_id(to, request.leader_commit.as_ref());
    to.put_u32(u32::try_from(request.entries.len()).expect("requests are bounded"));
    for entry in &request.entries {
        codec::put_entry(to, entry);
    }
}

pub(crate) fn append(mut from: Reader) -> Result<AppendEntriesRequest<Types>, Malformed> {
    let (vote, prev_log_id, leader_commit) =
        (from.vote()?, from.maybe_log_id()?, from.maybe_log_id()?);
    let count = usize::try_from(from.u32()?).map_err(|_| Malformed)?;
    // Room is made for what is there, not for what is announced.
    let mut entries = Vec::with_capacity(count.min(from.0.len() / MIN_ENTRY));
    for _ in 0..count {
        entries.push(from.entry()?);
    }
    from.end()?;
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

pub(crate) fn put_appended(to: &mut BytesMut, result: &StreamAppendResult<Types>) {
    match result {
        Ok(None) => to.put_u8(0),
        Ok(Some(id)) => {
            to.put_u8(1);
            codec::put_log_id(to, id);
        }
        Err(StreamAppendError::Conflict(id)) => {
            to.put_u8(2);
            codec::put_log_id(to, id);
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            to.put_u8(3);
            codec::put_vote(to, vote);
        }
    }
}

pub(crate) fn appended(mut from: Reader) -> Result<StreamAppendResult<Types>, Malformed> {
    let result = match from.u8()? {
        0 => Ok(None),
        1 => Ok(Some(from.log_id()?)),
        2 => Err(StreamAppendError::Conflict(from.log_id()?)),
        3 => Err(StreamAppendError::HigherVote(from.vote()?)),
        _ => return Err(Malformed),
    };
    from.end()?;
    Ok(result)
}

pub(crate) fn put_question(to: &mut BytesMut, question: &Question) {
    match question {
        Question::Vote(request) => {
            to.put_u8(1);
            put_vote_request(to, request);
        }
        Question::PreVote(request) => {
            to.put_u8(2);
            put_vote_request(to, request);
        }
        Question::Transfer(request) => {
            to.put_u8(3);
            codec::put_vote(to, request.from_leader());
            to.put_u64(request.to_node_id().0);
            codec::put_maybe_log_id(to, request.last_log_id());
        }
        Question::ReadIndex => to.put_u8(4),
        Question::Propose(command) => {
            to.put_u8(5);
            codec::put_bytes(to, command);
        }
    }
}

pub(crate) fn question(mut from: Reader) -> Result<Question, Malformed> {
    let question = match from.u8()? {
        1 => Question::Vote(vote_request(&mut from)?),
        2 => Question::PreVote(vote_request(&mut from)?),
        3 => Question::Transfer(TransferLeaderRequest::new(
            from.vote()?,
            NodeId(from.u64()?),
            from.maybe_log_id()?,
        )),
        4 => Question::ReadIndex,
        5 => Question::Propose(from.bytes()?),
        _ => return Err(Malformed),
    };
    from.end()?;
    Ok(question)
}

fn put_vote_request(to: &mut BytesMut, request: &VoteRequest<Types>) {
    codec::put_vote(to, &request.vote);
    codec::put_maybe_log_id(to, request.last_log_id.as_ref());
    to.put_u8(request.leadership_transfer.into());
}

fn vote_request(from: &mut Reader) -> Result<VoteRequest<Types>, Malformed> {
    let mut request = VoteRequest::new(from.vote()?, from.maybe_log_id()?);
    request.leadership_transfer = from.flag()?;
    Ok(request)
}

pub(crate) fn put_vote_response(to: &mut BytesMut, response: &VoteResponse<Types>) {
    codec::put_vote(to, &response.vote);
    codec::put_maybe_log_id(to, response.last_log_id.as_ref());
    to.put_u8(response.vote_granted.into());
}

pub(crate) fn vote_response(mut from: Reader) -> Result<VoteResponse<Types>, Malformed> {
    let (vote, last, granted) = (from.vote()?, from.maybe_log_id()?, from.flag()?);
    from.end()?;
    Ok(VoteResponse::new(vote, last, granted))
}

pub(crate) fn put_transferred(to: &mut BytesMut, response: &TransferLeaderResponse<Types>) {
    match response {
        Ok(()) => to.put_u8(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            to.put_u8(1);
            codec::put_vote(to, expected);
            codec::put_vote(to, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            to.put_u8(2);
            codec::put_maybe_log_id(to, expected.as_ref());
            codec::put_maybe_log_id(to, actual.as_ref());
        }
    }
}

pub(crate) fn transferred(mut from: Reader) -> Result<TransferLeaderResponse<Types>, Malformed> {
    let response = match from.u8()? {
        0 => Ok(()),
        1 => Err(TransferLeaderError::VoteChanged {
            expected: from.vote()?,
            actual: from.vote()?,
        }),
        2 => Err(TransferLeaderError::LogNotFlushed {
            expected: from.maybe_log_id()?,
            actual: from.maybe_log_id()?,
        }),
        _ => return Err(Malformed),
    };
    from.end()?;
    Ok(response)
}

/// The answer to [`Question::ReadIndex`]: nothing, if who was asked does not lead.
pub(crate) fn put_read_index(to: &mut BytesMut, index: Option<LogId>) {
    codec::put_maybe_log_id(to, index.as_ref());
}

pub(crate) fn read_index(mut from: Reader) -> Result<Option<LogId>, Malformed> {
    let index = from.maybe_log_id()?;
    from.end()?;
    Ok(index)
}

/// The answer to [`Question::Propose`]: the reply, or whether it may still take effect.
pub(crate) fn put_proposed(to: &mut BytesMut, outcome: &Result<Bytes, Error>) {
    match outcome {
        Ok(reply) => {
            to.put_u8(0);
            codec::put_bytes(to, reply);
        }
        Err(Error::Unknown) => to.put_u8(1),
        Err(_) => to.put_u8(2),
    }
}

pub(crate) fn proposed(mut from: Reader) -> Result<Result<Bytes, Error>, Malformed> {
    let outcome = match from.u8()? {
        0 => Ok(from.bytes()?),
        1 => Err(Error::Unknown),
        2 => Err(Error::NoQuorum),
        _ => return Err(Malformed),
    };
    from.end()?;
    Ok(outcome)
}

/// What comes before the pieces of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    /// How many bytes follow.
    pub(crate) length: u64,
}

pub(crate) fn put_header(to: &mut BytesMut, header: &Header) {
    codec::put_vote(to, &header.vote);
    codec::put_meta(to, &header.meta);
    to.put_u64(header.length);
}

pub(crate) fn header(mut from: Reader) -> Result<Header, Malformed> {
    let header = Header {
        vote: from.vote()?,
        meta: from.meta()?,
        length: from.u64()?,
    };
    from.end()?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bytes::Bytes;
    use openraft::EntryPayload;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Commands, Member, NodeId,
        types::{Entry, Membership, StoredMembership, log_id, vote},
    };

    fn written(put: impl FnOnce(&mut BytesMut)) -> Reader {
        let mut bytes = BytesMut::new();
        put(&mut bytes);
        Reader(bytes.freeze())
    }

    fn membership() -> Membership {
        let voters = vec![BTreeSet::from([NodeId(1)]), BTreeSet::from([NodeId(2)])];
        let member = |n| (NodeId(n), Member::new(format!("node-{n}"), "host", 7000));
        Membership::new(voters, BTreeMap::from([1, 2, 3].map(member))).expect("all are known")
    }

    fn request() -> AppendEntriesRequest<Types> {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Commands::gather(&[Bytes::from("SET a 1"), Bytes::new()])),
            EntryPayload::Membership(membership()),
        ];
        let entry = |(n, payload)| Entry {
            log_id: log_id(3, n),
            payload,
        };
        AppendEntriesRequest {
            vote: vote(3, NodeId(1), true),
            prev_log_id: Some(log_id(2, 4)),
            entries: (5..).zip(payloads).map(entry).collect(),
            leader_commit: None,
        }
    }

    #[test]
    fn entries_arrive_as_they_were_sent_and_not_cut_short() {
        let sent = request();
        let bytes = written(|to| put_append(to, &sent)).0;
        let got = append(Reader(bytes.clone())).expect("it is whole");
        assert_eq!((got.vote, got.prev_log_id), (sent.vote, sent.prev_log_id));
        assert_eq!(got.entries, sent.entries);
        assert_eq!(got.leader_commit, sent.leader_commit);
        for length in 0..bytes.len() {
            let cut = append(Reader(bytes.slice(..length)));
            assert!(cut.is_err(), "{length} bytes of {}", bytes.len());
        }
    }

    #[test]
    fn answers_arrive_as_they_were_given() {
        for answer in [
            Ok(None),
            Ok(Some(log_id(1, 2))),
            Err(StreamAppendError::Conflict(log_id(3, 4))),
            Err(StreamAppendError::HigherVote(vote(5, NodeId(6), false))),
        ] {
            let read = appended(written(|to| put_appended(to, &answer)));
            assert_eq!(read.expect("it is whole"), answer);
        }
        let given = VoteResponse::new(vote(5, NodeId(6), false), Some(log_id(1, 2)), true);
        let read = vote_response(written(|to| put_vote_response(to, &given)));
        assert_eq!(read.expect("it is whole"), given);
        for answer in [
            Ok(()),
            Err(TransferLeaderError::VoteChanged {
                expected: vote(1, NodeId(1), true),
                actual: vote(2, NodeId(2), false),
            }),
            Err(TransferLeaderError::LogNotFlushed {
                expected: Some(log_id(1, 2)),
                actual: None,
            }),
        ] {
            let read = transferred(written(|to| put_transferred(to, &answer)));
            assert_eq!(read.expect("it is whole"), answer);
        }
        let reply = Ok(Bytes::from("a reply"));
        let read = proposed(written(|to| put_proposed(to, &reply))).expect("it is whole");
        assert_eq!(read.expect("it was taken"), "a reply");
        let read = proposed(written(|to| put_proposed(to, &Err(Error::Unknown))));
        assert!(matches!(read, Ok(Err(Error::Unknown))), "{read:?}");
        let refused = Err(Error::NotLeader { leader: None });
        let read = proposed(written(|to| put_proposed(to, &refused)));
        assert!(matches!(read, Ok(Err(Error::NoQuorum))), "{read:?}");
        let asked = Question::Propose("a command".into());
        let read = question(written(|to| put_question(to, &asked)));
        assert!(matches!(read, Ok(Question::Propose(command)) if command == "a command"));
        let header_sent = Header {
            vote: vote(1, NodeId(2), true),
            meta: SnapshotMeta {
                last_log_id: Some(log_id(3, 4)),
                last_membership: StoredMembership::new(Some(log_id(1, 2)), membership()),
            },
            length: 5,
        };
        let read = header(written(|to| put_header(to, &header_sent)));
        assert_eq!(read.expect("it is whole"), header_sent);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let from = || Reader(Bytes::from(bytes.clone()));
            // Each must return, and take no more room than what came.
            let _ = (append(from()), appended(from()), question(from()));
            let _ = (vote_response(from()), transferred(from()), read_index(from()));
            let _ = (header(from()), proposed(from()));
        }

        #[test]
        fn a_bit_that_is_wrong_is_no_panic(at in 0_usize..200, bit in 0_u8..8) {
            let mut bytes = written(|to| put_append(to, &request())).0.to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let _ = append(Reader(Bytes::from(bytes)));
        }
    }
}

//! How log entries and votes are written, in the log and on the network: numbers in big-endian
//! order, byte strings behind their length.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};
use openraft::{EntryPayload, entry::RaftPayload as _};

use crate::{
    Commands, Member, NodeId,
    types::{
        Entry, LogId, Membership, SnapshotMeta, StoredMembership, Vote, log_id as make_log_id,
        vote as make_vote,
    },
};

/// What came is not what this crate writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what came is no message of this protocol")]
pub(crate) struct Malformed;

/// A log entry has at least this many bytes.
pub(crate) const MIN_ENTRY: usize = 17;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// About how many bytes an entry takes when written; exact but for memberships, which are few.
pub(crate) fn size(entry: &Entry) -> usize {
    MIN_ENTRY
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(commands) => 4 + commands.encoded().len(),
            EntryPayload::Membership(_) => 256,
        }
}

pub(crate) fn put_log_id(to: &mut impl BufMut, id: &LogId) {
    to.put_u64(id.committed_leader_id().term);
    to.put_u64(id.index());
}

pub(crate) fn put_maybe_log_id(to: &mut impl BufMut, id: Option<&LogId>) {
    to.put_u8(id.is_some().into());
    if let Some(id) = id {
        put_log_id(to, id);
    }
}

pub(crate) fn put_vote(to: &mut impl BufMut, vote: &Vote) {
    to.put_u64(vote.leader_id.term);
    to.put_u64(vote.leader_id.voted_for.0);
    to.put_u8(vote.committed.into());
}

pub(crate) fn put_entry(to: &mut impl BufMut, entry: &Entry) {
    put_log_id(to, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => to.put_u8(BLANK),
        EntryPayload::Normal(commands) => {
            to.put_u8(NORMAL);
            put_bytes(to, commands.encoded());
        }
        EntryPayload::Membership(membership) => {
            to.put_u8(MEMBERSHIP);
            put_membership(to, membership);
        }
    }
}

pub(crate) fn put_bytes(to: &mut impl BufMut, bytes: &[u8]) {
    to.put_u32(u32::try_from(bytes.len()).expect("what is written is bounded"));
    to.put_slice(bytes);
}

pub(crate) fn put_member(to: &mut impl BufMut, member: &Member) {
    put_bytes(to, member.name.as_bytes());
    put_bytes(to, member.host.as_bytes());
    to.put_u16(member.port);
}

pub(crate) fn put_members(to: &mut impl BufMut, members: &BTreeMap<NodeId, Member>) {
    put_count(to, members.len());
    for (id, member) in members {
        to.put_u64(id.0);
        put_member(to, member);
    }
}

fn put_membership(to: &mut impl BufMut, membership: &Membership) {
    let configs = membership.get_joint_config();
    put_count(to, configs.len());
    for config in configs {
        put_count(to, config.len());
        for id in config {
            to.put_u64(id.0);
        }
    }
    let members = membership.nodes().map(|(id, m)| (*id, m.clone())).collect();
    put_members(to, &members);
}

pub(crate) fn put_meta(to: &mut impl BufMut, meta: &SnapshotMeta) {
    put_maybe_log_id(to, meta.last_log_id.as_ref());
    put_maybe_log_id(to, meta.last_membership.log_id().as_ref());
    put_membership(to, meta.last_membership.membership());
}

fn put_count(to: &mut impl BufMut, count: usize) {
    to.put_u16(u16::try_from(count).expect("a group has few members"));
}

/// Takes apart what was written. Never reads behind the end, never trusts a length.
#[derive(Debug)]
pub(crate) struct Reader(pub(crate) Bytes);

impl Reader {
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| Malformed)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.0.try_get_u16().map_err(|_| Malformed)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32().map_err(|_| Malformed)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.0.try_get_u64().map_err(|_| Malformed)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Malformed> {
        self.0.try_get_u128().map_err(|_| Malformed)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        if length > self.0.len() {
            return Err(Malformed);
        }
        Ok(self.0.split_to(length))
    }

    pub(crate) fn string(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| Malformed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The end must be here.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId, Malformed> {
        Ok(make_log_id(self.u64()?, self.u64()?))
    }

    pub(crate) fn maybe_log_id(&mut self) -> Result<Option<LogId>, Malformed> {
        self.flag()?.then(|| self.log_id()).transpose()
    }

    pub(crate) fn vote(&mut self) -> Result<Vote, Malformed> {
        Ok(make_vote(self.u64()?, NodeId(self.u64()?), self.flag()?))
    }

    pub(crate) fn entry(&mut self) -> Result<Entry, Malformed> {
        let log_id = self.log_id()?;
        let payload = match self.u8()? {
            BLANK => EntryPayload::blank(),
            NORMAL => EntryPayload::Normal(Commands::read(self.bytes()?).ok_or(Malformed)?),
            MEMBERSHIP => EntryPayload::Membership(self.membership()?),
            _ => return Err(Malformed),
        };
        Ok(Entry { log_id, payload })
    }

    pub(crate) fn member(&mut self) -> Result<Member, Malformed> {
        Ok(Member::new(self.string()?, self.string()?, self.u16()?))
    }

    pub(crate) fn members(&mut self) -> Result<BTreeMap<NodeId, Member>, Malformed> {
        (0..self.u16()?)
            .map(|_| Ok((NodeId(self.u64()?), self.member()?)))
            .collect()
    }

    fn membership(&mut self) -> Result<Membership, Malformed> {
        let configs = (0..self.u16()?)
            .map(|_| {
                (0..self.u16()?)
                    .map(|_| Ok(NodeId(self.u64()?)))
                    .collect::<Result<BTreeSet<_>, Malformed>>()
            })
            .collect::<Result<Vec<_>, Malformed>>()?;
        let members = self.members()?;
        if configs.is_empty() && members.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(configs, members).map_err(|_| Malformed)
    }

    pub(crate) fn meta(&mut self) -> Result<SnapshotMeta, Malformed> {
        Ok(SnapshotMeta {
            last_log_id: self.maybe_log_id()?,
            last_membership: StoredMembership::new(self.maybe_log_id()?, self.membership()?),
        })
    }
}

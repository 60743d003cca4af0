//! Where snapshots are kept: the latest one, whole or not at all.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Buf, BufMut, BytesMut};
use crc32fast::Hasher;

use crate::{
    Error,
    apply::Snapshot,
    codec::{self, Reader},
    log::{self, disk::Disk},
    parcel::{PIECE, Pack, Parcel},
    types::SnapshotMeta,
};

/// What a snapshot's file begins with.
const MAGIC: u32 = u32::from_be_bytes(*b"BWs1");

/// What it ends with: its contents' length and sum.
const TRAILER: u64 = 8 + 4;

/// The longest description of a snapshot: a membership and a few numbers.
const MAX_META: u32 = 1024 * 1024;

/// Where this node keeps its snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    /// In memory, if there is none.
    disk: Option<Arc<dyn Disk>>,
    drafts: Arc<AtomicU64>,
}

impl Shelf {
    pub(crate) fn on(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk: Some(disk),
            drafts: Arc::default(),
        }
    }

    /// Begins to write a snapshot. May block, as its methods do.
    pub(crate) fn pack(&self, meta: &SnapshotMeta) -> io::Result<Pack> {
        let Some(disk) = &self.disk else {
            return Ok(Pack::default());
        };
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let name = format!("snapshot-{number}.draft");
        let mut head = BytesMut::new();
        codec::put_meta(&mut head, meta);
        let mut bytes = BytesMut::new();
        bytes.put_u32(MAGIC);
        codec::put_bytes(&mut bytes, &head);
        Pack::into_file(Arc::clone(disk), name, &bytes)
    }

    /// Keeps a snapshot beyond this node's life, in place of all others. May block.
    pub(crate) fn keep(&self, snapshot: &mut Snapshot) -> io::Result<()> {
        let Parcel::File { disk, name, .. } = &mut snapshot.snapshot else {
            return Ok(());
        };
        let kept = file_name(&snapshot.meta);
        if *name != kept {
            disk.rename(name, &kept)?;
            disk.sync()?;
            name.clone_from(&kept);
        }
        for other in disk.list()? {
            if other.starts_with("snapshot-") && !other.ends_with(".draft") && other != kept {
                disk.remove(&other)?;
            }
        }
        Ok(())
    }
}

fn file_name(meta: &SnapshotMeta) -> String {
    let id = meta.last_log_id;
    let (term, index) = id.map_or((0, 0), |id| (id.committed_leader_id().term, id.index()));
    format!("snapshot-{index:016x}-{term:016x}")
}

/// The snapshot that was kept, if there is one; what was never finished is removed.
pub(crate) fn kept(disk: &Arc<dyn Disk>) -> Result<Option<Snapshot>, Error> {
    let names = disk.list().map_err(|e| log::failed(&**disk, "", e))?;
    let mut kept = None;
    for name in names.into_iter().filter(|n| n.starts_with("snapshot-")) {
        if name.ends_with(".draft") {
            disk.remove(&name)
                .map_err(|e| log::failed(&**disk, &name, e))?;
        } else if kept.as_ref().is_none_or(|other| *other < name) {
            // Of several, all but the last were about to be removed.
            kept = Some(name);
        }
    }
    let Some(name) = kept else { return Ok(None) };
    match open(disk, &name) {
        Ok(Some(snapshot)) => Ok(Some(snapshot)),
        Ok(None) => Err(log::damaged(&**disk, &name, "is damaged".into())),
        Err(error) => Err(log::failed(&**disk, &name, error)),
    }
}

/// The snapshot in this file; nothing, if it is not whole.
fn open(disk: &Arc<dyn Disk>, name: &str) -> io::Result<Option<Snapshot>> {
    let size = io::copy(&mut disk.read(name)?, &mut io::sink())?;
    let mut file = io::BufReader::with_capacity(PIECE, disk.read(name)?);
    let mut head = [0; 8];
    if size < head.len() as u64 + TRAILER {
        return Ok(None);
    }
    file.read_exact(&mut head)?;
    let mut sum = Hasher::new();
    sum.update(&head);
    let mut head = &head[..];
    let (magic, meta_length) = (head.get_u32(), head.get_u32());
    let begin = 8 + u64::from(meta_length);
    if magic != MAGIC || meta_length > MAX_META || size < begin + TRAILER {
        return Ok(None);
    }
    let mut meta = Vec::new();
    file.by_ref()
        .take(u64::from(meta_length))
        .read_to_end(&mut meta)?;
    sum.update(&meta);
    let length = size - begin - TRAILER;
    let mut contents = file.by_ref().take(length);
    let mut piece = vec![0; PIECE];
    loop {
        match contents.read(&mut piece)? {
            0 => break,
            read => sum.update(&piece[..read]),
        }
    }
    let mut trailer = [0; 12];
    file.read_exact(&mut trailer)?;
    let mut trailer = &trailer[..];
    if trailer.get_u64() != length || trailer.get_u32() != sum.finalize() {
        return Ok(None);
    }
    let Ok(meta) = Reader(meta.into()).meta() else {
        return Ok(None);
    };
    let parcel = Parcel::File {
        disk: Arc::clone(disk),
        name: name.into(),
        begin,
        length,
    };
    Ok(Some(Snapshot {
        meta,
        snapshot: parcel,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::{log::disk::sim::Sim, types::log_id};

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: Some(log_id(3, index)),
            ..SnapshotMeta::default()
        }
    }

    fn snapshot(shelf: &Shelf, index: u64, bytes: &[u8]) -> Snapshot {
        let mut pack = shelf.pack(&meta(index)).unwrap();
        pack.write_all(bytes).unwrap();
        Snapshot {
            meta: meta(index),
            snapshot: pack.finish().unwrap(),
        }
    }

    fn contents(parcel: &Parcel) -> Vec<u8> {
        let mut read = Vec::new();
        parcel.reader().unwrap().read_to_end(&mut read).unwrap();
        read
    }

    #[test]
    fn a_parcel_is_read_as_it_was_written() {
        let sim = Sim::default();
        for shelf in [Shelf::default(), Shelf::on(Arc::new(sim.clone()))] {
            for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
                let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
                let parcel = snapshot(&shelf, 1, &bytes).snapshot;
                assert_eq!(parcel.len(), length as u64);
                assert!(contents(&parcel) == bytes, "{length} bytes");
            }
        }
    }

    #[test]
    fn what_is_kept_outlives_a_crash_and_replaces_what_was_kept_before() {
        for seed in 0..100 {
            let sim = Sim::default();
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            let shelf = Shelf::on(Arc::clone(&disk));
            for index in 1..4 {
                let bytes = vec![index as u8; 2000];
                shelf.keep(&mut snapshot(&shelf, index, &bytes)).unwrap();
            }
            let _unfinished = snapshot(&shelf, 4, &[4; 2000]);
            sim.crash(&mut fastrand::Rng::with_seed(seed));
            let kept = kept(&disk).unwrap().expect("three were kept");
            assert_eq!(kept.meta, meta(3), "seed {seed}");
            assert_eq!(contents(&kept.snapshot), [3; 2000]);
        }
    }

    #[test]
    fn damage_is_named() {
        let sim = Sim::default();
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let shelf = Shelf::on(Arc::clone(&disk));
        let mut whole = snapshot(&shelf, 1, &[7; 100]);
        shelf.keep(&mut whole).unwrap();
        let name = file_name(&whole.meta);
        let length = crate::log::disk::read_all(&*disk, &name).unwrap().len();
        for at in 0..length {
            sim.damage(&name, |bytes| bytes[at] ^= 1);
            let said = kept(&disk).expect_err("a bit is wrong").to_string();
            assert!(said.contains(&name), "{said}");
            sim.damage(&name, |bytes| bytes[at] ^= 1);
        }
        sim.damage(&name, |bytes| bytes.truncate(10));
        kept(&disk).expect_err("most of it is gone");
    }
}

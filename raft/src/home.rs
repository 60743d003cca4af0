//! Where a node comes from: its data directory, or nowhere.

use std::{path::Path, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    Config, Error, NodeId, Storage,
    apply::Snapshot,
    codec::{self, Malformed, Reader},
    founding::{self, Acceptor},
    log::{
        self, Log,
        disk::{self, Directory, Disk},
    },
    shelf::{self, Shelf},
};

/// The file that says whose directory it is.
const PAPERS: &str = "identity";

const MAGIC: u32 = u32::from_be_bytes(*b"BWi1");

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Papers {
    pub(crate) group: String,
    pub(crate) member: String,
    pub(crate) id: NodeId,
    /// The founding of the group that it belongs to, 0 if to none yet.
    pub(crate) charter: u128,
    pub(crate) acceptor: Acceptor,
}

/// What a node has when it starts.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) papers: Papers,
    pub(crate) log: Log,
    pub(crate) shelf: Shelf,
    pub(crate) snapshot: Option<Snapshot>,
    /// Where its papers are kept.
    pub(crate) disk: Option<Arc<dyn Disk>>,
}

impl Home {
    /// Opens the directory that the configuration names, or begins with nothing.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        match &config.storage {
            Storage::Memory => Ok(Self {
                papers: Papers::fresh(config),
                log: Log::memory(),
                shelf: Shelf::default(),
                snapshot: None,
                disk: None,
            }),
            Storage::Directory(path) => Self::on(config, directory(path)?),
        }
    }

    pub(crate) fn on(config: &Config, disk: Arc<dyn Disk>) -> Result<Self, Error> {
        let names = disk.list().map_err(|e| log::failed(&*disk, "", e))?;
        let (papers, log) = if names.iter().any(|name| name == PAPERS) {
            let papers = Papers::read(&*disk)?;
            papers.check(config, &*disk)?;
            let log = Log::open(&disk, papers.id)?;
            (papers, log)
        } else {
            // The papers are written last, so without them a node has done nothing yet.
            let snapshots = |name: &String| name.starts_with("snapshot-");
            if names.iter().any(snapshots) || !Log::is_unused(&*disk)? {
                let what = "is missing, and the directory is not empty".into();
                return Err(log::damaged(&*disk, PAPERS, what));
            }
            let papers = Papers::fresh(config);
            let log = Log::create(&disk, papers.id)?;
            papers
                .write(&*disk)
                .map_err(|e| log::failed(&*disk, PAPERS, e))?;
            (papers, log)
        };
        let snapshot = shelf::kept(&disk)?;
        let covered = snapshot.as_ref().and_then(|s| s.meta.last_log_id);
        let (purged, _) = log.past();
        if purged > covered {
            let what = "holds no snapshot of what the log no longer has".into();
            return Err(log::damaged(&*disk, "", what));
        }
        Ok(Self {
            papers,
            log,
            shelf: Shelf::on(Arc::clone(&disk)),
            snapshot,
            disk: Some(disk),
        })
    }
}

fn directory(path: &Path) -> Result<Arc<dyn Disk>, Error> {
    match Directory::open(path) {
        Ok(Some(directory)) => Ok(directory),
        Ok(None) => Err(Error::Data {
            path: path.into(),
            what: "is used by another process".into(),
        }),
        Err(source) => Err(Error::Storage {
            path: path.into(),
            source,
        }),
    }
}

impl Papers {
    /// Those of a node that has done nothing yet.
    fn fresh(config: &Config) -> Self {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Self {
            group: config.group.clone(),
            member: config.member.clone(),
            // 0 is nobody's.
            id: NodeId((high ^ low).max(1)),
            charter: 0,
            acceptor: Acceptor::default(),
        }
    }

    /// Whether they are those of the node that is configured.
    fn check(&self, config: &Config, disk: &dyn Disk) -> Result<(), Error> {
        for (what, theirs, ours) in [
            ("group", &self.group, &config.group),
            ("member", &self.member, &config.member),
        ] {
            if theirs != ours {
                let what = format!("belongs to {what} {theirs:?}, not to {ours:?}");
                return Err(log::damaged(disk, "", what));
            }
        }
        Ok(())
    }

    /// Writes them in place of those before.
    pub(crate) fn write(&self, disk: &dyn Disk) -> std::io::Result<()> {
        let mut bytes = BytesMut::new();
        bytes.put_u32(MAGIC);
        codec::put_bytes(&mut bytes, self.group.as_bytes());
        codec::put_bytes(&mut bytes, self.member.as_bytes());
        bytes.put_u64(self.id.0);
        bytes.put_u128(self.charter);
        founding::put_acceptor(&mut bytes, &self.acceptor);
        let sum = crc32fast::hash(&bytes);
        bytes.put_u32(sum);
        disk::replace(disk, PAPERS, &bytes)
    }

    fn read(disk: &dyn Disk) -> Result<Self, Error> {
        let bytes = disk::read_all(disk, PAPERS).map_err(|e| log::failed(disk, PAPERS, e))?;
        Self::parse(bytes.into())
            .map_err(|Malformed| log::damaged(disk, PAPERS, "is damaged".into()))
    }

    fn parse(mut bytes: Bytes) -> Result<Self, Malformed> {
        let sum = bytes.split_off(bytes.len().checked_sub(4).ok_or(Malformed)?);
        if Reader(sum).u32()? != crc32fast::hash(&bytes) {
            return Err(Malformed);
        }
        let mut from = Reader(bytes);
        if from.u32()? != MAGIC {
            return Err(Malformed);
        }
        let papers = Self {
            group: from.string()?,
            member: from.string()?,
            id: NodeId(from.u64()?),
            charter: from.u128()?,
            acceptor: founding::acceptor(&mut from)?,
        };
        from.end()?;
        Ok(papers)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::log::disk::sim::Sim;

    fn config() -> Config {
        let storage = Storage::Directory(PathBuf::from("sim"));
        Config::new("flock", "dolly", ([127, 0, 0, 1], 0).into(), storage)
    }

    fn open(sim: &Sim) -> Result<Home, Error> {
        Home::on(&config(), Arc::new(sim.clone()))
    }

    fn complaint(sim: &Sim, change: impl FnOnce(&mut Config)) -> String {
        let mut config = config();
        change(&mut config);
        let opened = Home::on(&config, Arc::new(sim.clone()));
        opened.expect_err("it is not its own").to_string()
    }

    #[test]
    fn a_node_that_comes_back_is_the_one_that_left() {
        let sim = Sim::default();
        let first = open(&sim).unwrap().papers;
        assert_eq!(open(&sim).unwrap().papers, first);
    }

    #[test]
    fn a_first_start_may_be_cut_short_anywhere() {
        for efforts in 0..20 {
            for seed in 0..20 {
                let sim = Sim::default();
                sim.fail_after(efforts);
                let first = open(&sim).ok().map(|home| home.papers);
                sim.crash(&mut fastrand::Rng::with_seed(seed));
                let again = open(&sim).unwrap().papers;
                if let Some(first) = first {
                    assert_eq!(again, first, "{efforts} efforts, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn what_belongs_to_others_is_refused() {
        let sim = Sim::default();
        drop(open(&sim).unwrap());
        let said = complaint(&sim, |config| config.group = "herd".into());
        assert!(said.contains("group \"flock\", not to \"herd\""), "{said}");
        let said = complaint(&sim, |config| config.member = "shaun".into());
        assert!(
            said.contains("member \"dolly\", not to \"shaun\""),
            "{said}"
        );
        sim.damage(PAPERS, |bytes| bytes[5] ^= 1);
        assert!(complaint(&sim, |_| ()).contains("identity: is damaged"));
    }
}

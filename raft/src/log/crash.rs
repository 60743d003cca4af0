//! A durable log over a disk that loses what was not synced, and one that is damaged.

use std::sync::Arc;

use bytes::Bytes;
use openraft::{EntryPayload, entry::RaftEntry as _};

use crate::{
    Commands, Error, NodeId,
    log::{
        disk::{Disk, sim::Sim},
        record::{Record, Replay, State},
        segment,
        wal::Wal,
        window::Window,
    },
    types::{Entry, log_id, vote},
};

const NODE: NodeId = NodeId(7);

/// So small that a log has several.
const SEGMENT: usize = 700;

/// What a log holds.
#[derive(Clone, Debug, PartialEq)]
struct Contents {
    state: State,
    entries: Vec<Entry>,
}

fn contents(window: &Window) -> Contents {
    Contents {
        state: State {
            vote: window.vote,
            committed: window.committed,
            purged: window.purged(),
            last: window.last(),
        },
        entries: window.read(0, u64::MAX, usize::MAX),
    }
}

/// What a log of these records holds.
fn model(records: &[Record]) -> Contents {
    let mut replay = Replay::from(State::default());
    for record in records {
        assert!(replay.follow(record.clone()));
    }
    contents(&replay.finish().expect("nothing is missing").1)
}

fn disk(sim: &Sim) -> Arc<dyn Disk> {
    Arc::new(sim.clone())
}

fn open(sim: &Sim) -> Result<(Wal, Window), Error> {
    let (wal, window) = Wal::open(&disk(sim), NODE)?;
    Ok((wal.with_segments_of(SEGMENT), window))
}

/// A log that is written, cut off, and opened again.
struct World {
    random: fastrand::Rng,
    sim: Sim,
    wal: Wal,
    /// All that is on disk.
    history: Vec<Record>,
}

impl World {
    fn new(seed: u64) -> Self {
        let sim = Sim::default();
        let wal = Wal::create(Arc::new(sim.clone()), NODE).expect("the disk is empty");
        Self {
            random: fastrand::Rng::with_seed(seed),
            sim,
            wal: wal.with_segments_of(SEGMENT),
            history: Vec::new(),
        }
    }

    /// Some records that a node may write next.
    fn records(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut now = model(&self.history).state;
        for _ in 0..self.random.u8(1..5) {
            let record = self.record(&now);
            assert!(now.follow(&record));
            records.push(record);
        }
        records
    }

    fn record(&mut self, now: &State) -> Record {
        let next = now.last.map_or(0, |id| id.index() + 1);
        let purged = now.purged.map_or(0, |id| id.index() + 1);
        let some = self.random.u64(purged..=next.max(purged));
        let term = now.last.map_or(1, |id| id.committed_leader_id().term);
        match self.random.u8(..12) {
            0 => Record::Vote(vote(self.random.u64(..9), NodeId(1), self.random.bool())),
            1 => Record::Committed(log_id(term, some)),
            2 => Record::Purged(log_id(term, some)),
            3 if some > purged => Record::Truncated(Some(log_id(term, some - 1))),
            _ => {
                let command = Bytes::from(vec![self.random.u8(..); self.random.usize(..90)]);
                Record::Entry(Entry {
                    log_id: log_id(term, next),
                    payload: EntryPayload::Normal(Commands::gather(&[command])),
                })
            }
        }
    }

    /// Cuts the power, perhaps in the middle of a write; what is wrong afterwards, if anything is.
    fn crash(&mut self) -> Result<(), String> {
        let mut also = Vec::new();
        if self.random.bool() {
            self.sim.fail_after(self.random.u32(..4));
            let records = self.records();
            match self.wal.commit(&records) {
                Ok(()) => self.history.extend(records),
                Err(_) => also = records,
            }
        }
        self.sim.crash(&mut self.random);
        let (wal, window) = open(&self.sim).map_err(|error| error.to_string())?;
        self.wal = wal;
        let found = contents(&window);
        if found == model(&self.history) {
            return Ok(());
        }
        // What was about to be written may be there, but then all of it.
        self.history.extend(also);
        let expected = model(&self.history);
        if found == expected {
            Ok(())
        } else {
            Err(format!("found {found:?}\nexpected {expected:?}"))
        }
    }

    fn live(&mut self) -> Result<(), String> {
        for _ in 0..self.random.u8(1..20) {
            let records = self.records();
            self.wal.commit(&records).expect("the disk is whole");
            self.history.extend(records);
        }
        self.crash()
    }
}

#[test]
fn what_was_committed_is_there_after_any_crash() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        for life in 0..5 {
            if let Err(wrong) = world.live() {
                panic!("seed {seed}, life {life}: {wrong}");
            }
        }
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let caught = (0..20).filter(|seed| {
        let mut world = World::new(*seed);
        world.sim.lie();
        (0..5).any(|_| world.live().is_err())
    });
    assert!(caught.count() >= 10);
}

/// A log of several segments, and what it held before the last write.
fn several_segments() -> (World, Contents) {
    let mut world = World::new(1);
    loop {
        let records = world.records();
        let before = model(&world.history);
        world.wal.commit(&records).expect("the disk is whole");
        world.history.extend(records);
        if world.sim.list().expect("it is there").len() >= 3 {
            return (world, before);
        }
    }
}

#[test]
fn damage_is_named_and_refused_unless_it_may_be_a_torn_end() {
    let (world, before) = several_segments();
    let names = world.sim.list().unwrap();
    let whole = model(&world.history);
    let last = names.last().expect("there are several").clone();
    for name in names {
        let length = crate::log::disk::read_all(&world.sim, &name).unwrap().len();
        for at in 0..length {
            world.sim.damage(&name, |bytes| bytes[at] ^= 0x10);
            match open(&world.sim) {
                Err(error) => {
                    assert!(matches!(error, Error::Data { .. }), "{error:?}");
                    assert!(error.to_string().contains("log-"), "{error}");
                }
                // The last frame cannot be told from one that was never finished.
                Ok((_, window)) => {
                    let found = contents(&window);
                    assert!(
                        found == before || found == whole,
                        "{name} at {at}: {found:?}"
                    );
                    assert_eq!(name, last);
                    return;
                }
            }
            world.sim.damage(&name, |bytes| bytes[at] ^= 0x10);
        }
    }
    panic!("the last frame was never reached");
}

#[test]
fn a_segment_that_is_missing_is_missed() {
    let (world, _) = several_segments();
    let names = world.sim.list().unwrap();
    world.sim.remove(&names[names.len() - 2]).unwrap();
    let left = world.sim.list().unwrap();
    let said = open(&world.sim)
        .err()
        .expect("a part is missing")
        .to_string();
    assert!(said.contains("missing"), "{said}");
    assert_eq!(world.sim.list().unwrap(), left, "nothing was removed");
}

#[test]
fn another_nodes_segments_are_refused() {
    let (world, _) = several_segments();
    let opened = Wal::open(&disk(&world.sim), NodeId(8));
    let said = opened.err().expect("it is another's").to_string();
    assert!(said.contains("belongs to node 0000000000000007"), "{said}");
}

#[test]
fn segments_go_when_all_in_them_is_purged() {
    let (mut world, _) = several_segments();
    let last = model(&world.history).state.last.expect("it has entries");
    // As a snapshot that is installed does, and beyond any entry that was cut off again.
    let last = log_id(last.committed_leader_id().term, last.index() + 100);
    world.wal.commit(&[Record::Purged(last)]).unwrap();
    assert_eq!(world.sim.list().unwrap().len(), 1);
    let name = world.sim.list().unwrap().remove(0);
    assert!(segment::number(&name).is_some_and(|number| number >= 2));
    let (_, window) = open(&world.sim).unwrap();
    assert_eq!(window.purged(), Some(last));
    assert!(
        window
            .read(0, u64::MAX, usize::MAX)
            .iter()
            .all(|e| e.index() > last.index())
    );
}

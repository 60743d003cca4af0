//! A directory in memory. On a crash it loses what was not synced: all of it, none of it, or any
//! part, as a real one may.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::log::disk::{Append, Disk};

/// So much reaches a disk as a whole or not at all.
const SECTOR: usize = 512;

/// A handle on the directory; all of them see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sim(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<Contents>,
    /// Names as they are, and as they were when the directory was last synced.
    names: BTreeMap<String, usize>,
    kept_names: BTreeMap<String, usize>,
    /// After so many further writes and syncs, all of them fail.
    failing_in: Option<u32>,
    /// Counts crashes: a file that was open before one writes to nowhere.
    crashes: u32,
    /// How often anything was synced.
    syncs: u64,
    /// It says that it syncs and does not.
    lying: bool,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    now: Vec<u8>,
    kept: Vec<u8>,
}

impl Sim {
    /// Cuts the power and brings it back: of what was not synced, chance says what is there.
    pub(crate) fn crash(&self, random: &mut fastrand::Rng) {
        let mut state = self.state();
        state.crashes += 1;
        state.failing_in = None;
        let State {
            files,
            names,
            kept_names,
            ..
        } = &mut *state;
        for file in files.iter_mut() {
            file.now = survivor(file, random);
            file.kept = file.now.clone();
        }
        let changed: Vec<String> = (names.keys().chain(kept_names.keys()))
            .filter(|name| names.get(*name) != kept_names.get(*name))
            .cloned()
            .collect();
        for name in changed {
            if random.bool() {
                continue;
            }
            match kept_names.get(&name).copied() {
                Some(file) => names.insert(name, file),
                None => names.remove(&name),
            };
        }
        *kept_names = names.clone();
    }

    /// Lets all writes and syncs after the next `count` fail, as a full or broken disk does.
    pub(crate) fn fail_after(&self, count: u32) {
        self.state().failing_in = Some(count);
    }

    /// From now on it says that it syncs files and does not, as some disks do.
    pub(crate) fn lie(&self) {
        self.state().lying = true;
    }

    /// How often anything was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Changes what a file holds, as a bad disk or a hand does.
    pub(crate) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[name];
        let contents = &mut state.files[file];
        change(&mut contents.now);
        contents.kept = contents.now.clone();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

/// What is left of a file.
fn survivor(file: &Contents, random: &mut fastrand::Rng) -> Vec<u8> {
    let Some(new) = file.now.strip_prefix(&file.kept[..]) else {
        // It was cut, or emptied and written anew.
        return if random.bool() {
            file.now.clone()
        } else {
            file.kept.clone()
        };
    };
    // The length may have been kept without the contents, and any sector without those before.
    let mut left = new[..random.usize(..=new.len())].to_vec();
    if random.bool() {
        let begin = file.kept.len();
        let end = begin + left.len();
        for sector in begin / SECTOR..end.div_ceil(SECTOR) {
            if random.bool() {
                let from = (sector * SECTOR).max(begin) - begin;
                let to = ((sector + 1) * SECTOR).min(end) - begin;
                left[from..to].fill(0);
            }
        }
    }
    [&file.kept[..], &left].concat()
}

impl State {
    fn file(&self, name: &str) -> io::Result<usize> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn effort(&mut self) -> io::Result<()> {
        match &mut self.failing_in {
            None => Ok(()),
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl Disk for Sim {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let file = state.file(name)?;
        Ok(Box::new(Cursor::new(state.files[file].now.clone())))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let mut state = self.state();
        state.effort()?;
        let file = state.files.len();
        state.files.push(Contents::default());
        state.names.insert(name.into(), file);
        Ok(self.open(&state, file))
    }

    fn cut(&self, name: &str, length: u64) -> io::Result<Box<dyn Append>> {
        let mut state = self.state();
        let file = state.file(name)?;
        let length = usize::try_from(length).expect("files are small");
        state.files[file].now.truncate(length);
        Ok(self.open(&state, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.effort()?;
        let file = state.file(from)?;
        state.names.remove(from);
        state.names.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.file(name)?;
        state.names.remove(name);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.effort()?;
        state.syncs += 1;
        state.kept_names = state.names.clone();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("sim").join(name)
    }
}

impl Sim {
    fn open(&self, state: &State, file: usize) -> Box<dyn Append> {
        Box::new(Open {
            disk: self.clone(),
            file,
            life: state.crashes,
        })
    }
}

struct Open {
    disk: Sim,
    file: usize,
    life: u32,
}

impl Append for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.crashes != self.life {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let file = self.file;
        if let Err(error) = state.effort() {
            // A disk that becomes full takes a part.
            let half = &bytes[..bytes.len() / 2];
            state.files[file].now.extend(half);
            return Err(error);
        }
        state.files[file].now.extend(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.crashes != self.life {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.effort()?;
        state.syncs += 1;
        if state.lying {
            return Ok(());
        }
        let contents = &mut state.files[self.file];
        contents.kept = contents.now.clone();
        Ok(())
    }
}

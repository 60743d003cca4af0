//! The directory in which a node keeps what must outlive it. There are two: a real one, and one in
//! memory that loses on a crash what a real one may lose.

#[cfg(test)]
pub(crate) mod sim;

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory.
///
/// What is written is kept only once the file was synced, and a file's name, or its absence, only
/// once the directory was.
pub(crate) trait Disk: Debug + Send + Sync {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Reads a file from its begin.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// Makes a file, empty; one of the same name is emptied.
    fn create(&self, name: &str) -> io::Result<Box<dyn Append>>;

    /// Cuts a file to this length and goes on behind it.
    fn cut(&self, name: &str, length: u64) -> io::Result<Box<dyn Append>>;

    /// Gives a file another name, in place of the one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Keeps all names as they are now.
    fn sync(&self) -> io::Result<()>;

    /// For messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// A file that grows.
pub(crate) trait Append: Send {
    /// Writes all of it at the end. After an error any part of it may be there.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Keeps all that was written. After an error nothing is known of what was written since the
    /// last sync; trying again proves nothing.
    fn sync(&mut self) -> io::Result<()>;
}

/// Writes a file so that it is either there as a whole or not at all, also after a crash.
pub(crate) fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = format!("{name}.draft");
    let mut file = disk.create(&draft)?;
    file.write(bytes)?;
    file.sync()?;
    disk.rename(&draft, name)?;
    disk.sync()
}

/// All of a file.
pub(crate) fn read_all(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.read(name)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A real directory, which no other process uses while this is held.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// The name of the file by which other processes are kept out.
const LOCK: &str = "lock";

impl Directory {
    /// Opens a directory, which is made if it is not there. Nothing, if another process uses it.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Arc<Self>>> {
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            // Its name must be kept too.
            if let Some(parent) = fs::canonicalize(path)?.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        let lock =
            (OpenOptions::new().create(true).truncate(false).write(true)).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Arc::new(Self {
                path: path.to_path_buf(),
                _lock: lock,
            }))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if let Some(name) = name.to_str().filter(|name| *name != LOCK) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.path(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        Ok(Box::new(File::create(self.path(name))?))
    }

    fn cut(&self, name: &str, length: u64) -> io::Result<Box<dyn Append>> {
        let file = OpenOptions::new().append(true).open(self.path(name))?;
        file.set_len(length)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Append for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

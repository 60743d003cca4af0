//! Snapshots, in memory or in files: written once, read by any number.

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc32fast::Hasher;

use crate::log::disk::{Append, Disk};

/// A snapshot travels, and is kept in memory, in pieces of this many bytes.
pub(crate) const PIECE: usize = 256 * 1024;

/// Where the bytes of a snapshot are. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Memory(Arc<Vec<Bytes>>),
    /// In a file, behind its description.
    File {
        disk: Arc<dyn Disk>,
        name: String,
        begin: u64,
        length: u64,
    },
}

impl Parcel {
    /// How many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
            Self::File { length, .. } => *length,
        }
    }

    /// Reads it from its begin. May block.
    pub(crate) fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Memory(pieces) => Ok(Box::new(Unpack {
                pieces: Arc::clone(pieces),
                next: 0,
                rest: Bytes::new(),
            })),
            Self::File {
                disk,
                name,
                begin,
                length,
            } => {
                let mut file = disk.read(name)?;
                io::copy(&mut file.by_ref().take(*begin), &mut io::sink())?;
                Ok(Box::new(io::BufReader::with_capacity(
                    PIECE,
                    file.take(*length),
                )))
            }
        }
    }
}

/// Writes a [`Parcel`].
#[derive(Default)]
pub(crate) struct Pack {
    pieces: Vec<Bytes>,
    last: BytesMut,
    length: u64,
    file: Option<Draft>,
}

struct Draft {
    disk: Arc<dyn Disk>,
    name: String,
    file: Box<dyn Append>,
    begin: u64,
    sum: Hasher,
}

impl Pack {
    /// Writes behind what this file begins with.
    pub(crate) fn into_file(disk: Arc<dyn Disk>, name: String, head: &[u8]) -> io::Result<Self> {
        let mut file = disk.create(&name)?;
        file.write(head)?;
        let mut sum = Hasher::new();
        sum.update(head);
        let mut pack = Self::default();
        pack.file = Some(Draft {
            disk,
            name,
            file,
            begin: head.len() as u64,
            sum,
        });
        Ok(pack)
    }

    /// All that was written; in a file, it is on disk.
    pub(crate) fn finish(mut self) -> io::Result<Parcel> {
        let last = self.last.split().freeze();
        self.put(last)?;
        let Some(mut draft) = self.file.take() else {
            return Ok(Parcel::Memory(Arc::new(std::mem::take(&mut self.pieces))));
        };
        let mut trailer = BytesMut::new();
        trailer.put_u64(self.length);
        trailer.put_u32(draft.sum.finalize());
        draft.file.write(&trailer)?;
        draft.file.sync()?;
        Ok(Parcel::File {
            disk: draft.disk,
            name: draft.name,
            begin: draft.begin,
            length: self.length,
        })
    }

    fn put(&mut self, piece: Bytes) -> io::Result<()> {
        self.length += piece.len() as u64;
        match &mut self.file {
            Some(draft) => {
                draft.sum.update(&piece);
                draft.file.write(&piece)
            }
            None if piece.is_empty() => Ok(()),
            None => {
                self.pieces.push(piece);
                Ok(())
            }
        }
    }
}

impl Drop for Pack {
    fn drop(&mut self) {
        if let Some(draft) = &self.file
            && let Err(error) = draft.disk.remove(&draft.name)
        {
            tracing::warn!(file = draft.name, %error, "cannot be removed");
        }
    }
}

impl Write for Pack {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE - self.last.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.last.put_slice(taken);
        if self.last.len() == PIECE {
            let piece = self.last.split().freeze();
            self.put(piece)?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Unpack {
    pieces: Arc<Vec<Bytes>>,
    next: usize,
    rest: Bytes,
}

impl Read for Unpack {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty()
            && let Some(piece) = self.pieces.get(self.next)
        {
            self.rest = piece.clone();
            self.next += 1;
        }
        let taken = self.rest.len().min(to.len());
        self.rest.copy_to_slice(&mut to[..taken]);
        Ok(taken)
    }
}

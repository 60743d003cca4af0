//! A snapshot's bytes: written once, read by any number.

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A snapshot is kept and travels in pieces of this many bytes.
pub(crate) const PIECE: usize = 256 * 1024;

/// A snapshot in memory. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parcel {
    pieces: Arc<Vec<Bytes>>,
}

impl Parcel {
    /// The bytes in order, in pieces of at most [`PIECE`].
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Reads it from its begin.
    pub(crate) fn reader(&self) -> impl Read + Send + use<> {
        Unpack {
            parcel: self.clone(),
            next: 0,
            rest: Bytes::new(),
        }
    }
}

/// Writes a [`Parcel`].
#[derive(Debug, Default)]
pub(crate) struct Pack {
    pieces: Vec<Bytes>,
    last: BytesMut,
}

impl Pack {
    /// All that was written.
    pub(crate) fn finish(mut self) -> Parcel {
        if !self.last.is_empty() {
            self.pieces.push(self.last.freeze());
        }
        Parcel {
            pieces: Arc::new(self.pieces),
        }
    }
}

impl Write for Pack {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE - self.last.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.last.put_slice(taken);
        if self.last.len() == PIECE {
            self.pieces.push(self.last.split().freeze());
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Unpack {
    parcel: Parcel,
    next: usize,
    rest: Bytes,
}

impl Read for Unpack {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty()
            && let Some(piece) = self.parcel.pieces.get(self.next)
        {
            self.rest = piece.clone();
            self.next += 1;
        }
        let taken = self.rest.len().min(to.len());
        self.rest.copy_to_slice(&mut to[..taken]);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_is_read_as_it_was_written() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let mut pack = Pack::default();
            pack.write_all(&bytes).unwrap();
            let parcel = pack.finish();
            assert_eq!(parcel.len(), length as u64);
            let mut read = Vec::new();
            parcel.reader().read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{length} bytes");
        }
    }
}

//! A queue of bytes.

/// What an empty buffer keeps allocated at most, in bytes.
const KEEP: usize = 64 << 10;

/// Bytes are appended at the back and consumed from the front.
///
/// Consuming is constant time; the room before the first byte is reclaimed when more of the
/// buffer is dead than alive, so that each byte is moved at most once on average.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn extend(&mut self, more: &[u8]) {
        if self.start > self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(more);
    }

    /// Drops the first `n` bytes.
    ///
    /// # Panics
    /// If there are fewer than `n`.
    pub(crate) fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "consuming {n} of {} bytes", self.len());
        self.start += n;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Drops `n` bytes from `at` on.
    pub(crate) fn remove(&mut self, at: usize, n: usize) {
        if at == 0 {
            return self.consume(n);
        }
        let from = self.start + at;
        self.bytes.drain(from..from + n);
    }

    /// Keeps the first `n` bytes only.
    pub(crate) fn truncate(&mut self, n: usize) {
        self.bytes.truncate(self.start + n);
        if self.is_empty() {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut buffer = Buffer::default();
        buffer.extend(b"abcdef");
        buffer.consume(4);
        buffer.extend(b"gh");
        assert_eq!(buffer.as_slice(), b"efgh");
        buffer.truncate(3);
        assert_eq!(buffer.as_slice(), b"efg");
        buffer.consume(3);
        assert!(buffer.is_empty());
    }

    #[test]
    fn an_emptied_buffer_gives_large_memory_back() {
        let mut buffer = Buffer::default();
        buffer.extend(&vec![0; KEEP * 2]);
        buffer.consume(KEEP * 2);
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn dead_room_is_reclaimed() {
        let mut buffer = Buffer::default();
        for _ in 0..10_000 {
            buffer.extend(&[7; 100]);
            if buffer.len() > 300 {
                buffer.consume(100);
            }
        }
        assert!(
            buffer.bytes.capacity() < 4096,
            "{}",
            buffer.bytes.capacity()
        );
    }
}

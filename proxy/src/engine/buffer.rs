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

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }
}

/// Memory that one buffer does not need now, for another that does. So those who are idle hold none.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

/// How many pieces of memory are kept.
const SPARES: usize = 64;

impl Spares {
    /// Gives an empty buffer memory, if it has none.
    #[inline]
    pub(crate) fn lend(&mut self, to: &mut Buffer) {
        if to.bytes.capacity() == 0
            && let Some(spare) = self.0.pop()
        {
            to.bytes = spare;
        }
    }

    /// Takes the memory of an empty buffer.
    #[inline]
    pub(crate) fn take_back(&mut self, from: &mut Buffer) {
        let memory = std::mem::take(&mut from.bytes);
        from.start = 0;
        if self.0.len() < SPARES && memory.capacity() > 0 {
            self.0.push(memory);
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
        buffer.consume(4);
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
    fn memory_goes_from_one_to_another() {
        let (mut spares, mut one, mut other) = <(Spares, Buffer, Buffer)>::default();
        one.extend(&[1; 100]);
        one.consume(100);
        spares.take_back(&mut one);
        assert_eq!(one.bytes.capacity(), 0);
        spares.lend(&mut other);
        assert!(other.is_empty() && other.bytes.capacity() >= 100);
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

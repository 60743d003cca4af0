//! The arguments of a request, as far as a scanner remembers them.

use crate::request::KEPT_ARGS;

/// How many arguments are remembered without memory of their own: enough for
/// nearly every request, and little enough for a scanner to be small.
const NEAR: usize = 7;

/// The arguments of a request: where the first [`KEPT_ARGS`] stand, or what they are.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Offset and length of the first arguments of a multibulk request, as long as
    /// these are below 4 GiB. Offsets grow, so none after one that is not is near.
    near: [(u32, u32); NEAR],
    near_len: u8,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    /// Offset and length of the arguments that are not near.
    Far(Vec<(usize, usize)>),
    /// All arguments of an inline request.
    Inline(Vec<Vec<u8>>),
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self {
            near: [(0, 0); NEAR],
            near_len: 0,
            rest: Rest::Far(Vec::new()),
        }
    }

    /// Forgets all of them. The memory for those that are not near is kept.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.near_len = 0;
        match &mut self.rest {
            Rest::Far(far) => far.clear(),
            Rest::Inline(_) => self.rest = Rest::Far(Vec::new()),
        }
    }

    /// Remembers where the next argument of a multibulk request stands, if it is
    /// one of the first.
    #[inline]
    pub(crate) fn push(&mut self, start: usize, length: usize) {
        match (u32::try_from(start), u32::try_from(length)) {
            (Ok(start), Ok(length)) if usize::from(self.near_len) < NEAR => {
                self.near[usize::from(self.near_len)] = (start, length);
                self.near_len += 1;
            }
            _ => self.push_far(start, length),
        }
    }

    #[cold]
    fn push_far(&mut self, start: usize, length: usize) {
        if let Rest::Far(far) = &mut self.rest
            && usize::from(self.near_len) + far.len() < KEPT_ARGS
        {
            far.push((start, length));
        }
    }

    /// Offset and length of the `i`th argument of a multibulk request.
    #[inline]
    pub(crate) fn range(&self, i: usize) -> Option<(usize, usize)> {
        let near_len = usize::from(self.near_len);
        if i < near_len {
            let (start, length) = self.near[i];
            return Some((start as usize, length as usize));
        }
        match &self.rest {
            Rest::Far(far) => far.get(i - near_len).copied(),
            Rest::Inline(_) => None,
        }
    }

    pub(crate) fn set_inline(&mut self, args: Vec<Vec<u8>>) {
        self.rest = Rest::Inline(args);
    }

    #[inline]
    pub(crate) fn inline(&self) -> Option<&[Vec<u8>]> {
        match &self.rest {
            Rest::Inline(args) => Some(args),
            Rest::Far(_) => None,
        }
    }

    pub(crate) fn take_inline(&mut self) -> Option<Vec<Vec<u8>>> {
        match std::mem::replace(&mut self.rest, Rest::Far(Vec::new())) {
            Rest::Inline(args) => Some(args),
            far @ Rest::Far(_) => {
                self.rest = far;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(kept: &Kept) -> Vec<(usize, usize)> {
        (0..).map_while(|i| kept.range(i)).collect()
    }

    #[test]
    fn arguments_beyond_4_gib_are_remembered() {
        let limit = 1 << 32;
        let args = [
            (0, limit - 1),
            (limit - 1, 5),
            (limit + 6, limit),
            (3 * limit, 0),
            (4 * limit, 1),
        ];
        let mut kept = Kept::new();
        for (start, length) in args {
            kept.push(start, length);
        }
        assert_eq!(ranges(&kept), args);
        assert_eq!(kept.near_len, 2);
    }

    #[test]
    fn the_first_are_remembered_and_no_more() {
        let mut kept = Kept::new();
        for _ in 0..2 {
            kept.clear();
            assert_eq!(kept.range(0), None);
            (0..KEPT_ARGS + 10).for_each(|i| kept.push(i * 10, i));
            let expected: Vec<_> = (0..KEPT_ARGS).map(|i| (i * 10, i)).collect();
            assert_eq!(ranges(&kept), expected);
        }
    }

    #[test]
    fn memory_is_taken_for_what_comes_only() {
        let mut kept = Kept::new();
        let memory = |kept: &Kept| match &kept.rest {
            Rest::Far(far) => far.capacity(),
            Rest::Inline(_) => unreachable!("no request is inline"),
        };
        (0..NEAR).for_each(|i| kept.push(i, 1));
        assert_eq!(memory(&kept), 0);
        kept.push(NEAR, 1);
        assert!(memory(&kept) <= 4);
        (0..100_000).for_each(|i| kept.push(NEAR + i, 1));
        assert!(memory(&kept) <= 2 * KEPT_ARGS);
    }
}

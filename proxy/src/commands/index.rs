//! Finds a command by its name, whatever its case.
//!
//! It is asked for every request of every client, so it compares words of eight bytes in place of
//! bytes, and touches one cache line in the usual case. Nothing is allocated in a look-up.

use super::spec::Spec;

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) spec: Spec,
    /// Under which its subcommands stand; [`TOP`] if it has none.
    pub(super) container: u16,
}

/// Under which the commands stand themselves.
pub(super) const TOP: u16 = 0;

/// The longest name that fits in a slot. Only names that somebody made up are longer, such as those
/// that are to be kept secret.
const FITS: usize = 24;

/// A hash table with open addressing, at most half full.
#[derive(Debug)]
pub(super) struct Index {
    slots: Box<[Slot]>,
    /// What does not fit in a slot.
    long: Vec<Long>,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Slot {
    key: Key,
    found: Option<Found>,
}

/// A name in lower case, and in `rest` its length and where it stands. The first word begins with the
/// first byte; the last one ends with the last byte, or is padded with zeros if it is the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    words: [u64; 3],
    rest: u64,
}

#[derive(Debug)]
struct Long {
    container: u16,
    name: Box<[u8]>,
    found: Found,
}

impl Index {
    /// An index that has room for so many names.
    pub(super) fn with_capacity(names: usize) -> Self {
        let empty = Slot {
            key: Key {
                words: [0; 3],
                rest: 0,
            },
            found: None,
        };
        let slots = (names * 2).next_power_of_two().max(2);
        Self {
            slots: vec![empty; slots].into(),
            long: Vec::new(),
        }
    }

    /// Puts a name in. One that is there already stays as it is.
    ///
    /// # Panics
    /// When there is no room.
    pub(super) fn insert(&mut self, container: u16, name: &[u8], found: Found) {
        if self.find(container, name).is_some() {
            return;
        }
        let Some(key) = Key::new(container, name) else {
            let name = name.into();
            self.long.push(Long {
                container,
                name,
                found,
            });
            return;
        };
        let free = self
            .at(key.hash())
            .find(|at| self.slots[*at].found.is_none());
        let at = free.expect("the index was made large enough");
        self.slots[at] = Slot {
            key,
            found: Some(found),
        };
    }

    #[inline]
    pub(super) fn find(&self, container: u16, name: &[u8]) -> Option<&Found> {
        // Most names are this short. One word is then all there is to hash and to compare.
        if name.len() > 8 {
            return self.find_longer(container, name);
        }
        let key = Key::of_words([word(name), 0, 0], container, name);
        let [first, ..] = key.words;
        self.probe(key.hash(), |it| it.words[0] == first && it.rest == key.rest)
    }

    #[inline(never)]
    fn find_longer(&self, container: u16, name: &[u8]) -> Option<&Found> {
        match Key::new(container, name) {
            Some(key) => self.probe(key.hash(), |it| it.is(&key)),
            None => self.find_long(container, name),
        }
    }

    #[cold]
    fn find_long(&self, container: u16, name: &[u8]) -> Option<&Found> {
        let is_it = |it: &&Long| it.container == container && it.name.eq_ignore_ascii_case(name);
        self.long.iter().find(is_it).map(|it| &it.found)
    }

    #[inline]
    fn probe(&self, hash: u64, is_it: impl Fn(&Key) -> bool) -> Option<&Found> {
        for at in self.at(hash) {
            let slot = &self.slots[at];
            match &slot.found {
                Some(found) if is_it(&slot.key) => return Some(found),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    /// The slots where a name may be, in the order in which they are taken.
    #[inline]
    fn at(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let slots = self.slots.len();
        (0..slots).map(move |step| (hash as usize).wrapping_add(step) & (slots - 1))
    }
}

impl Key {
    /// `None`: the name is too long.
    #[inline(always)]
    fn new(container: u16, name: &[u8]) -> Option<Self> {
        let last = || word(&name[name.len() - 8..]);
        let words = match name.len() {
            0..=8 => [word(name), 0, 0],
            9..=16 => [word(&name[..8]), last(), 0],
            17..=FITS => [word(&name[..8]), word(&name[8..16]), last()],
            _ => return None,
        };
        Some(Self::of_words(words, container, name))
    }

    #[inline]
    fn of_words(words: [u64; 3], container: u16, name: &[u8]) -> Self {
        let rest = (u64::from(container) << 8) | name.len() as u64;
        Self { words, rest }
    }

    /// As `==`, but by words, so that they need not be stored to be compared by vectors.
    #[inline]
    fn is(&self, other: &Self) -> bool {
        let [a, b, c] = [0, 1, 2].map(|i| self.words[i] ^ other.words[i]);
        a | b | c | (self.rest ^ other.rest) == 0
    }

    /// A multiplication to twice the width, whose halves are folded together (as wyhash does).
    #[inline]
    fn hash(self) -> u64 {
        let [a, b, c] = self.words;
        let long = b ^ c.rotate_left(32);
        let (one, other) = (
            a ^ 0x9e37_79b9_7f4a_7c15,
            long ^ self.rest ^ 0xd6e8_feb8_6659_fd93,
        );
        let product = u128::from(one) * u128::from(other);
        product as u64 ^ (product >> 64) as u64
    }
}

/// Up to eight bytes in lower case as a number, the first one lowest. Shorter ones are put together
/// of parts that overlap, which costs less than a loop.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    let n = bytes.len();
    lower(if let Some(all) = bytes.first_chunk() {
        u64::from_le_bytes(*all)
    } else if let (Some(low), Some(high)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (low, high) = (u32::from_le_bytes(*low), u32::from_le_bytes(*high));
        u64::from(low) | u64::from(high) << (8 * (n - 4))
    } else if n > 0 {
        let at = |i: usize| u64::from(bytes[i]) << (8 * i);
        at(0) | at(n / 2) | at(n - 1)
    } else {
        0
    })
}

/// Makes eight ASCII letters lower case at once. Other bytes stay as they are.
#[inline]
fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP_BITS: u64 = 0x80 * EACH;
    let low_bits = word & !TOP_BITS;
    // The top bit of a byte tells whether it is at least `A`, and whether it is beyond `Z`.
    let from_a = low_bits + (0x80 - u64::from(b'A')) * EACH;
    let beyond_z = low_bits + (0x7f - u64::from(b'Z')) * EACH;
    let capitals = from_a & !beyond_z & !word & TOP_BITS;
    word | (capitals >> 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commands::{Family, Reads, Treat};

    fn found(first_key: i16) -> Found {
        let spec = Spec {
            treat: Treat::Plain,
            reads: Reads::No,
            family: Family::Generic,
            arity: 1,
            first_key,
        };
        Found {
            spec,
            container: TOP,
        }
    }

    #[test]
    fn a_slot_is_a_cache_line() {
        assert_eq!(size_of::<Slot>(), 64);
    }

    #[test]
    fn zeros_and_containers_are_part_of_a_name() {
        let mut index = Index::with_capacity(3);
        index.insert(TOP, b"get", found(1));
        index.insert(7, b"get", found(2));
        assert_eq!(index.find(TOP, b"GET"), Some(&found(1)));
        assert_eq!(index.find(7, b"gEt"), Some(&found(2)));
        assert_eq!(index.find(8, b"get"), None);
        assert_eq!(index.find(TOP, b"get\0"), None);
        assert_eq!(index.find(TOP, b""), None);
        assert_eq!(index.find(TOP, b"#et"), None);
    }

    #[test]
    fn each_byte_is_itself_but_for_capitals() {
        for (a, b) in (0..=255).flat_map(|a| (0..=255).map(move |b| (a, b))) {
            // Between bytes that would carry, if any did.
            let [a, b]: [[u8; 4]; 2] = [a, b].map(|byte| [0xff, byte, b'Z', 0x80]);
            let same = Key::new(TOP, &a) == Key::new(TOP, &b);
            assert_eq!(same, a.eq_ignore_ascii_case(&b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_first_of_a_name_stays() {
        let mut index = Index::with_capacity(2);
        let long = [b'x'; 40];
        for n in [1, 2] {
            index.insert(TOP, b"get", found(n));
            index.insert(TOP, &long, found(n));
        }
        assert_eq!(index.find(TOP, b"get"), Some(&found(1)));
        assert_eq!(index.find(TOP, &[b'X'; 40]), Some(&found(1)));
        assert_eq!(index.find(7, &long), None);
    }

    proptest! {
        #[test]
        fn keys_are_equal_as_names_are_without_case(
            (name, other) in (0..=FITS).prop_flat_map(|n| {
                let bytes = || prop::collection::vec(any::<u8>(), n);
                (bytes(), bytes())
            }),
            at in any::<prop::sample::Index>(),
        ) {
            let key = |name: &[u8]| Key::new(TOP, name).expect("it is short enough");
            prop_assert_eq!(key(&name), key(&name.to_ascii_lowercase()));
            prop_assert_eq!(key(&name), key(&name.to_ascii_uppercase()));
            if !name.is_empty() {
                let mut other_byte = name.clone();
                let at = at.index(name.len());
                other_byte[at] = other[at];
                let same = name.eq_ignore_ascii_case(&other_byte);
                prop_assert_eq!(key(&name) == key(&other_byte), same);
                prop_assert_eq!(key(&name).is(&key(&other_byte)), same);
                prop_assert_ne!(key(&name), key(&name[1..]));
            }
        }

        #[test]
        fn finds_what_was_put_in_and_nothing_else(
            names in prop::collection::btree_set("[a-c|.]{0,3}|[a-z.]{7,9}|[ab]{22,27}", 0..200),
            others in prop::collection::vec("[a-c|.]{0,3}|[ab]{22,27}", 0..50),
        ) {
            let mut index = Index::with_capacity(names.len());
            for (n, name) in (0i16..).zip(&names) {
                index.insert(TOP, name.as_bytes(), found(n));
            }
            for (n, name) in (0i16..).zip(&names) {
                let name = name.to_ascii_uppercase();
                prop_assert_eq!(index.find(TOP, name.as_bytes()), Some(&found(n)));
            }
            for other in others {
                let is_there = index.find(TOP, other.as_bytes()).is_some();
                prop_assert_eq!(is_there, names.contains(&other));
            }
        }
    }
}

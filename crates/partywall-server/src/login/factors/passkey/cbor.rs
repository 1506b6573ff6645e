//! The part of CBOR (RFC 8949) that authenticators write (CTAP 2.1 8): integers, byte and text
//! strings, arrays and maps, of definite length, in the shortest form, and no deeper than they go.

/// A value, borrowed from its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cbor<'b> {
    Integer(i64),
    Bytes(&'b [u8]),
    Text(&'b str),
    Array(Vec<Cbor<'b>>),
    Map(Vec<(Cbor<'b>, Cbor<'b>)>),
    /// `false`, `true`.
    Bool(bool),
}

impl<'b> Cbor<'b> {
    /// Reads one value from the front; returns it and what follows.
    pub(super) fn read(bytes: &'b [u8]) -> Option<(Self, &'b [u8])> {
        Self::read_at_depth(bytes, MAX_DEPTH)
    }

    /// The value under an integer key of a map.
    pub(super) fn at(&self, key: i64) -> Option<&Self> {
        self.entry(&Self::Integer(key))
    }

    /// The value under a text key of a map.
    pub(super) fn named(&self, key: &'static str) -> Option<&Self> {
        self.entry(&Self::Text(key))
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> Option<&'b [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn entry(&self, key: &Cbor<'_>) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, value)| value),
            _ => None,
        }
    }

    fn read_at_depth(bytes: &'b [u8], depth: u8) -> Option<(Self, &'b [u8])> {
        let depth = depth.checked_sub(1)?;
        let (major, argument, rest) = head(bytes)?;
        let count = usize::try_from(argument).ok()?;
        match major {
            0 => Some((Self::Integer(i64::try_from(argument).ok()?), rest)),
            1 => Some((Self::Integer(-1 - i64::try_from(argument).ok()?), rest)),
            2 => rest.split_at_checked(count).map(|(bytes, rest)| (Self::Bytes(bytes), rest)),
            3 => {
                let (text, rest) = rest.split_at_checked(count)?;
                Some((Self::Text(std::str::from_utf8(text).ok()?), rest))
            }
            4 => {
                let mut items = Vec::new();
                let mut rest = rest;
                for _ in 0..within_limit(count)? {
                    let (item, after) = Self::read_at_depth(rest, depth)?;
                    items.push(item);
                    rest = after;
                }
                Some((Self::Array(items), rest))
            }
            5 => {
                let mut entries: Vec<(Cbor<'b>, Cbor<'b>)> = Vec::new();
                let mut rest = rest;
                for _ in 0..within_limit(count)? {
                    let (key, after) = Self::read_at_depth(rest, depth)?;
                    let (value, after) = Self::read_at_depth(after, depth)?;
                    // Twice the same key is two readings of one map.
                    if entries.iter().any(|(known, _)| *known == key) {
                        return None;
                    }
                    entries.push((key, value));
                    rest = after;
                }
                Some((Self::Map(entries), rest))
            }
            7 if argument == 20 => Some((Self::Bool(false), rest)),
            7 if argument == 21 => Some((Self::Bool(true), rest)),
            _ => None,
        }
    }
}

/// Major type, argument, and what follows (RFC 8949 3). Longer than needed is refused.
fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (major, short) = (first >> 5, first & 0x1f);
    let (argument, least, rest) = match short {
        0..=23 => (u64::from(short), 0, rest),
        24 => {
            let (byte, rest) = rest.split_first()?;
            (u64::from(*byte), 24, rest)
        }
        25 => {
            let (two, rest) = rest.split_first_chunk::<2>()?;
            (u64::from(u16::from_be_bytes(*two)), 0x100, rest)
        }
        26 => {
            let (four, rest) = rest.split_first_chunk::<4>()?;
            (u64::from(u32::from_be_bytes(*four)), 0x1_0000, rest)
        }
        27 => {
            let (eight, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*eight), 0x1_0000_0000, rest)
        }
        _ => return None,
    };
    (argument >= least).then_some((major, argument, rest))
}

fn within_limit(count: usize) -> Option<usize> {
    (count <= MAX_ITEMS).then_some(count)
}

/// CTAP 2.1 8: four levels; one more for the attestation object around them.
const MAX_DEPTH: u8 = 5;
const MAX_ITEMS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn j14_cbor_has_one_spelling() {
        let read = |bytes: &'static [u8]| Cbor::read(bytes);
        assert_eq!(read(&[0x18, 0x18]), Some((Cbor::Integer(24), &[][..])));
        assert_eq!(read(&[0x26]), Some((Cbor::Integer(-7), &[][..])));
        assert_eq!(read(&[0x42, 1, 2, 3]), Some((Cbor::Bytes(&[1, 2]), &[3][..])));
        let map = read(&[0xa2, 0x01, 0x02, 0x63, b'f', b'm', b't', 0xf5]).unwrap().0;
        assert_eq!(map.at(1).unwrap().integer(), Some(2));
        assert_eq!(map.named("fmt"), Some(&Cbor::Bool(true)));
        for refused in [
            &[0x18, 0x17][..],                           // 23, longer than needed
            &[0x5f, 0xff],                               // indefinite
            &[0xa2, 0x01, 0x02, 0x01, 3],                // the same key twice
            &[0x42, 1],                                  // cut
            &[0xf9, 0, 0],                               // a float
            &[0xc0, 0x00],                               // a tag
            &[0x61, 0xff],                               // not UTF-8
            &[0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x00], // too deep
            &[0x9a, 0xff, 0xff, 0xff, 0xff],             // four billion items
        ] {
            assert_eq!(read(refused), None, "{refused:x?}");
        }
    }

    proptest! {
        #[test]
        fn j14_no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Cbor::read(&bytes);
        }
    }
}

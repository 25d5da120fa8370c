//! The cluster slot of a key: CRC16 (XMODEM: polynomial 0x1021, start value 0) of its hash tag, modulo 16384, as the Redis
//! Cluster specification defines it.
//!
//! A grant in a cluster asks for it, so up to 16 bytes are looked up independently of one another, two instructions a byte.

/// How many slots a cluster has.
pub const SLOTS: u16 = 16384;

/// How many bytes are looked up at a time.
const WIDTH: usize = 16;

/// `TABLES[n][byte]`: the remainder of that byte with `n` bytes behind it.
static TABLES: [[u16; 256]; WIDTH] = tables();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse an index out of bounds")]
const fn tables() -> [[u16; 256]; WIDTH] {
    const POLYNOMIAL: u16 = 0x1021;
    let mut tables = [[0; 256]; WIDTH];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            remainder = if remainder & 0x8000 != 0 { (remainder << 1) ^ POLYNOMIAL } else { remainder << 1 };
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut behind = 1;
    while behind < WIDTH {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[behind - 1][byte];
            tables[behind][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
}

/// The slot of this key, 0 to 16383.
pub fn key_slot(name: &[u8]) -> u16 {
    crc16(hash_tag(name)) % SLOTS
}

/// What is hashed of a key: what stands between its first `{` and the next `}`, unless that is nothing; else all of it.
fn hash_tag(name: &[u8]) -> &[u8] {
    if !has_brace(name) {
        return name;
    }
    let tag = || {
        let (_, behind) = name.split_at_checked(name.iter().position(|byte| *byte == b'{')? + 1)?;
        let end = behind.iter().position(|byte| *byte == b'}').filter(|end| *end > 0)?;
        behind.get(..end)
    };
    tag().unwrap_or(name)
}

/// Whether there is a `{`. All bytes of a chunk are looked at, so that the compiler does it with one comparison.
fn has_brace(name: &[u8]) -> bool {
    let (wide, rest) = name.as_chunks::<WIDTH>();
    let is_in = |chunk: &[u8; WIDTH]| chunk.iter().fold(false, |found, byte| found | (*byte == b'{'));
    wide.iter().any(is_in) || rest.contains(&b'{')
}

fn crc16(bytes: &[u8]) -> u16 {
    let (wide, rest) = bytes.as_chunks::<WIDTH>();
    let crc = wide.iter().fold(0, |crc: u16, chunk| {
        let [high, low] = crc.to_be_bytes();
        let mut chunk = *chunk;
        let [first, second, ..] = &mut chunk;
        (*first, *second) = (*first ^ high, *second ^ low);
        chunk.iter().zip(TABLES.iter().rev()).fold(0, |crc, (byte, table)| crc ^ remainder(table, *byte))
    });
    let [first, ..] = &TABLES;
    rest.iter().fold(crc, |crc, byte| {
        let [high, low] = crc.to_be_bytes();
        (u16::from(low) << 8) ^ remainder(first, high ^ byte)
    })
}

#[allow(clippy::indexing_slicing, reason = "a byte is below 256")]
fn remainder(table: &[u16; 256], byte: u8) -> u16 {
    table[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, as the polynomial is defined.
    fn crc16_by_bits(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(
                crc ^ (u16::from(*byte) << 8),
                |crc, _| {
                    if crc & 0x8000 != 0 {
                        (crc << 1) ^ 0x1021
                    } else {
                        crc << 1
                    }
                },
            )
        })
    }

    /// The check value of CRC-16/XMODEM, and slots that CLUSTER KEYSLOT tells.
    #[test]
    fn known_slots() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (name, slot) in [("", 0), ("foo", 12182), ("{foo}bar", 12182), ("a{foo}{x}", 12182), ("somekey", 11058)] {
            assert_eq!(key_slot(name.as_bytes()), slot, "{name}");
        }
    }

    #[test]
    fn only_a_tag_that_is_closed_and_not_empty_counts() {
        for whole in ["{}foo", "{foo", "foo}{", "}foo{", "{}{foo}"] {
            assert_eq!(hash_tag(whole.as_bytes()), whole.as_bytes());
        }
        assert_eq!(hash_tag(b"a{b{c}d}"), b"b{c");
    }

    proptest! {
        #[test]
        fn lookups_agree_with_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(crc16(&bytes), crc16_by_bits(&bytes));
        }
    }
}

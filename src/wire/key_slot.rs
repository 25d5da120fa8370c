//! The cluster slot of a key, as the Redis Cluster specification defines it: the CRC16 of the key's hash tag, modulo
//! 16384. The CRC16 is that of XMODEM (polynomial 0x1021, start value 0).
//!
//! Every grant in a cluster computes it, so it must be fast. Chunks of 16 bytes are looked up in 16 tables, and no
//! look-up waits for another one. That takes about two instructions a byte.

/// The number of slots of a cluster.
pub const SLOTS: u16 = 16384;

/// How many bytes one chunk has.
const WIDTH: usize = 16;

/// `TABLES[n][byte]` is the CRC of that byte followed by `n` zero bytes.
static TABLES: [[u16; 256]; WIDTH] = tables();

/// Computes [`TABLES`].
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

/// The slot of the key with this name, 0 to 16383.
pub fn key_slot(name: &[u8]) -> u16 {
    crc16(hash_tag(name)) % SLOTS
}

/// The part of a key's name that is hashed: the bytes between the first `{` and the next `}`. If there are none, it is
/// the whole name.
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

/// Whether the name contains a `{`. The loop over a chunk does not stop early, so the compiler turns it into one
/// comparison of 16 bytes.
fn has_brace(name: &[u8]) -> bool {
    let (wide, rest) = name.as_chunks::<WIDTH>();
    let is_in = |chunk: &[u8; WIDTH]| chunk.iter().fold(false, |found, byte| found | (*byte == b'{'));
    wide.iter().any(is_in) || rest.contains(&b'{')
}

/// The CRC16 of these bytes.
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

/// The entry of a table for this byte.
#[allow(clippy::indexing_slicing, reason = "a byte is below 256")]
fn remainder(table: &[u16; 256], byte: u8) -> u16 {
    table[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The CRC16 computed bit by bit, as it is defined.
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

    /// The published check value of CRC-16/XMODEM, and slots that CLUSTER KEYSLOT returned.
    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (name, slot) in [("", 0), ("foo", 12182), ("{foo}bar", 12182), ("a{foo}{x}", 12182), ("somekey", 11058)] {
            assert_eq!(key_slot(name.as_bytes()), slot, "{name}");
        }
    }

    #[test]
    fn only_a_hash_tag_that_is_closed_and_not_empty_is_hashed_alone() {
        for whole in ["{}foo", "{foo", "foo}{", "}foo{", "{}{foo}"] {
            assert_eq!(hash_tag(whole.as_bytes()), whole.as_bytes());
        }
        assert_eq!(hash_tag(b"a{b{c}d}"), b"b{c");
    }

    proptest! {
        #[test]
        fn table_look_ups_agree_with_the_bitwise_definition(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(crc16(&bytes), crc16_by_bits(&bytes));
        }
    }
}

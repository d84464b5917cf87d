//! Varint: whole numbers as postcard 1.1 writes them, seven bits to a byte, lowest first.
//!
//! A varint of a type with `bits` bits has at most `ceil(bits / 7)` bytes, and its last possible byte
//! holds only the bits that are left. Within that, needless zero bytes are accepted, as postcard does.

/// Why no varint could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadVarint {
    /// The bytes ended.
    Truncated,
    /// It does not fit into the type, or does not end in time.
    TooLong,
}

/// Reads one unsigned number of `bits` bits from the front of `bytes`: the number and its length.
pub(super) fn read(bytes: &[u8], bits: u32) -> Result<(u128, usize), BadVarint> {
    let length_max = bits.div_ceil(7) as usize;
    let last_byte_max = (1_u8 << (bits % 7)) - 1;
    let mut number = 0_u128;
    for index in 0..length_max {
        let byte = *bytes.get(index).ok_or(BadVarint::Truncated)?;
        number |= u128::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if index + 1 == length_max && byte > last_byte_max {
                return Err(BadVarint::TooLong);
            }
            return Ok((number, index + 1));
        }
    }
    Err(BadVarint::TooLong)
}

/// Appends `number` in its shortest form.
pub(super) fn write(out: &mut Vec<u8>, mut number: u128) {
    while number > 0x7f {
        // The mask leaves seven bits, so nothing is cut off.
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Makes small numbers of both signs small: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(super) fn zigzag(number: i128) -> u128 {
    ((number << 1) ^ (number >> 127)).cast_unsigned()
}

/// Undoes [`zigzag`].
pub(super) fn unzigzag(number: u128) -> i128 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_needlessly_long_varint_is_read_and_an_overflowing_one_is_not() {
        assert_eq!(read(&[0x80, 0x80, 0x00], 16), Ok((0, 3)));
        assert_eq!(read(&[0xff, 0xff, 0x03], 16), Ok((0xffff, 3)));
        assert_eq!(read(&[0xff, 0xff, 0x04], 16), Err(BadVarint::TooLong));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x00], 16), Err(BadVarint::TooLong));
        assert_eq!(read(&[0x80], 16), Err(BadVarint::Truncated));
    }

    proptest! {
        #[test]
        fn written_numbers_are_postcards(number: u128, shift in 0_u32..128, signed: i64) {
            let number = number >> shift;
            let mut ours = Vec::new();
            write(&mut ours, number);
            prop_assert_eq!(&ours, &postcard::to_stdvec(&number).unwrap());
            prop_assert_eq!(read(&ours, 128), Ok((number, ours.len())));

            let mut ours = Vec::new();
            write(&mut ours, zigzag(signed.into()));
            prop_assert_eq!(&ours, &postcard::to_stdvec(&signed).unwrap());
            prop_assert_eq!(unzigzag(zigzag(signed.into())), i128::from(signed));
        }

        #[test]
        fn numbers_are_read_as_postcard_reads_them(bytes in proptest::collection::vec(prop_oneof![Just(0x80_u8), Just(0xff), any::<u8>()], 0..21)) {
            macro_rules! same {
                ($($type:ty),*) => { $({
                    let theirs = postcard::take_from_bytes::<$type>(&bytes).ok()
                        .map(|(number, rest)| (u128::from(number), bytes.len() - rest.len()));
                    prop_assert_eq!(read(&bytes, <$type>::BITS).ok(), theirs);
                })* };
            }
            same!(u16, u32, u64, u128);
        }
    }
}

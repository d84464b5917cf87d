//! Is a file a whole component? Pure, and much cheaper than compiling.
//!
//! A component is a preamble and then sections, each with its length before it. A file of which the
//! end is missing stops inside a section, so a writer that has not finished is recognised without
//! guessing from the clock alone. Nothing inside a section is read: that is the compiler's part.

/// What the bytes of a file look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Preamble and whole sections up to the end.
    Whole,
    /// A beginning of a component, or nothing at all: the rest may be on its way.
    Cut,
    /// Something else, which no further byte can make a component.
    Foreign,
}

/// `\0asm`, version 13, layer 1.
const PREAMBLE: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

/// Says what `bytes` are. Time: proportional to the number of sections.
pub(crate) fn shape(bytes: &[u8]) -> Shape {
    let Some(mut rest) = bytes.strip_prefix(&PREAMBLE) else {
        return match PREAMBLE.starts_with(bytes) {
            true => Shape::Cut,
            false => Shape::Foreign,
        };
    };
    if rest.is_empty() {
        // A legal component, but an empty one: far more likely the first write of a longer file.
        return Shape::Cut;
    }
    while let Some((_section, after)) = rest.split_first() {
        let Some((length, body)) = leb128_u32(after) else {
            // Five bytes always hold a length, so fewer means that the end is missing.
            return match after.len() < 5 {
                true => Shape::Cut,
                false => Shape::Foreign,
            };
        };
        match body.split_at_checked(length) {
            Some((_, next)) => rest = next,
            None => return Shape::Cut,
        }
    }
    Shape::Whole
}

/// Reads an unsigned LEB128 number of at most 32 bits; gives it and what follows.
fn leb128_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value: u64 = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((usize::try_from(value).ok()?, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A whole component that holds nothing but `text`, in a custom section.
    pub(crate) fn component(text: &str) -> Vec<u8> {
        let mut section = vec![1, b'x'];
        section.extend(text.as_bytes());
        let mut bytes = PREAMBLE.to_vec();
        bytes.push(0);
        let mut length = section.len();
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(section);
        bytes
    }

    #[test]
    fn what_is_no_component_is_told_from_what_is_cut() {
        assert_eq!(shape(b""), Shape::Cut);
        assert_eq!(shape(b"\0as"), Shape::Cut);
        assert_eq!(shape(&PREAMBLE), Shape::Cut);
        assert_eq!(shape(b"\x7fELF\x02\x01\x01"), Shape::Foreign);
        assert_eq!(shape(b"\0asm\x01\0\0\0"), Shape::Foreign, "a core module");
        assert_eq!(shape(&component("echo 1")), Shape::Whole);
        let endless = [&PREAMBLE[..], &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0]].concat();
        assert_eq!(shape(&endless), Shape::Foreign);
    }

    proptest! {
        #[test]
        fn a_component_without_its_end_is_cut(text in ".{0,300}", share in 0.0f64..1.0) {
            let whole = component(&text);
            let cut = (whole.len() as f64 * share) as usize;
            prop_assert_eq!(shape(&whole), Shape::Whole);
            prop_assert_eq!(shape(&whole[..cut]), Shape::Cut);
        }

        #[test]
        fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (shape(&tail), shape(&[&PREAMBLE[..], &tail].concat()));
        }
    }
}

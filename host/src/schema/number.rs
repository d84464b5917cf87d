//! Number: whole and floating numbers between JSON and the widths of a type.

use serde_json::{Number, Value};

use crate::component::metadata::TypeNode;

/// A kind of whole number.
#[derive(Clone, Copy)]
pub(super) struct Integer {
    /// Its width: 8, 16, 32, 64 or 128.
    pub(super) bits: u32,
    pub(super) signed: bool,
}

/// A whole number of either sign, as wide as it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Signed(i128),
    Unsigned(u128),
}

impl Integer {
    /// The integer type of `node`, if it is one.
    pub(super) fn of(node: &TypeNode) -> Option<Self> {
        let (bits, signed) = match node {
            TypeNode::Signed8 => (8, true),
            TypeNode::Unsigned8 => (8, false),
            TypeNode::Signed(bits) => ((*bits).into(), true),
            TypeNode::Unsigned(bits) => ((*bits).into(), false),
            _ => return None,
        };
        Some(Self { bits, signed })
    }

    /// `u16 (0 to 65535)`, for errors. The bounds of 128 bits would only be noise.
    pub(super) fn expected(self) -> String {
        let Self { bits, signed } = self;
        match (signed, bits) {
            (false, 128) => "u128".to_owned(),
            (true, 128) => "i128".to_owned(),
            (false, _) => format!("u{bits} (0 to {})", self.unsigned_max()),
            (true, _) => format!(
                "i{bits} ({} to {})",
                -self.signed_max() - 1,
                self.signed_max()
            ),
        }
    }

    /// Reads `text` as decimal digits, if it fits.
    pub(super) fn parse(self, text: &str) -> Option<Whole> {
        if self.signed {
            let number = text.parse::<i128>().ok()?;
            let fits = (-self.signed_max() - 1..=self.signed_max()).contains(&number);
            fits.then_some(Whole::Signed(number))
        } else {
            let number = text.parse::<u128>().ok()?;
            (number <= self.unsigned_max()).then_some(Whole::Unsigned(number))
        }
    }

    /// Reads a JSON number, or a string of digits for 128 bits, which JSON numbers do not carry.
    pub(super) fn read_json(self, value: &Value) -> Option<Whole> {
        match value {
            // A number with a fraction or an exponent does not parse as digits, and so is refused.
            Value::Number(number) => self.parse(&number.to_string()),
            Value::String(text) if self.bits == 128 => self.parse(text),
            _ => None,
        }
    }

    fn unsigned_max(self) -> u128 {
        u128::MAX >> 128_u32.saturating_sub(self.bits)
    }

    fn signed_max(self) -> i128 {
        i128::MAX >> 128_u32.saturating_sub(self.bits)
    }
}

impl Whole {
    /// A JSON number if it fits into 64 bits, else a string of its digits.
    pub(super) fn to_json(self) -> Value {
        let number = match self {
            Self::Signed(number) => i64::try_from(number).ok().map(Number::from),
            Self::Unsigned(number) => u64::try_from(number).ok().map(Number::from),
        };
        match (number, self) {
            (Some(number), _) => Value::Number(number),
            // Between i64 and u64: still a JSON number.
            (None, Self::Signed(number)) => match u64::try_from(number) {
                Ok(number) => Value::Number(number.into()),
                Err(_) => Value::String(number.to_string()),
            },
            (None, Self::Unsigned(number)) => Value::String(number.to_string()),
        }
    }
}

/// A float as JSON: a number, or one of the strings `NaN`, `inf`, `-inf`.
pub(super) fn float_to_json(number: f64) -> Value {
    Number::from_f64(number).map_or_else(|| Value::String(number.to_string()), Value::Number)
}

/// Reads what [`float_to_json`] writes, and whole numbers.
pub(super) fn float_from_json(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "inf" => Some(f64::INFINITY),
            "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// The same for the narrow type; `None` also for a finite number that it cannot hold.
pub(super) fn narrow(number: f64) -> Option<f32> {
    let narrow = number as f32;
    (narrow.is_finite() || !number.is_finite()).then_some(narrow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_outside_of_its_type_is_refused() {
        let integer = |bits, signed| Integer { bits, signed };
        assert_eq!(integer(8, false).read_json(&json!(256)), None);
        assert_eq!(
            integer(8, true).read_json(&json!(-128)),
            Some(Whole::Signed(-128))
        );
        assert_eq!(integer(8, true).read_json(&json!(-129)), None);
        assert_eq!(integer(64, false).read_json(&json!(-1)), None);
        assert_eq!(integer(64, false).read_json(&json!(1.0)), None);
        assert_eq!(integer(64, false).read_json(&json!("1")), None);
        assert_eq!(
            integer(128, false).read_json(&json!("1")),
            Some(Whole::Unsigned(1))
        );
        assert_eq!(integer(16, true).expected(), "i16 (-32768 to 32767)");
    }

    #[test]
    fn sixty_four_bits_are_exact_and_wider_ones_are_strings() {
        assert_eq!(Whole::Unsigned(u64::MAX.into()).to_json(), json!(u64::MAX));
        assert_eq!(Whole::Signed(u64::MAX.into()).to_json(), json!(u64::MAX));
        assert_eq!(Whole::Signed(i64::MIN.into()).to_json(), json!(i64::MIN));
        assert_eq!(
            Whole::Unsigned(1 << 64).to_json(),
            json!("18446744073709551616")
        );
        let wide = Integer {
            bits: 64,
            signed: false,
        };
        assert_eq!(
            wide.read_json(&json!(u64::MAX)),
            Some(Whole::Unsigned(u64::MAX.into()))
        );
    }

    #[test]
    fn a_finite_number_does_not_become_infinite() {
        assert_eq!(narrow(1e300), None);
        assert_eq!(narrow(f64::INFINITY), Some(f32::INFINITY));
        assert_eq!(float_to_json(f64::NEG_INFINITY), json!("-inf"));
        assert_eq!(float_to_json(f64::NAN), json!("NaN"));
    }
}

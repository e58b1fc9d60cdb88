//! Scalars from JSON: numbers quoted or not, text, base64, the names of enum values, and the keys of maps.

use std::borrow::Cow;

use super::error::{JsonError, JsonErrorKind as Kind};
use super::number::{self, NotInteger};
use super::read::{NULL_VALUE, Reader, Result};
use crate::message::Given;
use crate::schema::table::{FieldEntry, Kind as FieldKind, Op};

impl<'s> Reader<'s, '_> {
    /// A string, or the error that says `expected`.
    #[inline]
    pub fn text(&mut self, expected: &str) -> Result<Cow<'s, str>> {
        if self.lexer.peek() != b'"' {
            return Err(self.lexer.wrong_type(expected));
        }
        self.lexer.string()
    }

    /// An integer between `least` and `most`, quoted or not, in two's complement.
    #[inline]
    pub fn integer(&mut self, least: i64, most: u64, name: &str) -> Result<u64> {
        let quoted;
        let start = match self.lexer.peek() {
            b'-' | b'0'..=b'9' => self.lexer.pos,
            b'"' => self.lexer.pos,
            _ => return Err(self.lexer.wrong_type(name)),
        };
        let token = match self.lexer.peek() {
            b'"' => {
                quoted = self.lexer.string()?;
                if !number::is_number(&quoted) {
                    let reason = format!("expected {name}, got {quoted:?}");
                    return Err(JsonError::new(Kind::InvalidValue, start, reason));
                }
                &*quoted
            }
            _ => self.lexer.number()?,
        };
        let bad = |reason: &str| {
            JsonError::new(Kind::OutOfRange, start, format!("{token} {reason} {name}"))
        };
        match number::integer(token) {
            Ok(value) => {
                number::within(value, least, most).ok_or_else(|| bad("is out of range for"))
            }
            Err(NotInteger::Range) => Err(bad("is out of range for")),
            Err(NotInteger::Fraction) => Err(bad("is a fraction, not")),
        }
    }

    /// A float, quoted or not.
    #[inline]
    pub fn float<F: Float>(&mut self, name: &str) -> Result<F> {
        let quoted;
        let first = self.lexer.peek();
        let start = self.lexer.pos;
        let token = match first {
            b'"' => {
                quoted = self.lexer.string()?;
                match &*quoted {
                    "NaN" => return Ok(F::NAN),
                    "Infinity" => return Ok(F::INFINITY),
                    "-Infinity" => return Ok(F::MINUS_INFINITY),
                    text if number::is_number(text) => text,
                    text => {
                        let reason = format!("expected {name}, got {text:?}");
                        return Err(JsonError::new(Kind::InvalidValue, start, reason));
                    }
                }
            }
            b'-' | b'0'..=b'9' => self.lexer.number()?,
            _ => return Err(self.lexer.wrong_type(name)),
        };
        F::parse(token).ok_or_else(|| {
            JsonError::new(Kind::OutOfRange, start, format!("{token} is out of range for {name}"))
        })
    }

    /// An enum value by name or number; `None` if it is to be passed over.
    pub fn enum_number(&mut self, entry: &FieldEntry) -> Result<Option<i32>> {
        let Some(values) = self.tables.enums.get(entry.sub as usize) else {
            return Err(self.error(Kind::WrongType, "an enum that is not there"));
        };
        let first = self.lexer.peek();
        let start = self.lexer.pos;
        let ignore = self.options.ignore_unknown_fields;
        match first {
            b'"' => {
                let name = self.lexer.string()?;
                let value = values.by_name.get(&*name).and_then(|&i| values.values.get(i as usize));
                match value {
                    Some(&(_, number, _)) => Ok(Some(number)),
                    None if ignore => Ok(None),
                    None => {
                        let reason = format!("{} has no value {name:?}", values.full_name);
                        Err(JsonError::new(Kind::InvalidValue, start, reason))
                    }
                }
            }
            b'n' if &*values.full_name == NULL_VALUE => {
                self.lexer.word("null")?;
                Ok(Some(0))
            }
            b'-' | b'0'..=b'9' => {
                let number =
                    self.integer(i32::MIN.into(), i32::MAX as u64, "an enum number")? as i32;
                if entry.op != Op::ClosedEnum || values.index_of(number).is_some() {
                    return Ok(Some(number));
                }
                if ignore {
                    return Ok(None);
                }
                let reason = format!("{} has no value {number}", values.full_name);
                Err(JsonError::new(Kind::InvalidValue, start, reason))
            }
            _ => Err(self.lexer.wrong_type("the name of an enum value, or its number")),
        }
    }
}

/// A map key from the string that JSON makes of it, or what was expected instead.
pub(super) fn map_key(
    kind: FieldKind,
    key: &str,
) -> std::result::Result<Given<'_>, (Kind, &'static str)> {
    let (least, most, name) = match kind {
        FieldKind::String => return Ok(Given::Text(key.as_bytes())),
        FieldKind::Bool => {
            return match key {
                "true" => Ok(Given::Bits(1)),
                "false" => Ok(Given::Bits(0)),
                _ => Err((Kind::InvalidValue, "\"true\" or \"false\"")),
            };
        }
        FieldKind::Int32 | FieldKind::SInt32 | FieldKind::SFixed32 => {
            (i32::MIN.into(), i32::MAX as u64, "an int32 in quotes")
        }
        FieldKind::UInt32 | FieldKind::Fixed32 => (0, u32::MAX.into(), "a uint32 in quotes"),
        FieldKind::UInt64 | FieldKind::Fixed64 => (0, u64::MAX, "a uint64 in quotes"),
        _ => (i64::MIN, i64::MAX as u64, "an int64 in quotes"),
    };
    if !number::is_number(key) {
        return Err((Kind::InvalidValue, name));
    }
    let value = number::integer(key).ok().and_then(|v| number::within(v, least, most));
    // a slot of 32 bits holds no more of a negative number
    let narrow = |v: u64| if most <= u32::MAX.into() { v & u64::from(u32::MAX) } else { v };
    value.map(|v| Given::Bits(narrow(v))).ok_or((Kind::OutOfRange, name))
}

/// Both alphabets, with or without padding.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::alphabet::{STANDARD, URL_SAFE};
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    // whatever the last character holds beyond the last byte is ignored, as in every other library
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    static PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
    static URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, CONFIG);
    let url = text.bytes().any(|b| matches!(b, b'-' | b'_'));
    if url { &URL } else { &PLAIN }.decode(text).ok()
}

/// `f32` and `f64`.
pub(super) trait Float: Sized {
    const NAN: Self;
    const INFINITY: Self;
    const MINUS_INFINITY: Self;
    /// The nearest value; `None` if that is infinite.
    fn parse(token: &str) -> Option<Self>;
}

macro_rules! float {
    ($type:ident) => {
        impl Float for $type {
            const NAN: $type = $type::NAN;
            const INFINITY: $type = $type::INFINITY;
            const MINUS_INFINITY: $type = $type::NEG_INFINITY;
            fn parse(token: &str) -> Option<$type> {
                token.parse().ok().filter(|v: &$type| v.is_finite())
            }
        }
    };
}
float!(f32);
float!(f64);

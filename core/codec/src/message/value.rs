//! One value of any type, borrowed.

use super::raw::{Place, RawMessage};
use super::view::{ListRef, MapRef, MessageRef};
use crate::error::ValueError;
use crate::schema::table::{FieldDefault, FieldEntry, FieldInfo, Kind, NONE, Shape, Slot, Tables};

/// What a field holds. Integers and floats convert where no information is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // named after their types
pub enum Value<'a> {
    Bool(bool),
    I32(i32),
    I64(i64),
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
    Str(&'a str),
    /// Also a string field of proto2 whose content is not UTF-8.
    Bytes(&'a [u8]),
    /// The number. Where a value is written, a name (`Str`) does as well.
    Enum(i32),
    Message(MessageRef<'a>),
    List(ListRef<'a>),
    Map(MapRef<'a>),
}

macro_rules! from {
    ($($type:ty => |$v:ident| $value:expr),* $(,)?) => {$(
        impl<'a> From<$type> for Value<'a> {
            #[inline]
            fn from($v: $type) -> Value<'a> { $value }
        }
    )*};
}
from! {
    bool => |v| Value::Bool(v),
    i32 => |v| Value::I32(v),
    i64 => |v| Value::I64(v),
    u32 => |v| Value::U32(v),
    u64 => |v| Value::U64(v),
    f32 => |v| Value::F32(v),
    f64 => |v| Value::F64(v),
    &'a str => |v| Value::Str(v),
    &'a String => |v| Value::Str(v),
    &'a [u8] => |v| Value::Bytes(v),
    &'a Vec<u8> => |v| Value::Bytes(v),
    &'a bytes::Bytes => |v| Value::Bytes(v),
    MessageRef<'a> => |v| Value::Message(v),
    &'a super::Message => |v| Value::Message(v.as_ref()),
    ListRef<'a> => |v| Value::List(v),
    MapRef<'a> => |v| Value::Map(v),
}
impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(v: &'a [u8; N]) -> Value<'a> {
        Value::Bytes(v)
    }
}

/// A value in the form a slot wants it.
#[derive(Clone, Copy)]
pub(crate) enum Given<'a> {
    Bits(u64),
    Text(&'a [u8]),
    Message(MessageRef<'a>),
}

impl<'a> Value<'a> {
    pub(crate) fn default_of(
        tables: &'a Tables,
        entry: &FieldEntry,
        info: &'a FieldInfo,
    ) -> Value<'a> {
        match (&info.default, entry.slot) {
            (_, Slot::Message) => Value::Message(MessageRef::new(RawMessage::default_of(
                &tables.messages[entry.sub as usize],
            ))),
            (_, _) if !matches!(entry.shape, Shape::Single | Shape::Oneof) => zero(entry),
            (FieldDefault::Bits(bits), _) => scalar(entry.kind, *bits),
            (FieldDefault::Text(text), _) => texts(entry.kind, text),
            (FieldDefault::Zero, _) => zero(entry),
        }
    }

    /// The single value at `place`, which holds one of the field's kind.
    #[inline]
    pub(crate) fn read(place: Place, entry: &FieldEntry, tables: &'a Tables) -> Value<'a> {
        match entry.slot {
            Slot::Text => texts(entry.kind, place.text()),
            Slot::Message => Value::Message(MessageRef::new(match place.message() {
                Some(m) => m,
                None => RawMessage::default_of(&tables.messages[entry.sub as usize]),
            })),
            slot => scalar(entry.kind, place.bits(slot)),
        }
    }

    /// Whether this is what an unset field without presence reads as: false, 0 (not -0.0), empty.
    pub fn is_zero(&self) -> bool {
        match *self {
            Value::Bool(v) => !v,
            Value::I32(v) | Value::Enum(v) => v == 0,
            Value::I64(v) => v == 0,
            Value::U32(v) => v == 0,
            Value::U64(v) => v == 0,
            Value::F32(v) => v.to_bits() == 0,
            Value::F64(v) => v.to_bits() == 0,
            Value::Str(v) => v.is_empty(),
            Value::Bytes(v) => v.is_empty(),
            Value::Message(_) => false,
            Value::List(v) => v.is_empty(),
            Value::Map(v) => v.is_empty(),
        }
    }

    /// The form `entry`'s slot takes, converted without loss or refused.
    pub(crate) fn given(
        self,
        tables: &Tables,
        entry: &FieldEntry,
        info: &FieldInfo,
    ) -> Result<Given<'a>, ValueError> {
        let wrong = || Err(self.mismatch(tables, entry, info));
        let integer = match self {
            Value::I32(v) | Value::Enum(v) => Some(i128::from(v)),
            Value::I64(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::U64(v) => Some(v.into()),
            _ => None,
        };
        let float = match self {
            Value::F64(v) => Some(v),
            Value::F32(v) => Some(v.into()),
            _ => None,
        };
        let range = |value: String| {
            Err(ValueError::OutOfRange {
                field: info.full_name.to_string(),
                expected: type_name(tables, entry),
                value,
            })
        };
        let bits = match (entry.kind, integer) {
            (Kind::Int32 | Kind::SInt32 | Kind::SFixed32, Some(v)) => {
                i32::try_from(v).map(|v| u64::from(v as u32))
            }
            (Kind::UInt32 | Kind::Fixed32, Some(v)) => u32::try_from(v).map(u64::from),
            (Kind::Int64 | Kind::SInt64 | Kind::SFixed64, Some(v)) => {
                i64::try_from(v).map(|v| v as u64)
            }
            (Kind::UInt64 | Kind::Fixed64, Some(v)) => u64::try_from(v),
            (Kind::Enum, Some(v)) => match i32::try_from(v) {
                Ok(n)
                    if entry.op == crate::schema::table::Op::ClosedEnum
                        && tables.enums[entry.sub as usize].index_of(n).is_none() =>
                {
                    return range(v.to_string());
                }
                other => other.map(|v| u64::from(v as u32)),
            },
            (Kind::Enum, None) => {
                let Value::Str(name) = self else { return wrong() };
                let values = &tables.enums[entry.sub as usize];
                match values.by_name.get(name) {
                    Some(&i) => {
                        return Ok(Given::Bits(u64::from(values.values[i as usize].1 as u32)));
                    }
                    None => return range(format!("{name:?}")),
                }
            }
            (Kind::Bool, None) => {
                let Value::Bool(v) = self else { return wrong() };
                Ok(v.into())
            }
            (Kind::Double, Some(v)) => Ok((v as f64).to_bits()),
            (Kind::Float, Some(v)) => Ok((v as f32).to_bits().into()),
            (Kind::Double, None) => {
                let Some(v) = float else { return wrong() };
                Ok(v.to_bits())
            }
            (Kind::Float, None) => {
                let narrow = match self {
                    Value::F32(v) => v,
                    Value::F64(v) if v.is_finite() && (v as f32).is_infinite() => {
                        return range(v.to_string());
                    }
                    Value::F64(v) => v as f32,
                    _ => return wrong(),
                };
                Ok(narrow.to_bits().into())
            }
            (Kind::String, None) => {
                return match self {
                    Value::Str(v) => Ok(Given::Text(v.as_bytes())),
                    Value::Bytes(v) if !entry.is(FieldEntry::UTF8) => Ok(Given::Text(v)),
                    _ => wrong(),
                };
            }
            (Kind::Bytes, None) => {
                let Value::Bytes(v) = self else { return wrong() };
                return Ok(Given::Text(v));
            }
            (Kind::Message | Kind::Group, None) => {
                let Value::Message(m) = self else { return wrong() };
                let table = &tables.messages[entry.sub as usize];
                let same = std::ptr::eq(m.raw.table_ptr(), table)
                    || m.raw.table().info.full_name == table.info.full_name;
                return if same { Ok(Given::Message(m)) } else { wrong() };
            }
            _ => return wrong(),
        };
        match (bits, integer) {
            (Ok(bits), _) => Ok(Given::Bits(bits)),
            (Err(_), Some(v)) => range(v.to_string()),
            (Err(_), None) => wrong(),
        }
    }

    #[cold]
    pub(crate) fn mismatch(
        &self,
        tables: &Tables,
        entry: &FieldEntry,
        info: &FieldInfo,
    ) -> ValueError {
        let expected = match entry.shape {
            Shape::List => format!("a list of {}", type_name(tables, entry)),
            Shape::Map => "a map".into(),
            _ => type_name(tables, entry),
        };
        ValueError::WrongType { field: info.full_name.to_string(), expected, got: self.type_name() }
    }

    /// What a message about this value calls it.
    fn type_name(&self) -> String {
        match self {
            Value::Bool(_) => "bool",
            Value::I32(_) => "int32",
            Value::I64(_) => "int64",
            Value::U32(_) => "uint32",
            Value::U64(_) => "uint64",
            Value::F32(_) => "float",
            Value::F64(_) => "double",
            Value::Str(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Enum(_) => "an enum number",
            Value::Message(m) => return m.full_name().to_owned(),
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
        .into()
    }
}

/// The field's type as a `.proto` file writes it.
pub(crate) fn type_name(tables: &Tables, entry: &FieldEntry) -> String {
    match entry.kind {
        Kind::Message | Kind::Group if entry.sub != NONE => {
            tables.messages[entry.sub as usize].info.full_name.to_string()
        }
        Kind::Enum if entry.sub != NONE => tables.enums[entry.sub as usize].full_name.to_string(),
        kind => format!("{kind:?}").to_ascii_lowercase(),
    }
}

#[inline(always)]
pub(crate) fn scalar<'a>(kind: Kind, bits: u64) -> Value<'a> {
    match kind {
        Kind::Bool => Value::Bool(bits != 0),
        Kind::Int32 | Kind::SInt32 | Kind::SFixed32 => Value::I32(bits as i32),
        Kind::UInt32 | Kind::Fixed32 => Value::U32(bits as u32),
        Kind::Int64 | Kind::SInt64 | Kind::SFixed64 => Value::I64(bits as i64),
        Kind::Float => Value::F32(f32::from_bits(bits as u32)),
        Kind::Double => Value::F64(f64::from_bits(bits)),
        Kind::Enum => Value::Enum(bits as i32),
        _ => Value::U64(bits),
    }
}

fn zero<'a>(entry: &FieldEntry) -> Value<'a> {
    match entry.slot {
        Slot::Text => texts(entry.kind, &[]),
        _ => scalar(entry.kind, 0),
    }
}

#[inline(always)]
pub(crate) fn texts(kind: Kind, text: &[u8]) -> Value<'_> {
    if kind == Kind::String
        && let Ok(text) = std::str::from_utf8(text)
    {
        return Value::Str(text);
    }
    Value::Bytes(text)
}

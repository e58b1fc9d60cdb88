//! The types of `google.protobuf` that have a form of their own in JSON and in the languages.

use super::table::{FieldEntry, Kind, Shape};

/// A well-known message type whose fields are what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the names of the types
pub enum WellKnown {
    Any,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    Empty,
    /// `DoubleValue`, `Int32Value` and the others: one field `value`, number 1.
    Wrapper(Kind),
}

impl WellKnown {
    /// The well-known type called `name`, if `fields` agree: a schema may bring its own `google.protobuf.Timestamp`.
    pub(crate) fn of(name: &str, fields: &[FieldEntry]) -> Option<WellKnown> {
        use Shape::{List, Map, Oneof, Single};
        let (known, expected): (WellKnown, &[(u32, Kind, Shape)]) = match name
            .strip_prefix("google.protobuf.")?
        {
            "Any" => (WellKnown::Any, &[(1, Kind::String, Single), (2, Kind::Bytes, Single)]),
            "Timestamp" => {
                (WellKnown::Timestamp, &[(1, Kind::Int64, Single), (2, Kind::Int32, Single)])
            }
            "Duration" => {
                (WellKnown::Duration, &[(1, Kind::Int64, Single), (2, Kind::Int32, Single)])
            }
            "FieldMask" => (WellKnown::FieldMask, &[(1, Kind::String, List)]),
            "Struct" => (WellKnown::Struct, &[(1, Kind::Message, Map)]),
            "ListValue" => (WellKnown::ListValue, &[(1, Kind::Message, List)]),
            "Value" => (
                WellKnown::Value,
                &[
                    (1, Kind::Enum, Oneof),
                    (2, Kind::Double, Oneof),
                    (3, Kind::String, Oneof),
                    (4, Kind::Bool, Oneof),
                    (5, Kind::Message, Oneof),
                    (6, Kind::Message, Oneof),
                ],
            ),
            "Empty" => (WellKnown::Empty, &[]),
            wrapper => {
                let kind = match wrapper {
                    "DoubleValue" => Kind::Double,
                    "FloatValue" => Kind::Float,
                    "Int64Value" => Kind::Int64,
                    "UInt64Value" => Kind::UInt64,
                    "Int32Value" => Kind::Int32,
                    "UInt32Value" => Kind::UInt32,
                    "BoolValue" => Kind::Bool,
                    "StringValue" => Kind::String,
                    "BytesValue" => Kind::Bytes,
                    _ => return None,
                };
                let good =
                    matches!(fields, [f] if f.number == 1 && f.kind == kind && f.shape == Single);
                return good.then_some(WellKnown::Wrapper(kind));
            }
        };
        let same = |(f, e): (&FieldEntry, &(u32, Kind, Shape))| (f.number, f.kind, f.shape) == *e;
        (fields.len() == expected.len() && fields.iter().zip(expected).all(same)).then_some(known)
    }
}

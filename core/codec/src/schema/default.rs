//! Default values, which descriptors keep as text. Spec: descriptor.proto, `FieldDescriptorProto.default_value`.

use bytes::Bytes;

use super::table::{EnumTable, FieldDefault, Kind};

/// The value of `text` for a field of `kind`; `None` if it does not fit.
pub(crate) fn parse(kind: Kind, text: &Bytes, values: Option<&EnumTable>) -> Option<FieldDefault> {
    if kind == Kind::Bytes {
        return unescape(text).map(|b| FieldDefault::Text(b.into()));
    }
    let s = std::str::from_utf8(text).ok()?;
    let bits = match kind {
        Kind::String => return Some(FieldDefault::Text(text.clone())),
        Kind::Bool => u64::from(s.parse::<bool>().ok()?),
        Kind::Double => float(s)?.to_bits(),
        Kind::Float => (float(s)? as f32).to_bits().into(),
        Kind::Int32 | Kind::SInt32 | Kind::SFixed32 => u64::from(s.parse::<i32>().ok()? as u32),
        Kind::Int64 | Kind::SInt64 | Kind::SFixed64 => s.parse::<i64>().ok()? as u64,
        Kind::UInt32 | Kind::Fixed32 => s.parse::<u32>().ok()?.into(),
        Kind::UInt64 | Kind::Fixed64 => s.parse::<u64>().ok()?,
        Kind::Enum => {
            let values = values?;
            u64::from(values.values.get(*values.by_name.get(s)? as usize)?.1 as u32)
        }
        Kind::Message | Kind::Group | Kind::Bytes => return None,
    };
    Some(if bits == 0 { FieldDefault::Zero } else { FieldDefault::Bits(bits) })
}

fn float(s: &str) -> Option<f64> {
    match s {
        "inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" | "-nan" => Some(f64::NAN),
        _ => s.parse().ok(),
    }
}

/// C escapes, as protoc writes bytes.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&c, tail)) = rest.split_first() {
        rest = tail;
        if c != b'\\' {
            out.push(c);
            continue;
        }
        let (&c, tail) = rest.split_first()?;
        rest = tail;
        let (base, most) = match c {
            b'0'..=b'7' => {
                rest = text.get(text.len() - rest.len() - 1..)?;
                (8, 3)
            }
            b'x' | b'X' => (16, 2),
            _ => {
                out.push(match c {
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    b'\\' | b'\'' | b'"' | b'?' => c,
                    _ => return None,
                });
                continue;
            }
        };
        let (mut value, mut digits) = (0u32, 0);
        while let (Some(d), true) =
            (rest.first().and_then(|&c| (c as char).to_digit(base)), digits < most)
        {
            value = value * base + d;
            digits += 1;
            rest = rest.get(1..)?;
        }
        if digits == 0 {
            return None;
        }
        out.push(u8::try_from(value).ok()?);
    }
    Some(out)
}

//! Reads `FileDescriptorProto` bytes into plain structs; nothing is resolved or checked here but the wire format.
//!
//! Written by hand because the usual struct crates drop what they do not know: editions, features and custom options.
//! Options stay bytes. Spec: google/protobuf/descriptor.proto, whose field numbers stand in the matches below.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};

use super::features::Syntax;
use crate::error::SchemaError;
use crate::wire::{RawValue, Reader};

/// Messages nested in messages, as deep as protoc goes.
const MAX_NESTING: u32 = 32;
/// Groups inside options, which are skipped over.
const MAX_GROUPS: u32 = 32;

#[derive(Debug, Default)]
pub(crate) struct FileProto {
    pub name: String,
    pub package: String,
    pub dependencies: Vec<String>,
    /// `import option` and `import weak`: may be absent.
    pub soft_dependencies: Vec<String>,
    pub messages: Vec<MessageProto>,
    pub enums: Vec<EnumProto>,
    pub services: Vec<ServiceProto>,
    pub extensions: Vec<FieldProto>,
    pub options: Bytes,
    pub syntax: Option<Syntax>,
}

#[derive(Debug, Default)]
pub(crate) struct MessageProto {
    pub name: String,
    pub fields: Vec<FieldProto>,
    pub messages: Vec<MessageProto>,
    pub enums: Vec<EnumProto>,
    pub extension_ranges: Vec<(i32, i32)>,
    pub extensions: Vec<FieldProto>,
    pub oneofs: Vec<(String, Bytes)>,
    pub options: Bytes,
}

#[derive(Debug, Default)]
pub(crate) struct FieldProto {
    pub name: String,
    pub extendee: String,
    pub number: i32,
    pub label: i32,
    pub type_number: i32,
    pub type_name: String,
    pub default: Option<Bytes>,
    pub options: Bytes,
    pub oneof: Option<i32>,
    pub json_name: Option<String>,
    pub proto3_optional: bool,
}

#[derive(Debug, Default)]
pub(crate) struct EnumProto {
    pub name: String,
    pub values: Vec<(String, i32, Bytes)>,
    pub options: Bytes,
}

#[derive(Debug, Default)]
pub(crate) struct ServiceProto {
    pub name: String,
    pub methods: Vec<MethodProto>,
    pub options: Bytes,
}

#[derive(Debug, Default)]
pub(crate) struct MethodProto {
    pub name: String,
    pub input: String,
    pub output: String,
    pub options: Bytes,
    pub client_streaming: bool,
    pub server_streaming: bool,
}

type Fail = String;

/// The files of a `FileDescriptorSet`, each as its own bytes.
pub(crate) fn split_set(set: &Bytes) -> Result<Vec<Bytes>, SchemaError> {
    let mut files = Vec::new();
    walk(set, |number, value| {
        if number == 1 {
            files.push(bytes_of(set, value)?);
        }
        Ok(())
    })
    .map_err(|reason| SchemaError::Malformed { file: "descriptor set".into(), reason })?;
    Ok(files)
}

/// One file.
pub(crate) fn parse_file(bytes: &Bytes) -> Result<FileProto, SchemaError> {
    let mut file = FileProto::default();
    let mut weak = Vec::new();
    let mut syntax = String::new();
    let mut edition = 0;
    let done = walk(bytes, |number, value| {
        match number {
            1 => file.name = text(value)?,
            2 => file.package = text(value)?,
            3 => file.dependencies.push(text(value)?),
            4 => file.messages.push(message(bytes, part(value)?, MAX_NESTING)?),
            5 => file.enums.push(enumeration(bytes, part(value)?)?),
            6 => file.services.push(service(bytes, part(value)?)?),
            7 => file.extensions.push(field(bytes, part(value)?)?),
            8 => append(&mut file.options, bytes_of(bytes, value)?),
            11 => each_varint(value, |v| weak.push(v as usize))?,
            12 => syntax = text(value)?,
            14 => edition = varint(value)? as u32,
            15 => file.soft_dependencies.push(text(value)?),
            _ => {}
        }
        Ok(())
    });
    let name = if file.name.is_empty() { "descriptor".into() } else { file.name.clone() };
    done.map_err(|reason| SchemaError::Malformed { file: name.clone(), reason })?;
    let weak: HashSet<usize> = weak.into_iter().collect();
    let all = std::mem::take(&mut file.dependencies);
    for (i, dependency) in all.into_iter().enumerate() {
        match weak.contains(&i) {
            true => file.soft_dependencies.push(dependency),
            false => file.dependencies.push(dependency),
        }
    }
    file.syntax = match (syntax.as_str(), edition) {
        ("" | "proto2", 0) | ("", 998) => Some(Syntax::Proto2),
        ("proto3", 0) | ("", 999) => Some(Syntax::Proto3),
        ("editions" | "", 1000 | 1001 | 9999) => Some(Syntax::Edition(edition)),
        (other, edition) => {
            let reason = format!(
                "neither proto2, proto3 nor edition 2023 or 2024 (syntax {other:?}, edition {edition})"
            );
            return Err(SchemaError::Malformed { file: name, reason });
        }
    };
    if file.name.is_empty() {
        return Err(SchemaError::Malformed { file: name, reason: "it has no name".into() });
    }
    Ok(file)
}

fn message(all: &Bytes, buf: &[u8], depth: u32) -> Result<MessageProto, Fail> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("messages are nested deeper than {MAX_NESTING}"));
    };
    let mut m = MessageProto::default();
    walk(buf, |number, value| {
        match number {
            1 => m.name = text(value)?,
            2 => m.fields.push(field(all, part(value)?)?),
            3 => m.messages.push(message(all, part(value)?, depth)?),
            4 => m.enums.push(enumeration(all, part(value)?)?),
            5 => m.extension_ranges.push(range(part(value)?)?),
            6 => m.extensions.push(field(all, part(value)?)?),
            7 => append(&mut m.options, bytes_of(all, value)?),
            8 => {
                let (mut name, mut options) = (String::new(), Bytes::new());
                walk(part(value)?, |number, value| {
                    match number {
                        1 => name = text(value)?,
                        2 => append(&mut options, bytes_of(all, value)?),
                        _ => {}
                    }
                    Ok(())
                })?;
                m.oneofs.push((name, options));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(m)
}

fn range(buf: &[u8]) -> Result<(i32, i32), Fail> {
    let (mut start, mut end) = (0, 0);
    walk(buf, |number, value| {
        match number {
            1 => start = varint(value)? as i32,
            2 => end = varint(value)? as i32,
            _ => {}
        }
        Ok(())
    })?;
    Ok((start, end))
}

fn field(all: &Bytes, buf: &[u8]) -> Result<FieldProto, Fail> {
    let mut f = FieldProto::default();
    walk(buf, |number, value| {
        match number {
            1 => f.name = text(value)?,
            2 => f.extendee = text(value)?,
            3 => f.number = varint(value)? as i32,
            4 => f.label = varint(value)? as i32,
            5 => f.type_number = varint(value)? as i32,
            6 => f.type_name = text(value)?,
            7 => f.default = Some(bytes_of(all, value)?),
            8 => append(&mut f.options, bytes_of(all, value)?),
            9 => f.oneof = Some(varint(value)? as i32),
            10 => f.json_name = Some(text(value)?),
            17 => f.proto3_optional = varint(value)? != 0,
            _ => {}
        }
        Ok(())
    })?;
    Ok(f)
}

fn enumeration(all: &Bytes, buf: &[u8]) -> Result<EnumProto, Fail> {
    let mut e = EnumProto::default();
    walk(buf, |number, value| {
        match number {
            1 => e.name = text(value)?,
            2 => {
                let (mut name, mut n, mut options) = (String::new(), 0, Bytes::new());
                walk(part(value)?, |number, value| {
                    match number {
                        1 => name = text(value)?,
                        2 => n = varint(value)? as i32,
                        3 => append(&mut options, bytes_of(all, value)?),
                        _ => {}
                    }
                    Ok(())
                })?;
                e.values.push((name, n, options));
            }
            3 => append(&mut e.options, bytes_of(all, value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(e)
}

fn service(all: &Bytes, buf: &[u8]) -> Result<ServiceProto, Fail> {
    let mut s = ServiceProto::default();
    walk(buf, |number, value| {
        match number {
            1 => s.name = text(value)?,
            2 => {
                let mut m = MethodProto::default();
                walk(part(value)?, |number, value| {
                    match number {
                        1 => m.name = text(value)?,
                        2 => m.input = text(value)?,
                        3 => m.output = text(value)?,
                        4 => append(&mut m.options, bytes_of(all, value)?),
                        5 => m.client_streaming = varint(value)? != 0,
                        6 => m.server_streaming = varint(value)? != 0,
                        _ => {}
                    }
                    Ok(())
                })?;
                s.methods.push(m);
            }
            3 => append(&mut s.options, bytes_of(all, value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(s)
}

fn walk<'a>(
    buf: &'a [u8],
    mut each: impl FnMut(u32, RawValue<'a>) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let mut reader = Reader::new(buf);
    while let Some((number, value)) = reader.next_field(MAX_GROUPS).map_err(|e| e.to_string())? {
        each(number, value)?;
    }
    Ok(())
}

fn part(value: RawValue<'_>) -> Result<&[u8], Fail> {
    match value {
        RawValue::Length(bytes) => Ok(bytes),
        _ => Err("a field has another wire type than descriptor.proto says".into()),
    }
}

fn bytes_of(all: &Bytes, value: RawValue<'_>) -> Result<Bytes, Fail> {
    let bytes = part(value)?;
    Ok(if bytes.is_empty() { Bytes::new() } else { all.slice_ref(bytes) })
}

fn text(value: RawValue<'_>) -> Result<String, Fail> {
    String::from_utf8(part(value)?.to_vec()).map_err(|_| "a name is not valid UTF-8".into())
}

fn varint(value: RawValue<'_>) -> Result<u64, Fail> {
    match value {
        RawValue::Varint(v) => Ok(v),
        _ => Err("a field has another wire type than descriptor.proto says".into()),
    }
}

fn each_varint(value: RawValue<'_>, mut each: impl FnMut(u64)) -> Result<(), Fail> {
    match value {
        RawValue::Varint(v) => each(v),
        RawValue::Length(packed) => {
            let mut reader = Reader::new(packed);
            while !reader.is_empty() {
                each(reader.varint().map_err(|e| e.to_string())?);
            }
        }
        _ => return Err("a field has another wire type than descriptor.proto says".into()),
    }
    Ok(())
}

/// Messages that occur twice are merged, and merging protobuf messages is joining their bytes.
fn append(to: &mut Bytes, more: Bytes) {
    if to.is_empty() {
        *to = more;
    } else {
        let mut joined = BytesMut::with_capacity(to.len() + more.len());
        joined.extend_from_slice(to);
        joined.extend_from_slice(&more);
        *to = joined.freeze();
    }
}

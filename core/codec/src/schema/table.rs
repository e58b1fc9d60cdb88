//! The compiled table: what decode, encode and every getter look at instead of names.
//!
//! One [`Tables`] per schema, immutable once built and shared by `Arc`. Types refer to each other by index. Everything
//! that depends on syntax, features, options or cardinality is decided here once, so that no loop asks again.

use std::collections::HashMap;
use std::sync::{OnceLock, Weak};

use bytes::Bytes;

use super::features::Syntax;
use crate::message::DefaultInstance;

/// "No such index" in the `u32` references below.
pub(crate) const NONE: u32 = u32::MAX;
/// "No such index" in the `u16` references below.
pub(crate) const NONE16: u16 = u16::MAX;

/// The type of one value, with the numbers of descriptor.proto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names of the language
pub enum Kind {
    Double = 1,
    Float = 2,
    Int64 = 3,
    UInt64 = 4,
    Int32 = 5,
    Fixed64 = 6,
    Fixed32 = 7,
    Bool = 8,
    String = 9,
    /// A message between two tags instead of behind a length: proto2 groups, `DELIMITED` in editions.
    Group = 10,
    Message = 11,
    Bytes = 12,
    UInt32 = 13,
    Enum = 14,
    SFixed32 = 15,
    SFixed64 = 16,
    SInt32 = 17,
    SInt64 = 18,
}

impl Kind {
    /// The kind with this number of `FieldDescriptorProto.Type`.
    pub(crate) fn from_number(number: i32) -> Option<Kind> {
        use Kind::*;
        const ALL: [Kind; 18] = [
            Double, Float, Int64, UInt64, Int32, Fixed64, Fixed32, Bool, String, Group, Message,
            Bytes, UInt32, Enum, SFixed32, SFixed64, SInt32, SInt64,
        ];
        ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }
}

/// How one value is stored, whatever its kind is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Slot {
    Bool,
    Word32,
    Word64,
    /// Pointer and length.
    Text,
    /// Pointer to a message.
    Message,
}

impl Slot {
    /// Bytes of one value; also its alignment, but for `Text`, which is aligned to 8.
    pub const fn size(self) -> usize {
        match self {
            Slot::Bool => 1,
            Slot::Word32 => 4,
            Slot::Word64 | Slot::Message => 8,
            Slot::Text => 16,
        }
    }
}

/// How a value is read from the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    Varint32,
    Varint64,
    Zigzag32,
    Zigzag64,
    Bool,
    Fixed32,
    Fixed64,
    /// UTF-8 is checked.
    Str,
    Bytes,
    Message,
    Group,
    /// Only numbers the enum declares; others are unknown fields.
    ClosedEnum,
}

/// Where a field's value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Shape {
    /// One slot. Presence is a bit; fields without presence own bit 0 together, which nobody reads.
    Single,
    /// One slot shared by the members of a oneof, beside the number of the member that is set.
    Oneof,
    /// A vector.
    List,
    /// A vector of entries.
    Map,
}

/// What the loops need to know of one field.
#[derive(Debug, Clone)]
#[repr(C)]
pub(crate) struct FieldEntry {
    /// Field number and wire type as written by this schema.
    pub tag: u32,
    /// The other tag that is accepted: packed for unpacked and the reverse. 0 if there is none.
    pub alt_tag: u32,
    /// Bytes from the start of the message.
    pub offset: u32,
    /// `Single`: bit, counted from the start of the message. `Oneof`: bytes to the `u32` that names the member set.
    pub presence: u32,
    /// Index of the message or enum type, or [`NONE`].
    pub sub: u32,
    pub number: u32,
    pub op: Op,
    pub shape: Shape,
    pub slot: Slot,
    pub kind: Kind,
    pub flags: u8,
    /// The field that is likely to follow on the wire: its own index where it is repeated and not packed.
    pub next: u16,
}

impl FieldEntry {
    /// Proto3-style: present if it is not zero.
    pub const IMPLICIT: u8 = 1;
    pub const REQUIRED: u8 = 2;
    pub const PACKED: u8 = 4;
    pub const UTF8: u8 = 8;
    pub const EXTENSION: u8 = 16;

    #[inline(always)]
    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Where the two halves of a map entry are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapLayout {
    pub value_offset: u32,
    pub stride: u32,
}

/// One message type.
#[derive(Debug)]
pub(crate) struct MessageTable {
    pub tables: Weak<Tables>,
    /// Own index in [`Tables::messages`].
    pub index: u32,
    /// Bytes of a message in memory, header included; a multiple of 8.
    pub size: u32,
    /// In number order.
    pub fields: Box<[FieldEntry]>,
    /// One-byte tag to field index; shorter than 128 where no high tag exists.
    pub by_tag: Box<[u16]>,
    /// Field number to field index, for the numbers that lie densely.
    pub by_number: Box<[u16]>,
    /// Indices of required fields.
    pub required: Box<[u16]>,
    /// Whether this type, or one reachable from it, has required fields (or extensions, which may have them).
    pub needs_check: bool,
    pub extendable: bool,
    pub message_set: bool,
    /// Set for the entry types of map fields.
    pub map: Option<MapLayout>,
    pub info: MessageInfo,
    pub default_instance: OnceLock<DefaultInstance>,
}

/// The names of a message type, away from what the loops touch.
#[derive(Debug)]
pub(crate) struct MessageInfo {
    pub full_name: Box<str>,
    pub file: u32,
    pub parent: u32,
    pub fields: Box<[FieldInfo]>,
    pub oneofs: Box<[OneofInfo]>,
    pub extension_ranges: Box<[(u32, u32)]>,
    pub options: Bytes,
    /// Indices into `fields` in the order of the file.
    pub declared: Box<[u16]>,
    pub by_name: HashMap<Box<str>, u16>,
    pub by_json_name: HashMap<Box<str>, u16>,
    pub well_known: Option<super::WellKnown>,
}

#[derive(Debug)]
pub(crate) struct FieldInfo {
    pub name: Box<str>,
    pub json_name: Box<str>,
    pub full_name: Box<str>,
    pub default: FieldDefault,
    /// Index into the message's `oneofs`, for members of real oneofs.
    pub oneof: u16,
    /// Position among the fields of the table; 0 for extensions.
    pub index: u16,
    /// Index of the message table, or of the extended one.
    pub owner: u32,
    /// Index in [`Tables::extensions`], or [`NONE`].
    pub extension: u32,
    pub file: u32,
    pub options: Bytes,
    pub wire_tag: ([u8; 5], u8),
}

/// A default other than zero.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FieldDefault {
    Zero,
    /// Bits of a number, bool or enum.
    Bits(u64),
    Text(Bytes),
}

#[derive(Debug)]
pub(crate) struct OneofInfo {
    pub name: Box<str>,
    pub options: Bytes,
    /// Bytes from the start of the message to the number of the member that is set.
    pub case: u32,
    /// Indices into `fields`.
    pub members: Box<[u16]>,
    /// Made by the compiler for a proto3 `optional` field; holds a bit instead of a case.
    pub synthetic: bool,
}

#[derive(Debug)]
pub(crate) struct EnumTable {
    pub full_name: Box<str>,
    pub file: u32,
    pub parent: u32,
    pub open: bool,
    /// As declared: name, number, options.
    pub values: Box<[(Box<str>, i32, Bytes)]>,
    pub by_name: HashMap<Box<str>, u32>,
    /// Sorted by number; the first name of aliases.
    pub by_number: Box<[(i32, u32)]>,
    pub options: Bytes,
}

impl EnumTable {
    #[inline]
    pub fn index_of(&self, number: i32) -> Option<u32> {
        // most enums count from zero without a gap
        if let Some(&(n, index)) = self.by_number.get(number as usize)
            && n == number
        {
            return Some(index);
        }
        self.by_number.binary_search_by_key(&number, |e| e.0).ok().map(|i| self.by_number[i].1)
    }
}

#[derive(Debug)]
pub(crate) struct ServiceTable {
    pub full_name: Box<str>,
    pub file: u32,
    pub options: Bytes,
    pub methods: Box<[MethodTable]>,
}

#[derive(Debug)]
pub(crate) struct MethodTable {
    pub name: Box<str>,
    pub full_name: Box<str>,
    /// `/pkg.Service/Method`.
    pub path: Box<str>,
    pub input: u32,
    pub output: u32,
    pub client_streaming: bool,
    pub server_streaming: bool,
    pub options: Bytes,
}

#[derive(Debug)]
pub(crate) struct ExtensionTable {
    pub entry: FieldEntry,
    pub info: FieldInfo,
}

#[derive(Debug)]
pub(crate) struct FileTable {
    pub name: Box<str>,
    pub package: Box<str>,
    pub syntax: Syntax,
    pub imports: Box<[Box<str>]>,
    pub options: Bytes,
    pub bytes: Bytes,
}

/// What a full name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    Package,
    Message(u32),
    Enum(u32),
    Service(u32),
    Method(u32, u32),
    Extension(u32),
    /// Field of a message, by position in declaration order.
    Field(u32, u32),
    Oneof(u32),
    /// Value of an enum.
    Value(u32),
}

/// The whole schema.
#[derive(Debug)]
pub(crate) struct Tables {
    pub files: Vec<FileTable>,
    pub file_index: HashMap<Box<str>, u32>,
    pub messages: Vec<MessageTable>,
    pub enums: Vec<EnumTable>,
    pub services: Vec<ServiceTable>,
    pub extensions: Vec<ExtensionTable>,
    /// By index of the extended message and number.
    pub extension_index: HashMap<(u32, u32), u32>,
    pub symbols: HashMap<Box<str>, Symbol>,
}

impl MessageTable {
    /// The field with this number.
    #[inline]
    pub fn find_number(&self, number: u32) -> Option<usize> {
        match self.by_number.get(number as usize) {
            Some(&i) => (i != NONE16).then_some(i as usize),
            None => self.fields.binary_search_by_key(&number, |f| f.number).ok(),
        }
    }
}

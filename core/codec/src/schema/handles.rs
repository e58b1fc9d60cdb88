//! What a schema hands out: types, fields, services. Each is a pointer into the table and a share of it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use super::pinned::Pinned;
use super::table::*;
use super::{Schema, WellKnown};
use crate::error::DecodeError;
use crate::message::{Message, Value};

/// A message type.
#[derive(Clone)]
pub struct MessageType {
    pub(crate) tables: Arc<Tables>,
    pub(crate) table: Pinned<MessageTable>,
}

/// A field of a message type, or an extension of one.
#[derive(Clone)]
pub struct Field {
    pub(crate) tables: Arc<Tables>,
    pub(crate) entry: Pinned<FieldEntry>,
    pub(crate) info: Pinned<FieldInfo>,
    pub(crate) table: Pinned<MessageTable>,
}

/// A oneof. Those a compiler makes for proto3 `optional` fields are not shown.
#[derive(Clone)]
pub struct OneofType {
    pub(crate) tables: Arc<Tables>,
    pub(crate) table: Pinned<MessageTable>,
    pub(crate) info: Pinned<OneofInfo>,
}

/// An enum type.
#[derive(Clone)]
pub struct EnumType {
    pub(crate) tables: Arc<Tables>,
    pub(crate) table: Pinned<EnumTable>,
}

/// A service.
#[derive(Clone)]
pub struct Service {
    pub(crate) tables: Arc<Tables>,
    pub(crate) table: Pinned<ServiceTable>,
}

/// A method of a service.
#[derive(Clone)]
pub struct Method {
    pub(crate) tables: Arc<Tables>,
    pub(crate) service: Pinned<ServiceTable>,
    pub(crate) table: Pinned<MethodTable>,
}

macro_rules! identity {
    ($type:ident, $by:ident, $name:expr) => {
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                std::ptr::eq(self.$by.as_ptr(), other.$by.as_ptr())
            }
        }
        impl Eq for $type {}
        impl Hash for $type {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.$by.as_ptr().hash(state);
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name: fn(&$type) -> &str = $name;
                write!(f, concat!(stringify!($type), "({})"), name(self))
            }
        }
    };
}
identity!(MessageType, table, |t| t.full_name());
identity!(Field, entry, |t| t.full_name());
identity!(OneofType, info, |t| t.name());
identity!(EnumType, table, |t| t.full_name());
identity!(Service, table, |t| t.full_name());
identity!(Method, table, |t| t.full_name());

/// Makes a [`Pinned`] for a handle that gets `tables` as well.
fn pin<T>(tables: &Arc<Tables>, target: &T) -> Pinned<T> {
    // SAFETY: every caller in this module passes a part of `tables` and stores both in one handle.
    unsafe { Pinned::new(tables, target) }
}

impl MessageType {
    pub(crate) fn new(tables: &Arc<Tables>, index: u32) -> MessageType {
        MessageType { tables: tables.clone(), table: pin(tables, &tables.messages[index as usize]) }
    }

    /// `pkg.Outer.Name`.
    pub fn full_name(&self) -> &str {
        &self.table.info.full_name
    }

    /// The last part of the full name.
    pub fn name(&self) -> &str {
        last_part(self.full_name())
    }

    /// The schema this type is of.
    pub fn schema(&self) -> Schema {
        Schema(self.tables.clone())
    }

    /// The name of the file that declares it.
    pub fn file(&self) -> &str {
        &self.tables.files[self.table.info.file as usize].name
    }

    /// Own fields in number order, extensions not among them.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field> + '_ {
        (0..self.table.fields.len()).map(|i| self.field_at(i))
    }

    /// Own fields in the order of the file.
    pub fn declared_fields(&self) -> impl ExactSizeIterator<Item = Field> + '_ {
        self.table.info.declared.iter().map(|&i| self.field_at(i as usize))
    }

    pub(crate) fn field_at(&self, index: usize) -> Field {
        Field::of(&self.tables, &self.table, index)
    }

    /// The field with this name in the file.
    pub fn field(&self, name: &str) -> Option<Field> {
        self.table.info.by_name.get(name).map(|&i| self.field_at(i as usize))
    }

    /// The field with this lowerCamelCase (or `json_name`) name.
    pub fn field_by_json_name(&self, name: &str) -> Option<Field> {
        self.table.info.by_json_name.get(name).map(|&i| self.field_at(i as usize))
    }

    /// The field with this number, own or extension.
    pub fn field_by_number(&self, number: u32) -> Option<Field> {
        match self.table.find_number(number) {
            Some(i) => Some(self.field_at(i)),
            None => Field::extension_of(&self.tables, &self.table, number),
        }
    }

    /// The field called `name` as JSON may call it: by JSON name, by original name, or `[pkg.extension]`.
    pub fn find_field(&self, name: &str) -> Option<Field> {
        if let Some(name) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
            let Some(&Symbol::Extension(i)) = self.tables.symbols.get(name) else { return None };
            return Some(Field::extension(&self.tables, i))
                .filter(|f| f.info.owner == self.table.index);
        }
        self.field_by_json_name(name).or_else(|| self.field(name))
    }

    /// The oneofs in the order of the file.
    pub fn oneofs(&self) -> impl Iterator<Item = OneofType> + '_ {
        self.table.info.oneofs.iter().filter(|o| !o.synthetic).map(|o| self.oneof_of(o))
    }

    /// The oneof with this name.
    pub fn oneof(&self, name: &str) -> Option<OneofType> {
        self.table
            .info
            .oneofs
            .iter()
            .find(|o| !o.synthetic && &*o.name == name)
            .map(|o| self.oneof_of(o))
    }

    fn oneof_of(&self, info: &OneofInfo) -> OneofType {
        OneofType { tables: self.tables.clone(), table: self.table, info: pin(&self.tables, info) }
    }

    /// Which of the types with a form of their own this is, if its fields are as expected.
    pub fn well_known(&self) -> Option<WellKnown> {
        self.table.info.well_known
    }

    /// Whether this is the hidden type of a map field's entries.
    pub fn is_map_entry(&self) -> bool {
        self.table.map.is_some()
    }

    /// The message type this one is declared in.
    pub fn parent(&self) -> Option<MessageType> {
        (self.table.info.parent != NONE)
            .then(|| MessageType::new(&self.tables, self.table.info.parent))
    }

    /// Number ranges open to extensions: first, and one past the last.
    pub fn extension_ranges(&self) -> &[(u32, u32)] {
        &self.table.info.extension_ranges
    }

    /// The extensions of this type that the schema knows, in number order.
    pub fn extensions(&self) -> Vec<Field> {
        let mut found: Vec<Field> = (0..self.tables.extensions.len() as u32)
            .filter(|&i| self.tables.extensions[i as usize].info.owner == self.table.index)
            .map(|i| Field::extension(&self.tables, i))
            .collect();
        found.sort_by_key(Field::number);
        found
    }

    /// Encoded `google.protobuf.MessageOptions`, custom options included; empty if there are none.
    pub fn options(&self) -> &Bytes {
        &self.table.info.options
    }

    /// An empty message.
    pub fn new_message(&self) -> Message {
        Message::new(self)
    }

    /// A message from its encoded form, by the default [`Limits`](crate::Limits). Above 16 KiB, strings and
    /// bytes stay slices of `bytes`, which the message keeps; below, all is copied at once.
    ///
    /// # Errors
    /// Anything that is not a valid encoding of this type; missing required fields are not looked for.
    pub fn decode(&self, bytes: impl Into<Bytes>) -> Result<Message, DecodeError> {
        Message::decode(self, bytes)
    }
}

impl Field {
    pub(crate) fn of(tables: &Arc<Tables>, table: &MessageTable, index: usize) -> Field {
        Field {
            tables: tables.clone(),
            entry: pin(tables, &table.fields[index]),
            info: pin(tables, &table.info.fields[index]),
            table: pin(tables, table),
        }
    }

    pub(crate) fn extension(tables: &Arc<Tables>, index: u32) -> Field {
        let x = &tables.extensions[index as usize];
        Field {
            tables: tables.clone(),
            entry: pin(tables, &x.entry),
            info: pin(tables, &x.info),
            table: pin(tables, &tables.messages[x.info.owner as usize]),
        }
    }

    pub(crate) fn extension_of(
        tables: &Arc<Tables>,
        table: &MessageTable,
        number: u32,
    ) -> Option<Field> {
        tables.extension_index.get(&(table.index, number)).map(|&i| Field::extension(tables, i))
    }

    /// Name in the file.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// lowerCamelCase name, or what `json_name` says. For an extension see [`Field::full_name`]: JSON writes `[full.name]`.
    pub fn json_name(&self) -> &str {
        &self.info.json_name
    }

    /// `pkg.Message.field`; for an extension `pkg.field` or `pkg.Scope.field`.
    pub fn full_name(&self) -> &str {
        &self.info.full_name
    }

    /// Field number.
    pub fn number(&self) -> u32 {
        self.entry.number
    }

    /// Position in [`MessageType::fields`]. 0 for extensions.
    pub fn index(&self) -> usize {
        self.info.index as usize
    }

    /// Type of one value. A map field is a repeated [`Kind::Message`].
    pub fn kind(&self) -> Kind {
        self.entry.kind
    }

    /// Repeated, and not a map.
    pub fn is_list(&self) -> bool {
        self.entry.shape == Shape::List
    }

    /// A map.
    pub fn is_map(&self) -> bool {
        self.entry.shape == Shape::Map
    }

    /// proto2 `required`, or `LEGACY_REQUIRED`.
    pub fn is_required(&self) -> bool {
        self.entry.is(FieldEntry::REQUIRED)
    }

    /// Whether unset and zero are told apart: `optional`, `required`, oneof members, messages, editions by default.
    pub fn has_presence(&self) -> bool {
        matches!(self.entry.shape, Shape::Single | Shape::Oneof)
            && !self.entry.is(FieldEntry::IMPLICIT)
    }

    /// Whether this is an extension.
    pub fn is_extension(&self) -> bool {
        self.entry.is(FieldEntry::EXTENSION)
    }

    /// The message this field is in, or that the extension extends.
    pub fn containing_type(&self) -> MessageType {
        MessageType { tables: self.tables.clone(), table: self.table }
    }

    /// The schema this field is of.
    pub fn schema(&self) -> Schema {
        Schema(self.tables.clone())
    }

    /// The oneof this field is a member of.
    pub fn oneof(&self) -> Option<OneofType> {
        let info = self.table.info.oneofs.get(self.info.oneof as usize)?;
        Some(OneofType {
            tables: self.tables.clone(),
            table: self.table,
            info: pin(&self.tables, info),
        })
    }

    /// Type of the values, if they are messages; for a map, the entry type.
    pub fn message_type(&self) -> Option<MessageType> {
        (self.entry.slot == Slot::Message).then(|| MessageType::new(&self.tables, self.entry.sub))
    }

    /// Type of the values, if they are enums.
    pub fn enum_type(&self) -> Option<EnumType> {
        (self.entry.kind == Kind::Enum).then(|| EnumType::new(&self.tables, self.entry.sub))
    }

    /// For a map, the field `key` of its entry type.
    pub fn map_key(&self) -> Option<Field> {
        self.map_half(0)
    }

    /// For a map, the field `value` of its entry type.
    pub fn map_value(&self) -> Option<Field> {
        self.map_half(1)
    }

    fn map_half(&self, half: usize) -> Option<Field> {
        self.is_map()
            .then(|| Field::of(&self.tables, &self.tables.messages[self.entry.sub as usize], half))
    }

    /// What reading the field gives while it is unset; for lists and maps, zero of the element's type.
    pub fn default(&self) -> Value<'_> {
        Value::default_of(&self.tables, &self.entry, &self.info)
    }

    /// Whether lists are written packed.
    pub fn is_packed(&self) -> bool {
        self.entry.is(FieldEntry::PACKED)
    }

    /// Whether strings have to be UTF-8 (proto3 and editions by default; not proto2).
    pub fn checks_utf8(&self) -> bool {
        self.entry.is(FieldEntry::UTF8)
    }

    /// Whether messages are written between two tags.
    pub fn is_delimited(&self) -> bool {
        self.entry.kind == Kind::Group
    }

    /// Whether the enum refuses numbers it does not declare, which are then kept as unknown fields.
    pub fn is_closed_enum(&self) -> bool {
        self.entry.op == Op::ClosedEnum
    }

    /// The tag this field is written with (for packed lists, the packed one), one to five bytes.
    pub fn wire_tag(&self) -> &[u8] {
        let (bytes, len) = &self.info.wire_tag;
        bytes.get(..*len as usize).unwrap_or_default()
    }

    /// The tag as one number: field number times eight plus wire type.
    pub fn tag(&self) -> u32 {
        self.entry.tag
    }

    /// Encoded `google.protobuf.FieldOptions`, custom options included; empty if there are none.
    pub fn options(&self) -> &Bytes {
        &self.info.options
    }

    /// The name of the file that declares it.
    pub fn file(&self) -> &str {
        &self.tables.files[self.info.file as usize].name
    }
}

impl OneofType {
    /// Name in the file.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// The message it is in.
    pub fn containing_type(&self) -> MessageType {
        MessageType { tables: self.tables.clone(), table: self.table }
    }

    /// Its members in number order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field> + '_ {
        self.info.members.iter().map(|&i| Field::of(&self.tables, &self.table, i as usize))
    }

    /// Encoded `google.protobuf.OneofOptions`; empty if there are none.
    pub fn options(&self) -> &Bytes {
        &self.info.options
    }
}

impl EnumType {
    pub(crate) fn new(tables: &Arc<Tables>, index: u32) -> EnumType {
        EnumType { tables: tables.clone(), table: pin(tables, &tables.enums[index as usize]) }
    }

    /// `pkg.Outer.Name`.
    pub fn full_name(&self) -> &str {
        &self.table.full_name
    }

    /// The last part of the full name.
    pub fn name(&self) -> &str {
        last_part(self.full_name())
    }

    /// The schema this type is of.
    pub fn schema(&self) -> Schema {
        Schema(self.tables.clone())
    }

    /// The name of the file that declares it.
    pub fn file(&self) -> &str {
        &self.tables.files[self.table.file as usize].name
    }

    /// Name and number as declared, aliases included.
    pub fn values(&self) -> impl ExactSizeIterator<Item = (&str, i32)> {
        self.table.values.iter().map(|(name, number, _)| (&**name, *number))
    }

    /// The number of the value with this name.
    pub fn number_of(&self, name: &str) -> Option<i32> {
        self.table.by_name.get(name).map(|&i| self.table.values[i as usize].1)
    }

    /// The name of the value with this number; the first declared where aliases share it.
    pub fn name_of(&self, number: i32) -> Option<&str> {
        self.table.index_of(number).map(|i| &*self.table.values[i as usize].0)
    }

    /// Encoded `google.protobuf.EnumValueOptions` of a value.
    pub fn value_options(&self, name: &str) -> Option<&Bytes> {
        self.table.by_name.get(name).map(|&i| &self.table.values[i as usize].2)
    }

    /// Whether only declared numbers are accepted.
    pub fn is_closed(&self) -> bool {
        !self.table.open
    }

    /// The message type this one is declared in.
    pub fn parent(&self) -> Option<MessageType> {
        (self.table.parent != NONE).then(|| MessageType::new(&self.tables, self.table.parent))
    }

    /// Encoded `google.protobuf.EnumOptions`; empty if there are none.
    pub fn options(&self) -> &Bytes {
        &self.table.options
    }
}

impl Service {
    pub(crate) fn new(tables: &Arc<Tables>, index: u32) -> Service {
        Service { tables: tables.clone(), table: pin(tables, &tables.services[index as usize]) }
    }

    /// `pkg.Service`.
    pub fn full_name(&self) -> &str {
        &self.table.full_name
    }

    /// The last part of the full name.
    pub fn name(&self) -> &str {
        last_part(self.full_name())
    }

    /// The schema this service is of.
    pub fn schema(&self) -> Schema {
        Schema(self.tables.clone())
    }

    /// The name of the file that declares it.
    pub fn file(&self) -> &str {
        &self.tables.files[self.table.file as usize].name
    }

    /// Its methods in the order of the file.
    pub fn methods(&self) -> impl ExactSizeIterator<Item = Method> + '_ {
        self.table.methods.iter().map(|m| self.method_of(m))
    }

    /// The method with this name.
    pub fn method(&self, name: &str) -> Option<Method> {
        self.table.methods.iter().find(|m| &*m.name == name).map(|m| self.method_of(m))
    }

    pub(crate) fn method_of(&self, table: &MethodTable) -> Method {
        Method { tables: self.tables.clone(), service: self.table, table: pin(&self.tables, table) }
    }

    /// Encoded `google.protobuf.ServiceOptions`; empty if there are none.
    pub fn options(&self) -> &Bytes {
        &self.table.options
    }
}

impl Method {
    /// Name in the file.
    pub fn name(&self) -> &str {
        &self.table.name
    }

    /// `pkg.Service.Method`.
    pub fn full_name(&self) -> &str {
        &self.table.full_name
    }

    /// `/pkg.Service/Method`: the `:path` of a call.
    pub fn path(&self) -> &str {
        &self.table.path
    }

    /// The service it is in.
    pub fn service(&self) -> Service {
        Service { tables: self.tables.clone(), table: self.service }
    }

    /// Type of the requests.
    pub fn input(&self) -> MessageType {
        MessageType::new(&self.tables, self.table.input)
    }

    /// Type of the answers.
    pub fn output(&self) -> MessageType {
        MessageType::new(&self.tables, self.table.output)
    }

    /// Whether the client sends a stream.
    pub fn is_client_streaming(&self) -> bool {
        self.table.client_streaming
    }

    /// Whether the server sends a stream.
    pub fn is_server_streaming(&self) -> bool {
        self.table.server_streaming
    }

    /// Encoded `google.protobuf.MethodOptions`; empty if there are none.
    pub fn options(&self) -> &Bytes {
        &self.table.options
    }
}

fn last_part(full_name: &str) -> &str {
    full_name.rsplit('.').next().unwrap_or(full_name)
}

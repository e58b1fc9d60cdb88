//! Schemas: descriptors in, one immutable table out, and every question a name can ask.

mod build;
mod builder;
mod default;
mod descriptor;
mod features;
mod handles;
mod layout;
mod link;
mod pinned;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(feature = "protox")]
mod text;
mod well_known;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use builder::SchemaBuilder;
pub use features::Syntax;
pub use handles::{EnumType, Field, MessageType, Method, OneofType, Service};
pub use table::Kind;
pub use well_known::WellKnown;

use crate::error::SchemaError;
use table::{Symbol, Tables};

/// An immutable set of descriptors, compiled. Cloning shares it.
#[derive(Clone)]
pub struct Schema(pub(crate) Arc<Tables>);

impl Schema {
    /// A schema from the bytes of a `FileDescriptorSet` (`protoc --include_imports -o`). Order does not matter.
    ///
    /// # Errors
    /// Bytes that are no descriptors, imports that are not in the set, and whatever contradicts itself.
    pub fn from_descriptor_set(bytes: impl Into<Bytes>) -> Result<Schema, SchemaError> {
        let mut builder = SchemaBuilder::new();
        builder.add_set(bytes)?;
        builder.build()
    }

    /// A schema from the bytes of single `FileDescriptorProto`s, in any order.
    ///
    /// # Errors
    /// As [`Schema::from_descriptor_set`].
    pub fn from_files(files: impl IntoIterator<Item = Bytes>) -> Result<Schema, SchemaError> {
        let mut builder = SchemaBuilder::new();
        for file in files {
            builder.add_file(file)?;
        }
        builder.build()
    }

    /// Collects files one at a time.
    pub fn builder() -> SchemaBuilder {
        SchemaBuilder::new()
    }

    /// Both schemas as one. A file they share counts once; of two different `google/protobuf/*.proto` the one in `self`
    /// is kept. Messages of either schema stay with the one they were made by.
    ///
    /// # Errors
    /// Two different files of one name, or two files that declare one name.
    pub fn merge(&self, other: &Schema) -> Result<Schema, SchemaError> {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ok(self.clone());
        }
        let mut builder = SchemaBuilder::new();
        for file in self.0.files.iter().chain(&other.0.files) {
            builder.add_file(file.bytes.clone())?;
        }
        builder.build()
    }

    /// Whether both are the same table.
    pub fn same_as(&self, other: &Schema) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The message type with this full name.
    pub fn message(&self, full_name: &str) -> Option<MessageType> {
        match self.0.symbols.get(full_name) {
            Some(&Symbol::Message(i)) => Some(MessageType::new(&self.0, i)),
            _ => None,
        }
    }

    /// The enum type with this full name.
    pub fn enum_type(&self, full_name: &str) -> Option<EnumType> {
        match self.0.symbols.get(full_name) {
            Some(&Symbol::Enum(i)) => Some(EnumType::new(&self.0, i)),
            _ => None,
        }
    }

    /// The service with this full name.
    pub fn service(&self, full_name: &str) -> Option<Service> {
        match self.0.symbols.get(full_name) {
            Some(&Symbol::Service(i)) => Some(Service::new(&self.0, i)),
            _ => None,
        }
    }

    /// The method a call's path names: `/pkg.Service/Method`, with or without the first slash.
    pub fn method(&self, path: &str) -> Option<Method> {
        let (service, method) = path.strip_prefix('/').unwrap_or(path).rsplit_once('/')?;
        self.service(service)?.method(method)
    }

    /// The extension with this full name.
    pub fn extension(&self, full_name: &str) -> Option<Field> {
        match self.0.symbols.get(full_name) {
            Some(&Symbol::Extension(i)) => Some(Field::extension(&self.0, i)),
            _ => None,
        }
    }

    /// The extension of the type called `extended` with this number.
    pub fn extension_by_number(&self, extended: &str, number: u32) -> Option<Field> {
        let Some(&Symbol::Message(i)) = self.0.symbols.get(extended) else { return None };
        self.0.extension_index.get(&(i, number)).map(|&x| Field::extension(&self.0, x))
    }

    /// All message types, nested and map entry types included.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = MessageType> + '_ {
        (0..self.0.messages.len() as u32).map(|i| MessageType::new(&self.0, i))
    }

    /// All enum types.
    pub fn enums(&self) -> impl ExactSizeIterator<Item = EnumType> + '_ {
        (0..self.0.enums.len() as u32).map(|i| EnumType::new(&self.0, i))
    }

    /// All services.
    pub fn services(&self) -> impl ExactSizeIterator<Item = Service> + '_ {
        (0..self.0.services.len() as u32).map(|i| Service::new(&self.0, i))
    }

    /// All extensions.
    pub fn extensions(&self) -> impl ExactSizeIterator<Item = Field> + '_ {
        (0..self.0.extensions.len() as u32).map(|i| Field::extension(&self.0, i))
    }

    /// The files, each behind those it imports.
    pub fn file_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.files.iter().map(|f| &*f.name)
    }

    fn file(&self, name: &str) -> Option<&table::FileTable> {
        self.0.file_index.get(name).map(|&i| &self.0.files[i as usize])
    }

    /// The file's `FileDescriptorProto` as it was given.
    pub fn file_bytes(&self, name: &str) -> Option<Bytes> {
        self.file(name).map(|f| f.bytes.clone())
    }

    /// The package a file declares; empty for none.
    pub fn file_package(&self, name: &str) -> Option<&str> {
        self.file(name).map(|f| &*f.package)
    }

    /// The language a file is written in.
    pub fn file_syntax(&self, name: &str) -> Option<Syntax> {
        self.file(name).map(|f| f.syntax)
    }

    /// Encoded `google.protobuf.FileOptions` of a file.
    pub fn file_options(&self, name: &str) -> Option<&Bytes> {
        self.file(name).map(|f| &f.options)
    }

    /// The file that declares a message, enum, enum value, service, method, field, oneof or extension.
    pub fn file_of_symbol(&self, full_name: &str) -> Option<&str> {
        let t = &self.0;
        let file = match *t.symbols.get(full_name)? {
            Symbol::Package => return None,
            Symbol::Message(i) | Symbol::Field(i, _) | Symbol::Oneof(i) => {
                t.messages[i as usize].info.file
            }
            Symbol::Enum(i) | Symbol::Value(i) => t.enums[i as usize].file,
            Symbol::Service(i) | Symbol::Method(i, _) => t.services[i as usize].file,
            Symbol::Extension(i) => t.extensions[i as usize].info.file,
        };
        Some(&t.files[file as usize].name)
    }

    /// The file that declares the extension of the type called `extended` with this number.
    pub fn file_of_extension(&self, extended: &str, number: u32) -> Option<&str> {
        let Some(&Symbol::Message(i)) = self.0.symbols.get(extended) else { return None };
        let &x = self.0.extension_index.get(&(i, number))?;
        Some(&self.0.files[self.0.extensions[x as usize].info.file as usize].name)
    }

    /// The numbers of all known extensions of a type, ascending; `None` if there is no such type.
    pub fn extension_numbers(&self, extended: &str) -> Option<Vec<u32>> {
        let Some(&Symbol::Message(i)) = self.0.symbols.get(extended) else { return None };
        let mut numbers: Vec<u32> =
            self.0.extension_index.keys().filter(|k| k.0 == i).map(|k| k.1).collect();
        numbers.sort_unstable();
        Some(numbers)
    }

    /// What a file imports itself.
    pub fn imports(&self, name: &str) -> Vec<&str> {
        self.file(name).map_or(Vec::new(), |f| f.imports.iter().map(|i| &**i).collect())
    }

    /// All files a file needs, each once, nearest first, the file itself not among them.
    pub fn transitive_imports(&self, name: &str) -> Vec<&str> {
        let mut seen = std::collections::HashSet::from([name.to_owned()]);
        let (mut order, mut next) = (self.imports(name), 0);
        order.retain(|i| self.0.file_index.contains_key(*i) && seen.insert((*i).to_owned()));
        while let Some(&file) = order.get(next) {
            next += 1;
            for import in self.imports(file) {
                if self.0.file_index.contains_key(import) && seen.insert(import.to_owned()) {
                    order.push(import);
                }
            }
        }
        order
    }

    /// All files as one encoded `FileDescriptorSet`; [`Schema::from_descriptor_set`] gives the schema back.
    pub fn to_descriptor_set(&self) -> Vec<u8> {
        let mut set = Vec::new();
        for file in &self.0.files {
            set.push(0x0a);
            let mut len = file.bytes.len();
            while len >= 0x80 {
                set.push(len as u8 | 0x80);
                len >>= 7;
            }
            set.push(len as u8);
            set.extend_from_slice(&file.bytes);
        }
        set
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.file_names().collect::<Vec<_>>()).finish()
    }
}

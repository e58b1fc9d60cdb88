//! Collects file descriptors one at a time, as a reflection client gets them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Schema;
use super::build::{Source, link};
use super::descriptor::{parse_file, split_set};
use crate::error::SchemaError;

/// Files on their way to a [`Schema`]. Any order; a file given twice counts once.
#[derive(Debug, Default)]
pub struct SchemaBuilder {
    files: Vec<Source>,
    by_name: HashMap<String, usize>,
}

impl SchemaBuilder {
    /// No files yet.
    pub fn new() -> SchemaBuilder {
        SchemaBuilder::default()
    }

    /// Adds one encoded `FileDescriptorProto` and gives its name.
    ///
    /// # Errors
    /// Bytes that are no descriptor; another file of the same name with other content. Of two different
    /// `google/protobuf/*.proto` the first is kept: every compiler ships its own, and they mean the same.
    pub fn add_file(&mut self, bytes: impl Into<Bytes>) -> Result<String, SchemaError> {
        let bytes = bytes.into();
        let file = parse_file(&bytes)?;
        let name = file.name.clone();
        if let Some(&index) = self.by_name.get(&name) {
            if self.files[index].0 != bytes && !name.starts_with("google/protobuf/") {
                return Err(SchemaError::FileConflict { file: name });
            }
            return Ok(name);
        }
        self.by_name.insert(name.clone(), self.files.len());
        self.files.push((bytes, Arc::new(file)));
        Ok(name)
    }

    /// Adds every file of an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// As [`SchemaBuilder::add_file`].
    pub fn add_set(&mut self, bytes: impl Into<Bytes>) -> Result<(), SchemaError> {
        for file in split_set(&bytes.into())? {
            self.add_file(file)?;
        }
        Ok(())
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether no file was added.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether a file of this name was added.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The imports that were not added yet, each once: what a reflection client has to ask for next.
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = self
            .files
            .iter()
            .flat_map(|(_, f)| &f.dependencies)
            .filter(|d| !self.contains(d))
            .cloned()
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Compiles what was added.
    ///
    /// # Errors
    /// An import that is missing (naming both files), a circle of imports, and whatever contradicts itself.
    pub fn build(&self) -> Result<Schema, SchemaError> {
        link(&self.files).map(Schema)
    }
}

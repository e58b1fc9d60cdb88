//! `.proto` text, parsed and checked by protox (proto2 and proto3; it bundles google/protobuf/*.proto).
//!
//! The seam for other languages: whatever turns names into `FileDescriptorProto` bytes fits in `compile`'s place.
//! A file in editions syntax is refused by protox with the place of the `edition` statement.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

use super::{Schema, SchemaBuilder};
use crate::error::SchemaError;

impl Schema {
    /// Compiles `.proto` files. Imports are searched along `include` in order; without any, in the current directory and
    /// in the folders of `files` (those of absolute paths first). A file may be given by path or by its name below an include path.
    ///
    /// # Errors
    /// A file that cannot be found, and anything that does not compile, with file, line and column.
    pub fn load<F, I>(files: F, include: I) -> Result<Schema, SchemaError>
    where
        F: IntoIterator<Item: AsRef<Path>>,
        I: IntoIterator<Item: AsRef<Path>>,
    {
        let files: Vec<PathBuf> = files.into_iter().map(|f| f.as_ref().to_owned()).collect();
        let mut include: Vec<PathBuf> =
            include.into_iter().map(|p| p.as_ref().to_owned()).collect();
        if include.is_empty() {
            let folders =
                files.iter().filter_map(|f| f.parent()).filter(|f| !f.as_os_str().is_empty());
            // an absolute path means that very file, whatever the current directory holds
            let (absolute, relative): (Vec<_>, Vec<_>) = folders.partition(|f| f.is_absolute());
            for folder in absolute.into_iter().chain([Path::new(".")]).chain(relative) {
                if !include.iter().any(|i| i == folder) {
                    include.push(folder.to_owned());
                }
            }
        }
        let mut resolver = ChainFileResolver::new();
        for path in &include {
            resolver.add(IncludeFileResolver::new(path.clone()));
        }
        resolver.add(GoogleFileResolver::new());
        compile(resolver, files)
    }

    /// Compiles `.proto` text held in memory: pairs of file name and text, which may import each other.
    ///
    /// # Errors
    /// As [`Schema::load`].
    pub fn from_source<N, T>(files: impl IntoIterator<Item = (N, T)>) -> Result<Schema, SchemaError>
    where
        N: Into<String>,
        T: Into<String>,
    {
        let files: Vec<(String, String)> =
            files.into_iter().map(|(n, t)| (n.into(), t.into())).collect();
        let names = files.iter().map(|(n, _)| PathBuf::from(n)).collect();
        let mut resolver = ChainFileResolver::new();
        resolver.add(InMemory(files.into_iter().collect()));
        resolver.add(GoogleFileResolver::new());
        compile(resolver, names)
    }
}

impl SchemaBuilder {
    /// Adds those missing imports that are bundled (`google/protobuf/*.proto`), and says how many files came in: a server's
    /// reflection may leave them out.
    pub fn add_bundled(&mut self) -> usize {
        let before = self.len();
        for name in self.missing() {
            let bundled = name.starts_with("google/protobuf/");
            let found = bundled.then(|| compiled(GoogleFileResolver::new(), &[name.into()]));
            if let Some(Ok(set)) = found {
                // a file that is there already stays as it is
                let _ = self.add_set(set);
            }
        }
        self.len() - before
    }
}

struct InMemory(HashMap<String, String>);

impl FileResolver for InMemory {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn compile(
    resolver: impl FileResolver + 'static,
    files: Vec<PathBuf>,
) -> Result<Schema, SchemaError> {
    Schema::from_descriptor_set(compiled(resolver, &files)?)
}

/// The files and all they import as an encoded `FileDescriptorSet`.
fn compiled(
    resolver: impl FileResolver + 'static,
    files: &[PathBuf],
) -> Result<Vec<u8>, SchemaError> {
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(false);
    for file in files {
        compiler.open_file(file).map_err(|e| error(file, &e))?;
    }
    Ok(compiler.encode_file_descriptor_set())
}

fn error(asked: &Path, e: &protox::Error) -> SchemaError {
    // the place is part of the debug text only: `file:line:column: reason`
    let (text, file) = (format!("{e:?}"), e.file().unwrap_or_default().to_owned());
    let place = text.strip_prefix(&file).and_then(|rest| {
        let mut parts = rest.strip_prefix(':')?.splitn(3, ':');
        Some((
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
            parts.next()?.trim().to_owned(),
        ))
    });
    match place {
        Some((line, column, reason)) if !file.is_empty() => {
            SchemaError::Source { file, line, column, reason }
        }
        _ => {
            let file = if file.is_empty() { asked.display().to_string() } else { file };
            SchemaError::Io { file, reason: e.to_string() }
        }
    }
}

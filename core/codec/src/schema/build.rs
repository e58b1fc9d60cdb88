//! Links parsed files into one table: names, types, features, checks.
//!
//! Files may come in any order. Everything that contradicts itself is an error that names file and element; a schema that
//! was built can be used without further checks. Spec: descriptor.proto; protobuf.dev "Language Guide" for the rules.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::descriptor::{EnumProto, FieldProto, FileProto, MessageProto};
use super::features::{Features, Syntax, option_varint};
use super::table::*;
use crate::error::SchemaError;

/// Longest full name. A few bytes of descriptor repeat the whole name of their scope, so names are what grows.
const MAX_NAME_BYTES: usize = 2048;
/// Bytes of all full names of a schema; what they take in memory is a small multiple of it.
const MAX_ALL_NAMES_BYTES: usize = 256 << 20;
/// Parts of a package name.
const MAX_PACKAGE_PARTS: usize = 32;

/// A file together with the bytes it was read from.
pub(crate) type Source = (Bytes, Arc<FileProto>);

/// A type that has a name and an index but is not laid out yet.
pub(super) struct Pending<'a> {
    pub(super) proto: &'a MessageProto,
    pub(super) full_name: String,
    pub(super) file: u32,
    pub(super) parent: u32,
    pub(super) features: Features,
    pub(super) is_map_entry: bool,
}

pub(super) struct Linker<'a> {
    pub(super) files: &'a [Source],
    pub(super) symbols: HashMap<Box<str>, Symbol>,
    pub(super) owner: HashMap<Box<str>, u32>,
    pub(super) pending: Vec<Pending<'a>>,
    pub(super) enums: Vec<EnumTable>,
    /// Bytes of all full names so far.
    pub(super) name_bytes: usize,
    /// Declared extensions: proto, scope, file, inherited features.
    pub(super) extensions: Vec<(&'a FieldProto, String, u32, Features)>,
}

/// Builds the table.
pub(crate) fn link(files: &[Source]) -> Result<Arc<Tables>, SchemaError> {
    let files = &sorted(files)?[..];
    let mut linker = Linker {
        files,
        symbols: HashMap::new(),
        owner: HashMap::new(),
        pending: Vec::new(),
        enums: Vec::new(),
        name_bytes: 0,
        extensions: Vec::new(),
    };
    for (index, (_, file)) in files.iter().enumerate() {
        linker.declare_file(index as u32, file)?;
    }
    linker.finish()
}

/// Files so that each comes after those it imports.
fn sorted(files: &[Source]) -> Result<Vec<Source>, SchemaError> {
    let by_name: HashMap<&str, usize> =
        files.iter().enumerate().map(|(i, f)| (f.1.name.as_str(), i)).collect();
    let (mut state, mut order) = (vec![0u8; files.len()], Vec::with_capacity(files.len()));
    for start in 0..files.len() {
        // an explicit stack: a chain of imports may be as long as the set
        let mut stack = vec![(start, 0usize)];
        while let Some((index, next)) = stack.pop() {
            let file = &files[index].1;
            if next == 0 {
                if state[index] != 0 {
                    continue;
                }
                state[index] = 1;
            }
            let hard = next < file.dependencies.len();
            let import = file
                .dependencies
                .get(next)
                .or_else(|| file.soft_dependencies.get(next - file.dependencies.len()));
            let Some(import) = import else {
                state[index] = 2;
                order.push(files[index].clone());
                continue;
            };
            stack.push((index, next + 1));
            match by_name.get(import.as_str()) {
                Some(&to) if state[to] == 0 => stack.push((to, 0)),
                Some(&to) if state[to] == 1 => {
                    return Err(SchemaError::ImportCycle { file: file.name.clone() });
                }
                Some(_) => {}
                None if hard => {
                    return Err(SchemaError::MissingImport {
                        file: file.name.clone(),
                        import: import.clone(),
                    });
                }
                None => {}
            }
        }
    }
    Ok(order)
}

impl<'a> Linker<'a> {
    pub(super) fn invalid<T>(
        &self,
        file: u32,
        symbol: &str,
        reason: impl Into<String>,
    ) -> Result<T, SchemaError> {
        let file = self.files.get(file as usize).map(|f| f.1.name.clone()).unwrap_or_default();
        Err(SchemaError::Invalid { file, symbol: symbol.into(), reason: reason.into() })
    }

    pub(super) fn declare(
        &mut self,
        file: u32,
        scope: &str,
        name: &str,
        symbol: Symbol,
    ) -> Result<String, SchemaError> {
        let full = join(scope, name);
        if !is_identifier(name) {
            return self.invalid(file, &full, format!("{name:?} is not an identifier"));
        }
        self.name_bytes += full.len();
        if full.len() > MAX_NAME_BYTES || self.name_bytes > MAX_ALL_NAMES_BYTES {
            return self.invalid(file, name, "the schema's names are too long or too many");
        }
        if self.symbols.contains_key(full.as_str()) {
            let other = self.owner.get(full.as_str()).and_then(|&f| self.files.get(f as usize));
            let place = other.map_or(String::new(), |f| format!(" in {}", f.1.name));
            return self.invalid(file, &full, format!("this name is already taken{place}"));
        }
        self.symbols.insert(full.as_str().into(), symbol);
        self.owner.insert(full.as_str().into(), file);
        Ok(full)
    }

    fn declare_file(&mut self, index: u32, file: &'a FileProto) -> Result<(), SchemaError> {
        if file.package.len() > MAX_NAME_BYTES
            || file.package.split('.').count() > MAX_PACKAGE_PARTS
        {
            return self.invalid(index, "package", "the package name is too long");
        }
        let mut prefix = String::new();
        for part in file.package.split('.').filter(|_| !file.package.is_empty()) {
            prefix = join(&prefix, part);
            match self.symbols.get(prefix.as_str()) {
                None if !is_identifier(part) => {
                    return self.invalid(index, &prefix, "the package name is not valid");
                }
                None => {
                    self.symbols.insert(prefix.as_str().into(), Symbol::Package);
                    self.owner.insert(prefix.as_str().into(), index);
                }
                Some(Symbol::Package) => {}
                Some(_) => {
                    return self.invalid(
                        index,
                        &prefix,
                        "this name is already taken by something else",
                    );
                }
            }
        }
        let features =
            Features::of(file.syntax.unwrap_or(Syntax::Proto2)).with_options(&file.options, 50);
        for m in &file.messages {
            self.declare_message(index, &file.package, NONE, m, features)?;
        }
        for e in &file.enums {
            self.declare_enum(index, &file.package, NONE, e, features)?;
        }
        for x in &file.extensions {
            self.declare_extension(index, &file.package, x, features)?;
        }
        Ok(())
    }

    fn declare_extension(
        &mut self,
        file: u32,
        scope: &str,
        x: &'a FieldProto,
        features: Features,
    ) -> Result<(), SchemaError> {
        let index = self.extensions.len() as u32;
        self.declare(file, scope, &x.name, Symbol::Extension(index))?;
        self.extensions.push((x, scope.to_owned(), file, features));
        Ok(())
    }

    fn declare_message(
        &mut self,
        file: u32,
        scope: &str,
        parent: u32,
        m: &'a MessageProto,
        outer: Features,
    ) -> Result<(), SchemaError> {
        let index = self.pending.len() as u32;
        let full_name = self.declare(file, scope, &m.name, Symbol::Message(index))?;
        let features = outer.with_options(&m.options, 12);
        self.pending.push(Pending {
            proto: m,
            full_name: full_name.clone(),
            file,
            parent,
            features,
            is_map_entry: option_varint(&m.options, 7) == Some(1),
        });
        for (i, f) in m.fields.iter().enumerate() {
            self.declare(file, &full_name, &f.name, Symbol::Field(index, i as u32))?;
        }
        for (name, _) in &m.oneofs {
            self.declare(file, &full_name, name, Symbol::Oneof(index))?;
        }
        for nested in &m.messages {
            self.declare_message(file, &full_name, index, nested, features)?;
        }
        for e in &m.enums {
            self.declare_enum(file, &full_name, index, e, features)?;
        }
        for x in &m.extensions {
            self.declare_extension(file, &full_name, x, features)?;
        }
        Ok(())
    }

    fn declare_enum(
        &mut self,
        file: u32,
        scope: &str,
        parent: u32,
        e: &EnumProto,
        outer: Features,
    ) -> Result<(), SchemaError> {
        let index = self.enums.len() as u32;
        let full_name = self.declare(file, scope, &e.name, Symbol::Enum(index))?;
        let features = outer.with_options(&e.options, 7);
        if e.values.is_empty() {
            return self.invalid(file, &full_name, "an enum needs at least one value");
        }
        let mut by_name = HashMap::new();
        let mut by_number: Vec<(i32, u32)> = Vec::new();
        for (i, (name, number, _)) in e.values.iter().enumerate() {
            // values live beside their enum, not inside it
            self.declare(file, scope, name, Symbol::Value(index))?;
            by_name.insert(name.as_str().into(), i as u32);
            by_number.push((*number, i as u32));
        }
        by_number.sort_by_key(|&(n, i)| (n, i));
        by_number.dedup_by_key(|e| e.0);
        self.enums.push(EnumTable {
            full_name: full_name.into(),
            file,
            parent,
            open: features.open_enum,
            values: e.values.iter().map(|(n, v, o)| (n.as_str().into(), *v, o.clone())).collect(),
            by_name,
            by_number: by_number.into(),
            options: e.options.clone(),
        });
        Ok(())
    }

    /// What `name` means inside `scope`: absolute with a leading dot, else the innermost match.
    pub(super) fn resolve(&self, scope: &str, name: &str) -> Option<Symbol> {
        if let Some(absolute) = name.strip_prefix('.') {
            return self.symbols.get(absolute).copied();
        }
        let mut scope = scope;
        loop {
            match self.symbols.get(join(scope, name).as_str()) {
                Some(&found @ (Symbol::Message(_) | Symbol::Enum(_))) => return Some(found),
                _ if scope.is_empty() => return None,
                _ => scope = scope.rfind('.').map_or("", |dot| &scope[..dot]),
            }
        }
    }

    fn finish(mut self) -> Result<Arc<Tables>, SchemaError> {
        let mut messages = Vec::with_capacity(self.pending.len());
        for index in 0..self.pending.len() {
            messages.push(self.message(index)?);
        }
        self.check_maps(&mut messages)?;
        let extensions = self.link_extensions(&messages)?;
        let services = self.link_services()?;
        let mut extension_index = HashMap::new();
        for (i, x) in extensions.iter().enumerate() {
            if let Some(other) = extension_index.insert((x.info.owner, x.entry.number), i as u32) {
                let other: &ExtensionTable = &extensions[other as usize];
                let reason = format!(
                    "number {} is already taken by {}",
                    x.entry.number, other.info.full_name
                );
                return self.invalid(x.info.file, &x.info.full_name, reason);
            }
        }
        super::link::mark_required(&mut messages);
        let files: Vec<FileTable> = self
            .files
            .iter()
            .map(|(bytes, f)| FileTable {
                name: f.name.as_str().into(),
                package: f.package.as_str().into(),
                syntax: f.syntax.unwrap_or(Syntax::Proto2),
                imports: f
                    .dependencies
                    .iter()
                    .chain(&f.soft_dependencies)
                    .map(|d| d.as_str().into())
                    .collect(),
                options: f.options.clone(),
                bytes: bytes.clone(),
            })
            .collect();
        let file_index =
            files.iter().enumerate().map(|(i, f)| (f.name.clone(), i as u32)).collect();
        let (enums, symbols) = (self.enums, self.symbols);
        Ok(Arc::new_cyclic(|weak| {
            for m in &mut messages {
                m.tables = weak.clone();
            }
            Tables {
                files,
                file_index,
                messages,
                enums,
                services,
                extensions,
                extension_index,
                symbols,
            }
        }))
    }
}

pub(crate) fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.bytes();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

/// lowerCamelCase as protoc makes it: underscores go, the letter behind one is raised.
pub(crate) fn json_name(name: &str) -> String {
    let (mut out, mut raise) = (String::with_capacity(name.len()), false);
    for c in name.chars() {
        if c == '_' {
            raise = true;
        } else {
            out.push(if raise { c.to_ascii_uppercase() } else { c });
            raise = false;
        }
    }
    out
}

//! Links parsed files into one table: names, types, features, checks.
//!
//! Files may come in any order. Everything that contradicts itself is an error that names file and element; a schema that
//! was built can be used without further checks. Spec: descriptor.proto; protobuf.dev "Language Guide" for the rules.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::descriptor::{EnumProto, FieldProto, FileProto, MessageProto};
use super::features::{Features, Presence, Syntax, option_varint};
use super::layout;
use super::table::*;
use super::well_known::WellKnown;
use crate::error::SchemaError;
use crate::wire::MAX_FIELD_NUMBER;

/// Longest full name. A few bytes of descriptor repeat the whole name of their scope, so names are what grows.
const MAX_NAME_BYTES: usize = 2048;
/// Bytes of all full names of a schema; what they take in memory is a small multiple of it.
const MAX_ALL_NAMES_BYTES: usize = 256 << 20;
/// Parts of a package name.
const MAX_PACKAGE_PARTS: usize = 32;

/// A file together with the bytes it was read from.
pub(crate) type Source = (Bytes, Arc<FileProto>);

/// A type that has a name and an index but is not laid out yet.
struct Pending<'a> {
    proto: &'a MessageProto,
    full_name: String,
    file: u32,
    parent: u32,
    features: Features,
    is_map_entry: bool,
}

struct Linker<'a> {
    files: &'a [Source],
    symbols: HashMap<Box<str>, Symbol>,
    owner: HashMap<Box<str>, u32>,
    pending: Vec<Pending<'a>>,
    enums: Vec<EnumTable>,
    /// Bytes of all full names so far.
    name_bytes: usize,
    /// Declared extensions: proto, scope, file, inherited features.
    extensions: Vec<(&'a FieldProto, String, u32, Features)>,
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
            let import = file.dependencies.get(next).or_else(|| file.soft_dependencies.get(next - file.dependencies.len()));
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
    fn invalid<T>(
        &self,
        file: u32,
        symbol: &str,
        reason: impl Into<String>,
    ) -> Result<T, SchemaError> {
        let file = self.files.get(file as usize).map(|f| f.1.name.clone()).unwrap_or_default();
        Err(SchemaError::Invalid { file, symbol: symbol.into(), reason: reason.into() })
    }

    fn declare(
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
        if file.package.len() > MAX_NAME_BYTES || file.package.split('.').count() > MAX_PACKAGE_PARTS {
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
    fn resolve(&self, scope: &str, name: &str) -> Option<Symbol> {
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
        mark_required(&mut messages);
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

    fn message(&self, index: usize) -> Result<MessageTable, SchemaError> {
        let p = &self.pending[index];
        let (proto, file, name) = (p.proto, p.file, p.full_name.as_str());
        if proto.fields.len() >= NONE16 as usize {
            return self.invalid(file, name, "more fields than this library supports (65,534)");
        }
        let mut extension_ranges = Vec::new();
        let message_set = option_varint(&proto.options, 1) == Some(1);
        let top = if message_set { i32::MAX as u32 } else { MAX_FIELD_NUMBER };
        for &(start, end) in &proto.extension_ranges {
            if start < 1 || end <= start || end as u32 - 1 > top {
                return self.invalid(
                    file,
                    name,
                    format!("extension range {start} to {end} is not valid"),
                );
            }
            extension_ranges.push((start as u32, end as u32));
        }
        extension_ranges.sort_unstable();
        if extension_ranges.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return self.invalid(file, name, "extension ranges overlap");
        }
        let mut declared: Vec<(FieldEntry, FieldInfo)> = Vec::with_capacity(proto.fields.len());
        let mut oneof_members = vec![0usize; proto.oneofs.len()];
        let mut synthetic = vec![false; proto.oneofs.len()];
        for f in &proto.fields {
            let (mut features, mut oneof) = (p.features, NONE16);
            if let Some(i) = f.oneof {
                let Some(group) = usize::try_from(i).ok().and_then(|i| proto.oneofs.get(i)) else {
                    return self.invalid(
                        file,
                        &join(name, &f.name),
                        format!("there is no oneof number {i}"),
                    );
                };
                features = features.with_options(&group.1, 1);
                oneof_members[i as usize] += 1;
                synthetic[i as usize] |= f.proto3_optional;
                oneof = i as u16;
            }
            declared.push(self.field(f, name, file, features, oneof, Some(index as u32))?);
        }
        for (i, (oneof, _)) in proto.oneofs.iter().enumerate() {
            if oneof_members[i] == 0 || (synthetic[i] && oneof_members[i] != 1) {
                return self.invalid(
                    file,
                    &join(name, oneof),
                    "a oneof needs members (a synthetic one, exactly one)",
                );
            }
        }
        let mut order: Vec<u16> = (0..declared.len() as u16).collect();
        order.sort_by_key(|&i| declared[i as usize].0.number);
        let mut place = vec![0u16; order.len()];
        for (at, &i) in order.iter().enumerate() {
            place[i as usize] = at as u16;
        }
        declared.sort_by_key(|f| f.0.number);
        for pair in declared.windows(2) {
            if pair[0].0.number == pair[1].0.number {
                let reason =
                    format!("number {} is already taken by {}", pair[0].0.number, pair[0].1.name);
                return self.invalid(file, &pair[1].1.full_name, reason);
            }
        }
        for (entry, info) in &declared {
            let n = entry.number;
            if in_ranges(&extension_ranges, n) {
                return self.invalid(
                    file,
                    &info.full_name,
                    format!("number {n} is in an extension range"),
                );
            }
        }
        let (mut fields, mut infos): (Vec<_>, Vec<_>) = declared.into_iter().unzip();
        let mut groups: Vec<layout::Group> = vec![Vec::new(); proto.oneofs.len()];
        let mut lone = vec![0u16; proto.oneofs.len()];
        let last = fields.len().saturating_sub(1);
        for (i, (entry, info)) in fields.iter_mut().zip(&mut infos).enumerate() {
            info.index = i as u16;
            entry.next = match entry.shape {
                Shape::List if !entry.is(FieldEntry::PACKED) => i,
                Shape::Map => i,
                _ => (i + 1).min(last),
            } as u16;
            if info.oneof != NONE16 {
                if synthetic[info.oneof as usize] {
                    lone[info.oneof as usize] = i as u16;
                    entry.shape = Shape::Single;
                    info.oneof = NONE16;
                } else {
                    groups[info.oneof as usize].push(i as u16);
                }
            }
        }
        let placed = layout::place(&mut fields, &groups);
        let oneofs = proto.oneofs.iter().enumerate().map(|(i, (name, options))| OneofInfo {
            name: name.as_str().into(),
            options: options.clone(),
            case: placed.cases[i],
            members: match synthetic[i] {
                true => [lone[i]].into(),
                false => groups[i].clone().into(),
            },
            synthetic: synthetic[i],
        });
        let oneofs: Box<[OneofInfo]> = oneofs.collect();
        let mut by_json_name = HashMap::new();
        for (i, info) in infos.iter().enumerate() {
            by_json_name.entry(info.json_name.clone()).or_insert(i as u16);
        }
        let map = match (p.is_map_entry, &fields[..]) {
            (true, [key, value]) => Some(layout::map_layout(key.slot, value.slot)),
            _ => None,
        };
        let well_known = WellKnown::of(name, &fields);
        Ok(MessageTable {
            tables: Default::default(),
            index: index as u32,
            size: placed.size,
            by_tag: layout::by_tag(&fields),
            by_number: layout::by_number(&fields),
            required: (0..fields.len() as u16)
                .filter(|&i| fields[i as usize].is(FieldEntry::REQUIRED))
                .collect(),
            needs_check: false,
            extendable: !extension_ranges.is_empty(),
            message_set,
            map,
            info: MessageInfo {
                full_name: name.into(),
                file,
                parent: p.parent,
                by_name: infos
                    .iter()
                    .enumerate()
                    .map(|(i, f)| (f.name.clone(), i as u16))
                    .collect(),
                by_json_name,
                fields: infos.into(),
                oneofs,
                extension_ranges: extension_ranges.into(),
                options: proto.options.clone(),
                declared: place.into(),
                well_known,
            },
            fields: fields.into(),
            default_instance: OnceLock::new(),
        })
    }

    /// One field or extension; `owner` is the message it stands in, for an extension found by its extendee.
    fn field(
        &self,
        f: &FieldProto,
        scope: &str,
        file: u32,
        features: Features,
        oneof: u16,
        owner: Option<u32>,
    ) -> Result<(FieldEntry, FieldInfo), SchemaError> {
        let full_name = join(scope, &f.name);
        let bad = |reason: String| self.invalid(file, &full_name, reason);
        let mut features = features.with_options(&f.options, 21);
        // proto2 and proto3 say in other places what editions say in features
        match option_varint(&f.options, 2) {
            Some(packed) => features.packed = packed != 0,
            None => {}
        }
        let target = match f.type_name.is_empty() {
            true => None,
            false => match self.resolve(scope, &f.type_name) {
                Some(found @ (Symbol::Message(_) | Symbol::Enum(_))) => Some(found),
                Some(_) => return bad(format!("{} is not a type", f.type_name)),
                None => return bad(format!("type {} is not known", f.type_name)),
            },
        };
        let (mut kind, sub) = match (Kind::from_number(f.type_number), target) {
            (Some(k @ (Kind::Message | Kind::Group)), Some(Symbol::Message(i))) => (k, i),
            (Some(Kind::Enum), Some(Symbol::Enum(i))) => (Kind::Enum, i),
            (None, Some(Symbol::Message(i))) if f.type_number == 0 => (Kind::Message, i),
            (None, Some(Symbol::Enum(i))) if f.type_number == 0 => (Kind::Enum, i),
            (Some(k), None) if !matches!(k, Kind::Message | Kind::Group | Kind::Enum) => (k, NONE),
            _ => {
                return bad(format!("its type ({} {:?}) is not valid", f.type_number, f.type_name));
            }
        };
        let repeated = f.label == 3;
        let in_map_entry = owner.is_some_and(|i| self.pending[i as usize].is_map_entry);
        let is_map =
            kind == Kind::Message && self.pending.get(sub as usize).is_some_and(|m| m.is_map_entry);
        if kind == Kind::Message && features.delimited && !is_map && !in_map_entry {
            kind = Kind::Group;
        }
        if is_map && (!repeated || owner.is_none_or(|o| self.pending[sub as usize].parent != o)) {
            return bad("a map entry type may only be used by its own map field".into());
        }
        let extension = owner.is_none();
        let owner = match owner {
            Some(owner) => owner,
            None => match self.resolve(scope, &f.extendee) {
                Some(Symbol::Message(i)) => i,
                _ => return bad(format!("extends {:?}, which is not a known message", f.extendee)),
            },
        };
        let extended_set =
            extension && option_varint(&self.pending[owner as usize].proto.options, 1) == Some(1);
        let top = if extended_set { i32::MAX } else { MAX_FIELD_NUMBER as i32 };
        if f.number < 1 || f.number > top || (19_000..20_000).contains(&f.number) {
            return bad(format!("field number {} is not allowed", f.number));
        }
        let message_like = matches!(kind, Kind::Message | Kind::Group);
        let required = f.label == 2
            || (features.presence == Presence::Required && !repeated && oneof == NONE16);
        if required && (extension || oneof != NONE16) {
            return bad("an extension or oneof member cannot be required".into());
        }
        let implicit = features.presence == Presence::Implicit
            && !(repeated
                || required
                || extension
                || message_like
                || f.proto3_optional
                || oneof != NONE16);
        if repeated && oneof != NONE16 {
            return bad("a oneof member cannot be repeated".into());
        }
        let packable = repeated && !message_like && !matches!(kind, Kind::String | Kind::Bytes);
        let packed = packable && features.packed;
        let open = kind != Kind::Enum || self.enums[sub as usize].open;
        let number = f.number as u32;
        let wire = layout::wire_type_of(kind);
        // MessageSet numbers above 2^29 never stand in a tag of their own
        let tag =
            if number > MAX_FIELD_NUMBER { 0 } else { number << 3 | if packed { 2 } else { wire } };
        let alt_tag =
            if packable && tag != 0 { number << 3 | if packed { wire } else { 2 } } else { 0 };
        let mut flags = 0;
        for (flag, on) in [
            (FieldEntry::IMPLICIT, implicit),
            (FieldEntry::REQUIRED, required),
            (FieldEntry::PACKED, packed),
            (FieldEntry::UTF8, kind == Kind::String && features.check_utf8),
            (FieldEntry::EXTENSION, extension),
        ] {
            flags |= if on { flag } else { 0 };
        }
        let default = match &f.default {
            None if kind == Kind::Enum => match self.enums[sub as usize].values.first() {
                Some(&(_, n, _)) if n != 0 => FieldDefault::Bits(n as u32 as u64),
                _ => FieldDefault::Zero,
            },
            None => FieldDefault::Zero,
            Some(text) => match super::default::parse(
                kind,
                text,
                self.enums.get(sub as usize).filter(|_| kind == Kind::Enum),
            ) {
                Some(value) => value,
                None => {
                    return bad(format!(
                        "default value {:?} does not fit",
                        String::from_utf8_lossy(text)
                    ));
                }
            },
        };
        let entry = FieldEntry {
            tag,
            alt_tag,
            offset: 0,
            presence: 0,
            sub,
            number,
            op: layout::op_of(kind, features.check_utf8, open),
            shape: match (repeated, is_map, oneof != NONE16) {
                (true, true, _) => Shape::Map,
                (true, false, _) => Shape::List,
                (false, _, true) => Shape::Oneof,
                _ => Shape::Single,
            },
            slot: layout::slot_of(kind),
            kind,
            flags,
            next: 0,
        };
        let json_name = f.json_name.clone().unwrap_or_else(|| json_name(&f.name));
        let info = FieldInfo {
            name: f.name.as_str().into(),
            json_name: json_name.into(),
            full_name: full_name.as_str().into(),
            default,
            oneof,
            index: 0,
            owner,
            extension: NONE,
            file,
            options: f.options.clone(),
            wire_tag: layout::tag_bytes(tag),
        };
        Ok((entry, info))
    }

    fn check_maps(&self, messages: &mut [MessageTable]) -> Result<(), SchemaError> {
        for (m, p) in messages.iter_mut().zip(&self.pending) {
            if !p.is_map_entry {
                continue;
            }
            let good = match &m.fields[..] {
                [key, value] => {
                    let key_kind = !matches!(
                        key.kind,
                        Kind::Double
                            | Kind::Float
                            | Kind::Bytes
                            | Kind::Message
                            | Kind::Group
                            | Kind::Enum
                    );
                    let single =
                        |f: &FieldEntry| f.shape == Shape::Single && !f.is(FieldEntry::REQUIRED);
                    key.number == 1
                        && value.number == 2
                        && key_kind
                        && single(key)
                        && single(value)
                        && value.kind != Kind::Group
                }
                _ => false,
            };
            if !good || !p.proto.extension_ranges.is_empty() || !p.proto.messages.is_empty() {
                return self.invalid(p.file, &p.full_name, "not a valid map entry type");
            }
        }
        Ok(())
    }

    fn link_extensions(
        &self,
        messages: &[MessageTable],
    ) -> Result<Vec<ExtensionTable>, SchemaError> {
        let mut tables = Vec::with_capacity(self.extensions.len());
        for (i, (x, scope, file, features)) in self.extensions.iter().enumerate() {
            let (mut entry, mut info) = self.field(x, scope, *file, *features, NONE16, None)?;
            let ranges = &messages[info.owner as usize].info.extension_ranges;
            if !in_ranges(ranges, entry.number) {
                let reason =
                    format!("{} has no extension range for number {}", x.extendee, entry.number);
                return self.invalid(*file, &info.full_name, reason);
            }
            info.extension = i as u32;
            entry.offset = i as u32;
            tables.push(ExtensionTable { entry, info });
        }
        Ok(tables)
    }

    fn link_services(&mut self) -> Result<Vec<ServiceTable>, SchemaError> {
        let mut services = Vec::new();
        for (file_index, (_, file)) in self.files.iter().enumerate() {
            let file_index = file_index as u32;
            for s in &file.services {
                let index = services.len() as u32;
                let full_name =
                    self.declare(file_index, &file.package, &s.name, Symbol::Service(index))?;
                let mut methods = Vec::with_capacity(s.methods.len());
                for (i, m) in s.methods.iter().enumerate() {
                    let name = self.declare(
                        file_index,
                        &full_name,
                        &m.name,
                        Symbol::Method(index, i as u32),
                    )?;
                    let mut types = [0; 2];
                    for (to, type_name) in types.iter_mut().zip([&m.input, &m.output]) {
                        *to = match self.resolve(&full_name, type_name) {
                            Some(Symbol::Message(i)) => i,
                            _ => {
                                return self.invalid(
                                    file_index,
                                    &name,
                                    format!("{type_name:?} is not a known message"),
                                );
                            }
                        };
                    }
                    methods.push(MethodTable {
                        name: m.name.as_str().into(),
                        path: format!("/{full_name}/{}", m.name).into(),
                        full_name: name.into(),
                        input: types[0],
                        output: types[1],
                        client_streaming: m.client_streaming,
                        server_streaming: m.server_streaming,
                        options: m.options.clone(),
                    });
                }
                let methods = methods.into();
                services.push(ServiceTable {
                    full_name: full_name.into(),
                    file: file_index,
                    options: s.options.clone(),
                    methods,
                });
            }
        }
        Ok(services)
    }
}

/// Whether one of the sorted, disjoint ranges holds `number`.
fn in_ranges(ranges: &[(u32, u32)], number: u32) -> bool {
    let behind = ranges.partition_point(|r| r.0 <= number);
    behind > 0 && ranges[behind - 1].1 > number
}

/// Marks the types whose messages have to be looked through for missing required fields.
fn mark_required(messages: &mut [MessageTable]) {
    let mut users: Vec<Vec<u32>> = vec![Vec::new(); messages.len()];
    let mut work = Vec::new();
    for (i, m) in messages.iter().enumerate() {
        let targets: HashSet<u32> =
            m.fields.iter().filter(|f| f.slot == Slot::Message).map(|f| f.sub).collect();
        for sub in targets {
            users[sub as usize].push(i as u32);
        }
        if !m.required.is_empty() || m.extendable {
            work.push(i as u32);
        }
    }
    while let Some(i) = work.pop() {
        let m = &mut messages[i as usize];
        if !m.needs_check {
            m.needs_check = true;
            work.extend(&users[i as usize]);
        }
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

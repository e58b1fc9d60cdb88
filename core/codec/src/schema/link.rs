//! Resolves what was declared: fields and their types, extensions, services.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use super::build::{Linker, join, json_name};
use super::descriptor::FieldProto;
use super::features::{Features, Presence, option_varint};
use super::layout;
use super::table::*;
use super::well_known::WellKnown;
use crate::error::SchemaError;
use crate::wire::MAX_FIELD_NUMBER;

impl Linker<'_> {
    pub(super) fn message(&self, index: usize) -> Result<MessageTable, SchemaError> {
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
        if let Some(packed) = option_varint(&f.options, 2) {
            features.packed = packed != 0;
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

    pub(super) fn check_maps(&self, messages: &mut [MessageTable]) -> Result<(), SchemaError> {
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

    pub(super) fn link_extensions(
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

    pub(super) fn link_services(&mut self) -> Result<Vec<ServiceTable>, SchemaError> {
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
pub(super) fn mark_required(messages: &mut [MessageTable]) {
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

//! The well-known types, which JSON writes in forms of their own.

use super::error::{JsonError, JsonErrorKind as Kind};
use super::write::{Result, Writer, no_form};
use super::{field_mask, time};
use crate::error::DecodeErrorKind;
use crate::message::raw::{Place, RawMessage};
use crate::schema::WellKnown;
use crate::schema::table::{FieldEntry, MessageTable, Symbol};
use crate::wire::{self, Limits};

impl<'t> Writer<'t> {
    pub(super) fn well_known(
        &mut self,
        known: WellKnown,
        raw: RawMessage,
        table: &'t MessageTable,
        depth: u32,
    ) -> Result<()> {
        match (known, &*table.fields) {
            (WellKnown::Timestamp, [seconds, nanos]) => {
                self.instant(raw, seconds, nanos, "a date", time::push_timestamp)
            }
            (WellKnown::Duration, [seconds, nanos]) => {
                self.instant(raw, seconds, nanos, "a duration", time::push_duration)
            }
            (WellKnown::FieldMask, [paths]) => self.field_mask(raw.place(paths), paths),
            (WellKnown::Struct, [fields]) => self.map(raw.place(fields), fields, depth),
            (WellKnown::ListValue, [values]) => self.list(raw.place(values), values, depth),
            (WellKnown::Value, fields) => match fields.iter().find(|f| raw.is_set(f)) {
                None => Err(no_form("a google.protobuf.Value without a value")),
                Some(entry) => {
                    let place = raw.place(entry);
                    if entry.number == 2 && !f64::from_bits(place.word64()).is_finite() {
                        return Err(no_form("a google.protobuf.Value that is not finite"));
                    }
                    self.value(place, entry, depth)
                }
            },
            (WellKnown::Wrapper(_), [value]) => self.value(raw.place(value), value, depth),
            (WellKnown::Any, [url, value]) => {
                self.any(raw.place(url).text(), raw.place(value).text(), raw, depth)
            }
            _ => {
                self.open(b'{');
                let empty = self.members(raw, table, depth, true)?;
                self.close(b'}', empty);
                Ok(())
            }
        }
    }

    fn instant(
        &mut self,
        raw: RawMessage,
        seconds: &FieldEntry,
        nanos: &FieldEntry,
        what: &str,
        push: fn(&mut Vec<u8>, i64, i32) -> Option<()>,
    ) -> Result<()> {
        let seconds = raw.place(seconds).word64() as i64;
        let nanos = raw.place(nanos).word32() as i32;
        self.out.push(b'"');
        if push(&mut self.out, seconds, nanos).is_none() {
            let reason = format!("{what} out of range: {seconds} seconds, {nanos} nanoseconds");
            return Err(no_form(reason));
        }
        self.out.push(b'"');
        Ok(())
    }

    fn field_mask(&mut self, place: Place, entry: &FieldEntry) -> Result<()> {
        let (vec, stride) = (place.vec(), entry.slot.size());
        self.out.push(b'"');
        for index in 0..vec.len as usize {
            if index > 0 {
                self.out.push(b',');
            }
            let path = vec.element(index, stride).text();
            if field_mask::push_path(&mut self.out, path).is_none() {
                let path = String::from_utf8_lossy(path);
                return Err(no_form(format!("the path {path:?} would not read back")));
            }
        }
        self.out.push(b'"');
        Ok(())
    }

    fn any(&mut self, url: &[u8], value: &[u8], raw: RawMessage, depth: u32) -> Result<()> {
        if url.is_empty() && value.is_empty() {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        let url = std::str::from_utf8(url).map_err(|_| no_form("the string is not UTF-8"))?;
        let symbol = url.rsplit_once('/').and_then(|(_, name)| self.tables.symbols.get(name));
        let table = match symbol {
            Some(&Symbol::Message(index)) => self.tables.messages.get(index as usize),
            _ => None,
        };
        let bad = |reason: String| JsonError::new(Kind::Any, 0, reason);
        let Some(table) = table else {
            return Err(bad(format!("the type {url:?} is not known")));
        };
        // a level of these takes the stack of two others
        let Some(depth) = depth.checked_sub(1) else {
            return Err(JsonError::new(Kind::TooDeep, 0, "nested too deep"));
        };
        let full =
            || JsonError::new(Kind::Memory, 0, "Anys inside each other need too much memory");
        let before = self.memory;
        self.memory = before.checked_sub(value.len()).ok_or_else(full)?;
        let limits = Limits::default().with_max_memory_bytes(self.memory);
        let inner =
            wire::decode_copied(&raw.share_tables(), table, value, &limits).map_err(|e| {
                let kind = match e.kind() {
                    DecodeErrorKind::TooDeep => Kind::TooDeep,
                    DecodeErrorKind::Memory => Kind::Memory,
                    _ => Kind::Any,
                };
                JsonError::new(kind, 0, e.to_string())
            })?;
        self.memory = before.checked_sub(inner.memory_bytes()).ok_or_else(full)?;
        self.open(b'{');
        self.separate(true);
        self.string(b"@type");
        self.colon();
        self.string(url.as_bytes());
        if matches!(table.info.well_known, None | Some(WellKnown::Empty)) {
            self.members(inner.raw(), table, depth, false)?;
        } else {
            self.separate(false);
            self.string(b"value");
            self.colon();
            self.message(inner.raw(), table, depth).map_err(|e| e.in_field("value"))?;
        }
        self.memory = before;
        self.close(b'}', false);
        Ok(())
    }
}

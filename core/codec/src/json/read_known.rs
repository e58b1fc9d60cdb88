//! The well-known types, which JSON writes in forms of their own.

use super::error::{JsonError, JsonErrorKind as Kind};
use super::read::{Reader, Result, twice};
use super::{field_mask, time};
use crate::message::Message;
use crate::message::raw::{Place, RawMessage};
use crate::schema::WellKnown;
use crate::schema::table::{FieldEntry, MessageTable, Symbol};
use crate::wire::EncodeOptions;

impl<'t> Reader<'_, 't> {
    pub(super) fn well_known(
        &mut self,
        known: WellKnown,
        raw: RawMessage,
        table: &'t MessageTable,
        depth: u32,
    ) -> Result<()> {
        match (known, &*table.fields) {
            (WellKnown::Timestamp, [seconds, nanos]) => {
                let what = "a date and time like 2006-01-02T15:04:05Z, from the years 1 to 9999";
                self.instant(raw, seconds, nanos, what, time::parse_timestamp)
            }
            (WellKnown::Duration, [seconds, nanos]) => {
                let what = "a duration like 1.5s, of at most 315576000000s";
                self.instant(raw, seconds, nanos, what, time::parse_duration)
            }
            (WellKnown::FieldMask, [paths]) => self.field_mask(raw.place(paths), paths),
            (WellKnown::Struct, [fields]) => self.map(raw.place(fields), fields, depth),
            (WellKnown::ListValue, [values]) => {
                let depth = self.lexer.deeper(depth)?;
                self.list(raw.place(values), values, depth)
            }
            (WellKnown::Value, [null, number, string, boolean, object, array]) => {
                let entry = match self.lexer.peek() {
                    b'n' => null,
                    b'-' | b'0'..=b'9' => number,
                    b'"' => string,
                    b't' | b'f' => boolean,
                    b'{' => object,
                    b'[' => array,
                    _ => return Err(self.lexer.unexpected("a value")),
                };
                if self.value(raw.place(entry), entry, depth)? {
                    raw.set_case(entry.presence, entry.number);
                }
                Ok(())
            }
            (WellKnown::Wrapper(_), [value]) => {
                self.value(raw.place(value), value, depth)?;
                raw.set_bit(value);
                Ok(())
            }
            (WellKnown::Any, [url, value]) => self.any(raw, url, value, depth),
            _ => self.object(raw, table, depth, None),
        }
    }

    fn instant(
        &mut self,
        raw: RawMessage,
        seconds: &FieldEntry,
        nanos: &FieldEntry,
        what: &str,
        parse: fn(&str) -> Option<(i64, i32)>,
    ) -> Result<()> {
        self.lexer.peek();
        let at = self.lexer.pos;
        let text = self.text(what)?;
        let Some((whole, fraction)) = parse(&text) else {
            let reason = format!("expected {what}, got {text:?}");
            return Err(JsonError::new(Kind::InvalidValue, at, reason));
        };
        raw.place(seconds).set_word64(whole as u64);
        raw.place(nanos).set_word32(fraction as u32);
        raw.set_bit(seconds);
        raw.set_bit(nanos);
        Ok(())
    }

    fn field_mask(&mut self, place: Place, entry: &FieldEntry) -> Result<()> {
        self.lexer.peek();
        let at = self.lexer.pos;
        let text = self.text("paths joined by commas")?;
        if text.is_empty() {
            return Ok(());
        }
        let mut path = Vec::new();
        for camel in text.split(',') {
            path.clear();
            if field_mask::parse_path(&mut path, camel).is_none() {
                let reason = format!("{camel:?} is not a path in lowerCamelCase");
                return Err(JsonError::new(Kind::InvalidValue, at, reason));
            }
            let element = self.fits(place.vec_mut().push(self.arena, entry.slot.size()))?;
            element.zero(entry.slot, crate::schema::table::Shape::Single);
            self.put_text(element, &path)?;
        }
        Ok(())
    }

    /// `{"@type": url, fields...}`, or `{"@type": url, "value": ...}` around a well-known type. The type may stand
    /// anywhere in the object: it is looked for first, so that the fields can go straight into their message.
    fn any(
        &mut self,
        raw: RawMessage,
        url: &'t FieldEntry,
        value: &'t FieldEntry,
        depth: u32,
    ) -> Result<()> {
        if self.lexer.peek() != b'{' {
            return Err(self.lexer.wrong_type("an object"));
        }
        let at = self.lexer.pos;
        let Some(type_url) = self.find_type(depth)? else { return Ok(()) };
        self.lexer.pos = at;
        let Some(table) = self.type_of(&type_url) else {
            let reason = format!("the type {type_url:?} is not known");
            return Err(self.error(Kind::Any, reason));
        };
        let inner = Message::with_room(self.tables, table, 256, self.options.max_memory_bytes);
        let outer = std::mem::replace(&mut self.arena, inner.arena());
        let result = match table.info.well_known {
            None => self.object(inner.raw(), table, depth, Some("@type")),
            Some(known) => self.any_value(known, inner.raw(), table, depth),
        };
        self.arena = outer;
        result?;
        let options =
            EncodeOptions { deterministic: true, allow_partial: self.options.allow_partial };
        let bytes = inner
            .encode_with(options)
            .map_err(|e| JsonError::new(Kind::Required, at, e.to_string()))?;
        self.put_text(raw.place(url), type_url.as_bytes())?;
        raw.set_bit(url);
        self.put_text(raw.place(value), &bytes)?;
        raw.set_bit(value);
        Ok(())
    }

    /// The `@type` of the object that is next, which is not taken; `None` if the object is empty.
    fn find_type(&mut self, depth: u32) -> Result<Option<String>> {
        let start = self.lexer.pos;
        let inner = self.lexer.deeper(depth)?;
        self.lexer.pos += 1;
        if self.lexer.take(b'}') {
            return Ok(None);
        }
        // every printer writes it first; looking further costs a pass, once for all that lies inside
        let first = self.lexer.key()? == "@type";
        let at = match &self.lexer.types {
            _ if first => Some(self.lexer.pos),
            Some(types) if start < self.scanned => types.get(&start).copied(),
            _ => {
                self.lexer.types.get_or_insert_default();
                self.lexer.pos = start;
                self.lexer.skip(inner + 1)?;
                self.scanned = self.lexer.pos;
                self.lexer.types.as_ref().and_then(|types| types.get(&start).copied())
            }
        };
        match at {
            Some(at) => {
                self.lexer.pos = at;
                self.text("the URL of a type").map(|url| Some(url.into_owned()))
            }
            None => {
                self.lexer.pos = start;
                Err(self.error(Kind::Any, "an Any without \"@type\""))
            }
        }
    }

    fn type_of(&self, url: &str) -> Option<&'t MessageTable> {
        let (_, name) = url.rsplit_once('/')?;
        match self.tables.symbols.get(name) {
            Some(&Symbol::Message(index)) => self.tables.messages.get(index as usize),
            _ => None,
        }
    }

    /// The members around a well-known type: `@type`, which was read before, and `value`.
    fn any_value(
        &mut self,
        known: WellKnown,
        raw: RawMessage,
        table: &'t MessageTable,
        depth: u32,
    ) -> Result<()> {
        let depth = self.lexer.deeper(depth)?;
        self.lexer.pos += 1;
        let (mut found, mut typed) = (false, false);
        loop {
            self.lexer.peek();
            let at = self.lexer.pos;
            let key = self.lexer.key()?;
            match &*key {
                "@type" if !typed => {
                    typed = true;
                    self.lexer.skip(depth)?;
                }
                "@type" => return Err(twice(&key, at)),
                "value" if found => return Err(twice(&key, at)),
                "value" => {
                    found = true;
                    self.message(raw, table, depth).map_err(|e| e.in_field("value"))?;
                }
                _ if self.options.ignore_unknown_fields => self.lexer.skip(depth)?,
                _ => return Err(self.unknown(table, &key, at)),
            }
            if !self.lexer.more(b'}')? {
                break;
            }
        }
        // an Empty has nothing to say, and many printers say nothing
        if found || known == WellKnown::Empty {
            return Ok(());
        }
        Err(self.error(Kind::Any, format!("{} in an Any needs \"value\"", table.info.full_name)))
    }
}

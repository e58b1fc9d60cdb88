//! Decoding what the table of a type does not list: extensions, MessageSet items, unknown fields.

use super::decode::{Decoder, Taken, place_message};
use super::reader::Reader;
use crate::error::DecodeErrorKind as Kind;
use crate::message::raw::RawMessage;
use crate::schema::table::{FieldEntry, MessageTable, Op, Shape, Slot};

impl<'a> Decoder<'a> {
    /// A field the table does not list: an extension, an item of a MessageSet, or unknown (`false`: to be kept).
    #[inline(never)]
    pub(super) fn other(
        &mut self,
        r: &mut Reader<'_>,
        raw: RawMessage,
        table: &'a MessageTable,
        tag: u32,
        at: usize,
        depth: u32,
    ) -> Result<bool, Kind> {
        if table.extendable {
            if table.message_set && tag == 0x0b {
                return self.set_item(r, raw, table, depth);
            }
            if let Some(&index) = self.tables.extension_index.get(&(table.index, tag >> 3)) {
                let x = &self.tables.extensions[index as usize];
                let entry = &x.entry;
                let result = match tag {
                    _ if tag == entry.tag || tag == entry.alt_tag => {
                        self.extension(r, raw, entry, index, tag, depth)
                    }
                    _ => {
                        r.skip(tag, depth)?;
                        return Ok(false);
                    }
                };
                return match result {
                    Ok(Taken::Stored) => Ok(true),
                    Ok(Taken::Foreign) => Ok(false),
                    Err(kind) => {
                        self.fail(kind, None, r);
                        if let Some(error) = &mut self.error {
                            error.0.path.push(format!("[{}]", x.info.full_name));
                        }
                        Err(kind)
                    }
                };
            }
        }
        r.skip(tag, depth).inspect_err(|_| r.pos = r.pos.max(at))?;
        Ok(false)
    }

    fn extension(
        &mut self,
        r: &mut Reader<'_>,
        raw: RawMessage,
        entry: &'a FieldEntry,
        index: u32,
        tag: u32,
        depth: u32,
    ) -> Result<Taken, Kind> {
        if entry.shape == Shape::List {
            let place = raw.put_extension(entry.number, index)?;
            if tag & 7 == 2 && !matches!(entry.slot, Slot::Text | Slot::Message) {
                return self.packed(r, raw, place, entry);
            }
            return self.element(r, place.vec_mut(), entry, depth);
        }
        if entry.op == Op::ClosedEnum {
            let number = r.varint()? as u32;
            if !self.declares(entry, number) {
                return Ok(Taken::Foreign);
            }
            raw.put_extension(entry.number, index)?.set_word32(number);
            return Ok(Taken::Stored);
        }
        let place = raw.put_extension(entry.number, index)?;
        self.value(r, place, entry, place_message(place, entry), depth)
    }

    /// One item of a MessageSet: a group of type id and message, in any order.
    fn set_item(
        &mut self,
        r: &mut Reader<'_>,
        raw: RawMessage,
        table: &'a MessageTable,
        depth: u32,
    ) -> Result<bool, Kind> {
        let mut look = r.clone();
        let end = look.skip_group(1, depth)?;
        let mut inner = Reader { buf: &r.buf[..end], pos: r.pos };
        let (mut id, mut bodies) = (None, Vec::new());
        while !inner.is_empty() {
            let tag = inner.tag()?;
            match tag {
                0x10 if id.is_none() => id = Some(inner.varint()? as u32),
                0x1a => bodies.push(inner.length()?),
                _ => inner.skip(tag, depth)?,
            }
        }
        let known =
            id.and_then(|id| Some((id, *self.tables.extension_index.get(&(table.index, id))?)));
        let Some((id, index)) = known else {
            r.pos = look.pos;
            return Ok(false);
        };
        let entry = &self.tables.extensions[index as usize].entry;
        if entry.op != Op::Message || entry.shape == Shape::List || bodies.is_empty() {
            r.pos = look.pos;
            return Ok(bodies.is_empty());
        }
        let place = raw.put_extension(id, index)?;
        for body in bodies {
            self.child(Reader::new(body), place, entry, place_message(place, entry), depth)?;
        }
        r.pos = look.pos;
        Ok(true)
    }
}

//! The protobuf wire format read forwards: tags, varints, fixed values and lengths, each checked against the end.
//!
//! Spec: protobuf.dev "Encoding". A tag is at most five bytes and a varint at most ten; field numbers run from 1 to
//! 2^29 - 1; wire types 6 and 7 do not exist.

use crate::error::DecodeErrorKind as Kind;

/// Largest field number.
pub const MAX_FIELD_NUMBER: u32 = (1 << 29) - 1;

/// How a value is laid out on the wire: the low three bits of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WireType {
    /// Seven bits a byte, least significant first.
    Varint = 0,
    /// Eight bytes, little-endian.
    Fixed64 = 1,
    /// A length as varint, then that many bytes.
    Length = 2,
    /// Fields up to the matching [`WireType::EndGroup`].
    StartGroup = 3,
    /// Closes a group.
    EndGroup = 4,
    /// Four bytes, little-endian.
    Fixed32 = 5,
}

/// One value without its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Length(&'a [u8]),
    /// Wire type 3: what stands between the two tags.
    Group(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// Walks over the fields of one message. Stops at the first error; never reads past the end.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    pub(crate) buf: &'a [u8],
    pub(crate) pos: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(buf: &'a [u8]) -> Reader<'a> {
        Reader { buf, pos: 0 }
    }

    /// Bytes read so far.
    #[inline]
    pub fn position(&self) -> usize {
        self.pos
    }

    /// Whether everything was read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pos >= self.buf.len()
    }

    /// The next tag as one number: field number times eight plus wire type.
    ///
    /// # Errors
    /// More than five bytes, field number 0 or too large, wire type 6 or 7, or the end of the input.
    #[inline(always)]
    pub fn tag(&mut self) -> Result<u32, Kind> {
        match self.buf.get(self.pos) {
            Some(&b) if b < 0x80 => {
                self.pos += 1;
                let tag = b as u32;
                if tag < 8 || tag & 7 > 5 {
                    return Err(if tag < 8 { Kind::FieldNumber } else { Kind::WireType });
                }
                Ok(tag)
            }
            Some(&b) => {
                if let Some(&c) = self.buf.get(self.pos + 1)
                    && c < 0x80
                {
                    let tag = (b as u32 & 0x7f) | (c as u32) << 7;
                    if tag >= 8 && tag & 7 <= 5 {
                        self.pos += 2;
                        return Ok(tag);
                    }
                }
                self.long_tag()
            }
            None => Err(Kind::Truncated),
        }
    }

    #[cold]
    fn long_tag(&mut self) -> Result<u32, Kind> {
        let mut value = 0u64;
        for i in 0..5 {
            let Some(&b) = self.buf.get(self.pos + i) else { return Err(Kind::Truncated) };
            value |= u64::from(b & 0x7f) << (7 * i);
            if b < 0x80 {
                self.pos += i + 1;
                let number = value >> 3;
                if number == 0 || number > u64::from(MAX_FIELD_NUMBER) {
                    return Err(Kind::FieldNumber);
                }
                if value & 7 > 5 {
                    return Err(Kind::WireType);
                }
                return Ok(value as u32);
            }
        }
        Err(Kind::VarintTooLong)
    }

    /// A varint of up to ten bytes; bits above the 64th are dropped, as protobuf's own parsers do.
    ///
    /// # Errors
    /// Eleven bytes or more, or the end of the input.
    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64, Kind> {
        match self.buf.get(self.pos) {
            Some(&b) if b < 0x80 => {
                self.pos += 1;
                Ok(u64::from(b))
            }
            _ => self.long_varint(),
        }
    }

    #[inline]
    fn long_varint(&mut self) -> Result<u64, Kind> {
        let Some(ten) = self.buf.get(self.pos..self.pos + 10) else {
            return self.slow_varint();
        };
        // branches on the length are predicted, so that the next value need not wait for this one
        let mut value = u64::from(ten[0]);
        for (i, &b) in ten.iter().enumerate().skip(1) {
            // the continuation bit of the byte before lies where this byte's lowest bit goes
            value = value.wrapping_add(u64::from(b).wrapping_sub(1) << (7 * i));
            if b < 0x80 {
                self.pos += i + 1;
                return Ok(value);
            }
        }
        Err(Kind::VarintTooLong)
    }

    #[inline(never)]
    fn slow_varint(&mut self) -> Result<u64, Kind> {
        let mut value = 0u64;
        for i in 0..10 {
            let Some(&b) = self.buf.get(self.pos + i) else { return Err(Kind::Truncated) };
            value |= u64::from(b & 0x7f) << (7 * i);
            if b < 0x80 {
                self.pos += i + 1;
                return Ok(value);
            }
        }
        Err(Kind::VarintTooLong)
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// The end of the input.
    #[inline(always)]
    pub fn fixed32(&mut self) -> Result<u32, Kind> {
        let bytes = self.buf.get(self.pos..self.pos + 4).ok_or(Kind::Truncated)?;
        self.pos += 4;
        Ok(u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// The end of the input.
    #[inline(always)]
    pub fn fixed64(&mut self) -> Result<u64, Kind> {
        let bytes = self.buf.get(self.pos..self.pos + 8).ok_or(Kind::Truncated)?;
        self.pos += 8;
        Ok(u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    /// A length and that many bytes.
    ///
    /// # Errors
    /// A length above 2 GiB or past the end of the input.
    #[inline(always)]
    pub fn length(&mut self) -> Result<&'a [u8], Kind> {
        let len = match self.buf.get(self.pos) {
            Some(&b) if b < 0x80 => {
                self.pos += 1;
                b as usize
            }
            _ => self.long_length()?,
        };
        let rest = &self.buf[self.pos..];
        if len > rest.len() {
            return Err(Kind::Truncated);
        }
        self.pos += len;
        Ok(&rest[..len])
    }

    #[inline(never)]
    fn long_length(&mut self) -> Result<usize, Kind> {
        let len = self.varint()?;
        if len > i32::MAX as u64 { Err(Kind::Truncated) } else { Ok(len as usize) }
    }

    /// Skips the value of `tag`, groups with all they hold.
    ///
    /// # Errors
    /// What is skipped is checked like what is read: lengths, tags, matching groups, `depth` more levels of them.
    pub fn skip(&mut self, tag: u32, depth: u32) -> Result<(), Kind> {
        match tag & 7 {
            0 => self.varint().map(drop),
            1 => self.fixed64().map(drop),
            2 => self.length().map(drop),
            3 => self.skip_group(tag >> 3, depth).map(drop),
            4 => Err(Kind::EndGroup),
            5 => self.fixed32().map(drop),
            _ => Err(Kind::WireType),
        }
    }

    /// Skips to behind the end tag and says where that tag began.
    pub(crate) fn skip_group(&mut self, number: u32, depth: u32) -> Result<usize, Kind> {
        let Some(depth) = depth.checked_sub(1) else { return Err(Kind::TooDeep) };
        loop {
            if self.is_empty() {
                return Err(Kind::OpenGroup);
            }
            let at = self.pos;
            let tag = self.tag()?;
            if tag & 7 == 4 {
                return if tag >> 3 == number { Ok(at) } else { Err(Kind::EndGroup) };
            }
            self.skip(tag, depth)?;
        }
    }

    /// The next field, whatever it is; `None` at the end.
    ///
    /// # Errors
    /// As for [`Reader::tag`] and [`Reader::skip`].
    pub fn next_field(&mut self, depth: u32) -> Result<Option<(u32, RawValue<'a>)>, Kind> {
        if self.is_empty() {
            return Ok(None);
        }
        let tag = self.tag()?;
        let value = match tag & 7 {
            0 => RawValue::Varint(self.varint()?),
            1 => RawValue::Fixed64(self.fixed64()?),
            2 => RawValue::Length(self.length()?),
            3 => {
                let start = self.pos;
                let end = self.skip_group(tag >> 3, depth)?;
                RawValue::Group(&self.buf[start..end])
            }
            5 => RawValue::Fixed32(self.fixed32()?),
            _ => return Err(Kind::EndGroup),
        };
        Ok(Some((tag >> 3, value)))
    }
}

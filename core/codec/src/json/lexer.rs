//! The tokens of RFC 8259, read from a `&str` at a position.

use std::borrow::Cow;
use std::collections::HashMap;

use super::error::{JsonError, JsonErrorKind};
use super::number;

type Result<T> = std::result::Result<T, JsonError>;

/// Text and how far it was read.
pub(super) struct Lexer<'s> {
    text: &'s str,
    pub pos: usize,
    /// Where the objects begin that were passed over and have a member `@type`, and where its value stands. Kept once
    /// an `Any` had to be read ahead for its type, so that those inside it need not be: the work stays linear.
    pub types: Option<HashMap<usize, usize>>,
}

impl<'s> Lexer<'s> {
    pub fn new(text: &'s str) -> Lexer<'s> {
        Lexer { text, pos: 0, types: None }
    }

    #[inline(always)]
    fn bytes(&self) -> &'s [u8] {
        self.text.as_bytes()
    }

    pub fn error(&self, kind: JsonErrorKind, reason: impl Into<String>) -> JsonError {
        JsonError::new(kind, self.pos, reason)
    }

    /// The next byte that is not white space, not taken; 0 at the end (and for a NUL, which nothing accepts).
    #[inline(always)]
    pub fn peek(&mut self) -> u8 {
        loop {
            match self.bytes().get(self.pos) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.pos += 1,
                Some(&b) => return b,
                None => return 0,
            }
        }
    }

    /// Takes `wanted` if it is next.
    #[inline(always)]
    pub fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == wanted;
        self.pos += usize::from(found);
        found
    }

    /// Takes `wanted`, or says that `what` was expected.
    #[inline(always)]
    pub fn expect(&mut self, wanted: u8, what: &str) -> Result<()> {
        if self.take(wanted) { Ok(()) } else { Err(self.unexpected(what)) }
    }

    /// The error for what stands here instead of `what`.
    #[cold]
    #[inline(never)]
    pub fn unexpected(&mut self, what: &str) -> JsonError {
        self.peek();
        let found = match self.text.get(self.pos..).and_then(|rest| rest.chars().next()) {
            None => "the end".to_owned(),
            Some('\u{feff}') => "a byte order mark".to_owned(),
            Some(c) => format!("{c:?}"),
        };
        self.error(JsonErrorKind::Syntax, format!("expected {what}, found {found}"))
    }

    /// What kind of value stands here, for error messages; syntax errors keep their own words.
    #[cold]
    #[inline(never)]
    pub fn wrong_type(&mut self, expected: &str) -> JsonError {
        let got = match self.peek() {
            b'"' => "a string",
            b'{' => "an object",
            b'[' => "an array",
            b't' | b'f' => "a boolean",
            b'n' => "null",
            b'-' | b'0'..=b'9' => "a number",
            _ => return self.unexpected(expected),
        };
        self.error(JsonErrorKind::WrongType, format!("expected {expected}, got {got}"))
    }

    /// Takes `word` (`true`, `false`, `null`), whose first letter is next.
    #[inline]
    pub fn word(&mut self, word: &str) -> Result<()> {
        let rest = self.bytes().get(self.pos..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.unexpected("a value"));
        }
        self.pos += word.len();
        Ok(())
    }

    /// Whether the text ends here.
    pub fn end(&mut self) -> Result<()> {
        if self.peek() == 0 && self.pos == self.text.len() {
            return Ok(());
        }
        Err(self.unexpected("the end"))
    }

    /// Takes a number. What may follow it is the caller's business.
    #[inline]
    pub fn number(&mut self) -> Result<&'s str> {
        self.peek();
        let start = self.pos;
        match number::scan(self.bytes(), start) {
            Some(end) => {
                self.pos = end;
                Ok(self.text.get(start..end).unwrap_or_default())
            }
            None => Err(self.unexpected("a number")),
        }
    }

    /// Takes a string; a slice of the text if nothing in it is escaped.
    #[inline]
    pub fn string(&mut self) -> Result<Cow<'s, str>> {
        if self.peek() != b'"' {
            return Err(self.unexpected("a string"));
        }
        let start = self.pos + 1;
        let end = plain_end(self.bytes(), start);
        if self.bytes().get(end) == Some(&b'"') {
            self.pos = end + 1;
            return Ok(Cow::Borrowed(self.text.get(start..end).unwrap_or_default()));
        }
        self.escaped(start, end).map(Cow::Owned)
    }

    /// The rest of a string, from the first byte that is not plain.
    #[inline(never)]
    fn escaped(&mut self, start: usize, mut end: usize) -> Result<String> {
        let mut out = String::new();
        let mut from = start;
        loop {
            out.push_str(self.text.get(from..end).unwrap_or_default());
            self.pos = end;
            match self.bytes().get(end) {
                Some(b'"') => {
                    self.pos = end + 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(b) => {
                    let reason = format!("control character {b:#04x} in a string");
                    return Err(self.error(JsonErrorKind::Syntax, reason));
                }
                None => {
                    return Err(self.error(JsonErrorKind::Syntax, "the text ends inside a string"));
                }
            }
            from = self.pos;
            end = plain_end(self.bytes(), from);
        }
    }

    /// One escape, its backslash next.
    fn escape(&mut self) -> Result<char> {
        let letter = self.bytes().get(self.pos + 1).copied().unwrap_or(0);
        let plain = match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let at = self.pos;
                let first = self.unit()?;
                let code = match first {
                    0xd800..=0xdbff => match self.unit() {
                        Ok(second @ 0xdc00..=0xdfff) => {
                            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                        }
                        _ => first,
                    },
                    _ => first,
                };
                return char::from_u32(code).ok_or_else(|| {
                    JsonError::new(JsonErrorKind::Syntax, at, "half of a surrogate pair")
                });
            }
            _ => return Err(self.error(JsonErrorKind::Syntax, "an escape JSON does not have")),
        };
        self.pos += 2;
        Ok(plain)
    }

    /// `\uXXXX`, its backslash next.
    fn unit(&mut self) -> Result<u32> {
        let digits = match self.bytes().get(self.pos..self.pos + 6) {
            Some([b'\\', b'u', digits @ ..]) => digits,
            _ => {
                return Err(self.error(JsonErrorKind::Syntax, "expected \\u and four hex digits"));
            }
        };
        let mut code = 0;
        for &digit in digits {
            match char::from(digit).to_digit(16) {
                Some(value) => code = code * 16 + value,
                None => {
                    let reason = "expected four hex digits behind \\u";
                    return Err(self.error(JsonErrorKind::Syntax, reason));
                }
            }
        }
        self.pos += 6;
        Ok(code)
    }

    /// Takes a name and the colon behind it.
    #[inline]
    pub fn key(&mut self) -> Result<Cow<'s, str>> {
        if self.peek() != b'"' {
            return Err(self.unexpected("a name in quotes"));
        }
        let key = self.string()?;
        self.expect(b':', "':'")?;
        Ok(key)
    }

    /// After a member or element: `true` if a comma says that another follows, `false` if `close` ended it.
    #[inline(always)]
    pub fn more(&mut self, close: u8) -> Result<bool> {
        match self.peek() {
            b',' => {
                self.pos += 1;
                Ok(true)
            }
            b if b == close => {
                self.pos += 1;
                Ok(false)
            }
            _ => Err(self.unexpected(if close == b'}' { "',' or '}'" } else { "',' or ']'" })),
        }
    }

    /// One level deeper.
    #[inline(always)]
    pub fn deeper(&self, depth: u32) -> Result<u32> {
        match depth.checked_sub(1) {
            Some(depth) => Ok(depth),
            None => Err(self.error(JsonErrorKind::TooDeep, "nested too deep")),
        }
    }

    /// Takes a value of any type and forgets it; `depth` levels may still be opened.
    pub fn skip(&mut self, depth: u32) -> Result<()> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b'{' => {
                let (depth, start) = (self.deeper(depth)?, self.pos);
                self.pos += 1;
                if self.take(b'}') {
                    return Ok(());
                }
                loop {
                    let key = self.key()?;
                    if let Some(types) = &mut self.types
                        && key == "@type"
                    {
                        types.entry(start).or_insert(self.pos);
                    }
                    self.skip(depth)?;
                    if !self.more(b'}')? {
                        return Ok(());
                    }
                }
            }
            b'[' => {
                let depth = self.deeper(depth)?;
                self.pos += 1;
                if self.take(b']') {
                    return Ok(());
                }
                loop {
                    self.skip(depth)?;
                    if !self.more(b']')? {
                        return Ok(());
                    }
                }
            }
            _ => Err(self.unexpected("a value")),
        }
    }
}

/// Each byte of the word that must not stand unescaped in a string has its high bit set in the result; above the first
/// such byte there may be false ones.
#[inline(always)]
pub(super) fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |w: u64| w.wrapping_sub(ONES) & !w;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (control | zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c))) & HIGH
}

/// Where the first quote, backslash or control character at or behind `from` is; the length if there is none.
#[inline]
pub(super) fn plain_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let found = special(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\').unwrap_or(rest.len())
}

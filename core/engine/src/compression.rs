//! Message codings: gzip, deflate (which here means zlib) and zstd, one message at a time.
//!
//! Each message is a whole of its own: exactly one gzip member, one zlib stream or one zstd frame, nothing
//! before, between or behind. Decoding stops one byte over the limit, so that a small body cannot become a
//! large one. Coders are kept per thread and used again, since making one costs more than a small message.
//! Spec: gRPC compression.md; RFC 1950, 1951, 1952, 8878.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress};
use http::HeaderValue;

use crate::status::{Code, Status};

/// How the bytes of a message are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[non_exhaustive]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity = 0,
    /// One gzip member (RFC 1952).
    Gzip = 1,
    /// One zlib stream (RFC 1950).
    Deflate = 2,
    /// One zstd frame (RFC 8878), no dictionary, no skippable frame.
    #[cfg(feature = "zstd")]
    Zstd = 3,
}

impl Encoding {
    /// Every coding this build knows.
    pub const ALL: &[Encoding] = &[
        Encoding::Identity,
        Encoding::Gzip,
        Encoding::Deflate,
        #[cfg(feature = "zstd")]
        Encoding::Zstd,
    ];

    /// The name in `grpc-encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
            #[cfg(feature = "zstd")]
            Encoding::Zstd => "zstd",
        }
    }

    /// The coding with this name; `None` if this build does not know it.
    pub fn from_name(name: &[u8]) -> Option<Encoding> {
        match name {
            b"identity" => Some(Encoding::Identity),
            b"gzip" => Some(Encoding::Gzip),
            b"deflate" => Some(Encoding::Deflate),
            #[cfg(feature = "zstd")]
            b"zstd" => Some(Encoding::Zstd),
            _ => None,
        }
    }

    /// The name as a header value, without an allocation.
    pub(crate) const fn header_value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What we can decode, as `grpc-accept-encoding` says it.
#[cfg(feature = "zstd")]
pub const ACCEPT: &str = "identity,gzip,deflate,zstd";
/// What we can decode, as `grpc-accept-encoding` says it.
#[cfg(not(feature = "zstd"))]
pub const ACCEPT: &str = "identity,gzip,deflate";

/// A set of codings: what a peer said it can decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodingSet(u8);

impl EncodingSet {
    /// Nothing but identity, which every peer reads.
    pub const IDENTITY: EncodingSet = EncodingSet(1);

    /// Reads one `grpc-accept-encoding` value; names we do not know are passed over.
    pub fn parse(value: &[u8]) -> EncodingSet {
        if value == ACCEPT.as_bytes() {
            return Encoding::ALL.iter().fold(EncodingSet::IDENTITY, |set, &one| set.with(one));
        }
        value
            .split(|&byte| byte == b',')
            .filter_map(|name| Encoding::from_name(name.trim_ascii()))
            .fold(EncodingSet::IDENTITY, EncodingSet::with)
    }

    /// The set and one coding more.
    #[must_use]
    pub fn with(self, encoding: Encoding) -> EncodingSet {
        EncodingSet(self.0 | 1 << encoding as u8)
    }

    /// What either set holds.
    #[must_use]
    pub fn union(self, other: EncodingSet) -> EncodingSet {
        EncodingSet(self.0 | other.0)
    }

    /// Whether a message in this coding can be read by that peer.
    pub fn contains(self, encoding: Encoding) -> bool {
        encoding == Encoding::Identity || self.0 & (1 << encoding as u8) != 0
    }
}

/// Why a message cannot be decoded (or coded).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// The decoded message is longer than this side accepts. Becomes `RESOURCE_EXHAUSTED`.
    #[error("decompressed message is over the limit of {limit} bytes")]
    TooLarge {
        /// Bytes accepted.
        limit: usize,
    },
    /// The body is not exactly one message in its coding. Becomes `INTERNAL`.
    #[error("{encoding} message: {what}")]
    Corrupt {
        /// The coding it was announced in.
        encoding: Encoding,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The coder failed, for want of memory. Becomes `INTERNAL`.
    #[error("{encoding}: the coder failed")]
    Coder {
        /// The coding.
        encoding: Encoding,
    },
}

impl CompressionError {
    /// The one table from this error to a status.
    pub fn code(self) -> Code {
        match self {
            CompressionError::TooLarge { .. } => Code::ResourceExhausted,
            CompressionError::Corrupt { .. } | CompressionError::Coder { .. } => Code::Internal,
        }
    }
}

impl From<CompressionError> for Status {
    fn from(error: CompressionError) -> Status {
        Status::new(error.code(), error.to_string())
    }
}

const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const GZIP_TRAILER_BYTES: usize = 8;

/// First room for a decoded message whose length nothing tells.
const FIRST_ROOM_BYTES: usize = 64 * 1024;

/// The coders of one thread. A deflate state is about 300 KiB, so none is made before it is needed.
#[derive(Default)]
struct Coders {
    raw_deflate: Option<Compress>,
    zlib_deflate: Option<Compress>,
    inflate: Option<Decompress>,
    #[cfg(feature = "zstd")]
    zstd_out: Option<zstd::bulk::Compressor<'static>>,
    #[cfg(feature = "zstd")]
    zstd_in: Option<zstd::zstd_safe::DCtx<'static>>,
}

thread_local! {
    static CODERS: RefCell<Coders> = RefCell::default();
}

/// Codes one message.
///
/// # Errors
/// [`CompressionError::Coder`], for want of memory only.
pub fn compress(encoding: Encoding, message: &[u8]) -> Result<Bytes, CompressionError> {
    CODERS.with_borrow_mut(|coders| {
        let coded = match encoding {
            Encoding::Identity => return Ok(Bytes::copy_from_slice(message)),
            Encoding::Gzip => {
                let coder = coders
                    .raw_deflate
                    .get_or_insert_with(|| Compress::new(Compression::default(), false));
                let mut out = deflated(coder, message, &GZIP_HEADER);
                if let Some(out) = &mut out {
                    let mut crc = Crc::new();
                    crc.update(message);
                    out.extend_from_slice(&crc.sum().to_le_bytes());
                    out.extend_from_slice(&(message.len() as u32).to_le_bytes());
                }
                out
            }
            Encoding::Deflate => {
                let coder = coders
                    .zlib_deflate
                    .get_or_insert_with(|| Compress::new(Compression::default(), true));
                deflated(coder, message, &[])
            }
            #[cfg(feature = "zstd")]
            Encoding::Zstd => {
                if coders.zstd_out.is_none() {
                    coders.zstd_out =
                        zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL).ok();
                }
                coders.zstd_out.as_mut().and_then(|coder| coder.compress(message).ok())
            }
        };
        coded.map(Bytes::from).ok_or(CompressionError::Coder { encoding })
    })
}

fn deflated(coder: &mut Compress, message: &[u8], header: &[u8]) -> Option<Vec<u8>> {
    coder.reset();
    let room = message.len().min(message.len() / 2 + 4096) + header.len() + GZIP_TRAILER_BYTES + 64;
    let mut out = Vec::with_capacity(room);
    out.extend_from_slice(header);
    loop {
        let rest = message.get(coder.total_in() as usize..)?;
        let before = (coder.total_in(), coder.total_out());
        match coder.compress_vec(rest, &mut out, FlushCompress::Finish).ok()? {
            flate2::Status::StreamEnd => return Some(out),
            _ if out.len() == out.capacity() => out.reserve(out.len() / 2 + 1024),
            // neither ended, nor short of room, nor any progress: the coder is broken
            _ if before == (coder.total_in(), coder.total_out()) => return None,
            _ => {}
        }
    }
}

/// Decodes one message, which must fill `body` from its first to its last byte.
///
/// # Errors
/// [`CompressionError::TooLarge`]: more than `limit` bytes come out; at most `limit` + 1 are produced.
/// [`CompressionError::Corrupt`]: empty, cut short, damaged, or followed by anything, a second member included.
pub fn decompress(
    encoding: Encoding,
    body: &[u8],
    limit: usize,
) -> Result<Bytes, CompressionError> {
    if body.is_empty() {
        return Err(CompressionError::Corrupt { encoding, what: "empty body" });
    }
    CODERS.with_borrow_mut(|coders| match encoding {
        Encoding::Identity => {
            if body.len() > limit {
                return Err(CompressionError::TooLarge { limit });
            }
            Ok(Bytes::copy_from_slice(body))
        }
        Encoding::Gzip => {
            let corrupt = |what| CompressionError::Corrupt { encoding, what };
            let stream = gzip_stream(body).ok_or(corrupt("bad gzip header"))?;
            let size_hint =
                body.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size) as usize);
            let coder = coders.inflate.get_or_insert_with(|| Decompress::new(false));
            coder.reset(false);
            let out = inflated(coder, stream, size_hint, limit, encoding)?;
            let trailer = stream.get(coder.total_in() as usize..).unwrap_or_default();
            let trailer: &[u8; GZIP_TRAILER_BYTES] = trailer.try_into().map_err(|_| {
                corrupt(if trailer.len() < GZIP_TRAILER_BYTES {
                    "cut short"
                } else {
                    "bytes behind it"
                })
            })?;
            let mut crc = Crc::new();
            crc.update(&out);
            let [a, b, c, d, e, f, g, h] = *trailer;
            if crc.sum() != u32::from_le_bytes([a, b, c, d])
                || out.len() as u32 != u32::from_le_bytes([e, f, g, h])
            {
                return Err(corrupt("checksum or length does not match"));
            }
            Ok(out.into())
        }
        Encoding::Deflate => {
            let coder = coders.inflate.get_or_insert_with(|| Decompress::new(true));
            coder.reset(true);
            let out = inflated(coder, body, body.len().saturating_mul(4), limit, encoding)?;
            if coder.total_in() as usize != body.len() {
                return Err(CompressionError::Corrupt { encoding, what: "bytes behind it" });
            }
            Ok(out.into())
        }
        #[cfg(feature = "zstd")]
        Encoding::Zstd => unzstd(coders, body, limit),
    })
}

/// The deflate stream and trailer behind a gzip header (RFC 1952, 2.3); `None` if the header is not one.
fn gzip_stream(body: &[u8]) -> Option<&[u8]> {
    let ([0x1f, 0x8b, 8, flags, ..], mut rest) = body.split_first_chunk::<10>()? else {
        return None;
    };
    if flags & 0b1110_0000 != 0 {
        return None;
    }
    if flags & 4 != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    // a file name, then a comment, each up to a zero byte
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|&byte| byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & 2 != 0 {
        let (sum, after) = rest.split_first_chunk::<2>()?;
        let mut crc = Crc::new();
        crc.update(&body[..body.len() - rest.len()]);
        if (crc.sum() as u16).to_le_bytes() != *sum {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

fn inflated(
    coder: &mut Decompress,
    stream: &[u8],
    size_hint: usize,
    limit: usize,
    encoding: Encoding,
) -> Result<Vec<u8>, CompressionError> {
    let corrupt = |what| CompressionError::Corrupt { encoding, what };
    let most = limit.saturating_add(1);
    // a hint is the peer's word: believe it up to what the bytes at hand make likely, grow from there.
    // One byte more than the hint lets the coder see the end of the stream without another round.
    let believable = FIRST_ROOM_BYTES.max(stream.len().saturating_mul(8));
    let mut out = Vec::with_capacity(size_hint.saturating_add(1).clamp(64, believable).min(most));
    loop {
        let before = (coder.total_in(), coder.total_out());
        let rest = stream.get(before.0 as usize..).unwrap_or_default();
        let state = coder.decompress_vec(rest, &mut out, FlushDecompress::None);
        if out.len() > limit {
            return Err(CompressionError::TooLarge { limit });
        }
        match state.map_err(|_| corrupt("damaged"))? {
            flate2::Status::StreamEnd => return Ok(out),
            _ if out.len() == out.capacity() => {
                out.reserve_exact(out.len().max(1024).min(most - out.len()));
            }
            _ if before == (coder.total_in(), coder.total_out()) => {
                return Err(corrupt("cut short"));
            }
            _ => {}
        }
    }
}

/// Window a zstd frame may ask for: 2^23 = 8 MiB, what RFC 8878 asks every decoder to support.
#[cfg(feature = "zstd")]
const ZSTD_WINDOW_LOG: u32 = 23;

#[cfg(feature = "zstd")]
fn unzstd(coders: &mut Coders, body: &[u8], limit: usize) -> Result<Bytes, CompressionError> {
    use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};
    let encoding = Encoding::Zstd;
    let corrupt = |what| CompressionError::Corrupt { encoding, what };
    if !body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(corrupt("no zstd frame"));
    }
    match zstd_safe::find_frame_compressed_size(body) {
        Ok(length) if length == body.len() => {}
        Ok(_) => return Err(corrupt("bytes behind it")),
        Err(_) => return Err(corrupt("damaged or cut short")),
    }
    let size = zstd_safe::get_frame_content_size(body).map_err(|_| corrupt("bad frame header"))?;
    if size.is_some_and(|size| size > limit as u64) {
        return Err(CompressionError::TooLarge { limit });
    }
    if coders.zstd_in.is_none() {
        let mut coder = DCtx::try_create().ok_or(CompressionError::Coder { encoding })?;
        coder
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
            .map_err(|_| CompressionError::Coder { encoding })?;
        coders.zstd_in = Some(coder);
    }
    let Some(coder) = &mut coders.zstd_in else { return Err(CompressionError::Coder { encoding }) };
    coder.reset(ResetDirective::SessionOnly).map_err(|_| CompressionError::Coder { encoding })?;
    let most = limit.saturating_add(1);
    let hint = size.map_or(body.len().saturating_mul(4), |size| (size as usize).saturating_add(1));
    let believable = FIRST_ROOM_BYTES.max(body.len().saturating_mul(8));
    let mut out: Vec<u8> = Vec::with_capacity(hint.clamp(64, believable).min(most));
    let mut input = InBuffer::around(body);
    loop {
        let before = (input.pos(), out.len());
        let written = out.len();
        let left = {
            let mut room = OutBuffer::around_pos(&mut out, written);
            coder.decompress_stream(&mut room, &mut input).map_err(|_| corrupt("damaged"))?
        };
        if out.len() > limit {
            return Err(CompressionError::TooLarge { limit });
        }
        if left == 0 && input.pos() == body.len() {
            return Ok(out.into());
        }
        if out.len() == out.capacity() {
            out.reserve_exact(out.len().max(1024).min(most - out.len()));
        } else if before == (input.pos(), out.len()) {
            return Err(corrupt("cut short"));
        }
    }
}

#[cfg(test)]
mod tests;

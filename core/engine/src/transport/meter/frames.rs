//! HTTP/2 frame headers, error codes and the few payloads the meter reads.
//!
//! Spec: RFC 9113 section 4.1 (frame format), 6 (frames), 7 (error codes).

use std::fmt;

/// Bytes in front of every frame's payload.
pub(super) const HEADER_LEN: usize = 9;
/// What a client says first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;

/// An HTTP/2 error code (RFC 9113 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Nothing went wrong.
    pub const NO_ERROR: ErrorCode = ErrorCode(0);
    /// The peer broke a rule that has no code of its own.
    pub const PROTOCOL_ERROR: ErrorCode = ErrorCode(1);
    /// This side failed.
    pub const INTERNAL_ERROR: ErrorCode = ErrorCode(2);
    /// A flow-control window was overrun or overflowed.
    pub const FLOW_CONTROL_ERROR: ErrorCode = ErrorCode(3);
    /// A frame came on a stream that was half-closed.
    pub const STREAM_CLOSED: ErrorCode = ErrorCode(5);
    /// A frame's length is not what its type asks.
    pub const FRAME_SIZE_ERROR: ErrorCode = ErrorCode(6);
    /// The stream was not processed and may be sent again.
    pub const REFUSED_STREAM: ErrorCode = ErrorCode(7);
    /// The stream is no longer wanted.
    pub const CANCEL: ErrorCode = ErrorCode(8);
    /// The header compression state is lost.
    pub const COMPRESSION_ERROR: ErrorCode = ErrorCode(9);
    /// The peer generates too much load.
    pub const ENHANCE_YOUR_CALM: ErrorCode = ErrorCode(11);

    /// The code's name in RFC 9113, or `UNKNOWN`.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES.get(self.0 as usize).copied().unwrap_or("UNKNOWN")
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "UNKNOWN" => write!(f, "error code {:#x}", self.0),
            name => f.write_str(name),
        }
    }
}

/// A frame's type byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(pub(super) u8);

impl Kind {
    pub(super) const DATA: Kind = Kind(0);
    pub(super) const HEADERS: Kind = Kind(1);
    pub(super) const PRIORITY: Kind = Kind(2);
    pub(super) const RST_STREAM: Kind = Kind(3);
    pub(super) const SETTINGS: Kind = Kind(4);
    pub(super) const PUSH_PROMISE: Kind = Kind(5);
    pub(super) const PING: Kind = Kind(6);
    pub(super) const GOAWAY: Kind = Kind(7);
    pub(super) const WINDOW_UPDATE: Kind = Kind(8);
    pub(super) const CONTINUATION: Kind = Kind(9);

    fn name(self) -> &'static str {
        const NAMES: [&str; 10] = [
            "DATA",
            "HEADERS",
            "PRIORITY",
            "RST_STREAM",
            "SETTINGS",
            "PUSH_PROMISE",
            "PING",
            "GOAWAY",
            "WINDOW_UPDATE",
            "CONTINUATION",
        ];
        NAMES.get(self.0 as usize).copied().unwrap_or("unknown")
    }
}

/// The nine bytes in front of a frame, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    #[inline]
    pub(super) fn parse(b: &[u8; HEADER_LEN]) -> Head {
        Head {
            len: u32::from_be_bytes([0, b[0], b[1], b[2]]),
            kind: Kind(b[3]),
            flags: b[4],
            // the top bit is reserved and ignored
            stream: u32::from_be_bytes([b[5], b[6], b[7], b[8]]) & 0x7fff_ffff,
        }
    }

    #[inline]
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { len, kind, flags, stream } = self;
        write!(
            f,
            "{} frame (type {}, flags {flags:#x}, stream {stream}, {len} bytes)",
            kind.name(),
            kind.0
        )
    }
}

/// What the peer's SETTINGS said so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerSettings {
    /// SETTINGS_MAX_CONCURRENT_STREAMS; `None` until it was named.
    pub max_concurrent_streams: Option<u32>,
    /// SETTINGS_MAX_HEADER_LIST_SIZE in bytes; `None` until it was named.
    pub max_header_list_size: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE in bytes; `None` until it was named.
    pub initial_window_size: Option<u32>,
}

impl PeerSettings {
    /// Takes one SETTINGS payload in; an entry out of range gives the error to close with.
    pub(super) fn take_in(&mut self, payload: &[u8]) -> Result<(), (ErrorCode, &'static str)> {
        for entry in payload.chunks_exact(6) {
            let &[i0, i1, v0, v1, v2, v3] = entry else { continue };
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([i0, i1]) {
                2 if value > 1 => {
                    return Err((ErrorCode::PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1"));
                }
                3 => self.max_concurrent_streams = Some(value),
                4 if value > 0x7fff_ffff => {
                    return Err((
                        ErrorCode::FLOW_CONTROL_ERROR,
                        "INITIAL_WINDOW_SIZE is over 2^31-1",
                    ));
                }
                4 => self.initial_window_size = Some(value),
                5 if !(16_384..=16_777_215).contains(&value) => {
                    return Err((
                        ErrorCode::PROTOCOL_ERROR,
                        "MAX_FRAME_SIZE is outside 2^14 to 2^24-1",
                    ));
                }
                6 => self.max_header_list_size = Some(value),
                8 if value > 1 => {
                    return Err((
                        ErrorCode::PROTOCOL_ERROR,
                        "ENABLE_CONNECT_PROTOCOL is neither 0 nor 1",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A GOAWAY frame's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoAway {
    /// Streams above this id were not processed by the sender.
    pub last_stream_id: u32,
    /// Why the sender goes.
    pub code: ErrorCode,
    /// The debug data as text (lossy; at most 1 KiB is kept).
    pub text: String,
}

/// Debug data of a GOAWAY beyond this many bytes is not kept.
const MAX_TEXT: usize = 1024;

impl GoAway {
    pub(super) fn parse(payload: &[u8]) -> Option<GoAway> {
        let (fixed, text) = payload.split_first_chunk::<8>()?;
        let [s0, s1, s2, s3, c0, c1, c2, c3] = *fixed;
        Some(GoAway {
            last_stream_id: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
            code: ErrorCode(u32::from_be_bytes([c0, c1, c2, c3])),
            text: String::from_utf8_lossy(text.get(..MAX_TEXT).unwrap_or(text)).into_owned(),
        })
    }

    /// Appends the whole frame to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let text = self.text.as_bytes();
        let text = text.get(..MAX_TEXT).unwrap_or(text);
        let len = (8 + text.len()) as u32;
        out.extend_from_slice(&len.to_be_bytes()[1..]);
        out.extend_from_slice(&[Kind::GOAWAY.0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&(self.last_stream_id & 0x7fff_ffff).to_be_bytes());
        out.extend_from_slice(&self.code.0.to_be_bytes());
        out.extend_from_slice(text);
    }
}

impl fmt::Display for GoAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GOAWAY {}", self.code)?;
        if !self.text.is_empty() {
            write!(f, " ({})", self.text)?;
        }
        Ok(())
    }
}

//! Is it UTF-8? Most strings are short and ASCII, and are known to be after a few words.

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Whether `bytes` are valid UTF-8.
#[inline(always)]
pub fn is_utf8(bytes: &[u8]) -> bool {
    if bytes.len() > 64 {
        return simdutf8::basic::from_utf8(bytes).is_ok();
    }
    let mut chunks = bytes.chunks_exact(8);
    let mut seen = 0u64;
    for word in &mut chunks {
        seen |= u64::from_le_bytes(word.try_into().unwrap_or_default());
    }
    for &b in chunks.remainder() {
        seen |= u64::from(b);
    }
    seen & HIGH_BITS == 0 || not_ascii(bytes)
}

#[inline(never)]
fn not_ascii(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

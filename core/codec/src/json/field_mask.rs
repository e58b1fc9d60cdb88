//! Field masks as text: paths in lowerCamelCase, joined by commas. Spec: field_mask.proto.
//!
//! Only paths that read back as they were are printed, and only letters, digits, underscores and dots make a path.

/// Appends one path; `None` if it would not read back.
pub(super) fn push_path(out: &mut Vec<u8>, path: &[u8]) -> Option<()> {
    let mut rest = path.iter();
    while let Some(&b) = rest.next() {
        match b {
            b'_' => match rest.next() {
                Some(b @ b'a'..=b'z') => out.push(b.to_ascii_uppercase()),
                _ => return None,
            },
            b'a'..=b'z' | b'0'..=b'9' | b'.' => out.push(b),
            _ => return None,
        }
    }
    (!path.is_empty()).then_some(())
}

/// One path in snake_case, appended; `None` if it is no path.
pub(super) fn parse_path(out: &mut Vec<u8>, path: &str) -> Option<()> {
    for b in path.bytes() {
        match b {
            b'A'..=b'Z' => out.extend([b'_', b.to_ascii_lowercase()]),
            b'a'..=b'z' | b'0'..=b'9' | b'.' => out.push(b),
            _ => return None,
        }
    }
    (!path.is_empty()).then_some(())
}

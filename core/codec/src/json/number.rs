//! Numbers as JSON writes them: exact in both directions.
//!
//! Integers are read from their digits, never by way of a float: `1e2`, `1.0` and `100e-2` are integers, 2^63 - 1 keeps
//! its last digit. Floats go through the standard library, which rounds correctly and prints the shortest text that
//! reads back.

use std::io::Write;

/// Why a number is not the integer that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotInteger {
    Fraction,
    Range,
}

/// Where the number that begins at `start` ends; `None` if there is none by RFC 8259's grammar.
#[inline]
pub(super) fn scan(bytes: &[u8], start: usize) -> Option<usize> {
    let digits = |mut at: usize| -> Option<usize> {
        let from = at;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        (at > from).then_some(at)
    };
    let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at = digits(at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-'))))?;
    }
    Some(at)
}

/// Whether `text` is one number and nothing else.
pub(super) fn is_number(text: &str) -> bool {
    scan(text.as_bytes(), 0) == Some(text.len())
}

/// Sign and magnitude of the integer that `token` (checked by [`scan`]) stands for.
#[inline]
pub(super) fn integer(token: &str) -> Result<(bool, u64), NotInteger> {
    let bytes = token.as_bytes();
    let (negative, digits) = match bytes.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, bytes),
    };
    // nineteen digits always fit
    if digits.len() <= 19 {
        let mut value = 0u64;
        for &b in digits {
            let digit = b.wrapping_sub(b'0');
            if digit > 9 {
                return general(digits).map(|v| (negative, v));
            }
            value = value * 10 + u64::from(digit);
        }
        return Ok((negative, value));
    }
    general(digits).map(|v| (negative, v))
}

/// The integer in digits with a point or an exponent, without a sign.
#[inline(never)]
fn general(token: &[u8]) -> Result<u64, NotInteger> {
    let (mantissa, exponent) = match token.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (token.get(..at), token.get(at + 1..)),
        None => (Some(token), None),
    };
    let mantissa = mantissa.unwrap_or_default();
    let mut scale = exponent.map_or(0, saturating);
    if let Some(point) = mantissa.iter().position(|&b| b == b'.') {
        scale = scale.saturating_sub((mantissa.len() - point - 1) as i64);
    }
    let digits =
        || mantissa.iter().filter(|b| **b != b'.').map(|b| u64::from(b.wrapping_sub(b'0')));
    let (mut value, mut zeros) = (0u64, 0u32);
    let times_ten = |value: u64, times: u64| -> Option<u64> {
        (0..times).try_fold(value, |v, _| v.checked_mul(10))
    };
    for digit in digits() {
        if digit == 0 {
            zeros = zeros.saturating_add(1);
            continue;
        }
        if value != 0 {
            value = times_ten(value, u64::from(zeros) + 1).ok_or(NotInteger::Range)?;
        }
        value = value.checked_add(digit).ok_or(NotInteger::Range)?;
        zeros = 0;
    }
    if value == 0 {
        return Ok(0);
    }
    // the zeros at the end were not multiplied in
    match u64::try_from(scale.saturating_add(i64::from(zeros))) {
        Ok(times @ 0..=19) => times_ten(value, times).ok_or(NotInteger::Range),
        Ok(_) => Err(NotInteger::Range),
        Err(_) => Err(NotInteger::Fraction),
    }
}

/// An exponent, or the nearest number that is as good as infinite.
fn saturating(text: &[u8]) -> i64 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let value = digits.iter().fold(0i64, |v, &b| {
        v.saturating_mul(10).saturating_add(b.wrapping_sub(b'0').into()).min(i64::MAX / 4)
    });
    if negative { -value } else { value }
}

/// The integer as `i64`-like bits, if it lies between `least` (zero or negative) and `most`.
#[inline(always)]
pub(super) fn within((negative, value): (bool, u64), least: i64, most: u64) -> Option<u64> {
    if negative {
        (value <= least.unsigned_abs()).then(|| value.wrapping_neg())
    } else {
        (value <= most).then_some(value)
    }
}

/// Appends an integer.
#[inline]
pub(super) fn push_u64(out: &mut Vec<u8>, mut value: u64) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    let mut digits = [0u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// Appends an integer.
#[inline]
pub(super) fn push_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_u64(out, value.unsigned_abs());
}

macro_rules! push_float {
    ($(#[$doc:meta])* $name:ident, $type:ty) => {
        $(#[$doc])*
        pub(super) fn $name(out: &mut Vec<u8>, value: $type) {
            let size = value.abs();
            // writing to a vector cannot fail
            let _ = if value.is_nan() {
                out.write_all(b"\"NaN\"")
            } else if value.is_infinite() {
                out.write_all(if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" })
            } else if size == 0.0 {
                // Python's json reads "-0" as an integer, and loses the sign
                out.write_all(if value.is_sign_negative() { b"-0.0" } else { b"0" })
            } else if (1e-5..1e16).contains(&size) {
                write!(out, "{value}")
            } else {
                write!(out, "{value:e}")
            };
        }
    };
}
push_float! {
    /// Appends the shortest text that reads back as the same `double`; in quotes if it is not finite.
    push_f64, f64
}
push_float! {
    /// Appends the shortest text that reads back as the same `float`; in quotes if it is not finite.
    push_f32, f32
}

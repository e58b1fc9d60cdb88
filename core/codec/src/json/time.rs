//! Timestamps and durations as text. Spec: timestamp.proto, duration.proto, RFC 3339.

use super::number::push_u64;

/// 0001-01-01T00:00:00Z.
const FIRST_SECOND: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;
/// Ten thousand years, as duration.proto counts them.
const LONGEST: i64 = 315_576_000_000;
const SECONDS_A_DAY: i64 = 86_400;
/// The Gregorian calendar repeats after so many days.
const DAYS_IN_400_YEARS: i64 = 146_097;

/// Appends `2006-01-02T15:04:05.999Z`, without quotes; `None` (and nothing appended) outside the years 1 to 9999.
pub(super) fn push_timestamp(out: &mut Vec<u8>, seconds: i64, nanos: i32) -> Option<()> {
    let nanos = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000)?;
    if !(FIRST_SECOND..=LAST_SECOND).contains(&seconds) {
        return None;
    }
    let (year, month, day) = date_of(seconds.div_euclid(SECONDS_A_DAY));
    let second = seconds.rem_euclid(SECONDS_A_DAY) as u64;
    push_digits(out, year, 4);
    for (mark, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', second / 3600),
        (b':', second / 60 % 60),
        (b':', second % 60),
    ] {
        out.push(mark);
        push_digits(out, value, 2);
    }
    push_fraction(out, nanos);
    out.push(b'Z');
    Some(())
}

/// Appends `-1.5s`, without quotes; `None` (and nothing appended) beyond 10,000 years or with two different signs.
pub(super) fn push_duration(out: &mut Vec<u8>, seconds: i64, nanos: i32) -> Option<()> {
    let fits =
        seconds.unsigned_abs() <= LONGEST.unsigned_abs() && nanos.unsigned_abs() < 1_000_000_000;
    if !fits || seconds.signum() * i64::from(nanos.signum()) < 0 {
        return None;
    }
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    push_u64(out, seconds.unsigned_abs());
    push_fraction(out, nanos.unsigned_abs());
    out.push(b's');
    Some(())
}

/// Seconds and nanoseconds of an RFC 3339 date and time, which must have an offset.
pub(super) fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let mut rest = text.as_bytes();
    let year = digits(&mut rest, 4)?;
    mark(&mut rest, b'-')?;
    let month = digits(&mut rest, 2)?;
    mark(&mut rest, b'-')?;
    let day = digits(&mut rest, 2)?;
    mark(&mut rest, b'T')?;
    let hour = digits(&mut rest, 2)?;
    mark(&mut rest, b':')?;
    let minute = digits(&mut rest, 2)?;
    mark(&mut rest, b':')?;
    let second = digits(&mut rest, 2)?;
    let nanos = fraction(&mut rest)?;
    let offset = match rest.split_first()? {
        (b'Z', tail) => {
            rest = tail;
            0
        }
        (sign @ (b'+' | b'-'), tail) => {
            rest = tail;
            let hours = digits(&mut rest, 2)?;
            mark(&mut rest, b':')?;
            let minutes = digits(&mut rest, 2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !rest.is_empty() || !in_range {
        return None;
    }
    let days = days_before(year, month, day);
    let seconds = days * SECONDS_A_DAY + hour * 3600 + minute * 60 + second - offset;
    (FIRST_SECOND..=LAST_SECOND).contains(&seconds).then_some((seconds, nanos))
}

/// Seconds and nanoseconds, both of one sign, of `-1.5s`.
pub(super) fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let (sign, mut rest) = match text.as_bytes().split_first()? {
        (b'-', rest) => (-1, rest),
        _ => (1, text.as_bytes()),
    };
    let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    // longer ones are out of range unless they begin with zeros, which nobody writes
    if count > 18 {
        return None;
    }
    let seconds = digits(&mut rest, count)?;
    let nanos = fraction(&mut rest)?;
    if rest != b"s" || count == 0 || seconds > LONGEST {
        return None;
    }
    Some((sign * seconds, sign as i32 * nanos))
}

fn mark(rest: &mut &[u8], wanted: u8) -> Option<()> {
    *rest = rest.strip_prefix(&[wanted])?;
    Some(())
}

/// Takes exactly `count` digits (at most 18).
fn digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (taken, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    taken
        .iter()
        .try_fold(0i64, |value, b| b.is_ascii_digit().then(|| value * 10 + i64::from(b - b'0')))
}

/// Takes a point and one to nine digits, if there is a point.
fn fraction(rest: &mut &[u8]) -> Option<i32> {
    let Some(tail) = rest.strip_prefix(b".") else { return Some(0) };
    *rest = tail;
    let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let value = digits(rest, count)?;
    i32::try_from(value * 10i64.pow(9 - count as u32)).ok()
}

fn push_digits(out: &mut Vec<u8>, value: u64, count: u32) {
    for power in (0..count).rev() {
        out.push(b'0' + (value / 10u64.pow(power) % 10) as u8);
    }
}

/// Nothing, or a point and three, six or nine digits.
fn push_fraction(out: &mut Vec<u8>, nanos: u32) {
    if nanos == 0 {
        return;
    }
    out.push(b'.');
    let (value, count) = match nanos {
        n if n % 1_000_000 == 0 => (n / 1_000_000, 3),
        n if n % 1_000 == 0 => (n / 1_000, 6),
        n => (n, 9),
    };
    push_digits(out, value.into(), count);
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap(year)),
        _ => 31,
    }
}

/// Days from 1970-01-01. Years are counted from March, so that a leap day is the last of its year.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * month + 2) / 5 + day - 1;
    let in_cycle = year * 365 + year / 4 - year / 100 + in_year;
    cycle * DAYS_IN_400_YEARS + in_cycle - 719_468
}

/// Year, month and day, the inverse of [`days_before`].
fn date_of(days: i64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(DAYS_IN_400_YEARS), days.rem_euclid(DAYS_IN_400_YEARS));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    ((cycle * 400 + year + next) as u64, month as u64, day as u64)
}

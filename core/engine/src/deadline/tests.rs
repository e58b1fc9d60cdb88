//! `grpc-timeout` on the wire (row 36), and deadlines on the clock.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn text(timeout: Duration) -> String {
    String::from_utf8(Timeout(timeout).text().as_bytes().to_vec()).expect("ASCII")
}

#[test]
fn a_timeout_takes_the_finest_unit_that_fits_in_eight_digits() {
    assert_eq!(text(Duration::from_nanos(1)), "1n");
    assert_eq!(text(Duration::from_nanos(99_999_999)), "99999999n");
    assert_eq!(text(100 * MS), "100000u");
    assert_eq!(text(1500 * MS), "1500000u");
    assert_eq!(text(Duration::from_secs(99)), "99000000u");
    assert_eq!(text(Duration::from_secs(100)), "100000m");
    assert_eq!(text(Duration::from_secs(100 * 86_400)), "8640000S");
    assert_eq!(text(Duration::from_secs(99_999_999)), "99999999S");
    assert_eq!(text(Duration::from_secs(100_000_000)), "1666667M");
    assert_eq!(text(Duration::from_secs(6_000_000_000)), "1666667H");
}

#[test]
fn a_timeout_is_rounded_up_and_never_zero() {
    assert_eq!(text(Duration::ZERO), "1n");
    assert_eq!(text(Duration::from_nanos(100_000_001)), "100001u");
    assert_eq!(text(Duration::from_nanos(99_999_999_001)), "100000m");
    assert_eq!(text(Duration::MAX), "99999999H");
}

#[test]
fn every_timeout_is_read_back_no_shorter_and_hardly_longer() {
    let mut nanos = 1u64;
    while nanos < u64::MAX / 3 {
        for timeout in [nanos - 1, nanos, nanos + 1, nanos + nanos / 3] {
            let timeout = Duration::from_nanos(timeout.max(1));
            let coded = Timeout(timeout).text();
            assert!((2..=9).contains(&coded.as_bytes().len()));
            let read = Timeout::parse(coded.as_bytes()).expect("our own").0;
            assert!(read >= timeout, "{timeout:?} became {read:?}");
            assert!(read <= timeout + timeout / 10_000, "{timeout:?} became {read:?}");
        }
        nanos = nanos * 3 + 1;
    }
}

#[test]
fn every_unit_is_read() {
    let read = |text: &str| Timeout::parse(text.as_bytes()).map(|timeout| timeout.0);
    assert_eq!(read("2H"), Ok(Duration::from_secs(7200)));
    assert_eq!(read("3M"), Ok(Duration::from_secs(180)));
    assert_eq!(read("4S"), Ok(Duration::from_secs(4)));
    assert_eq!(read("5m"), Ok(5 * MS));
    assert_eq!(read("6u"), Ok(Duration::from_micros(6)));
    assert_eq!(read("00000007n"), Ok(Duration::from_nanos(7)));
    assert_eq!(read("0n"), Ok(Duration::ZERO));
}

/// Row 36: what is not 1 to 8 digits and a unit is refused; huge is legal and means for ever.
#[test]
fn a_malformed_timeout_is_refused() {
    for bad in [
        "",
        "n",
        "1",
        "5",
        "123456789n",
        "-1S",
        "+1S",
        " 1S",
        "1 S",
        "1s",
        "1x",
        "1.5S",
        "1SS",
        "é",
    ] {
        assert_eq!(Timeout::parse(bad.as_bytes()), Err(TimeoutError), "{bad:?}");
    }
    let huge = Timeout::parse(b"99999999H").expect("legal").0;
    assert_eq!(Deadline::after(Time::from_nanos(5), huge), Deadline::NONE, "beyond the clock");
}

#[test]
fn any_two_or_three_bytes_are_read_or_refused_without_a_panic() {
    for a in 0..=255u8 {
        for b in 0..=255u8 {
            let ok = Timeout::parse(&[a, b]).is_ok();
            assert_eq!(ok, a.is_ascii_digit() && b"HMSmun".contains(&b));
            let _ = Timeout::parse(&[b'9', a, b]);
        }
    }
}

#[test]
fn a_deadline_counts_down_and_then_is_past() {
    let start = Time::ZERO + 50 * MS;
    let deadline = Deadline::after(start, 100 * MS);
    assert_eq!(deadline.remaining(start), Some(100 * MS));
    assert!(!deadline.is_past(start + 99 * MS));
    assert!(deadline.is_past(start + 100 * MS), "at the deadline it is over");
    assert_eq!(deadline.remaining(start + 300 * MS), Some(Duration::ZERO));
}

#[test]
fn no_deadline_is_later_than_any_and_never_past() {
    let soon = Deadline::at(Time::ZERO + MS);
    assert_eq!(Deadline::NONE.min(soon), soon);
    assert_eq!(soon.min(Deadline::NONE), soon);
    assert!(!Deadline::NONE.is_past(Time::NEVER));
    assert_eq!(Deadline::NONE.remaining(Time::ZERO), None);
    assert_eq!(Deadline::from(None), Deadline::NONE);
    assert_eq!(Deadline::from(Some(Time::ZERO)).time(), Some(Time::ZERO));
}

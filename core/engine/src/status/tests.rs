//! The tables of the status documents, and the percent coding of `grpc-message`.

use super::*;

#[test]
fn a_code_has_the_number_and_the_name_of_the_documents() {
    let names = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let code = Code::from_number(number as u32);
        assert_eq!((code.number(), code.name()), (number as u32, name));
        assert_eq!(Code::from_name(name), Some(code));
    }
    assert_eq!(Code::from_name("not_found"), None);
}

#[test]
fn a_number_that_grpc_does_not_know_is_unknown_and_kept() {
    let status = Status::from_number(77, "odd");
    assert_eq!((status.code(), status.number()), (Code::Unknown, 77));
    assert_eq!(status.to_string(), "UNKNOWN (77): odd");
    assert_eq!(Status::new(Code::NotFound, "no such row").to_string(), "NOT_FOUND: no such row");
    assert_eq!(Code::from_number(u32::MAX), Code::Unknown);
}

#[test]
fn a_plain_status_is_free_of_text_and_details_and_of_local_origin() {
    let status = Status::ok();
    assert!(status.is_ok() && status.message().is_empty() && status.details().is_empty());
    assert_eq!(status.origin(), Origin::Local);
    assert_eq!(status, Status::default());
}

/// Row 45 of the client's table.
#[test]
fn an_http_status_without_grpc_status_maps_by_the_table() {
    use Code::*;
    let table = [
        (400, Internal),
        (401, Unauthenticated),
        (403, PermissionDenied),
        (404, Unimplemented),
        (429, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
        (200, Unknown),
        (204, Unknown),
        (301, Unknown),
        (418, Unknown),
        (431, Unknown),
        (500, Unknown),
        (505, Unknown),
    ];
    for (http_status, code) in table {
        assert_eq!(Code::from_http_status(http_status), code, "HTTP {http_status}");
    }
}

/// Row 41, and the list in the digest, 1.6.
#[test]
fn a_stream_reset_maps_by_the_table() {
    for number in 0..=20 {
        let expected = match number {
            7 => Code::Unavailable,
            8 => Code::Cancelled,
            11 => Code::ResourceExhausted,
            12 => Code::PermissionDenied,
            _ => Code::Internal,
        };
        let status = Status::from_reset(number);
        assert_eq!((status.code(), status.origin()), (expected, Origin::Remote), "reset {number}");
    }
}

#[test]
fn the_code_inside_details_is_field_1() {
    assert_eq!(details_code(b"\x08\x05\x12\x01x"), Some(5));
    assert_eq!(details_code(b"\x12\x01x\x08\x05"), Some(5));
    assert_eq!(details_code(b"\x12\x01x"), Some(0), "absent is zero");
    assert_eq!(details_code(b""), Some(0));
    assert_eq!(details_code(b"\x08\x05\x08\x07"), Some(7), "the last one counts");
    assert_eq!(details_code(b"\x08\x05\x10\x07"), Some(5), "a field nobody knows");
    assert_eq!(details_code(b"\x08\x05\x1a\x03abc\x25\0\0\0\0\x29\0\0\0\0\0\0\0\0"), Some(5));
}

#[test]
fn details_that_are_no_message_have_no_code() {
    let broken: [&[u8]; 8] = [
        b"\x08",                                         // value missing
        b"\x12\x05x",                                    // length past the end
        b"\x00\x01",                                     // field 0
        b"\x0b\x0c",                                     // a group
        b"\x0f",                                         // wire type 7
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", // varint over ten bytes
        b"\x25\0\0",                                     // fixed32 cut short
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", // length 2^64-1
    ];
    for bytes in broken {
        assert_eq!(details_code(bytes), None, "{bytes:x?}");
    }
}

fn encoded(text: &str) -> String {
    percent_encode(text)
        .map_or_else(|| text.to_owned(), |coded| String::from_utf8(coded).expect("ASCII"))
}

#[test]
fn the_special_status_message_of_the_interop_tests_is_coded_as_the_digest_shows() {
    let text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
    let coded = "%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA and non-BMP \
                 %F0%9F%98%88%09%0A";
    assert_eq!(encoded(text), coded);
    assert_eq!(percent_decode(coded.as_bytes()), text);
}

#[test]
fn plain_text_goes_as_it_is() {
    let text = "all of !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~ go literally";
    assert_eq!(percent_encode(text), None);
    assert_eq!(percent_encode(""), None);
    assert_eq!(encoded("100%"), "100%25");
}

#[test]
fn blanks_at_the_ends_are_coded_since_some_parsers_strip_them() {
    assert_eq!(encoded(" a b "), "%20a b%20");
    assert_eq!(encoded("  "), "%20%20");
    assert_eq!(encoded(" "), "%20");
    assert_eq!(percent_decode(b"%20a b%20"), " a b ");
}

/// Row 44: bad percent-encoding in grpc-message is never an error.
#[test]
fn a_broken_escape_stays_as_it_is() {
    assert_eq!(percent_decode(b"50%zz"), "50%zz");
    assert_eq!(percent_decode(b"%"), "%");
    assert_eq!(percent_decode(b"%4"), "%4");
    assert_eq!(percent_decode(b"%%41"), "%A");
    assert_eq!(percent_decode(b"a%2fb%2Fc"), "a/b/c", "either case");
    assert_eq!(percent_decode(b"a+b"), "a+b", "plus is no blank");
    assert_eq!(percent_decode(b"%ff"), "\u{fffd}", "no UTF-8");
    assert_eq!(percent_decode(b"\xe9t\xe9"), "\u{fffd}t\u{fffd}", "no UTF-8, no escape");
}

#[test]
fn every_text_comes_back() {
    for unit in ["a", " ", "%", "%4", "\u{7f}", "\0", "é", "😈", "%41"] {
        for count in 0..5 {
            for glue in ["", " ", "x"] {
                let text = vec![unit; count].join(glue);
                let coded = encoded(&text);
                assert!(coded.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{coded:?}");
                assert_eq!(percent_decode(coded.as_bytes()), text);
            }
        }
    }
}

#[test]
fn random_bytes_are_read_as_text_and_as_details_without_a_panic() {
    let mut seed = 2_463_534_242u32;
    for _ in 0..50_000 {
        let bytes: Vec<u8> = (0..seed % 15)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 17;
                seed ^= seed << 5;
                // escapes, tags and lengths more often than chance would have it
                if seed.is_multiple_of(3) {
                    b"%%%4fF\x08\x0a\x12\x01\xff\x80"[seed as usize / 3 % 12]
                } else {
                    seed as u8
                }
            })
            .collect();
        seed = seed.wrapping_add(1);
        let text = percent_decode(&bytes);
        // a byte becomes at most one replacement character of three bytes
        assert!(text.len() <= 3 * bytes.len());
        let _ = details_code(&bytes);
    }
}

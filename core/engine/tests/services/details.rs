//! `google.rpc.Status`, held against the same type read and written by the codec.

use bytes::Bytes;
use stubless_codec::Value;
use stubless_engine::services::bundled;
use stubless_engine::services::details::{decode_status, encode_status};

const NONE: &[(&str, &[u8])] = &[];

#[test]
fn a_status_is_the_bytes_of_the_digest_and_back() {
    let bytes = encode_status(5, "x", NONE);
    assert_eq!(bytes[..], [0x08, 0x05, 0x12, 0x01, 0x78]);
    assert_eq!(decode_status(&bytes), Some((5, "x".to_owned(), Vec::new())));
    assert_eq!(encode_status(0, "", NONE), Bytes::new());
    assert_eq!(decode_status(&Bytes::new()), Some((0, String::new(), Vec::new())));
    let negative = encode_status(-1, "", NONE);
    assert_eq!(decode_status(&negative).unwrap().0, -1);
}

#[test]
fn what_is_written_here_reads_the_same_through_the_codec() {
    let schema = bundled::schema();
    let reason = schema.message("google.rpc.ErrorInfo").unwrap();
    let mut info = reason.new_message();
    info.set_by_name("reason", "OUT_OF_TEA").unwrap();
    let info = info.encode().unwrap();
    let details = [
        ("type.googleapis.com/google.rpc.ErrorInfo", &info[..]),
        ("type.googleapis.com/google.protobuf.Empty", b""),
    ];
    let bytes = encode_status(9, "no tea \u{2615}", &details);

    let status = schema.message("google.rpc.Status").unwrap().decode(bytes.clone()).unwrap();
    assert_eq!(status.get_by_name("code").unwrap(), Value::I32(9));
    assert_eq!(status.get_by_name("message").unwrap(), Value::Str("no tea \u{2615}"));
    assert_eq!(status.encode().unwrap(), bytes, "the canonical form");

    let (code, message, back) = decode_status(&bytes).unwrap();
    assert_eq!((code, message.as_str()), (9, "no tea \u{2615}"));
    let back: Vec<_> = back.iter().map(|(url, bytes)| (url.as_str(), &bytes[..])).collect();
    assert_eq!(back, details);
}

#[test]
fn what_is_no_status_is_none_and_never_a_panic() {
    let whole = encode_status(5, "text", &[("type.googleapis.com/a.B", b"12345".as_slice())]);
    for cut in 1..whole.len() {
        // a cut at the end of a field leaves a shorter status; elsewhere nothing can be read
        let field_ends = [2, 8];
        let cut_off = decode_status(&whole.slice(..cut));
        assert_eq!(cut_off.is_some(), field_ends.contains(&cut), "{cut}");
    }
    for bytes in [&b"\x12\x01\xff"[..], b"\x1a\x02\x0a\x05", b"\x00", b"\x0b", b"\x0c"] {
        assert_eq!(decode_status(&Bytes::copy_from_slice(bytes)), None, "{bytes:?}");
    }
    assert_eq!(
        decode_status(&Bytes::from_static(b"\x78\x01\x08\x05")).unwrap().0,
        5,
        "unknown fields are passed over"
    );
}

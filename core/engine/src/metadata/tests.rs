//! Metadata: what may be written, what is read, and what is dropped (rows 6, 34, 35).

use super::*;

fn receive(pairs: &[(&str, &str)]) -> Result<Metadata, MetadataError> {
    let mut metadata = Metadata::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("legal for HTTP");
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("legal for HTTP");
        metadata.receive(&name, value, MetadataLimits::default())?;
    }
    Ok(metadata)
}

fn values<'a>(metadata: &'a Metadata, key: &str) -> Vec<&'a [u8]> {
    metadata.get_all(key).map(MetadataValue::as_bytes).collect()
}

#[test]
fn a_key_keeps_its_values_in_order() {
    let mut metadata = Metadata::new();
    metadata.append("x-id", "7").unwrap();
    metadata.append("other", "o").unwrap();
    metadata.append("x-id", "8").unwrap();
    assert_eq!(values(&metadata, "x-id"), [b"7", b"8"]);
    assert_eq!(metadata.get("x-id"), Some(MetadataValue::Ascii("7")));
    metadata.insert("x-id", "9").unwrap();
    assert_eq!(values(&metadata, "x-id"), [b"9"]);
    assert_eq!(metadata.len(), 2);
    assert!(metadata.remove("x-id") && !metadata.remove("x-id"));
    assert_eq!(metadata.iter().collect::<Vec<_>>(), [("other", MetadataValue::Ascii("o"))]);
}

#[test]
fn bytes_go_over_the_wire_in_base64_without_padding() {
    let mut metadata = Metadata::new();
    metadata.append("trace-bin", vec![0xab, 0xab, 0xab]).unwrap();
    metadata.append("trace-bin", vec![0xff]).unwrap();
    metadata.append("empty-bin", Bytes::new()).unwrap();
    let mut headers = HeaderMap::new();
    metadata.write_to(&mut headers);
    let coded: Vec<_> = headers.get_all("trace-bin").iter().collect();
    assert_eq!(coded, ["q6ur", "/w"], "two fields, never joined: grpc-go and grpcio refuse it");
    assert_eq!(headers["empty-bin"], "");
    let wire: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert_eq!(metadata.wire_bytes(), wire);
}

/// Row 34, our own senders: refused before sending, naming the key.
#[test]
fn a_key_that_grpc_does_not_carry_is_refused_by_name() {
    let mut metadata = Metadata::new();
    for key in ["", "X-Id", "a b", "a:b", "schlüssel", "a\n", "a/b", "a*b"] {
        let error = metadata.append(key, "v").unwrap_err();
        assert!(matches!(&error, MetadataError::Key { key: named } if named == key), "{key:?}");
        assert_eq!(Status::from(error).code(), Code::Internal);
    }
    let reserved = [
        ":path",
        "grpc-status",
        "grpc-timeout",
        "grpc-anything",
        "grpc-",
        "content-type",
        "content-length",
        "te",
        "user-agent",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    for key in reserved {
        let error = metadata.insert(key, "v").unwrap_err();
        assert_eq!(error, MetadataError::Reserved { key: key.into() });
        assert!(error.to_string().contains(key));
    }
    assert!(metadata.is_empty());
}

#[test]
fn the_four_names_grpc_shows_to_applications_may_be_set() {
    let mut metadata = Metadata::new();
    for key in
        ["grpc-previous-rpc-attempts", "grpc-retry-pushback-ms", "grpc-trace-bin", "grpc-tags-bin"]
    {
        metadata.insert(key, "1").unwrap();
    }
    assert_eq!(metadata.len(), 4);
}

#[test]
fn a_text_value_is_printable_ascii() {
    let mut metadata = Metadata::new();
    metadata.append("k", " !~ ").unwrap();
    for value in ["a\tb", "a\nb", "a\rb", "é", "\u{7f}", "\0"] {
        let error = metadata.append("k", value).unwrap_err();
        assert_eq!(error, MetadataError::Value { key: "k".into() }, "{value:?}");
    }
    assert_eq!(metadata.len(), 1);
}

/// Row 34, received: dropped, and the call goes on.
#[test]
fn a_received_field_that_grpc_cannot_carry_is_dropped() {
    let pairs =
        [("good", "1"), ("b!d", "2"), ("latin", "caf\u{e9}"), ("tab", "a\tb"), ("b!d-bin", "?")];
    let metadata = receive(&pairs).unwrap();
    assert_eq!(metadata.iter().collect::<Vec<_>>(), [("good", MetadataValue::Ascii("1"))]);
}

/// Row 35: padded or not, and comma-joined, are accepted.
#[test]
fn received_bytes_are_decoded_however_they_were_padded_or_joined() {
    let metadata = receive(&[
        ("a-bin", "q6s"),
        ("b-bin", "q6s="),
        ("c-bin", "q6s=,q6ur, /w=="),
        ("d-bin", ""),
    ]);
    let metadata = metadata.unwrap();
    assert_eq!(values(&metadata, "a-bin"), [b"\xab\xab"]);
    assert_eq!(values(&metadata, "b-bin"), [b"\xab\xab"]);
    assert_eq!(values(&metadata, "c-bin"), [&b"\xab\xab"[..], b"\xab\xab\xab", b"\xff"]);
    assert_eq!(values(&metadata, "d-bin"), [b""]);
    assert!(matches!(metadata.get("a-bin"), Some(MetadataValue::Binary(_))));
}

/// Row 35: a `-bin` value that is not base64 fails the request.
#[test]
fn received_bytes_that_are_no_base64_are_an_error_by_name() {
    for value in ["?", "q", "q6u*", "q6 r", "====", "q6s==="] {
        let error = receive(&[("x-bin", value)]).unwrap_err();
        assert_eq!(error, MetadataError::Base64 { key: "x-bin".into() }, "{value:?}");
        assert_eq!(error.code(), Code::Internal);
    }
}

/// Row 6: commas must not multiply fields past the limit.
#[test]
fn a_joined_value_counts_as_many_fields_as_it_holds() {
    assert_eq!(receive(&[("x-bin", &"AA,".repeat(127))]).unwrap().len(), 128);
    let error = receive(&[("x-bin", &"AA,".repeat(128))]).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
}

#[test]
fn a_sender_stops_at_4096_pairs_and_can_still_write_them() {
    let mut metadata = Metadata::new();
    for index in 0..4096 {
        metadata.append(&format!("k{index}"), "v").unwrap();
    }
    assert_eq!(metadata.append("more", "v"), Err(MetadataError::TooMany { max_pairs: 4096 }));
    assert_eq!(metadata.insert("more", "v"), Err(MetadataError::TooMany { max_pairs: 4096 }));
    metadata.insert("k7", "in place of the old one").unwrap();
    let copy = metadata.clone();
    metadata.extend(&copy);
    let mut headers = HeaderMap::with_capacity(7 + metadata.len());
    metadata.write_to(&mut headers);
    assert_eq!((metadata.len(), headers.len()), (4096, 4096));
}

#[test]
fn what_a_server_received_goes_on_without_its_user_agent() {
    let metadata = receive(&[("user-agent", "grpc-go/1.85"), ("k", "v")]).unwrap();
    assert_eq!(metadata.get("user-agent"), Some(MetadataValue::Ascii("grpc-go/1.85")));
    let mut headers = HeaderMap::new();
    metadata.write_to(&mut headers);
    assert_eq!((headers.len(), &headers["k"]), (1, &HeaderValue::from_static("v")));
}

#[test]
fn every_byte_string_survives_the_wire() {
    for length in 0..70 {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 37 + length) as u8).collect();
        let mut metadata = Metadata::new();
        metadata.insert("x-bin", bytes.clone()).unwrap();
        let mut headers = HeaderMap::new();
        metadata.write_to(&mut headers);
        let mut read = Metadata::new();
        for (name, value) in &headers {
            read.receive(name, value.clone(), MetadataLimits::default()).unwrap();
        }
        assert_eq!(read, metadata);
    }
}

#[test]
fn any_header_value_is_taken_dropped_or_refused_without_a_panic() {
    let names: Vec<_> = ["k", "k-bin", "b!d"]
        .iter()
        .map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap())
        .collect();
    let mut seed = 7u32;
    for _ in 0..20_000 {
        let mut bytes = [0u8; 12];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (seed >> 24) as u8;
        }
        let length = usize::from(bytes[0] % 12);
        let Ok(value) = HeaderValue::from_bytes(&bytes[..length]) else { continue };
        for name in &names {
            let mut metadata = Metadata::new();
            let _ = metadata.receive(name, value.clone(), MetadataLimits::default());
            for (_, value) in metadata.iter() {
                assert!(value.as_bytes().len() <= length);
            }
        }
    }
}

//! The client against every answer a server may give.

use super::super::*;
use super::*;
use crate::compression::{Encoding, compress};
use crate::status::{Code, Origin, Status};

const OK_HEADERS: &[(&str, &str)] = &[("content-type", "application/grpc")];
const OK_TRAILERS: &[(&str, &str)] = &[("grpc-status", "0")];

fn options(kind: MethodKind) -> ClientStreamOptions {
    ClientStreamOptions { kind, deadline: Some(at(100)), ..ClientStreamOptions::default() }
}

/// A stream whose request is complete.
fn stream(kind: MethodKind) -> ClientStream {
    let mut stream = ClientStream::new(options(kind));
    stream.encode_message(Bytes::from_static(b"Ada"), false).unwrap();
    stream.half_close();
    stream
}

fn answered(kind: MethodKind) -> ClientStream {
    let mut stream = stream(kind);
    stream.handle_headers(200, headers(OK_HEADERS), false);
    stream
}

/// All events to come: the messages, the status, the trailers.
fn end(stream: &mut ClientStream) -> (Vec<Bytes>, Status, Metadata) {
    let mut messages = Vec::new();
    loop {
        match stream.poll_event().expect("a status at last") {
            ClientEvent::Headers(_) => {}
            ClientEvent::Message(message) => messages.push(message),
            ClientEvent::Status(status, trailers) => {
                assert_eq!(stream.poll_event(), None);
                return (messages, status, trailers);
            }
        }
    }
}

fn code(stream: &mut ClientStream) -> Code {
    end(stream).1.code()
}

#[test]
fn request_headers_begin_with_the_timeout_and_end_with_the_metadata() {
    let user_agent = HeaderValue::from_static("stubless/0.1");
    let metadata = metadata(&[("x-id", "7"), ("trace-bin", "\u{1}\u{2}\u{3}")]);
    let mut head = RequestHead {
        timeout: Some(1500 * MS),
        encoding: Encoding::Gzip,
        metadata: &metadata,
        user_agent: &user_agent,
        previous_attempts: 2,
    };
    let full = request_headers(&head);
    assert_eq!(
        fields(&full),
        [
            ("grpc-timeout", "1500000u"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "stubless/0.1"),
            ("grpc-accept-encoding", crate::compression::ACCEPT),
            ("grpc-encoding", "gzip"),
            ("x-id", "7"),
            ("trace-bin", "AQID"),
            ("grpc-previous-rpc-attempts", "2"),
        ]
    );
    let none = Metadata::new();
    head = RequestHead { timeout: None, metadata: &none, previous_attempts: 0, ..head };
    head.encoding = Encoding::Identity;
    let plain = request_headers(&head);
    let names: Vec<_> = plain.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["te", "content-type", "user-agent", "grpc-accept-encoding"]);
}

#[test]
fn a_unary_call_with_metadata_on_both_ends() {
    let mut stream = stream(MethodKind::UNARY);
    let mut fields = OK_HEADERS.to_vec();
    fields.extend([
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-bin", "q6ur"),
        ("grpc-accept-encoding", "gzip"),
    ]);
    stream.handle_headers(200, headers(&fields), false);
    assert!(stream.saw_response_headers());
    stream.handle_data(frame("hello"));
    stream.handle_trailers(headers(&[("grpc-status", "0"), ("x-took", "1")]));
    let Some(ClientEvent::Headers(initial)) = stream.poll_event() else { panic!() };
    let mut expected = metadata(&[("x-a", "1"), ("x-a", "2")]);
    expected.append("x-bin", vec![0xab; 3]).unwrap();
    assert_eq!(initial, expected);
    let (messages, status, trailers) = end(&mut stream);
    assert_eq!(messages, ["hello"]);
    assert_eq!(status, Status::ok().with_origin(Origin::Remote));
    assert_eq!(trailers, metadata(&[("x-took", "1")]));
    assert_eq!(stream.wants_reset(), None);
}

#[test]
fn trailers_only_gives_a_status_without_headers_and_leaves_a_retry_open() {
    let mut stream = stream(MethodKind::UNARY);
    let fields = [
        ("content-type", "application/grpc"),
        ("grpc-status", "12"),
        ("grpc-message", "unknown method M"),
        ("x", "y"),
    ];
    stream.handle_headers(200, headers(&fields), true);
    assert!(!stream.saw_response_headers());
    assert_eq!(stream.status().map(Status::code), Some(Code::Unimplemented));
    let Some(ClientEvent::Status(status, trailers)) = stream.poll_event() else { panic!() };
    assert_eq!((status.message(), status.origin()), ("unknown method M", Origin::Remote));
    assert_eq!(trailers, metadata(&[("x", "y")]));
}

/// Row 41: RST after headers, in the data, after the data without trailers.
#[test]
fn a_reset_before_the_trailers_fails_the_call_by_the_table() {
    use Code::*;
    let table =
        [(0, Internal), (2, Internal), (7, Unavailable), (8, Cancelled), (11, ResourceExhausted)];
    for (reset, expected) in table.into_iter().chain([(12, PermissionDenied), (99, Internal)]) {
        for data in ["", "\0\0\0\0\x02h", "\0\0\0\0\x02hi"] {
            let mut stream = answered(MethodKind::UNARY);
            stream.handle_data(Bytes::from(data));
            stream.handle_reset(reset, at(50));
            assert_eq!(code(&mut stream), expected, "reset {reset} after {data:?}");
            assert_eq!(stream.wants_reset(), None);
        }
        let mut early = stream(MethodKind::UNARY);
        early.handle_reset(reset, at(50));
        assert_eq!(code(&mut early), expected, "reset {reset} before headers");
        assert!(!early.saw_response_headers());
    }
}

/// Digest, 12: RST_STREAM(NO_ERROR) after complete trailers is success.
#[test]
fn a_reset_after_the_trailers_changes_nothing() {
    let mut stream = answered(MethodKind::UNARY);
    stream.handle_data(frame("hi"));
    stream.handle_trailers(headers(&[("grpc-status", "0"), ("grpc-message", "fine")]));
    stream.handle_reset(0, at(50));
    stream.handle_disconnect("gone");
    let (_, status, _) = end(&mut stream);
    assert_eq!((status.code(), status.message()), (Code::Ok, "fine"));
}

/// Digest, 1.8 and 12: the peer's cancel just before our own timer is the deadline.
#[test]
fn a_servers_cancel_at_the_deadline_is_the_deadline() {
    for (now, expected) in [(80, Code::Cancelled), (92, Code::DeadlineExceeded)] {
        let mut stream = answered(MethodKind::UNARY);
        stream.handle_reset(8, at(now));
        assert_eq!(code(&mut stream), expected, "at {now} ms");
    }
    let mut stream = answered(MethodKind::UNARY);
    stream.handle_time(at(100));
    assert_eq!(stream.wants_reset(), Some(8));
    assert_eq!(stream.wants_reset(), None);
    assert_eq!(code(&mut stream), Code::DeadlineExceeded);
}

/// Row 48, the call's part.
#[test]
fn a_lost_connection_is_unavailable_and_says_why() {
    let mut stream = answered(MethodKind::SERVER_STREAMING);
    stream.handle_data(frame("one"));
    stream.handle_disconnect("connection reset by 10.0.0.7:443");
    let (messages, status, _) = end(&mut stream);
    assert_eq!(messages, ["one"]);
    assert_eq!(status, Status::new(Code::Unavailable, "connection reset by 10.0.0.7:443"));
}

/// Row 44: END_STREAM with no grpc-status.
#[test]
fn an_end_without_a_status_is_never_ok() {
    let mut data = answered(MethodKind::UNARY);
    data.handle_data(frame("hi"));
    data.handle_end();
    assert_eq!(code(&mut data), Code::Internal, "END_STREAM on the data");

    let mut trailers = answered(MethodKind::UNARY);
    trailers.handle_data(frame("hi"));
    trailers.handle_trailers(headers(&[("x", "y")]));
    assert_eq!(code(&mut trailers), Code::Unknown, "trailers without grpc-status");

    let mut only = stream(MethodKind::UNARY);
    only.handle_headers(200, headers(OK_HEADERS), true);
    assert_eq!(code(&mut only), Code::Unknown, "headers with END_STREAM");
}

/// Row 44: grpc-status not a number or > 16.
#[test]
fn a_status_that_is_no_known_number_is_unknown() {
    for value in ["", "x", "-1", "1.0", " 1", "0x1", "99999999999"] {
        let mut stream = answered(MethodKind::UNARY);
        stream.handle_trailers(headers(&[("grpc-status", value), ("grpc-message", "why")]));
        let (_, status, _) = end(&mut stream);
        assert_eq!((status.code(), status.number()), (Code::Unknown, 2), "{value:?}");
        assert!(status.message().contains("why"));
    }
    for (value, number) in [("17", 17), ("77", 77), ("4294967", 4_294_967)] {
        let mut stream = answered(MethodKind::UNARY);
        stream.handle_trailers(headers(&[("grpc-status", value)]));
        let (_, status, _) = end(&mut stream);
        assert_eq!((status.code(), status.number()), (Code::Unknown, number));
    }
}

/// Row 44: grpc-status twice.
#[test]
fn two_statuses_count_once_if_they_agree_and_are_unknown_if_not() {
    for (second, expected) in [("5", Code::NotFound), ("0", Code::Unknown)] {
        let mut stream = answered(MethodKind::UNARY);
        stream.handle_trailers(headers(&[("grpc-status", "5"), ("grpc-status", second)]));
        assert_eq!(code(&mut stream), expected);
    }
}

/// Row 44, and the digest, 12: a status in a HEADERS block without END_STREAM.
#[test]
fn a_status_in_the_headers_counts_only_if_nothing_follows() {
    let early = [("content-type", "application/grpc"), ("grpc-status", "5"), ("x", "y")];
    let begin = || {
        let mut stream = stream(MethodKind::UNARY);
        stream.handle_headers(200, headers(&early), false);
        assert_eq!(stream.poll_event(), None);
        stream
    };
    let mut alone = begin();
    alone.handle_end();
    let (_, status, trailers) = end(&mut alone);
    assert_eq!((status.code(), trailers), (Code::NotFound, metadata(&[("x", "y")])));

    let mut empty_data = begin();
    empty_data.handle_data(Bytes::new());
    empty_data.handle_end();
    assert_eq!(code(&mut empty_data), Code::NotFound);

    let mut data = begin();
    data.handle_data(frame("hi"));
    data.handle_end();
    assert_eq!(code(&mut data), Code::Internal);

    let mut whole = begin();
    whole.handle_data(frame("hi"));
    whole.handle_trailers(headers(OK_TRAILERS));
    assert_eq!(whole.poll_event(), Some(ClientEvent::Headers(metadata(&[("x", "y")]))));
    assert_eq!(end(&mut whole).0, ["hi"]);

    let mut trailers = begin();
    trailers.handle_trailers(headers(&[("grpc-status", "9")]));
    assert_eq!(code(&mut trailers), Code::FailedPrecondition);

    let mut bare = begin();
    bare.handle_trailers(headers(&[]));
    assert_eq!(code(&mut bare), Code::Unknown);
}

/// Row 44: bad percent-encoding is never an error; bad base64 in the details keeps the header's status.
#[test]
fn a_status_survives_a_broken_text_and_broken_details() {
    let cases: [(&str, &[u8]); 6] = [
        ("CAUSAXg", b"\x08\x05\x12\x01x"),
        ("CAUSAXg=", b"\x08\x05\x12\x01x"),
        ("?", b""),
        ("CAYSAXg", b""), // code 6
        ("CAUSBXg", b""), // cut short
        ("", b""),
    ];
    for (details, expected) in cases {
        let mut stream = answered(MethodKind::UNARY);
        stream.handle_trailers(headers(&[
            ("grpc-status", "5"),
            ("grpc-message", "50%zz of %E2%98%BA"),
            ("grpc-status-details-bin", details),
        ]));
        let (_, status, trailers) = end(&mut stream);
        assert_eq!((status.code(), status.message()), (Code::NotFound, "50%zz of ☺"));
        assert_eq!(status.details(), expected, "{details:?}");
        assert!(trailers.is_empty());
    }
}

/// Row 45.
#[test]
fn a_foreign_answer_maps_by_its_http_status() {
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
        (500, Unknown),
        (431, Unknown),
        (204, Unknown),
    ];
    for (http_status, expected) in table {
        for fields in [OK_HEADERS, &[("content-type", "text/html")], &[]] {
            let mut only = stream(MethodKind::UNARY);
            only.handle_headers(http_status, headers(fields), true);
            assert_eq!(code(&mut only), expected, "{http_status} {fields:?}");

            let mut body = stream(MethodKind::UNARY);
            body.handle_headers(http_status, headers(fields), false);
            body.handle_data(Bytes::from_static(b"<h1>no</h1>"));
            body.handle_end();
            let (_, status, _) = end(&mut body);
            assert_eq!(status.code(), expected);
            assert!(status.message().ends_with(": <h1>no</h1>"), "{}", status.message());
            assert!(status.message().contains(&http_status.to_string()));
            assert!(!body.saw_response_headers(), "no gRPC headers: a retry is open");
        }
    }
}

#[test]
fn a_grpc_status_wins_over_the_http_status() {
    let mut only = stream(MethodKind::UNARY);
    only.handle_headers(503, headers(&[("grpc-status", "7")]), true);
    assert_eq!(code(&mut only), Code::PermissionDenied);

    let mut late = stream(MethodKind::UNARY);
    late.handle_headers(500, headers(OK_HEADERS), false);
    late.handle_trailers(headers(&[("grpc-status", "7")]));
    assert_eq!(code(&mut late), Code::PermissionDenied);

    let mut bare = stream(MethodKind::UNARY);
    bare.handle_headers(503, headers(OK_HEADERS), false);
    bare.handle_trailers(headers(&[("x", "y")]));
    assert_eq!(code(&mut bare), Code::Unavailable, "trailers without one leave the HTTP status");

    let mut page = stream(MethodKind::UNARY);
    page.handle_headers(503, headers(&[("grpc-status", "0")]), false);
    page.handle_data(Bytes::from_static(b"<html>"));
    page.handle_end();
    assert_eq!(code(&mut page), Code::Unavailable, "but not one that came before a page");
}

#[test]
fn the_text_of_a_foreign_answer_ends_after_1_kib_and_its_stream_too() {
    let mut stream = stream(MethodKind::SERVER_STREAMING);
    stream.handle_headers(200, headers(&[("content-type", "text/html; charset=utf-8")]), false);
    for _ in 0..11 {
        stream.handle_data(Bytes::from(vec![b'x'; 100]));
    }
    assert_eq!(stream.wants_reset(), Some(8));
    let (_, status, _) = end(&mut stream);
    assert_eq!(status.code(), Code::Unknown);
    assert!(status.message().contains("text/html; charset=utf-8"));
    assert_eq!(
        status.message().matches('x').count() - "text/html; charset".matches('x').count(),
        1024
    );
}

#[test]
fn every_form_of_the_content_type_is_known() {
    for value in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
        "Application/GRPC",
    ] {
        let mut stream = stream(MethodKind::UNARY);
        stream.handle_headers(200, headers(&[("content-type", value)]), false);
        assert!(stream.saw_response_headers(), "{value}");
    }
    for value in ["application/grpc-web", "application/grpcx", "application/json", "grpc", ""] {
        let mut stream = stream(MethodKind::UNARY);
        stream.handle_headers(200, headers(&[("content-type", value)]), false);
        assert!(!stream.saw_response_headers(), "{value}");
        stream.handle_end();
        assert_eq!(code(&mut stream), Code::Unknown);
    }
}

/// Row 46, in the order it names them.
#[test]
fn a_bad_message_in_an_answer_fails_the_call_and_resets_the_stream() {
    let gzip = compress(Encoding::Gzip, b"hi").unwrap();
    let cases: [(Fields, Bytes, Code); 7] = [
        (&[], Bytes::from_static(&[0, 0, 0x40, 0, 1]), Code::ResourceExhausted),
        (&[], flagged(true, &gzip), Code::Internal),
        (&[("grpc-encoding", "identity")], flagged(true, &gzip), Code::Internal),
        (&[("grpc-encoding", "snappy")], flagged(true, &gzip), Code::Internal),
        (&[("grpc-encoding", "gzip")], flagged(true, b""), Code::Internal),
        (&[], Bytes::from_static(&[2, 0, 0, 0, 0]), Code::Internal),
        (&[], Bytes::from_static(&[255, 0, 0, 0, 0]), Code::Internal),
    ];
    for (extra, data, expected) in cases {
        for kind in [MethodKind::UNARY, MethodKind::SERVER_STREAMING] {
            let mut stream = stream(kind);
            stream.handle_headers(200, headers(&[OK_HEADERS, extra].concat()), false);
            stream.handle_data(data.clone());
            assert_eq!(code(&mut stream), expected, "{extra:?} {data:?}");
            assert_eq!(stream.wants_reset(), Some(8));
        }
    }
}

/// Row 46: two messages for a unary call, OK and none, END inside a message also with status 0; row 23.
#[test]
fn a_wrong_answer_is_never_ok() {
    let mut two = answered(MethodKind::UNARY);
    two.handle_data([frame("a"), frame("b")].concat().into());
    two.handle_trailers(headers(OK_TRAILERS));
    assert_eq!(code(&mut two), Code::Unimplemented);

    let mut none = answered(MethodKind::UNARY);
    none.handle_trailers(headers(OK_TRAILERS));
    assert_eq!(code(&mut none), Code::Unimplemented);
    let mut none = stream(MethodKind::UNARY);
    none.handle_headers(
        200,
        headers(&[("content-type", "application/grpc"), ("grpc-status", "0")]),
        true,
    );
    assert_eq!(code(&mut none), Code::Unimplemented);

    for end in 1..7 {
        let mut half = answered(MethodKind::SERVER_STREAMING);
        half.handle_data(frame("hi").slice(..end));
        half.handle_trailers(headers(OK_TRAILERS));
        assert_eq!(code(&mut half), Code::Internal);
        let mut half = answered(MethodKind::SERVER_STREAMING);
        half.handle_data(frame("hi").slice(..end));
        half.handle_end();
        assert_eq!(code(&mut half), Code::Internal);
    }

    let bomb = compress(Encoding::Gzip, &vec![0; 8 << 20]).unwrap();
    let mut stream = stream(MethodKind::UNARY);
    stream.handle_headers(
        200,
        headers(&[OK_HEADERS, &[("grpc-encoding", "gzip")]].concat()),
        false,
    );
    stream.handle_data(flagged(true, &bomb));
    assert_eq!(code(&mut stream), Code::ResourceExhausted);
}

/// Digest, 1.11: an unknown coding hurts only the messages that use it.
#[test]
fn an_unknown_coding_does_not_hurt_a_plain_message() {
    let mut stream = stream(MethodKind::UNARY);
    stream.handle_headers(
        200,
        headers(&[OK_HEADERS, &[("grpc-encoding", "snappy")]].concat()),
        false,
    );
    stream.handle_data(frame("plain"));
    stream.handle_trailers(headers(OK_TRAILERS));
    assert_eq!(end(&mut stream).0, ["plain"]);
}

/// Row 35, the client's part; and the limits of row 6 applied to an answer.
#[test]
fn bad_metadata_in_an_answer_fails_the_call() {
    let long = "v".repeat(16 * 1024);
    let many: Vec<_> = (0..129).map(|_| ("x", "y")).collect();
    let cases: [(&[(&str, &str)], Code); 3] = [
        (&[("x-bin", "?")], Code::Internal),
        (&[("x", &long)], Code::ResourceExhausted),
        (&many, Code::ResourceExhausted),
    ];
    for (extra, expected) in cases {
        let mut initial = stream(MethodKind::UNARY);
        initial.handle_headers(200, headers(&[OK_HEADERS, extra].concat()), false);
        assert_eq!(initial.wants_reset(), Some(8));
        assert_eq!(code(&mut initial), expected, "in headers");

        let mut trailing = answered(MethodKind::UNARY);
        trailing.handle_data(frame("hi"));
        trailing.handle_trailers(headers(&[OK_TRAILERS, extra].concat()));
        assert_eq!(code(&mut trailing), expected, "in trailers");

        let mut only = stream(MethodKind::UNARY);
        only.handle_headers(200, headers(&[&[("grpc-status", "5")], extra].concat()), true);
        let (_, status, _) = end(&mut only);
        assert_eq!(status.code(), expected, "in trailers-only");
        assert!(status.message().contains("NOT_FOUND"), "{}", status.message());
    }
}

/// Digest, 1.1: a second HEADERS block without END_STREAM.
#[test]
fn a_second_header_block_is_a_violation() {
    let mut stream = answered(MethodKind::UNARY);
    stream.handle_headers(200, headers(OK_HEADERS), false);
    assert_eq!(stream.wants_reset(), Some(1));
    assert_eq!(code(&mut stream), Code::Internal);

    let mut last = answered(MethodKind::UNARY);
    last.handle_data(frame("hi"));
    last.handle_headers(200, headers(OK_TRAILERS), true);
    assert_eq!(code(&mut last), Code::Ok, "with END_STREAM they are trailers");
}

#[test]
fn data_before_the_headers_is_a_violation() {
    let mut stream = stream(MethodKind::UNARY);
    stream.handle_data(Bytes::new());
    stream.handle_data(frame("hi"));
    assert_eq!(stream.wants_reset(), Some(1));
    assert_eq!(code(&mut stream), Code::Internal);
}

#[test]
fn an_answer_before_the_end_of_the_request_resets_with_no_error() {
    let mut stream = ClientStream::new(options(MethodKind::CLIENT_STREAMING));
    stream.handle_headers(200, headers(OK_HEADERS), false);
    stream.handle_data(frame("enough"));
    stream.handle_trailers(headers(OK_TRAILERS));
    assert_eq!(stream.wants_reset(), Some(0));
    assert_eq!(end(&mut stream).0, ["enough"]);
}

/// Row 14, the client's part.
#[test]
fn an_answer_cut_anywhere_is_the_same_answer() {
    let data: Bytes = [frame("one"), frame(""), frame("three")].concat().into();
    for first in 0..=data.len() {
        for second in first..=data.len() {
            let mut stream = answered(MethodKind::SERVER_STREAMING);
            for part in [0..first, first..second, second..data.len()] {
                stream.handle_data(data.slice(part));
            }
            stream.handle_trailers(headers(OK_TRAILERS));
            let (messages, status, _) = end(&mut stream);
            assert_eq!(
                (messages, status.code()),
                (vec!["one".into(), "".into(), "three".into()], Code::Ok)
            );
        }
    }
}

#[test]
fn random_answers_end_every_call_once_and_never_panic() {
    let names = [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "content-type",
        "grpc-encoding",
        "x-bin",
        "x",
    ];
    let values = ["0", "5", "x", "application/grpc", "gzip", "%zz%", "q6s=", "?,", ""];
    let mut seed = 4711;
    for round in 0..20_000 {
        let mut stream =
            stream(if round % 2 == 0 { MethodKind::UNARY } else { MethodKind::BIDI_STREAMING });
        let mut statuses = 0;
        for _ in 0..random(&mut seed) % 7 {
            let mut block = Vec::new();
            for _ in 0..random(&mut seed) % 4 {
                let name = names[random(&mut seed) as usize % names.len()];
                block.push((name, values[random(&mut seed) as usize % values.len()]));
            }
            let length = (random(&mut seed) % 12) as usize;
            let bytes: Vec<u8> = (0..length).map(|_| (random(&mut seed) % 7) as u8).collect();
            match random(&mut seed) % 9 {
                0 => stream.handle_headers(200, headers(OK_HEADERS), false),
                1 => stream.handle_headers(200, headers(&block), one_in(2, &mut seed)),
                2 => {
                    stream.handle_headers((random(&mut seed) % 700) as u16, headers(&block), false)
                }
                3 | 4 => stream.handle_data(bytes.into()),
                5 => stream.handle_trailers(headers(&block)),
                6 => stream.handle_end(),
                7 => stream.handle_reset((random(&mut seed) % 16) as u32, at(95)),
                _ => stream.handle_time(at((random(&mut seed) % 120) as u32)),
            }
            while let Some(event) = stream.poll_event() {
                assert_eq!(statuses, 0);
                statuses += u32::from(matches!(event, ClientEvent::Status(..)));
            }
            stream.wants_reset();
        }
        stream.handle_disconnect("the end");
        while let Some(event) = stream.poll_event() {
            statuses += u32::from(matches!(event, ClientEvent::Status(..)));
        }
        assert_eq!(statuses, 1);
    }
}

//! The server against every request a client may make.

use http::Method;

use super::super::*;
use super::*;
use crate::compression::{Encoding, compress};
use crate::status::{Code, Status};

const REQUEST: &[(&str, &str)] = &[("te", "trailers"), ("content-type", "application/grpc")];

fn incoming(extra: &[(&str, &str)]) -> IncomingHead {
    IncomingHead {
        method: Method::POST,
        path: Bytes::from_static(b"/greet.Greeter/Hello"),
        authority: Some("localhost".into()),
        headers: headers(&[REQUEST, extra].concat()),
    }
}

fn accepted(head: IncomingHead) -> ServerHead {
    match accept(head, &ServerLimits::default()) {
        Accepted::Call(head) => *head,
        other => panic!("{other:?}"),
    }
}

/// The answer to a head that is not accepted: HTTP status, and the code if there is one.
fn rejected(head: IncomingHead) -> (u16, Option<Code>) {
    match accept(head, &ServerLimits::default()) {
        Accepted::Reject(Rejection { http_status, headers }) => {
            let number = headers.get("grpc-status").map(|value| value.to_str().unwrap());
            if number.is_some() {
                assert_eq!(headers["content-type"], "application/grpc");
            }
            (http_status, number.map(|number| Code::from_number(number.parse().unwrap())))
        }
        other => panic!("{other:?}"),
    }
}

fn refused(extra: &[(&str, &str)]) -> Code {
    let (http_status, code) = rejected(incoming(extra));
    assert_eq!(http_status, 200);
    code.expect("a gRPC status")
}

fn reset(head: IncomingHead) -> u32 {
    match accept(head, &ServerLimits::default()) {
        Accepted::Reset(code) => code,
        other => panic!("{other:?}"),
    }
}

fn stream(kind: MethodKind) -> ServerStream {
    coded_stream(kind, &[])
}

fn coded_stream(kind: MethodKind, extra: &[(&str, &str)]) -> ServerStream {
    let options = ServerStreamOptions { deadline: Some(at(100)), ..ServerStreamOptions::default() };
    ServerStream::new(&accepted(incoming(extra)), kind, options)
}

fn failed(stream: &mut ServerStream) -> Code {
    let Some(ServerEvent::Failed(status)) = stream.poll_event() else { panic!("not failed") };
    status.code()
}

#[test]
fn a_request_is_read_in_the_words_of_grpc() {
    let head = accepted(incoming(&[
        ("grpc-timeout", "1500m"),
        ("user-agent", "grpc-go/1.85"),
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip, snappy"),
        ("grpc-accept-encoding", "deflate"),
        ("host", "elsewhere"),
        ("content-length", "12"),
        ("x-id", "7"),
        ("trace-bin", "AQID,BA=="),
        ("grpc-previous-rpc-attempts", "1"),
    ]));
    assert_eq!(head.path, "/greet.Greeter/Hello");
    assert_eq!(head.authority.as_deref(), Some("localhost"));
    assert_eq!(head.timeout, Some(1500 * MS));
    assert_eq!(head.encoding, Encoding::Gzip);
    assert!(head.accept.contains(Encoding::Gzip) && head.accept.contains(Encoding::Deflate));
    assert_eq!(head.user_agent(), Some("grpc-go/1.85"));
    let mut keys: Vec<_> =
        head.metadata.iter().map(|(key, value)| (key, value.as_bytes())).collect();
    keys.sort();
    let expected: [(&str, &[u8]); 5] = [
        ("grpc-previous-rpc-attempts", b"1"),
        ("trace-bin", b"\x01\x02\x03"),
        ("trace-bin", b"\x04"),
        ("user-agent", b"grpc-go/1.85"),
        ("x-id", b"7"),
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_bare_request_has_no_deadline_and_no_metadata() {
    let head = accepted(incoming(&[]));
    assert_eq!((head.timeout, head.encoding), (None, Encoding::Identity));
    assert!(head.metadata.is_empty() && head.user_agent().is_none());
    let mut without_te = incoming(&[]);
    without_te.headers.remove("te");
    accepted(without_te); // some proxies strip it
}

/// Row 6.
#[test]
fn metadata_over_the_limits_is_resource_exhausted() {
    let long = "v".repeat(16 * 1024);
    assert_eq!(refused(&[("x", &long)]), Code::ResourceExhausted);
    // three fields of this head are there already: te, content-type and the path
    let fits = "v".repeat(16 * 1024 - 200);
    accepted(incoming(&[("x", &fits)]));
    let many = vec![("x", "y"); 127];
    assert_eq!(refused(&many), Code::ResourceExhausted);
    accepted(incoming(&many[1..]));
    let mut path = incoming(&[]);
    path.path = Bytes::from(vec![b'/'; 20_000]);
    assert_eq!(rejected(path).1, Some(Code::ResourceExhausted));
    // name + value + 32 of te and content-type, the path, the authority
    let sum = (2 + 8 + 32) + (12 + 16 + 32) + "/greet.Greeter/Hello".len() + "localhost".len();
    for (max_bytes, fits) in [(sum, true), (sum - 1, false)] {
        let limits = ServerLimits { max_bytes, ..ServerLimits::default() };
        assert_eq!(matches!(accept(incoming(&[]), &limits), Accepted::Call(_)), fits);
    }
    // over the limit wins over what else is wrong with the metadata
    assert_eq!(refused(&[("x-bin", "?"), ("x", &long)]), Code::ResourceExhausted);
}

/// Rows 28 and 29: a path is handed on as it came; only bytes that are no text are refused here (28a).
#[test]
fn a_path_is_never_normalised() {
    for path in [
        "*",
        "//a.B/C",
        "/a.B/C/",
        "/a.B/C?x",
        "/a.B/%43",
        "/a.B/../C",
        "/a.B/C;v",
        "/a.b/c",
        "/é.B/C",
        "",
    ] {
        let mut head = incoming(&[]);
        head.path = Bytes::copy_from_slice(path.as_bytes());
        assert_eq!(accepted(head).path, path);
        assert_ne!(split_path(path), Some(("a.B", "C")), "{path}");
    }
    assert_eq!(split_path("/a.B/C"), Some(("a.B", "C")));
    assert_eq!(split_path("/a.B/C/"), Some(("a.B", "C/")));
    assert_eq!(split_path("a.B/C"), None);
    assert_eq!(split_path("/a.B"), None);
    let mut head = incoming(&[]);
    head.path = Bytes::from_static(b"/a.B/\xff");
    assert_eq!(rejected(head), (200, Some(Code::Unimplemented)));
}

/// Row 30.
#[test]
fn a_method_other_than_post_is_http_405() {
    for method in [Method::GET, Method::PUT, Method::OPTIONS] {
        let mut head = incoming(&[]);
        head.method = method;
        let Accepted::Reject(rejection) = accept(head, &ServerLimits::default()) else { panic!() };
        assert_eq!(rejection.http_status, 405);
        assert_eq!(rejection.headers["allow"], "POST");
    }
}

/// Row 31.
#[test]
fn a_content_type_that_is_not_grpc_is_http_415() {
    let with = |values: &[&str]| {
        let mut head = incoming(&[]);
        head.headers.remove("content-type");
        for value in values {
            head.headers.append("content-type", value.parse().unwrap());
        }
        head
    };
    for bad in [
        &[][..],
        &["application/json"],
        &["application/grpcx"],
        &["application/grpc-web"],
        &["text/plain"],
        &["application/grpc", "application/grpc+proto"],
    ] {
        assert_eq!(rejected(with(bad)).0, 415, "{bad:?}");
    }
    for good in [
        &["application/grpc"][..],
        &["application/grpc+proto"],
        &["application/grpc;v=1"],
        &["application/grpc+proto;v=1"],
        &["application/grpc", "application/grpc"],
    ] {
        accepted(with(good));
    }
    for codec in ["application/grpc+json", "application/grpc+foo"] {
        assert_eq!(rejected(with(&[codec])), (200, Some(Code::Unimplemented)));
    }
}

/// Row 32.
#[test]
fn a_field_of_one_connection_resets_the_stream() {
    let cases = [
        ("te", "gzip"),
        ("te", ""),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
    ];
    for field in cases {
        assert_eq!(reset(incoming(&[field])), 1, "{field:?}");
    }
}

/// Row 33.
#[test]
fn the_authority_is_one_and_without_user_info() {
    let with = |authority: Option<&str>, hosts: &[&str]| {
        let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        IncomingHead { authority: authority.map(String::from), ..incoming(&hosts) }
    };
    assert_eq!(accepted(with(Some("a:1"), &["b"])).authority.as_deref(), Some("a:1"));
    assert_eq!(accepted(with(Some("a:1"), &["b", "c"])).authority.as_deref(), Some("a:1"));
    assert_eq!(accepted(with(None, &["b"])).authority.as_deref(), Some("b"));
    assert_eq!(accepted(with(None, &[])).authority, None);
    assert!(accepted(with(Some("a"), &["b"])).metadata.get("host").is_none());
    assert_eq!(rejected(with(None, &["b", "c"])), (400, None));
    assert_eq!(rejected(with(None, &["b", "b"])), (400, None));
    assert_eq!(rejected(with(Some("user@a"), &[])), (400, None));
    assert_eq!(rejected(with(None, &["user:pw@b"])), (400, None));
    // what grpcio sends over a unix socket
    let socket = "%2Ftmp%2Fa.sock";
    assert_eq!(accepted(with(Some(socket), &[])).authority.as_deref(), Some(socket));
}

/// Row 34.
#[test]
fn fields_that_grpc_cannot_carry_are_dropped_and_the_call_goes_on() {
    let head = accepted(incoming(&[
        ("b!d", "1"),
        ("grpc-foo", "1"),
        ("grpc-status", "0"),
        ("grpc-message-type", "a.B"),
        ("x", "caf\u{e9}"),
        ("good", "1"),
    ]));
    assert_eq!(head.metadata, metadata(&[("good", "1")]));
}

/// Row 35.
#[test]
fn a_bin_value_that_is_no_base64_is_internal() {
    assert_eq!(refused(&[("x-bin", "?")]), Code::Internal);
    assert_eq!(refused(&[("x-bin", "q6s=,?")]), Code::Internal);
    let head = accepted(incoming(&[("x-bin", "q6s"), ("x-bin", "q6s=,q6s")]));
    assert_eq!(head.metadata.get_all("x-bin").count(), 3);
}

/// Row 36.
#[test]
fn a_timeout_is_zero_malformed_or_huge() {
    for zero in ["0n", "0H", "00000000S"] {
        assert_eq!(refused(&[("grpc-timeout", zero)]), Code::DeadlineExceeded);
    }
    for bad in ["123456789S", "5", "-1S", "1x", "", "S"] {
        assert_eq!(refused(&[("grpc-timeout", bad)]), Code::Internal, "{bad:?}");
    }
    assert_eq!(refused(&[("grpc-timeout", "1S"), ("grpc-timeout", "2S")]), Code::Internal);
    let huge = accepted(incoming(&[("grpc-timeout", "99999999H")])).timeout.unwrap();
    assert_eq!(at(1) + huge, Time::NEVER);
}

/// Row 22: whatever the flag, with the list of what we read.
#[test]
fn an_unknown_coding_is_unimplemented_and_told_what_we_read() {
    for fields in
        [&[("grpc-encoding", "snappy")][..], &[("grpc-encoding", "gzip"), ("grpc-encoding", "x")]]
    {
        let Accepted::Reject(rejection) = accept(incoming(fields), &ServerLimits::default()) else {
            panic!()
        };
        assert_eq!(rejection.headers["grpc-status"], "12");
        assert_eq!(rejection.headers["grpc-accept-encoding"], crate::compression::ACCEPT);
    }
}

/// Rows 17 to 21, 23 and 24: answered by the engine, the handler never asked.
#[test]
fn a_bad_message_is_answered_by_the_engine() {
    let gzip = &compress(Encoding::Gzip, b"hi").unwrap()[..];
    let bomb = &compress(Encoding::Gzip, &vec![0; 8 << 20]).unwrap()[..];
    let coded: Fields = &[("grpc-encoding", "gzip")];
    let identity: Fields = &[("grpc-encoding", "identity")];
    let cases: [(u32, Fields, Bytes, Code); 16] = [
        (17, &[], Bytes::from_static(&[2, 0, 0, 0, 0]), Code::Internal),
        (17, coded, Bytes::from_static(&[0x81, 0, 0, 0, 0]), Code::Internal),
        (18, &[], Bytes::from_static(&[0, 0, 0x40, 0, 1]), Code::ResourceExhausted),
        (18, coded, Bytes::from_static(&[1, 255, 255, 255, 255]), Code::ResourceExhausted),
        (19, &[], Bytes::from_static(&[0, 0, 0]), Code::Internal),
        (19, &[], frame("half").slice(..7), Code::Internal),
        (20, &[], Bytes::new(), Code::Unimplemented),
        (20, &[], [frame("a"), frame("b")].concat().into(), Code::Unimplemented),
        (20, &[], [frame("a"), Bytes::from_static(b"x")].concat().into(), Code::Internal),
        (21, &[], flagged(true, gzip), Code::Internal),
        (21, identity, flagged(true, gzip), Code::Internal),
        (23, coded, flagged(true, bomb), Code::ResourceExhausted),
        (24, coded, flagged(true, &gzip[..gzip.len() - 1]), Code::Internal),
        (24, coded, flagged(true, &[gzip, b"garbage"].concat()), Code::Internal),
        (24, coded, flagged(true, b""), Code::Internal),
        (24, coded, flagged(true, &[gzip, gzip].concat()), Code::Internal),
    ];
    for (row, extra, data, expected) in cases {
        for kind in [MethodKind::UNARY, MethodKind::SERVER_STREAMING] {
            let mut stream = coded_stream(kind, extra);
            stream.handle_data(data.clone());
            stream.handle_end();
            assert_eq!(failed(&mut stream), expected, "row {row}: {data:?}");
            let none = Metadata::new();
            let Finish::TrailersOnly(block) = stream.finish(&Status::ok(), &none, &none) else {
                panic!()
            };
            assert_eq!(block["grpc-status"], expected.number().to_string());
            assert_eq!(stream.wants_reset(), None);
        }
    }
}

/// Row 18: at the prefix, before the body; then RST NO_ERROR.
#[test]
fn a_message_over_the_limit_is_refused_at_its_prefix() {
    let mut stream = stream(MethodKind::CLIENT_STREAMING);
    stream.handle_data(Bytes::from_static(&[0, 0, 0x40, 0]));
    assert_eq!(stream.poll_event(), None);
    stream.handle_data(Bytes::from_static(&[1]));
    assert_eq!(failed(&mut stream), Code::ResourceExhausted);
    stream.finish(&Status::ok(), &Metadata::new(), &Metadata::new());
    assert_eq!(stream.wants_reset(), Some(0));
    assert_eq!(stream.wants_reset(), None);
}

#[test]
fn an_answer_is_headers_messages_and_trailers() {
    let mut stream = stream(MethodKind::UNARY);
    stream.handle_data(frame("Ada"));
    stream.handle_end();
    assert_eq!(stream.poll_event(), Some(ServerEvent::Message(Bytes::from_static(b"Ada"))));
    assert_eq!(stream.poll_event(), Some(ServerEvent::HalfClosed));
    let initial = stream.send_headers(&metadata(&[("x-a", "1")])).expect("not sent yet");
    assert_eq!(fields(&initial), [("content-type", "application/grpc"), ("x-a", "1")]);
    assert!(stream.send_headers(&Metadata::new()).is_none(), "once");
    let sent = stream.encode_message(Bytes::from_static(b"hello"), true).unwrap();
    assert_eq!(sent.into_bytes(), frame("hello"));
    let trailers = metadata(&[("x-took", "1")]);
    let Finish::Trailers(block) =
        stream.finish(&Status::ok(), &trailers, &metadata(&[("no", "no")]))
    else {
        panic!()
    };
    assert_eq!(fields(&block), [("grpc-status", "0"), ("x-took", "1")]);
    assert!(matches!(stream.finish(&Status::ok(), &trailers, &trailers), Finish::AlreadyEnded));
    assert!(stream.is_ended() && stream.wants_reset().is_none());
}

/// Digest, 1.3: an early failure is Trailers-Only.
#[test]
fn a_failure_before_the_headers_is_one_block() {
    let mut stream = stream(MethodKind::BIDI_STREAMING);
    let status = Status::new(Code::NotFound, "no cat named Ä%")
        .with_details(Bytes::from_static(b"\x08\x05\x12\x01x"));
    let none = Metadata::new();
    let Finish::TrailersOnly(block) = stream.finish(&status, &metadata(&[("k", "v")]), &none)
    else {
        panic!()
    };
    assert_eq!(
        fields(&block),
        [
            ("content-type", "application/grpc"),
            ("grpc-status", "5"),
            ("grpc-message", "no cat named %C3%84%25"),
            ("grpc-status-details-bin", "CAUSAXg"),
            ("k", "v"),
        ]
    );
    assert_eq!(stream.wants_reset(), Some(0), "the client was still sending");
}

#[test]
fn initial_metadata_of_a_failed_call_keeps_its_own_block() {
    let mut stream = stream(MethodKind::BIDI_STREAMING);
    let status = Status::new(Code::Aborted, "");
    let finish = stream.finish(&status, &metadata(&[("t", "2")]), &metadata(&[("i", "1")]));
    let Finish::HeadersAndTrailers { headers, trailers } = finish else { panic!() };
    assert_eq!(fields(&headers), [("content-type", "application/grpc"), ("i", "1")]);
    assert_eq!(fields(&trailers), [("grpc-status", "10"), ("t", "2")]);
}

/// Digest, 1.3: the code inside the details must equal grpc-status.
#[test]
fn details_of_another_code_are_not_sent() {
    for details in [&b"\x08\x06"[..], b"\x08", b"junk"] {
        let status = Status::new(Code::NotFound, "").with_details(Bytes::copy_from_slice(details));
        assert!(reject(&status).headers.get("grpc-status-details-bin").is_none());
    }
}

/// Digest, 1.11: only codings the client named; the list is told to a client that compresses.
#[test]
fn an_answer_is_compressed_only_if_the_client_reads_it() {
    let cases = [("gzip", Encoding::Gzip, true), ("deflate,gzip", Encoding::Gzip, true)];
    for (accept, wish, compressed) in cases.into_iter().chain([
        ("identity", Encoding::Gzip, false),
        ("deflate", Encoding::Gzip, false),
        ("gzip", Encoding::Identity, false),
    ]) {
        for late in [false, true] {
            let head = accepted(incoming(&[("grpc-accept-encoding", accept)]));
            let compression = (!late).then_some(wish);
            let options = ServerStreamOptions { compression, ..ServerStreamOptions::default() };
            let mut stream = ServerStream::new(&head, MethodKind::SERVER_STREAMING, options);
            if late {
                stream.set_compression(wish);
            }
            let block = stream.send_headers(&Metadata::new()).unwrap();
            assert_eq!(block.get("grpc-encoding").is_some(), compressed, "{accept}, {wish}");
            assert!(block.get("grpc-accept-encoding").is_none());
            stream.set_compression(Encoding::Deflate); // too late: the headers have named it
            let body = vec![0; 500];
            let sent = stream.encode_message(body.clone().into(), true).unwrap().into_bytes();
            assert_eq!(sent[0] == 1, compressed);
            if compressed {
                assert_eq!(crate::compression::decompress(wish, &sent[5..], 500).unwrap(), body);
            }
            let plain = stream.encode_message(body.into(), false).unwrap().into_bytes();
            assert_eq!(plain[0], 0, "per message it may be left out");
        }
    }
    let mut told = coded_stream(MethodKind::UNARY, &[("grpc-encoding", "gzip")]);
    let block = told.send_headers(&Metadata::new()).unwrap();
    assert_eq!(block["grpc-accept-encoding"], crate::compression::ACCEPT);
}

/// Row 12, the call's part: the deadline ends the call with trailers, whatever the handler does.
#[test]
fn a_passed_deadline_is_answered_with_trailers() {
    let mut stream = stream(MethodKind::SERVER_STREAMING);
    stream.handle_data(frame("Ada"));
    stream.handle_end();
    while stream.poll_event().is_some() {}
    stream.send_headers(&Metadata::new());
    stream.handle_time(at(100));
    let Some(ServerEvent::Cancelled(status)) = stream.poll_event() else { panic!() };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let none = Metadata::new();
    let Finish::Trailers(block) = stream.finish(&status, &none, &none) else { panic!() };
    assert_eq!(block["grpc-status"], "4");
}

#[test]
fn a_reset_by_the_client_cancels_the_call_whatever_its_number() {
    for number in [0, 1, 7, 8, 11, 400] {
        let mut stream = stream(MethodKind::UNARY);
        stream.handle_reset(number);
        let Some(ServerEvent::Cancelled(status)) = stream.poll_event() else { panic!() };
        assert_eq!(status.code(), Code::Cancelled, "reset {number}");
        let none = Metadata::new();
        assert!(matches!(stream.finish(&Status::ok(), &none, &none), Finish::AlreadyEnded));
        assert!(stream.send_headers(&none).is_none());
    }
    let mut stream = stream(MethodKind::UNARY);
    stream.handle_disconnect();
    assert!(matches!(stream.poll_event(), Some(ServerEvent::Cancelled(_))));
}

/// Row 14.
#[test]
fn a_request_cut_anywhere_is_the_same_request() {
    let data: Bytes = [frame("one"), frame(""), frame("three")].concat().into();
    for first in 0..=data.len() {
        for second in first..=data.len() {
            let mut stream = stream(MethodKind::CLIENT_STREAMING);
            for part in [0..first, first..second, second..data.len()] {
                stream.handle_data(data.slice(part));
            }
            stream.handle_end();
            for text in ["one", "", "three"] {
                assert_eq!(stream.poll_event(), Some(ServerEvent::Message(text.into())));
            }
            assert_eq!(stream.poll_event(), Some(ServerEvent::HalfClosed));
        }
    }
}

#[test]
fn random_requests_are_judged_and_answered_once_without_a_panic() {
    let names = [
        "te",
        "content-type",
        "grpc-timeout",
        "grpc-encoding",
        "grpc-accept-encoding",
        "host",
        "x-bin",
        "x",
    ];
    let values = [
        "trailers",
        "application/grpc",
        "1S",
        "0n",
        "gzip",
        "gzip,identity",
        "q6s=",
        "?,",
        "",
        "\u{e9}",
    ];
    let mut seed = 99;
    let mut calls = 0;
    for _ in 0..20_000 {
        let mut block = REQUEST.to_vec();
        for _ in 0..random(&mut seed) % 4 {
            let name = names[random(&mut seed) as usize % names.len()];
            block.push((name, values[random(&mut seed) as usize % values.len()]));
        }
        let mut head = incoming(&[]);
        head.headers = headers(&block);
        let Accepted::Call(head) = accept(head, &ServerLimits::default()) else { continue };
        calls += 1;
        let options =
            ServerStreamOptions { deadline: Some(at(100)), ..ServerStreamOptions::default() };
        let kind =
            if one_in(2, &mut seed) { MethodKind::UNARY } else { MethodKind::BIDI_STREAMING };
        let mut stream = ServerStream::new(&head, kind, options);
        let (mut answers, mut ends) = (0, 0);
        for _ in 0..8 {
            let bytes: Vec<u8> =
                (0..random(&mut seed) % 9).map(|_| (random(&mut seed) % 3) as u8).collect();
            let none = Metadata::new();
            match random(&mut seed) % 9 {
                0..=3 => stream.handle_data(bytes.into()),
                4 => stream.handle_end(),
                5 if one_in(4, &mut seed) => stream.handle_reset(8),
                6 => stream.handle_time(at((random(&mut seed) % 120) as u32)),
                7 => drop(stream.encode_message(bytes.into(), true)),
                _ => {
                    answers += u32::from(!matches!(
                        stream.finish(&Status::new(Code::NotFound, "x"), &none, &none),
                        Finish::AlreadyEnded
                    ))
                }
            }
            while let Some(event) = stream.poll_event() {
                assert_eq!(ends, 0, "nothing behind {event:?}");
                let end = matches!(event, ServerEvent::Cancelled(_) | ServerEvent::Failed(_));
                ends += u32::from(end);
            }
            stream.wants_reset();
        }
        assert!(answers <= 1);
    }
    assert!(calls > 5_000, "{calls} of 20000 were calls");
}

//! The client machine: order of events, exactly one status, and which status wins.

use super::*;
use crate::frame::encode_prefix;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u32) -> Time {
    Time::ZERO + ms * MS
}

fn options(kind: MethodKind) -> ClientCallOptions {
    ClientCallOptions {
        kind,
        deadline: Some(at(100)),
        max_receive_message_bytes: 1000,
        max_send_message_bytes: 1000,
        encoding: Encoding::Identity,
    }
}

fn call(kind: MethodKind) -> ClientCall {
    ClientCall::new(&options(kind))
}

/// A call whose request is out and whose response has begun.
fn answered(kind: MethodKind) -> ClientCall {
    let mut call = call(kind);
    call.half_close();
    call.handle_headers(Metadata::new(), Some(Encoding::Identity));
    assert_eq!(call.poll_event(), Some(ClientEvent::Headers(Metadata::new())));
    call
}

fn frame(text: &str) -> Bytes {
    [&encode_prefix(false, text.len() as u32), text.as_bytes()].concat().into()
}

fn message(text: &'static str) -> Option<ClientEvent> {
    Some(ClientEvent::Message(Bytes::from_static(text.as_bytes())))
}

/// The code of the status that comes next; nothing may come behind it.
fn code(call: &mut ClientCall) -> Code {
    let Some(ClientEvent::Status(status, _)) = call.poll_event() else { panic!("no status") };
    assert_eq!(call.poll_event(), None, "the status is the last event");
    assert_eq!(call.status(), Some(&status));
    status.code()
}

#[test]
fn a_unary_answer_is_given_out_only_with_its_ok() {
    let mut call = answered(MethodKind::UNARY);
    call.handle_data(frame("hi"));
    assert_eq!(call.poll_event(), None, "withheld");
    call.handle_status(Status::ok(), Metadata::new());
    assert_eq!(call.poll_event(), message("hi"));
    assert_eq!(code(&mut call), Code::Ok);
    assert_eq!(call.take_abort(), None);
}

#[test]
fn a_unary_answer_is_never_seen_when_the_call_failed() {
    let mut call = answered(MethodKind::UNARY);
    call.handle_data(frame("hi"));
    assert_eq!(call.poll_event(), None);
    call.handle_status(Status::new(Code::Aborted, ""), Metadata::new());
    assert_eq!(code(&mut call), Code::Aborted);
}

/// Digest, 12: answers received before a failing status are delivered first, then the status.
#[test]
fn streamed_messages_come_before_the_failing_status_however_late_they_are_read() {
    let mut call = answered(MethodKind::SERVER_STREAMING);
    call.handle_data([frame("a"), frame("b")].concat().into());
    call.handle_status(Status::new(Code::DataLoss, ""), Metadata::new());
    assert!(call.is_ended() && call.status().is_none(), "not certain before the messages are read");
    assert_eq!(call.poll_event(), message("a"));
    assert_eq!(call.poll_event(), message("b"));
    assert_eq!(code(&mut call), Code::DataLoss);
}

/// Row 46: two messages for a unary call, OK and none.
#[test]
fn a_wrong_number_of_answers_is_unimplemented() {
    for kind in [MethodKind::UNARY, MethodKind::CLIENT_STREAMING] {
        let mut call = answered(kind);
        call.handle_data([frame("a"), frame("b")].concat().into());
        assert_eq!(code(&mut call), Code::Unimplemented);
        assert_eq!(call.take_abort(), Some(Abort::Cancel), "without waiting for the end");
        let mut call = answered(kind);
        call.handle_status(Status::ok(), Metadata::new());
        assert_eq!(code(&mut call), Code::Unimplemented);
        assert_eq!(call.take_abort(), None);
    }
    let mut call = answered(MethodKind::SERVER_STREAMING);
    call.handle_status(Status::ok(), Metadata::new());
    assert_eq!(code(&mut call), Code::Ok, "no message is a legal stream");
}

/// Row 46: the stream ends inside a prefix or message, whatever the status.
#[test]
fn half_a_message_before_the_status_is_internal() {
    for kind in [MethodKind::UNARY, MethodKind::SERVER_STREAMING] {
        for end in 1..7 {
            for status in [Status::ok(), Status::new(Code::NotFound, "gone")] {
                let mut call = answered(kind);
                call.handle_data(frame("hi").slice(..end));
                call.handle_status(status.clone(), Metadata::new());
                let Some(ClientEvent::Status(told, _)) = call.poll_event() else { panic!() };
                assert_eq!(told.code(), Code::Internal, "{end} bytes, then {status}");
                assert_eq!(told.message().contains("NOT_FOUND: gone"), !status.is_ok());
            }
        }
    }
}

#[test]
fn half_a_message_before_a_broken_stream_is_the_break() {
    let mut call = answered(MethodKind::SERVER_STREAMING);
    call.handle_data([frame("a"), frame("bc").slice(..6)].concat().into());
    call.handle_loss(Status::new(Code::Unavailable, ""));
    assert_eq!(call.poll_event(), message("a"), "what came whole is delivered");
    assert_eq!(code(&mut call), Code::Unavailable);
    assert_eq!(call.take_abort(), None, "there is no stream left to reset");
}

#[test]
fn a_silent_server_costs_the_client_its_deadline_and_no_more() {
    let mut call = call(MethodKind::UNARY);
    call.handle_time(at(99));
    assert_eq!(call.poll_event(), None);
    call.handle_time(at(100));
    assert!(call.is_ended());
    assert_eq!(call.take_abort(), Some(Abort::Cancel));
    assert_eq!(call.take_abort(), None, "once");
    assert_eq!(code(&mut call), Code::DeadlineExceeded);
}

/// Digest, 1.8: expiry may discard what was not read.
#[test]
fn an_expired_call_drops_its_unread_messages() {
    let mut call = answered(MethodKind::SERVER_STREAMING);
    call.handle_data(frame("late"));
    call.handle_time(at(101));
    assert_eq!(code(&mut call), Code::DeadlineExceeded);
}

#[test]
fn a_status_on_hand_outlives_the_deadline() {
    let mut call = answered(MethodKind::SERVER_STREAMING);
    call.handle_data(frame("in time"));
    call.handle_status(Status::ok(), Metadata::new());
    call.handle_time(at(500));
    call.end(Status::new(Code::Cancelled, "too late"));
    assert_eq!(call.poll_event(), message("in time"));
    assert_eq!(code(&mut call), Code::Ok);
}

/// Digest, 1.8: CANCELLED after the deadline is the deadline, built here, and the peer's trailers are ignored.
#[test]
fn a_peers_cancelled_past_the_deadline_is_the_deadline() {
    let mut trailers = Metadata::new();
    trailers.append("k", "v").unwrap();
    for (now, expected) in [(99, Code::Cancelled), (100, Code::DeadlineExceeded)] {
        let mut call = answered(MethodKind::UNARY);
        call.handle_clock(at(now));
        let theirs = Status::new(Code::Cancelled, "theirs").with_origin(Origin::Remote);
        call.handle_status(theirs, trailers.clone());
        let Some(ClientEvent::Status(status, told)) = call.poll_event() else { panic!() };
        assert_eq!(status.code(), expected, "at {now} ms");
        assert_eq!(status.origin() == Origin::Local, expected == Code::DeadlineExceeded);
        assert_eq!(told.is_empty(), expected == Code::DeadlineExceeded);
    }
}

/// Digest, 12: grpc-go resets with CANCEL when a deadline passes, perhaps just before our own timer.
#[test]
fn a_peers_cancel_reset_less_than_10_ms_before_the_deadline_is_the_deadline() {
    for (now, expected) in
        [(89, Code::Cancelled), (90, Code::DeadlineExceeded), (120, Code::DeadlineExceeded)]
    {
        let mut call = answered(MethodKind::UNARY);
        call.handle_clock(at(now));
        call.handle_loss(Status::from_reset(8));
        assert_eq!(code(&mut call), expected, "at {now} ms");
    }
    let mut call = answered(MethodKind::UNARY);
    call.handle_clock(at(95));
    call.handle_loss(Status::from_reset(7));
    assert_eq!(code(&mut call), Code::Unavailable, "only a CANCEL");
}

#[test]
fn a_local_cancel_ends_the_call_once_and_for_all() {
    let mut call = answered(MethodKind::BIDI_STREAMING);
    call.handle_data(frame("unread"));
    call.end(Status::new(Code::Cancelled, "by the user"));
    call.end(Status::new(Code::Unknown, "again"));
    call.handle_status(Status::ok(), Metadata::new());
    call.handle_loss(Status::new(Code::Unavailable, ""));
    call.handle_time(at(1000));
    assert_eq!(call.take_abort(), Some(Abort::Cancel));
    assert_eq!(code(&mut call), Code::Cancelled);
    call.handle_data(frame("late"));
    call.handle_headers(Metadata::new(), None);
    assert_eq!(call.poll_event(), None);
}

#[test]
fn a_cancel_after_the_deadline_is_the_deadline() {
    let mut call = call(MethodKind::UNARY);
    call.handle_clock(at(100));
    call.end(Status::new(Code::Cancelled, ""));
    assert_eq!(code(&mut call), Code::DeadlineExceeded);
}

/// Digest, 1.8: trailers before the client half-closed are followed by RST_STREAM(NO_ERROR).
#[test]
fn an_answer_before_the_end_of_the_request_breaks_the_request_off() {
    let mut call = call(MethodKind::CLIENT_STREAMING);
    call.handle_headers(Metadata::new(), Some(Encoding::Identity));
    call.handle_data(frame("enough"));
    call.handle_status(Status::ok(), Metadata::new());
    assert_eq!(call.take_abort(), Some(Abort::Enough));
    assert!(call.encode_message(Bytes::new(), false).is_err());
}

#[test]
fn a_request_is_framed_within_its_limits() {
    let mut call = call(MethodKind::UNARY);
    let error = call.encode_message(vec![0; 1001].into(), false).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    let sent = call.encode_message(Bytes::from_static(b"hi"), true).unwrap();
    assert_eq!(sent.into_bytes(), frame("hi"), "identity does not compress");
    let error = call.encode_message(Bytes::from_static(b"again"), false).unwrap_err();
    assert_eq!(error.code(), Code::Internal, "one request only");
    assert!(!call.is_ended(), "the call itself goes on");

    let mut call = ClientCall::new(&ClientCallOptions {
        encoding: Encoding::Gzip,
        ..options(MethodKind::BIDI_STREAMING)
    });
    let sent = call.encode_message(vec![0; 500].into(), true).unwrap().into_bytes();
    assert_eq!(sent[0], 1);
    assert!(sent.len() < 100);
    let mut in_place = BytesMut::from(&[0; 505][..]);
    assert_eq!(call.encode_in_place(in_place.clone(), true).unwrap().into_bytes(), sent);
    in_place.truncate(5);
    assert_eq!(call.encode_in_place(in_place, true).unwrap().into_bytes(), [0; 5][..]);
    assert_eq!(call.encode_message(vec![0; 3].into(), false).unwrap().into_bytes()[0], 0);
    let empty = call.encode_message(Bytes::new(), true).unwrap();
    assert_eq!(empty.into_bytes(), [0; 5][..], "nothing to compress");
    call.encode_message(vec![0; 1000].into(), false).expect("the limit itself is allowed");
    call.half_close();
    assert_eq!(call.encode_message(Bytes::new(), false).unwrap_err().code(), Code::Internal);
}

/// Row 46: flag 1 with no, identity or unknown encoding; and a coding we did not announce.
#[test]
fn a_compressed_answer_needs_a_coding_we_know() {
    let body = crate::compression::compress(Encoding::Gzip, b"hi").unwrap();
    let framed: Bytes = [&encode_prefix(true, body.len() as u32), &body[..]].concat().into();
    let cases = [
        (Some(Encoding::Identity), Code::Internal),
        (None, Code::Internal),
        (Some(Encoding::Deflate), Code::Internal),
        (Some(Encoding::Gzip), Code::Ok),
    ];
    for (coding, expected) in cases {
        let mut call = call(MethodKind::UNARY);
        call.half_close();
        call.handle_headers(Metadata::new(), coding);
        call.handle_data(framed.clone());
        call.handle_status(Status::ok(), Metadata::new());
        call.poll_event();
        if expected == Code::Ok {
            assert_eq!(call.poll_event(), message("hi"));
        }
        assert_eq!(code(&mut call), expected, "{coding:?}");
    }
}

#[test]
fn any_order_of_what_the_wire_brings_ends_in_one_status() {
    let steps: [fn(&mut ClientCall); 9] = [
        |call| call.handle_headers(Metadata::new(), Some(Encoding::Identity)),
        |call| call.handle_data(frame("m")),
        |call| call.handle_data(frame("half").slice(..6)),
        |call| call.handle_status(Status::ok(), Metadata::new()),
        |call| call.handle_loss(Status::from_reset(0)),
        |call| call.handle_time(at(100)),
        |call| call.end(Status::new(Code::Cancelled, "")),
        |call| call.half_close(),
        |call| drop(call.encode_message(Bytes::new(), false)),
    ];
    for kind in [MethodKind::UNARY, MethodKind::BIDI_STREAMING] {
        // all sequences of five steps, polled after each or only at the end
        for number in 0..9usize.pow(5) {
            for eager in [false, true] {
                let mut call = call(kind);
                let (mut headers, mut statuses) = (0, 0);
                let mut drain = |call: &mut ClientCall| {
                    while let Some(event) = call.poll_event() {
                        assert_eq!(statuses, 0, "nothing behind the status");
                        match event {
                            ClientEvent::Headers(_) => headers += 1,
                            ClientEvent::Message(_) => {}
                            ClientEvent::Status(..) => statuses += 1,
                        }
                    }
                };
                let mut rest = number;
                for _ in 0..5 {
                    steps[rest % 9](&mut call);
                    rest /= 9;
                    if eager {
                        drain(&mut call);
                    }
                }
                call.end(Status::new(Code::Cancelled, "the last word"));
                drain(&mut call);
                assert_eq!(statuses, 1, "sequence {number}");
                assert!(headers <= 1 && call.is_ended() && call.status().is_some());
            }
        }
    }
}

//! The server machine: what reaches a handler, and whose status is sent.

use std::time::Duration;

use super::*;
use crate::frame::encode_prefix;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u32) -> Time {
    Time::ZERO + ms * MS
}

fn call(kind: MethodKind) -> ServerCall {
    ServerCall::new(&ServerCallOptions {
        kind,
        deadline: Some(at(100)),
        max_receive_message_bytes: 1000,
        max_send_message_bytes: 1000,
        request_encoding: Encoding::Identity,
        response_encoding: Encoding::Identity,
    })
}

fn frame(text: &str) -> Bytes {
    [&encode_prefix(false, text.len() as u32), text.as_bytes()].concat().into()
}

fn message(text: &'static str) -> Option<ServerEvent> {
    Some(ServerEvent::Message(Bytes::from_static(text.as_bytes())))
}

fn failed(call: &mut ServerCall) -> Code {
    match call.poll_event() {
        Some(ServerEvent::Failed(status)) => {
            assert_eq!(call.poll_event(), None);
            assert_eq!(
                call.finish(&Status::ok()).as_ref(),
                Some(&status),
                "the handler is not heard"
            );
            assert_eq!(call.finish(&Status::ok()), None, "one answer");
            status.code()
        }
        other => panic!("{other:?}"),
    }
}

const SINGLE: [MethodKind; 2] = [MethodKind::UNARY, MethodKind::SERVER_STREAMING];

#[test]
fn one_request_reaches_the_handler_only_when_complete() {
    for kind in SINGLE {
        let mut call = call(kind);
        call.handle_data(frame("hi"));
        assert_eq!(call.poll_event(), None, "there may be more");
        call.handle_end();
        assert_eq!(call.poll_event(), message("hi"));
        assert_eq!(call.poll_event(), Some(ServerEvent::HalfClosed));
        assert_eq!(call.poll_event(), None);
    }
}

#[test]
fn streamed_requests_reach_the_handler_as_they_come() {
    let mut call = call(MethodKind::BIDI_STREAMING);
    call.handle_data([frame("a"), frame("b"), frame("c").slice(..3)].concat().into());
    assert_eq!(call.poll_event(), message("a"));
    assert_eq!(call.poll_event(), message("b"));
    assert_eq!(call.poll_event(), None);
    call.handle_data(frame("c").slice(3..));
    call.handle_end();
    assert_eq!(call.poll_event(), message("c"));
    assert_eq!(call.poll_event(), Some(ServerEvent::HalfClosed));
    assert_eq!(call.poll_event(), None);
}

/// Row 20: no message, two messages, bytes after the message; never a handler call.
#[test]
fn a_wrong_number_of_requests_is_answered_by_the_engine() {
    for kind in SINGLE {
        let mut none = call(kind);
        none.handle_end();
        assert_eq!(failed(&mut none), Code::Unimplemented);

        let mut two = call(kind);
        two.handle_data([frame("a"), frame("b")].concat().into());
        assert_eq!(failed(&mut two), Code::Unimplemented);

        for end in 1..6 {
            let mut more = call(kind);
            more.handle_data([&frame("a")[..], &frame("b")[..end]].concat().into());
            more.handle_end();
            assert_eq!(failed(&mut more), Code::Internal, "{end} bytes behind");
        }
    }
    let mut none = call(MethodKind::CLIENT_STREAMING);
    none.handle_end();
    assert_eq!(none.poll_event(), Some(ServerEvent::HalfClosed), "an empty stream is legal");
}

/// Rows 17, 18, 19, 21 as the handler's side sees them.
#[test]
fn a_bad_frame_is_answered_by_the_engine_whatever_the_kind() {
    for kind in [MethodKind::UNARY, MethodKind::BIDI_STREAMING] {
        let cases: [(&[u8], Code); 4] = [
            (&[2, 0, 0, 0, 0], Code::Internal),
            (&[0, 0, 0, 4, 0], Code::ResourceExhausted),
            (&[1, 0, 0, 0, 0], Code::Internal),
            (&[1, 0, 0, 0, 1, 0], Code::Internal),
        ];
        for (bytes, code) in cases {
            let mut call = call(kind);
            call.handle_data(Bytes::copy_from_slice(bytes));
            assert_eq!(failed(&mut call), code, "{bytes:?}");
            assert_eq!(call.take_abort(), Some(Abort::Enough), "the rest is not read");
        }
        let mut call = call(kind);
        call.handle_data(Bytes::from_static(&[0, 0]));
        call.handle_end();
        assert_eq!(failed(&mut call), Code::Internal);
        assert_eq!(call.take_abort(), None);
    }
}

#[test]
fn a_passed_deadline_is_told_and_answered_whatever_the_handler_says_later() {
    let mut call = call(MethodKind::UNARY);
    call.handle_data(frame("hi"));
    call.handle_end();
    assert_eq!(call.poll_event(), message("hi"));
    call.handle_time(at(99));
    call.handle_time(at(100));
    let Some(ServerEvent::Cancelled(status)) = call.poll_event() else { panic!() };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        call.encode_message(Bytes::new(), false).unwrap_err().code(),
        Code::DeadlineExceeded
    );
    assert_eq!(call.finish(&Status::ok()).unwrap().code(), Code::DeadlineExceeded);
    assert_eq!(call.finish(&Status::ok()), None);
    assert!(call.is_ended());
}

#[test]
fn a_cancelled_call_is_told_once_and_answered_never() {
    let mut call = call(MethodKind::BIDI_STREAMING);
    call.handle_data(frame("unread"));
    call.handle_gone(Status::new(Code::Cancelled, "reset"));
    call.handle_gone(Status::new(Code::Cancelled, "and the connection"));
    call.handle_end();
    call.handle_time(at(1000));
    let Some(ServerEvent::Cancelled(status)) = call.poll_event() else { panic!() };
    assert_eq!((status.code(), status.message()), (Code::Cancelled, "reset"));
    assert_eq!(call.poll_event(), None, "a cancel is not an end of the requests");
    assert_eq!(call.encode_message(Bytes::new(), false).unwrap_err().code(), Code::Cancelled);
    assert_eq!(call.finish(&Status::ok()), None);
    assert_eq!(call.take_abort(), None);
}

#[test]
fn a_client_that_leaves_before_its_error_is_answered_gets_no_answer() {
    let mut call = call(MethodKind::BIDI_STREAMING);
    call.handle_data(Bytes::from_static(&[2, 0, 0, 0, 0]));
    assert!(matches!(call.poll_event(), Some(ServerEvent::Failed(_))));
    call.handle_gone(Status::new(Code::Cancelled, ""));
    assert!(call.is_ended());
    assert_eq!(call.finish(&Status::ok()), None);
}

#[test]
fn a_call_answered_before_its_deadline_was_told_hears_no_more_of_it() {
    let mut call = call(MethodKind::BIDI_STREAMING);
    call.handle_time(at(100));
    assert_eq!(call.finish(&Status::ok()).unwrap().code(), Code::DeadlineExceeded);
    assert_eq!(call.poll_event(), None);
}

#[test]
fn a_finished_call_hears_of_nothing_any_more() {
    let mut call = call(MethodKind::BIDI_STREAMING);
    assert_eq!(call.finish(&Status::new(Code::NotFound, "")).unwrap().code(), Code::NotFound);
    assert_eq!(call.take_abort(), Some(Abort::Enough), "the client was still sending");
    call.handle_data(frame("late"));
    call.handle_end();
    call.handle_time(at(200));
    call.handle_gone(Status::new(Code::Cancelled, ""));
    assert_eq!(call.poll_event(), None);
}

#[test]
fn a_method_with_one_response_gives_exactly_one() {
    let mut unary = call(MethodKind::UNARY);
    unary.encode_message(Bytes::from_static(b"a"), false).unwrap();
    assert_eq!(unary.encode_message(Bytes::new(), false).unwrap_err().code(), Code::Internal);
    assert_eq!(unary.finish(&Status::ok()), Some(Status::ok()));
    assert_eq!(unary.encode_message(Bytes::new(), false).unwrap_err().code(), Code::Internal);

    let mut none = call(MethodKind::CLIENT_STREAMING);
    assert_eq!(none.finish(&Status::ok()).unwrap().code(), Code::Internal);
    let mut none = call(MethodKind::SERVER_STREAMING);
    assert_eq!(none.finish(&Status::ok()), Some(Status::ok()));
    let mut none = call(MethodKind::UNARY);
    assert_eq!(none.finish(&Status::new(Code::Aborted, "")).unwrap().code(), Code::Aborted);
}

#[test]
fn a_response_over_the_send_limit_is_the_handlers_to_report() {
    let mut call = call(MethodKind::UNARY);
    let error = call.encode_message(vec![0; 1001].into(), false).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert_eq!(call.finish(&error), Some(error));
}

//! Whole calls over real sockets: one engine with a keeper serves, another is driven by its blocking caller.
#![allow(clippy::unwrap_used, missing_docs)]

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use stubless_engine::call::{ClientEvent, MethodKind, ServerEvent};
use stubless_engine::client::{Call, CallOptions, Channel, ChannelOptions, Method};
use stubless_engine::metadata::Metadata;
use stubless_engine::rt::driver::Engine;
use stubless_engine::server::listener::Security;
use stubless_engine::server::{Registration, Server, ServerCall, ServerOptions};
use stubless_engine::status::{Code, Status};

const LIMIT: Option<Duration> = Some(Duration::from_secs(20));

/// Answers every message with itself; `fail` ends the call.
async fn echo(mut call: ServerCall) {
    loop {
        match poll_fn(|cx| call.poll_event(cx)).await {
            ServerEvent::Message(message) if &message[..] == b"fail" => {
                let mut trailers = Metadata::new();
                trailers.insert("x-why-bin", Bytes::from_static(b"\x00\xff")).unwrap();
                return call.finish(&Status::new(Code::NotFound, "nothing here"), &trailers);
            }
            ServerEvent::Message(message) => {
                let _ = call.send_message(message);
                poll_fn(|cx| call.poll_ready(cx)).await;
            }
            ServerEvent::HalfClosed => return call.finish(&Status::ok(), &Metadata::new()),
            _ => return,
        }
    }
}

fn serve(engine: &Engine) -> (Server, u16) {
    let server = Server::new(engine.rt(), ServerOptions::default());
    let handler = std::sync::Arc::new(|call: ServerCall| {
        let rt = call.rt().clone();
        rt.spawn(echo(call));
    });
    let method =
        |name: &str, kind| Registration { name: name.into(), kind, handler: handler.clone() };
    let methods =
        vec![method("Unary", MethodKind::UNARY), method("Bidi", MethodKind::BIDI_STREAMING)];
    server.register("test.Echo", methods).unwrap();
    let port = server.listen("127.0.0.1:0", Security::default()).unwrap();
    (server, port)
}

struct Answer {
    messages: Vec<Bytes>,
    status: Status,
    trailers: Metadata,
}

async fn collect(call: &mut Call) -> Answer {
    let mut messages = Vec::new();
    loop {
        match poll_fn(|cx| call.poll_event(cx)).await.expect("a status") {
            ClientEvent::Headers(_) => {}
            ClientEvent::Message(message) => messages.push(message),
            ClientEvent::Status(status, trailers) => return Answer { messages, status, trailers },
        }
    }
}

fn unary(
    engine: &Engine,
    channel: &Channel,
    path: &str,
    request: &'static [u8],
    options: CallOptions,
) -> Answer {
    let method = Method::new(path, MethodKind::UNARY).unwrap();
    let mut call = Call::new(channel, &method, Metadata::new(), options);
    let _ = call.send_message(Bytes::from_static(request));
    call.half_close();
    engine.block_on(collect(&mut call), LIMIT).expect("an answer in time")
}

#[test]
fn a_call_and_its_answer_over_a_socket() {
    let (there, here) = (Engine::new().unwrap(), Engine::new().unwrap());
    there.start_keeper().unwrap();
    let (_server, port) = serve(&there);
    let channel =
        Channel::new(here.rt(), &format!("127.0.0.1:{port}"), ChannelOptions::default()).unwrap();
    for _ in 0..100 {
        let answer = unary(&here, &channel, "/test.Echo/Unary", b"hello", CallOptions::default());
        assert_eq!(answer.status.code(), Code::Ok, "{:?}", answer.status);
        assert_eq!(answer.messages, [Bytes::from_static(b"hello")]);
    }
    let answer = unary(&here, &channel, "/test.Echo/Unary", b"fail", CallOptions::default());
    assert_eq!((answer.status.code(), answer.status.message()), (Code::NotFound, "nothing here"));
    assert_eq!(answer.trailers.get("x-why-bin").unwrap().as_bytes(), b"\x00\xff");
    let answer = unary(&here, &channel, "/test.Echo/Missing", b"", CallOptions::default());
    assert_eq!(answer.status.code(), Code::Unimplemented);
    assert_eq!(answer.status.message(), "unknown method Missing of service test.Echo");
    assert!(there.shutdown(Duration::from_secs(5)));
}

#[test]
fn a_stream_of_many_messages_comes_back_in_order() {
    let (there, here) = (Engine::new().unwrap(), Engine::new().unwrap());
    there.start_keeper().unwrap();
    let (_server, port) = serve(&there);
    let channel =
        Channel::new(here.rt(), &format!("127.0.0.1:{port}"), ChannelOptions::default()).unwrap();
    let method = Method::new("/test.Echo/Bidi", MethodKind::BIDI_STREAMING).unwrap();
    let mut call = Call::new(&channel, &method, Metadata::new(), CallOptions::default());
    let back = here.block_on(
        async {
            let mut back = 0u32;
            for sent in 0..20_000u32 {
                poll_fn(|cx| call.poll_ready(cx)).await;
                call.send_message(Bytes::copy_from_slice(&sent.to_be_bytes())).unwrap();
                if sent % 7 == 0 {
                    // keeps reading while it sends, or both windows fill up
                    while let std::task::Poll::Ready(Some(event)) =
                        poll_fn(|cx| std::task::Poll::Ready(call.poll_event(cx))).await
                    {
                        if let ClientEvent::Message(message) = event {
                            assert_eq!(&message[..], back.to_be_bytes());
                            back += 1;
                        }
                    }
                }
            }
            call.half_close();
            let answer = collect(&mut call).await;
            assert_eq!(answer.status.code(), Code::Ok, "{:?}", answer.status);
            for message in answer.messages {
                assert_eq!(&message[..], back.to_be_bytes());
                back += 1;
            }
            back
        },
        LIMIT,
    );
    assert_eq!(back, Some(20_000));
}

#[test]
fn nobody_listening_is_unavailable_at_once_and_a_deadline_holds_when_waiting_for_ready() {
    let here = Engine::new().unwrap();
    let channel = Channel::new(here.rt(), "127.0.0.1:1", ChannelOptions::default()).unwrap();
    let answer = unary(&here, &channel, "/test.Echo/Unary", b"", CallOptions::default());
    assert_eq!(answer.status.code(), Code::Unavailable);
    assert!(answer.status.message().contains("127.0.0.1:1"), "{}", answer.status.message());
    let options = CallOptions {
        wait_for_ready: Some(true),
        timeout: Some(Duration::from_millis(100)),
        ..CallOptions::default()
    };
    let answer = unary(&here, &channel, "/test.Echo/Unary", b"", options);
    assert_eq!(answer.status.code(), Code::DeadlineExceeded);
}

#[test]
fn many_threads_share_one_engine_without_a_keeper_and_none_waits_for_nothing() {
    let (there, here) = (Engine::new().unwrap(), Engine::new().unwrap());
    there.start_keeper().unwrap();
    let (_server, port) = serve(&there);
    let target = format!("127.0.0.1:{port}");
    let channel = Channel::new(here.rt(), &target, ChannelOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let options = CallOptions::default();
                    let answer = unary(&here, &channel, "/test.Echo/Unary", b"hello", options);
                    assert_eq!(answer.status.code(), Code::Ok, "{:?}", answer.status);
                }
            });
        }
    });
}

//! The client side of `tests/faults`: reads orders from standard input, one a line, as `key=value` separated by tabs; prints
//! one line of JSON for each call and `{"done": true}` after each order. `tests/faults/subjects.py` says what an order may hold.

mod fault;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fault::Msg;
use stubless_engine::call::{ClientEvent, MethodKind};
use stubless_engine::client::{Call, CallOptions, Channel, ChannelOptions, Method};
use stubless_engine::metadata::Metadata;
use stubless_engine::rt::driver::Engine;
use stubless_engine::status::{Code, Status};
use stubless_engine::transport::tls::{ClientTls, ClientTlsConfig};

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// One call from beginning to end, in one line.
async fn run(mut call: Call, msg: Msg, messages: Vec<String>, number: usize) {
    let mut failed = None;
    for text in &messages {
        poll_fn(|cx| call.poll_ready(cx)).await;
        if call.send_message(msg.encode(text, 0)).is_err() {
            break;
        }
    }
    call.half_close();
    let mut received = Vec::new();
    while let Some(event) = poll_fn(|cx| call.poll_event(cx)).await {
        match event {
            ClientEvent::Headers(_) => {}
            ClientEvent::Message(bytes) => match msg.decode(bytes) {
                Ok((text, _)) => received.push(quoted(text.get(..100).unwrap_or(&text))),
                Err(error) if failed.is_none() => {
                    let status =
                        Status::new(Code::Internal, format!("error parsing response: {error}"));
                    call.end(status.clone());
                    failed = Some(status);
                }
                Err(_) => {}
            },
            ClientEvent::Status(status, _) => {
                let status = failed.take().unwrap_or(status);
                let (code, text) = (status.code().name(), quoted(status.message()));
                let received = received.join(",");
                say(&format!(
                    r#"{{"call": {number}, "code": "{code}", "message": {text}, "received": [{received}]}}"#
                ));
            }
        }
    }
}

fn main() {
    let engine = Engine::new().expect("an engine");
    engine.start_keeper().expect("a thread");
    let msg = Msg::load();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let order: HashMap<&str, &str> =
            line.split('\t').filter_map(|pair| pair.split_once('=')).collect();
        let field = |name: &str| order.get(name).copied().unwrap_or_default();
        let number = |name: &str| field(name).parse::<u64>().unwrap_or_default();
        let kind = match field("method") {
            "Unary" => MethodKind::UNARY,
            "ServerStream" => MethodKind::SERVER_STREAMING,
            "ClientStream" => MethodKind::CLIENT_STREAMING,
            _ => MethodKind::BIDI_STREAMING,
        };
        assert!(
            msg.methods().iter().any(|name| name == field("method")),
            "the service has no {}",
            field("method")
        );
        let method =
            Method::new(&format!("/fault.Echo/{}", field("method")), kind).expect("a good path");
        let messages: Vec<String> = field("messages").split('|').map(str::to_owned).collect();
        let mut options = ChannelOptions {
            wait_for_ready: field("wait_for_ready") == "1",
            ..ChannelOptions::default()
        };
        if !field("ca").is_empty() {
            let ca = std::fs::read(field("ca")).expect("a readable file");
            let config = ClientTlsConfig { ca: Some(&ca), ..ClientTlsConfig::default() };
            options.tls = Some(ClientTls::new(&config).expect("a certificate"));
        }
        if number("keepalive_ms") > 0 {
            options.keepalive.time = Some(Duration::from_millis(number("keepalive_ms")));
            options.keepalive.timeout = Duration::from_millis(number("keepalive_timeout_ms"));
        }
        let channel = Channel::new(engine.rt(), field("address"), options).expect("a good address");
        let open = |i: usize| {
            let options = CallOptions {
                timeout: Some(Duration::from_millis(number("timeout_ms"))),
                ..CallOptions::default()
            };
            let call = Call::new(&channel, &method, Metadata::new(), options);
            run(call, msg.clone(), messages.clone(), i)
        };
        let calls = number("calls") as usize;
        if field("concurrent") == "1" {
            let left = Arc::new(AtomicUsize::new(calls));
            for i in 0..calls {
                let (call, left) = (open(i), left.clone());
                engine.rt().spawn(async move {
                    call.await;
                    left.fetch_sub(1, Ordering::AcqRel);
                });
            }
            engine.drive_until(|| left.load(Ordering::Acquire) == 0, Some(Duration::from_secs(60)));
        } else {
            for i in 0..calls {
                let _ = engine.block_on(open(i), Some(Duration::from_secs(60)));
            }
        }
        channel.close();
        say(r#"{"done": true}"#);
    }
}

//! The engine alone under test: bytes in, bytes out, no codec. Command line as in loader/src/main.rs: `serve`, `load`.

use std::error::Error;
use std::future::poll_fn;
use std::io::{BufRead, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use stubless_engine::call::{ClientEvent, MethodKind, ServerEvent};
use stubless_engine::client::{Call, CallOptions, Channel, ChannelOptions, Method};
use stubless_engine::metadata::Metadata;
use stubless_engine::rt::driver::Engine;
use stubless_engine::server::listener::Security;
use stubless_engine::server::{Registration, Server, ServerCall, ServerOptions};
use stubless_engine::status::Status;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Messages per stream of the workloads `receive` and `send`; the loader's figure.
const PER_STREAM: u32 = 5_000;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let (mut target, mut workload, mut inflight, mut payload) =
        (String::new(), String::new(), 1, Bytes::new());
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--target" => target = value,
            "--workload" => workload = value,
            "--inflight" => inflight = value.parse()?,
            "--payload" => payload = std::fs::read(value)?.into(),
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    match verb.as_str() {
        "serve" => serve(),
        "load" => load(&target, &workload, inflight, payload),
        _ => Err("serve or load".into()),
    }
}

// ---- server --------------------------------------------------------------------------------------------------------

fn serve() -> Outcome<()> {
    let engine = Engine::new()?;
    let server = Server::new(engine.rt(), ServerOptions::default());
    let handler = Arc::new(|call: ServerCall| {
        let rt = call.rt().clone();
        rt.spawn(handle(call));
    });
    let method =
        |name: &str, kind| Registration { name: name.into(), kind, handler: handler.clone() };
    server.register(
        "bench.v1.Bench",
        vec![
            method("Unary", MethodKind::UNARY),
            method("PlaceOrder", MethodKind::UNARY),
            method("Receive", MethodKind::SERVER_STREAMING),
            method("Send", MethodKind::CLIENT_STREAMING),
            method("Bidi", MethodKind::BIDI_STREAMING),
        ],
    )?;
    println!("ready {}", server.listen("127.0.0.1:0", Security::default())?);
    std::io::stdout().flush()?;
    engine.start_keeper()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    std::process::exit(0); // open calls end with it
}

/// The count a stream is asked for: field 1 of the request, a fixed32 in front.
fn count_in(message: &[u8]) -> u32 {
    message.get(1..5).and_then(|n| n.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn with_count(count: u32, message: &[u8]) -> Bytes {
    let mut bytes = vec![0x0d];
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(message.get(5..).unwrap_or_default());
    bytes.into()
}

async fn handle(mut call: ServerCall) {
    let path = call.head().path.clone();
    let mut received = 0;
    loop {
        match poll_fn(|cx| call.poll_event(cx)).await {
            ServerEvent::Message(message) if path.ends_with("Receive") => {
                for n in 0..count_in(&message) {
                    poll_fn(|cx| call.poll_ready(cx)).await;
                    if call.send_message(with_count(n, &message)).is_err() {
                        return;
                    }
                }
            }
            ServerEvent::Message(_) if path.ends_with("Send") => received += 1,
            ServerEvent::Message(message) => {
                let _ = call.send_message(message);
                poll_fn(|cx| call.poll_ready(cx)).await;
            }
            ServerEvent::HalfClosed => {
                if path.ends_with("Send") {
                    let _ = call.send_message(with_count(received, b""));
                }
                return call.finish(&Status::ok(), &Metadata::new());
            }
            _ => return,
        }
    }
}

// ---- client --------------------------------------------------------------------------------------------------------

fn load(target: &str, workload: &str, inflight: usize, payload: Bytes) -> Outcome<()> {
    let engine = Engine::new()?;
    let channel = Channel::new(engine.rt(), target, ChannelOptions::default())?;
    let (name, kind) = match workload {
        "order" => ("PlaceOrder", MethodKind::UNARY),
        "receive" => ("Receive", MethodKind::SERVER_STREAMING),
        "send" => ("Send", MethodKind::CLIENT_STREAMING),
        _ => ("Unary", MethodKind::UNARY),
    };
    let method = Method::new(&format!("/bench.v1.Bench/{name}"), kind)?;
    for line in std::io::stdin().lock().lines() {
        let seconds: f64 = line?.trim_start_matches("run ").parse()?;
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let (messages, open) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(inflight)));
        for _ in 0..inflight {
            let (channel, method, payload) = (channel.clone(), method.clone(), payload.clone());
            let (messages, open) = (messages.clone(), open.clone());
            engine.rt().spawn(async move {
                while Instant::now() < until {
                    messages.fetch_add(call(&channel, &method, &payload).await, Ordering::Relaxed);
                }
                open.fetch_sub(1, Ordering::Release);
            });
        }
        engine.drive_until(|| open.load(Ordering::Acquire) == 0, None);
        println!("done {}", messages.load(Ordering::Relaxed));
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// One call; gives how many messages went the way that is measured.
async fn call(channel: &Channel, method: &Method, payload: &Bytes) -> u64 {
    let mut call = Call::new(channel, method, Metadata::new(), CallOptions::default());
    let sending = method.kind().client_streaming;
    for n in 0..if sending { PER_STREAM } else { 1 } {
        if sending {
            poll_fn(|cx| call.poll_ready(cx)).await;
        }
        let message = if sending { with_count(n, payload) } else { payload.clone() };
        if let Err(status) = call.send_message(message) {
            panic!("send: {status:?}");
        }
    }
    call.half_close();
    let mut received = 0;
    while let Some(event) = poll_fn(|cx| call.poll_event(cx)).await {
        match event {
            ClientEvent::Message(message) if sending => received = u64::from(count_in(&message)),
            ClientEvent::Message(_) => received += 1,
            ClientEvent::Status(status, _) if !status.is_ok() => {
                panic!("{}: {status:?}", method.path())
            }
            _ => {}
        }
    }
    received
}

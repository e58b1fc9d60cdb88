//! The server side of `tests/faults`: `fault_server PORT [CERTIFICATE KEY [CLIENT_CA]]` serves `fault.Echo` on the loopback and
//! prints `ready PORT`.

mod fault;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fault::Msg;
use stubless_engine::call::{MethodKind, ServerEvent};
use stubless_engine::metadata::Metadata;
use stubless_engine::rt::driver::Engine;
use stubless_engine::server::listener::Security;
use stubless_engine::server::{Registration, Server, ServerCall, ServerOptions};
use stubless_engine::status::{Code, Status};
use stubless_engine::transport::tls::{ServerTls, ServerTlsConfig};

type Request = (String, i32);

/// The next request, `None` after the last; an error ends the call with it.
async fn request(call: &mut ServerCall, msg: &Msg) -> Result<Option<Request>, Status> {
    match poll_fn(|cx| call.poll_event(cx)).await {
        ServerEvent::Message(bytes) => match msg.decode(bytes) {
            Ok(request) => Ok(Some(request)),
            Err(error) => {
                Err(Status::new(Code::Internal, format!("error parsing request: {error}")))
            }
        },
        ServerEvent::HalfClosed => Ok(None),
        ServerEvent::Cancelled(status) | ServerEvent::Failed(status) => Err(status),
    }
}

/// Sleeps, unless the call ends before.
async fn sleep(call: &mut ServerCall, millis: u64) -> Result<(), Status> {
    let mut sleep = call.rt().sleep(Duration::from_millis(millis));
    poll_fn(|cx| {
        if Pin::new(&mut sleep).poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            match call.poll_event(cx) {
                Poll::Ready(ServerEvent::Cancelled(status) | ServerEvent::Failed(status)) => {
                    return Poll::Ready(Err(status));
                }
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Does what the text says, and gives the answer's text.
async fn act(call: &mut ServerCall, text: &str) -> Result<String, Status> {
    let rt = call.rt().clone();
    if let Some(millis) = text.strip_prefix("sleep:").and_then(|n| n.parse().ok()) {
        sleep(call, millis).await?;
    } else if let Some(millis) = text.strip_prefix("block:").and_then(|n| n.parse().ok()) {
        rt.sleep(Duration::from_millis(millis)).await;
    } else if let Some((code, why)) =
        text.strip_prefix("fail:").and_then(|rest| rest.split_once(':'))
    {
        let code = code.parse().map_or(Code::Unknown, Code::from_number);
        return Err(Status::new(code, why.to_owned()));
    } else if let Some(size) = text.strip_prefix("size:").and_then(|n| n.parse().ok()) {
        return Ok("x".repeat(size));
    }
    Ok(text.to_owned())
}

async fn answer(call: &mut ServerCall, msg: &Msg, text: &str, n: i32) -> Result<(), Status> {
    poll_fn(|cx| call.poll_ready(cx)).await;
    call.send_message(msg.encode(text, n))
}

async fn serve(call: &mut ServerCall, msg: &Msg) -> Result<(), Status> {
    let method = call.head().path.rsplit('/').next().unwrap_or_default().to_owned();
    let (mut joined, mut count) = (String::new(), 0);
    while let Some((text, n)) = request(call, msg).await? {
        let text = act(call, &text).await?;
        match method.as_str() {
            "Unary" => return answer(call, msg, &text, n).await,
            "ServerStream" => {
                for i in 0..n {
                    answer(call, msg, &text, i).await?;
                }
                return Ok(());
            }
            "Bidi" => answer(call, msg, &text, n).await?,
            _ => {
                joined.push_str(&text);
                count += 1;
            }
        }
    }
    if method == "ClientStream" {
        answer(call, msg, &joined, count).await?;
    }
    Ok(())
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).expect("fault_server PORT");
    let engine = Engine::new().expect("an engine");
    let server = Server::new(engine.rt(), ServerOptions::default());
    let msg = Msg::load();
    let names = msg.methods();
    let handler = Arc::new(move |mut call: ServerCall| {
        let msg = msg.clone();
        call.rt().clone().spawn(async move {
            let status = serve(&mut call, &msg).await.err().unwrap_or_else(Status::ok);
            call.finish(&status, &Metadata::new());
        });
    });
    let kind_of = |name: &str| match name {
        "Unary" => MethodKind::UNARY,
        "ServerStream" => MethodKind::SERVER_STREAMING,
        "ClientStream" => MethodKind::CLIENT_STREAMING,
        _ => MethodKind::BIDI_STREAMING,
    };
    let methods = names
        .into_iter()
        .map(|name| Registration { kind: kind_of(&name), name, handler: handler.clone() })
        .collect();
    server.register("fault.Echo", methods).expect("a new service");
    let files: Vec<Vec<u8>> =
        arguments.map(|path| std::fs::read(path).expect("a readable file")).collect();
    let tls = match files.as_slice() {
        [cert, key, rest @ ..] => {
            let client_ca = rest.first().map(Vec::as_slice);
            let config = ServerTlsConfig { cert, key, client_ca, client_cert_optional: false };
            Some(ServerTls::new(&config).expect("a certificate and its key"))
        }
        _ => None,
    };
    let port = server.listen(&format!("127.0.0.1:{port}"), Security { tls }).expect("a free port");
    println!("ready {port}");
    let _ = engine.block_on(std::future::pending::<()>(), None);
}

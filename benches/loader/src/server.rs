//! Answers as fast as it can: a unary call with its own bytes, a stream with as many copies as it asks for.

use std::io::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::{Counter, Outcome, framed, send_all};

const WINDOW: u32 = 4 << 20;

pub async fn serve() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready {}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    tokio::task::spawn_local(async {
        let mut rest = Vec::new();
        let _ = tokio::io::stdin().read_to_end(&mut rest).await;
        std::process::exit(0);
    });
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            let _ = connection(socket).await; // the client under test went away
        });
    }
}

async fn connection(socket: TcpStream) -> Result<(), h2::Error> {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .data_frame_budget(32 << 20);
    builder.max_concurrent_reset_streams(4096);
    let mut connection = builder.handshake::<_, Bytes>(socket).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::task::spawn_local(async move {
            let _ = call(request, respond).await;
        });
    }
    Ok(())
}

async fn call(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let method = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let sending = method == "Send";
    let mut whole = Vec::new();
    let mut counter = Counter::default();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        if sending {
            counter.push(&data);
        } else {
            whole.extend_from_slice(&data);
        }
    }
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut reply = respond.send_response(response, false)?;
    match method.as_str() {
        "Receive" => {
            let count =
                whole.get(6..10).and_then(|n| n.try_into().ok()).map_or(0, u32::from_le_bytes);
            let batch = whole.repeat(150); // about 16 KiB of 105-byte frames
            let batch = Bytes::from(batch);
            let mut left = count as usize;
            while left > 0 {
                let now = left.min(150);
                send_all(&mut reply, batch.slice(..now * whole.len())).await?;
                left -= now;
            }
        }
        "Send" => {
            let mut message = vec![0x0d];
            message.extend_from_slice(&(counter.messages as u32).to_le_bytes());
            send_all(&mut reply, framed(&message).into()).await?;
        }
        _ => send_all(&mut reply, whole.into()).await?,
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    reply.send_trailers(trailers)
}

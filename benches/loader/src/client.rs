//! Keeps N calls in flight on one connection, for as long as it is told to.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

use crate::{Counter, Outcome, PER_STREAM, framed, send_all};

#[derive(Default)]
pub struct Options {
    pub target: String,
    pub workload: String,
    pub inflight: usize,
    pub payload: Bytes,
    pub connections: usize,
    pub streams: usize,
}

type Sender = h2::client::SendRequest<Bytes>;

async fn connect(target: &str) -> Outcome<Sender> {
    let socket = TcpStream::connect(target).await?;
    socket.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .initial_max_send_streams(100)
        .data_frame_budget(32 << 20);
    let (sender, connection) = builder.handshake::<_, Bytes>(socket).await?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            eprintln!("loader: {error}");
        }
    });
    Ok(sender)
}

fn request(target: &str, method: &str) -> Outcome<Request<()>> {
    Ok(Request::builder()
        .method(Method::POST)
        .uri(format!("http://{target}/bench.v1.Bench/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?)
}

pub async fn load(options: Options) -> Outcome<()> {
    let sender = connect(&options.target).await?;
    let options = Rc::new(options);
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = commands.next_line().await? {
        let seconds: f64 = line.trim_start_matches("run ").parse()?;
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let messages = Rc::new(Cell::new(0_u64));
        let mut lanes = Vec::new();
        for _ in 0..options.inflight {
            let (sender, options, messages) = (sender.clone(), options.clone(), messages.clone());
            lanes.push(tokio::task::spawn_local(async move {
                while Instant::now() < until {
                    let moved = call(sender.clone(), &options).await?;
                    messages.set(messages.get() + moved);
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            }));
        }
        for lane in lanes {
            lane.await??;
        }
        println!("done {}", messages.get());
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// One call of the workload; gives how many messages went the way that is measured.
async fn call(sender: Sender, options: &Options) -> Outcome<u64> {
    let method = match options.workload.as_str() {
        "order" => "PlaceOrder",
        "receive" => "Receive",
        "send" => "Send",
        _ => "Unary",
    };
    let mut sender = sender.ready().await?;
    let (response, mut stream) = sender.send_request(request(&options.target, method)?, false)?;
    let sending = method == "Send";
    if sending {
        let one = framed(&options.payload);
        let batch = Bytes::from(one.repeat(150));
        let mut left = PER_STREAM as usize;
        while left > 0 {
            let now = left.min(150);
            send_all(&mut stream, batch.slice(..now * one.len())).await?;
            left -= now;
        }
        stream.send_data(Bytes::new(), true)?;
    } else {
        stream.send_data(framed(&options.payload).into(), true)?;
    }
    let response = response.await?;
    let mut body = response.into_body();
    let mut counter = Counter::default();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        counter.push(&data);
    }
    let trailers = body.trailers().await?;
    let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
    if status.is_none_or(|status| status != "0") {
        return Err(format!("{method} ended with {trailers:?}").into());
    }
    Ok(if sending { u64::from(PER_STREAM) } else { counter.messages })
}

/// Opens connections that have done one call each, and on each so many streams that wait for a first message.
pub async fn idle(options: Options) -> Outcome<()> {
    let mut held = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..options.connections {
        let sender = connect(&options.target).await?;
        call(sender.clone(), &options).await?;
        connections.push(sender);
    }
    // paused here so that the driver can weigh connections and streams one by one
    println!("connected");
    std::io::stdout().flush()?;
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    input.read_line(&mut line).await?;
    for sender in &connections {
        for _ in 0..options.streams {
            let mut sender = sender.clone().ready().await?;
            let (response, stream) =
                sender.send_request(request(&options.target, "Bidi")?, false)?;
            held.push((response, stream));
        }
        tokio::task::yield_now().await;
    }
    // a server may answer with headers at once or with the first message: both are idle streams
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("open");
    std::io::stdout().flush()?;
    let mut rest = Vec::new();
    input.read_to_end(&mut rest).await?;
    Ok(())
}

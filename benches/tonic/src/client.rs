//! The client under test: N calls in flight on one channel.

use std::hint::black_box;
use std::io::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use prost::Message;
use tokio::io::{AsyncBufReadExt, BufReader};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::messages::{Msg, Order};
use crate::{Outcome, PER_STREAM};

pub async fn load(target: &str, workload: &str, inflight: usize, payload: &[u8]) -> Outcome<()> {
    let channel = Endpoint::from_str(&format!("http://{target}"))?.connect().await?;
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = commands.next_line().await? {
        let seconds: f64 = line.trim_start_matches("run ").parse()?;
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let mut lanes = Vec::new();
        for _ in 0..inflight {
            let (channel, workload, payload) =
                (channel.clone(), workload.to_owned(), payload.to_vec());
            lanes.push(tokio::spawn(async move {
                let mut messages = 0;
                while Instant::now() < until {
                    messages += call(channel.clone(), &workload, &payload)
                        .await
                        .map_err(|status| status.to_string())?;
                }
                Ok::<u64, String>(messages)
            }));
        }
        let mut messages = 0;
        for lane in lanes {
            messages += lane.await??;
        }
        println!("done {messages}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

async fn call(channel: Channel, workload: &str, payload: &[u8]) -> Result<u64, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let message = || Msg { n: 7, text: "x".repeat(93) };
    match workload {
        "order" => {
            // decoded from the canned bytes here in place of being built field by field: prost's figure flatters it
            let order =
                Order::decode(payload).map_err(|error| Status::internal(error.to_string()))?;
            let codec = ProstCodec::<Order, Order>::default();
            let reply =
                grpc.unary(Request::new(order), path("/bench.v1.Bench/PlaceOrder"), codec).await?;
            black_box(reply.into_inner());
            Ok(1)
        }
        "receive" => {
            let codec = ProstCodec::<Msg, Msg>::default();
            let request = Request::new(Msg { n: PER_STREAM, ..message() });
            let reply =
                grpc.server_streaming(request, path("/bench.v1.Bench/Receive"), codec).await?;
            let mut replies = reply.into_inner();
            let mut count = 0;
            while let Some(reply) = replies.message().await? {
                black_box(reply);
                count += 1;
            }
            Ok(count)
        }
        "send" => {
            let codec = ProstCodec::<Msg, Msg>::default();
            let requests = tokio_stream::iter((0..PER_STREAM).map(move |n| Msg { n, ..message() }));
            let reply = grpc
                .client_streaming(Request::new(requests), path("/bench.v1.Bench/Send"), codec)
                .await?;
            Ok(u64::from(reply.into_inner().n))
        }
        _ => {
            let codec = ProstCodec::<Msg, Msg>::default();
            let reply =
                grpc.unary(Request::new(message()), path("/bench.v1.Bench/Unary"), codec).await?;
            black_box(reply.into_inner());
            Ok(1)
        }
    }
}

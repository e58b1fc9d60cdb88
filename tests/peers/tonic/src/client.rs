//! The client: plans in on standard input, outcomes out, over one channel.

use std::collections::BTreeMap;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, Binary, KeyAndValueRef, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::codec::DynamicCodec;
use crate::{Outcome, Tls};

pub async fn run(pool: DescriptorPool, target: &str, tls: Option<Tls>) -> Outcome<()> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_str(&format!("{scheme}://{target}"))?;
    if let Some(tls) = tls {
        let mut config = ClientTlsConfig::new().ca_certificate(tls.authority()?);
        if tls.mutual {
            config = config.identity(tls.pair("client")?);
        }
        endpoint = endpoint.tls_config(config)?;
    }
    let channel = endpoint.connect_lazy();
    let mut plans = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = plans.next_line().await? {
        let plan: Value = serde_json::from_str(&line)?;
        let count = plan["parallel"].as_u64().unwrap_or(1);
        let calls: Vec<_> = (0..count)
            .map(|_| tokio::spawn(call(pool.clone(), channel.clone(), plan.clone())))
            .collect();
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(call.await??);
        }
        println!("{}", together(outcomes));
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The outcome of a plan: with `parallel`, the first that failed and the count of each code.
fn together(mut outcomes: Vec<Value>) -> Value {
    let mut codes = BTreeMap::<String, u64>::new();
    for outcome in &outcomes {
        *codes.entry(outcome["code"].to_string()).or_default() += 1;
    }
    let shown = outcomes.iter().position(|outcome| outcome["code"] != 0).unwrap_or(0);
    let mut outcome = outcomes.swap_remove(shown);
    if codes.values().sum::<u64>() > 1 {
        outcome["codes"] = json!(codes);
    }
    outcome
}

#[derive(Default)]
struct Seen {
    replies: Vec<DynamicMessage>,
    initial: MetadataMap,
    trailing: MetadataMap,
}

async fn call(pool: DescriptorPool, channel: Channel, plan: Value) -> Outcome<Value> {
    let path = plan["method"].as_str().ok_or("a plan needs a method")?.to_owned();
    let (service, name) =
        path.trim_start_matches('/').split_once('/').ok_or("a method is /service/name")?;
    let service = pool.get_service_by_name(service).ok_or("no such service")?;
    let method = service.methods().find(|method| method.name() == name).ok_or("no such method")?;
    let mut seen = Seen::default();
    let made = make(&method, channel, &plan, &path, &mut seen);
    // tonic holds a call to its deadline only until the headers are there: the caller holds the rest
    let made = match plan["timeout_ms"].as_u64() {
        Some(timeout_ms) => tokio::time::timeout(Duration::from_millis(timeout_ms), made).await,
        None => Ok(made.await),
    };
    let status = match made {
        Err(_) => Status::deadline_exceeded("the caller's own clock"),
        Ok(ended) => ended?.err().unwrap_or_else(|| Status::new(Code::Ok, "")),
    };
    seen.trailing.as_mut().extend(status.metadata().clone().into_headers());
    let replies: Vec<_> =
        seen.replies.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    Ok(json!({
        "code": status.code() as i32,
        "message": status.message(),
        "replies": replies,
        "initial": metadata_out(&seen.initial),
        "trailing": metadata_out(&seen.trailing),
    }))
}

async fn make(
    method: &MethodDescriptor,
    channel: Channel,
    plan: &Value,
    path: &str,
    seen: &mut Seen,
) -> Outcome<Result<(), Status>> {
    let codec = DynamicCodec { incoming: method.output() };
    let path = PathAndQuery::from_str(path)?;
    let mut waiting = Vec::new();
    for request in plan["requests"].as_array().into_iter().flatten() {
        waiting.push(DynamicMessage::deserialize(method.input(), request)?);
    }
    waiting.reverse();
    let mut grpc = tonic::client::Grpc::new(channel).accept_compressed(CompressionEncoding::Gzip);
    if plan["compression"] == "gzip" {
        grpc = grpc.send_compressed(CompressionEncoding::Gzip);
    }
    if let Err(error) = grpc.ready().await {
        return Ok(Err(Status::unavailable(error.to_string())));
    }
    let cancel_at_once = plan["cancel"] == "at_once";
    let cancelled = || Ok(Err(Status::cancelled("cancelled by the caller")));
    // the requests of a call that streams them; dropping `feed` ends them
    let (feed, requests) = mpsc::unbounded_channel();
    let alternate = plan["alternate"] == true;
    let hold = plan["hold"] == true || !plan["cancel"].is_null();
    let mut feed = Some(feed);
    let single = match method.is_client_streaming() {
        false => waiting.pop(),
        true => {
            advance(&mut feed, &mut waiting, hold, !alternate);
            None
        }
    };
    let requests = UnboundedReceiverStream::new(requests);
    match (single, method.is_server_streaming()) {
        (Some(request), false) => {
            let answer = grpc.unary(with_options(request, plan)?, path, codec);
            if cancel_at_once {
                return cancelled(); // dropping the future is how tonic cancels
            }
            Ok(answer.await.map(|response| one_reply(response, seen)))
        }
        (None, false) => {
            let answer = grpc.client_streaming(with_options(requests, plan)?, path, codec);
            if cancel_at_once {
                // polled once, so that the call is on the wire before it is dropped
                let _ = tokio::time::timeout(Duration::from_millis(20), answer).await;
                return cancelled();
            }
            Ok(answer.await.map(|response| one_reply(response, seen)))
        }
        (single, true) => {
            let response = match single {
                Some(request) => {
                    grpc.server_streaming(with_options(request, plan)?, path, codec).await
                }
                None => grpc.streaming(with_options(requests, plan)?, path, codec).await,
            };
            let mut replies = match response {
                Ok(response) => {
                    seen.initial = response.metadata().clone();
                    response.into_inner()
                }
                Err(status) => return Ok(Err(status)),
            };
            let ended = read(&mut replies, plan, &mut seen.replies, || {
                advance(&mut feed, &mut waiting, hold, false)
            })
            .await;
            if ended.is_ok()
                && let Ok(Some(trailers)) = replies.trailers().await
            {
                seen.trailing = trailers;
            }
            Ok(ended)
        }
    }
}

/// Puts the next request, or all of them, into the call; closes the client's half when none is left.
fn advance(
    feed: &mut Option<mpsc::UnboundedSender<DynamicMessage>>,
    waiting: &mut Vec<DynamicMessage>,
    hold: bool,
    all: bool,
) {
    let mut sent = false;
    while let Some(request) = waiting.pop() {
        if let Some(feed) = feed {
            let _ = feed.send(request);
        }
        sent = true;
        if !all {
            break;
        }
    }
    if (all || !sent) && !hold {
        *feed = None;
    }
}

async fn read(
    replies: &mut Streaming<DynamicMessage>,
    plan: &Value,
    seen: &mut Vec<DynamicMessage>,
    mut after_reply: impl FnMut(),
) -> Result<(), Status> {
    while let Some(reply) = replies.message().await? {
        seen.push(reply);
        if plan["cancel"] == "after_first_reply" {
            return Err(Status::cancelled("cancelled by the caller"));
        }
        if plan["alternate"] == true {
            after_reply();
        }
    }
    Ok(())
}

/// tonic puts the trailers of a unary answer into its metadata: both show as both.
fn one_reply(response: Response<DynamicMessage>, seen: &mut Seen) {
    let (metadata, reply, _) = response.into_parts();
    seen.initial = metadata.clone();
    seen.trailing = metadata;
    seen.replies.push(reply);
}

fn with_options<T>(message: T, plan: &Value) -> Outcome<Request<T>> {
    let mut request = Request::new(message);
    if let Some(timeout_ms) = plan["timeout_ms"].as_u64() {
        request.set_timeout(Duration::from_millis(timeout_ms));
    }
    for pair in plan["metadata"].as_array().into_iter().flatten() {
        let (key, value) =
            (pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default());
        if key.ends_with("-bin") {
            let value = MetadataValue::<Binary>::from_bytes(&BASE64.decode(value)?);
            request.metadata_mut().append_bin(MetadataKey::<Binary>::from_str(key)?, value);
        } else {
            request.metadata_mut().append(MetadataKey::<Ascii>::from_str(key)?, value.parse()?);
        }
    }
    Ok(request)
}

fn metadata_out(metadata: &MetadataMap) -> Value {
    let added = [
        "content-type",
        "date",
        "grpc-status",
        "grpc-message",
        "grpc-encoding",
        "grpc-accept-encoding",
    ];
    let pairs = metadata.iter().filter_map(|pair| match pair {
        KeyAndValueRef::Ascii(key, value) if !added.contains(&key.as_str()) => {
            Some(json!([key.as_str(), value.to_str().ok()?]))
        }
        KeyAndValueRef::Ascii(..) => None,
        KeyAndValueRef::Binary(key, _) if key.as_str() == "grpc-status-details-bin" => None,
        KeyAndValueRef::Binary(key, value) => {
            Some(json!([key.as_str(), BASE64.encode(value.to_bytes().ok()?)]))
        }
    });
    Value::Array(pairs.collect())
}

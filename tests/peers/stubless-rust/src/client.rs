//! The client: plans in on standard input, outcomes out, over one channel.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use stubless::{
    Channel, ClientTls, ClientTlsConfig, Encoding, Error, Message, Metadata, MethodHandle, Options,
    Request, Response, RpcError, Schema, Sender, Streaming,
};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{Outcome, Tls};

pub async fn run(schema: &Schema, target: &str, tls: Option<Tls>) -> Outcome<()> {
    let mut builder = Channel::builder(target, schema);
    if let Some(tls) = tls {
        let authority = tls.file("ca.pem")?;
        let pair = if tls.mutual {
            Some((tls.file("client.pem")?, tls.file("client.key")?))
        } else {
            None
        };
        let config = ClientTlsConfig {
            ca: Some(&authority),
            cert: pair.as_ref().map(|pair| pair.0.as_slice()),
            key: pair.as_ref().map(|pair| pair.1.as_slice()),
            server_name: None,
        };
        builder = builder.tls(ClientTls::new(&config)?);
    }
    let channel = builder.connect()?;
    let mut plans = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = plans.next_line().await? {
        let plan: Json = serde_json::from_str(&line)?;
        let count = plan["parallel"].as_u64().unwrap_or(1);
        let calls: Vec<_> =
            (0..count).map(|_| tokio::spawn(call(channel.clone(), plan.clone()))).collect();
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
fn together(mut outcomes: Vec<Json>) -> Json {
    let mut codes = BTreeMap::<String, u64>::new();
    for outcome in &outcomes {
        *codes.entry(outcome["code"].to_string()).or_default() += 1;
    }
    let shown = outcomes.iter().position(|outcome| outcome["code"] != 0).unwrap_or(0);
    let several = outcomes.len() > 1;
    let mut outcome = outcomes.swap_remove(shown);
    if several {
        outcome["codes"] = json!(codes);
    }
    outcome
}

/// How one call ended, and what came before.
#[derive(Default)]
struct Seen {
    code: u32,
    message: String,
    replies: Vec<Message>,
    initial: Metadata,
    trailing: Metadata,
}

impl Seen {
    fn answered(&mut self, answer: Result<Response, Error>) -> Outcome<()> {
        match answer {
            Ok(response) => {
                self.initial = response.headers;
                self.trailing = response.trailers;
                self.replies.push(response.message);
            }
            Err(Error::Rpc(error)) => self.failed(&error),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn failed(&mut self, error: &RpcError) {
        self.code = error.code().number();
        self.message = error.message().to_owned();
        self.initial = error.headers().clone();
        self.trailing = error.trailers().clone();
    }
}

async fn call(channel: Channel, plan: Json) -> Outcome<Json> {
    let path = plan["method"].as_str().ok_or("a plan needs a method")?;
    let method = channel.method(path.trim_start_matches('/'))?;
    let mut requests = VecDeque::new();
    for request in plan["requests"].as_array().into_iter().flatten() {
        requests.push_back(method.input().from_json(&request.to_string())?);
    }
    let options = options(&plan)?;
    let mut seen = Seen::default();
    let kind = method.kind();
    match (kind.client_streaming, kind.server_streaming) {
        (false, false) => {
            let request = Request::new(requests.pop_front().ok_or("no request")?).with(options);
            seen.answered(method.unary(request).await)?;
        }
        (true, false) => {
            let (mut sender, answer) = method.client_streaming(options)?;
            feed(&mut sender, &mut requests).await?;
            if plan["cancel"] == "at_once" {
                sender.cancel();
            } else {
                sender.done();
            }
            seen.answered(answer.response().await)?;
        }
        (false, true) => {
            let request = Request::new(requests.pop_front().ok_or("no request")?).with(options);
            read(method.server_streaming(request)?, None, requests, &plan, &mut seen).await?;
        }
        (true, true) => {
            let (sender, replies) = method.bidi(options)?;
            read(replies, Some(sender), requests, &plan, &mut seen).await?;
        }
    }
    outcome(&method, &seen)
}

async fn feed(sender: &mut Sender, requests: &mut VecDeque<Message>) -> Outcome<()> {
    while let Some(request) = requests.pop_front() {
        sender.send(&request).await?;
    }
    Ok(())
}

/// Reads all replies, sending the requests meanwhile as the plan says.
async fn read(
    mut replies: Streaming,
    mut sender: Option<Sender>,
    mut requests: VecDeque<Message>,
    plan: &Json,
    seen: &mut Seen,
) -> Outcome<()> {
    let alternate = plan["alternate"] == true;
    let hold = plan["hold"] == true || !plan["cancel"].is_null();
    if let Some(open) = &mut sender {
        if !alternate {
            feed(open, &mut requests).await?;
        } else if let Some(first) = requests.pop_front() {
            open.send(&first).await?;
        }
    }
    if !hold && !alternate {
        sender = None; // the client's half is closed
    }
    if plan["cancel"] == "at_once" {
        replies.cancel();
    }
    loop {
        match replies.message().await {
            Ok(Some(reply)) => seen.replies.push(reply),
            Ok(None) => break,
            Err(error) => {
                seen.failed(&error);
                return Ok(());
            }
        }
        if plan["cancel"] == "after_first_reply" {
            replies.cancel();
        } else if alternate {
            match (requests.pop_front(), &mut sender) {
                (Some(next), Some(open)) => _ = open.send(&next).await?,
                _ if !hold => sender = None,
                _ => {}
            }
        }
    }
    seen.initial = replies.headers().await?.clone();
    seen.trailing = replies.trailers().cloned().unwrap_or_default();
    Ok(())
}

fn options(plan: &Json) -> Outcome<Options> {
    let mut options = Options::new();
    if let Some(timeout_ms) = plan["timeout_ms"].as_u64() {
        options = options.timeout(Duration::from_millis(timeout_ms));
    }
    if plan["compression"] == "gzip" {
        options = options.compression(Encoding::Gzip);
    }
    for pair in plan["metadata"].as_array().into_iter().flatten() {
        let (key, value) =
            (pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default());
        let value =
            if key.ends_with("-bin") { BASE64.decode(value)? } else { value.as_bytes().to_vec() };
        options = options.metadata(key, value)?;
    }
    Ok(options)
}

fn outcome(method: &MethodHandle, seen: &Seen) -> Outcome<Json> {
    let mut replies = Vec::new();
    for reply in &seen.replies {
        replies.push(serde_json::from_str::<Json>(
            &reply
                .to_json()
                .map_err(|error| format!("{}: {error}", method.output().full_name()))?,
        )?);
    }
    Ok(json!({
        "code": seen.code,
        "message": seen.message,
        "replies": replies,
        "initial": metadata_out(&seen.initial),
        "trailing": metadata_out(&seen.trailing),
    }))
}

fn metadata_out(metadata: &Metadata) -> Json {
    let pairs =
        metadata.iter().filter(|(key, _)| *key != "grpc-status-details-bin").map(|(key, value)| {
            let value = match value.as_str() {
                Some(text) if !key.ends_with("-bin") => text.to_owned(),
                _ => BASE64.encode(value.as_bytes()),
            };
            json!([key, value])
        });
    Json::Array(pairs.collect())
}

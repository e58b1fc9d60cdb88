//! Calls of every kind through the whole stack: schema, messages, engine, sockets.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stubless::{
    CallHead, Channel, ClientInterceptor, ClientObserver, Code, Encoding, Error, Message,
    MessageType, Metadata, Options, Request, RpcError, Schema, Server, ServerInterceptor,
    ServerObserver, Service, Status, Value,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const PROTO: &str = r#"
    syntax = "proto3"; package t;
    message Msg { string text = 1; int32 n = 2; bytes blob = 3; }
    service Echo {
      rpc Unary(Msg) returns (Msg);
      rpc Down(Msg) returns (stream Msg);
      rpc Up(stream Msg) returns (Msg);
      rpc Both(stream Msg) returns (stream Msg);
    }
"#;

struct Fixture {
    schema: Schema,
    msg: MessageType,
    server: Server,
    /// Handlers that were dropped before they were done.
    dropped: Arc<AtomicU32>,
}

struct CountDrop(Arc<AtomicU32>, bool);

impl Drop for CountDrop {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn text(message: &Message) -> String {
    match message.get_by_name("text") {
        Ok(Value::Str(text)) => text.to_owned(),
        other => panic!("{other:?}"),
    }
}

fn number(message: &Message) -> i32 {
    match message.get_by_name("n") {
        Ok(Value::I32(n)) => n,
        other => panic!("{other:?}"),
    }
}

fn make(of: &MessageType, text: &str, n: i32) -> Message {
    let mut message = of.new_message();
    message.set_by_name("text", text).expect("a string");
    message.set_by_name("n", n).expect("a number");
    message
}

fn echo(schema: &Schema, dropped: &Arc<AtomicU32>) -> Result<Service, Error> {
    let msg = schema.message("t.Msg").expect("declared");
    let (down, up) = (msg.clone(), msg);
    let dropped = dropped.clone();
    Ok(Service::new(schema, "t.Echo")?
        .unary("Unary", move |request, context| {
            let guard = CountDrop(dropped.clone(), false);
            async move {
                let mut guard = guard;
                match text(&request).as_str() {
                    "sleep" => {
                        tokio::time::sleep(Duration::from_millis(number(&request) as u64)).await
                    }
                    "fail" => {
                        guard.1 = true;
                        let mut trailers = Metadata::new();
                        trailers
                            .insert("x-why-bin", vec![0u8, 255])
                            .map_err(|e| RpcError::new(Code::Internal, e.to_string()))?;
                        let detail = request.clone();
                        return RpcError::new(Code::FailedPrecondition, "as you wished")
                            .with_trailers(trailers)
                            .with_details(&[detail])
                            .map_err(|e| RpcError::new(Code::Internal, e.to_string()))
                            .and_then(Err);
                    }
                    "panic" => panic!("as you wished"),
                    "metadata" => {
                        let mut headers = Metadata::new();
                        for (key, value) in
                            context.metadata().iter().filter(|(key, _)| key.starts_with("x-"))
                        {
                            let copied = headers.append(key, value.as_bytes().to_vec());
                            copied.map_err(|e| RpcError::new(Code::Internal, e.to_string()))?;
                        }
                        context.set_headers(headers);
                    }
                    _ => {}
                }
                guard.1 = true;
                Ok(request)
            }
        })
        .server_streaming("Down", move |request, _, mut responder| {
            let msg = down.clone();
            async move {
                for n in 0..number(&request) {
                    responder.send(&make(&msg, &text(&request), n)).await?;
                }
                if text(&request) == "then fail" {
                    return Err(RpcError::new(Code::Aborted, "after the messages"));
                }
                Ok(())
            }
        })
        .client_streaming("Up", move |mut requests, _| {
            let msg = up.clone();
            async move {
                let mut sum = 0;
                while let Some(request) = requests.message().await? {
                    sum += number(&request);
                }
                Ok(make(&msg, "sum", sum))
            }
        })
        .bidi("Both", |mut requests, _, mut responder| async move {
            while let Some(request) = requests.message().await? {
                responder.send(&request).await?;
            }
            Ok(())
        }))
}

impl Fixture {
    fn new() -> Result<Fixture, Error> {
        Fixture::with(|builder| builder)
    }

    fn with(
        change: impl FnOnce(stubless::ServerBuilder) -> stubless::ServerBuilder,
    ) -> Result<Fixture, Error> {
        let schema = Schema::from_source([("t.proto", PROTO)])?;
        let server = change(Server::builder(&schema)).build()?;
        let dropped = Arc::default();
        server.add(echo(&schema, &dropped)?)?;
        let msg = schema.message("t.Msg").expect("declared");
        Ok(Fixture { schema, msg, server, dropped })
    }

    fn channel(&self) -> Result<Channel, Error> {
        let port = self.server.listen("127.0.0.1:0")?;
        Channel::connect(&format!("127.0.0.1:{port}"), &self.schema)
    }

    async fn unary(
        &self,
        channel: &Channel,
        said: &str,
        n: i32,
        options: Options,
    ) -> Result<Message, Error> {
        let request = Request::new(make(&self.msg, said, n)).with(options);
        Ok(channel.unary("t.Echo/Unary", request).await?.message)
    }
}

async fn all_kinds(f: &Fixture, channel: &Channel) -> Outcome {
    assert_eq!(text(&f.unary(channel, "hi", 1, Options::new()).await?), "hi");
    let mut down = channel.server_streaming("t.Echo/Down", make(&f.msg, "d", 1000))?;
    let mut seen = 0;
    while let Some(message) = down.message().await? {
        assert_eq!(number(&message), seen);
        seen += 1;
    }
    assert_eq!(seen, 1000);
    let (mut sender, answer) = channel.client_streaming("t.Echo/Up", Options::new())?;
    for n in 0..1000 {
        assert!(sender.send(&make(&f.msg, "", n)).await?);
    }
    sender.done();
    assert_eq!(number(&answer.response().await?.message), 499_500);
    let (mut sender, mut back) = channel.bidi("t.Echo/Both", Options::new())?;
    for n in 0..100 {
        sender.send(&make(&f.msg, "b", n)).await?;
        assert_eq!(back.message().await?.map(|m| number(&m)), Some(n));
    }
    sender.done();
    assert!(back.message().await?.is_none());
    Ok(())
}

#[tokio::test]
async fn all_four_kinds_over_tcp_on_one_thread() -> Outcome {
    let f = Fixture::new()?;
    all_kinds(&f, &f.channel()?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_four_kinds_over_tcp_on_several_threads() -> Outcome {
    let f = Fixture::new()?;
    all_kinds(&f, &f.channel()?).await
}

#[tokio::test]
async fn all_four_kinds_in_process_and_over_a_unix_socket() -> Outcome {
    let f = Fixture::new()?;
    f.server.listen("inprocess:calls-test")?;
    all_kinds(&f, &Channel::connect("inprocess:calls-test", &f.schema)?).await?;
    let path = std::env::temp_dir().join(format!("stubless-{}.sock", std::process::id()));
    f.server.listen(&format!("unix:{}", path.display()))?;
    all_kinds(&f, &Channel::connect(&format!("unix:{}", path.display()), &f.schema)?).await?;
    f.server.shutdown(Duration::from_secs(1)).await;
    assert!(!path.exists(), "the socket file is left behind");
    Ok(())
}

#[tokio::test]
async fn a_deadline_ends_the_call_here_and_drops_the_handler_there() -> Outcome {
    let f = Fixture::new()?;
    let channel = f.channel()?;
    let short = Options::new().timeout(Duration::from_millis(50));
    let error = f.unary(&channel, "sleep", 60_000, short).await.expect_err("too slow");
    assert_eq!(error.code(), Some(Code::DeadlineExceeded));
    // the next call proves the connection is whole
    f.unary(&channel, "hi", 0, Options::new()).await?;
    assert_eq!(f.dropped.load(Ordering::SeqCst), 1);
    assert_eq!(f.server.running_calls(), 0);
    Ok(())
}

#[tokio::test]
async fn dropping_a_call_cancels_it_on_the_wire() -> Outcome {
    let f = Fixture::new()?;
    let channel = f.channel()?;
    f.unary(&channel, "hi", 0, Options::new()).await?;
    let slow = f.unary(&channel, "sleep", 60_000, Options::new());
    assert!(tokio::time::timeout(Duration::from_millis(50), slow).await.is_err());
    while f.dropped.load(Ordering::SeqCst) == 0 {
        f.unary(&channel, "hi", 0, Options::new()).await?;
    }
    assert_eq!(f.server.running_calls(), 0);
    Ok(())
}

#[tokio::test]
async fn a_cancelled_request_stream_is_an_error_and_not_an_end() -> Outcome {
    let schema = Schema::from_source([("t.proto", PROTO)])?;
    let msg = schema.message("t.Msg").expect("declared");
    let server = Server::new(&schema)?;
    let (tell, told) = std::sync::mpsc::channel();
    let reply = msg.clone();
    server.add(Service::new(&schema, "t.Echo")?.client_streaming(
        "Up",
        move |mut requests, _| {
            let (tell, reply) = (tell.clone(), reply.clone());
            async move {
                loop {
                    match requests.message().await {
                        Ok(Some(_)) => {
                            let _ = tell.send(Some(Code::Ok));
                        }
                        Ok(None) => {
                            let _ = tell.send(None);
                            return Ok(reply.new_message());
                        }
                        Err(error) => {
                            let _ = tell.send(Some(error.code()));
                            return Err(error);
                        }
                    }
                }
            }
        },
    ))?;
    let port = server.listen("127.0.0.1:0")?;
    let channel = Channel::connect(&format!("127.0.0.1:{port}"), &schema)?;
    let (mut sender, answer) = channel.client_streaming("t.Echo/Up", Options::new())?;
    sender.send(&make(&msg, "", 1)).await?;
    let next = async || loop {
        match told.try_recv() {
            Ok(seen) => break seen,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(next().await, Some(Code::Ok), "the handler has the first request");
    sender.cancel();
    let error = answer.response().await.expect_err("cancelled");
    assert_eq!(error.code(), Some(Code::Cancelled));
    assert_eq!(next().await, Some(Code::Cancelled));
    Ok(())
}

#[tokio::test]
async fn a_status_brings_its_text_trailers_and_details() -> Outcome {
    let f = Fixture::new()?;
    let channel = f.channel()?;
    let Err(Error::Rpc(error)) = f.unary(&channel, "fail", 7, Options::new()).await else {
        panic!("no failure")
    };
    assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, "as you wished"));
    assert_eq!(
        error.trailers().get("x-why-bin").map(|v| v.as_bytes().to_vec()),
        Some(vec![0, 255])
    );
    let details = error.details();
    assert_eq!(details[0].type_url, "type.googleapis.com/t.Msg");
    assert_eq!(details[0].message.as_ref().map(number), Some(7));
    // what came before a failing status is delivered first
    let mut down = channel.server_streaming("t.Echo/Down", make(&f.msg, "then fail", 3))?;
    for n in 0..3 {
        assert_eq!(down.message().await?.map(|m| number(&m)), Some(n));
    }
    assert_eq!(down.message().await.expect_err("fails").code(), Code::Aborted);
    assert!(down.message().await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_call_and_no_other() -> Outcome {
    let f = Fixture::new()?;
    let channel = f.channel()?;
    let error = f.unary(&channel, "panic", 0, Options::new()).await.expect_err("panicked");
    assert_eq!(error.code(), Some(Code::Unknown));
    f.unary(&channel, "hi", 0, Options::new()).await?;
    Ok(())
}

#[tokio::test]
async fn metadata_goes_both_ways_with_bytes_and_duplicates() -> Outcome {
    let f = Fixture::new()?;
    let channel = f.channel()?;
    let options = Options::new()
        .metadata("x-text", "a b")?
        .metadata("x-two", "1")?
        .metadata("x-two", "2")?
        .metadata("x-raw-bin", vec![0u8, 1, 255])?;
    let request = Request::new(make(&f.msg, "metadata", 0)).with(options);
    let headers = channel.unary("t.Echo/Unary", request).await?.headers;
    assert_eq!(headers.get("x-text").and_then(|v| v.as_str()), Some("a b"));
    let two: Vec<_> = headers.get_all("x-two").filter_map(|v| v.as_str()).collect();
    assert_eq!(two, ["1", "2"]);
    assert_eq!(headers.get("x-raw-bin").map(|v| v.as_bytes().to_vec()), Some(vec![0, 1, 255]));
    assert!(Options::new().metadata("Bad Key", "x").is_err());
    assert!(Options::new().metadata("grpc-status", "0").is_err());
    Ok(())
}

#[tokio::test]
async fn limits_hold_on_both_sides_and_compression_goes_both_ways() -> Outcome {
    let f = Fixture::with(|b| {
        b.compression(Encoding::Gzip).options(|o| o.max_receive_message_bytes = 10_000)
    })?;
    let channel = f.channel()?;
    let long = "x".repeat(50_000);
    let error = f.unary(&channel, &long, 0, Options::new()).await.expect_err("too long");
    assert_eq!(error.code(), Some(Code::ResourceExhausted));
    for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
        // compressed it would fit on the wire: the limit counts what comes out
        let error = f.unary(&channel, &long, 0, Options::new().compression(encoding)).await;
        assert_eq!(error.expect_err("too long").code(), Some(Code::ResourceExhausted));
        let short = "y".repeat(5_000);
        assert_eq!(
            text(&f.unary(&channel, &short, 0, Options::new().compression(encoding)).await?),
            short
        );
    }
    let small = Options::new().change(|o| o.max_receive_message_bytes = Some(100));
    let error = f.unary(&channel, &"z".repeat(5_000), 0, small).await.expect_err("too long");
    assert_eq!(error.code(), Some(Code::ResourceExhausted));
    Ok(())
}

#[tokio::test]
async fn services_come_and_go_while_the_server_runs() -> Outcome {
    let f = Fixture::new()?;
    let channel = f.channel()?;
    f.unary(&channel, "hi", 0, Options::new()).await?;
    assert!(f.server.remove("t.Echo"));
    let error = f.unary(&channel, "hi", 0, Options::new()).await.expect_err("gone");
    assert_eq!(error.code(), Some(Code::Unimplemented));
    f.server.add(echo(&f.schema, &f.dropped)?)?;
    f.unary(&channel, "hi", 0, Options::new()).await?;
    assert!(f.server.add(echo(&f.schema, &f.dropped)?).is_err());
    let wrong =
        Service::new(&f.schema, "t.Echo")?.unary("Down", |request, _| async move { Ok(request) });
    f.server.remove("t.Echo");
    assert!(f.server.add(wrong).is_err());
    Ok(())
}

#[tokio::test]
async fn a_graceful_stop_lets_calls_finish_and_a_deadline_on_it_cuts_them() -> Outcome {
    let f = Fixture::new()?;
    let channel = f.channel()?;
    f.unary(&channel, "hi", 0, Options::new()).await?;
    let running = f.unary(&channel, "sleep", 200, Options::new());
    let (finished, ()) = tokio::join!(running, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        f.server.shutdown(Duration::from_secs(10)).await;
    });
    assert_eq!(text(&finished?), "sleep");
    let error = f.unary(&channel, "hi", 0, Options::new()).await.expect_err("stopped");
    assert_eq!(error.code(), Some(Code::Unavailable));

    let g = Fixture::new()?;
    let channel = g.channel()?;
    g.unary(&channel, "hi", 0, Options::new()).await?;
    let running = g.unary(&channel, "sleep", 60_000, Options::new());
    let (cut, ()) = tokio::join!(running, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        g.server.shutdown(Duration::from_millis(100)).await;
    });
    assert_eq!(cut.expect_err("cut").code(), Some(Code::Unavailable));
    Ok(())
}

#[tokio::test]
async fn a_call_that_waits_for_ready_gets_through_once_there_is_a_server() -> Outcome {
    let f = Fixture::new()?;
    let port = f.server.listen("127.0.0.1:0")?;
    let channel = Channel::builder(&format!("127.0.0.1:{port}"), &f.schema)
        .options(|o| o.backoff.initial = Duration::from_millis(20))
        .connect()?;
    f.unary(&channel, "hi", 0, Options::new()).await?;
    f.server.shutdown(Duration::ZERO).await;
    let error = f.unary(&channel, "hi", 0, Options::new()).await.expect_err("nobody there");
    assert_eq!(error.code(), Some(Code::Unavailable));
    let g = Fixture::new()?;
    let waiting = f.unary(&channel, "back", 0, Options::new().wait_for_ready(true));
    let (answer, again) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        g.server.listen(&format!("127.0.0.1:{port}"))
    });
    again?;
    assert_eq!(text(&answer?), "back");
    Ok(())
}

#[tokio::test]
async fn ten_thousand_calls_at_once_wait_their_turn_on_one_connection() -> Outcome {
    let f = Fixture::new()?;
    let channel = f.channel()?;
    let mut calls = tokio::task::JoinSet::new();
    let request = make(&f.msg, "hi", 3);
    for _ in 0..10_000 {
        let (channel, request) = (channel.clone(), request.clone());
        calls.spawn(async move {
            channel.unary("t.Echo/Unary", request).await.map(|r| number(&r.message))
        });
    }
    let mut done = 0;
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer??, 3);
        done += 1;
    }
    assert_eq!((done, f.server.engine().connections()), (10_000, 1));
    Ok(())
}

#[tokio::test]
async fn health_and_reflection_are_one_call_each() -> Outcome {
    let f = Fixture::new()?;
    let health = f.server.enable_health()?;
    f.server.enable_reflection()?;
    let port = f.server.listen("127.0.0.1:0")?;
    let target = format!("127.0.0.1:{port}");
    let schema = stubless::reflect(&target).await?;
    let mut names: Vec<_> = schema.services().map(|s| s.full_name().to_owned()).collect();
    names.sort();
    assert!(names.contains(&"t.Echo".to_owned()), "{names:?}");
    let channel = Channel::connect(&target, &schema)?;
    let msg = schema.message("t.Msg").ok_or("reflected")?;
    assert_eq!(
        text(&channel.unary("t.Echo/Unary", make(&msg, "by reflection", 0)).await?.message),
        "by reflection"
    );

    use stubless::ServingStatus::{NotServing, Serving};
    assert_eq!(channel.health("", Options::new()).await?, Serving);
    let unknown = channel.health("t.Echo", Options::new()).await.expect_err("not set yet");
    assert_eq!(unknown.code(), Some(Code::NotFound));
    health.set("t.Echo", NotServing);
    assert_eq!(channel.health("t.Echo", Options::new()).await?, NotServing);
    Ok(())
}

#[derive(Clone, Default)]
struct Watch(Arc<std::sync::Mutex<Vec<String>>>);

impl Watch {
    fn say(&self, text: impl Into<String>) {
        self.0.lock().expect("no panic").push(text.into());
    }
}

impl ClientInterceptor for Watch {
    fn start(
        &self,
        method: &stubless::engine::client::Method,
        metadata: &mut Metadata,
        _: &mut stubless::engine::client::CallOptions,
    ) -> Result<Option<Box<dyn ClientObserver>>, Status> {
        if metadata.get("x-refuse").is_some() {
            return Err(Status::new(Code::PermissionDenied, "not from here"));
        }
        metadata
            .insert("x-added", "yes")
            .map_err(|e| Status::new(Code::Internal, e.to_string()))?;
        self.say(format!("start {}", method.path()));
        Ok(Some(Box::new(self.clone())))
    }
}

impl ClientObserver for Watch {
    fn sending(&mut self, _: &mut bytes::Bytes) {
        self.say("sending");
    }
    fn received(&mut self, _: &mut bytes::Bytes) {
        self.say("received");
    }
    fn ended(&mut self, status: &mut Status, _: &mut Metadata) {
        self.say(format!("ended {}", status.code().name()));
    }
}

impl ServerInterceptor for Watch {
    fn start(&self, head: &mut CallHead) -> Result<Option<Box<dyn ServerObserver>>, Status> {
        if head.metadata.get("x-locked").is_some() {
            return Err(Status::new(Code::Unauthenticated, "locked"));
        }
        let added =
            head.metadata.get("x-added").and_then(|v| v.as_str()).unwrap_or("no").to_owned();
        self.say(format!("server start, added: {added}"));
        Ok(Some(Box::new(self.clone())))
    }
}

impl ServerObserver for Watch {
    fn ended(&mut self, status: &Status) {
        self.say(format!("server ended {}", status.code().name()));
    }
}

#[tokio::test]
async fn interceptors_see_and_refuse_calls_on_both_sides() -> Outcome {
    let watch = Watch::default();
    let f = Fixture::with(|b| b.interceptor(watch.clone()))?;
    let port = f.server.listen("127.0.0.1:0")?;
    let channel = Channel::builder(&format!("127.0.0.1:{port}"), &f.schema)
        .interceptor(watch.clone())
        .connect()?;
    f.unary(&channel, "hi", 0, Options::new()).await?;
    let refused = f.unary(&channel, "hi", 0, Options::new().metadata("x-refuse", "1")?).await;
    assert_eq!(refused.expect_err("refused").code(), Some(Code::PermissionDenied));
    let locked = f.unary(&channel, "hi", 0, Options::new().metadata("x-locked", "1")?).await;
    assert_eq!(locked.expect_err("locked").code(), Some(Code::Unauthenticated));
    let said = watch.0.lock().expect("no panic").clone();
    assert_eq!(
        said,
        [
            "start /t.Echo/Unary",
            "sending",
            "server start, added: yes",
            "server ended OK",
            "received",
            "ended OK",
            "start /t.Echo/Unary",
            "sending",
            "ended UNAUTHENTICATED",
        ]
    );
    Ok(())
}

//! Health and reflection, both ends in one process, run by a test that polls: no socket, no thread, no sleep.
#![allow(clippy::unwrap_used, missing_docs)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use stubless_codec::{Message, Schema, Value};
use stubless_engine::call::{ClientEvent, MethodKind, ServerEvent};
use stubless_engine::client::{Call, CallOptions, Channel, ChannelOptions, Method};
use stubless_engine::metadata::Metadata;
use stubless_engine::rt::{Clock, Executor, NoNetwork, Rt, Time};
use stubless_engine::server::listener::Security;
use stubless_engine::server::{Registration, Server, ServerCall, ServerOptions};
use stubless_engine::services::bundled;
use stubless_engine::services::health::{self, Health, ServingStatus};
use stubless_engine::services::reflection::{LoadError, Loaded, Reflection, load_schema};
use stubless_engine::status::{Code, Status};

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Time {
        Time::ZERO
    }
}

/// A server and a channel to it.
struct Pair {
    rt: Rt,
    server: Server,
    channel: Channel,
}

impl Pair {
    fn new() -> Pair {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("inprocess:services-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let rt = Rt::new(Executor::new(Arc::new(|| {})), Arc::new(Stopped), Arc::new(NoNetwork), 1);
        let server = Server::new(&rt, ServerOptions::default());
        server.listen(&name, Security::default()).unwrap();
        let channel = Channel::new(&rt, &name, ChannelOptions::default()).unwrap();
        Pair { rt, server, channel }
    }

    /// Runs everything until nothing moves any more.
    fn drive(&self) {
        for _ in 0..10_000 {
            if !self.rt.executor().run(Time::ZERO) {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// What `future` comes to; it may wait for nothing but the other end.
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.try_run(future).expect("an answer")
    }

    fn try_run<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100_000 {
            if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
                return Some(done);
            }
            self.drive();
        }
        None
    }

    fn check(&self, service: &str) -> Result<ServingStatus, Status> {
        self.run(health::check(&self.channel, service, Metadata::new(), CallOptions::default()))
    }

    fn watch(&self, service: &str) -> health::Watch {
        health::watch(&self.channel, service, Metadata::new(), CallOptions::default())
    }

    /// What the watch hears now; `None`: nothing new.
    fn heard(&self, watch: &mut health::Watch) -> Option<ServingStatus> {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            if let Poll::Ready(next) = watch.poll_next(&mut cx) {
                return Some(next.expect("the watch goes on").unwrap());
            }
            self.drive();
        }
        None
    }

    fn load(&self) -> Result<Loaded, LoadError> {
        self.run(load_schema(&self.channel, Metadata::new(), CallOptions::default()))
    }
}

fn names(all: &[(String, String)]) -> Vec<&str> {
    all.iter().map(|(name, _)| name.as_str()).collect()
}

// ---- health ----

#[test]
fn a_server_is_healthy_from_the_start_and_a_service_once_somebody_says_so() {
    let pair = Pair::new();
    let health = Health::new(&pair.server).unwrap();
    assert_eq!(pair.check("").unwrap(), ServingStatus::Serving);
    assert_eq!(pair.check("demo.Echo").unwrap_err().code(), Code::NotFound);
    health.set("demo.Echo", ServingStatus::NotServing);
    assert_eq!(pair.check("demo.Echo").unwrap(), ServingStatus::NotServing);
    health.clear("demo.Echo");
    assert_eq!(pair.check("demo.Echo").unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_watch_hears_the_status_at_once_and_then_every_change() {
    let pair = Pair::new();
    let health = Health::new(&pair.server).unwrap();
    let mut watch = pair.watch("demo.Echo");
    assert_eq!(pair.heard(&mut watch), Some(ServingStatus::ServiceUnknown));
    assert_eq!(pair.heard(&mut watch), None);
    health.set("demo.Echo", ServingStatus::Serving);
    assert_eq!(pair.heard(&mut watch), Some(ServingStatus::Serving));
    health.set("demo.Echo", ServingStatus::Serving);
    assert_eq!(pair.heard(&mut watch), None, "the same again is no news");
    health.set("other.Service", ServingStatus::NotServing);
    assert_eq!(pair.heard(&mut watch), None, "somebody else's status is no news");
    health.clear("demo.Echo");
    assert_eq!(pair.heard(&mut watch), Some(ServingStatus::ServiceUnknown));
}

#[test]
fn changes_between_two_turns_are_heard_as_the_last_of_them() {
    let pair = Pair::new();
    let health = Health::new(&pair.server).unwrap();
    let mut watch = pair.watch("");
    assert_eq!(pair.heard(&mut watch), Some(ServingStatus::Serving));
    for _ in 0..1000 {
        health.set("", ServingStatus::Unknown);
        health.set("", ServingStatus::NotServing);
    }
    assert_eq!(pair.heard(&mut watch), Some(ServingStatus::NotServing));
    assert_eq!(pair.heard(&mut watch), None);
    health.set("", ServingStatus::Serving);
    health.set("", ServingStatus::NotServing);
    assert_eq!(pair.heard(&mut watch), None, "there and back again is no news");
}

#[test]
fn a_watcher_that_leaves_is_forgotten() {
    let pair = Pair::new();
    let health = Health::new(&pair.server).unwrap();
    let mut watch = pair.watch("nobody.Ever");
    assert_eq!(pair.heard(&mut watch), Some(ServingStatus::ServiceUnknown));
    assert_eq!(pair.server.running_calls(), 1);
    drop(watch);
    pair.drive();
    assert_eq!(pair.server.running_calls(), 0);
    assert_eq!(format!("{health:?}"), r#"{"": Serving}"#);
}

#[test]
fn shutdown_turns_everything_off_and_only_resume_turns_it_on_again() {
    let pair = Pair::new();
    let health = Health::new(&pair.server).unwrap();
    health.set("demo.Echo", ServingStatus::Serving);
    let (mut all, mut echo) = (pair.watch(""), pair.watch("demo.Echo"));
    assert_eq!(pair.heard(&mut all), Some(ServingStatus::Serving));
    assert_eq!(pair.heard(&mut echo), Some(ServingStatus::Serving));
    pair.server.shutdown(Duration::from_secs(60));
    assert_eq!(pair.heard(&mut all), Some(ServingStatus::NotServing));
    assert_eq!(pair.heard(&mut echo), Some(ServingStatus::NotServing));
    health.set("demo.Echo", ServingStatus::Serving);
    health.clear("");
    assert_eq!(
        (pair.heard(&mut all), pair.heard(&mut echo)),
        (None, None),
        "later changes are ignored"
    );
    health.resume();
    assert_eq!(pair.heard(&mut all), Some(ServingStatus::Serving));
    assert_eq!(pair.heard(&mut echo), Some(ServingStatus::Serving));
    health.set("demo.Echo", ServingStatus::Unknown);
    assert_eq!(pair.heard(&mut echo), Some(ServingStatus::Unknown));
}

#[test]
fn a_list_has_a_hundred_entries_at_most() {
    let pair = Pair::new();
    let health = Health::new(&pair.server).unwrap();
    let list = || pair.run(health::list(&pair.channel, Metadata::new(), CallOptions::default()));
    health.set("b", ServingStatus::NotServing);
    health.set("a", ServingStatus::Unknown);
    let expected = [
        ("", ServingStatus::Serving),
        ("a", ServingStatus::Unknown),
        ("b", ServingStatus::NotServing),
    ];
    assert_eq!(list().unwrap(), expected.map(|(name, status)| (name.to_owned(), status)));
    for n in 3..100 {
        health.set(&format!("service-{n}"), ServingStatus::Serving);
    }
    assert_eq!(list().unwrap().len(), 100);
    health.set("one too many", ServingStatus::Serving);
    assert_eq!(list().unwrap_err().code(), Code::ResourceExhausted);
}

#[test]
fn bytes_that_are_no_request_are_internal() {
    let pair = Pair::new();
    let _health = Health::new(&pair.server).unwrap();
    for (path, kind) in [
        ("/grpc.health.v1.Health/Check", MethodKind::UNARY),
        ("/grpc.health.v1.Health/List", MethodKind::UNARY),
        ("/grpc.health.v1.Health/Watch", MethodKind::SERVER_STREAMING),
    ] {
        for bytes in [&b"\x0a\x05abc"[..], b"\x07", b"\x0b"] {
            let mut call = start(&pair, path, kind);
            call.send_message(Bytes::from_static(bytes)).unwrap();
            call.half_close();
            assert_eq!(pair.run(status(&mut call)).code(), Code::Internal, "{path} {bytes:?}");
        }
    }
    let mut call = start(&pair, "/grpc.health.v1.Health/Check", MethodKind::UNARY);
    call.send_message(Bytes::from_static(b"\x0a\x02\xc3\x28")).unwrap();
    call.half_close();
    assert_eq!(pair.run(status(&mut call)).code(), Code::Internal, "a name that is not UTF-8");
}

#[test]
fn the_services_are_registered_once() {
    let pair = Pair::new();
    let _health = Health::new(&pair.server).unwrap();
    assert!(Health::new(&pair.server).is_err());
    pair.server.register("grpc.reflection.v1alpha.ServerReflection", Vec::new()).unwrap();
    assert!(Reflection::new(&pair.server, demo()).is_err());
    let services = pair.server.services();
    assert_eq!(services, ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]);
}

fn start(pair: &Pair, path: &str, kind: MethodKind) -> Call {
    Call::new(
        &pair.channel,
        &Method::new(path, kind).unwrap(),
        Metadata::new(),
        CallOptions::default(),
    )
}

async fn status(call: &mut Call) -> Status {
    loop {
        if let ClientEvent::Status(status, _) =
            poll_fn(|cx| call.poll_event(cx)).await.expect("a status")
        {
            return status;
        }
    }
}

// ---- reflection: the server ----

/// Two packages, an extension, a diamond of imports, and a well-known type.
fn demo() -> Schema {
    Schema::from_source([
        (
            "demo/echo.proto",
            r#"syntax = "proto3"; package demo; import "demo/left.proto"; import "demo/right.proto";
               import "google/protobuf/timestamp.proto";
               message Said { string text = 1; Left left = 2; Right right = 3; google.protobuf.Timestamp at = 4; }
               service Echo { rpc Say(Said) returns (Said); }"#,
        ),
        ("demo/left.proto", r#"syntax = "proto3"; package demo; import "demo/base.proto"; message Left { Base base = 1; }"#),
        ("demo/right.proto", r#"syntax = "proto3"; package demo; import "demo/base.proto"; message Right { Base base = 1; }"#),
        (
            "demo/base.proto",
            r#"syntax = "proto3"; package demo; message Base { enum Sort { SORT_NONE = 0; } oneof one { int32 a = 1; Sort b = 2; } }"#,
        ),
        (
            "old/thing.proto",
            r#"syntax = "proto2"; package old; message Thing { extensions 100 to 200; }
               extend Thing { optional int32 tall = 120; optional int32 wide = 110; } service Things { rpc Get(Thing) returns (Thing); }"#,
        ),
    ])
    .unwrap()
}

/// A conversation with the server, written and read with dynamic messages: another codec than the service's own.
struct Talk<'a> {
    pair: &'a Pair,
    call: Call,
    version: &'static str,
}

impl<'a> Talk<'a> {
    fn new(pair: &'a Pair, version: &'static str) -> Talk<'a> {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        Talk { pair, call: start(pair, &path, MethodKind::BIDI_STREAMING), version }
    }

    fn request(&self, fields: &[(&str, &str)]) -> Message {
        let name = format!("grpc.reflection.{}.ServerReflectionRequest", self.version);
        let mut request = bundled::schema().message(&name).unwrap().new_message();
        for (field, value) in fields {
            request.set_by_name(field, *value).unwrap();
        }
        request
    }

    fn ask(&mut self, field: &str, value: &str) -> Message {
        let request = self.request(&[("host", "h"), (field, value)]);
        self.ask_with(&request)
    }

    fn ask_with(&mut self, request: &Message) -> Message {
        self.call.send_message(request.encode().unwrap().into()).unwrap();
        let answer = self.pair.run(async {
            loop {
                match poll_fn(|cx| self.call.poll_event(cx)).await.expect("an answer") {
                    ClientEvent::Message(message) => return message,
                    ClientEvent::Headers(_) => {}
                    ClientEvent::Status(status, _) => panic!("{status}"),
                }
            }
        });
        let name = format!("grpc.reflection.{}.ServerReflectionResponse", self.version);
        let answer = bundled::schema().message(&name).unwrap().decode(answer).unwrap();
        let (host, original) = (field(&answer, "valid_host"), field(&answer, "original_request"));
        assert_eq!(answer.get(&host), request.get_by_name("host").unwrap());
        assert_eq!(answer.message(&original).unwrap().encode().unwrap(), request.encode().unwrap());
        answer
    }

    /// The names of the files in the answer.
    fn files(&mut self, kind: &str, value: &str) -> Vec<String> {
        files_of(&self.ask(kind, value))
    }

    fn error(&mut self, kind: &str, value: &str) -> (i32, String) {
        let answer = self.ask(kind, value);
        error_of(&answer)
    }
}

fn field(message: &Message, name: &str) -> stubless_codec::Field {
    message.message_type().field(name).unwrap()
}

fn which(answer: &Message) -> String {
    let oneof = answer.message_type().oneof("message_response").unwrap();
    answer.which_oneof(&oneof).map_or(String::new(), |field| field.name().to_owned())
}

fn files_of(answer: &Message) -> Vec<String> {
    assert_eq!(which(answer), "file_descriptor_response");
    let files = answer.message(&field(answer, "file_descriptor_response")).unwrap();
    let list = files.list(&files.message_type().field("file_descriptor_proto").unwrap()).unwrap();
    let name = |value: Value<'_>| match value {
        Value::Bytes(bytes) => Schema::builder().add_file(Bytes::copy_from_slice(bytes)).unwrap(),
        other => panic!("{other:?}"),
    };
    list.iter().map(name).collect()
}

fn error_of(answer: &Message) -> (i32, String) {
    assert_eq!(which(answer), "error_response");
    let error = answer.message(&field(answer, "error_response")).unwrap();
    let ty = error.message_type();
    let code = error.i32(&ty.field("error_code").unwrap()).unwrap();
    (code, error.str(&ty.field("error_message").unwrap()).unwrap().to_owned())
}

#[test]
fn both_versions_list_what_is_registered() {
    let pair = Pair::new();
    let _health = Health::new(&pair.server).unwrap();
    let _reflection = Reflection::new(&pair.server, demo()).unwrap();
    for version in ["v1", "v1alpha"] {
        let mut talk = Talk::new(&pair, version);
        let list = |talk: &mut Talk<'_>| {
            let answer = talk.ask("list_services", "what this says does not matter");
            let list = answer.message(&field(&answer, "list_services_response")).unwrap();
            let services = list.list(&list.message_type().field("service").unwrap()).unwrap();
            let name = |value: Value<'_>| match value {
                Value::Message(one) => {
                    one.str(&one.message_type().field("name").unwrap()).unwrap().to_owned()
                }
                other => panic!("{other:?}"),
            };
            services.iter().map(name).collect::<Vec<_>>()
        };
        let own = [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ];
        assert_eq!(list(&mut talk), own);
        pair.server.register("demo.Echo", Vec::new()).unwrap();
        assert_eq!(list(&mut talk), [&["demo.Echo"][..], &own].concat(), "also on an open stream");
        pair.server.unregister("demo.Echo");
    }
}

#[test]
fn a_file_comes_first_and_its_imports_once_a_stream() {
    let pair = Pair::new();
    let _reflection = Reflection::new(&pair.server, demo()).unwrap();
    let mut talk = Talk::new(&pair, "v1");
    assert_eq!(
        talk.files("file_by_filename", "demo/left.proto"),
        ["demo/left.proto", "demo/base.proto"]
    );
    let all = talk.files("file_containing_symbol", "demo.Echo");
    assert_eq!(
        all,
        ["demo/echo.proto", "demo/right.proto", "google/protobuf/timestamp.proto"],
        "what is known stays out"
    );
    assert_eq!(
        talk.files("file_containing_symbol", "demo.Echo"),
        ["demo/echo.proto"],
        "what is asked for always comes"
    );
    let mut fresh = Talk::new(&pair, "v1alpha");
    assert_eq!(
        fresh.files("file_containing_symbol", "demo.Echo").len(),
        5,
        "another stream knows nothing of it"
    );
}

#[test]
fn every_kind_of_symbol_is_found() {
    let pair = Pair::new();
    let _health = Health::new(&pair.server).unwrap();
    let _reflection = Reflection::new(&pair.server, demo()).unwrap();
    let mut talk = Talk::new(&pair, "v1");
    for (symbol, file) in [
        ("demo.Echo", "demo/echo.proto"),
        ("demo.Echo.Say", "demo/echo.proto"),
        ("demo.Said", "demo/echo.proto"),
        ("demo.Said.text", "demo/echo.proto"),
        ("demo.Base.Sort", "demo/base.proto"),
        ("demo.Base.SORT_NONE", "demo/base.proto"),
        ("demo.Base.one", "demo/base.proto"),
        ("old.tall", "old/thing.proto"),
        ("google.protobuf.Timestamp", "google/protobuf/timestamp.proto"),
        ("grpc.health.v1.Health", "grpc/health/v1/health.proto"),
        ("grpc.health.v1.Health.Watch", "grpc/health/v1/health.proto"),
        ("grpc.reflection.v1alpha.ServerReflection", "grpc/reflection/v1alpha/reflection.proto"),
        ("google.rpc.Status", "google/rpc/status.proto"),
    ] {
        assert_eq!(talk.files("file_containing_symbol", symbol)[0], file, "{symbol}");
    }
    for missing in ["demo.Nothing", "demo", "", ".demo.Echo", "demo.Echo.Say.more", "Echo"] {
        assert_eq!(talk.error("file_containing_symbol", missing).0, 5, "{missing}");
    }
    let (code, text) = talk.error("file_by_filename", "no/such.proto");
    assert_eq!((code, text.as_str()), (5, "file not found: no/such.proto"));
    assert!(
        talk.error("file_by_filename", &"x".repeat(100_000)).1.len() < 400,
        "a long name is not said twice"
    );
    assert_eq!(
        talk.files("file_containing_symbol", "demo.Echo"),
        ["demo/echo.proto"],
        "and the stream goes on"
    );
}

#[test]
fn extensions_are_found_by_number() {
    let pair = Pair::new();
    let _reflection = Reflection::new(&pair.server, demo()).unwrap();
    let mut talk = Talk::new(&pair, "v1");
    let ask = |talk: &mut Talk<'_>, ty: &str, number: i32| {
        let mut request = talk.request(&[]);
        let extension = field(&request, "file_containing_extension");
        let mut inner = request.mutable(&extension).unwrap();
        inner.set_by_name("containing_type", ty).unwrap();
        inner.set_by_name("extension_number", number).unwrap();
        talk.ask_with(&request)
    };
    assert_eq!(files_of(&ask(&mut talk, "old.Thing", 120)), ["old/thing.proto"]);
    for (ty, number) in [("old.Thing", 121), ("old.Thing", -1), ("old.None", 120), ("", 0)] {
        assert_eq!(error_of(&ask(&mut talk, ty, number)).0, 5, "{ty} {number}");
    }
    let answer = talk.ask("all_extension_numbers_of_type", "old.Thing");
    let numbers = answer.message(&field(&answer, "all_extension_numbers_response")).unwrap();
    let ty = numbers.message_type();
    assert_eq!(numbers.str(&ty.field("base_type_name").unwrap()).unwrap(), "old.Thing");
    let list = numbers.list(&ty.field("extension_number").unwrap()).unwrap();
    assert_eq!(list.iter().collect::<Vec<_>>(), [Value::I32(110), Value::I32(120)]);
    assert_eq!(
        which(&talk.ask("all_extension_numbers_of_type", "demo.Said")),
        "all_extension_numbers_response"
    );
    assert_eq!(
        talk.error("all_extension_numbers_of_type", "demo.Echo").0,
        5,
        "a service is no type"
    );
}

#[test]
fn a_new_schema_is_told_on_streams_that_are_open() {
    let pair = Pair::new();
    let reflection = Reflection::new(&pair.server, demo()).unwrap();
    let mut talk = Talk::new(&pair, "v1");
    assert_eq!(talk.files("file_containing_symbol", "demo.Said").len(), 5);
    assert_eq!(talk.error("file_containing_symbol", "new.Thing").0, 5);
    let new = Schema::from_source([
        (
            "new.proto",
            r#"syntax = "proto3"; package new; import "demo/base.proto"; message Thing { demo.Base base = 1; }"#,
        ),
        ("demo/base.proto", r#"syntax = "proto3"; package demo; message Base { string now = 1; }"#),
    ]);
    reflection.set_schema(new.unwrap());
    let files = talk.files("file_containing_symbol", "new.Thing");
    assert_eq!(files, ["new.proto", "demo/base.proto"], "the new base, though an old one was sent");
    assert_eq!(talk.error("file_containing_symbol", "demo.Said").0, 5);
}

#[test]
fn a_question_without_content_ends_the_stream() {
    let pair = Pair::new();
    let _reflection = Reflection::new(&pair.server, demo()).unwrap();
    for (bytes, code) in [
        (&b""[..], Code::InvalidArgument),
        (b"\x0a\x01h", Code::InvalidArgument),
        (b"\x22\x05abc", Code::Internal),
        (b"\x22\x01\xff", Code::Internal),
    ] {
        let mut talk = Talk::new(&pair, "v1");
        assert_eq!(talk.files("file_by_filename", "demo/base.proto"), ["demo/base.proto"]);
        talk.call.send_message(Bytes::from_static(bytes)).unwrap();
        assert_eq!(pair.run(status(&mut talk.call)).code(), code, "{bytes:?}");
    }
    let mut talk = Talk::new(&pair, "v1");
    assert_eq!(talk.files("file_by_filename", "demo/base.proto"), ["demo/base.proto"]);
    talk.call.half_close();
    assert_eq!(pair.run(status(&mut talk.call)).code(), Code::Ok);
}

// ---- reflection: the client ----

#[test]
fn a_schema_is_loaded_from_our_own_server() {
    let pair = Pair::new();
    let _health = Health::new(&pair.server).unwrap();
    let _reflection = Reflection::new(&pair.server, demo()).unwrap();
    pair.server.register("demo.Echo", Vec::new()).unwrap();
    pair.server.register("old.Things", Vec::new()).unwrap();
    let loaded = pair.load().unwrap();
    assert_eq!(loaded.skipped, []);
    assert_eq!(loaded.services, pair.server.services());
    assert!(loaded.schema.method("demo.Echo/Say").is_some());
    assert!(loaded.schema.message("google.protobuf.Timestamp").is_some());
    assert_eq!(loaded.schema.extension_numbers("old.Thing"), Some(vec![110, 120]));
    for name in demo().file_names() {
        assert_eq!(loaded.schema.file_bytes(name), demo().file_bytes(name), "{name}");
    }
}

#[test]
fn a_service_nobody_can_describe_is_skipped_by_name() {
    let pair = Pair::new();
    let _reflection = Reflection::new(&pair.server, demo()).unwrap();
    pair.server.register("demo.Echo", Vec::new()).unwrap();
    pair.server.register("demo.Secret", Vec::new()).unwrap();
    let loaded = pair.load().unwrap();
    assert_eq!(names(&loaded.skipped), ["demo.Secret"]);
    assert_eq!(loaded.skipped[0].1, "NOT_FOUND: symbol not found: demo.Secret");
    assert!(loaded.schema.service("demo.Echo").is_some());
}

#[test]
fn without_reflection_there_is_no_schema() {
    let pair = Pair::new();
    match pair.load().unwrap_err() {
        LoadError::Call(status) => assert_eq!(status.code(), Code::Unimplemented),
        other => panic!("{other}"),
    }
    let channel =
        Channel::new(&pair.rt, "inprocess:nobody-here", ChannelOptions::default()).unwrap();
    let failed = pair.run(load_schema(&channel, Metadata::new(), CallOptions::default()));
    assert_eq!(failed.unwrap_err().code(), Code::Unavailable);
}

/// A peer with habits of its own: answers by a function, `Err` ends the stream.
type Habit = Arc<dyn Fn(&str, &str) -> Result<Vec<(u32, Bytes)>, Status> + Send + Sync>;

fn peer(pair: &Pair, version: &str, habit: Habit) {
    let handler = Arc::new(move |mut call: ServerCall| {
        let (rt, habit) = (call.rt().clone(), habit.clone());
        rt.spawn(async move {
            loop {
                let ServerEvent::Message(message) = poll_fn(|cx| call.poll_event(cx)).await else {
                    return;
                };
                let ty = bundled::schema()
                    .message("grpc.reflection.v1.ServerReflectionRequest")
                    .unwrap();
                let request = ty.decode(message).unwrap();
                let asked = request.which_oneof(&ty.oneof("message_request").unwrap()).unwrap();
                match habit(asked.name(), request.str(&asked).unwrap()) {
                    Ok(fields) => {
                        let mut answer = Vec::new();
                        for (number, body) in fields {
                            put(&mut answer, number, &body);
                        }
                        call.send_message(answer.into()).unwrap();
                    }
                    Err(status) => return call.finish(&status, &Metadata::new()),
                }
            }
        });
    });
    let method = Registration {
        name: "ServerReflectionInfo".into(),
        kind: MethodKind::BIDI_STREAMING,
        handler,
    };
    pair.server
        .register(&format!("grpc.reflection.{version}.ServerReflection"), vec![method])
        .unwrap();
}

fn put(to: &mut Vec<u8>, field: u32, body: &[u8]) {
    let mut varint = |mut value: usize| {
        while value >= 0x80 {
            to.push(value as u8 | 0x80);
            value >>= 7;
        }
        to.push(value as u8);
    };
    varint(field as usize * 8 + 2);
    varint(body.len());
    to.extend_from_slice(body);
}

fn services(names: &[&str]) -> (u32, Bytes) {
    let mut list = Vec::new();
    for name in names {
        let mut one = Vec::new();
        put(&mut one, 1, name.as_bytes());
        put(&mut list, 1, &one);
    }
    (6, list.into())
}

fn files(schema: &Schema, names: &[&str]) -> (u32, Bytes) {
    let mut list = Vec::new();
    for name in names {
        put(&mut list, 1, &schema.file_bytes(name).unwrap());
    }
    (4, list.into())
}

fn not_found(text: &str) -> (u32, Bytes) {
    let mut error = vec![8, 5];
    put(&mut error, 2, text.as_bytes());
    (7, error.into())
}

#[test]
fn a_peer_with_v1alpha_only_that_leaves_well_known_types_out_and_mixes_the_order() {
    let pair = Pair::new();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = asked.clone();
    peer(
        &pair,
        "v1alpha",
        Arc::new(move |kind, value| {
            log.lock().unwrap().push(value.to_owned());
            Ok(vec![match (kind, value) {
                ("list_services", _) => services(&["demo.Echo", "demo.Echo"]),
                // the file asked for comes last, one import comes twice, one not at all
                ("file_containing_symbol", "demo.Echo") => files(
                    &demo(),
                    &["demo/left.proto", "demo/left.proto", "demo/right.proto", "demo/echo.proto"],
                ),
                ("file_by_filename", "demo/base.proto") => files(&demo(), &["demo/base.proto"]),
                (_, missing) => not_found(missing),
            }])
        }),
    );
    let loaded = pair.load().unwrap();
    assert_eq!(
        (loaded.services.as_slice(), loaded.skipped.as_slice()),
        (&["demo.Echo".to_owned()][..], &[][..])
    );
    assert!(
        loaded.schema.message("google.protobuf.Timestamp").is_some(),
        "ours, since the peer has none"
    );
    let mut asked = asked.lock().unwrap().clone();
    asked[2..].sort();
    assert_eq!(asked, ["*", "demo.Echo", "demo/base.proto", "google/protobuf/timestamp.proto"]);
}

#[test]
fn a_peer_that_breaks_the_stream_over_a_question_loses_that_service_only() {
    let pair = Pair::new();
    peer(
        &pair,
        "v1",
        Arc::new(|kind, value| match (kind, value) {
            ("list_services", _) => {
                Ok(vec![services(&["a.Broken", "demo.Echo", "old.Things", "z.Broken"])])
            }
            ("file_containing_symbol", "demo.Echo") => {
                let all = demo();
                let mut names: Vec<&str> = vec!["demo/echo.proto"];
                names.extend(all.transitive_imports("demo/echo.proto"));
                Ok(vec![files(&all, &names)])
            }
            ("file_containing_symbol", "old.Things") => {
                Ok(vec![files(&demo(), &["old/thing.proto"])])
            }
            _ => Err(Status::new(Code::NotFound, "go away")),
        }),
    );
    let loaded = pair.load().unwrap();
    assert_eq!(loaded.services, ["demo.Echo", "old.Things"]);
    assert_eq!(names(&loaded.skipped), ["a.Broken", "z.Broken"]);
    assert_eq!(loaded.skipped[0].1, "the server ended the stream: NOT_FOUND: go away");
}

#[test]
fn files_that_are_missing_broken_or_at_odds_cost_their_services_and_no_others() {
    let odd = Schema::from_source([(
        "odd.proto",
        r#"syntax = "proto3"; package odd; message M {} service S { rpc Do(M) returns (M); }"#,
    )]);
    let twin = Schema::from_source([(
        "twin.proto",
        r#"syntax = "proto3"; package odd; message M {} service T { rpc Do(M) returns (M); }"#,
    )]);
    let (odd, twin) = (odd.unwrap(), twin.unwrap());
    let pair = Pair::new();
    peer(
        &pair,
        "v1",
        Arc::new(move |kind, value| {
            Ok(vec![match (kind, value) {
                ("list_services", _) => {
                    services(&["demo.Echo", "garbage.S", "lying.S", "odd.S", "odd.T", "silent.S"])
                }
                ("file_containing_symbol", "demo.Echo") => files(&demo(), &["demo/echo.proto"]),
                ("file_containing_symbol", "odd.S") => files(&odd, &["odd.proto"]),
                ("file_containing_symbol", "odd.T") => files(&twin, &["twin.proto"]),
                ("file_containing_symbol", "lying.S") => files(&odd, &["odd.proto"]),
                ("file_containing_symbol", "garbage.S") => (4, Bytes::from_static(b"\x0a\x03abc")),
                ("file_containing_symbol", "silent.S") => return Ok(Vec::new()),
                (_, missing) => not_found(missing),
            }])
        }),
    );
    let loaded = pair.load().unwrap();
    assert_eq!(loaded.services, ["odd.S"], "{:?}", loaded.skipped);
    assert_eq!(names(&loaded.skipped), ["demo.Echo", "garbage.S", "lying.S", "odd.T", "silent.S"]);
    let reason =
        |name: &str| &loaded.skipped.iter().find(|(skipped, _)| skipped == name).unwrap().1;
    assert!(reason("demo.Echo").contains("is missing: NOT_FOUND"), "{}", reason("demo.Echo"));
    assert!(reason("odd.T").contains("odd.M"), "{}", reason("odd.T"));
    assert_eq!(reason("garbage.S"), "the answer is no file descriptor");
    assert_eq!(reason("lying.S"), "no file that came declares it");
}

#[test]
fn a_peer_without_end_is_cut_off() {
    let pair = Pair::new();
    // every file imports the next one
    peer(
        &pair,
        "v1",
        Arc::new(|kind, value| {
            Ok(vec![match kind {
                "list_services" => services(&["a.S"]),
                _ => {
                    let number: usize =
                        value.strip_suffix(".proto").unwrap_or("0").parse().unwrap_or(0);
                    let (mut file, mut list) = (Vec::new(), Vec::new());
                    put(&mut file, 1, value.as_bytes());
                    put(&mut file, 3, format!("{}.proto", number + 1).as_bytes());
                    put(&mut list, 1, &file);
                    (4, list.into())
                }
            }])
        }),
    );
    assert_eq!(pair.load().unwrap_err(), LoadError::TooLarge { what: "files", limit: 10_000 });

    let pair = Pair::new();
    let big = Bytes::from(vec![0u8; 3 << 20]);
    peer(
        &pair,
        "v1",
        Arc::new(move |kind, value| {
            Ok(vec![match kind {
                "list_services" => services(
                    &(0..40)
                        .map(|n| &"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqr"[n..n + 3])
                        .collect::<Vec<_>>(),
                ),
                _ => {
                    let (mut file, mut list) = (Vec::new(), Vec::new());
                    put(&mut file, 1, value.as_bytes());
                    put(&mut file, 900, &big);
                    put(&mut list, 1, &file);
                    (4, list.into())
                }
            }])
        }),
    );
    assert_eq!(
        pair.load().unwrap_err(),
        LoadError::TooLarge { what: "bytes of descriptors", limit: 64 << 20 }
    );
}

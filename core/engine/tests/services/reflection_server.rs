//! The reflection service, asked by hand.

use std::future::poll_fn;

use bytes::Bytes;
use stubless_codec::{Message, Schema, Value};
use stubless_engine::call::{ClientEvent, MethodKind};
use stubless_engine::client::Call;
use stubless_engine::services::bundled;
use stubless_engine::services::health::Health;
use stubless_engine::services::reflection::Reflection;
use stubless_engine::status::Code;

use crate::support::{Pair, demo, start, status};

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
        self.call.send_message(request.encode().unwrap()).unwrap();
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
    let accents = format!("x{}", "é".repeat(1000));
    assert!(
        talk.error("file_by_filename", &accents).1.ends_with("éé..."),
        "cut between characters"
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

#[test]
fn a_client_that_does_not_read_is_not_listened_to_either() {
    let pair = Pair::new();
    let _reflection = Reflection::new(&pair.server, demo()).unwrap();
    let mut talk = Talk::new(&pair, "v1");
    let request =
        talk.request(&[("file_by_filename", "x".repeat(100_000).as_str())]).encode().unwrap();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    // every answer repeats its question: a window of 1 MiB each way has room for ten
    let mut asked = 0;
    while talk.call.poll_ready(&mut cx).is_ready() && asked < 1000 {
        talk.call.send_message(request.clone()).unwrap();
        talk.call.drive(&mut cx);
        pair.drive();
        asked += 1;
    }
    assert!((15..40).contains(&asked), "{asked}");
    talk.call.cancel();
    drop(talk);
    pair.drive();
    assert_eq!(pair.server.running_calls(), 0, "a cancel is seen while it waits");
}

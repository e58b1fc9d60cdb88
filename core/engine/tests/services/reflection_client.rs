//! A schema from a live server: ours, and peers with habits of their own.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use stubless_codec::Schema;
use stubless_engine::call::{MethodKind, ServerEvent};
use stubless_engine::client::{CallOptions, Channel, ChannelOptions};
use stubless_engine::metadata::Metadata;
use stubless_engine::server::{Registration, ServerCall};
use stubless_engine::services::bundled;
use stubless_engine::services::health::Health;
use stubless_engine::services::reflection::{LoadError, Reflection, load_schema};
use stubless_engine::status::{Code, Status};

use crate::support::{Pair, demo, names};

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

#[test]
fn a_peer_that_lists_more_than_can_be_held_is_cut_off() {
    let pair = Pair::new();
    peer(
        &pair,
        "v1",
        Arc::new(|kind, _| {
            Ok(vec![match kind {
                // an empty entry each: two bytes on the wire
                "list_services" => (6, Bytes::from([0x0a, 0x00].repeat(10_001))),
                _ => not_found("no"),
            }])
        }),
    );
    assert_eq!(pair.load().unwrap_err(), LoadError::TooLarge { what: "services", limit: 10_000 });

    let pair = Pair::new();
    peer(
        &pair,
        "v1",
        Arc::new(|kind, _| {
            Ok(vec![match kind {
                "list_services" => services(&["a.S"]),
                _ => (4, Bytes::from([0x0a, 0x00].repeat(10_001))),
            }])
        }),
    );
    assert_eq!(pair.load().unwrap_err(), LoadError::TooLarge { what: "files", limit: 10_000 });
}

#[test]
fn a_peer_that_answers_once_a_stream_is_asked_on_many() {
    let pair = Pair::new();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    peer(
        &pair,
        "v1",
        Arc::new(move |kind, value| {
            if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1 {
                return Err(Status::ok());
            }
            Ok(vec![match (kind, value) {
                ("list_services", _) => services(&["demo.Echo", "old.Things"]),
                ("file_containing_symbol", "demo.Echo") => files(&demo(), &["demo/echo.proto"]),
                ("file_containing_symbol", "old.Things") => files(&demo(), &["old/thing.proto"]),
                (_, name) => files(&demo(), &[name]),
            }])
        }),
    );
    let loaded = pair.load().unwrap();
    assert_eq!(loaded.services, ["demo.Echo", "old.Things"], "{:?}", loaded.skipped);
}

#[test]
fn a_peer_that_breaks_every_stream_is_given_up() {
    let pair = Pair::new();
    let names: Vec<String> = (0..40).map(|n| format!("broken.S{n}")).collect();
    peer(
        &pair,
        "v1",
        Arc::new(move |kind, _| match kind {
            "list_services" => {
                Ok(vec![services(&names.iter().map(String::as_str).collect::<Vec<_>>())])
            }
            _ => Err(Status::new(Code::Internal, "boom")),
        }),
    );
    let gave_up = pair.load().unwrap_err();
    assert!(matches!(&gave_up, LoadError::Call(status) if status.message() == "boom"), "{gave_up}");
}

#[test]
fn many_services_at_odds_cost_a_bounded_number_of_attempts() {
    let pair = Pair::new();
    // each file declares the same message beside its own service
    let names: Vec<String> = (0..200).map(|n| format!("odd.S{n}")).collect();
    peer(
        &pair,
        "v1",
        Arc::new(move |kind, value| {
            Ok(vec![match kind {
                "list_services" => services(&names.iter().map(String::as_str).collect::<Vec<_>>()),
                _ => {
                    let name = value.strip_prefix("odd.").unwrap();
                    let file = format!("{name}.proto");
                    let text = format!(
                        "syntax = \"proto3\"; package odd; message M {{}} service {name} {{ rpc Do(M) returns (M); }}"
                    );
                    files(&Schema::from_source([(file.clone(), text)]).unwrap(), &[&file])
                }
            }])
        }),
    );
    let loaded = pair.load().unwrap();
    assert_eq!((loaded.services.len(), loaded.skipped.len()), (1, 199));
    let given_up = "too many services do not fit together";
    assert!(loaded.skipped.iter().any(|(_, reason)| reason == given_up));
    assert!(loaded.skipped.iter().any(|(_, reason)| reason.contains("odd.M")));
}

#[test]
fn a_peer_that_names_things_at_length_is_quoted_in_short() {
    let pair = Pair::new();
    peer(
        &pair,
        "v1",
        Arc::new(|kind, value| {
            let mut file = Vec::new();
            put(&mut file, 1, value.as_bytes());
            put(&mut file, 2, "p".repeat(5000).as_bytes());
            let mut list = Vec::new();
            put(&mut list, 1, &file);
            Ok(vec![match (kind, value) {
                ("list_services", _) => services(&["a.S", "long.Package"]),
                (_, "long.Package") => (4, list.into()),
                _ => not_found(&"x".repeat(1 << 20)),
            }])
        }),
    );
    let loaded = pair.load().unwrap();
    assert_eq!(names(&loaded.skipped), ["a.S", "long.Package"]);
    assert!(loaded.skipped[0].1.len() < 300, "{}", loaded.skipped[0].1.len());
    assert_eq!(loaded.skipped[1].1, "the answer is no file descriptor");
}

#[test]
fn a_weak_import_may_be_missing() {
    let pair = Pair::new();
    peer(
        &pair,
        "v1",
        Arc::new(|kind, _| {
            let text = r#"syntax = "proto2"; package weak; message M {} service S { rpc Do(M) returns (M); }"#;
            let mut file = Schema::from_source([("weak.proto", text)])
                .unwrap()
                .file_bytes("weak.proto")
                .unwrap()
                .to_vec();
            put(&mut file, 3, b"gone.proto");
            file.extend_from_slice(&[11 << 3, 0]);
            let mut list = Vec::new();
            put(&mut list, 1, &file);
            Ok(vec![match kind {
                "list_services" => services(&["weak.S"]),
                "file_containing_symbol" => (4, list.into()),
                _ => panic!("nobody needs it"),
            }])
        }),
    );
    assert_eq!(pair.load().unwrap().services, ["weak.S"]);
}

#[test]
fn the_timeout_is_that_of_the_whole_walk() {
    let pair = Pair::new();
    let (clock, asked) = (pair.clock.clone(), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    peer(
        &pair,
        "v1",
        Arc::new(move |kind, value| {
            // a stream for each question, 40 ms for each stream, and always one more file to ask for
            if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1 {
                clock.advance(std::time::Duration::from_millis(40));
                return Err(Status::ok());
            }
            Ok(vec![match kind {
                "list_services" => services(&["a.S"]),
                _ => {
                    let (mut file, mut list) = (Vec::new(), Vec::new());
                    put(&mut file, 1, value.as_bytes());
                    put(&mut file, 3, format!("{value}+").as_bytes());
                    put(&mut list, 1, &file);
                    (4, list.into())
                }
            }])
        }),
    );
    let options =
        CallOptions { timeout: Some(std::time::Duration::from_millis(100)), ..Default::default() };
    let failed = pair.run(load_schema(&pair.channel, Metadata::new(), options)).unwrap_err();
    assert_eq!(failed.code(), Code::DeadlineExceeded);
    assert!(pair.rt.now() < stubless_engine::rt::Time::from_nanos(200_000_000));
}

#[test]
fn a_peer_that_cannot_describe_the_standard_services_gets_them_described() {
    let pair = Pair::new();
    peer(
        &pair,
        "v1",
        Arc::new(|kind, value| {
            Ok(vec![match kind {
                "list_services" => services(&["grpc.health.v1.Health", "a.S"]),
                _ => not_found(value),
            }])
        }),
    );
    let loaded = pair.load().unwrap();
    assert_eq!(loaded.services, ["grpc.health.v1.Health"]);
    assert!(loaded.schema.method("grpc.health.v1.Health/Watch").is_some());
    assert_eq!(names(&loaded.skipped), ["a.S"]);
}

#[test]
fn of_two_files_with_one_name_the_first_counts_and_a_service_that_came_along_is_not_asked_for() {
    let source = |text: &str| {
        let text = format!("syntax = \"proto3\"; package p; message M {{}} {text}");
        Schema::from_source([("p.proto".to_owned(), text)]).unwrap()
    };
    let first =
        source("service A { rpc First(M) returns (M); } service Z { rpc Do(M) returns (M); }");
    let second = source("service A { rpc Second(M) returns (M); }");
    let pair = Pair::new();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = asked.clone();
    // enough services that the last is asked for after the first was answered
    let all: Vec<String> = ["p.A".to_owned()]
        .into_iter()
        .chain((0..20).map(|n| format!("p.S{n:02}")))
        .chain(["p.Z".to_owned()])
        .collect();
    peer(
        &pair,
        "v1",
        Arc::new(move |kind, value| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(vec![match (kind, value) {
                ("list_services", _) => {
                    services(&all.iter().map(String::as_str).collect::<Vec<_>>())
                }
                (_, "p.A") => files(&first, &["p.proto"]),
                (_, "p.Z") => panic!("its file is there already"),
                _ => files(&second, &["p.proto"]),
            }])
        }),
    );
    let loaded = pair.load().unwrap();
    assert_eq!(loaded.services, ["p.A", "p.Z"]);
    assert!(loaded.schema.method("p.A/First").is_some());
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 22);
}

#[test]
fn a_large_file_comes_through_and_one_with_endless_imports_does_not() {
    let pair = Pair::new();
    peer(
        &pair,
        "v1",
        Arc::new(|kind, value| {
            let text = r#"syntax = "proto3"; package a; message M {} service S { rpc Do(M) returns (M); }"#;
            let mut file = Schema::from_source([("a.proto", text)])
                .unwrap()
                .file_bytes("a.proto")
                .unwrap()
                .to_vec();
            if value == "a.S" {
                // more than the 4 MiB a message usually has
                put(&mut file, 900, &vec![0; 6 << 20]);
            } else {
                file.extend([0x1a, 0x01, b'x'].repeat(10_000));
            }
            let mut list = Vec::new();
            put(&mut list, 1, &file);
            Ok(vec![match kind {
                "list_services" => services(&["a.S", "b.S"]),
                _ => (4, list.into()),
            }])
        }),
    );
    let loaded = pair.load().unwrap();
    assert_eq!(loaded.services, ["a.S"]);
    assert_eq!(loaded.skipped, [("b.S".to_owned(), "the answer is no file descriptor".to_owned())]);
}

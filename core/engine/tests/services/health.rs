//! The health service and its client.

use std::time::Duration;

use bytes::Bytes;
use stubless_engine::call::MethodKind;
use stubless_engine::client::CallOptions;
use stubless_engine::metadata::Metadata;
use stubless_engine::services::health::{self, Health, ServingStatus};
use stubless_engine::services::reflection::Reflection;
use stubless_engine::status::Code;

use crate::support::{Pair, demo, start, status};

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

#[test]
fn a_client_that_does_not_read_is_told_the_latest_when_it_does() {
    let pair = Pair::new();
    let health = Health::new(&pair.server).unwrap();
    let mut watch = pair.watch("");
    assert_eq!(pair.heard(&mut watch), Some(ServingStatus::Serving));
    // more changes than a window of 1 MiB has room for, at seven bytes each
    for n in 0..160_000 {
        let status = if n % 2 == 0 { ServingStatus::NotServing } else { ServingStatus::Serving };
        health.set("", status);
        pair.drive();
    }
    health.set("", ServingStatus::Unknown);
    let (mut heard, mut last) = (0, None);
    while let Some(status) = pair.heard(&mut watch) {
        (heard, last) = (heard + 1, Some(status));
    }
    assert_eq!(last, Some(ServingStatus::Unknown));
    assert!(
        (100_000..=(1 << 20) / 7 + 2).contains(&heard),
        "{heard}: what had no room was replaced"
    );
}

#[test]
fn health_that_comes_after_the_shutdown_is_not_serving() {
    let pair = Pair::new();
    pair.server.shutdown(Duration::from_secs(60));
    let health = Health::new(&pair.server).unwrap();
    assert_eq!(health.status(""), Some(ServingStatus::NotServing));
    health.set("", ServingStatus::Serving);
    assert_eq!(health.status(""), Some(ServingStatus::NotServing));
}

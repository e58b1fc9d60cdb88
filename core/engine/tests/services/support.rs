//! A server and a channel to it, and what they talk about.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use stubless_codec::Schema;
use stubless_engine::call::{ClientEvent, MethodKind};
use stubless_engine::client::{Call, CallOptions, Channel, ChannelOptions, Method};
use stubless_engine::metadata::Metadata;
use stubless_engine::rt::{Clock, Executor, NoNetwork, Rt, Time};
use stubless_engine::server::listener::Security;
use stubless_engine::server::{Server, ServerOptions};
use stubless_engine::services::health::{self, ServingStatus};
use stubless_engine::services::reflection::{LoadError, Loaded, load_schema};
use stubless_engine::status::Status;

/// A clock that stands still until a test turns it.
#[derive(Clone, Default)]
pub struct Hands(Arc<AtomicU64>);

impl Hands {
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// A server and a channel to it.
pub struct Pair {
    pub rt: Rt,
    pub server: Server,
    pub channel: Channel,
    pub clock: Hands,
}

impl Pair {
    pub fn new() -> Pair {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("inprocess:services-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let clock = Hands::default();
        let rt = Rt::new(
            Executor::new(Arc::new(|| {})),
            Arc::new(clock.clone()),
            Arc::new(NoNetwork),
            1,
        );
        let server = Server::new(&rt, ServerOptions::default());
        server.listen(&name, Security::default()).unwrap();
        let channel = Channel::new(&rt, &name, ChannelOptions::default()).unwrap();
        Pair { rt, server, channel, clock }
    }

    /// Runs everything until nothing moves any more.
    pub fn drive(&self) {
        for _ in 0..10_000 {
            if !self.rt.executor().run(self.rt.now()) {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// What `future` comes to; it may wait for nothing but the other end.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
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

    pub fn check(&self, service: &str) -> Result<ServingStatus, Status> {
        self.run(health::check(&self.channel, service, Metadata::new(), CallOptions::default()))
    }

    pub fn watch(&self, service: &str) -> health::Watch {
        health::watch(&self.channel, service, Metadata::new(), CallOptions::default())
    }

    /// What the watch hears now; `None`: nothing new.
    pub fn heard(&self, watch: &mut health::Watch) -> Option<ServingStatus> {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            if let Poll::Ready(next) = watch.poll_next(&mut cx) {
                return Some(next.expect("the watch goes on").unwrap());
            }
            self.drive();
        }
        None
    }

    pub fn load(&self) -> Result<Loaded, LoadError> {
        self.run(load_schema(&self.channel, Metadata::new(), CallOptions::default()))
    }
}

pub fn names(all: &[(String, String)]) -> Vec<&str> {
    all.iter().map(|(name, _)| name.as_str()).collect()
}

pub fn start(pair: &Pair, path: &str, kind: MethodKind) -> Call {
    Call::new(
        &pair.channel,
        &Method::new(path, kind).unwrap(),
        Metadata::new(),
        CallOptions::default(),
    )
}

pub async fn status(call: &mut Call) -> Status {
    loop {
        if let ClientEvent::Status(status, _) =
            poll_fn(|cx| call.poll_event(cx)).await.expect("a status")
        {
            return status;
        }
    }
}

/// Two packages, an extension, a diamond of imports, and a well-known type.
pub fn demo() -> Schema {
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

//! The same over HTTP/2: one engine with a keeper serves, another is driven by its blocking caller.

use std::time::Duration;

use stubless_engine::client::{CallOptions, Channel, ChannelOptions};
use stubless_engine::metadata::Metadata;
use stubless_engine::rt::driver::Engine;
use stubless_engine::server::listener::Security;
use stubless_engine::server::{Server, ServerOptions};
use stubless_engine::services::health::{self, Health, ServingStatus};
use stubless_engine::services::reflection::{Reflection, load_schema};

use crate::support::demo;

const LIMIT: Option<Duration> = Some(Duration::from_secs(20));

#[test]
fn health_and_reflection_over_a_socket() {
    let (there, here) = (Engine::new().unwrap(), Engine::new().unwrap());
    there.start_keeper().unwrap();
    let server = Server::new(there.rt(), ServerOptions::default());
    let health = Health::new(&server).unwrap();
    let _reflection = Reflection::new(&server, demo()).unwrap();
    server.register("demo.Echo", Vec::new()).unwrap();
    let port = server.listen("127.0.0.1:0", Security::default()).unwrap();
    let channel =
        Channel::new(here.rt(), &format!("127.0.0.1:{port}"), ChannelOptions::default()).unwrap();

    let check = health::check(&channel, "", Metadata::new(), CallOptions::default());
    assert_eq!(here.block_on(check, LIMIT).unwrap().unwrap(), ServingStatus::Serving);

    let mut watch = health::watch(&channel, "demo.Echo", Metadata::new(), CallOptions::default());
    let mut next = || here.block_on(watch.next(), LIMIT).unwrap().unwrap().unwrap();
    assert_eq!(next(), ServingStatus::ServiceUnknown);
    health.set("demo.Echo", ServingStatus::Serving);
    assert_eq!(next(), ServingStatus::Serving);

    let load = load_schema(&channel, Metadata::new(), CallOptions::default());
    let loaded = here.block_on(load, LIMIT).unwrap().unwrap();
    assert_eq!(loaded.services, server.services());
    assert!(loaded.schema.method("demo.Echo/Say").is_some());

    server.shutdown(Duration::from_secs(3600));
    assert_eq!(next(), ServingStatus::NotServing);
    drop(watch);
    // the watch was all that kept the server: its client's leaving ends the shutdown, and the other engine's thread that
    // sees it wakes this one
    let before = here.rt().now();
    let stopped = std::future::poll_fn(|cx| server.poll_stopped(cx));
    assert!(here.block_on(stopped, LIMIT).is_some());
    assert!(
        here.rt().now().since(before) < LIMIT.unwrap(),
        "it was noticed, not just found at the end of the wait"
    );
    assert!(there.shutdown(Duration::from_secs(5)));
}

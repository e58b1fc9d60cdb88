//! Health and reflection on a command line.
//!
//! ```text
//! services serve [DESCRIPTOR_SET]     prints `port N`; reads `set NAME STATUS`, `clear NAME`, `resume`, `stop` from its input
//! services check TARGET [SERVICE]     the status now
//! services list TARGET                all statuses
//! services watch TARGET [SERVICE]     the status now and after every change
//! services reflect TARGET             the services of a live server and their methods
//! ```

use std::error::Error;
use std::io::BufRead;
use std::time::Duration;

use stubless_codec::Schema;
use stubless_engine::client::{CallOptions, Channel, ChannelOptions};
use stubless_engine::metadata::Metadata;
use stubless_engine::rt::driver::Engine;
use stubless_engine::server::listener::Security;
use stubless_engine::server::{Server, ServerOptions};
use stubless_engine::services::bundled;
use stubless_engine::services::health::{self, Health, ServingStatus};
use stubless_engine::services::reflection::{Reflection, load_schema};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve(bundled::schema().clone()),
        ["serve", set] => serve(Schema::from_descriptor_set(std::fs::read(set)?)?),
        ["check", target] => check(target, ""),
        ["check", target, service] => check(target, service),
        ["list", target] => list(target),
        ["watch", target] => watch(target, ""),
        ["watch", target, service] => watch(target, service),
        ["reflect", target] => reflect(target),
        _ => Err("usage: services serve|check|list|watch|reflect ...".into()),
    }
}

fn serve(schema: Schema) -> Outcome {
    let engine = Engine::new()?;
    engine.start_keeper()?;
    let server = Server::new(engine.rt(), ServerOptions::default());
    let health = Health::new(&server)?;
    // what the schema has is offered, though nothing is behind it here
    for service in schema.services().filter(|service| !service.full_name().starts_with("grpc.")) {
        server.register(service.full_name(), Vec::new())?;
    }
    let _reflection = Reflection::new(&server, schema)?;
    println!("port {}", server.listen("127.0.0.1:0", Security::default())?);
    for line in std::io::stdin().lock().lines() {
        match line?.split_whitespace().collect::<Vec<_>>()[..] {
            ["set", name, status] => {
                health.set(name, ServingStatus::from_name(status).ok_or("no such status")?);
            }
            ["clear", name] => health.clear(name),
            ["resume"] => health.resume(),
            ["stop"] => server.shutdown(Duration::from_secs(10)),
            _ => return Err("set NAME STATUS, clear NAME, resume or stop".into()),
        }
        println!("done");
    }
    server.shutdown(Duration::ZERO);
    engine.shutdown(Duration::from_secs(5));
    Ok(())
}

fn connect(target: &str) -> Result<(Engine, Channel), Box<dyn Error>> {
    let engine = Engine::new()?;
    let channel = Channel::new(engine.rt(), target, ChannelOptions::default())?;
    Ok((engine, channel))
}

fn options() -> CallOptions {
    CallOptions { timeout: Some(Duration::from_secs(10)), ..CallOptions::default() }
}

fn check(target: &str, service: &str) -> Outcome {
    let (engine, channel) = connect(target)?;
    let status =
        engine.block_on(health::check(&channel, service, Metadata::new(), options()), None);
    println!("{}", status.ok_or("closed")??.name());
    Ok(())
}

fn list(target: &str) -> Outcome {
    let (engine, channel) = connect(target)?;
    let all = engine.block_on(health::list(&channel, Metadata::new(), options()), None);
    for (name, status) in all.ok_or("closed")?? {
        println!("{name:?} {}", status.name());
    }
    Ok(())
}

fn watch(target: &str, service: &str) -> Outcome {
    let (engine, channel) = connect(target)?;
    let mut watch = health::watch(&channel, service, Metadata::new(), CallOptions::default());
    while let Some(Some(status)) = engine.block_on(watch.next(), None) {
        println!("{}", status?.name());
    }
    Ok(())
}

fn reflect(target: &str) -> Outcome {
    let (engine, channel) = connect(target)?;
    let loaded = engine.block_on(load_schema(&channel, Metadata::new(), options()), None);
    let loaded = loaded.ok_or("closed")??;
    for name in &loaded.services {
        println!("service {name}");
        for method in loaded.schema.service(name).iter().flat_map(|service| service.methods()) {
            println!(
                "  {} ({}) -> ({})",
                method.name(),
                method.input().full_name(),
                method.output().full_name()
            );
        }
    }
    for (name, reason) in &loaded.skipped {
        println!("skipped {name}: {reason}");
    }
    Ok(())
}

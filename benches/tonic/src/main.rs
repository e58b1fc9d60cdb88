//! tonic under test, with its runtime's defaults. Command line as in loader/src/main.rs: `serve` and `load`.

mod client;
mod messages;
mod server;

use std::error::Error;

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Messages per stream of the workloads `receive` and `send`; the loader's figure.
pub const PER_STREAM: u32 = 5_000;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let (mut target, mut workload, mut inflight, mut payload) =
        (String::new(), String::new(), 1, Vec::new());
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--target" => target = value,
            "--workload" => workload = value,
            "--inflight" => inflight = value.parse()?,
            "--payload" => payload = std::fs::read(value)?,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    match verb.as_str() {
        "serve" => server::serve().await,
        "load" => client::load(&target, &workload, inflight, &payload).await,
        _ => Err("serve or load".into()),
    }
}

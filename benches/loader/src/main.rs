//! The neutral counterpart of every bench: gRPC straight on the h2 crate, one thread, no codec. As a client it drives
//! the server under test, as a server it answers the client under test, in both cases for as little CPU as it can.
//!
//! ```text
//! bench-loader serve                                              prints `ready PORT`
//! bench-loader load --target T --workload W --inflight N --payload FILE
//!                   reads `run SECONDS`, prints `done MESSAGES`   W: unary, order, receive, send
//! bench-loader idle --target T --connections N --streams M        prints `open`, holds them until its input closes
//! ```

mod client;
mod server;

use std::error::Error;

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Messages per stream of the workloads `receive` and `send`.
pub const PER_STREAM: u32 = 5_000;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let mut options = client::Options::default();
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--target" => options.target = value,
            "--workload" => options.workload = value,
            "--inflight" => options.inflight = value.parse()?,
            "--payload" => options.payload = std::fs::read(value)?.into(),
            "--connections" => options.connections = value.parse()?,
            "--streams" => options.streams = value.parse()?,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    match verb.as_str() {
        "serve" => local.block_on(&runtime, server::serve()),
        "load" => local.block_on(&runtime, client::load(options)),
        "idle" => local.block_on(&runtime, client::idle(options)),
        _ => Err("serve, load or idle".into()),
    }
}

/// A message behind its five-byte prefix.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(5 + message.len());
    frame.push(0);
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// Counts whole messages in a stream of DATA that may be cut anywhere.
#[derive(Default)]
pub struct Counter {
    prefix: Vec<u8>,
    missing: usize,
    pub messages: u64,
}

impl Counter {
    pub fn push(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.missing > 0 {
                let taken = self.missing.min(data.len());
                self.missing -= taken;
                data = &data[taken..];
                self.messages += u64::from(self.missing == 0);
                continue;
            }
            let taken = (5 - self.prefix.len()).min(data.len());
            self.prefix.extend_from_slice(&data[..taken]);
            data = &data[taken..];
            if self.prefix.len() == 5 {
                let length = [self.prefix[1], self.prefix[2], self.prefix[3], self.prefix[4]];
                self.missing = u32::from_be_bytes(length) as usize;
                self.prefix.clear();
                self.messages += u64::from(self.missing == 0);
            }
        }
    }
}

/// Sends all of `data` within the peer's window.
pub async fn send_all(
    stream: &mut h2::SendStream<bytes::Bytes>,
    mut data: bytes::Bytes,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = match std::future::poll_fn(|context| stream.poll_capacity(context)).await {
            Some(room) => room?,
            None => return Ok(()),
        };
        if room > 0 {
            stream.send_data(data.split_to(room.min(data.len())), false)?;
        }
    }
    Ok(())
}

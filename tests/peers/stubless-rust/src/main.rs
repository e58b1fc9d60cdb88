//! Ours, the Rust API, behind the peers' command line (tests/peers/README.md).

mod client;
mod service;

use std::error::Error;
use std::path::PathBuf;

use stubless::Schema;

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// `--tls DIR --mtls --identity NAME`: which files of the folder that pki.py wrote are used.
pub struct Tls {
    folder: PathBuf,
    pub mutual: bool,
    pub identity: String,
}

impl Tls {
    pub fn file(&self, name: &str) -> Outcome<Vec<u8>> {
        let path = self.folder.join(name);
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let (mut port, mut target, mut folder) = (0_u16, String::new(), None);
    let (mut mutual, mut identity) = (false, "server".to_owned());
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--port" => port = value()?.parse()?,
            "--target" => target = value()?,
            "--tls" => folder = Some(PathBuf::from(value()?)),
            "--identity" => identity = value()?,
            "--mtls" => mutual = true,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    let tls = folder.map(|folder| Tls { folder, mutual, identity });
    let protos = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
    let schema = Schema::load(["grpc/testing/test.proto", "demo/v1/echo.proto"], [protos])?;
    match verb.as_str() {
        "serve" => service::serve(&schema, port, tls).await,
        "call" => client::run(&schema, &target, tls).await,
        _ => Err("serve or call".into()),
    }
}

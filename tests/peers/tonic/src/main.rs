//! The peer tonic: see tests/peers/README.md for its command line. Messages are dynamic, read from the descriptor set
//! beside the binary, so that no generated code is needed.

mod client;
mod codec;
mod service;

use std::error::Error;
use std::path::{Path, PathBuf};

use prost_reflect::DescriptorPool;

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// `--tls DIR --mtls --identity NAME`: which files of the folder that pki.py wrote are used.
pub struct Tls {
    pub folder: PathBuf,
    pub mutual: bool,
    pub identity: String,
}

impl Tls {
    pub fn file(&self, name: &str) -> Outcome<Vec<u8>> {
        let path = self.folder.join(name);
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    pub fn pair(&self, name: &str) -> Outcome<tonic::transport::Identity> {
        let (certificate, key) =
            (self.file(&format!("{name}.pem"))?, self.file(&format!("{name}.key"))?);
        Ok(tonic::transport::Identity::from_pem(certificate, key))
    }

    pub fn authority(&self) -> Outcome<tonic::transport::Certificate> {
        Ok(tonic::transport::Certificate::from_pem(self.file("ca.pem")?))
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let (mut port, mut target, mut folder) = (0, String::new(), None);
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
    let program = std::env::current_exe()?;
    let schema = program.parent().unwrap_or(Path::new(".")).join("schema.binpb");
    let pool = DescriptorPool::decode(std::fs::read(schema)?.as_slice())?;
    match verb.as_str() {
        "serve" => service::serve(pool, port, tls).await,
        "call" => client::run(pool, &target, tls).await,
        _ => Err("serve or call".into()),
    }
}

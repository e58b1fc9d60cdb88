//! Health and reflection: the standard services, one call each.

use stubless_codec::Schema;
use stubless_engine::metadata::Metadata;
use stubless_engine::services::{health, reflection};

use crate::channel::{Channel, ChannelBuilder, Options};
use crate::error::{Error, RpcError};
use crate::server::Server;

pub use stubless_engine::services::health::{Health, ServingStatus};
pub use stubless_engine::services::reflection::Reflection;

impl Server {
    /// Adds `grpc.health.v1.Health`; the server as a whole (`""`) is SERVING, names are set on what comes back. A shutdown turns
    /// everything NOT_SERVING.
    ///
    /// # Errors
    /// The service is there already.
    pub fn enable_health(&self) -> Result<Health, Error> {
        Ok(Health::new(self.engine())?)
    }

    /// Adds server reflection (v1 and v1alpha) for the schema the server was made with.
    ///
    /// # Errors
    /// The service is there already.
    pub fn enable_reflection(&self) -> Result<Reflection, Error> {
        Ok(Reflection::new(self.engine(), self.schema().clone())?)
    }
}

impl Channel {
    /// Asks the server whether `service` (`""`: the server as a whole) takes calls.
    ///
    /// # Errors
    /// NOT_FOUND: it does not know the name. UNIMPLEMENTED: it has no health service. Otherwise as every call.
    pub async fn health(&self, service: &str, options: Options) -> Result<ServingStatus, Error> {
        let answer = health::check(self.engine(), service, options.metadata, options.call).await;
        answer.map_err(|status| RpcError::from(status).into())
    }
}

impl ChannelBuilder {
    /// Connects and takes the schema from the server's own reflection, instead of the one given to the builder.
    ///
    /// # Errors
    /// The server cannot be reached or has no reflection.
    pub async fn connect_with_reflection(self, options: Options) -> Result<Channel, Error> {
        let channel = self.connect()?;
        let loaded =
            reflection::load_schema(channel.engine(), options.metadata, options.call).await;
        let loaded = loaded.map_err(|error| {
            let status = stubless_engine::status::Status::new(error.code(), error.to_string());
            Error::from(RpcError::from(status))
        })?;
        Ok(channel.with_schema(&loaded.schema))
    }
}

/// The schema of the server at `target` (cleartext), by its reflection. For TLS use [`ChannelBuilder::connect_with_reflection`].
///
/// # Errors
/// The server cannot be reached or has no reflection.
pub async fn reflect(target: &str) -> Result<Schema, Error> {
    let none = Schema::from_descriptor_set(Vec::new())?;
    let channel = Channel::builder(target, &none);
    let options = Options { metadata: Metadata::new(), ..Options::default() };
    Ok(channel.connect_with_reflection(options).await?.schema().clone())
}

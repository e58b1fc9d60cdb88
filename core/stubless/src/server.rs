//! A server: services, addresses, and its end.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use stubless_codec::Schema;
use stubless_engine::compression::Encoding;
use stubless_engine::server::listener::Security;
use stubless_engine::server::{self, ServerInterceptor, ServerOptions};

use crate::error::Error;
use crate::runtime;
use crate::service::Service;
use crate::tls::ServerTls;

/// Serves any number of services on any number of addresses. Cheap to clone; stops by [`Server::shutdown`] or when the last clone is dropped.
#[derive(Clone)]
pub struct Server {
    inner: server::Server,
    schema: Schema,
}

/// Makes a [`Server`].
#[derive(Clone)]
pub struct ServerBuilder {
    schema: Schema,
    options: ServerOptions,
}

impl Server {
    /// A server with default options.
    ///
    /// # Errors
    /// The system gives no poller or thread.
    pub fn new(schema: &Schema) -> Result<Server, Error> {
        Server::builder(schema).build()
    }

    /// A server with options.
    pub fn builder(schema: &Schema) -> ServerBuilder {
        ServerBuilder { schema: schema.clone(), options: ServerOptions::default() }
    }

    /// Adds a service, also while the server runs.
    ///
    /// # Errors
    /// A method the schema does not have or that is of another kind; a service of that name is there already.
    pub fn add(&self, service: Service) -> Result<(), Error> {
        let (name, methods) = service.finish()?;
        Ok(self.inner.register(&name, methods)?)
    }

    /// Removes a service: its calls that run go on, new ones get UNIMPLEMENTED. `false`: there was none.
    pub fn remove(&self, service: &str) -> bool {
        self.inner.unregister(service)
    }

    /// Listens on `address` in cleartext: `host:port` (0 takes a free one), `[::]:port`, `unix:/path`, `unix-abstract:name`,
    /// `inprocess:name`. Gives the port. Serves at once; may be called several times.
    ///
    /// # Errors
    /// The address cannot be listened on; the error says why.
    pub fn listen(&self, address: &str) -> Result<u16, Error> {
        Ok(self.inner.listen(address, Security::default())?)
    }

    /// As [`Server::listen`], with TLS.
    ///
    /// # Errors
    /// As there.
    pub fn listen_tls(&self, address: &str, tls: ServerTls) -> Result<u16, Error> {
        Ok(self.inner.listen(address, Security { tls: Some(tls) })?)
    }

    /// Stops: no new connections or calls, those that run finish within `grace` or are cancelled. Returns when every
    /// connection is closed.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.shutdown(grace);
        poll_fn(|cx| self.inner.poll_stopped(cx)).await;
    }

    /// Waits until a shutdown, begun elsewhere, is complete.
    pub async fn stopped(&self) {
        poll_fn(|cx| self.inner.poll_stopped(cx)).await;
    }

    /// Handlers that have not returned.
    pub fn running_calls(&self) -> usize {
        self.inner.running_calls()
    }

    /// The schema it was made with.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The engine's server below, for handlers in raw bytes.
    pub fn engine(&self) -> &server::Server {
        &self.inner
    }
}

impl ServerBuilder {
    /// Adds an interceptor; the first one added is the outermost.
    pub fn interceptor(mut self, interceptor: impl ServerInterceptor) -> Self {
        self.options.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Compresses responses for clients that read it. Default: not.
    pub fn compression(mut self, encoding: Encoding) -> Self {
        self.options.compression = encoding;
        self
    }

    /// All other options, by the engine's own struct (sizes, concurrency, keepalive, connection age).
    pub fn options(mut self, change: impl FnOnce(&mut ServerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Makes the server. Inside a tokio runtime it lives there, elsewhere on the process's own engine thread.
    ///
    /// # Errors
    /// The system gives no poller or thread.
    pub fn build(self) -> Result<Server, Error> {
        let engine = runtime::engine()?;
        Ok(Server { inner: server::Server::new(engine.rt(), self.options), schema: self.schema })
    }
}

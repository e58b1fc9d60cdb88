//! From a path to its handler. Paths are compared byte for byte and never normalised.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::ServerCall;
use crate::call::MethodKind;
use crate::error::Error;
use crate::status::{Code, Status};

/// Takes calls. Called by a connection's own task: it must return at once and do its work elsewhere.
pub trait Handler: Send + Sync + 'static {
    /// A call has come; its headers are right and its method is registered.
    fn handle(&self, call: ServerCall);
}

impl<F: Fn(ServerCall) + Send + Sync + 'static> Handler for F {
    fn handle(&self, call: ServerCall) {
        self(call);
    }
}

/// One method of a service.
#[derive(Clone)]
pub struct Registration {
    /// Its bare name, as in `SayHello`.
    pub name: String,
    /// How many messages go each way.
    pub kind: MethodKind,
    /// Who takes its calls.
    pub handler: Arc<dyn Handler>,
}

#[derive(Clone)]
pub(crate) struct Route {
    pub kind: MethodKind,
    pub handler: Arc<dyn Handler>,
}

/// The services of a server at one moment.
#[derive(Clone, Default)]
pub(crate) struct Router {
    routes: HashMap<String, Route>,
    services: HashMap<String, Vec<String>>,
    pub fallback: Option<Arc<dyn Handler>>,
}

impl Router {
    pub fn add(&mut self, service: &str, methods: Vec<Registration>) -> Result<(), Error> {
        if service.is_empty() || service.contains('/') {
            return Err(Error::option("service", format!("{service:?} is not package.Service")));
        }
        if self.services.contains_key(service) {
            return Err(Error::option("service", format!("{service:?} is registered already")));
        }
        let mut paths = Vec::with_capacity(methods.len());
        for method in methods {
            let path = format!("/{service}/{}", method.name);
            self.routes.insert(path.clone(), Route { kind: method.kind, handler: method.handler });
            paths.push(path);
        }
        self.services.insert(service.to_owned(), paths);
        Ok(())
    }

    pub fn remove(&mut self, service: &str) -> bool {
        let Some(paths) = self.services.remove(service) else { return false };
        for path in paths {
            self.routes.remove(&path);
        }
        true
    }

    pub fn services(&self) -> Vec<String> {
        let mut names: Vec<_> = self.services.keys().cloned().collect();
        names.sort();
        names
    }

    /// The route of `path`, or the status that says what is missing.
    pub fn find(&self, path: &str) -> Result<Route, Status> {
        if let Some(route) = self.routes.get(path) {
            return Ok(route.clone());
        }
        if let Some(handler) = &self.fallback {
            return Ok(Route { kind: MethodKind::BIDI_STREAMING, handler: handler.clone() });
        }
        let missing = match crate::protocol::grpc::split_path(path) {
            Some((service, method)) if self.services.contains_key(service) => {
                format!("unknown method {method} of service {service}")
            }
            Some((service, _)) => format!("unknown service {service}"),
            None => format!("malformed method name: {path:?} is not /package.Service/Method"),
        };
        Err(Status::new(Code::Unimplemented, missing))
    }
}

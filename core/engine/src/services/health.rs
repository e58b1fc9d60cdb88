//! `grpc.health.v1.Health`: whether a server, or one service of it, takes calls; and its client.
//!
//! The server knows names and their statuses; `""` is the server as a whole. Names and services are not tied to each other:
//! what is set here is what clients see. Spec: gRPC health-checking.md, gRFC A17 (clients), A90 (`List`).

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use slab::Slab;
use stubless_codec::wire::RawValue;

use super::wire::{Unreadable, one_field, only_text, put_bytes, put_i32, read, text};
use super::{answer, method, request, unary, unreadable};
use crate::call::{ClientEvent, MethodKind, ServerEvent};
use crate::client::{Call, CallOptions, Channel, Method};
use crate::error::Error;
use crate::metadata::Metadata;
use crate::rt::lock;
use crate::server::{Server, ServerCall};
use crate::status::{Code, Status};

/// The full name of the service.
pub const SERVICE: &str = "grpc.health.v1.Health";

/// The most entries `List` answers with.
const MAX_LISTED: usize = 100;

/// What is said of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ServingStatus {
    /// Nothing is known; also every number this version has no name for.
    Unknown = 0,
    /// It takes calls.
    Serving = 1,
    /// It takes none.
    NotServing = 2,
    /// Nobody registered the name. Only [`watch`] hears this; to unset a name use [`Health::clear`].
    ServiceUnknown = 3,
}

impl ServingStatus {
    /// The status with this number.
    pub fn from_number(number: i32) -> ServingStatus {
        match number {
            1 => ServingStatus::Serving,
            2 => ServingStatus::NotServing,
            3 => ServingStatus::ServiceUnknown,
            _ => ServingStatus::Unknown,
        }
    }

    /// The name in the `.proto` file, for example `NOT_SERVING`.
    pub const fn name(self) -> &'static str {
        match self {
            ServingStatus::Unknown => "UNKNOWN",
            ServingStatus::Serving => "SERVING",
            ServingStatus::NotServing => "NOT_SERVING",
            ServingStatus::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }

    /// The status with this name, as [`ServingStatus::name`] writes it.
    pub fn from_name(name: &str) -> Option<ServingStatus> {
        (0..4).map(ServingStatus::from_number).find(|status| status.name() == name)
    }

    fn encode(self) -> Bytes {
        let mut message = BytesMut::with_capacity(2);
        put_i32(&mut message, 1, self as i32);
        message.freeze()
    }

    fn decode(message: &[u8]) -> Result<ServingStatus, Unreadable> {
        let mut status = ServingStatus::Unknown;
        read(message, |number, value| {
            if let (1, RawValue::Varint(value)) = (number, value) {
                status = ServingStatus::from_number(value as i32);
            }
            Ok(())
        })?;
        Ok(status)
    }
}

/// A name somebody set, or watches.
#[derive(Default)]
struct Entry {
    status: Option<ServingStatus>,
    watchers: Slab<Waker>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Arc<str>, Entry>,
    /// Everything is NOT_SERVING and stays so.
    stopped: bool,
}

type Shared = Arc<Mutex<State>>;

/// The statuses a server tells. Cheap to clone; any thread may change them.
#[derive(Clone)]
pub struct Health(Shared);

impl Health {
    /// Registers the service on `server`. `""` begins as SERVING, other names are unknown until they are set. When the server's
    /// shutdown begins, everything turns NOT_SERVING.
    ///
    /// # Errors
    /// The server has a service of that name already.
    pub fn new(server: &Server) -> Result<Health, Error> {
        let shared = Shared::default();
        let health = Health(shared.clone());
        health.set("", ServingStatus::Serving);
        let (for_check, for_list, for_watch) = (shared.clone(), shared.clone(), shared);
        server.register(
            SERVICE,
            vec![
                method("Check", MethodKind::UNARY, move |call| {
                    serve_check(for_check.clone(), call)
                }),
                method("List", MethodKind::UNARY, move |call| serve_list(for_list.clone(), call)),
                method("Watch", MethodKind::SERVER_STREAMING, move |call| {
                    serve_watch(for_watch.clone(), call)
                }),
            ],
        )?;
        let stopping = health.clone();
        server.on_shutdown(move || stopping.stop());
        if server.is_stopping() {
            // the shutdown may have begun before it could be told
            health.stop();
        }
        Ok(health)
    }

    /// Says what `service` is from now on ([`ServingStatus::ServiceUnknown`] unsets it). Ignored after [`Health::stop`].
    pub fn set(&self, service: &str, status: ServingStatus) {
        self.change(
            service,
            Some(status).filter(|status| *status != ServingStatus::ServiceUnknown),
        );
    }

    /// Forgets `service`: `Check` answers NOT_FOUND, watchers hear SERVICE_UNKNOWN. Ignored after [`Health::stop`].
    pub fn clear(&self, service: &str) {
        self.change(service, None);
    }

    /// The status of `service`; `None` if nobody set it.
    pub fn status(&self, service: &str) -> Option<ServingStatus> {
        lock(&self.0).entries.get(service)?.status
    }

    /// Turns everything NOT_SERVING and ignores changes until [`Health::resume`]. A server's shutdown does this by itself.
    pub fn stop(&self) {
        self.set_all(true, ServingStatus::NotServing);
    }

    /// Turns everything SERVING again and heeds changes again.
    pub fn resume(&self) {
        self.set_all(false, ServingStatus::Serving);
    }

    fn change(&self, service: &str, status: Option<ServingStatus>) {
        let mut wake = Vec::new();
        {
            let mut state = lock(&self.0);
            if state.stopped {
                return;
            }
            if !state.entries.contains_key(service) {
                state.entries.insert(service.into(), Entry::default());
            }
            if let Some(entry) = state.entries.get_mut(service) {
                entry.status = status;
                entry.take_wakers(&mut wake);
            }
            state.forget_if_unused(service);
        }
        wake.into_iter().for_each(Waker::wake);
    }

    fn set_all(&self, stopped: bool, status: ServingStatus) {
        let mut wake = Vec::new();
        {
            let mut state = lock(&self.0);
            state.stopped = stopped;
            for entry in state.entries.values_mut().filter(|entry| entry.status.is_some()) {
                entry.status = Some(status);
                entry.take_wakers(&mut wake);
            }
        }
        wake.into_iter().for_each(Waker::wake);
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = lock(&self.0);
        let set = state.entries.iter().filter_map(|(name, entry)| Some((name, entry.status?)));
        f.debug_map().entries(set).finish()
    }
}

impl Entry {
    fn take_wakers(&mut self, wake: &mut Vec<Waker>) {
        wake.extend(
            self.watchers
                .iter_mut()
                .map(|(_, waker)| std::mem::replace(waker, Waker::noop().clone())),
        );
    }
}

impl State {
    fn forget_if_unused(&mut self, service: &str) {
        if self
            .entries
            .get(service)
            .is_some_and(|entry| entry.status.is_none() && entry.watchers.is_empty())
        {
            self.entries.remove(service);
        }
    }
}

/// One watcher's place at a name.
struct Watcher {
    shared: Shared,
    service: Arc<str>,
    key: usize,
    /// What it heard last.
    heard: Option<ServingStatus>,
}

impl Watcher {
    fn new(shared: Shared, service: String) -> Watcher {
        let service: Arc<str> = service.into();
        let key = lock(&shared)
            .entries
            .entry(service.clone())
            .or_default()
            .watchers
            .insert(Waker::noop().clone());
        Watcher { shared, service, key, heard: None }
    }

    /// The status, once it is another than the one heard last. What came and went meanwhile is never heard.
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<ServingStatus> {
        let mut state = lock(&self.shared);
        let Some(entry) = state.entries.get_mut(&self.service) else { return Poll::Pending };
        let status = entry.status.unwrap_or(ServingStatus::ServiceUnknown);
        if self.heard == Some(status) {
            if let Some(waker) = entry.watchers.get_mut(self.key) {
                waker.clone_from(cx.waker());
            }
            return Poll::Pending;
        }
        self.heard = Some(status);
        Poll::Ready(status)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        if let Some(entry) = state.entries.get_mut(&self.service) {
            entry.watchers.try_remove(self.key);
        }
        state.forget_if_unused(&self.service);
    }
}

async fn serve_check(shared: Shared, mut call: ServerCall) {
    let Some(message) = request(&mut call).await else { return };
    let status = only_text(&message).map_err(|Unreadable| unreadable()).and_then(|service| {
        let status = lock(&shared).entries.get(service.as_str()).and_then(|entry| entry.status);
        status.ok_or_else(|| Status::new(Code::NotFound, "unknown service"))
    });
    answer(call, status.map(ServingStatus::encode));
}

async fn serve_list(shared: Shared, mut call: ServerCall) {
    let Some(message) = request(&mut call).await else { return };
    let list = read(&message, |_, _| Ok(()))
        .map_err(|Unreadable| unreadable())
        .and_then(|()| list_of(&shared));
    answer(call, list);
}

fn list_of(shared: &Shared) -> Result<Bytes, Status> {
    let state = lock(shared);
    let entries: Vec<_> =
        state.entries.iter().filter_map(|(name, entry)| Some((name, entry.status?))).collect();
    if entries.len() > MAX_LISTED {
        let text = format!("there are {} services; a list has at most {MAX_LISTED}", entries.len());
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    let mut list = BytesMut::new();
    for (name, status) in entries {
        let mut entry = BytesMut::with_capacity(name.len() + 8);
        put_bytes(&mut entry, 1, name.as_bytes());
        put_bytes(&mut entry, 2, &status.encode());
        put_bytes(&mut list, 1, &entry);
    }
    Ok(list.freeze())
}

async fn serve_watch(shared: Shared, mut call: ServerCall) {
    let Some(message) = request(&mut call).await else { return };
    let Ok(service) = only_text(&message) else { return answer(call, Err(unreadable())) };
    let mut watcher = Watcher::new(shared, service);
    poll_fn(|cx| {
        loop {
            match call.poll_event(cx) {
                Poll::Ready(ServerEvent::Cancelled(_)) => return Poll::Ready(()),
                Poll::Ready(_) => continue,
                Poll::Pending => {}
            }
            // one status at a time: while it waits for window the newer ones replace each other
            let _ = call.poll_ready(cx);
            if call.queued() > 0 {
                return Poll::Pending;
            }
            let status = std::task::ready!(watcher.poll_change(cx));
            if call.send_message(status.encode()).is_err() {
                return Poll::Ready(());
            }
        }
    })
    .await;
}

/// Asks once whether `service` (`""`: the server) takes calls.
///
/// # Errors
/// NOT_FOUND: the server knows no such name. UNIMPLEMENTED: it has no health service. Otherwise as every call.
pub async fn check(
    channel: &Channel,
    service: &str,
    metadata: Metadata,
    options: CallOptions,
) -> Result<ServingStatus, Status> {
    let response =
        unary(channel, "/grpc.health.v1.Health/Check", name_request(service), metadata, options)
            .await?;
    ServingStatus::decode(&response).map_err(|Unreadable| bad_response())
}

/// All names the server told, with their statuses, sorted.
///
/// # Errors
/// UNIMPLEMENTED: the server has no health service, or one from before 2025. RESOURCE_EXHAUSTED: it has more than 100 names.
pub async fn list(
    channel: &Channel,
    metadata: Metadata,
    options: CallOptions,
) -> Result<Vec<(String, ServingStatus)>, Status> {
    let response =
        unary(channel, "/grpc.health.v1.Health/List", Bytes::new(), metadata, options).await?;
    let mut all = Vec::new();
    read(&response, |number, value| {
        if let (1, RawValue::Length(entry)) = (number, value) {
            let (mut name, mut status) = (String::new(), ServingStatus::Unknown);
            read(entry, |number, value| {
                match (number, value) {
                    (1, RawValue::Length(bytes)) => name = text(bytes)?,
                    (2, RawValue::Length(bytes)) => status = ServingStatus::decode(bytes)?,
                    _ => {}
                }
                Ok(())
            })?;
            all.push((name, status));
        }
        Ok(())
    })
    .map_err(|Unreadable| bad_response())?;
    all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

/// Hears the status of `service` (`""`: the server) now and after every change. Dropping the watch ends it.
pub fn watch(channel: &Channel, service: &str, metadata: Metadata, options: CallOptions) -> Watch {
    let method = Method::new("/grpc.health.v1.Health/Watch", MethodKind::SERVER_STREAMING);
    let call = method.map_err(Status::from).map(|method| {
        let mut call = Call::new(channel, &method, metadata, options);
        // a failure to send comes back as the call's status
        let _ = call.send_message(name_request(service));
        call.half_close();
        call
    });
    Watch { call: Some(call) }
}

/// A running [`watch`].
pub struct Watch {
    /// `None` once its end was told.
    call: Option<Result<Call, Status>>,
}

impl Watch {
    /// The next status; see [`Watch::next`].
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<ServingStatus, Status>>> {
        loop {
            let call = match &mut self.call {
                Some(Ok(call)) => call,
                Some(Err(status)) => {
                    let status = status.clone();
                    self.call = None;
                    return Poll::Ready(Some(Err(status)));
                }
                None => return Poll::Ready(None),
            };
            match std::task::ready!(call.poll_event(cx)) {
                Some(ClientEvent::Headers(_)) => {}
                Some(ClientEvent::Message(message)) => match ServingStatus::decode(&message) {
                    Ok(status) => return Poll::Ready(Some(Ok(status))),
                    Err(Unreadable) => self.call = Some(Err(bad_response())),
                },
                Some(ClientEvent::Status(status, _)) if !status.is_ok() => {
                    self.call = Some(Err(status))
                }
                Some(ClientEvent::Status(..)) | None => self.call = None,
            }
        }
    }

    /// The next status. An error is the last thing but `None`: UNIMPLEMENTED means that the server cannot be watched, which clients
    /// take as healthy. `None`: the server ended the watch.
    pub async fn next(&mut self) -> Option<Result<ServingStatus, Status>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

fn name_request(service: &str) -> Bytes {
    if service.is_empty() { Bytes::new() } else { one_field(1, service.as_bytes()) }
}

fn bad_response() -> Status {
    Status::new(Code::Internal, "the response is no message of the method's type")
}

#[cfg(test)]
mod tests;

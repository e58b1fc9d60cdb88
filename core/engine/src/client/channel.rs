//! A channel: carries out what its balancer and subchannels decide, and gives calls a connection.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use slab::Slab;

use super::connection::{Connection, PING_LIMIT};
use super::options::ChannelOptions;
use crate::channel::balancer::{Action, LoadBalancer, Pick, PickInfo, SubchannelId};
use crate::channel::pick_first::PickFirst;
use crate::channel::resolver::{DnsResolver, FixedResolver, Resolver};
use crate::channel::subchannel::Subchannel;
use crate::channel::{Backoff, Connectivity, Target};
use crate::error::Error;
use crate::rt::{Address, Rt, Sleep, lock};
use crate::status::{Code, Status};
use crate::time::Time;

/// The least time between two look-ups that connection failures ask for.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);

struct Sub {
    machine: Subchannel,
    connection: Option<Connection>,
    attempt: u64,
    since: Time,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Resolving {
    Never,
    Running,
    /// `again`: somebody asked meanwhile.
    Done,
}

struct Core {
    policy: Box<dyn LoadBalancer>,
    subs: Slab<Sub>,
    resolving: Resolving,
    resolve_error: Option<String>,
    resolve_backoff: Backoff,
    resolve_at: Time,
    last_resolved: Time,
    have_addresses: bool,
    reported: Connectivity,
    /// Calls that wait for a connection, and watchers of the state.
    waiters: Vec<Waker>,
    closed: bool,
    /// Since when no call has been open.
    quiet_since: Time,
    keeper: Option<Waker>,
    keeper_running: bool,
}

pub(crate) struct Inner {
    pub rt: Rt,
    pub options: ChannelOptions,
    pub authority: Authority,
    pub user_agent: HeaderValue,
    target: String,
    resolver: Arc<dyn Resolver>,
    core: Mutex<Core>,
    pub(super) calls: AtomicUsize,
    /// Doubled each time a server says that we ping too often.
    keepalive_factor: AtomicU32,
}

/// A logical connection to a target: any number of threads may start calls on it. Cheap to clone; the connections end
/// when the last clone and the last call are gone, or by [`Channel::close`].
#[derive(Clone)]
pub struct Channel(pub(crate) Arc<Inner>);

impl Channel {
    /// A channel to `target`; it connects when the first call needs it.
    ///
    /// # Errors
    /// The target, authority or user agent cannot be used; the error names it.
    pub fn new(rt: &Rt, target: &str, options: ChannelOptions) -> Result<Channel, Error> {
        let parsed = Target::parse(target, &[]).map_err(|e| Error::option("target", e))?;
        let authority = options.authority.clone().unwrap_or_else(|| parsed.authority());
        let resolver: Arc<dyn Resolver> = match parsed {
            Target::Dns { host, port, .. } => match host.parse() {
                Ok(ip) => {
                    Arc::new(FixedResolver(vec![Address::Tcp(std::net::SocketAddr::new(ip, port))]))
                }
                Err(_) => Arc::new(DnsResolver { host, port }),
            },
            Target::Addresses(addresses) => Arc::new(FixedResolver(addresses)),
            Target::Other { scheme, .. } => {
                return Err(Error::option(
                    "target",
                    format!("{target:?}: nothing resolves the scheme {scheme:?}"),
                ));
            }
        };
        Channel::with_parts(
            rt,
            target,
            &authority,
            resolver,
            Box::new(PickFirst::default()),
            options,
        )
    }

    /// A channel of its own name system and policy.
    ///
    /// # Errors
    /// The authority or user agent cannot be used.
    pub fn with_parts(
        rt: &Rt,
        target: &str,
        authority: &str,
        resolver: Arc<dyn Resolver>,
        policy: Box<dyn LoadBalancer>,
        options: ChannelOptions,
    ) -> Result<Channel, Error> {
        let authority = Authority::try_from(authority)
            .map_err(|_| Error::option("authority", format!("{authority:?} is not host[:port]")))?;
        let own = concat!("grpc-stubless/", env!("CARGO_PKG_VERSION"));
        let user_agent = match &options.user_agent {
            Some(prefix) => HeaderValue::try_from(format!("{prefix} {own}")).map_err(|_| {
                Error::option(
                    "user_agent",
                    format!("{prefix:?} has characters a header cannot carry"),
                )
            })?,
            None => HeaderValue::from_static(own),
        };
        let core = Core {
            policy,
            subs: Slab::new(),
            resolving: Resolving::Never,
            resolve_error: None,
            resolve_backoff: Backoff::new(options.backoff),
            resolve_at: Time::NEVER,
            last_resolved: Time::ZERO,
            have_addresses: false,
            reported: Connectivity::Idle,
            waiters: Vec::new(),
            closed: false,
            quiet_since: rt.now(),
            keeper: None,
            keeper_running: false,
        };
        Ok(Channel(Arc::new(Inner {
            rt: rt.clone(),
            options,
            authority,
            user_agent,
            target: target.to_owned(),
            resolver,
            core: Mutex::new(core),
            calls: AtomicUsize::new(0),
            keepalive_factor: AtomicU32::new(1),
        })))
    }

    /// The target as given.
    pub fn target(&self) -> &str {
        &self.0.target
    }

    /// The runtime it lives on.
    pub fn rt(&self) -> &Rt {
        &self.0.rt
    }

    /// The options it was made with.
    pub fn options(&self) -> &ChannelOptions {
        &self.0.options
    }

    /// The state now; `try_to_connect` leaves IDLE.
    pub fn state(&self, try_to_connect: bool) -> Connectivity {
        let mut core = lock(&self.0.core);
        if try_to_connect {
            self.0.leave_idle(&mut core);
        }
        core.state()
    }

    /// Waits until the state is another than `known`.
    pub fn poll_state_change(
        &self,
        cx: &mut Context<'_>,
        known: Connectivity,
    ) -> Poll<Connectivity> {
        let mut core = lock(&self.0.core);
        let state = core.state();
        if state != known {
            return Poll::Ready(state);
        }
        core.wait(cx);
        Poll::Pending
    }

    /// Makes the next attempts come at once instead of after their backoff.
    pub fn reset_backoff(&self) {
        let mut core = lock(&self.0.core);
        core.subs.iter_mut().for_each(|(_, sub)| sub.machine.reset_backoff());
        core.resolve_backoff.reset();
        if core.resolve_at != Time::NEVER {
            core.resolve_at = Time::ZERO;
        }
        self.0.wake_keeper(&mut core);
    }

    /// Closes the channel: calls that wait end with UNAVAILABLE, open ones finish on their connections, then those close.
    pub fn close(&self) {
        let mut core = lock(&self.0.core);
        core.closed = true;
        for (_, sub) in &mut core.subs {
            if let Some(connection) = sub.connection.take() {
                connection.drain();
            }
        }
        core.subs.clear();
        core.changed();
        self.0.wake_keeper(&mut core);
    }

    /// A connection for one call, by the policy.
    pub(crate) fn poll_pick(
        &self,
        cx: &mut Context<'_>,
        path: &str,
        wait_for_ready: bool,
    ) -> Poll<Result<Connection, Status>> {
        let inner = &self.0;
        let mut core = lock(&inner.core);
        loop {
            if core.closed {
                return Poll::Ready(Err(Status::new(Code::Unavailable, "the channel is closed")));
            }
            inner.leave_idle(&mut core);
            let pick = match (&core.resolve_error, core.have_addresses) {
                (Some(error), false) => Pick::Fail(error.clone()),
                (_, true) => core.policy.pick(&PickInfo { path }),
                (None, false) => Pick::Queue,
            };
            match pick {
                Pick::Subchannel(id) => {
                    match core.subs.get(id).and_then(|sub| sub.connection.clone()) {
                        Some(connection) if !connection.is_done() => {
                            return Poll::Ready(Ok(connection));
                        }
                        Some(_) => {
                            // told to go away, and its own end has not come round yet: leave it now
                            let attempt = core.subs[id].attempt;
                            inner.disconnected(
                                &mut core,
                                id,
                                attempt,
                                "the server is going away".into(),
                            );
                        }
                        None => {
                            core.wait(cx);
                            return Poll::Pending;
                        }
                    }
                }
                Pick::Fail(text) if !wait_for_ready => {
                    return Poll::Ready(Err(Status::new(Code::Unavailable, text)));
                }
                Pick::Queue | Pick::Fail(_) => {
                    core.wait(cx);
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Core {
    fn state(&self) -> Connectivity {
        if self.closed {
            return Connectivity::Shutdown;
        }
        match (self.have_addresses, &self.resolve_error, self.resolving) {
            (true, ..) => self.policy.state(),
            (false, Some(_), _) => Connectivity::TransientFailure,
            (false, None, Resolving::Never) => Connectivity::Idle,
            (false, None, _) => Connectivity::Connecting,
        }
    }

    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiters.iter().any(|waker| waker.will_wake(cx.waker())) || self.waiters.len() > 64
        {
            self.waiters.push(cx.waker().clone());
        }
    }

    /// Something happened: whoever waits looks again.
    fn changed(&mut self) {
        self.reported = self.state();
        for waker in self.waiters.drain(..) {
            waker.wake();
        }
    }
}

impl Inner {
    pub(super) fn note_quiet(&self) {
        lock(&self.core).quiet_since = self.rt.now();
    }

    fn leave_idle(self: &Arc<Self>, core: &mut Core) {
        if core.closed {
            return;
        }
        if core.resolving == Resolving::Never {
            self.resolve(core);
        }
        if core.have_addresses && core.policy.state() == Connectivity::Idle {
            core.policy.exit_idle(self.rt.now());
            self.act(core);
        }
        self.start_keeper(core);
    }

    fn resolve(self: &Arc<Self>, core: &mut Core) {
        core.resolving = Resolving::Running;
        core.resolve_at = Time::NEVER;
        let weak = Arc::downgrade(self);
        let found = self.resolver.resolve(&self.rt);
        self.rt.spawn(async move {
            let result = found.await;
            let Some(inner) = weak.upgrade() else { return };
            let now = inner.rt.now();
            let mut core = lock(&inner.core);
            core.resolving = Resolving::Done;
            core.last_resolved = now;
            match result {
                Ok(resolution) => {
                    core.resolve_error = None;
                    core.resolve_backoff.reset();
                    core.have_addresses = true;
                    core.policy.update(&resolution.endpoints, now);
                    if core.policy.state() == Connectivity::Idle
                        && inner.calls.load(Ordering::Acquire) > 0
                    {
                        core.policy.exit_idle(now);
                    }
                    inner.act(&mut core);
                }
                Err(error) => {
                    core.resolve_error = Some(error);
                    let random = inner.random();
                    core.resolve_backoff.attempt(now, random);
                    core.resolve_at = core.resolve_backoff.retry_at();
                }
            }
            core.changed();
            inner.wake_keeper(&mut core);
        });
    }

    fn random(&self) -> f64 {
        (self.rt.random() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Carries out what the policy wants.
    fn act(self: &Arc<Self>, core: &mut Core) {
        while let Some(action) = core.policy.poll_action() {
            match action {
                Action::Create(address) => {
                    let machine = Subchannel::new(address.clone(), self.options.backoff);
                    let id = core.subs.insert(Sub {
                        machine,
                        connection: None,
                        attempt: 0,
                        since: Time::ZERO,
                    });
                    core.policy.subchannel_created(&address, id);
                }
                Action::Connect(id) => self.connect(core, id),
                Action::Remove(id) => {
                    if let Some(sub) = core.subs.try_remove(id)
                        && let Some(connection) = sub.connection
                    {
                        connection.drain();
                    }
                }
                Action::ResolveAgain => {
                    if core.resolving == Resolving::Done && !self.resolver.is_fixed() {
                        let at = core.last_resolved + RESOLVE_INTERVAL;
                        core.resolve_at = core.resolve_at.min(at);
                    }
                }
            }
        }
        self.wake_keeper(core);
    }

    fn connect(self: &Arc<Self>, core: &mut Core, id: SubchannelId) {
        let now = self.rt.now();
        let random = self.random();
        let Some(sub) = core.subs.get_mut(id) else { return };
        let Some((attempt, until)) = sub.machine.connect(now, random) else { return };
        sub.attempt = attempt;
        let address = sub.machine.address().clone();
        core.policy.subchannel_changed(id, Connectivity::Connecting, "", now);
        core.changed();
        let weak = Arc::downgrade(self);
        let (rt, authority) = (self.rt.clone(), self.authority.clone());
        let mut options = self.options.clone();
        let factor = self.keepalive_factor.load(Ordering::Acquire);
        options.keepalive.time = options.keepalive.time.map(|time| time.saturating_mul(factor));
        self.rt.spawn(async move {
            let connecting = super::connect::connect(&rt, &address, &options, &authority, {
                let weak = weak.clone();
                move |reason| {
                    if let Some(inner) = weak.upgrade() {
                        let mut core = lock(&inner.core);
                        inner.disconnected(&mut core, id, attempt, reason);
                    }
                }
            });
            let result =
                crate::rt::until(rt.sleep_until(until), connecting).await.unwrap_or_else(|| {
                    Err(format!("connecting to {address} took longer than {:?}", until.since(now)))
                });
            if let Some(inner) = weak.upgrade() {
                inner.connected(id, attempt, result);
            }
        });
    }

    fn connected(
        self: &Arc<Self>,
        id: SubchannelId,
        attempt: u64,
        result: Result<Connection, String>,
    ) {
        let now = self.rt.now();
        let mut core = lock(&self.core);
        let closed = core.closed;
        let Some(sub) = core.subs.get_mut(id).filter(|_| !closed) else {
            if let Ok(connection) = result {
                connection.drain();
            }
            return;
        };
        let (state, error) = match result {
            Ok(connection) if sub.machine.connected(attempt) => {
                sub.connection = Some(connection);
                sub.since = now;
                (Connectivity::Ready, String::new())
            }
            Ok(connection) => {
                connection.drain();
                return;
            }
            Err(error) if sub.machine.failed(attempt, error.clone()) => {
                log::debug!(target: "stubless", "{}: {error}", sub.machine.address());
                (Connectivity::TransientFailure, error)
            }
            Err(_) => return,
        };
        core.policy.subchannel_changed(id, state, &error, now);
        self.act(&mut core);
        core.changed();
    }

    fn disconnected(
        self: &Arc<Self>,
        core: &mut Core,
        id: SubchannelId,
        attempt: u64,
        error: String,
    ) {
        let now = self.rt.now();
        let Some(sub) = core.subs.get_mut(id).filter(|sub| sub.attempt == attempt) else { return };
        let useful = sub.connection.as_ref().is_none_or(|c| c.was_useful(now.since(sub.since)));
        if let Some(connection) = sub.connection.take() {
            if connection.pinged_too_often() {
                let before = self.keepalive_factor.load(Ordering::Acquire);
                self.keepalive_factor
                    .store(before.saturating_mul(2).min(PING_LIMIT), Ordering::Release);
                log::warn!(target: "stubless", "{}: the server finds our PINGs too many; keepalive_time is doubled", self.target);
            }
            connection.drain();
        }
        if !sub.machine.disconnected(attempt, error.clone(), useful) {
            return;
        }
        let state = sub.machine.state();
        core.policy.subchannel_changed(id, state, &error, now);
        self.act(core);
        core.changed();
    }

    fn wake_keeper(&self, core: &mut Core) {
        if let Some(waker) = &core.keeper {
            waker.wake_by_ref();
        }
    }

    /// The channel's own task: backoffs, balancer timers, look-ups and the idle timeout.
    fn start_keeper(self: &Arc<Self>, core: &mut Core) {
        if core.keeper_running {
            return;
        }
        core.keeper_running = true;
        let weak = Arc::downgrade(self);
        let mut timer = self.rt.sleep_until(Time::NEVER);
        self.rt.spawn(std::future::poll_fn(move |cx| keep(&weak, &mut timer, cx)));
    }

    fn handle_time(self: &Arc<Self>, core: &mut Core, now: Time) {
        let over: Vec<SubchannelId> = core
            .subs
            .iter_mut()
            .filter_map(|(id, sub)| sub.machine.handle_time(now).then_some(id))
            .collect();
        let mut acted = !over.is_empty();
        for id in over {
            core.policy.subchannel_changed(id, Connectivity::Idle, "", now);
        }
        if core.policy.next_deadline() <= now {
            core.policy.handle_time(now);
            acted = true;
        }
        if acted {
            self.act(core);
            core.changed();
        }
        if core.resolve_at <= now && core.resolving != Resolving::Running {
            self.resolve(core);
        }
        if self.idle_at(core) <= now {
            self.go_idle(core);
        }
    }

    fn idle_at(&self, core: &Core) -> Time {
        let quiet = self.calls.load(Ordering::Acquire) == 0;
        match self.options.idle_timeout {
            Some(after) if quiet && core.have_addresses && !core.subs.is_empty() => {
                core.quiet_since + after
            }
            _ => Time::NEVER,
        }
    }

    fn go_idle(self: &Arc<Self>, core: &mut Core) {
        let now = self.rt.now();
        let ready: Vec<(SubchannelId, u64)> = core
            .subs
            .iter()
            .filter(|(_, sub)| sub.connection.is_some())
            .map(|(id, sub)| (id, sub.attempt))
            .collect();
        for (id, attempt) in ready {
            self.disconnected(core, id, attempt, "idle".into());
        }
        core.quiet_since = now;
    }

    fn next_deadline(&self, core: &Core) -> Time {
        let subs = core
            .subs
            .iter()
            .map(|(_, sub)| sub.machine.next_deadline())
            .min()
            .unwrap_or(Time::NEVER);
        let resolve =
            if core.resolving == Resolving::Running { Time::NEVER } else { core.resolve_at };
        subs.min(core.policy.next_deadline()).min(resolve).min(self.idle_at(core))
    }
}

fn keep(weak: &Weak<Inner>, timer: &mut Sleep, cx: &mut Context<'_>) -> Poll<()> {
    use std::pin::Pin;
    loop {
        let Some(inner) = weak.upgrade() else { return Poll::Ready(()) };
        let mut core = lock(&inner.core);
        if core.closed {
            core.keeper = None;
            return Poll::Ready(());
        }
        match &mut core.keeper {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        inner.handle_time(&mut core, inner.rt.now());
        timer.reset(inner.next_deadline(&core));
        drop(core);
        if Pin::new(&mut *timer).poll(cx).is_pending() {
            return Poll::Pending;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let core = self.core.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (_, sub) in &mut core.subs {
            if let Some(connection) = sub.connection.take() {
                connection.drain();
            }
        }
        if let Some(keeper) = core.keeper.take() {
            keeper.wake();
        }
    }
}

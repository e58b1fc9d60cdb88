//! Which subchannel a call takes: the seam a load balancing policy implements.

use super::address::Address;
use super::connectivity::Connectivity;
use super::resolver::Endpoint;
use crate::time::Time;

/// A subchannel's number within its channel.
pub type SubchannelId = usize;

/// What a policy knows of the call it picks for.
#[derive(Debug, Clone, Copy)]
pub struct PickInfo<'a> {
    /// `/package.Service/Method`.
    pub path: &'a str,
}

/// A policy's answer for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// Take this subchannel; if it is not ready any more the call waits for the next answer.
    Subchannel(SubchannelId),
    /// Wait: something is on its way.
    Queue,
    /// Fail with UNAVAILABLE and this text, unless the call waits for ready.
    Fail(String),
}

/// What a policy wants its channel to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a subchannel for the address; [`LoadBalancer::subchannel_created`] tells its number.
    Create(Address),
    /// Connect it if it is idle.
    Connect(SubchannelId),
    /// It is not needed any more; its calls finish.
    Remove(SubchannelId),
    /// Look the names up again.
    ResolveAgain,
}

/// A load balancing policy: told what happens, asked what to do. It has no clock and no sockets of its own.
pub trait LoadBalancer: Send + 'static {
    /// New backends from the resolver.
    fn update(&mut self, endpoints: &[Endpoint], now: Time);
    /// The subchannel asked for by [`Action::Create`].
    fn subchannel_created(&mut self, address: &Address, id: SubchannelId);
    /// A subchannel changed; `error` says why it failed or ended.
    fn subchannel_changed(&mut self, id: SubchannelId, state: Connectivity, error: &str, now: Time);
    /// A call came, or the user asked to connect, while the policy was idle.
    fn exit_idle(&mut self, now: Time);
    /// When [`LoadBalancer::handle_time`] wants to be called.
    fn next_deadline(&self) -> Time {
        Time::NEVER
    }
    /// The time has come.
    fn handle_time(&mut self, _now: Time) {}
    /// The next thing to do, until there is none.
    fn poll_action(&mut self) -> Option<Action>;
    /// The channel's state.
    fn state(&self) -> Connectivity;
    /// A subchannel for one call.
    fn pick(&mut self, call: &PickInfo<'_>) -> Pick;
}

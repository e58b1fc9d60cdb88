//! The policy `pick_first`: the first address that answers takes all calls (gRFC A62, A61).
//!
//! Addresses are tried in order, families interleaved (RFC 8305); the next one starts when the one before failed or has
//! not answered for 250 ms. When all have failed the channel is in TRANSIENT_FAILURE until one answers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::address::Address;
use super::balancer::{Action, LoadBalancer, Pick, PickInfo, SubchannelId};
use super::connectivity::Connectivity;
use super::resolver::Endpoint;
use crate::time::Time;

/// How long one address may keep the next one waiting.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

struct Candidate {
    address: Address,
    id: Option<SubchannelId>,
    state: Connectivity,
    failed: bool,
}

/// See the module.
pub struct PickFirst {
    candidates: Vec<Candidate>,
    state: Connectivity,
    selected: Option<SubchannelId>,
    /// The next candidate to start in this pass.
    next: usize,
    next_at: Time,
    error: String,
    actions: VecDeque<Action>,
}

impl Default for PickFirst {
    fn default() -> Self {
        PickFirst {
            candidates: Vec::new(),
            state: Connectivity::Idle,
            selected: None,
            next: 0,
            next_at: Time::NEVER,
            error: String::new(),
            actions: VecDeque::new(),
        }
    }
}

/// Takes turns between IPv6 and the others, each family in its own order, the family that came first going first.
fn interleave(endpoints: &[Endpoint]) -> Vec<Address> {
    let is_v6 = |address: &Address| matches!(address, Address::Tcp(SocketAddr::V6(_)));
    let mut unique: Vec<Address> = Vec::new();
    for address in endpoints.iter().flat_map(|endpoint| &endpoint.addresses) {
        if !unique.contains(address) {
            unique.push(address.clone());
        }
    }
    let first_is_v6 = unique.first().is_some_and(is_v6);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        unique.into_iter().partition(|address| is_v6(address) == first_is_v6);
    let mut order = Vec::with_capacity(first.len() + second.len());
    while !first.is_empty() || !second.is_empty() {
        order.extend(first.pop_front());
        order.extend(second.pop_front());
    }
    order
}

impl PickFirst {
    fn start_pass(&mut self, now: Time) {
        self.state = match self.state {
            Connectivity::TransientFailure => Connectivity::TransientFailure,
            _ => Connectivity::Connecting,
        };
        self.next = 0;
        self.candidates.iter_mut().for_each(|c| c.failed = false);
        self.start_next(now);
    }

    fn start_next(&mut self, now: Time) {
        let Some(candidate) = self.candidates.get(self.next) else {
            self.next_at = Time::NEVER;
            return;
        };
        self.next += 1;
        self.next_at =
            if self.next < self.candidates.len() { now + ATTEMPT_DELAY } else { Time::NEVER };
        match candidate.id {
            Some(id) if candidate.state == Connectivity::Idle => {
                self.actions.push_back(Action::Connect(id))
            }
            Some(_) => {}
            None => self.actions.push_back(Action::Create(candidate.address.clone())),
        }
    }

    fn skip_failed(&mut self) {
        while self.candidates.get(self.next).is_some_and(|c| c.failed) {
            self.next += 1;
        }
    }

    fn candidate(&mut self, id: SubchannelId) -> Option<&mut Candidate> {
        self.candidates.iter_mut().find(|c| c.id == Some(id))
    }

    fn select(&mut self, id: SubchannelId) {
        self.selected = Some(id);
        self.state = Connectivity::Ready;
        self.next_at = Time::NEVER;
        for candidate in &mut self.candidates {
            if candidate.id != Some(id)
                && let Some(other) = candidate.id.take()
            {
                candidate.state = Connectivity::Idle;
                self.actions.push_back(Action::Remove(other));
            }
        }
    }
}

impl LoadBalancer for PickFirst {
    fn update(&mut self, endpoints: &[Endpoint], now: Time) {
        let mut old = std::mem::take(&mut self.candidates);
        for address in interleave(endpoints) {
            let known = old.iter().position(|c| c.address == address).map(|at| old.swap_remove(at));
            self.candidates.push(known.unwrap_or(Candidate {
                address,
                id: None,
                state: Connectivity::Idle,
                failed: false,
            }));
        }
        for gone in old.into_iter().filter_map(|c| c.id) {
            self.actions.push_back(Action::Remove(gone));
            if self.selected == Some(gone) {
                self.selected = None;
                self.state = Connectivity::Idle;
            }
        }
        if self.candidates.is_empty() {
            self.state = Connectivity::TransientFailure;
            self.error = "the name resolver gave no address".into();
        } else if self.selected.is_none() && self.state != Connectivity::Idle {
            self.start_pass(now);
        }
    }

    fn subchannel_created(&mut self, address: &Address, id: SubchannelId) {
        if let Some(candidate) =
            self.candidates.iter_mut().find(|c| c.address == *address && c.id.is_none())
        {
            candidate.id = Some(id);
            self.actions.push_back(Action::Connect(id));
        } else {
            self.actions.push_back(Action::Remove(id));
        }
    }

    fn subchannel_changed(
        &mut self,
        id: SubchannelId,
        state: Connectivity,
        error: &str,
        now: Time,
    ) {
        let Some(candidate) = self.candidate(id) else { return };
        candidate.state = state;
        if state == Connectivity::TransientFailure {
            candidate.failed = true;
        }
        match state {
            Connectivity::Ready => self.select(id),
            Connectivity::TransientFailure => {
                self.error = error.to_owned();
                if self.selected == Some(id) {
                    // a connection that was of no use: report it, and let the others have a try
                    self.selected = None;
                    self.state = Connectivity::Connecting;
                    self.next = 0;
                    self.candidates.iter_mut().for_each(|c| c.failed = c.id == Some(id));
                    self.skip_failed();
                }
                if self.next < self.candidates.len() {
                    self.start_next(now);
                } else if self.candidates.iter().all(|c| c.failed) {
                    let first_time = self.state != Connectivity::TransientFailure;
                    self.state = Connectivity::TransientFailure;
                    if first_time {
                        self.actions.push_back(Action::ResolveAgain);
                    }
                }
            }
            Connectivity::Idle if self.selected == Some(id) => {
                self.selected = None;
                self.state = Connectivity::Idle;
                self.actions.push_back(Action::ResolveAgain);
            }
            // its backoff is over: while all have failed, each is tried again on its own
            Connectivity::Idle if self.state == Connectivity::TransientFailure => {
                self.actions.push_back(Action::Connect(id));
            }
            Connectivity::Idle if self.state == Connectivity::Connecting => {
                self.actions.push_back(Action::Connect(id));
            }
            _ => {}
        }
    }

    fn exit_idle(&mut self, now: Time) {
        if self.state == Connectivity::Idle && !self.candidates.is_empty() {
            self.start_pass(now);
        }
    }

    fn next_deadline(&self) -> Time {
        self.next_at
    }

    fn handle_time(&mut self, now: Time) {
        if now >= self.next_at {
            self.start_next(now);
        }
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn state(&self) -> Connectivity {
        self.state
    }

    fn pick(&mut self, _: &PickInfo<'_>) -> Pick {
        match (self.state, self.selected) {
            (Connectivity::Ready, Some(id)) => Pick::Subchannel(id),
            (Connectivity::TransientFailure, _) => Pick::Fail(self.error.clone()),
            _ => Pick::Queue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(list: &[&str]) -> Vec<Endpoint> {
        list.iter()
            .map(|a| Endpoint { addresses: vec![Address::Tcp(a.parse().expect("an address"))] })
            .collect()
    }

    fn actions(policy: &mut PickFirst) -> Vec<Action> {
        std::iter::from_fn(|| policy.poll_action()).collect()
    }

    /// Plays the channel: creates what is asked for, numbers in order of asking.
    fn settle(policy: &mut PickFirst, ids: &mut usize) -> Vec<SubchannelId> {
        let mut connects = Vec::new();
        while let Some(action) = policy.poll_action() {
            match action {
                Action::Create(address) => {
                    policy.subchannel_created(&address, *ids);
                    *ids += 1;
                }
                Action::Connect(id) => connects.push(id),
                _ => {}
            }
        }
        connects
    }

    const CALL: PickInfo<'static> = PickInfo { path: "/a.B/C" };

    #[test]
    fn families_take_turns() {
        let list = endpoints(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "[::1]:1"]);
        let order: Vec<_> = interleave(&list).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["ipv6:[::1]:1", "ipv4:1.1.1.1:1", "ipv6:[::2]:1", "ipv6:[::3]:1"]);
    }

    #[test]
    fn a_slow_address_keeps_the_next_one_waiting_for_250_ms_and_the_first_answer_wins() {
        let mut policy = PickFirst::default();
        let mut ids = 0;
        policy.update(&endpoints(&["1.0.0.1:1", "1.0.0.2:1"]), Time::ZERO);
        assert_eq!(actions(&mut policy), []);
        policy.exit_idle(Time::ZERO);
        assert_eq!(settle(&mut policy, &mut ids), [0]);
        assert_eq!(policy.pick(&CALL), Pick::Queue);
        policy.subchannel_changed(0, Connectivity::Connecting, "", Time::ZERO);
        assert_eq!(policy.next_deadline(), Time::ZERO + ATTEMPT_DELAY);
        policy.handle_time(Time::ZERO + ATTEMPT_DELAY);
        assert_eq!(settle(&mut policy, &mut ids), [1]);
        policy.subchannel_changed(1, Connectivity::Ready, "", Time::ZERO);
        assert_eq!(actions(&mut policy), [Action::Remove(0)]);
        assert_eq!(policy.pick(&CALL), Pick::Subchannel(1));
    }

    #[test]
    fn when_all_have_failed_calls_fail_until_one_answers() {
        let mut policy = PickFirst::default();
        let (mut ids, now) = (0, Time::ZERO);
        policy.update(&endpoints(&["1.0.0.1:1", "1.0.0.2:1"]), now);
        policy.exit_idle(now);
        settle(&mut policy, &mut ids);
        policy.subchannel_changed(0, Connectivity::TransientFailure, "refused", now);
        assert_eq!(settle(&mut policy, &mut ids), [1]);
        assert_eq!(policy.pick(&CALL), Pick::Queue);
        policy.subchannel_changed(1, Connectivity::TransientFailure, "refused too", now);
        assert_eq!(policy.pick(&CALL), Pick::Fail("refused too".into()));
        assert_eq!(actions(&mut policy), [Action::ResolveAgain]);
        policy.subchannel_changed(0, Connectivity::Idle, "", now);
        assert_eq!(actions(&mut policy), [Action::Connect(0)]);
        policy.subchannel_changed(0, Connectivity::Connecting, "", now);
        assert_eq!(policy.state(), Connectivity::TransientFailure);
        policy.subchannel_changed(0, Connectivity::Ready, "", now);
        assert_eq!(policy.pick(&CALL), Pick::Subchannel(0));
    }

    #[test]
    fn a_lost_connection_makes_the_channel_idle_until_the_next_call() {
        let mut policy = PickFirst::default();
        let (mut ids, now) = (0, Time::ZERO);
        policy.update(&endpoints(&["1.0.0.1:1"]), now);
        policy.exit_idle(now);
        settle(&mut policy, &mut ids);
        policy.subchannel_changed(0, Connectivity::Ready, "", now);
        policy.subchannel_changed(0, Connectivity::Idle, "gone", now);
        assert_eq!(policy.state(), Connectivity::Idle);
        assert_eq!(actions(&mut policy), [Action::ResolveAgain]);
        policy.exit_idle(now);
        assert_eq!(actions(&mut policy), [Action::Connect(0)]);
    }
}

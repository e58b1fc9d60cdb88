//! Name look-ups by the system's resolver, on short-lived threads of their own since it blocks.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::executor::lock;

#[derive(Default)]
struct Answer {
    result: Option<io::Result<Vec<SocketAddr>>>,
    waker: Option<Waker>,
}

/// All addresses of `host`, in the order the system's resolver gives (RFC 6724). IP literals answer at once.
pub async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let answer = Arc::new(Mutex::new(Answer::default()));
    let theirs = answer.clone();
    #[allow(clippy::disallowed_methods, reason = "the system's resolver blocks")]
    std::thread::Builder::new().name("stubless-dns".into()).spawn(move || {
        let result = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        let waker = {
            let mut answer = lock(&theirs);
            answer.result = Some(result);
            answer.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    })?;
    std::future::poll_fn(|cx| {
        let mut answer = lock(&answer);
        match answer.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                answer.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

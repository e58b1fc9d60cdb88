//! Futures on the heap.

use std::future::Future;
use std::pin::Pin;

/// A future on the heap that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

//! What a blocking program needs around [`farebox_core::agent`]: a world with an HTTP client in it, a file that processes
//! can share, and the two keys. Copy it; there is little to it.

mod folder;
mod web;

pub use folder::Folder;
pub use web::{Body, Web};

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Runs a future of an agent whose world is [`Web`]: nothing in it ever waits for anything but the thread itself.
///
/// # Panics
/// If the future waits for something else.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// Why there is no key in a variable of the environment.
#[derive(Debug)]
pub struct NoKey(&'static str);

impl std::fmt::Display for NoKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} must be 64 hexadecimal digits", self.0)
    }
}

impl std::error::Error for NoKey {}

/// The 32 bytes that a variable of the environment holds, in hexadecimal.
///
/// # Errors
/// [`NoKey`].
pub fn secret(variable: &'static str) -> Result<[u8; 32], NoKey> {
    let text = std::env::var(variable).map_err(|_| NoKey(variable))?;
    let text = if text.starts_with("0x") { text } else { format!("0x{text}") };
    farebox_core::crypto::hex::decode_fixed(&text).ok_or(NoKey(variable))
}

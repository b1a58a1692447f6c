//! Memory the host asked for.
//!
//! A host returns bytes by asking the guest for memory, writing there, and naming pointer and length. What was asked
//! for waits in a table, as a `Vec` of its full length, until the host call that needed it takes it. Looking the
//! pointer up costs nothing (there is one entry, rarely two), and makes a wrong pointer or length a [`Status`].

use super::Status;
use std::cell::RefCell;

/// Most bytes given to the host at once. A larger wish is refused: the host call fails, the VM lives.
const MAX: usize = 64 << 20;

/// Most buffers that may wait. Hosts ask for one or two per call; a host that asks without end gets no more.
const WAITING: usize = 16;

thread_local! {
    static ASKED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Gives the host `size` bytes; null if that is absurd or there is no memory.
pub(super) fn give(size: usize) -> *mut u8 {
    if size == 0 || size > MAX {
        return std::ptr::null_mut();
    }
    let mut buffer = Vec::new();
    if buffer.try_reserve_exact(size).is_err() {
        return std::ptr::null_mut();
    }
    buffer.resize(size, 0);
    let start: *mut u8 = buffer.as_mut_ptr();
    ASKED.with_borrow_mut(|asked| {
        if asked.len() >= WAITING {
            asked.clear(); // nobody came for these
        }
        asked.push(buffer);
    });
    start
}

/// Takes what the host says it wrote: `size` bytes at `start`, which must be the start of memory given to it.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))] // natively only tests take
pub(super) fn take(start: *const u8, size: usize) -> Result<Vec<u8>, Status> {
    if start.is_null() || size == 0 {
        return Ok(Vec::new());
    }
    let mut buffer = ASKED
        .with_borrow_mut(|asked| {
            let at = asked.iter().position(|buffer| std::ptr::eq(buffer.as_ptr(), start))?;
            let buffer = asked.swap_remove(at);
            Some(buffer)
        })
        .ok_or(Status::InvalidMemoryAccess)?;
    if size > buffer.len() {
        return Err(Status::InvalidMemoryAccess);
    }
    buffer.truncate(size);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_wishes_are_refused() {
        assert!(give(0).is_null());
        assert!(give(MAX + 1).is_null());
        assert!(give(usize::MAX).is_null());
    }

    #[test]
    fn what_was_given_comes_back_once() {
        let start = give(8);
        assert_eq!(take(start, 5), Ok(vec![0; 5]));
        assert_eq!(take(start, 5), Err(Status::InvalidMemoryAccess));
    }

    #[test]
    fn lies_are_refused() {
        let start = give(8);
        assert_eq!(take(start.wrapping_add(1), 1), Err(Status::InvalidMemoryAccess));
        assert_eq!(take(start, 9), Err(Status::InvalidMemoryAccess));
        assert_eq!(take(std::ptr::null(), 9), Ok(Vec::new()));
        assert_eq!(take(std::ptr::dangling(), 0), Ok(Vec::new()));
    }

    #[test]
    fn buffers_nobody_comes_for_are_bounded() {
        for _ in 0..1000 {
            assert!(!give(4).is_null());
        }
        assert!(ASKED.with_borrow(Vec::len) <= WAITING);
    }
}

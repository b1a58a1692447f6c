//! Credentials that were verified, so that the next request with one costs a comparison.
//!
//! A hit means that this very text was verified, under the keys and rules of this generation. Time, revocation and the
//! holder's proof are for the caller to check each time.

use super::Chain;
use crate::crypto::{siphash, siphash_key};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

/// Verified credentials of one worker, at most so many bytes of them.
#[derive(Debug)]
pub struct Cache {
    key: [u64; 2],
    generation: u64,
    most: usize,
    bytes: usize,
    index: HashMap<u64, usize, BuildHasherDefault<Hashed>>,
    entries: Vec<Entry>,
    hand: usize,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    text: Box<str>,
    chain: Rc<Chain>,
    bytes: usize,
    /// Whether it was asked for since the hand last passed.
    used: bool,
}

/// Bytes that an entry takes beside its text and chain, about.
const OVERHEAD: usize = size_of::<Entry>() + size_of::<(u64, usize)>() * 2;

impl Cache {
    /// An empty cache for `most` bytes. `key` must be random: who knows it can have an entry displaced.
    #[must_use]
    pub fn new(key: [u8; 16], most: usize) -> Self {
        Self {
            key: siphash_key(&key),
            generation: 0,
            most,
            bytes: 0,
            index: HashMap::default(),
            entries: Vec::new(),
            hand: 0,
        }
    }

    /// The chain of `credential`, if it was verified in this `generation` (of keys and policy; any number that changes
    /// with them).
    #[must_use]
    pub fn get(&mut self, credential: &str, generation: u64) -> Option<Rc<Chain>> {
        if generation != self.generation {
            return None;
        }
        let at = *self.index.get(&self.hash(credential))?;
        let entry = self.entries.get_mut(at)?;
        if !same(entry.text.as_bytes(), credential.as_bytes()) {
            return None;
        }
        entry.used = true;
        Some(entry.chain.clone())
    }

    /// Keeps the chain of a `credential` that was just verified under the keys and rules of `generation`. What was
    /// kept under another is dropped; of the rest, what was not asked for lately makes room.
    pub fn put(&mut self, credential: &str, generation: u64, chain: Rc<Chain>) {
        if generation != self.generation {
            self.clear();
            self.generation = generation;
        }
        let bytes = OVERHEAD + credential.len() + chain.weight();
        let hash = self.hash(credential);
        if let Some(at) = self.index.get(&hash).copied() {
            self.remove(at);
        }
        if bytes > self.most {
            return;
        }
        while self.bytes + bytes > self.most {
            self.evict();
        }
        self.index.insert(hash, self.entries.len());
        self.entries.push(Entry { hash, text: credential.into(), chain, bytes, used: false });
        self.bytes += bytes;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.index.clear();
        self.entries.clear();
        self.bytes = 0;
        self.hand = 0;
    }

    /// Bytes in use, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Credentials kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Drops the next entry that was not asked for since the hand last came by.
    fn evict(&mut self) {
        loop {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            match self.entries.get_mut(self.hand) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.hand += 1;
                }
                Some(_) => return self.remove(self.hand),
                None => {
                    self.bytes = 0;
                    return;
                }
            }
        }
    }

    fn remove(&mut self, at: usize) {
        if at >= self.entries.len() {
            return;
        }
        let entry = self.entries.swap_remove(at);
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        self.index.remove(&entry.hash);
        if let Some(moved) = self.entries.get(at) {
            self.index.insert(moved.hash, at);
        }
    }

    /// SipHash of the end of the credential, which is its last signature: no two credentials that verify share it, but
    /// by the doing of one holder, who gains nothing by it.
    fn hash(&self, credential: &str) -> u64 {
        const END: usize = 96;
        let bytes = credential.as_bytes();
        siphash(self.key, bytes.get(bytes.len().saturating_sub(END)..).unwrap_or(bytes))
    }
}

/// Whether two texts are the same: eight bytes at a time, where what WebAssembly links for that takes them one by one.
fn same(a: &[u8], b: &[u8]) -> bool {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    a_rest == b_rest && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| word(a) == word(b))
}

/// Passes on a hash that was made elsewhere.
#[derive(Clone, Copy, Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

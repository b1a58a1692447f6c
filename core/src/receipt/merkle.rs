//! The Merkle tree of RFC 9162, section 2.1, over SHA-256, as far as its root needs it.

use crate::crypto::sha256;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The hash of a leaf: what a log line is known by, also in the line after it.
#[must_use]
pub fn leaf(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// A tree that grows by its right edge. It keeps one hash for each bit of its size, so at most 64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Roots of the full subtrees that the tree is made of, the largest first.
    peaks: Vec<Hash>,
}

impl Tree {
    /// Appends a leaf by its hash. On average that hashes one node.
    pub fn push(&mut self, leaf: Hash) {
        let mut peak = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            peak = node(&left, &peak);
        }
        self.peaks.push(peak);
        self.size = self.size.saturating_add(1);
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The Merkle Tree Hash; of no leaves, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else { return sha256(&[]) };
        peaks.fold(*smallest, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::hex;

    /// RFC 9162, section 2.1.1, as it is written there.
    fn by_definition(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [one] => leaf(one),
            more => {
                let k = more.len().next_power_of_two() / 2;
                node(&by_definition(&more[..k]), &by_definition(&more[k..]))
            }
        }
    }

    /// The known tree of Certificate Transparency, sizes 1 to 8.
    #[test]
    fn the_roots_are_those_of_certificate_transparency() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors/tokens.json")).unwrap();
        let vectors = &vectors["merkle"];
        let (leaves, roots) = (vectors["leaves"].as_array().unwrap(), vectors["roots"].as_array().unwrap());
        let mut tree = Tree::default();
        for (data, root) in leaves.iter().zip(roots) {
            let data = hex::decode(&format!("0x{}", data.as_str().unwrap())).unwrap();
            tree.push(leaf(&data));
            assert_eq!(hex::encode(&tree.root()), format!("0x{}", root.as_str().unwrap()));
        }
        assert_eq!(tree.size(), 8);
    }

    #[test]
    fn the_root_is_that_of_the_definition_at_every_size() {
        let leaves: Vec<Vec<u8>> = (0..70u8).map(|n| vec![n; usize::from(n)]).collect();
        let mut tree = Tree::default();
        for size in 0..leaves.len() {
            assert_eq!(tree.root(), by_definition(&leaves[..size]), "{size}");
            tree.push(leaf(&leaves[size]));
            assert!(tree.peaks.len() <= 7);
        }
    }
}

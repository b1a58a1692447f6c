//! The audit log: one chain of lines for each VM, with signed heads among them.
//!
//! A line is one JSON object in canonical form (RFC 8785), and begins with `{"audit":1,`, so that it is found in
//! whatever the host's log writes before it. `seq` counts the lines of its `log`; `prev` is the [leaf hash] of the line
//! before, so that a line cannot be changed, and none in the middle be left out. Every so often a line is a *head*: its
//! `sth` is a signed statement of how many lines came before it and of the root of the [Merkle tree] over them, so that
//! the chain cannot be written anew either. A head that somebody else keeps shows when the end is cut off.
//!
//! A log begins with a head over no lines. So whoever has not the key cannot begin one.
//!
//! [leaf hash]: super::merkle::leaf
//! [Merkle tree]: super::merkle
//!
//! ```
//! use farebox_core::crypto::keys::SigningKey;
//! use farebox_core::receipt::{Cadence, Entry, Kind, Log};
//!
//! # let jwk = serde_json::json!({
//! #     "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
//! #     "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
//! # });
//! # let key = SigningKey::from_jwk(&jwk).unwrap();
//! # let (random, now) = ([7; 16], 1_795_000_000);
//! let mut log = Log::new(random);
//! let cadence = Cadence::default();
//!
//! // Before each line, and at every tick:
//! if log.head_due(cadence, now) {
//!     println!("{}", log.head("https://api.example.com", &key, now));
//! }
//! println!("{}", log.line(&Entry { status: Some(200), ..Entry::new(Kind::Draw, "report") }, now));
//! ```

use super::merkle::{self, Hash, Tree};
use super::pay::{Draw, Pay};
use crate::crypto::base64url;
use crate::crypto::jws;
use crate::crypto::keys::SigningKey;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What every line begins with.
pub const MARKER: &str = r#"{"audit":1,"#;
/// `typ` of a signed head.
pub const HEAD_TYPE: &str = "sth+jwt";

/// What a line records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A payment, and what became of it.
    Charge,
    /// A call made with a token. Without `draw`, nothing was taken, or all of it was given back.
    Draw,
    /// A request that was refused.
    Refusal,
    /// A token that was sold or given.
    Issue,
    /// Something that was revoked.
    Revoke,
    /// A token given back for a charged call that was not delivered.
    Credit,
    /// A signed head. Only [`Log::head`] makes one.
    Head,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Charge, Self::Draw, Self::Refusal, Self::Issue, Self::Revoke, Self::Credit, Self::Head];

    /// The kind on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Draw => "draw",
            Self::Refusal => "refusal",
            Self::Issue => "issue",
            Self::Revoke => "revoke",
            Self::Credit => "credit",
            Self::Head => "head",
        }
    }
}

/// What a line says besides its place in the chain. Nothing in it may be a secret or a body: lines go where logs go.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What it records.
    pub kind: Kind,
    /// Name of the route; empty where there is none.
    pub route: &'a str,
    /// The claim that the payment made, in any stable spelling.
    pub claim: Option<&'a str>,
    /// Stable reason code of a refusal.
    pub code: Option<&'a str>,
    /// What was taken of the token's budgets.
    pub draw: &'a [Draw<'a>],
    /// The payment.
    pub pay: Option<&'a Pay>,
    /// CAIP-10 account (or the gate's pseudonym of it) that the call is for.
    pub payer: Option<&'a str>,
    /// [`Receipt::hash`](super::Receipt::hash) of the receipt that the buyer got for this.
    pub receipt: Option<Hash>,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// `jti` of the token: the one shown, issued or revoked.
    pub tok: Option<&'a str>,
    /// What was revoked, where that is no token: `holder <thumbprint>`, `payer <account>`, `issued_before <seconds>`.
    pub what: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// An entry that says nothing more yet.
    #[must_use]
    pub fn new(kind: Kind, route: &'a str) -> Self {
        Self {
            kind,
            route,
            claim: None,
            code: None,
            draw: &[],
            pay: None,
            payer: None,
            receipt: None,
            status: None,
            tok: None,
            what: None,
        }
    }
}

/// A line as it is written: members in the order of RFC 8785.
#[derive(Serialize)]
struct Line<'a> {
    audit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    draw: &'a [Draw<'a>],
    iat: u64,
    kind: Kind,
    log: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pay: Option<&'a Pay>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payer: Option<&'a str>,
    prev: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    route: &'a str,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sth: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tok: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
}

/// When a head is due: after so many lines, and so many seconds after the first line that no head covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// Lines.
    pub lines: u64,
    /// Seconds.
    pub seconds: u64,
}

impl Default for Cadence {
    fn default() -> Self {
        Self { lines: 1000, seconds: 60 }
    }
}

/// Where the next line of a log will stand. A receipt says it, so that the log must hold what the receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Name of the log.
    pub log: Option<String>,
    /// Lines before.
    pub seq: u64,
    /// Leaf hash of the line before, zeros at the beginning.
    pub prev: Hash,
}

/// One chain of lines. Each VM has its own, under a name of its own, and begins a new one when it starts.
#[derive(Debug)]
pub struct Log {
    id: String,
    prev: Hash,
    tree: Tree,
    /// Lines that no head covers, and when the first of them was written.
    unsigned: u64,
    unsigned_since: u64,
}

impl Log {
    /// A new log; `name` is random.
    #[must_use]
    pub fn new(name: [u8; 16]) -> Self {
        let id = base64url::encode(&name);
        Self { id, prev: [0; 32], tree: Tree::default(), unsigned: 0, unsigned_since: 0 }
    }

    /// The log's name, as its lines and receipts write it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the next line will stand.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { log: Some(self.id.clone()), seq: self.tree.size(), prev: self.prev }
    }

    /// The next line, without a line break; `now` is in Unix seconds. It has been appended, so it must be written,
    /// once, and before the next one.
    #[must_use]
    pub fn line(&mut self, entry: &Entry<'_>, now: u64) -> String {
        if self.unsigned == 0 {
            self.unsigned_since = now;
        }
        self.unsigned = self.unsigned.saturating_add(1);
        self.append(entry, None, now)
    }

    /// Whether a head should be written at `now`.
    #[must_use]
    pub fn head_due(&self, cadence: Cadence, now: u64) -> bool {
        self.tree.size() == 0
            || self.unsigned >= cadence.lines.max(1)
            || self.unsigned > 0 && now.saturating_sub(self.unsigned_since) >= cadence.seconds
    }

    /// The next line, as a head over all lines before it, signed by `key` in the name of `issuer`. To be written as
    /// any other.
    #[must_use]
    pub fn head(&mut self, issuer: &str, key: &SigningKey, now: u64) -> String {
        let payload = json!({
            "iat": now,
            "iss": issuer,
            "log": self.id,
            "prev": base64url::encode(&self.prev),
            "root": base64url::encode(&self.tree.root()),
            "size": self.tree.size(),
        });
        // Cannot fail: a clock or a log beyond 2^53 is none.
        let sth = jws::sign(key, HEAD_TYPE, Some(&key.public().thumbprint()), &payload).unwrap_or_default();
        self.unsigned = 0;
        self.append(&Entry::new(Kind::Head, ""), Some(&sth), now)
    }

    fn append(&mut self, entry: &Entry<'_>, sth: Option<&str>, now: u64) -> String {
        let line = Line {
            audit: 1,
            claim: entry.claim,
            code: entry.code,
            draw: entry.draw,
            iat: now,
            kind: entry.kind,
            log: &self.id,
            pay: entry.pay,
            payer: entry.payer,
            prev: &base64url::encode(&self.prev),
            receipt: entry.receipt.map(|hash| base64url::encode(&hash)),
            route: entry.route,
            seq: self.tree.size(),
            status: entry.status,
            sth,
            tok: entry.tok,
            what: entry.what,
        };
        // Cannot fail: there are no maps and no floats in it.
        let line = serde_json::to_string(&line).unwrap_or_default();
        self.prev = merkle::leaf(line.as_bytes());
        self.tree.push(self.prev);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::Algorithm;
    use crate::receipt::{Amount, PayState};
    use serde_json::Value;

    fn key() -> SigningKey {
        SigningKey::from_secret(Algorithm::EdDsa, &[7; 32]).unwrap()
    }

    #[test]
    fn a_line_is_canonical_json_that_begins_with_the_marker() {
        let mut log = Log::new([0xff; 16]);
        let pay = Pay {
            amount: Some(Amount(u128::MAX)),
            asset: Some("eip155:8453/erc20:0x1".to_owned()),
            network: "eip155:8453".to_owned(),
            pay_to: Some("eip155:8453:0x2".to_owned()),
            payer: Some("eip155:8453:0x3".to_owned()),
            scheme: "exact".to_owned(),
            state: PayState::Settled,
            transaction: Some("0x4".to_owned()),
        };
        let draw = [Draw { unit: "call".into(), amount: Amount(1), left: None }];
        let full = Entry {
            claim: Some("c\u{1}\u{7f}\"\\\n\u{20ac}\u{2028}"),
            code: Some("payment_used"),
            draw: &draw,
            pay: Some(&pay),
            payer: Some("p"),
            receipt: Some([1; 32]),
            status: Some(200),
            tok: Some("t"),
            what: Some("w"),
            ..Entry::new(Kind::Charge, "r")
        };
        let head = log.head("https://api.example.com", &key(), 1);
        let lines = Kind::ALL.map(|kind| log.line(&Entry { kind, ..full }, 2));
        let bare = log.line(&Entry::new(Kind::Draw, ""), 3);
        for line in [&head, &bare].into_iter().chain(&lines) {
            assert!(line.starts_with(MARKER), "{line}");
            assert!(!line.contains('\n') && !line.contains('\r'));
            let value: Value = serde_json::from_str(line).unwrap();
            assert_eq!(crate::json::canonical(&value).as_ref(), Some(line));
        }
        for (kind, line) in Kind::ALL.iter().zip(&lines) {
            let value: Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["kind"], kind.wire());
        }
    }

    #[test]
    fn each_line_names_the_one_before() {
        let mut log = Log::new([7; 16]);
        let mut prev = [0; 32];
        for seq in 0..5u64 {
            assert_eq!(log.position(), Position { log: Some(log.id().to_owned()), seq, prev });
            let line = log.line(&Entry::new(Kind::Draw, "a"), 9);
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!((value["seq"].as_u64(), value["prev"].as_str()), (Some(seq), Some(&*base64url::encode(&prev))));
            prev = merkle::leaf(line.as_bytes());
        }
    }

    #[test]
    fn heads_come_first_and_then_after_so_many_lines_or_seconds() {
        let cadence = Cadence { lines: 3, seconds: 60 };
        let mut log = Log::new([7; 16]);
        assert!(log.head_due(cadence, 100), "a log begins with one");
        let _ = log.head("i", &key(), 100);
        assert!(!log.head_due(cadence, 100_000), "there is nothing to sign");
        let _ = log.line(&Entry::new(Kind::Draw, "a"), 1000);
        assert!(!log.head_due(cadence, 1059) && log.head_due(cadence, 1060));
        assert!(!log.head_due(cadence, 5), "a clock that goes back signs nothing early");
        let _ = log.line(&Entry::new(Kind::Draw, "a"), 1001);
        assert!(!log.head_due(cadence, 1002));
        let _ = log.line(&Entry::new(Kind::Draw, "a"), 1002);
        assert!(log.head_due(cadence, 1002));
        let _ = log.head("i", &key(), 1002);
        assert!(!log.head_due(cadence, 1002));
        assert!(Cadence::default().lines > 1);
    }
}

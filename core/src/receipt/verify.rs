//! Whether an audit log is whole: no line changed, none left out, no second history, no end cut off.
//!
//! The lines of several logs may come in any order, twice, and inside whatever wrote them down; lines of other things
//! are passed over. What cannot be seen from a log alone is that its end is missing: for that, give a head or a receipt
//! that somebody else kept.
//!
//! ```
//! use farebox_core::receipt::verify::{Trust, Verifier};
//! # use farebox_core::{crypto::keys::SigningKey, receipt::{Entry, Kind, Log}};
//! # let jwk = serde_json::json!({
//! #     "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
//! #     "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
//! # });
//! # let key = SigningKey::from_jwk(&jwk).unwrap();
//! # let mut log = Log::new([7; 16]);
//! # let text = [log.head("https://api.example.com", &key, 1), log.line(&Entry::new(Kind::Draw, "a"), 2)].join("\n");
//! let mut verifier = Verifier::new(Trust::Keys(vec![key.public()]), false);
//! for (number, line) in (1..).zip(text.lines()) {
//!     verifier.read(number, line.as_bytes());
//! }
//! let report = verifier.finish();
//! assert!(report.findings.is_empty());
//! assert_eq!(report.logs[0].unsigned, 1);
//! ```

mod line;
#[cfg(test)]
mod tests;
mod walk;

use super::audit::Kind;
use super::call::{Receipt, ReceiptError, signed};
use super::merkle::Hash;
use crate::crypto::base64url;
use crate::crypto::keys::PublicKey;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Bytes a signed head may have.
const MAX_HEAD: usize = 4 * 1024;

/// By what the heads of a log are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// They must be signed by one of these.
    Keys(Vec<PublicKey>),
    /// They are not: only the chain is checked, which whoever holds the log could have written anew.
    ChainOnly,
}

/// A signed statement about the first `size` lines of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The log.
    pub log: String,
    /// Who says so.
    pub iss: String,
    /// When, in Unix seconds.
    pub iat: u64,
    /// Number of lines.
    pub size: u64,
    /// Root of the Merkle tree over them.
    pub root: Hash,
    /// Leaf hash of the last of them, zeros if there is none.
    pub prev: Hash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadClaims {
    iat: u64,
    iss: String,
    log: String,
    prev: String,
    root: String,
    size: u64,
}

impl Head {
    /// Reads a signed head.
    ///
    /// # Errors
    /// If it is anything else, or not signed by whom `trust` names.
    pub fn read(text: &str, trust: &Trust) -> Result<Self, ReceiptError> {
        let claims = match trust {
            Trust::Keys(keys) => signed(text, MAX_HEAD, super::audit::HEAD_TYPE, keys)?,
            Trust::ChainOnly => super::call::unverified(text, MAX_HEAD)?,
        };
        let claims: HeadClaims =
            serde_json::from_value(claims).map_err(|error| ReceiptError::Claims(error.to_string()))?;
        let hash = |text: &str| {
            base64url::decode_fixed(text).ok_or_else(|| ReceiptError::Claims("a hash is no SHA-256".to_owned()))
        };
        let (root, prev) = (hash(&claims.root)?, hash(&claims.prev)?);
        Ok(Self { log: claims.log, iss: claims.iss, iat: claims.iat, size: claims.size, root, prev })
    }
}

/// What was found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing it is.
    pub what: What,
    /// The log; empty if the line does not say.
    pub log: String,
    /// The line of the log.
    pub seq: u64,
    /// Where it was read, as [`Verifier::read`] was told.
    pub place: Option<u64>,
    /// One sentence for people.
    pub detail: String,
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// A line that begins like one of a log and is none.
    Unreadable,
    /// A line is not the one that the next line was written after.
    Edited,
    /// Lines are not there.
    Missing,
    /// There are two lines for one place, or the log is not the one that a head kept elsewhere was signed for.
    Fork,
    /// A head is not signed as it must be, or not over the lines before it.
    BadHead,
    /// The log does not begin with a signed head.
    Unsigned,
    /// The log ends before something kept elsewhere that it had reached.
    Cut,
    /// Nothing is there of a log of which something is kept elsewhere.
    MissingLog,
    /// A receipt is not the one that the log records.
    Receipt,
}

impl What {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Unreadable,
        Self::Edited,
        Self::Missing,
        Self::Fork,
        Self::BadHead,
        Self::Unsigned,
        Self::Cut,
        Self::MissingLog,
        Self::Receipt,
    ];

    /// A stable word for it.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable_line",
            Self::Edited => "edited_line",
            Self::Missing => "missing_lines",
            Self::Fork => "fork",
            Self::BadHead => "bad_head",
            Self::Unsigned => "no_first_head",
            Self::Cut => "cut_tail",
            Self::MissingLog => "missing_log",
            Self::Receipt => "receipt_mismatch",
        }
    }
}

/// What one log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The log.
    pub log: String,
    /// Number of the first line that is there.
    pub first: u64,
    /// Number after the last line that is there: the log's size, as far as can be seen.
    pub end: u64,
    /// Lines after the last good head. Whoever holds the log could have written them.
    pub unsigned: u64,
    /// Lines that came more than once, each the same every time.
    pub repeated: u64,
    /// Times of the first and the last line, in Unix seconds.
    pub times: (u64, u64),
    /// Most seconds by which a line is older than one before it. Clocks are set; more than a minute asks for a reason.
    pub clock_back: u64,
    /// Lines of each kind.
    pub kinds: BTreeMap<Kind, u64>,
}

/// What became of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every log, by name.
    pub logs: Vec<Summary>,
    /// What is wrong; nothing, if every log is whole.
    pub findings: Vec<Finding>,
    /// Lines that are of no log.
    pub passed_over: u64,
}

/// Reads lines, then says whether their logs are whole. Keeps about 100 bytes a line.
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    partial: bool,
    records: BTreeMap<String, Vec<line::Record>>,
    heads: BTreeMap<String, Vec<Head>>,
    receipts: BTreeMap<String, Vec<KeptReceipt>>,
    findings: Vec<Finding>,
    passed_over: u64,
}

/// What a receipt says of its log.
#[derive(Debug)]
struct KeptReceipt {
    jti: String,
    seq: u64,
    prev: Hash,
    hash: Hash,
}

impl Verifier {
    /// `partial` lets logs begin later than at their beginning, as they do in rotated files.
    #[must_use]
    pub fn new(trust: Trust, partial: bool) -> Self {
        let (records, heads, receipts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { trust, partial, records, heads, receipts, findings: Vec::new(), passed_over: 0 }
    }

    /// Reads a line, found at `place`: a number of the caller's for findings.
    pub fn read(&mut self, place: u64, text: &[u8]) {
        let Some(text) = line::find(text) else {
            self.passed_over = self.passed_over.saturating_add(1);
            return;
        };
        match line::Record::read(&text, place, &self.trust) {
            Ok((log, record)) => self.records.entry(log).or_default().push(record),
            Err(detail) => {
                let (what, place) = (What::Unreadable, Some(place));
                self.findings.push(Finding { what, log: String::new(), seq: 0, place, detail });
            }
        }
    }

    /// A head that was kept elsewhere: the JWS, or a line that holds it. False for a line of a log that is no head.
    ///
    /// # Errors
    /// If it is none, or not signed by whom the heads must be.
    pub fn keep_head(&mut self, text: &str) -> Result<bool, ReceiptError> {
        let text = text.trim();
        let head = match line::find(text.as_bytes()) {
            None => Head::read(text, &self.trust)?,
            Some(text) => match line::Record::read(&text, 0, &self.trust).map_err(ReceiptError::Claims)?.1.head {
                Some(head) => (*head)?,
                None => return Ok(false),
            },
        };
        self.heads.entry(head.log.clone()).or_default().push(head);
        Ok(true)
    }

    /// A receipt that somebody got, so that the log must record it.
    ///
    /// # Errors
    /// If it is none, or names no log.
    pub fn keep_receipt(&mut self, text: &str) -> Result<(), ReceiptError> {
        let text = text.trim();
        let receipt = match &self.trust {
            Trust::Keys(keys) => Receipt::read(text, keys)?,
            Trust::ChainOnly => Receipt::unverified(text)?,
        };
        let none = |what: &str| ReceiptError::Claims(what.to_owned());
        let prev = base64url::decode_fixed(&receipt.prev).ok_or_else(|| none("`prev` is no SHA-256"))?;
        let log = receipt.log.ok_or_else(|| none("it names no log"))?;
        let kept = KeptReceipt { jti: receipt.jti, seq: receipt.seq, prev, hash: Receipt::hash(text) };
        self.receipts.entry(log).or_default().push(kept);
        Ok(())
    }

    /// What all of it amounts to.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let mut logs = Vec::new();
        for (log, records) in std::mem::take(&mut self.records) {
            let heads = self.heads.remove(&log).unwrap_or_default();
            let receipts = self.receipts.remove(&log).unwrap_or_default();
            let signatures = matches!(self.trust, Trust::Keys(_));
            let walk = walk::Walk::new(&log, self.partial, signatures, heads, receipts);
            logs.push(walk.run(records, &mut self.findings));
        }
        let kept = self.heads.into_iter().map(|(log, heads)| (log, format!("{} heads", heads.len())));
        let kept = kept.chain(self.receipts.into_iter().map(|(log, all)| (log, format!("{} receipts", all.len()))));
        for (log, kept) in kept {
            let detail = format!("{kept} of it are kept elsewhere, and no line is here");
            self.findings.push(Finding { what: What::MissingLog, log, seq: 0, place: None, detail });
        }
        Report { logs, findings: self.findings, passed_over: self.passed_over }
    }
}

//! Along one log, from its first line to its last.

use super::line::Record;
use super::{Finding, Head, KeptReceipt, Summary, What};
use crate::receipt::audit::Kind;
use crate::receipt::merkle::{Hash, Tree};

/// What is known of a log up to the line that the walk has come to.
pub(super) struct Walk<'a> {
    log: &'a str,
    partial: bool,
    signatures: bool,
    /// Heads and receipts kept elsewhere.
    heads: Vec<Head>,
    receipts: Vec<KeptReceipt>,
    /// The line before; `None` at the beginning and after a gap.
    before: Option<Last>,
    /// The tree over the lines so far; `None` once one of them is not there.
    tree: Option<Tree>,
    issuer: Option<String>,
    /// A head whose root is another has been found. So will be those after it.
    roots_differ: bool,
    findings: Vec<Finding>,
    summary: Summary,
}

#[derive(Clone, Copy)]
struct Last {
    hash: Hash,
    place: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        log: &'a str,
        partial: bool,
        signatures: bool,
        heads: Vec<Head>,
        receipts: Vec<KeptReceipt>,
    ) -> Self {
        Self {
            log,
            partial,
            signatures,
            heads,
            receipts,
            before: None,
            tree: Some(Tree::default()),
            issuer: None,
            roots_differ: false,
            findings: Vec::new(),
            summary: Summary { log: log.to_owned(), ..Summary::default() },
        }
    }

    /// Walks along `records`; what is wrong goes to `findings`.
    pub(super) fn run(mut self, mut records: Vec<Record>, findings: &mut Vec<Finding>) -> Summary {
        records.sort_by_key(|record| (record.seq, record.place));
        if let Some(first) = records.first() {
            self.begin(first);
        }
        for record in self.one_history(&records) {
            self.step(record);
        }
        self.end();
        findings.append(&mut self.findings);
        self.summary
    }

    fn begin(&mut self, first: &Record) {
        self.summary.first = first.seq;
        self.summary.end = first.seq;
        self.summary.times = (first.iat, first.iat);
        if first.seq > 0 {
            self.tree = None;
            if !self.partial {
                self.find(What::Missing, 0, None, format!("lines 0 to {} are not there", first.seq - 1));
            }
        } else if self.signatures && first.kind != Kind::Head {
            let detail = "the log does not begin with a signed head: anybody could have begun it".to_owned();
            self.find(What::Unsigned, 0, Some(first.place), detail);
        }
    }

    /// One line for each number. Where there are several, the one that the next line was written after: so whatever
    /// belongs to another history is left aside as a whole.
    fn one_history<'r>(&mut self, records: &'r [Record]) -> Vec<&'r Record> {
        let mut chosen: Vec<&Record> = Vec::with_capacity(records.len());
        let mut fork = None;
        for variants in records.chunk_by(|a, b| a.seq == b.seq).rev() {
            let after = chosen
                .last()
                .filter(|after| variants.first().is_some_and(|first| first.seq.checked_add(1) == Some(after.seq)));
            let belongs = |record: &&Record| after.is_some_and(|after| after.prev == record.hash);
            let Some(one) = variants.iter().find(belongs).or(variants.first()) else { continue };
            let same = variants.iter().filter(|record| record.hash == one.hash).count();
            if same < variants.len() {
                fork = Some(one);
            }
            self.summary.repeated += u64::try_from(same).unwrap_or(u64::MAX).saturating_sub(1);
            chosen.push(one);
        }
        if let Some(fork) = fork {
            let detail = format!("from line {} on there are different lines: two histories of one log", fork.seq);
            self.find(What::Fork, fork.seq, Some(fork.place), detail);
        }
        chosen.reverse();
        chosen
    }

    fn step(&mut self, record: &Record) {
        let expected = self.summary.end;
        if record.seq > expected {
            let last = record.seq - 1;
            let detail = match last - expected {
                0 => format!("line {expected} is not there"),
                _ => format!("lines {expected} to {last} are not there"),
            };
            self.find(What::Missing, expected, self.before.map(|before| before.place), detail);
            self.before = None;
            self.tree = None;
        }
        self.link(record);
        if let Some(head) = &record.head {
            self.head(record, head);
        } else {
            self.summary.unsigned += 1;
        }
        self.compare_kept(record.seq, record.prev);
        self.compare_receipts(record);
        let summary = &mut self.summary;
        summary.end = record.seq.saturating_add(1);
        *summary.kinds.entry(record.kind).or_default() += 1;
        summary.clock_back = summary.clock_back.max(summary.times.1.saturating_sub(record.iat));
        summary.times.1 = record.iat;
        self.before = Some(Last { hash: record.hash, place: record.place });
    }

    /// The line before is the one that this line was written after.
    fn link(&mut self, record: &Record) {
        if record.seq == 0 {
            if record.prev != [0; 32] {
                self.find(What::Edited, 0, Some(record.place), "the first line has a line before it".to_owned());
            }
            return;
        }
        if let Some(before) = self.before.filter(|before| before.hash != record.prev) {
            let (changed, after) = (record.seq - 1, record.seq);
            let detail = format!("line {changed} is not the one that line {after} was written after: it was changed");
            self.find(What::Edited, changed, Some(before.place), detail);
        }
        // The tree gets what this line says that the one before was, so that it can still be right.
        if let Some(tree) = &mut self.tree {
            tree.push(record.prev);
        }
    }

    fn head(&mut self, record: &Record, head: &Result<Head, crate::receipt::ReceiptError>) {
        let wrong = match head {
            Err(error) => Some(error.to_string()),
            Ok(head) if head.log != self.log => Some("it is signed for another log".to_owned()),
            Ok(head) if head.size != record.seq || head.prev != record.prev => {
                Some("it is signed for another place in the log".to_owned())
            }
            Ok(head) if self.issuer.as_ref().is_some_and(|issuer| *issuer != head.iss) => {
                Some(format!("it is signed in the name of {}, unlike those before", head.iss))
            }
            Ok(head) if self.tree.as_ref().is_some_and(|tree| tree.root() != head.root) => {
                if self.roots_differ {
                    self.summary.unsigned += 1;
                    return;
                }
                self.roots_differ = true;
                Some("the lines before it are not those that it was signed for".to_owned())
            }
            Ok(head) => {
                self.issuer = Some(head.iss.clone());
                self.summary.unsigned = 0;
                None
            }
        };
        if let Some(wrong) = wrong {
            self.summary.unsigned += 1;
            self.find(
                What::BadHead,
                record.seq,
                Some(record.place),
                format!("the head in line {}: {wrong}", record.seq),
            );
        }
    }

    /// Compares the heads kept elsewhere over `size` lines, of which the last has the hash `prev`.
    fn compare_kept(&mut self, size: u64, prev: Hash) {
        let differs = |head: &&Head| {
            head.size == size && (head.prev != prev || self.tree.as_ref().is_some_and(|tree| tree.root() != head.root))
        };
        if let Some(head) = self.heads.iter().find(differs) {
            let detail = format!(
                "a head kept elsewhere, of {}, was signed for other lines than the {size} here: two histories of one log",
                head.iat
            );
            self.find(What::Fork, size, None, detail);
        }
        self.heads.retain(|head| head.size != size);
    }

    fn compare_receipts(&mut self, record: &Record) {
        let (here, rest) = std::mem::take(&mut self.receipts).into_iter().partition(|kept| kept.seq == record.seq);
        self.receipts = rest;
        let here: Vec<KeptReceipt> = here;
        for kept in here {
            if kept.prev != record.prev || record.receipt.as_deref() != Some(&kept.hash) {
                let detail = format!("line {} does not record the receipt {}", record.seq, kept.jti);
                self.find(What::Receipt, record.seq, Some(record.place), detail);
            }
        }
    }

    fn end(&mut self) {
        let end = self.summary.end;
        if let Some(before) = self.before {
            if let Some(tree) = &mut self.tree {
                tree.push(before.hash);
            }
            self.compare_kept(end, before.hash);
        }
        let first = self.summary.first;
        // Of what lies before the beginning of a partial log, nothing can be said.
        self.heads.retain(|head| head.size >= first);
        self.receipts.retain(|kept| kept.seq >= first);
        let of_heads = self.heads.iter().map(|head| head.size);
        let reached = of_heads.chain(self.receipts.iter().map(|kept| kept.seq.saturating_add(1))).max();
        if let Some(reached) = reached.filter(|reached| *reached > end) {
            let detail = format!("it had {reached} lines, as something kept elsewhere shows; {end} are here");
            self.find(What::Cut, end, self.before.map(|before| before.place), detail);
        }
    }

    fn find(&mut self, what: What, seq: u64, place: Option<u64>, detail: String) {
        self.findings.push(Finding { what, log: self.log.to_owned(), seq, place, detail });
    }
}

//! From what is written to what it means: everything that is wrong although its structure is right.

use super::config::{self, Config, Key, Window};
use super::matching::Match;
use super::week::Week;
use super::{
    Allow, Approval, Asset, Breaker, Budget, Calls, Cooldown, Delegate, Lock, Policy, Rule, Signer, SignerKey, Span,
};
use crate::agent::money::{self, AssetId, Money, SCALE};
use crate::agent::pattern::HostPattern;
use crate::crypto::keys::PublicKey;
use crate::crypto::sha256;
use crate::json;
use crate::policy::mistake::{Mistakes, quoted};
use crate::rail::x402::address;
use crate::rail::x402::assets::Assets;
use crate::rail::x402::price::{PriceError, atomic};
use serde_json::Value;

/// Rules of one kind.
const MAX_RULES: usize = 256;
/// Seconds of a period: ten years.
pub(in crate::agent) const MAX_PERIOD: u64 = 315_360_000;

/// Compiles a policy whose structure is right.
///
/// # Errors
/// Every mistake of meaning.
pub(super) fn compile(config: Config, document: Value) -> Result<Policy, Mistakes> {
    let mut mistakes = Mistakes::default();
    let hash = json::canonical(&document).map(|text| sha256(&[text.as_bytes()])).unwrap_or_default();
    if hash == [0; 32] {
        mistakes.add("", "found a number that is not exact", "write whole numbers below 2^53; amounts are text");
    }
    count(&config, &mut mistakes);
    let (units, assets) = assets(&config.assets, &mut mistakes);
    let approvers = approvers(&config.approvers, &mut mistakes);
    let mut the = Compiler { units: &units, approvers: &approvers, mistakes: &mut mistakes };

    let (not_before, not_after) = the.life("", config.not_before, config.not_after);
    let allow = the.rules("allow", &config.allow, |the, at, allow| {
        let max = allow.max.as_deref().and_then(|max| the.money(&format!("{at}.max"), max));
        let (not_before, not_after) = the.life(&format!("{at}."), allow.not_before, allow.not_after);
        (allow.name.clone(), &allow.on, Some(Allow { max, not_before, not_after }))
    });
    let deny = the.rules("deny", &config.deny, |_, _, deny| (deny.name.clone(), &deny.on, Some(())));
    let caps = the.rules("caps", &config.caps, |the, at, cap| {
        (cap.name.clone(), &cap.on, the.money(&format!("{at}.max"), &cap.max))
    });
    let budgets = the.rules("budgets", &config.budgets, |the, at, budget| {
        let span = the.span(at, budget.seconds, budget.window, budget.start);
        let per = the.per(at, &budget.per);
        let max = the.money(&format!("{at}.max"), &budget.max);
        (Some(budget.name.clone()), &budget.on, max.map(|max| Budget { max, span, per }))
    });
    let calls = the.rules("calls", &config.calls, |the, at, calls| {
        let span = the.span(at, calls.seconds, calls.window, calls.start);
        let per = the.per(at, &calls.per);
        the.range(&format!("{at}.max"), calls.max, 1, u64::from(u32::MAX));
        (Some(calls.name.clone()), &calls.on, Some(Calls { max: calls.max, span, per }))
    });
    let cooldowns = the.rules("cooldowns", &config.cooldowns, |the, at, cooldown| {
        let per = the.per(at, &cooldown.per);
        the.range(&format!("{at}.seconds"), cooldown.seconds, 1, MAX_PERIOD);
        (Some(cooldown.name.clone()), &cooldown.on, Some(Cooldown { seconds: cooldown.seconds, per }))
    });
    the.names("budgets", config.budgets.iter().map(|budget| budget.name.as_str()));
    the.names("calls", config.calls.iter().map(|calls| calls.name.as_str()));
    the.names("cooldowns", config.cooldowns.iter().map(|cooldown| cooldown.name.as_str()));
    let hours =
        the.rules("hours", &config.hours, |the, at, hours| (hours.name.clone(), &hours.on, the.week(at, hours)));
    let locks = the.rules("locks", &config.locks, |the, at, lock| {
        let above = the.limit(&format!("{at}.above"), &lock.above);
        the.range(&format!("{at}.seconds"), lock.seconds, 1, 30 * 86_400);
        (lock.name.clone(), &lock.on, above.map(|above| Lock { above, seconds: lock.seconds }))
    });
    let approvals = the.rules("approvals", &config.approvals, |the, at, approval| {
        (approval.name.clone(), &approval.on, the.approval(at, approval))
    });
    let trust = the.rules("trust", &config.trust, |_, _, trust| (trust.name.clone(), &trust.on, Some(())));
    let prefer = config.prefer.iter().enumerate();
    let prefer = prefer.map(|(index, prefer)| Match::compile(&prefer.on, &format!("prefer[{index}]"), the.mistakes));
    let prefer = prefer.collect();
    let signers = the.signers(&config.require.signers);
    the.range("validity.max_seconds", config.validity.max_seconds, 10, 86_400);
    the.range("slippage.quoted_bps", config.slippage.quoted_bps, 0, 10_000);
    the.range("slippage.last_bps", config.slippage.last_bps.unwrap_or(0), 0, 1_000_000);
    if let Some(duplicates) = &config.duplicates {
        the.range("duplicates.seconds", duplicates.seconds, 1, 86_400);
    }
    let breaker = config.breaker.as_ref().map(|breaker| the.breaker(breaker));
    let delegate = config.delegate.as_ref().map(|delegate| the.delegate(delegate));
    if !mistakes.0.is_empty() {
        return Err(mistakes);
    }
    Ok(Policy {
        document,
        hash,
        serial: config.serial,
        name: config.name,
        not_before,
        not_after,
        units,
        assets,
        allow,
        deny,
        caps,
        budgets,
        calls,
        cooldowns,
        hours,
        locks,
        approvals,
        approvers,
        max_validity: config.validity.max_seconds,
        quoted_bps: config.slippage.quoted_bps,
        last_bps: config.slippage.last_bps,
        pins: config.payees.map(|payees| payees.on_change),
        duplicates: config.duplicates.map(|duplicates| (duplicates.seconds, duplicates.then)),
        breaker,
        signed_offer: config.require.signed_offer,
        receipt: config.require.receipt,
        signers,
        trust,
        delegate,
        prefer,
    })
}

/// Refuses lists that are too long to be looked through for every offer.
fn count(config: &Config, mistakes: &mut Mistakes) {
    let lengths = [
        ("assets", config.assets.len()),
        ("allow", config.allow.len()),
        ("deny", config.deny.len()),
        ("caps", config.caps.len()),
        ("budgets", config.budgets.len()),
        ("calls", config.calls.len()),
        ("cooldowns", config.cooldowns.len()),
        ("hours", config.hours.len()),
        ("locks", config.locks.len()),
        ("approvals", config.approvals.len()),
        ("approvers", config.approvers.len()),
        ("require.signers", config.require.signers.len()),
        ("trust", config.trust.len()),
        ("prefer", config.prefer.len()),
    ];
    for (field, length) in lengths {
        if length > MAX_RULES {
            mistakes.add(field, format!("found a list of {length}"), format!("write at most {MAX_RULES}"));
        }
    }
    for (field, length) in lengths.into_iter().filter(|(field, _)| matches!(*field, "assets" | "allow" | "budgets")) {
        if length == 0 {
            mistakes.add(field, "found an empty list", "without an entry nothing can ever be paid");
        }
    }
    if config.serial == 0 {
        mistakes.add("serial", "found the number 0", "write 1 or more");
    }
}

fn assets(written: &[config::Asset], mistakes: &mut Mistakes) -> (Vec<String>, Vec<Asset>) {
    let table = Assets::default();
    let mut units: Vec<String> = Vec::new();
    let mut assets: Vec<Asset> = Vec::new();
    for (index, asset) in written.iter().take(MAX_RULES).enumerate() {
        let at = format!("assets[{index}]");
        let id = match AssetId::parse(&asset.asset) {
            Ok(id) => id,
            Err(hint) => {
                mistakes.add(format!("{at}.asset"), format!("found {}", quoted(&asset.asset)), hint);
                continue;
            }
        };
        if assets.iter().any(|other| other.id == id) {
            mistakes.add(format!("{at}.asset"), "found twice", "write each asset once");
        }
        if !is_name(&asset.unit) {
            let hint = "write what it counts as: 1 to 64 letters, digits, `_`, `-`, like \"usd\"";
            mistakes.add(format!("{at}.unit"), format!("found {}", quoted(&asset.unit)), hint);
        }
        let known = table.by_address(&id.network(), &money::checksummed(&id.address));
        let mut agree = |field: &str, written: Option<&str>, known: Option<&str>| {
            if let (Some(written), Some(known)) = (written, known)
                && written != known
            {
                let hint = format!("leave it out: this token's {field} is {known}");
                mistakes.add(format!("{at}.{field}"), format!("found {}", quoted(written)), hint);
            }
        };
        let decimals = asset.decimals.map(|decimals| decimals.to_string());
        agree("decimals", decimals.as_deref(), known.map(|known| known.decimals.to_string()).as_deref());
        agree("name", asset.name.as_deref(), known.map(|known| &*known.name));
        agree("version", asset.version.as_deref(), known.map(|known| &*known.version));
        let places = known.map(|known| u64::from(known.decimals)).or(asset.decimals);
        let decimals = match places.map(u8::try_from) {
            Some(Ok(decimals)) if decimals <= SCALE => decimals,
            None => {
                let hint = "this token is not in the built-in table: write its decimal places, from the token itself";
                mistakes.add(format!("{at}.decimals"), "missing", hint);
                continue;
            }
            Some(_) => {
                mistakes.add(format!("{at}.decimals"), "found more than 18", "write at most 18");
                continue;
            }
        };
        let domain = match (known, &asset.name, &asset.version) {
            (Some(known), _, _) => Some((known.name.to_string(), known.version.to_string())),
            (None, Some(name), Some(version)) => Some((name.clone(), version.clone())),
            (None, None, None) => None,
            (None, name, _) => {
                let missing = if name.is_none() { "name" } else { "version" };
                mistakes.add(
                    format!("{at}.{missing}"),
                    "missing",
                    "write both parts of the EIP-712 domain, or neither",
                );
                None
            }
        };
        let unit = units.iter().position(|unit| *unit == asset.unit).unwrap_or_else(|| {
            units.push(asset.unit.clone());
            units.len() - 1
        });
        assets.push(Asset { id, unit, decimals, domain: domain.filter(|(name, _)| !name.is_empty()) });
    }
    (units, assets)
}

fn approvers(written: &[config::Approver], mistakes: &mut Mistakes) -> Vec<(String, PublicKey)> {
    let mut approvers: Vec<(String, PublicKey)> = Vec::new();
    for (index, approver) in written.iter().take(MAX_RULES).enumerate() {
        let at = format!("approvers[{index}]");
        if !is_name(&approver.name) {
            let hint = "write 1 to 64 letters, digits, `_`, `-`";
            mistakes.add(format!("{at}.name"), format!("found {}", quoted(&approver.name)), hint);
        }
        let Some(key) = PublicKey::from_jwk(&approver.jwk) else {
            let hint = "write the public key as JWK, of Ed25519 or secp256k1, without `d`";
            mistakes.add(format!("{at}.jwk"), "not a public key that we verify with", hint);
            continue;
        };
        if approvers.iter().any(|(name, _)| *name == approver.name) {
            mistakes.add(format!("{at}.name"), "found twice", "write each name once");
        } else if approvers.iter().any(|(_, other)| *other == key) {
            mistakes.add(format!("{at}.jwk"), "found twice", "approvers must be different keys");
        } else {
            approvers.push((approver.name.clone(), key));
        }
    }
    approvers
}

/// Whether `name` may name a rule, a unit or an approver.
fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

struct Compiler<'a> {
    units: &'a [String],
    approvers: &'a [(String, PublicKey)],
    mistakes: &'a mut Mistakes,
}

impl<'a> Compiler<'a> {
    /// Compiles the rules of one list.
    fn rules<'w, W, T>(
        &mut self,
        field: &str,
        written: &'w [W],
        mut compile: impl FnMut(&mut Self, &str, &'w W) -> (Option<String>, &'w config::Match, Option<T>),
    ) -> Vec<Rule<T>> {
        let mut rules = Vec::new();
        for (index, written) in written.iter().take(MAX_RULES).enumerate() {
            let at = format!("{field}[{index}]");
            let (name, on, says) = compile(self, &at, written);
            let on = Match::compile(on, &at, self.mistakes);
            let label = match name {
                Some(name) if is_name(&name) => format!("{field} {name}"),
                Some(name) => {
                    let hint = "write 1 to 64 letters, digits, `_`, `-`";
                    self.mistakes.add(format!("{at}.name"), format!("found {}", quoted(&name)), hint);
                    at
                }
                None => at,
            };
            rules.extend(says.map(|says| Rule { label, on, says }));
        }
        rules
    }

    /// An amount with its unit. Zero is refused.
    fn money(&mut self, at: &str, text: &str) -> Option<Money> {
        let read = self.amount(text);
        let zero = matches!(read, Ok(Money { amount: 0, .. }));
        match read {
            Ok(money) if !zero => Some(money),
            Ok(_) => {
                self.mistakes.add(
                    at,
                    format!("found {}", quoted(text)),
                    "write more than 0; to allow nothing, use `deny`",
                );
                None
            }
            Err(hint) => {
                self.mistakes.add(at, format!("found {}", quoted(text)), hint);
                None
            }
        }
    }

    /// An amount with its unit, of which zero means from the first one on.
    fn limit(&mut self, at: &str, text: &str) -> Option<Money> {
        match self.amount(text) {
            Ok(money) => Some(money),
            Err(hint) => {
                self.mistakes.add(at, format!("found {}", quoted(text)), hint);
                None
            }
        }
    }

    fn amount(&self, text: &str) -> Result<Money, String> {
        const SHAPE: &str = "write an amount and its unit, like \"0.05 usd\"";
        let (number, unit) = text.split_once(' ').ok_or(SHAPE)?;
        let known = || format!("the units of `assets` are: {}", self.units.join(", "));
        let unit = self.units.iter().position(|known| known == unit).ok_or_else(known)?;
        let amount = match atomic(number, SCALE) {
            Ok(amount) => amount,
            Err(PriceError::Zero) => 0,
            Err(PriceError::Shape) => return Err(SHAPE.to_owned()),
            Err(PriceError::TooFine { .. }) => return Err("write at most 18 decimal places".to_owned()),
            Err(PriceError::TooLarge) => return Err("write less than 10^20".to_owned()),
        };
        Ok(Money { unit, amount })
    }

    fn range(&mut self, at: &str, value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            self.mistakes.add(at, format!("found the number {value}"), format!("write {least} to {most}"));
        }
    }

    fn life(&mut self, at: &str, not_before: Option<u64>, not_after: Option<u64>) -> (u64, u64) {
        let (from, until) = (not_before.unwrap_or(0), not_after.unwrap_or(u64::MAX));
        if from >= until {
            self.mistakes.add(
                format!("{at}not_after"),
                format!("found the number {until}"),
                "write a later time than `not_before`",
            );
        }
        (from, until)
    }

    fn span(&mut self, at: &str, seconds: Option<u64>, window: Option<Window>, start: Option<u64>) -> Span {
        match (seconds, window) {
            (None, None) if start.is_none() => Span::Lifetime,
            (None, _) => {
                self.mistakes.add(
                    format!("{at}.seconds"),
                    "missing",
                    "write the period, like 86400; without one, leave out `window` and `start`",
                );
                Span::Lifetime
            }
            (Some(seconds), window) => {
                self.range(&format!("{at}.seconds"), seconds, 1, MAX_PERIOD);
                match window {
                    Some(Window::Fixed) => Span::Fixed { seconds: seconds.max(1), start: start.unwrap_or(0) },
                    None | Some(Window::Rolling) => {
                        if start.is_some() {
                            self.mistakes.add(
                                format!("{at}.start"),
                                "found beside a rolling window",
                                "leave it out, or write `window: fixed`",
                            );
                        }
                        Span::Rolling(seconds.max(1))
                    }
                }
            }
        }
    }

    fn per(&mut self, at: &str, per: &[Key]) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, key) in per.iter().enumerate() {
            if keys.contains(key) {
                self.mistakes.add(
                    format!("{at}.per[{index}]"),
                    format!("found `{}` twice", key.wire()),
                    "write each key once",
                );
            } else {
                keys.push(*key);
            }
        }
        keys
    }

    fn names<'n>(&mut self, field: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen: Vec<&str> = Vec::new();
        for (index, name) in names.enumerate() {
            if seen.contains(&name) {
                self.mistakes.add(
                    format!("{field}[{index}].name"),
                    format!("found {} twice", quoted(name)),
                    "counters are kept by name: write each once",
                );
            }
            seen.push(name);
        }
    }

    fn week(&mut self, at: &str, hours: &config::Hours) -> Option<Week> {
        if hours.within.is_empty() {
            self.mistakes.add(format!("{at}.within"), "found an empty list", "write a time, or use `deny`");
            return None;
        }
        if hours.utc_offset_minutes.abs() > 14 * 60 {
            let hint = "write minutes from -840 to 840";
            self.mistakes.add(
                format!("{at}.utc_offset_minutes"),
                format!("found the number {}", hours.utc_offset_minutes),
                hint,
            );
            return None;
        }
        match Week::of(&hours.within, hours.utc_offset_minutes) {
            Ok(week) => Some(week),
            Err((index, field, hint)) => {
                self.mistakes.add(format!("{at}.within[{index}].{field}"), "not a time", hint);
                None
            }
        }
    }

    fn approval(&mut self, at: &str, written: &config::Approval) -> Option<Approval> {
        let mut by: Vec<PublicKey> = Vec::new();
        for (index, name) in written.by.iter().enumerate() {
            let path = format!("{at}.by[{index}]");
            match self.approvers.iter().find(|(known, _)| known == name) {
                None => self.mistakes.add(path, format!("found {}", quoted(name)), "name one of `approvers`"),
                Some((_, key)) if by.contains(key) => self.mistakes.add(path, "found twice", "name each approver once"),
                Some((_, key)) => by.push(*key),
            }
        }
        let most = u64::try_from(written.by.len().max(1)).unwrap_or(u64::MAX);
        self.range(&format!("{at}.threshold"), written.threshold, 1, most);
        self.range(&format!("{at}.expires_in"), written.expires_in, 10, 30 * 86_400);
        let above = match &written.above {
            None => None,
            Some(text) => Some(self.limit(&format!("{at}.above"), text)?),
        };
        let threshold = usize::try_from(written.threshold).unwrap_or(usize::MAX);
        Some(Approval { above, first: written.first.clone(), by, threshold, expires_in: written.expires_in })
    }

    fn signers(&mut self, written: &[config::Signer]) -> Vec<Signer> {
        let mut signers = Vec::new();
        for (index, signer) in written.iter().take(MAX_RULES).enumerate() {
            let at = format!("require.signers[{index}]");
            let mut hosts = Vec::new();
            for (nth, text) in signer.hosts.iter().enumerate() {
                match HostPattern::parse(text) {
                    Ok(host) => hosts.push(host),
                    Err(hint) => {
                        self.mistakes.add(format!("{at}.hosts[{nth}]"), format!("found {}", quoted(text)), hint)
                    }
                }
            }
            if signer.hosts.is_empty() {
                self.mistakes.add(
                    format!("{at}.hosts"),
                    "found an empty list",
                    "write the hosts that the key signs for",
                );
            }
            let key = match (&signer.jwk, &signer.address) {
                (Some(jwk), None) => PublicKey::from_jwk(jwk)
                    .map(SignerKey::Jwk)
                    .ok_or(("jwk", "not a public key that we verify with".to_owned())),
                (None, Some(text)) => address::evm(text)
                    .ok()
                    .and_then(|_| money::evm(text).ok())
                    .map(SignerKey::Address)
                    .ok_or(("address", format!("found {}", quoted(text)))),
                _ => Err(("jwk", "missing, or found beside `address`".to_owned())),
            };
            match key {
                Ok(key) => signers.push(Signer { hosts, key }),
                Err((field, found)) => {
                    self.mistakes.add(format!("{at}.{field}"), found, "write one of `jwk` and `address`")
                }
            }
        }
        signers
    }

    fn breaker(&mut self, written: &config::Breaker) -> Breaker {
        self.range("breaker.faults", written.faults, 1, 1000);
        self.range("breaker.seconds", written.seconds, 1, MAX_PERIOD);
        self.range("breaker.resumes_after", written.resumes_after.unwrap_or(1), 1, MAX_PERIOD);
        Breaker {
            faults: usize::try_from(written.faults).unwrap_or(usize::MAX),
            seconds: written.seconds,
            per: written.per,
            resumes_after: written.resumes_after,
        }
    }

    fn delegate(&mut self, written: &config::Delegate) -> Delegate {
        self.range("delegate.max_depth", written.max_depth, 1, 3);
        self.range("delegate.max_share_bps", written.max_share_bps, 1, 10_000);
        self.range("delegate.max_seconds", written.max_seconds, 1, MAX_PERIOD);
        Delegate {
            max_depth: written.max_depth,
            max_share_bps: written.max_share_bps,
            max_seconds: written.max_seconds,
        }
    }
}

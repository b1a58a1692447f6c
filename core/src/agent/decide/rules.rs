//! What each rule says of a request and of an offer.

use super::{Asked, Choice, Effect, Verdict};
use crate::agent::challenge::{Challenge, Offer};
use crate::agent::counters::question::{Need, paying, subject};
use crate::agent::counters::{Counters, Draw, needed_since, window};
use crate::agent::counters::{counter, host_key, price_key, seen_keys};
use crate::agent::money::{AccountId, Money};
use crate::agent::pattern::Reading::{Grant, Restrict};
use crate::agent::policy::config::{First, Then};
use crate::agent::policy::{Approval, Policy, Rule, Span};
use crate::agent::purse::{Account, Purse};
use crate::agent::reason::Reason;
use crate::agent::request::Request;
use crate::agent::seller;
use crate::crypto::{hex, sha256};
use crate::mutant;

/// Seconds after its end for which an opened lock stays open.
const LOCK_STAYS: u64 = 86_400;

/// About as many rules as are looked at for an offer.
const VERDICTS: usize = 16;

/// What is judged, and by what.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) policy: &'a Policy,
    pub(super) challenge: &'a Challenge,
    pub(super) request: &'a Request,
    pub(super) purse: &'a Purse,
    pub(super) counters: &'a Counters,
    /// What is asked for, if the policy looks for duplicates.
    pub(super) request_key: Option<[u8; 32]>,
    /// Never before the last time that the counters saw.
    pub(super) now: u64,
}

/// What is said of the request, whatever the offer. `now` is the clock's own word.
pub(super) fn request(policy: &Policy, request: &Request, counters: &Counters, now: u64) -> Vec<Verdict> {
    let (from, until) = policy.life();
    let host = host_key(request);
    let names = [&request.task, &request.agent];
    let named = names.into_iter().flatten().all(|name| Request::is_name(name));
    let frozen = counters.frozen(&host);
    vec![
        Verdict::unless(counters.is_under(policy), "policy", Effect::Deny, Reason::PolicyNotAdopted)
            .with("serial", policy.serial()),
        Verdict::unless(from <= now && now < until, "policy", Effect::Deny, Reason::PolicyNotInForce).with("now", now),
        Verdict::unless(!counters.is_ahead(now), "clock", Effect::Deny, Reason::ClockWentBack),
        Verdict::unless(named, "request", Effect::Deny, Reason::RequestUnreadable),
        Verdict::unless(request.stayed(), "redirect", Effect::Deny, Reason::Redirected)
            .with("origin", request.url.origin()),
        Verdict::unless(frozen.is_none(), "breaker", Effect::Deny, Reason::Frozen).with("host", host),
    ]
}

/// One offer, judged.
pub(super) struct Case<'a> {
    pub(super) offer: &'a Offer,
    /// Its asset as it is written.
    asset: String,
    pub(super) verdicts: Vec<Verdict>,
    /// When it may be otherwise, if something only waits.
    pub(super) retry_at: Option<u64>,
    context: Context<'a>,
    payer: Option<&'a Account>,
    pub(super) money: Option<Money>,
    draws: Vec<Draw>,
    cooldowns: Vec<String>,
    duplicate_key: String,
    needs: Vec<Need>,
    ask_seconds: u64,
    subject: String,
    lock_begins: bool,
}

/// Judges one offer by every rule.
pub(super) fn judge<'a>(context: &Context<'a>, offer: &'a Offer) -> Case<'a> {
    let mut case = Case {
        offer,
        asset: offer.asset.to_string(),
        verdicts: Vec::with_capacity(VERDICTS),
        retry_at: None,
        context: *context,
        payer: context.purse.payer(offer),
        money: None,
        draws: Vec::new(),
        cooldowns: Vec::new(),
        duplicate_key: String::new(),
        needs: Vec::new(),
        ask_seconds: 0,
        subject: String::new(),
        lock_begins: false,
    };
    case.wallet();
    if let Some(money) = case.asset() {
        case.money = Some(money);
        case.denials();
        case.validity();
        case.hours();
        case.payee();
        case.price(money);
        case.signature();
        case.caps(money);
        case.budgets(money);
        case.calls();
        case.cooldowns();
        case.duplicates();
        case.approvals(money);
        case.locks(money);
        case.questions();
        case.allowed(money);
        case.room();
    }
    case
}

impl<'a> Case<'a> {
    fn say(&mut self, verdict: Verdict) {
        self.verdicts.push(verdict);
    }

    /// Whether the paying request would introduce the holder's key.
    pub(super) fn introduces(&self) -> bool {
        self.context.purse.holder.is_some() && self.context.challenge.nonce().is_some()
    }

    /// What is said together: the worst, but that a question is asked while something waits.
    pub(super) fn standing(&self) -> Effect {
        let asks = self.verdicts.iter().any(|verdict| verdict.effect == Effect::Ask);
        match self.verdicts.iter().map(|verdict| verdict.effect).max() {
            Some(Effect::Wait) if asks => Effect::Ask,
            worst => worst.unwrap_or(Effect::Deny),
        }
    }

    /// What is to be paid, if everything passed.
    pub(super) fn choice(&self) -> Option<Choice> {
        let payer = self.payer?;
        let Context { policy, request, .. } = self.context;
        Some(Choice {
            offer: self.offer.index,
            payer: AccountId { chain: self.offer.asset.chain, address: payer.address },
            contract: payer.contract,
            valid_seconds: self.offer.max_timeout_seconds,
            money: self.money?,
            draws: self.draws.clone(),
            cooldowns: self.cooldowns.clone(),
            duplicate_key: self.duplicate_key.clone(),
            subject: self.subject.clone(),
            trusted: policy.trust.iter().any(|rule| rule.on.covers(request, self.offer, Grant)),
        })
    }

    /// What is to be asked.
    pub(super) fn asked(&self) -> Asked {
        Asked {
            offer: self.offer.index,
            question: None,
            needs: self.needs.clone(),
            seconds: self.ask_seconds,
            subject: self.subject.clone(),
            locks: self.lock_begins,
        }
    }

    /// Whose lock begins now.
    pub(super) fn lock_to_begin(&self) -> Option<String> {
        self.lock_begins.then(|| self.subject.clone())
    }

    /// Those of `rules`, which restrict, that are for this payment.
    fn covering<T>(&self, rules: &'a [Rule<T>]) -> impl Iterator<Item = &'a Rule<T>> + use<'a, T> {
        let (request, offer) = (self.context.request, self.offer);
        rules.iter().filter(move |rule| rule.on.covers(request, offer, Restrict))
    }

    fn wallet(&mut self) {
        let pays = self.payer.is_some();
        self.say(Verdict::unless(pays, "wallet", Effect::Deny, Reason::WalletCannotPay).with("asset", &self.asset));
    }

    /// The amount as the policy counts it, if it knows the asset.
    fn asset(&mut self) -> Option<Money> {
        let Some(asset) = self.context.policy.asset(&self.offer.asset) else {
            self.say(Verdict::deny("assets", Reason::AssetNotListed).with("asset", &self.asset));
            return None;
        };
        // What a token's domain is comes from the policy: an offer that says otherwise is about another token, or
        // would be signed in vain. By Permit2 the domain is not signed.
        let agrees = match (&asset.domain, &self.offer.domain) {
            (Some(known), Some(offered)) => known == offered,
            (None, Some(_)) => self.offer.transfer != crate::agent::policy::config::Transfer::Eip3009,
            (_, None) => true,
        };
        let domain = self.offer.domain.clone().unwrap_or_default();
        self.say(
            Verdict::unless(agrees, "assets", Effect::Deny, Reason::AssetDisagrees)
                .with("asset", &self.asset)
                .with("domain", format!("{:?} {:?}", shown(&domain.0), shown(&domain.1))),
        );
        let money = asset.counted(self.offer.amount);
        if money.is_none() {
            self.say(Verdict::deny("caps", Reason::OverCap).with("amount", self.offer.amount));
        }
        money
    }

    fn denials(&mut self) {
        let policy = self.context.policy;
        for rule in self.covering(&policy.deny) {
            self.verdicts.push(Verdict::deny(rule.label.as_str(), Reason::Denied));
        }
    }

    fn validity(&mut self) {
        let (asks, max) = (self.offer.max_timeout_seconds, self.context.policy.max_validity);
        self.say(
            Verdict::unless(asks <= max, "validity", Effect::Deny, Reason::ValidityTooLong)
                .with("max seconds", max)
                .with("asks", asks),
        );
    }

    fn hours(&mut self) {
        let Context { policy, now, .. } = self.context;
        for rule in self.covering(&policy.hours) {
            let open = rule.says.holds(now);
            self.verdicts
                .push(Verdict::unless(open, rule.label.as_str(), Effect::Deny, Reason::OutsideHours).with("now", now));
        }
    }

    fn payee(&mut self) {
        let Context { policy, counters, request, .. } = self.context;
        let Some(then) = policy.pins else { return };
        let host = host_key(request);
        let Some(pinned) = counters.pin(&host, self.offer) else {
            self.say(Verdict::pass("payees").with("first payee of", host));
            return;
        };
        let payee = self.offer.payee.to_string();
        let same = pinned == payee;
        let verdict = Verdict::unless(same, "payees", effect(then), Reason::PayeeChanged);
        let verdict = verdict.with("before", pinned).with("now", payee);
        if !same && then == Then::Ask {
            self.asks("payees".to_owned(), 600);
        } else {
            self.say(verdict);
        }
    }

    fn price(&mut self, money: Money) {
        let Context { policy, counters, request, .. } = self.context;
        if let Some(quote) = &request.quote {
            let same = quote.asset == self.offer.asset && quote.payee.is_none_or(|payee| payee == self.offer.payee);
            let verdict = Verdict::unless(same, "slippage", Effect::Deny, Reason::QuoteChanged);
            self.say(verdict.with("quoted", quote.asset).with("offered", &self.asset).with("payee", self.offer.payee));
            let most = above(quote.amount, policy.quoted_bps);
            self.say(
                Verdict::unless(self.offer.amount <= most, "slippage", Effect::Deny, Reason::PriceAboveQuote)
                    .with("quoted", quote.amount)
                    .with("max bps", policy.quoted_bps)
                    .with("asks", self.offer.amount),
            );
        }
        if let Some(bps) = policy.last_bps
            && let Some(last) = counters.last_price(&price_key(request, self.offer, policy.unit(money.unit)))
        {
            let verdict =
                Verdict::unless(money.amount <= above(last, bps), "slippage", Effect::Deny, Reason::PriceAboveLast);
            let last = Money { unit: money.unit, amount: last };
            self.say(verdict.with("last", policy.text(last)).with("max bps", bps).with("asks", policy.text(money)));
        }
    }

    fn signature(&mut self) {
        let Context { policy, challenge, request, now, .. } = self.context;
        if policy.signed_offer {
            let signer = seller::signer_of_offer(policy, challenge, self.offer, request, now);
            let verdict =
                Verdict::unless(signer.is_some(), "require signed_offer", Effect::Deny, Reason::OfferUnsigned);
            self.say(verdict.with("signer", signer.unwrap_or_default()));
        }
    }

    fn caps(&mut self, money: Money) {
        let policy = self.context.policy;
        for rule in self.covering(&policy.caps).filter(|rule| rule.says.unit == money.unit) {
            self.verdicts.push(
                Verdict::unless(money.amount <= rule.says.amount, rule.label.as_str(), Effect::Deny, Reason::OverCap)
                    .with("max", policy.text(rule.says))
                    .with("asks", policy.text(money)),
            );
        }
    }

    fn budgets(&mut self, money: Money) {
        let Context { policy, counters, request, now, .. } = self.context;
        let mut covered = false;
        for rule in self.covering(&policy.budgets).filter(|rule| rule.says.max.unit == money.unit) {
            covered = true;
            let (max, span) = (rule.says.max, rule.says.span);
            if !counters.knows(span, now) {
                self.verdicts.push(Verdict::deny(rule.label.as_str(), Reason::CountersLost));
                continue;
            }
            let counter = counter("b", &rule.label, &rule.says.per, request, self.offer);
            let used = counters.used(&counter, span, now);
            let left = max.amount.saturating_sub(used);
            let text = |amount| policy.text(Money { unit: money.unit, amount });
            let fits = money.amount <= left || mutant::is("no_budget");
            let verdict = Verdict::unless(fits, rule.label.as_str(), Effect::Deny, Reason::OverBudget)
                .with("max", text(max.amount))
                .with("used", text(used))
                .with("left", text(left))
                .with("asks", text(money.amount));
            self.verdicts.push(spanned(verdict, span, now));
            self.draws.push(Draw { counter, amount: money.amount, money: true, part: (0, 0), span: Some(span) });
        }
        if !covered {
            self.say(Verdict::deny("budgets", Reason::NoBudget).with("asks", policy.text(money)));
        }
    }

    fn calls(&mut self) {
        let Context { policy, counters, request, now, .. } = self.context;
        for rule in self.covering(&policy.calls) {
            let (max, span) = (rule.says.max, rule.says.span);
            if !counters.knows(span, now) {
                self.verdicts.push(Verdict::deny(rule.label.as_str(), Reason::CountersLost));
                continue;
            }
            let counter = counter("c", &rule.label, &rule.says.per, request, self.offer);
            let used = counters.used(&counter, span, now);
            let verdict =
                Verdict::unless(used < u128::from(max), rule.label.as_str(), Effect::Deny, Reason::TooManyCalls)
                    .with("max", max)
                    .with("used", used);
            self.verdicts.push(spanned(verdict, span, now));
            self.draws.push(Draw { counter, amount: 1, money: false, part: (0, 0), span: Some(span) });
        }
    }

    fn cooldowns(&mut self) {
        let Context { policy, counters, request, now, .. } = self.context;
        for rule in self.covering(&policy.cooldowns) {
            let seconds = rule.says.seconds;
            if !counters.knows(Span::Rolling(seconds), now) {
                self.verdicts.push(Verdict::deny(rule.label.as_str(), Reason::CountersLost));
                continue;
            }
            let key = counter("d", &rule.label, &rule.says.per, request, self.offer);
            let over = counters.paid_at(&key).map_or(0, |at| at.saturating_add(seconds));
            if over > now {
                self.retry_at = self.retry_at.max(Some(over));
            }
            let verdict = Verdict::unless(over <= now, rule.label.as_str(), Effect::Wait, Reason::CoolingDown);
            self.verdicts.push(verdict.with("seconds", seconds).with("left", over.saturating_sub(now)));
            self.cooldowns.push(key);
        }
    }

    fn duplicates(&mut self) {
        let Context { policy, counters, now, request_key, .. } = self.context;
        let (Some((seconds, then)), Some(key)) = (policy.duplicates, request_key) else { return };
        let hash = sha256(&[
            &key,
            &self.offer.asset.chain.to_be_bytes(),
            &self.offer.asset.address,
            &self.offer.payee.address,
            &self.offer.amount.to_be_bytes(),
        ]);
        self.duplicate_key = hex::encode(&hash);
        let fresh = !counters.recent(&self.duplicate_key, now);
        if !fresh && then == Then::Ask {
            self.asks("duplicates".to_owned(), 600);
        } else {
            let verdict = Verdict::unless(fresh, "duplicates", effect(then), Reason::Duplicate);
            self.say(verdict.with("seconds", seconds));
        }
    }

    fn approvals(&mut self, money: Money) {
        let policy = self.context.policy;
        for rule in self.covering(&policy.approvals) {
            if self.triggers(&rule.says, money) {
                self.ask_seconds = self.sooner(rule.says.expires_in);
                let (by, threshold) = (rule.says.by.clone(), rule.says.threshold);
                self.needs.push(Need { rule: rule.label.clone(), by, threshold });
            }
        }
    }

    fn triggers(&self, approval: &Approval, money: Money) -> bool {
        let above = approval.above.is_none_or(|above| above.unit == money.unit && money.amount > above.amount);
        if !above || approval.first.is_empty() {
            return above;
        }
        let [host, payee, asset] =
            seen_keys(&host_key(self.context.request), &self.offer.payee.to_string(), &self.asset);
        approval.first.iter().any(|what| {
            let key = match what {
                First::Host => &host,
                First::Payee => &payee,
                First::Asset => &asset,
            };
            !self.context.counters.has_seen(key)
        })
    }

    /// The program must ask somebody.
    fn asks(&mut self, rule: String, seconds: u64) {
        self.ask_seconds = self.sooner(seconds);
        self.needs.push(Need { rule, by: Vec::new(), threshold: 1 });
    }

    fn sooner(&self, seconds: u64) -> u64 {
        if self.ask_seconds == 0 { seconds } else { self.ask_seconds.min(seconds) }
    }

    fn locks(&mut self, money: Money) {
        let Context { policy, counters, now, .. } = self.context;
        let exceeds = |above: Money| above.unit == money.unit && money.amount > above.amount;
        let locks: Vec<_> = self.covering(&policy.locks).filter(|rule| exceeds(rule.says.above)).collect();
        let Some(longest) = locks.iter().map(|rule| rule.says.seconds).max() else { return };
        self.name_subject();
        // They begin together, and stay open together once the longest has opened.
        let stays = longest.saturating_add(LOCK_STAYS);
        let since = counters.locked_since(&self.subject).filter(|since| since.saturating_add(stays) > now);
        self.lock_begins = since.is_none();
        for rule in locks {
            let above = rule.says.above;
            let at = since.unwrap_or(now).saturating_add(rule.says.seconds);
            if at > now {
                self.retry_at = self.retry_at.max(Some(at));
            }
            let verdict = Verdict::unless(at <= now, rule.label.as_str(), Effect::Wait, Reason::TimeLocked);
            self.verdicts
                .push(verdict.with("above", policy.text(above)).with("asks", policy.text(money)).with("opens", at));
        }
    }

    /// Whether what must be approved is.
    fn questions(&mut self) {
        if self.needs.is_empty() {
            return;
        }
        let Context { counters, now, .. } = self.context;
        self.name_subject();
        // An answer must be good for as long as there is to wait.
        self.ask_seconds = self.ask_seconds.saturating_add(self.retry_at.map_or(0, |at| at.saturating_sub(now)));
        let pending = counters.asked(&self.subject, now);
        let rejected = pending.is_some_and(|pending| pending.is_rejected());
        let needs = std::mem::take(&mut self.needs);
        for need in &needs {
            let met = pending.is_some_and(|pending| pending.satisfies(std::slice::from_ref(need)));
            let effect = if rejected { Effect::Deny } else { Effect::Ask };
            let verdict = Verdict::unless(met, need.rule.as_str(), effect, Reason::ApprovalNeeded);
            let names: Vec<&str> = need.by.iter().filter_map(|key| self.context.policy.approver(key)).collect();
            let who = if names.is_empty() { "the program".to_owned() } else { names.join(", ") };
            let verdict = verdict.with("of", who).with("threshold", need.threshold);
            self.verdicts.push(if rejected { verdict.with("answer", "no") } else { verdict });
        }
        self.needs = needs;
    }

    fn name_subject(&mut self) {
        if self.subject.is_empty() {
            self.subject = subject(&paying(self.context.policy, self.context.request, self.offer));
        }
    }

    fn allowed(&mut self, money: Money) {
        let Context { policy, request, now, .. } = self.context;
        let rule = policy.allow.iter().find(|rule| {
            let fits = rule.says.max.is_none_or(|max| max.unit == money.unit && money.amount <= max.amount);
            let now = rule.says.not_before <= now && now < rule.says.not_after;
            fits && now && rule.on.covers(request, self.offer, Grant)
        });
        let verdict = match rule {
            Some(rule) => Verdict::pass(rule.label.as_str()),
            None => Verdict::deny("allow", Reason::NotAllowed)
                .with("host", host_key(request))
                .with("asks", policy.text(money)),
        };
        self.say(verdict);
    }

    fn room(&mut self) {
        if !self.context.counters.has_room(&self.draws) {
            self.say(Verdict::deny("counters", Reason::CountersFull));
        }
    }
}

fn effect(then: Then) -> Effect {
    match then {
        Then::Deny => Effect::Deny,
        Then::Ask => Effect::Ask,
    }
}

/// `amount` and so many hundredths of a percent more.
fn above(amount: u128, bps: u64) -> u128 {
    let more = (amount / 10_000).saturating_mul(u128::from(bps));
    let rest = (amount % 10_000) * u128::from(bps) / 10_000;
    amount.saturating_add(more).saturating_add(rest)
}

/// A verdict with the span that it was counted in.
fn spanned(verdict: Verdict, span: Span, now: u64) -> Verdict {
    match span {
        Span::Lifetime => verdict,
        Span::Rolling(seconds) => verdict.with("since", needed_since(span, now)).with("seconds", seconds),
        Span::Fixed { seconds, start } => verdict.with("until", window(seconds, start, now).1).with("seconds", seconds),
    }
}

/// A text of the other side, shortened.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

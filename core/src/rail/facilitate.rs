//! Asking facilitators: who is asked, in which order, when the next one may be asked, and what is counted.

use super::breaker::{Breakers, Entered, Health, Permit};
use super::x402::facilitator::{
    Doubt, Settlement, Verdict, authorize, call, may_move, retry_after, settlement, supported_call, trouble, verdict,
};
use super::x402::supported::Supported;
use super::{Offer, Payment, Terms};
use crate::host::{Answer, Callout, CalloutError, Event, Host, Level};
use crate::mutant;
use crate::policy::Facilitator;

/// Milliseconds before a facilitator that says it is still at it is asked again.
const REASK_MILLIS: u64 = 500;

/// Asks the offer's facilitators, one after another, whether the payment would settle. Verifying fails over freely;
/// facilitators whose breaker is open are passed over.
pub async fn verify<H: Host>(
    host: &H,
    facilitators: &[Facilitator],
    breakers: &Breakers,
    offer: &Offer,
    payment: &Payment,
) -> Verdict {
    let (Payment::X402(x402), Terms::X402(terms)) = (payment, &offer.terms);
    let mut last = Verdict::Unavailable { why: "no facilitator may be asked now".to_owned() };
    for asked in asked(host, facilitators, breakers, offer) {
        let call = call(asked.facilitator, "/verify", x402, terms, asked.facilitator.verify_timeout_seconds);
        let started = host.now_millis();
        let (answer, trouble) = asked.answer(call, offer, payment).await;
        last = verdict(answer, x402);
        let outcome = match &last {
            Verdict::Valid { .. } => "ok",
            Verdict::Invalid { .. } => "refused",
            Verdict::Unavailable { why } => {
                asked.warn("/verify", why);
                "failed"
            }
        };
        count(host, "verify", outcome, started);
        let usable = !matches!(last, Verdict::Unavailable { .. });
        asked.tell(if usable { Health::Good } else { trouble });
        if usable || mutant::is("no_failover") {
            break;
        }
    }
    last
}

/// Has the payment settled.
///
/// A request that never left moves on to the next facilitator, whatever the payment. One that got no usable answer
/// moves on only if the chain lets the payment through no more than once, whoever carries it. From then on the first
/// facilitator may have been at it, so that only a settlement counts: any refusal by another may be its doing, and
/// leaves the outcome unknown. A facilitator that says it is still at it is asked once more, and nobody else is.
///
/// It takes no longer than twice the settle timeouts of the offer's facilitators together.
pub async fn settle<H: Host>(
    host: &H,
    facilitators: &[Facilitator],
    breakers: &Breakers,
    offer: &Offer,
    payment: &Payment,
) -> Settlement {
    let Payment::X402(x402) = payment;
    let Terms::X402(terms) = &offer.terms;
    let mut unanswered: Option<String> = None;
    for asked in asked(host, facilitators, breakers, offer) {
        let name = &asked.facilitator.name;
        let (why, doubt) = match asked.settle(offer, payment).await {
            Settlement::NotSent => continue,
            settled @ Settlement::Settled(_) => return settled,
            Settlement::Refused { reason } => match unanswered {
                None => return Settlement::Refused { reason },
                Some(earlier) => {
                    let why = format!("{earlier}; then {name} refused: {reason}");
                    return Settlement::Unknown { why, doubt: Doubt::Answered };
                }
            },
            Settlement::Unknown { why, doubt } => (why, doubt),
        };
        let why = match unanswered {
            None => format!("{name}: {why}"),
            Some(earlier) => format!("{earlier}; then {name}: {why}"),
        };
        if doubt != Doubt::Unanswered || !may_move(x402, terms) {
            return Settlement::Unknown { why, doubt };
        }
        unanswered = Some(why);
    }
    match unanswered {
        None => Settlement::NotSent,
        Some(why) => Settlement::Unknown { why, doubt: Doubt::Unanswered },
    }
}

/// What asking for `/supported` brought.
pub enum Learnt {
    /// The answer's body, which is usable, and what it says.
    Supported(Vec<u8>, Supported),
    /// Nothing, and the facilitator asks to be left alone for so many seconds.
    Later(u64),
    /// Nothing.
    Failed,
}

/// Asks a facilitator what it supports.
pub async fn learn<H: Host>(host: &H, facilitator: &Facilitator) -> Learnt {
    let started = host.now_millis();
    let mut call = supported_call(facilitator);
    let answer = match authorize(host, facilitator, &mut call) {
        Ok(()) => host.callout(call).await,
        Err(_) => Err(CalloutError::NotSent),
    };
    let later = answer.as_ref().ok().and_then(|answer| retry_after(answer, host.now()));
    let learnt = match answer {
        Ok(Answer { status: 200..=299, body, .. }) => {
            Supported::read(&body).map_or(Learnt::Failed, |supported| Learnt::Supported(body, supported))
        }
        Ok(_) | Err(CalloutError::NotSent | CalloutError::Lost | CalloutError::TooLarge) => {
            later.map_or(Learnt::Failed, Learnt::Later)
        }
    };
    let outcome = match &learnt {
        Learnt::Supported(..) => "ok",
        Learnt::Later(_) | Learnt::Failed => "failed",
    };
    count(host, "supported", outcome, started);
    learnt
}

/// A facilitator that may be asked now.
struct Asked<'a, H: Host> {
    host: &'a H,
    facilitator: &'a Facilitator,
    permit: Permit<'a>,
}

/// Those of the offer's facilitators that may be asked, preferred ones first. Each breaker is looked at when its turn
/// comes.
fn asked<'a, H: Host>(
    host: &'a H,
    facilitators: &'a [Facilitator],
    breakers: &'a Breakers,
    offer: &'a Offer,
) -> impl Iterator<Item = Asked<'a, H>> {
    offer.facilitators.iter().filter_map(move |index| {
        let facilitator = facilitators.get(usize::from(*index))?;
        let permit = breakers.ask(*index, host.now_millis())?;
        let asked = Asked { host, facilitator, permit };
        asked.entered(asked.permit.entered());
        Some(asked)
    })
}

impl<H: Host> Asked<'_, H> {
    /// Makes a call. With its answer, what it tells of the facilitator if the answer is of no use.
    async fn answer(
        &self,
        mut call: Callout,
        offer: &Offer,
        payment: &Payment,
    ) -> (Result<Answer, CalloutError>, Health) {
        if let Err(why) = authorize(self.host, self.facilitator, &mut call) {
            self.warn("", why);
            return (Err(CalloutError::NotSent), Health::Unclear);
        }
        let answer = self.host.callout(call).await;
        let now = self.host.now();
        let proven = || payment.check(offer, false, now).is_ok_and(|checked| checked.payer_proven);
        let trouble = trouble(&answer, proven, now);
        (answer, trouble)
    }

    /// Has the payment settled here, asking once more if the facilitator says that it is still at it.
    async fn settle(self, offer: &Offer, payment: &Payment) -> Settlement {
        let (host, facilitator) = (self.host, self.facilitator);
        let (Payment::X402(x402), Terms::X402(terms)) = (payment, &offer.terms);
        let once = async |timeout_millis: u64| {
            let mut call = call(facilitator, "/settle", x402, terms, 0);
            call.timeout_millis = timeout_millis;
            let started = host.now_millis();
            let (answer, trouble) = self.answer(call, offer, payment).await;
            let settlement = settlement(answer, x402, terms);
            let outcome = match &settlement {
                Settlement::Settled(_) => "ok",
                Settlement::Refused { .. } => "refused",
                Settlement::NotSent => "not_sent",
                Settlement::Unknown { why, .. } => {
                    self.warn("/settle", why);
                    "unknown"
                }
            };
            count(host, "settle", outcome, started);
            (settlement, trouble)
        };
        let timeout_millis = facilitator.settle_timeout_seconds.saturating_mul(1000);
        let (first, trouble) = once(timeout_millis).await;
        let pending = match &first {
            Settlement::Unknown { why, doubt: Doubt::Pending } => why.clone(),
            Settlement::NotSent | Settlement::Unknown { doubt: Doubt::Unanswered, .. } => {
                self.tell(trouble);
                return first;
            }
            Settlement::Settled(_) | Settlement::Refused { .. } | Settlement::Unknown { .. } => {
                self.tell(Health::Good);
                return first;
            }
        };
        let asleep = host.now_millis();
        host.sleep(REASK_MILLIS).await;
        // The sleep is taken from the second call, so that both together keep to two timeouts.
        let slept = host.now_millis().saturating_sub(asleep);
        let (second, trouble) = once(timeout_millis.saturating_sub(slept).max(1)).await;
        let answered = !matches!(second, Settlement::NotSent | Settlement::Unknown { doubt: Doubt::Unanswered, .. });
        self.tell(if answered { Health::Good } else { trouble });
        match second {
            Settlement::Settled(_) => second,
            // It said that it had sent the payment: what it says now does not take that back, and nobody else is asked.
            Settlement::Unknown { why, .. } | Settlement::Refused { reason: why } => {
                Settlement::Unknown { why: format!("{pending}; then {why}"), doubt: Doubt::Pending }
            }
            Settlement::NotSent => first,
        }
    }

    fn tell(self, health: Health) {
        let (host, facilitator) = (self.host, self.facilitator);
        if let Some(entered) = self.permit.tell(health, host.now_millis()) {
            tell_of(host, facilitator, entered);
        }
    }

    fn entered(&self, entered: Option<Entered>) {
        if let Some(entered) = entered {
            tell_of(self.host, self.facilitator, entered);
        }
    }

    fn warn(&self, endpoint: &str, why: &str) {
        let text = format!("facilitator {}{endpoint}: {why}", self.facilitator.name);
        self.host.event(&Event::Log { level: Level::Warn, text: &text });
    }
}

/// Counts and logs a breaker's change of state.
fn tell_of<H: Host>(host: &H, facilitator: &Facilitator, entered: Entered) {
    let name = &facilitator.name;
    host.event(&Event::Breaker { facilitator: name, state: entered.name() });
    let (level, text) = match entered {
        Entered::Closed => (Level::Info, format!("facilitator {name}: works again")),
        Entered::Open(seconds) => {
            (Level::Warn, format!("facilitator {name}: keeps failing, left alone for {seconds} s"))
        }
        Entered::HalfOpen => (Level::Info, format!("facilitator {name}: tried again, by one call at a time")),
    };
    host.event(&Event::Log { level, text: &text });
}

fn count<H: Host>(host: &H, kind: &'static str, outcome: &'static str, started: u64) {
    host.event(&Event::Callout { kind, outcome, millis: host.now_millis().saturating_sub(started) });
}

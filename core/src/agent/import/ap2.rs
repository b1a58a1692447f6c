//! AP2 open payment mandates (`mandate.payment.open.1`, AP2 v0.2).

use super::{Frame, Imported, NotImported, Rules, moment, not, read};
use crate::agent::money::{AccountId, AssetId};
use crate::rail::x402::price;
use serde_json::{Value, json};

/// The claims of an open payment mandate as a policy: the payload of its SD-JWT with every disclosure in it, once whoever
/// got it has verified it.
///
/// | mandate | policy |
/// |---|---|
/// | `payment.amount_range`, `payment_amount` (minor units) | a cap |
/// | `payment.budget` (major units) | a budget for the policy's life |
/// | `payment.agent_recurrence`: `max_occurrences` | a number of calls |
/// | `payment.agent_recurrence`: `frequency` | one call in the period, the longest that it can be |
/// | no `payment.agent_recurrence` | one call |
/// | `payment.allowed_payees`, `payee` | `hosts` of their `website`, or `payees` where `id` is a CAIP-10 account |
/// | `payment.allowed_payment_instruments`, `payment_instrument` | those whose `id` is a CAIP-19 asset, of the frame's `assets` |
/// | `payment.reference` | the task: the program names it so for the requests that the mandate is for |
/// | `payment.execution_date`, `execution_date`, `iat`, `exp` | `not_before`, `not_after` |
/// | the currency | the unit, in lower case, of the frame's `assets` |
///
/// # Errors
/// [`NotImported`]; also for every constraint that is not listed here, for a minimum above 0, and for constraints on who
/// initiates payments (`payment.allowed_pisps`, `pisp`): no rule can say them.
pub fn ap2(mandate: &[u8], frame: &Frame) -> Result<Imported, NotImported> {
    let mandate = read(mandate)?;
    if mandate.get("vct").and_then(Value::as_str) != Some("mandate.payment.open.1") {
        return Err(not("vct", "not an open payment mandate (mandate.payment.open.1)"));
    }
    let mut import = Import {
        rules: Rules { name: "AP2 open payment mandate", ..Rules::default() },
        currency: None,
        cap: None,
        budgeted: false,
        recurs: false,
        period: None,
        occurrences: None,
        frame,
        assets: frame.assets.iter().collect(),
    };
    let constraints = mandate.get("constraints").and_then(Value::as_array);
    let constraints = constraints.ok_or_else(|| not("constraints", "not a list"))?;
    for (index, constraint) in constraints.iter().enumerate() {
        import.constraint(constraint, &format!("constraints[{index}]"))?;
    }
    import.preset(&mandate)?;
    import.finish()
}

struct Import<'a> {
    rules: Rules,
    currency: Option<String>,
    /// The most that one payment may be, in minor units.
    cap: Option<u64>,
    budgeted: bool,
    recurs: bool,
    /// Seconds in which there may be one payment, and how many there may be in all.
    period: Option<u64>,
    occurrences: Option<u64>,
    frame: &'a Frame,
    assets: Vec<&'a Value>,
}

impl Import<'_> {
    fn constraint(&mut self, constraint: &Value, at: &str) -> Result<(), NotImported> {
        let kind = constraint.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "payment.amount_range" => {
                if constraint.get("min").is_some_and(|min| min.as_u64() != Some(0)) {
                    return Err(not(format!("{at}.min"), "no rule says that a payment must not be small"));
                }
                self.capped(constraint.get("max"), constraint.get("currency"), at)
            }
            "payment.budget" => self.budget(constraint, at),
            "payment.agent_recurrence" => self.recurrence(constraint, at),
            "payment.allowed_payees" => self.payees(items(constraint, at)?, at),
            "payment.allowed_payment_instruments" => self.instruments(items(constraint, at)?, at),
            "payment.reference" => {
                let task = constraint.get("conditional_transaction_id").and_then(Value::as_str);
                let task = task.ok_or_else(|| not(format!("{at}.conditional_transaction_id"), "not a text"))?;
                self.rules.notes.push(format!("payment.reference: name the task {task} in the requests it is for"));
                self.narrow("tasks", vec![task.into()], at)
            }
            "payment.execution_date" => {
                for name in ["not_before", "not_after"] {
                    let Some(text) = constraint.get(name).filter(|text| !text.is_null()) else { continue };
                    let moment = text.as_str().and_then(moment::read);
                    let (from, until) = moment.ok_or_else(|| not(format!("{at}.{name}"), "not a date of ISO 8601"))?;
                    if name == "not_before" { self.rules.from(from) } else { self.rules.until(until) }
                }
                Ok(())
            }
            _ => Err(not(format!("{at}.type"), "a constraint that no rule can say")),
        }
    }

    /// What the user has set in the mandate itself.
    fn preset(&mut self, mandate: &Value) -> Result<(), NotImported> {
        let given = |name: &str| mandate.get(name).filter(|value| !value.is_null());
        if let Some(amount) = given("payment_amount") {
            self.capped(amount.get("amount"), amount.get("currency"), "payment_amount")?;
        }
        if let Some(payee) = given("payee") {
            self.payees(std::slice::from_ref(payee), "payee")?;
        }
        if let Some(instrument) = given("payment_instrument") {
            self.instruments(std::slice::from_ref(instrument), "payment_instrument")?;
        }
        if given("pisp").is_some() {
            return Err(not("pisp", "no rule says who initiates payments"));
        }
        if let Some(date) = given("execution_date") {
            let moment = date.as_str().and_then(moment::read);
            let (from, until) = moment.ok_or_else(|| not("execution_date", "not a date of ISO 8601"))?;
            self.rules.from(from);
            // A moment is the earliest; a day is all of it.
            self.rules.until(if until > from { until } else { from.saturating_add(86_400) });
        }
        for name in ["iat", "exp"] {
            let Some(time) = given(name) else { continue };
            let time = time.as_u64().ok_or_else(|| not(name, "not a time in Unix seconds"))?;
            if name == "iat" { self.rules.from(time) } else { self.rules.until(time) }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Imported, NotImported> {
        let unit = self.currency.clone().ok_or_else(|| not("constraints", "no amount is limited"))?;
        if self.assets.is_empty() {
            return Err(not("assets", format!("name the assets that {unit} is paid in")));
        }
        for asset in &self.assets {
            let mut entry = asset.as_object().cloned().unwrap_or_default();
            entry.insert("unit".to_owned(), unit.clone().into());
            self.rules.assets.push(Value::Object(entry));
        }
        let text = |minor: u64| format!("{} {unit}", price::decimal(minor.into(), minor_digits(&unit)));
        if let Some(cap) = self.cap {
            self.rules.caps.push(json!({ "max": text(cap) }));
        }
        if !self.recurs {
            self.occurrences = Some(1);
        }
        if let Some(most) = self.occurrences {
            self.rules.calls.push(json!({ "name": "occurrences", "max": most }));
        }
        if let Some(seconds) = self.period {
            self.rules.calls.push(json!({ "name": "frequency", "max": 1, "seconds": seconds }));
        }
        if !self.budgeted {
            // What one payment may be, as often as there may be one.
            let all = self.cap.zip(self.occurrences).and_then(|(cap, times)| cap.checked_mul(times));
            self.rules.budgets.push(match (all, self.cap.zip(self.period)) {
                (Some(all), _) => json!({ "name": "mandate", "max": text(all) }),
                (None, Some((cap, seconds))) => json!({ "name": "mandate", "max": text(cap), "seconds": seconds }),
                (None, None) => return Err(not("constraints", "nothing bounds what the mandate costs in all")),
            });
        }
        self.rules.finish(self.frame)
    }

    /// All amounts are in one currency, the unit.
    fn in_currency(&mut self, currency: Option<&Value>, at: &str) -> Result<String, NotImported> {
        let code = currency.and_then(Value::as_str).filter(|code| code.len() == 3);
        let code = code.filter(|code| code.bytes().all(|c| c.is_ascii_uppercase()));
        let unit = code.map(str::to_lowercase).ok_or_else(|| not(format!("{at}.currency"), "not an ISO 4217 code"))?;
        match &self.currency {
            Some(known) if *known != unit => Err(not(format!("{at}.currency"), "a second currency")),
            _ => {
                self.currency = Some(unit.clone());
                Ok(unit)
            }
        }
    }

    /// The most that one payment may be, in minor units; the least of several counts.
    fn capped(&mut self, max: Option<&Value>, currency: Option<&Value>, at: &str) -> Result<(), NotImported> {
        self.in_currency(currency, at)?;
        let max = max.and_then(Value::as_u64).filter(|max| *max > 0);
        let max = max.ok_or_else(|| not(at, "not a whole number of minor units above 0"))?;
        self.cap = Some(self.cap.map_or(max, |cap| cap.min(max)));
        Ok(())
    }

    /// The most that all payments may be, in major units: a JSON number, of which only exact decimals are taken.
    fn budget(&mut self, constraint: &Value, at: &str) -> Result<(), NotImported> {
        let unit = self.in_currency(constraint.get("currency"), at)?;
        let text = constraint.get("max").filter(|max| max.is_number()).map(Value::to_string).unwrap_or_default();
        let exact = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let fraction = fraction.trim_end_matches('0');
        if !exact || fraction.len() > usize::from(minor_digits(&unit)) {
            return Err(not(format!("{at}.max"), "not an amount in the currency's own decimals"));
        }
        let text = if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") };
        let name = if self.budgeted { format!("mandate{}", self.rules.budgets.len()) } else { "mandate".to_owned() };
        self.rules.budgets.push(json!({ "name": name, "max": format!("{text} {unit}") }));
        self.budgeted = true;
        Ok(())
    }

    fn recurrence(&mut self, constraint: &Value, at: &str) -> Result<(), NotImported> {
        self.recurs = true;
        let day = 86_400;
        let period = match constraint.get("frequency").and_then(Value::as_str) {
            Some("ON_DEMAND") => None,
            Some("DAILY") => Some(day),
            Some("WEEKLY") => Some(7 * day),
            Some("BIWEEKLY") => Some(14 * day),
            Some("MONTHLY") => Some(31 * day),
            Some("QUARTERLY") => Some(92 * day),
            Some("ANNUALLY") => Some(366 * day),
            _ => return Err(not(format!("{at}.frequency"), "a frequency that is not known here")),
        };
        // Of several, the longest period and the fewest payments.
        self.period = self.period.max(period);
        let Some(most) = constraint.get("max_occurrences").filter(|most| !most.is_null()) else { return Ok(()) };
        let most = most.as_u64().filter(|most| *most > 0);
        let most = most.ok_or_else(|| not(format!("{at}.max_occurrences"), "not a whole number above 0"))?;
        self.occurrences = Some(self.occurrences.map_or(most, |known| known.min(most)));
        Ok(())
    }

    fn payees(&mut self, merchants: &[Value], at: &str) -> Result<(), NotImported> {
        let text = |merchant: &Value, name: &str| merchant.get(name).and_then(Value::as_str).map(str::to_owned);
        let accounts = merchants.iter().map(|it| text(it, "id").filter(|id| AccountId::parse(id).is_ok()));
        let accounts: Option<Vec<Value>> = accounts.map(|account| account.map(Value::from)).collect();
        if let Some(accounts) = accounts {
            return self.narrow("payees", accounts, at);
        }
        let hosts = merchants.iter().map(|merchant| {
            let website = text(merchant, "website")?;
            // A page of the merchant stands for its origin.
            let origin = website.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            Some(Value::from(if website.contains("://") { origin } else { website }))
        });
        match hosts.collect::<Option<Vec<Value>>>() {
            Some(hosts) => self.narrow("hosts", hosts, at),
            None => Err(not(at, "each merchant needs a `website`, or each an `id` that is a CAIP-10 account")),
        }
    }

    fn instruments(&mut self, instruments: &[Value], at: &str) -> Result<(), NotImported> {
        let ids = instruments.iter().filter_map(|it| it.get("id").and_then(Value::as_str));
        let ids: Vec<AssetId> = ids.filter_map(|id| AssetId::parse(id).ok()).collect();
        let of = |entry: &Value| entry.get("asset").and_then(Value::as_str).and_then(|id| AssetId::parse(id).ok());
        self.assets.retain(|entry| of(entry).is_some_and(|id| ids.contains(&id)));
        if self.assets.is_empty() {
            return Err(not(at, "none of these instruments is one of `assets`"));
        }
        Ok(())
    }

    /// Says whom or what payments are for; what was said before must be the same.
    fn narrow(&mut self, name: &str, values: Vec<Value>, at: &str) -> Result<(), NotImported> {
        if values.is_empty() {
            return Err(not(at, "an empty list allows nothing"));
        }
        let before = self.rules.on.get(name).and_then(Value::as_array).cloned();
        let both: Vec<Value> = match before {
            None => values,
            Some(before) => before.into_iter().filter(|value| values.contains(value)).collect(),
        };
        if both.is_empty() {
            return Err(not(at, "nothing is left that all constraints allow"));
        }
        self.rules.on.insert(name.to_owned(), both.into());
        Ok(())
    }
}

fn items<'v>(constraint: &'v Value, at: &str) -> Result<&'v [Value], NotImported> {
    let items = constraint.get("allowed").and_then(Value::as_array);
    items.map(Vec::as_slice).ok_or_else(|| not(format!("{at}.allowed"), "not a list"))
}

/// Decimal digits of a currency's minor unit (ISO 4217); two for most.
fn minor_digits(unit: &str) -> u8 {
    match unit {
        "bif" | "clp" | "djf" | "gnf" | "isk" | "jpy" | "kmf" | "krw" | "pyg" | "rwf" | "ugx" | "uyi" | "vnd"
        | "vuv" | "xaf" | "xof" | "xpf" => 0,
        "bhd" | "iqd" | "jod" | "kwd" | "lyd" | "omr" | "tnd" => 3,
        "clf" | "uyw" => 4,
        _ => 2,
    }
}

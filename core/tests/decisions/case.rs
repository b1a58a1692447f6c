//! The decision corpus (`core/vectors/decisions/`), read and played: the half that every runner shares. What a runner
//! adds is a [`Subject`]: a gate in some host, with a scripted world around it.
//!
//! Nothing here uses the code under test, so payments are built and signed, and answers judged, a second time.

mod token;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k256::ecdsa::SigningKey;
use serde_json::{Map, Value, json};
use sha3::{Digest, Keccak256};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use token::{Key, Purse, decoded};

/// Where requests of a case go unless it says otherwise.
pub const AUTHORITY: &str = "api.example.com";
/// The transaction that scripted facilitators name.
pub const TRANSACTION: &str = "0xabababababababababababababababababababababababababababababababab";
/// The body of every scripted upstream response.
pub const SERVED: &str = r#"{"served":true}"#;
/// The longest answer of a facilitator that a gate reads.
pub const LONGEST_ANSWER: usize = 256 * 1024;

/// The whole corpus.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Each rule's id, and the rule in a sentence.
    pub rules: BTreeMap<String, String>,
    /// Policies by name.
    pub policies: BTreeMap<String, Policy>,
    /// Every case of every file.
    pub cases: Vec<Case>,
}

/// A policy that cases share.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What the gate reads.
    pub json: Value,
    /// The offers that clients answer, as a challenge is to list them, by name.
    pub offers: BTreeMap<String, Value>,
    /// What a facilitator answers to `/supported`; `None`: an error.
    pub supported: Option<Value>,
    /// Whether each case needs a gate of its own, because it is about what one worker counts.
    pub fresh: bool,
    /// The gate's environment: names and values.
    pub env: Vec<(String, String)>,
    /// The corpus' own keys by name; those of a case are its own.
    keys: BTreeMap<String, Key>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique.
    pub name: String,
    /// The rule it is there for.
    pub rule: String,
    /// The policy's name.
    pub policy: String,
    /// The hosts it can run on, with the reason; all if there is none.
    pub only: Option<(Vec<String>, String)>,
    /// Why it does not hold yet.
    pub pending: Option<String>,
    steps: Vec<Value>,
}

/// A request as it is sent.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Request target.
    pub path: String,
    /// Authority.
    pub authority: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The token that it shows.
    shown: Option<String>,
}

/// A response as it came.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

/// A request as the upstream saw it.
#[derive(Clone, Debug, Default)]
pub struct Hit {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Authority.
    pub authority: String,
    /// Names in lower case, and values; no pseudo headers.
    pub headers: Vec<(String, String)>,
}

/// What the world around the gate has seen since the script was given.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How often each endpoint of each service was called: `verify`, `settle`, `backup.verify`, …
    pub calls: BTreeMap<String, usize>,
    /// Requests at the upstream.
    pub hits: Vec<Hit>,
}

/// What a scripted service does with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It answers.
    Answer {
        /// Status.
        status: u16,
        /// Names and values.
        headers: Vec<(String, String)>,
        /// Body.
        body: String,
    },
    /// The connection breaks after the call arrived.
    Lost,
    /// The call never leaves. Only hosts in process can do this.
    NotSent,
}

/// What the upstream answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// A response with the body [`SERVED`].
    Answer {
        /// Status.
        status: u16,
        /// Names and values.
        headers: Vec<(String, String)>,
    },
    /// It resets the connection before any header: the proxy makes that a 503.
    Reset,
    /// Response headers without a status.
    Nothing,
}

/// How the world behaves during one step.
#[derive(Clone, Debug)]
pub struct Script {
    /// What is left to answer, by service and endpoint. The last one is repeated.
    answers: BTreeMap<String, VecDeque<Value>>,
    /// What the upstream answers.
    pub upstream: Upstream,
    rpc: Value,
    supported: Option<Value>,
    payer: String,
    /// What the step's payment carries, for the chain.
    payload: Value,
    /// How often each endpoint was called.
    pub calls: BTreeMap<String, usize>,
}

/// A gate in some host, with a scripted world around it.
pub trait Subject {
    /// Unix seconds.
    fn now(&self) -> u64;
    /// From now on the world behaves so; what it has seen is forgotten.
    fn script(&mut self, script: Script, request_path: &str);
    /// Sends a request; it goes as far as it can. The number names it.
    fn send(&mut self, request: &Request) -> Result<usize, String>;
    /// From now on calls of `verify` and `settle`, or requests at the `upstream`, wait there.
    fn hold(&mut self, at: &str);
    /// Waits until something waits there.
    fn held(&mut self, at: &str) -> Result<(), String>;
    /// Nothing waits there any more.
    fn resume(&mut self, at: &str);
    /// The client of a request goes away.
    fn leave(&mut self, sent: usize);
    /// What a request got.
    fn response(&mut self, sent: usize) -> Result<Response, String>;
    /// Time passes. Only hosts in process can do this.
    fn pass(&mut self, seconds: u64);
    /// What the world has seen since the script.
    fn seen(&mut self) -> Seen;
}

// ---- reading ---------------------------------------------------------------------------------------------------------

impl Corpus {
    /// Reads the corpus from its directory.
    ///
    /// # Errors
    /// What is not as the README says: unknown members, rules without cases, cases without rules, doubled names.
    pub fn read(dir: &Path) -> Result<Self, String> {
        let mut corpus = Self { rules: BTreeMap::new(), policies: BTreeMap::new(), cases: Vec::new() };
        let mut keys = BTreeMap::new();
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .map_err(|error| format!("{}: {error}", dir.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        files.sort();
        for file in files {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let text = std::fs::read_to_string(&file).map_err(|error| format!("{name}: {error}"))?;
            let json: Value = serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
            corpus.add(&name, &json, &mut keys).map_err(|error| format!("{name}: {error}"))?;
        }
        corpus.check()?;
        Ok(corpus)
    }

    fn add(&mut self, file: &str, json: &Value, keys: &mut BTreeMap<String, Value>) -> Result<(), String> {
        match file {
            // Before the policies, in the order of the files' names.
            "keys.json" => {
                keys.extend(members(json)?.clone().into_iter().filter(|(_, key)| key.is_object()));
            }
            "rules.json" => {
                for (id, rule) in members(json)? {
                    self.rules.insert(id.clone(), text(rule)?.to_owned());
                }
            }
            "policies.json" => {
                for (name, policy) in members(json)? {
                    known(policy, &["policy", "offers", "supported", "fresh", "env", "why"])?;
                    let offers = members(&policy["offers"])?.clone().into_iter().collect();
                    let mut env = Vec::new();
                    for (variable, key) in policy.get("env").map(members).transpose()?.into_iter().flatten() {
                        let key = keys.get(text(key)?).ok_or_else(|| format!("no key {key}"))?;
                        env.push((variable.clone(), key.to_string()));
                    }
                    let keys = keys.iter().map(|(name, jwk)| Ok((name.clone(), Key::from_jwk(jwk)?)));
                    let policy = Policy {
                        json: policy["policy"].clone(),
                        offers,
                        supported: policy.get("supported").cloned(),
                        fresh: policy["fresh"] == true,
                        env,
                        keys: keys.collect::<Result<_, String>>()?,
                    };
                    self.policies.insert(name.clone(), policy);
                }
            }
            _ => {
                for case in list(&json["cases"])? {
                    let case = Case::read(case).map_err(|error| format!("{}: {error}", case["name"]))?;
                    self.cases.push(case);
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let mut names = BTreeMap::new();
        for case in &self.cases {
            if names.insert(&case.name, ()).is_some() {
                return Err(format!("two cases are named {}", case.name));
            }
            if !self.rules.contains_key(&case.rule) {
                return Err(format!("{}: there is no rule {}", case.name, case.rule));
            }
            if !self.policies.contains_key(&case.policy) {
                return Err(format!("{}: there is no policy {}", case.name, case.policy));
            }
        }
        match self.rules.keys().find(|rule| !self.cases.iter().any(|case| case.rule == **rule)) {
            Some(rule) => Err(format!("the rule {rule} has no case")),
            None => Ok(()),
        }
    }

    /// The cases that run on this kind of host.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Case> {
        self.cases.iter().filter(move |case| case.runs_on(kind))
    }
}

impl Case {
    fn read(json: &Value) -> Result<Self, String> {
        known(json, &["name", "rule", "policy", "only", "reason", "pending", "steps", "why"])?;
        let only = match json.get("only") {
            Some(only) => {
                let hosts = list(only)?.iter().map(|host| text(host).map(str::to_owned)).collect::<Result<_, _>>()?;
                Some((hosts, text(&json["reason"])?.to_owned()))
            }
            None => None,
        };
        let steps = list(&json["steps"])?.clone();
        for step in &steps {
            known_step(step)?;
        }
        Ok(Self {
            name: text(&json["name"])?.to_owned(),
            rule: text(&json["rule"])?.to_owned(),
            policy: json.get("policy").map_or(Ok("shop"), text)?.to_owned(),
            only,
            pending: json.get("pending").map(|reason| text(reason).map(str::to_owned)).transpose()?,
            steps,
        })
    }

    /// Whether it runs on this kind of host.
    pub fn runs_on(&self, kind: &str) -> bool {
        self.only.as_ref().is_none_or(|(hosts, _)| hosts.iter().any(|host| host == kind))
    }
}

fn known_step(step: &Value) -> Result<(), String> {
    known(
        step,
        &[
            "request",
            "payment",
            "introduces",
            "token",
            "admin",
            "facilitator",
            "upstream",
            "rpc",
            "times",
            "flood",
            "waits",
            "resume",
            "leave",
            "pass",
            "expect",
        ],
    )?;
    if let Some(request) = step.get("request") {
        known(request, &["method", "path", "headers", "authority", "fill"])?;
    }
    if let Some(payment) = step.get("payment") {
        known(
            payment,
            &[
                "answers", "version", "signer", "nonce", "echo", "id", "after", "before", "sign", "set", "remove",
                "text", "value", "header", "more",
            ],
        )?;
    }
    token::known_words(step)?;
    if let Some(expect) = step.get("expect") {
        known(
            expect,
            &[
                "status",
                "code",
                "advice",
                "headers",
                "challenge",
                "receipt",
                "upstream",
                "calls",
                "charged",
                "gives",
                "token",
                "call_receipt",
                "body",
                "grpc",
                "left",
            ],
        )?;
        if let Some(upstream) = expect.get("upstream").filter(|upstream| *upstream != "none") {
            known(upstream, &["method", "target", "authority", "headers"])?;
        }
    } else if step.get("pass").is_none() {
        return Err("a step without expectations".to_owned());
    }
    Ok(())
}

fn known(json: &Value, names: &[&str]) -> Result<(), String> {
    match members(json)?.keys().find(|key| !names.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown member {key}")),
        None => Ok(()),
    }
}

fn members(json: &Value) -> Result<&Map<String, Value>, String> {
    json.as_object().ok_or_else(|| format!("not an object: {json}"))
}

fn list(json: &Value) -> Result<&Vec<Value>, String> {
    json.as_array().ok_or_else(|| format!("not a list: {json}"))
}

fn text(json: &Value) -> Result<&str, String> {
    json.as_str().ok_or_else(|| format!("not text: {json}"))
}

fn number(json: &Value) -> Result<u64, String> {
    json.as_u64().ok_or_else(|| format!("not a number: {json}"))
}

fn pairs(json: Option<&Value>) -> Result<Vec<(String, String)>, String> {
    let Some(json) = json else { return Ok(Vec::new()) };
    let pair = |pair: &Value| Ok((text(&pair[0])?.to_owned(), text(&pair[1])?.to_owned()));
    list(json)?.iter().map(pair).collect()
}

// ---- playing ---------------------------------------------------------------------------------------------------------

/// Plays a case, and says what was not as expected.
pub fn play(case: &Case, policy: &Policy, subject: &mut dyn Subject) -> Vec<String> {
    let mut played =
        Played { case, policy, subject, sent: BTreeMap::new(), cited: BTreeMap::new(), purse: Purse::default() };
    for (index, step) in case.steps.iter().enumerate() {
        let wrong = played.step(step).unwrap_or_else(|error| vec![error]);
        if !wrong.is_empty() {
            return wrong.into_iter().map(|wrong| format!("{} step {}: {wrong}", case.name, index + 1)).collect();
        }
    }
    Vec::new()
}

struct Played<'a> {
    case: &'a Case,
    policy: &'a Policy,
    subject: &'a mut dyn Subject,
    /// Requests that wait, by name: where, and what was sent.
    sent: BTreeMap<String, (String, usize, Request)>,
    /// Payments that later steps send again, word for word.
    cited: BTreeMap<String, Vec<(String, String)>>,
    /// Tokens, and what proves to hold them.
    purse: Purse,
}

/// A request that is ready to be sent.
struct Ready {
    request: Request,
    /// Who pays.
    payer: String,
    /// The holder that it introduces.
    holder: Option<String>,
}

impl Played<'_> {
    fn step(&mut self, step: &Value) -> Result<Vec<String>, String> {
        if let Some(seconds) = step.get("pass") {
            self.subject.pass(number(seconds)?);
            return Ok(Vec::new());
        }
        let expect = &step["expect"];
        if let Some(name) = step.get("resume").or_else(|| step.get("leave")) {
            let (at, sent, request) = self.sent.remove(text(name)?).ok_or("nothing of this name waits")?;
            if step.get("leave").is_some() {
                self.subject.leave(sent);
                self.subject.resume(&at);
                return Ok(Vec::new());
            }
            let before = self.subject.seen();
            self.subject.resume(&at);
            let response = self.subject.response(sent)?;
            let mut seen = self.subject.seen();
            for (name, count) in before.calls {
                seen.calls.entry(name).and_modify(|after| *after = after.saturating_sub(count));
            }
            seen.calls.retain(|_, count| *count > 0);
            seen.hits.drain(..before.hits.len().min(seen.hits.len()));
            return self.judge(expect, &request, None, &response, &seen);
        }
        if let Some(most) = step.get("flood") {
            return self.flood(step, number(most)?);
        }
        let times = step.get("times").map_or(Ok(1), number)?;
        for last in (1..=times).map(|time| time == times) {
            let Ready { request, payer, holder } = self.ready(step)?;
            let path = request.path.split('?').next().unwrap_or_default().to_owned();
            let script = self.script(step, payer)?;
            self.subject.script(script, &path);
            if let Some(waits) = step.get("waits") {
                let at = text(&waits["at"])?;
                self.subject.hold(at);
                let sent = self.subject.send(&request)?;
                self.subject.held(at)?;
                let seen = self.subject.seen();
                let wrong = judge(expect, &request, None, &seen);
                self.sent.insert(text(&waits["as"])?.to_owned(), (at.to_owned(), sent, request));
                return Ok(wrong);
            }
            let sent = self.subject.send(&request)?;
            let response = self.subject.response(sent)?;
            let seen = self.subject.seen();
            let wrong = self.judge(expect, &request, holder, &response, &seen)?;
            if last || !wrong.is_empty() {
                return Ok(wrong);
            }
        }
        Ok(Vec::new())
    }

    /// What is wrong with an answer. `holder`: whose key the request introduced.
    fn judge(
        &mut self,
        expect: &Value,
        request: &Request,
        holder: Option<String>,
        response: &Response,
        seen: &Seen,
    ) -> Result<Vec<String>, String> {
        let mut wrong = judge(expect, request, Some(response), seen);
        wrong.extend(self.judge_tokens(expect, holder, response)?);
        wrong.extend(self.judge_left(expect)?);
        if !wrong.is_empty() {
            wrong.push(format!("answer: {response:?}"));
        }
        Ok(wrong)
    }

    /// The request of a step, with the credentials that it shows.
    fn ready(&mut self, step: &Value) -> Result<Ready, String> {
        let admin = step.get("admin").map(|_| Self::admin_request(step.get("request")));
        let mut request = self.request(admin.as_ref().unwrap_or(&step["request"]))?;
        let (mut payer, mut holder) = (String::new(), None);
        if let Some(payment) = step.get("payment") {
            let (headers, who) = self.payment(payment)?;
            let field = headers.first().map(|(name, _)| name.clone()).unwrap_or_default();
            request.headers.extend(headers);
            payer = who;
            if let Some(introduces) = step.get("introduces") {
                holder = Some(self.introduce(introduces, &field, &mut request)?);
            }
        }
        if let Some(token) = step.get("token") {
            self.show(token, &mut request)?;
        }
        if let Some(admin) = step.get("admin") {
            self.administer(admin, &mut request)?;
        }
        Ok(Ready { request, payer, holder })
    }

    /// Sends up to `most` requests, each payment with a nonce of its own, until one is answered as expected.
    fn flood(&mut self, step: &Value, most: u64) -> Result<Vec<String>, String> {
        let mut last = Vec::new();
        for nonce in 0..most {
            let mut step = step.clone();
            if let Some(payment) = step.get_mut("payment") {
                payment["nonce"] = json!(nonce.to_string());
            }
            let request = self.ready(&step)?.request;
            let script = self.script(&step, String::new())?;
            self.subject.script(script, &request.path);
            let sent = self.subject.send(&request)?;
            let response = self.subject.response(sent)?;
            if Some(u64::from(response.status)) == step["expect"]["status"].as_u64() {
                let seen = self.subject.seen();
                return self.judge(&step["expect"], &request, None, &response, &seen);
            }
            last = vec![format!("the last of {most} answers: {response:?}")];
        }
        Ok(last)
    }

    fn request(&self, json: &Value) -> Result<Request, String> {
        let mut path = text(&json["path"])?.to_owned();
        if let Some(fill) = json.get("fill") {
            path.push_str(&"x".repeat(usize::try_from(number(fill)?).map_err(|_| "too long")?));
        }
        Ok(Request {
            method: json.get("method").map_or(Ok("GET"), text)?.to_owned(),
            path,
            authority: json.get("authority").map_or(Ok(AUTHORITY), text)?.to_owned(),
            headers: pairs(json.get("headers"))?,
            shown: None,
        })
    }

    /// Random-looking bytes that are this case's own.
    fn own(&self, kind: &str, label: &str) -> [u8; 32] {
        keccak(&[b"farebox corpus\0", self.case.name.as_bytes(), b"\0", kind.as_bytes(), b"\0", label.as_bytes()])
    }

    /// The header fields that show a payment, and who pays.
    fn payment(&mut self, spec: &Value) -> Result<(Vec<(String, String)>, String), String> {
        let key = SigningKey::from_slice(&self.own("key", spec.get("signer").map_or(Ok("buyer"), text)?))
            .map_err(|_| "no key")?;
        let payer = checksummed(&address(&key));
        let usual = if spec.get("version").is_some() { "x-payment" } else { "payment-signature" };
        let name = spec.get("header").map_or(Ok(usual), text)?.to_owned();
        let mut headers = Vec::new();
        let value = if let Some(value) = spec.get("value") {
            text(value)?.to_owned()
        } else if let Some(json) = spec.get("text") {
            STANDARD.encode(text(json)?)
        } else {
            let cite = spec.to_string();
            match self.cited.get(&cite) {
                Some(cited) => return Ok((cited.clone(), payer)),
                None => {
                    let payment = self.build(spec, &key, &payer)?;
                    headers.push((name.clone(), STANDARD.encode(payment.to_string())));
                    for more in spec.get("more").map(list).transpose()?.into_iter().flatten() {
                        let value = headers[0].1.clone();
                        headers.push((text(more)?.to_owned(), value));
                    }
                    self.cited.insert(cite, headers.clone());
                    return Ok((headers, payer));
                }
            }
        };
        headers.push((name, value));
        Ok((headers, payer))
    }

    fn build(&self, spec: &Value, key: &SigningKey, payer: &str) -> Result<Value, String> {
        let offer = self.policy.offers.get(text(&spec["answers"])?).ok_or("no such offer")?;
        let now = i64::try_from(self.subject.now()).map_err(|_| "no time")?;
        let offset = |name: &str, otherwise: i64| spec.get(name).and_then(Value::as_i64).unwrap_or(otherwise) + now;
        let most = i64::try_from(number(&offer["maxTimeoutSeconds"])?).map_err(|_| "too long")?;
        let nonce = self.own("nonce", spec.get("nonce").map_or(Ok("1"), text)?);
        let window = (offset("after", -600), offset("before", most));
        let mut payment = json!({
            "x402Version": 2,
            "payload": payload(offer, payer, &nonce, window)?,
            "resource": { "url": "https://api.example.com/elsewhere", "description": "", "mimeType": "" },
            "accepted": offer,
        });
        if let Some(version) = spec.get("version") {
            let network = match text(&offer["network"])? {
                "eip155:84532" => "base-sepolia",
                "eip155:8453" => "base",
                other => return Err(format!("{other} has no name in version 1")),
            };
            payment = json!({ "x402Version": version, "scheme": offer["scheme"], "network": network,
                "payload": payment["payload"] });
        }
        let mut extensions = Map::new();
        if let Some(label) = match spec.get("echo") {
            Some(Value::Null) => None,
            Some(label) => Some(text(label)?),
            None if spec.get("version").is_some() => None,
            None => Some("1"),
        } {
            let nonce = hex(&self.own("echo", label)[..16]);
            extensions.insert("farebox".to_owned(), json!({ "info": { "nonce": nonce }, "schema": {} }));
        }
        if let Some(id) = spec.get("id") {
            let id = text(id)?;
            // Words are labels, so that no two cases share an identifier; what begins with `=` is meant as it is.
            let id = match id.strip_prefix('=') {
                Some(literal) => literal.to_owned(),
                None => format!("pay_{}", hex(&self.own("id", id)[..16])),
            };
            let info = json!({ "required": false, "id": id });
            extensions.insert("payment-identifier".to_owned(), json!({ "info": info, "schema": {} }));
        }
        if !extensions.is_empty() {
            payment["extensions"] = Value::Object(extensions);
        }
        set(&mut payment, spec.get("sign"))?;
        if spec["set"].get("/payload/signature").is_none() {
            let digest = digest(&payment, offer)?;
            let (signature, recovery) = key.sign_prehash_recoverable(&digest);
            let mut bytes = signature.to_bytes().to_vec();
            bytes.push(27 + u8::from(recovery));
            payment["payload"]["signature"] = json!(hex(&bytes));
        }
        set(&mut payment, spec.get("set"))?;
        for pointer in spec.get("remove").map(list).transpose()?.into_iter().flatten() {
            let (parent, name) = text(pointer)?.rsplit_once('/').ok_or("not a pointer")?;
            let parent = payment.pointer_mut(parent).and_then(Value::as_object_mut).ok_or("nothing there")?;
            parent.remove(name).ok_or("nothing to remove")?;
        }
        Ok(payment)
    }

    fn script(&self, step: &Value, payer: String) -> Result<Script, String> {
        let mut answers = BTreeMap::new();
        for (endpoint, script) in step.get("facilitator").map(members).transpose()?.into_iter().flatten() {
            let script = match script {
                Value::Array(script) => script.iter().cloned().collect(),
                one => VecDeque::from([one.clone()]),
            };
            answers.insert(endpoint.clone(), script);
        }
        let upstream = match step.get("upstream") {
            None => Upstream::Answer { status: 200, headers: Vec::new() },
            Some(Value::String(word)) if word == "reset" => Upstream::Reset,
            Some(Value::String(word)) if word == "nothing" => Upstream::Nothing,
            Some(answer) => {
                known(answer, &["status", "headers"])?;
                Upstream::Answer {
                    status: u16::try_from(answer.get("status").map_or(Ok(200), number)?).map_err(|_| "no status")?,
                    headers: pairs(answer.get("headers"))?,
                }
            }
        };
        let rpc = step.get("rpc").cloned().unwrap_or_default();
        let supported = self.policy.supported.clone();
        let shown =
            step.get("payment").and_then(|spec| self.cited.get(&spec.to_string())).and_then(|cited| cited.first());
        let payment = shown.and_then(|(_, value)| serde_json::from_slice::<Value>(&STANDARD.decode(value).ok()?).ok());
        let payload = payment.map(|mut payment| payment["payload"].take()).unwrap_or_default();
        Ok(Script { answers, upstream, rpc, supported, payer, payload, calls: BTreeMap::new() })
    }
}

/// Sets members by JSON pointer; a member that is not there is added.
fn set(json: &mut Value, changes: Option<&Value>) -> Result<(), String> {
    for (pointer, value) in changes.map(members).transpose()?.into_iter().flatten() {
        let (parent, name) = pointer.rsplit_once('/').ok_or("not a pointer")?;
        json.pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .ok_or("nowhere to set")?
            .insert(name.to_owned(), value.clone());
    }
    Ok(())
}

// ---- the scripted world ----------------------------------------------------------------------------------------------

impl Script {
    /// A world in which everybody is honest and nothing is counted.
    pub fn idle(policy: &Policy) -> Self {
        Self {
            answers: BTreeMap::new(),
            upstream: Upstream::Answer { status: 200, headers: Vec::new() },
            rpc: Value::Null,
            supported: policy.supported.clone(),
            payer: String::new(),
            payload: Value::Null,
            calls: BTreeMap::new(),
        }
    }

    /// What a call to the service at `authority` gets, `now` in Unix seconds. The call is counted.
    pub fn react(&mut self, authority: &str, path: &str, body: &[u8], now: u64) -> Reaction {
        let endpoint = path.trim_start_matches('/');
        if authority.starts_with("node.") {
            return self.node(body, now);
        }
        if endpoint == "supported" {
            return match &self.supported {
                Some(supported) => answer(200, supported),
                None => answer(404, &json!({})),
            };
        }
        let name = if authority.starts_with("backup.") { format!("backup.{endpoint}") } else { endpoint.to_owned() };
        *self.calls.entry(name.clone()).or_default() += 1;
        let next = match self.answers.get_mut(&name) {
            Some(script) if script.len() > 1 => script.pop_front(),
            Some(script) => script.front().cloned(),
            None => None,
        };
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        self.said(endpoint, next.as_ref(), &request)
    }

    fn said(&self, endpoint: &str, script: Option<&Value>, request: &Value) -> Reaction {
        let network = &request["paymentRequirements"]["network"];
        let payload = &request["paymentPayload"]["payload"];
        let payer = ["authorization", "permit2Authorization"].map(|kind| &payload[kind]["from"]);
        let payer = payer.into_iter().find(|from| from.is_string()).unwrap_or(&Value::Null);
        let required = &request["paymentRequirements"];
        let mut good = match endpoint {
            "verify" => json!({ "isValid": true, "payer": payer }),
            _ => json!({ "success": true, "payer": payer, "transaction": TRANSACTION, "network": network }),
        };
        if endpoint == "settle" && required["scheme"] == "upto" {
            // What was asked; for nothing, nothing goes on the chain.
            good["amount"] = required["amount"].clone();
            if required["amount"] == "0" {
                good["transaction"] = json!("");
            }
        }
        match script {
            None => answer(200, &good),
            Some(Value::String(word)) => match word.as_str() {
                "good" => answer(200, &good),
                "refused" if endpoint == "verify" => {
                    answer(200, &json!({ "isValid": false, "invalidReason": "insufficient_funds", "payer": payer }))
                }
                "refused" => answer(
                    200,
                    &json!({ "success": false, "errorReason": "insufficient_funds", "payer": payer,
                             "transaction": "", "network": network }),
                ),
                "lost" => Reaction::Lost,
                "not sent" => Reaction::NotSent,
                other => {
                    Reaction::Answer { status: 599, headers: Vec::new(), body: format!("no such answer: {other}") }
                }
            },
            Some(script) => {
                let status = script["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
                let body = if let Some(changes) = script.get("but") {
                    // The good answer, with changes; null removes.
                    let mut body = good;
                    for (key, value) in changes.as_object().into_iter().flatten() {
                        match value {
                            Value::Null => body.as_object_mut().map(|body| body.remove(key)),
                            value => body.as_object_mut().map(|body| body.insert(key.clone(), value.clone())),
                        };
                    }
                    body.to_string()
                } else if let Some(size) = script["size"].as_u64() {
                    let mut body = good;
                    body["padding"] = json!("x".repeat(usize::try_from(size).unwrap_or(0)));
                    body.to_string()
                } else if let Some(text) = script["text"].as_str() {
                    text.to_owned()
                } else {
                    script["json"].to_string()
                };
                let headers = pairs(script.get("headers")).unwrap_or_default();
                Reaction::Answer { status, headers, body }
            }
        }
    }

    /// A chain node. `rpc` is `{"fate": "used" | "canceled" | "unused" | "short" | "elsewhere" | "down", "time": offset
    /// of the latest block}`.
    fn node(&self, body: &[u8], now: u64) -> Reaction {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let fate = self.rpc["fate"].as_str().unwrap_or("down");
        if fate == "down" {
            return Reaction::Lost;
        }
        let time = now.saturating_add_signed(self.rpc["time"].as_i64().unwrap_or(0));
        let topic = |signature: &str| hex(&keccak(&[signature.as_bytes()]));
        let word = |address: &str| format!("0x{:0>64}", address.trim_start_matches("0x").to_lowercase());
        let log = |event: &str| json!([{ "topics": [topic(event)], "transactionHash": TRANSACTION }]);
        let param = |at: &str| request["params"].pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let permit = &self.payload["permit2Authorization"];
        let result = match request["method"].as_str().unwrap_or_default() {
            "eth_getLogs" if permit.is_object() => match fate {
                "used" => json!([{ "transactionHash": TRANSACTION, "data": format!("0x{:064x}", 10_000) }]),
                _ => json!([]),
            },
            // The bitmap of the permit's nonces: all of them were used in block 0xf0, or none.
            "eth_call" if permit.is_object() => {
                let block = u64::from_str_radix(param("/1").trim_start_matches("0x"), 16).unwrap_or(0);
                let digit = if fate != "unused" && block >= 0xf0 { "f" } else { "0" };
                json!(format!("0x{}", digit.repeat(64)))
            }
            "eth_getTransactionByHash" => {
                json!({ "to": permit["spender"], "input": settling(permit, 10_000).unwrap_or_default() })
            }
            "eth_getBlockByNumber" => json!({ "number": "0x100", "timestamp": format!("{time:#x}") }),
            "eth_getLogs" => match fate {
                "unused" => json!([]),
                "canceled" => log("AuthorizationCanceled(address,bytes32)"),
                _ => log("AuthorizationUsed(address,bytes32)"),
            },
            "eth_getTransactionReceipt" => {
                let (payee, amount) = match fate {
                    "short" => ("0x70997970C51812dc3A010C7d01b50e0d17dc79C8", 9_999),
                    "elsewhere" => (self.payer.as_str(), 10_000),
                    _ => ("0x70997970C51812dc3A010C7d01b50e0d17dc79C8", 10_000),
                };
                json!({ "status": "0x1", "logs": [{
                    "address": "0x036cbd53842c5426634e7929541ec2318f3dcf7e", "data": format!("0x{amount:064x}"),
                    "topics": [topic("Transfer(address,address,uint256)"), word(&self.payer), word(payee)] }] })
            }
            _ => json!(format!("0x{:064x}", 0)),
        };
        answer(200, &json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
    }
}

fn answer(status: u16, body: &Value) -> Reaction {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Reaction::Answer { status, headers, body: body.to_string() }
}

// ---- judging ---------------------------------------------------------------------------------------------------------

/// What is not as expected, or never allowed.
fn judge(expect: &Value, request: &Request, response: Option<&Response>, seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(response) = response {
        judge_response(expect, request, response, &mut wrong);
    }
    let calls: BTreeMap<String, usize> = expect["calls"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, count)| Some((name.clone(), usize::try_from(count.as_u64()?).ok()?)))
        .filter(|(_, count)| *count > 0)
        .collect();
    if calls != seen.calls {
        wrong.push(format!("calls {:?}, expected {calls:?}", seen.calls));
    }
    match expect.get("upstream").filter(|upstream| *upstream != "none") {
        None if seen.hits.is_empty() => {}
        None => wrong.push(format!("the upstream saw {:?}", seen.hits)),
        Some(upstream) => match seen.hits.as_slice() {
            [hit] => judge_hit(upstream, request, hit, &mut wrong),
            hits => wrong.push(format!("the upstream saw {} requests, expected one", hits.len())),
        },
    }
    wrong
}

fn judge_hit(expect: &Value, request: &Request, hit: &Hit, wrong: &mut Vec<String>) {
    let of = |name: &str, otherwise: &str| expect[name].as_str().unwrap_or(otherwise).to_owned();
    let expected = (of("method", &request.method), of("target", &request.path), of("authority", AUTHORITY));
    let got = (hit.method.clone(), hit.target.clone(), hit.authority.clone());
    if got != expected {
        wrong.push(format!("the upstream saw {got:?}, expected {expected:?}"));
    }
    for name in ["payment-signature", "x-payment", "capability-token"] {
        if hit.headers.iter().any(|(key, _)| key.replace('_', "-") == name) {
            wrong.push(format!("the upstream saw {name}"));
        }
    }
    if let Some(token) = &request.shown
        && hit.headers.iter().any(|(_, value)| value.contains(token))
    {
        wrong.push("the upstream saw the token".to_owned());
    }
    judge_headers(&expect["headers"], &hit.headers, "at the upstream", wrong);
}

fn judge_response(expect: &Value, request: &Request, response: &Response, wrong: &mut Vec<String>) {
    if Some(u64::from(response.status)) != expect["status"].as_u64() {
        wrong.push(format!("status {}, expected {}", response.status, expect["status"]));
    }
    judge_headers(&expect["headers"], &response.headers, "in the answer", wrong);
    // A client of version 1 looks elsewhere.
    let of_version_1 = request.headers.iter().any(|(name, _)| name == "x-payment");
    let receipt = if of_version_1 { "x-payment-response" } else { "payment-response" };
    for (member, header) in [("challenge", "payment-required"), ("receipt", receipt)] {
        let decoded = decoded(response, header);
        for (pointer, expected) in expect[member].as_object().into_iter().flatten() {
            let got = decoded.pointer(pointer).unwrap_or(&Value::Null);
            let good = if expected["any"] == true { !got.is_null() } else { got == expected };
            if !good {
                wrong.push(format!("{header} {pointer} is {got}, expected {expected}"));
            }
        }
    }
    let problem: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let head = request.method == "HEAD";
    if let Some(status) = expect["grpc"].as_u64() {
        return judge_grpc(expect, status, response, wrong);
    }
    let Some(code) = expect["code"].as_str() else {
        // The upstream's response: its body, and a receipt exactly if the exchange was charged.
        if expect.get("charged").is_some() || expect.get("upstream").is_some_and(|upstream| upstream != "none") {
            let bodiless = head || [204, 304].contains(&response.status) || response.status == 503;
            if !bodiless && response.body != SERVED {
                wrong.push("the body is not the upstream's".to_owned());
            }
            let charged = expect["charged"] == true;
            let receipts =
                ["payment-response", "x-payment-response"].map(|name| value(&response.headers, name).is_some());
            if receipts != [charged && !of_version_1, charged && of_version_1] {
                wrong.push(format!("a receipt does not say whether it was charged ({charged})"));
            }
            if charged
                && !value(&response.headers, "cache-control")
                    .is_some_and(|value| value.contains("private") && value.contains("no-store"))
            {
                wrong.push("a paid answer that caches may keep".to_owned());
            }
        }
        if value(&response.headers, "payment-required").is_some() {
            wrong.push("a challenge beside an answer".to_owned());
        }
        return;
    };
    let mut must = |ok: bool, what: &str| {
        if !ok {
            wrong.push(what.to_owned());
        }
    };
    // Of every refusal, whatever the case is about.
    if !head {
        must(problem["code"] == code, &format!("code {}, expected {code}", problem["code"]));
        must(problem["status"] == response.status, "the body's status is not the response's");
        must(problem["type"] == format!("urn:farebox:problem:{code}"), "the problem's type is not its code's");
        must(problem["advice"].is_string(), "no advice");
        must(expect.get("advice").is_none_or(|advice| problem["advice"] == *advice), "the advice is another");
        must(!response.body.contains("served"), "the upstream's body is in a refusal");
    }
    must(value(&response.headers, "content-type").as_deref() == Some("application/problem+json"), "not a problem");
    must(value(&response.headers, "cache-control").as_deref() == Some("no-store"), "a refusal that caches may keep");
    must(
        value(&response.headers, "payment-required").is_some() == [402, 412].contains(&response.status),
        "a challenge comes with a 402 or 412 and with nothing else",
    );
    must(
        value(&response.headers, "www-authenticate").is_some() || response.status != 401,
        "a 401 does not say how to show a credential",
    );
    must(
        value(&response.headers, "retry-after").is_some() || ![429, 503].contains(&response.status),
        "nothing says when to come again",
    );
}

/// A refusal in the terms of gRPC: trailers only, with what else HTTP would say as metadata.
fn judge_grpc(expect: &Value, status: u64, response: &Response, wrong: &mut Vec<String>) {
    let header = |name: &str| value(&response.headers, name).unwrap_or_default();
    let code = expect["code"].as_str().unwrap_or_default();
    for (ok, what) in [
        (header("content-type") == "application/grpc", "not application/grpc"),
        (header("grpc-status") == status.to_string(), "another grpc-status"),
        (header("grpc-message").starts_with(code), "the message does not begin with the code"),
        (header("cache-control") == "no-store", "a refusal that caches may keep"),
        (response.body.is_empty(), "a body beside the status"),
        (header("payment-required").is_empty() != expect.get("challenge").is_some(), "a challenge, or none"),
    ] {
        if !ok {
            wrong.push(what.to_owned());
        }
    }
}

/// `{name: value}`: equal; `null`: absent; `true`: there; `{"contains": text}`, `{"lacks": text}`, `{"count": n}`.
fn judge_headers(expect: &Value, headers: &[(String, String)], place: &str, wrong: &mut Vec<String>) {
    for (name, expected) in expect.as_object().into_iter().flatten() {
        let got = value(headers, name);
        let good = match expected {
            Value::Null => got.is_none(),
            Value::Bool(_) => got.is_some(),
            Value::String(text) => got.as_ref() == Some(text),
            other => {
                let has = |member: &str| {
                    let text = other[member].as_str().unwrap_or_default();
                    got.as_ref().is_some_and(|got| got.to_lowercase().contains(&text.to_lowercase()))
                };
                let count = headers.iter().filter(|(key, _)| key == name).count();
                (other.get("contains").is_none() || has("contains"))
                    && (other.get("lacks").is_none() || !has("lacks"))
                    && other["count"].as_u64().is_none_or(|expected| u64::try_from(count) == Ok(expected))
            }
        };
        if !good {
            wrong.push(format!("{name} {place} is {got:?}, expected {expected}"));
        }
    }
}

fn value(headers: &[(String, String)], name: &str) -> Option<String> {
    let values: Vec<&str> =
        headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

// ---- EIP-3009 and Permit2, from the standards' texts ------------------------------------------------------------------

fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.strip_prefix("0x").ok_or("no 0x")?;
    let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len()).step_by(2).map(|at| byte(at).ok_or_else(|| format!("not hex: {text}"))).collect()
}

fn address(key: &SigningKey) -> [u8; 20] {
    let point = key.verifying_key().to_sec1_point(false);
    let hash = keccak(&[&point.as_bytes()[1..]]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    address
}

/// EIP-55.
fn checksummed(address: &[u8; 20]) -> String {
    let digits = hex(address).trim_start_matches("0x").to_owned();
    let hash = hex(&keccak(&[digits.as_bytes()])).trim_start_matches("0x").to_owned();
    let digit = |(digit, hash): (char, char)| if hash >= '8' { digit.to_ascii_uppercase() } else { digit };
    format!("0x{}", digits.chars().zip(hash.chars()).map(digit).collect::<String>())
}

fn word(bytes: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    word[32 - bytes.len()..].copy_from_slice(bytes);
    word
}

fn uint(json: &Value) -> Result<[u8; 32], String> {
    let number: u128 = text(json)?.parse().map_err(|_| format!("not a number: {json}"))?;
    Ok(word(&number.to_be_bytes()))
}

/// What an offer's scheme has a payer sign: EIP-3009's authorization or Permit2's permit, valid between two times.
fn payload(offer: &Value, payer: &str, nonce: &[u8; 32], (after, before): (i64, i64)) -> Result<Value, String> {
    if offer["extra"]["assetTransferMethod"] != "permit2" {
        return Ok(json!({
            "authorization": {
                "from": payer, "to": offer["payTo"], "value": offer["amount"],
                "validAfter": after.to_string(), "validBefore": before.to_string(), "nonce": hex(nonce),
            },
            "signature": "0x",
        }));
    }
    let mut witness = json!({ "to": offer["payTo"], "validAfter": after.to_string() });
    let upto = offer["scheme"] == "upto";
    if upto {
        witness["facilitator"] = offer["extra"]["facilitatorAddress"].clone();
    }
    let half = nonce.first_chunk::<16>().ok_or("no nonce")?;
    Ok(json!({
        "permit2Authorization": {
            "from": payer,
            "permitted": { "token": offer["asset"], "amount": offer["amount"] },
            "spender": if upto { UPTO_PROXY } else { EXACT_PROXY },
            "nonce": u128::from_be_bytes(*half).to_string(),
            "deadline": before.to_string(),
            "witness": witness,
        },
        "signature": "0x",
    }))
}

const PERMIT2: &str = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
const EXACT_PROXY: &str = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001";
const UPTO_PROXY: &str = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002";

/// The words of a permit that both its digest and a call of the proxy have.
struct Words {
    token: [u8; 32],
    amount: [u8; 32],
    spender: [u8; 32],
    nonce: [u8; 32],
    deadline: [u8; 32],
    owner: [u8; 32],
    to: [u8; 32],
    facilitator: Option<[u8; 32]>,
    after: [u8; 32],
}

fn words(permit: &Value) -> Result<Words, String> {
    let address = |json: &Value| Ok::<_, String>(word(&unhex(text(json)?)?));
    let witness = &permit["witness"];
    Ok(Words {
        token: address(&permit["permitted"]["token"])?,
        amount: uint(&permit["permitted"]["amount"])?,
        spender: address(&permit["spender"])?,
        nonce: uint(&permit["nonce"])?,
        deadline: uint(&permit["deadline"])?,
        owner: address(&permit["from"])?,
        to: address(&witness["to"])?,
        facilitator: witness.get("facilitator").map(address).transpose()?,
        after: uint(&witness["validAfter"])?,
    })
}

/// The data of a call that has x402's proxy carry out a permit.
fn settling(permit: &Value, charged: u128) -> Result<String, String> {
    let it = words(permit)?;
    let struct_type = "((address,uint256),uint256,uint256)";
    let (function, charged) = match it.facilitator {
        Some(_) => (
            format!("settle({struct_type},uint256,address,(address,address,uint256),bytes)"),
            Some(word(&charged.to_be_bytes())),
        ),
        None => (format!("settle({struct_type},address,(address,uint256),bytes)"), None),
    };
    let mut data = keccak(&[function.as_bytes()])[..4].to_vec();
    let parts = [
        Some(it.token),
        Some(it.amount),
        Some(it.nonce),
        Some(it.deadline),
        charged,
        Some(it.owner),
        Some(it.to),
        it.facilitator,
        Some(it.after),
    ];
    data.extend(parts.into_iter().flatten().flatten());
    Ok(hex(&data))
}

fn permit_digest(permit: &Value, chain: u128) -> Result<[u8; 32], String> {
    let it = words(permit)?;
    let permissions = "TokenPermissions(address token,uint256 amount)";
    let witness_type = match it.facilitator {
        Some(_) => "Witness(address to,address facilitator,uint256 validAfter)",
        None => "Witness(address to,uint256 validAfter)",
    };
    let hash = |text: &str| keccak(&[text.as_bytes()]);
    let mut witness = vec![hash(witness_type), it.to];
    witness.extend(it.facilitator);
    witness.push(it.after);
    let message = keccak(&[
        &hash(&format!(
            "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness){permissions}{witness_type}"
        )),
        &keccak(&[&hash(permissions), &it.token, &it.amount]),
        &it.spender,
        &it.nonce,
        &it.deadline,
        &keccak(&[witness.as_flattened()]),
    ]);
    let domain = keccak(&[
        &hash("EIP712Domain(string name,uint256 chainId,address verifyingContract)"),
        &hash("Permit2"),
        &word(&chain.to_be_bytes()),
        &word(&unhex(PERMIT2)?),
    ]);
    Ok(keccak(&[&[0x19, 0x01], &domain, &message]))
}

fn digest(payment: &Value, offer: &Value) -> Result<[u8; 32], String> {
    let authorization = &payment["payload"]["authorization"];
    let chain: u128 = text(&offer["network"])?.trim_start_matches("eip155:").parse().unwrap_or(0);
    if let Some(permit) = payment["payload"].get("permit2Authorization") {
        return permit_digest(permit, chain);
    }
    let domain = keccak(&[
        &keccak(&[b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"]),
        &keccak(&[text(&offer["extra"]["name"])?.as_bytes()]),
        &keccak(&[text(&offer["extra"]["version"])?.as_bytes()]),
        &word(&chain.to_be_bytes()),
        &word(&unhex(text(&offer["asset"])?)?),
    ]);
    let message = keccak(&[
        &keccak(&[b"TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"]),
        &word(&unhex(text(&authorization["from"])?)?),
        &word(&unhex(text(&authorization["to"])?)?),
        &uint(&authorization["value"])?,
        &uint(&authorization["validAfter"])?,
        &uint(&authorization["validBefore"])?,
        &word(&unhex(text(&authorization["nonce"])?)?),
    ]);
    Ok(keccak(&[&[0x19, 0x01], &domain, &message]))
}

//! Tokens, proofs and administrators' requests as the corpus describes them, made and signed a second time; and what an
//! answer says of tokens, judged.

use super::{Played, Request, Response, address, checksummed, known, list, members, number, set, text, value};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::Signer;
use serde_json::{Map, Value, json};
use sha3::Digest;
use std::collections::BTreeMap;

/// The network that buyers pay on.
const NETWORK: &str = "eip155:84532";
/// What precedes a thumbprint where a key is named by a URN (RFC 9278).
const THUMBPRINT: &str = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:";
/// Where the gate says what it takes, and in which life its ledger is.
const METADATA: &str = "/.well-known/oauth-protected-resource";
/// Where administrators are answered.
const ADMIN: &str = "/.well-known/farebox/admin";
/// Seconds by which a time in a token may differ from the written one: what a real proxy takes for a step.
const LATE: u64 = 5;

/// A key of a gate, a holder or an administrator.
#[derive(Clone, Debug)]
pub(super) enum Key {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    Secp256k1(Box<k256::ecdsa::SigningKey>),
}

impl Key {
    /// From 32 secret bytes: a wallet's kind if its name begins so, else Ed25519.
    pub(super) fn named(name: &str, secret: &[u8; 32]) -> Result<Self, String> {
        if name.starts_with("wallet") {
            let key = k256::ecdsa::SigningKey::from_slice(secret).map_err(|_| "no key")?;
            return Ok(Self::Secp256k1(Box::new(key)));
        }
        Ok(Self::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(secret))))
    }

    /// From a private JWK, whose public members must be the key's.
    pub(super) fn from_jwk(jwk: &Value) -> Result<Self, String> {
        let secret = URL_SAFE_NO_PAD.decode(text(&jwk["d"])?).map_err(|error| error.to_string())?;
        let secret: [u8; 32] = secret.try_into().map_err(|_| "a secret of another length")?;
        let kind = if jwk["crv"] == "secp256k1" { "wallet" } else { "" };
        let key = Self::named(kind, &secret)?;
        let mut written = members(jwk)?.clone();
        written.remove("d");
        if key.required() == written { Ok(key) } else { Err(format!("not its public members: {jwk}")) }
    }

    fn algorithm(&self) -> &'static str {
        if matches!(self, Self::Ed25519(_)) { "EdDSA" } else { "ES256K" }
    }

    /// The members that name the key (RFC 7638).
    fn required(&self) -> Map<String, Value> {
        let members = match self {
            Self::Ed25519(key) => {
                json!({ "crv": "Ed25519", "kty": "OKP", "x": encode(key.verifying_key().as_bytes()) })
            }
            Self::Secp256k1(_) => {
                let point = self.point();
                json!({ "crv": "secp256k1", "kty": "EC", "x": encode(&point[1..33]), "y": encode(&point[33..]) })
            }
        };
        members.as_object().cloned().unwrap_or_default()
    }

    /// The public JWK, with its fully specified algorithm.
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = self.required();
        let algorithm = if matches!(self, Self::Ed25519(_)) { "Ed25519" } else { "ES256K" };
        jwk.insert("alg".to_owned(), json!(algorithm));
        Value::Object(jwk)
    }

    pub(super) fn thumbprint(&self) -> String {
        // The members are in the order of their names already.
        encode(&sha256(Value::Object(self.required()).to_string().as_bytes()))
    }

    /// As an HTTP message signature introduces it: `alg` and `pub`.
    fn introduced(&self) -> (&'static str, Vec<u8>) {
        match self {
            Self::Ed25519(key) => ("ed25519", key.verifying_key().as_bytes().to_vec()),
            Self::Secp256k1(_) => ("ecdsa-secp256k1-sha256", self.point()),
        }
    }

    /// The point, uncompressed, of a wallet's kind of key.
    fn point(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(_) => Vec::new(),
            Self::Secp256k1(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Self::Secp256k1(key) => key.sign_prehash_recoverable(&sha256(message)).0.to_bytes().to_vec(),
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match (self, ed25519_dalek::Signature::from_slice(signature)) {
            (Self::Ed25519(key), Ok(signature)) => key.verifying_key().verify_strict(message, &signature).is_ok(),
            _ => false,
        }
    }

    /// A JWS in compact form; members of `header` are set or, by null, removed.
    fn jws(&self, typ: &str, header: Option<&Value>, claims: &Value) -> Result<String, String> {
        let mut all = json!({ "alg": self.algorithm(), "kid": self.thumbprint(), "typ": typ });
        overwrite(&mut all, header)?;
        let input = format!("{}.{}", encode(all.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        Ok(format!("{input}.{}", encode(&self.sign(input.as_bytes()))))
    }
}

/// A token that an answer gave.
#[derive(Clone, Debug)]
pub(super) struct Given {
    credential: String,
    /// Label of its holder's key.
    holder: Option<String>,
}

/// What a case has made and been given so far.
#[derive(Debug, Default)]
pub(super) struct Purse {
    /// Given tokens by the names that the case has for them.
    given: BTreeMap<String, Given>,
    /// Tokens by the words they were written in.
    made: BTreeMap<String, Given>,
    /// Proofs and requests of administrators by their words, if they are named.
    proven: BTreeMap<String, Vec<(String, String)>>,
    /// The life of the gate's ledger.
    epoch: Option<String>,
    /// Names for what is named by nobody.
    fresh: u32,
}

/// Members of the descriptions, beyond those of the step.
pub(super) fn known_words(step: &Value) -> Result<(), String> {
    const CLAIMS: [&str; 3] = ["claims", "without", "header"];
    const PROOF: [&str; 14] = [
        "key",
        "nonce",
        "created",
        "expires",
        "covers",
        "for",
        "tag",
        "parameters",
        "name",
        "damage",
        "text",
        "claims",
        "without",
        "header",
    ];
    let with = |words: &[&'static str]| words.iter().copied().chain(CLAIMS).collect::<Vec<_>>();
    if let Some(token) = step.get("token") {
        known(token, &["is", "root", "links", "leave_out", "text", "as", "field", "more", "damage", "proof"])?;
        if let Some(root) = token.get("root") {
            let words = ["key", "holder", "bound", "payer", "id", "iat", "nbf", "exp", "deeper", "grants"];
            known(root, &with(&words))?;
        }
        for link in token.get("links").map(list).transpose()?.into_iter().flatten() {
            let words = ["key", "holder", "bound", "id", "iat", "nbf", "exp", "deeper", "grants", "parent"];
            known(link, &with(&words))?;
        }
        if let Some(proof) = token.get("proof").filter(|proof| !proof.is_null()) {
            known(proof, &PROOF)?;
        }
    }
    if let Some(proof) = step.get("introduces") {
        known(proof, &PROOF)?;
    }
    if let Some(admin) = step.get("admin") {
        known(admin, &with(&["key", "id", "created", "expires", "revokes", "asks", "nobody"]))?;
    }
    Ok(())
}

impl Played<'_> {
    /// A key by its name: one of the corpus' own, or one that belongs to this case alone.
    fn key(&self, name: &str) -> Result<Key, String> {
        match self.policy.keys.get(name) {
            Some(key) => Ok(key.clone()),
            None => Key::named(name, &self.own("holder", name)),
        }
    }

    /// CAIP-10; what begins with `=` is meant as it is.
    fn account(&self, label: &str) -> Result<String, String> {
        if let Some(literal) = label.strip_prefix('=') {
            return Ok(literal.to_owned());
        }
        let key = k256::ecdsa::SigningKey::from_slice(&self.own("key", label)).map_err(|_| "no key")?;
        Ok(format!("{NETWORK}:{}", checksummed(&address(&key))))
    }

    fn id(&self, kind: &str, label: &str) -> String {
        label.strip_prefix('=').map_or_else(|| encode(&self.own(kind, label)[..16]), str::to_owned)
    }

    /// An id that was not used in this case before.
    fn fresh_id(&mut self) -> String {
        self.purse.fresh += 1;
        self.id("fresh", &self.purse.fresh.to_string())
    }

    fn time(&self, spec: &Value, name: &str, otherwise: i64) -> Value {
        json!(self.subject.now().saturating_add_signed(spec[name].as_i64().unwrap_or(otherwise)))
    }

    /// The origin of the policy that has this authority.
    fn origin(&self, authority: &str) -> String {
        let origins = self.policy.json["origins"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let found = origins.into_iter().find(|origin| origin.split_once("://").is_some_and(|(_, it)| it == authority));
        found.map_or_else(|| format!("https://{authority}"), str::to_owned)
    }

    /// The life of the gate's ledger, as the gate tells it.
    fn epoch(&mut self) -> Result<String, String> {
        if self.purse.epoch.is_none() {
            let asked = Request {
                method: "GET".to_owned(),
                path: METADATA.to_owned(),
                authority: super::AUTHORITY.to_owned(),
                ..Request::default()
            };
            let sent = self.subject.send(&asked)?;
            let answer = self.subject.response(sent)?;
            let metadata: Value = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
            self.purse.epoch = Some(text(&metadata["farebox_ledger_epoch"])?.to_owned());
        }
        self.purse.epoch.clone().ok_or_else(|| "no epoch".to_owned())
    }

    // ---- tokens ------------------------------------------------------------------------------------------------------

    /// Adds the fields that show a token, and its proof.
    pub(super) fn show(&mut self, spec: &Value, request: &mut Request) -> Result<(), String> {
        let field = spec.get("field").map_or(Ok("authorization"), text)?.to_owned();
        let made = match spec.get("text") {
            Some(literal) => Given { credential: text(literal)?.to_owned(), holder: None },
            None => self.token(spec)?,
        };
        let scheme = match spec.get("as") {
            Some(scheme) => text(scheme)?,
            None if made.holder.is_some() => "HTTPSig",
            None => "Bearer",
        };
        let value = if scheme.is_empty() { made.credential.clone() } else { format!("{scheme} {}", made.credential) };
        request.headers.push((field.clone(), value.clone()));
        for more in spec.get("more").map(list).transpose()?.into_iter().flatten() {
            request.headers.push((text(more)?.to_owned(), value.clone()));
        }
        if spec.get("text").is_none() {
            request.shown = Some(made.credential.clone());
        }
        let proof = match spec.get("proof") {
            Some(Value::Null) => return Ok(()),
            Some(proof) => proof.clone(),
            None if scheme == "Bearer" || scheme.is_empty() => return Ok(()),
            None => json!({}),
        };
        let holder = proof.get("key").map(text).transpose()?.map(str::to_owned).or(made.holder).unwrap_or_default();
        let fields = if scheme == "DPoP" {
            self.named(&proof, request, |it, nonce, request| {
                it.dpop(&proof, &holder, &made.credential, nonce, request)
            })?
        } else {
            self.named(&proof, request, |it, nonce, request| {
                it.signature(&proof, &holder, &field, None, nonce, request)
            })?
        };
        request.headers.extend(fields);
        Ok(())
    }

    /// Adds the signature that introduces a key beside a payment in `field`.
    pub(super) fn introduce(&mut self, spec: &Value, field: &str, request: &mut Request) -> Result<String, String> {
        let holder = spec.get("key").map_or(Ok("agent"), text)?.to_owned();
        let key = self.key(&holder)?;
        let fields = self.named(spec, request, |it, nonce, request| {
            it.signature(spec, &holder, field, Some(&key), nonce, request)
        })?;
        request.headers.extend(fields);
        Ok(holder)
    }

    /// Made once, if the words name what is to be used once; else anew.
    fn named(
        &mut self,
        spec: &Value,
        request: &Request,
        make: impl FnOnce(&Self, &str, &Request) -> Result<Vec<(String, String)>, String>,
    ) -> Result<Vec<(String, String)>, String> {
        let Some(label) = spec.get("nonce") else {
            let nonce = self.fresh_id();
            return make(self, &nonce, request);
        };
        let words = format!("{spec} {:?}", request.shown);
        if let Some(made) = self.purse.proven.get(&words) {
            return Ok(made.clone());
        }
        let made = make(self, &self.id("nonce", text(label)?), request)?;
        self.purse.proven.insert(words, made.clone());
        Ok(made)
    }

    fn token(&mut self, spec: &Value) -> Result<Given, String> {
        let words = ["is", "root", "links", "leave_out", "damage"].map(|name| spec[name].to_string()).join(" ");
        if let Some(made) = self.purse.made.get(&words) {
            return Ok(made.clone());
        }
        let (mut links, mut holder) = match spec.get("is") {
            Some(name) => {
                let given = self.purse.given.get(text(name)?).ok_or_else(|| format!("nothing gave {name}"))?;
                (given.credential.split('~').map(str::to_owned).collect::<Vec<_>>(), given.holder.clone())
            }
            None => {
                let (root, holder) = self.root(&spec["root"])?;
                (vec![root], holder)
            }
        };
        for link in spec.get("links").map(list).transpose()?.into_iter().flatten() {
            let (made, next) = self.link(link, &links, holder.as_deref())?;
            links.push(made);
            holder = Some(next);
        }
        if let Some(left_out) = spec.get("leave_out") {
            links.remove(usize::try_from(number(left_out)?).map_err(|_| "no such link")?);
        }
        let mut credential = links.join("~");
        if spec["damage"] == true {
            let at = credential.len() - 40;
            let other = if &credential[at..=at] == "A" { "B" } else { "A" };
            credential.replace_range(at..=at, other);
        }
        let made = Given { credential, holder };
        self.purse.made.insert(words, made.clone());
        Ok(made)
    }

    /// A token as a gate would sign it, but for what the words say, and its holder.
    fn root(&mut self, spec: &Value) -> Result<(String, Option<String>), String> {
        let key = self.key(spec.get("key").map_or(Ok("gate"), text)?)?;
        let holder = spec.get("holder").map(text).transpose()?.map(str::to_owned);
        let issuer = text(&self.policy.json["origins"][0])?.to_owned();
        let payer = self.account(spec.get("payer").map_or(Ok("buyer"), text)?)?;
        let mut claims = json!({
            "iss": issuer, "aud": issuer, "sub": payer,
            "iat": self.time(spec, "iat", -60), "nbf": self.time(spec, "nbf", -60), "exp": self.time(spec, "exp", 600),
            "jti": self.id("token", spec.get("id").map_or(Ok("1"), text)?),
            "authorization_details": grants(spec, &json!([{
                "type": "http_call", "locations": [issuer], "actions": ["GET"],
                "limits": [{ "max": "3", "per": "token", "unit": "call" }],
            }]))?,
            "epoch": self.epoch()?,
            "client_id": "https://agent.example",
        });
        if let Some(holder) = &holder {
            let key = self.key(holder)?;
            claims["client_id"] = json!(format!("{THUMBPRINT}{}", key.thumbprint()));
            claims["cnf"] = bound(spec, &key);
        }
        if let Some(deeper) = spec.get("deeper") {
            claims["del_depth"] = json!(0);
            claims["del_max_depth"] = deeper.clone();
        }
        change(&mut claims, spec)?;
        Ok((key.jws("at+jwt", spec.get("header"), &claims)?, holder))
    }

    /// A delegation of the last of `links`, and its holder.
    fn link(&self, spec: &Value, links: &[String], parent: Option<&str>) -> Result<(String, String), String> {
        let last = links.last().ok_or("nothing to delegate")?;
        let theirs = payload(last)?;
        let signer = match spec.get("key") {
            Some(key) => text(key)?,
            None => parent.ok_or("nobody holds it")?,
        };
        let signer = self.key(signer)?;
        let next = (links.len() + 1).to_string();
        let holder =
            spec.get("holder").map_or_else(|| Ok(format!("agent {next}")), |it| text(it).map(str::to_owned))?;
        let named = match spec.get("parent") {
            Some(index) => {
                links.get(usize::try_from(number(index)?).map_err(|_| "no such link")?).ok_or("no such link")?
            }
            None => last,
        };
        let signed = named.rsplit_once('.').map_or("", |(input, _)| input);
        let mut claims = json!({
            "iss": format!("{THUMBPRINT}{}", signer.thumbprint()),
            "aud": theirs["aud"],
            "iat": self.time(spec, "iat", 0),
            "exp": if spec.get("exp").is_some() { self.time(spec, "exp", 0) } else { theirs["exp"].clone() },
            "jti": self.id("token", spec.get("id").map_or(Ok(next.as_str()), text)?),
            "cnf": bound(spec, &self.key(&holder)?),
            "authorization_details": grants(spec, &theirs["authorization_details"])?,
            "del_depth": theirs["del_depth"].as_u64().unwrap_or(0) + 1,
            "par_hash": encode(&sha256(signed.as_bytes())),
        });
        if spec.get("nbf").is_some() {
            claims["nbf"] = self.time(spec, "nbf", 0);
        }
        if let Some(deeper) = spec.get("deeper") {
            claims["del_max_depth"] = deeper.clone();
        }
        change(&mut claims, spec)?;
        Ok((signer.jws("at+jwt", spec.get("header"), &claims)?, holder))
    }

    // ---- proofs ------------------------------------------------------------------------------------------------------

    /// What the proof is made for: method, origin, path and query.
    fn target(&self, spec: &Value, request: &Request) -> Result<(String, String, String), String> {
        let of = |name: &str, otherwise: &str| match spec["for"].get(name) {
            Some(value) => text(value).map(str::to_owned),
            None => Ok(otherwise.to_owned()),
        };
        let authority = of("authority", &request.authority)?;
        Ok((of("method", &request.method)?, self.origin(&authority), of("path", &request.path)?))
    }

    /// `Signature-Input` and `Signature` (RFC 9421), over `field` and what the words say.
    fn signature(
        &self,
        spec: &Value,
        holder: &str,
        field: &str,
        introduced: Option<&Key>,
        nonce: &str,
        request: &Request,
    ) -> Result<Vec<(String, String)>, String> {
        let key = self.key(holder)?;
        let (method, origin, path) = self.target(spec, request)?;
        let mut covers = vec!["@method".to_owned(), "@target-uri".to_owned(), field.to_owned()];
        if value(&request.headers, "content-digest").is_some() {
            covers.push("content-digest".to_owned());
        }
        if let Some(words) = spec.get("covers") {
            covers = list(words)?.iter().map(|word| text(word).map(str::to_owned)).collect::<Result<_, _>>()?;
        }
        let (path_only, query) = path.split_once('?').unwrap_or((&path, ""));
        let mut base = String::new();
        for name in &covers {
            let covered = match name.as_str() {
                "@method" => method.clone(),
                "@target-uri" => format!("{origin}{path}"),
                "@authority" => origin.split_once("://").map_or("", |(_, authority)| authority).to_owned(),
                "@path" => path_only.to_owned(),
                "@query" => format!("?{query}"),
                field => value(&request.headers, field).ok_or_else(|| format!("nothing to cover: {field}"))?,
            };
            base.push_str(&format!("\"{name}\": {covered}\n"));
        }
        let tag = if introduced.is_some() { "httpsig-oauth-token-request" } else { "httpsig-oauth" };
        let mut parameters = vec![
            ("created", Some(self.time(spec, "created", 0).to_string())),
            ("expires", spec.get("expires").map(|_| self.time(spec, "expires", 0).to_string())),
            ("nonce", Some(json!(nonce).to_string())),
            ("tag", Some(spec.get("tag").unwrap_or(&json!(tag)).to_string())),
        ];
        if let Some(key) = introduced {
            let (algorithm, public) = key.introduced();
            parameters.push(("alg", Some(json!(algorithm).to_string())));
            parameters.push(("pub", Some(format!(":{}:", STANDARD.encode(public)))));
        }
        for (name, value) in spec.get("parameters").map(members).transpose()?.into_iter().flatten() {
            parameters.retain(|(known, _)| known != name);
            parameters.push((name, (!value.is_null()).then(|| value.to_string())));
        }
        let quoted: Vec<String> = covers.iter().map(|name| format!("\"{name}\"")).collect();
        let mut input = format!("({})", quoted.join(" "));
        for (name, value) in parameters {
            if let Some(value) = value {
                input.push_str(&format!(";{name}={value}"));
            }
        }
        base.push_str(&format!("\"@signature-params\": {input}"));
        let mut signature = key.sign(base.as_bytes());
        if spec["damage"] == true {
            signature[8] ^= 1;
        }
        let label = spec.get("name").map_or(Ok("sig1"), text)?;
        Ok(vec![
            ("signature-input".to_owned(), format!("{label}={input}")),
            ("signature".to_owned(), format!("{label}=:{}:", STANDARD.encode(signature))),
        ])
    }

    /// A `DPoP` proof (RFC 9449).
    fn dpop(
        &self,
        spec: &Value,
        holder: &str,
        credential: &str,
        nonce: &str,
        request: &Request,
    ) -> Result<Vec<(String, String)>, String> {
        let key = self.key(holder)?;
        let (method, origin, path) = self.target(spec, request)?;
        let path = path.split('?').next().unwrap_or_default();
        let mut claims = json!({
            "ath": encode(&sha256(credential.as_bytes())), "htm": method, "htu": format!("{origin}{path}"),
            "iat": self.time(spec, "created", 0), "jti": nonce,
        });
        change(&mut claims, spec)?;
        let mut header = json!({ "kid": null, "jwk": key.jwk() });
        overwrite_keeping_null(&mut header, spec.get("header"))?;
        let mut proof = key.jws("dpop+jwt", Some(&header), &claims)?;
        if spec["damage"] == true {
            let at = proof.len() - 40;
            let other = if &proof[at..=at] == "A" { "B" } else { "A" };
            proof.replace_range(at..=at, other);
        }
        Ok(vec![("dpop".to_owned(), proof)])
    }

    // ---- administrators ----------------------------------------------------------------------------------------------

    /// A request of an administrator.
    pub(super) fn administer(&mut self, spec: &Value, request: &mut Request) -> Result<(), String> {
        if spec["nobody"] == true {
            return Ok(());
        }
        let words = format!("admin {spec}");
        if let Some(made) = self.purse.proven.get(&words) {
            request.headers.extend(made.clone());
            return Ok(());
        }
        let key = self.key(spec.get("key").map_or(Ok("admin"), text)?)?;
        let id = match spec.get("id") {
            Some(label) => self.id("admin", text(label)?),
            None => self.fresh_id(),
        };
        let mut claims = json!({
            "aud": self.policy.json["tokens"]["admin"]["origin"],
            "iat": self.time(spec, "created", 0), "exp": self.time(spec, "expires", 60), "jti": id,
        });
        if let Some(what) = spec.get("revokes") {
            claims["op"] = json!("revoke");
            claims["what"] = self.named_in(what)?;
        }
        if let Some(token) = spec.get("asks") {
            claims["op"] = json!("left");
            claims["token"] = json!(self.token_id(text(token)?)?);
        }
        change(&mut claims, spec)?;
        let signed = key.jws("admin+jwt", spec.get("header"), &claims)?;
        let fields = vec![("authorization".to_owned(), format!("Bearer {signed}"))];
        if spec.get("id").is_some() {
            self.purse.proven.insert(words, fields.clone());
        }
        request.headers.extend(fields);
        Ok(())
    }

    /// What is to be revoked, of which the words are labels.
    fn named_in(&self, what: &Value) -> Result<Value, String> {
        let (kind, label) = members(what)?.iter().next().ok_or("nothing to revoke")?;
        Ok(match kind.as_str() {
            "token" => json!({ kind: self.token_id(text(label)?)? }),
            "holder" => json!({ kind: self.key(text(label)?)?.thumbprint() }),
            "payer" => json!({ kind: self.account(text(label)?)? }),
            "issued_before" => json!({ kind: self.time(what, kind, 0) }),
            _ => what.clone(),
        })
    }

    /// The id by which the gate knows a token: that of its root, and those of its delegations after `~`. Each is the
    /// name of a token that was given, or the label of one that the case makes.
    fn token_id(&self, words: &str) -> Result<String, String> {
        let mut ids = Vec::new();
        for label in words.split('~') {
            ids.push(match self.purse.given.get(label) {
                Some(given) => {
                    text(&payload(given.credential.split('~').next().unwrap_or_default())?["jti"])?.to_owned()
                }
                None => self.id("token", label),
            });
        }
        Ok(ids.join("~"))
    }

    // ---- judging -----------------------------------------------------------------------------------------------------

    /// What an answer says of tokens, and what it must never say.
    pub(super) fn judge_tokens(
        &mut self,
        expect: &Value,
        holder: Option<String>,
        response: &Response,
    ) -> Result<Vec<String>, String> {
        let mut wrong = Vec::new();
        let token = value(&response.headers, "capability-token");
        let settled = decoded(response, "payment-response")["extensions"]["farebox"]["info"]["token"].clone();
        match (expect.get("gives"), token) {
            (None, None) => {}
            (None, Some(token)) => wrong.push(format!("a token that nobody expects: {token}")),
            (Some(name), None) => wrong.push(format!("no token comes that would be {name}")),
            (Some(name), Some(token)) => {
                if settled != token.as_str() {
                    wrong.push("the settlement names another token than the answer gives".to_owned());
                }
                let keeps = value(&response.headers, "cache-control").is_some_and(|it| it.contains("no-store"));
                if !keeps {
                    wrong.push("a token that caches may keep".to_owned());
                }
                let known = self.purse.given.get(text(name)?);
                if known.is_some_and(|known| known.credential != token) {
                    wrong.push(format!("another token than {name}"));
                }
                if let Some((other, _)) =
                    self.purse.given.iter().find(|(other, given)| *other != name && given.credential == token)
                {
                    wrong.push(format!("{other} again"));
                }
                if !self.policy.keys.get("gate").is_some_and(|key| is_signed(key, &token)) {
                    wrong.push("a token that the gate's key has not signed".to_owned());
                }
                let claims = payload(&token)?;
                for (pointer, expected) in expect.get("token").map(members).transpose()?.into_iter().flatten() {
                    let got = claims.pointer(pointer).unwrap_or(&Value::Null);
                    if !self.is_claim(expected, got)? {
                        wrong.push(format!("the token's {pointer} is {got}, expected {expected}"));
                    }
                }
                let holder = known.map_or(holder, |known| known.holder.clone());
                self.purse.given.insert(text(name)?.to_owned(), Given { credential: token, holder });
            }
        }
        self.judge_receipt(expect, response, &mut wrong)?;
        let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
        for (pointer, expected) in expect.get("body").map(members).transpose()?.into_iter().flatten() {
            let got = body.pointer(pointer).unwrap_or(&Value::Null);
            if !self.is_claim(expected, got)? {
                wrong.push(format!("the body's {pointer} is {got}, expected {expected}"));
            }
        }
        Ok(wrong)
    }

    /// A charged answer of a gate that signs has a receipt, and no other answer has.
    fn judge_receipt(&self, expect: &Value, response: &Response, wrong: &mut Vec<String>) -> Result<(), String> {
        let signs = self.policy.json["tokens"]["keys"][0].get("env").is_some();
        let receipt = value(&response.headers, "call-receipt");
        if receipt.is_some() != (signs && expect["charged"] == true) {
            wrong.push(format!("a receipt of the call: {receipt:?}"));
        }
        let Some(receipt) = receipt else { return Ok(()) };
        if !self.policy.keys.get("gate").is_some_and(|key| is_signed(key, &receipt)) {
            wrong.push("a receipt that the gate's key has not signed".to_owned());
        }
        let claims = payload(&receipt)?;
        if claims["status"] != response.status {
            wrong.push(format!("a receipt of another answer: {claims}"));
        }
        for (pointer, expected) in expect.get("call_receipt").map(members).transpose()?.into_iter().flatten() {
            let got = claims.pointer(pointer).unwrap_or(&Value::Null);
            if !self.is_claim(expected, got)? {
                wrong.push(format!("the receipt's {pointer} is {got}, expected {expected}"));
            }
        }
        Ok(())
    }

    /// Whether a claim is as written: as it is, `{"any": true}`, a time `{"in": seconds}`, a buyer's `{"account"}`, or a
    /// key's `{"jwk"}`, `{"thumbprint"}`, `{"urn"}`, `{"id"}` of a token.
    fn is_claim(&self, expected: &Value, got: &Value) -> Result<bool, String> {
        let Some((word, what)) = expected.as_object().filter(|it| it.len() == 1).and_then(|it| it.iter().next()) else {
            return Ok(got == expected);
        };
        Ok(match word.as_str() {
            "any" => !got.is_null(),
            "in" => {
                let due = self.subject.now().saturating_add_signed(what.as_i64().ok_or("no time")?);
                got.as_u64().is_some_and(|time| time.abs_diff(due) <= LATE)
            }
            "account" => *got == self.account(text(what)?)?,
            "jwk" => *got == self.key(text(what)?)?.jwk(),
            "thumbprint" => *got == self.key(text(what)?)?.thumbprint(),
            "urn" => *got == format!("{THUMBPRINT}{}", self.key(text(what)?)?.thumbprint()),
            "id" => *got == self.token_id(text(what)?)?,
            _ => got == expected,
        })
    }

    /// What the ledger has left of tokens, as an administrator is told.
    pub(super) fn judge_left(&mut self, expect: &Value) -> Result<Vec<String>, String> {
        let mut wrong = Vec::new();
        for (token, expected) in expect.get("left").map(members).transpose()?.into_iter().flatten() {
            let mut request = Request {
                method: "POST".to_owned(),
                path: ADMIN.to_owned(),
                authority: super::AUTHORITY.to_owned(),
                ..Request::default()
            };
            self.administer(&json!({ "asks": token }), &mut request)?;
            let sent = self.subject.send(&request)?;
            let answer = self.subject.response(sent)?;
            let told: Value = serde_json::from_str(&answer.body).map_err(|_| format!("no answer: {answer:?}"))?;
            let mut left = Map::new();
            for counter in told["counters"].as_array().into_iter().flatten() {
                let per = if counter["per"] == "token" { String::new() } else { format!("/{}", counter["per"]) };
                let unit = counter["unit"].as_str().unwrap_or("?");
                let whose = if counter["delegated"] == true { "delegated " } else { "" };
                left.insert(format!("{whose}{unit}{per}"), counter["left"].clone());
            }
            let told = if told["counters"].is_null() { Value::Null } else { Value::Object(left) };
            if told != *expected {
                wrong.push(format!("{token} has {told} left, expected {expected}"));
            }
        }
        Ok(wrong)
    }

    /// A request of an administrator goes there, unless the step says otherwise.
    pub(super) fn admin_request(json: Option<&Value>) -> Value {
        let mut request = json!({ "method": "POST", "path": ADMIN });
        for (name, value) in json.and_then(Value::as_object).into_iter().flatten() {
            request[name] = value.clone();
        }
        request
    }
}

/// Whether a JWS in compact form is this key's.
fn is_signed(key: &Key, jws: &str) -> bool {
    let Some((input, signature)) = jws.rsplit_once('.') else { return false };
    URL_SAFE_NO_PAD.decode(signature).is_ok_and(|signature| key.verifies(input.as_bytes(), &signature))
}

/// The grants that the words say, each on top of the one at the same place in `under`, or of its last one.
fn grants(spec: &Value, under: &Value) -> Result<Value, String> {
    let under = list(under)?;
    let Some(words) = spec.get("grants") else { return Ok(json!(under)) };
    let mut grants = Vec::new();
    for (index, words) in list(words)?.iter().enumerate() {
        let mut grant = under.get(index).or(under.last()).ok_or("no grant")?.clone();
        overwrite(&mut grant, Some(words))?;
        grants.push(grant);
    }
    Ok(json!(grants))
}

/// `cnf`: the key itself, or its thumbprint if the words say so.
fn bound(spec: &Value, key: &Key) -> Value {
    if spec["bound"] == "jkt" { json!({ "jkt": key.thumbprint() }) } else { json!({ "jwk": key.jwk() }) }
}

/// Sets and removes members by JSON pointer.
fn change(claims: &mut Value, spec: &Value) -> Result<(), String> {
    set(claims, spec.get("claims"))?;
    for pointer in spec.get("without").map(list).transpose()?.into_iter().flatten() {
        let (parent, name) = text(pointer)?.rsplit_once('/').ok_or("not a pointer")?;
        let parent = claims.pointer_mut(parent).and_then(Value::as_object_mut).ok_or("nothing there")?;
        parent.remove(name).ok_or("nothing to remove")?;
    }
    Ok(())
}

/// Sets members; null removes.
fn overwrite(json: &mut Value, changes: Option<&Value>) -> Result<(), String> {
    overwrite_keeping_null(json, changes)?;
    if let Some(members) = json.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    Ok(())
}

fn overwrite_keeping_null(json: &mut Value, changes: Option<&Value>) -> Result<(), String> {
    for (name, value) in changes.map(members).transpose()?.into_iter().flatten() {
        json[name] = value.clone();
    }
    Ok(())
}

/// The claims of a JWS in compact form.
fn payload(jws: &str) -> Result<Value, String> {
    let text = jws.split('.').nth(1).ok_or("not a JWS")?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// The JSON of a header in base64.
pub(super) fn decoded(response: &Response, header: &str) -> Value {
    value(&response.headers, header)
        .and_then(|value| STANDARD.decode(value).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

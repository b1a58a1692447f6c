//! What a token says: the claims of RFC 9068, RFC 9396 and of the delegation drafts that design follows.

use super::members::{Members, seconds, texts};
use super::{Call, Grant, MAX_LINKS, Per, TokenError};
use crate::crypto::base64url;
use crate::crypto::keys::PublicKey;
use serde_json::{Map, Value, json};

/// Who may use a token: whoever proves to have this key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The key, where the token carries it. Without it the token can neither be delegated nor shown with an RFC 9421
    /// signature.
    pub key: Option<PublicKey>,
    /// The key's name: its RFC 7638 thumbprint.
    pub thumbprint: Box<str>,
}

impl Holder {
    /// The holder of `key`.
    #[must_use]
    pub fn of(key: PublicKey) -> Self {
        Self { key: Some(key), thumbprint: key.thumbprint().into() }
    }

    /// The holder of a key of which only the thumbprint is to be in the token.
    #[must_use]
    pub fn named(thumbprint: &str) -> Self {
        Self { key: None, thumbprint: thumbprint.into() }
    }

    /// `{"jwk": …}` (RFC 7800) or `{"jkt": …}` (RFC 9449 §6): exactly one of them.
    fn parse(value: &Value) -> Option<Self> {
        let members = value.as_object().filter(|members| members.len() == 1)?;
        match (members.get("jwk"), members.get("jkt")) {
            (Some(jwk), None) => PublicKey::from_jwk(jwk).map(Self::of),
            (None, Some(jkt)) => {
                let thumbprint = jkt.as_str()?;
                base64url::decode_fixed::<32>(thumbprint).map(|_| Self::named(thumbprint))
            }
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        match &self.key {
            Some(key) => json!({ "jwk": key.to_jwk() }),
            None => json!({ "jkt": self.thumbprint }),
        }
    }
}

/// The claims of one link. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The issuer's URL; in a delegation the name of the key that made it (RFC 9278).
    pub iss: String,
    /// Origins that it is for.
    pub aud: Vec<String>,
    /// The payer (CAIP-10). In roots only.
    pub sub: Option<String>,
    /// The agent: the name of its key (RFC 9278) or a URL.
    pub client_id: Option<String>,
    /// When it was made.
    pub iat: u64,
    /// Not to be used before this.
    pub nbf: Option<u64>,
    /// Not to be used from this on.
    pub exp: u64,
    /// Its id: 1 to 64 letters, digits, `-`, `_`, `.`.
    pub jti: String,
    /// Who may use it. A root without it is for any bearer; a delegation always has it.
    pub cnf: Option<Holder>,
    /// What it allows: 1 to 8 entries. A call needs one that covers it, and is counted by the first that does.
    pub grants: Vec<Grant>,
    /// 0 in a root, one more in each link.
    pub del_depth: u8,
    /// How deep it may be delegated. Absent: not at all.
    pub del_max_depth: Option<u8>,
    /// SHA-256 of the parent's signing input. In delegations only.
    pub par_hash: Option<[u8; 32]>,
    /// The payment that it was bought with: CAIP-2 network and transaction. In roots only.
    pub txn: Option<String>,
    /// The life of the ledger that counts for it. In roots only.
    pub epoch: Option<[u8; 16]>,
    /// Names for upstreams (RFC 6749). They grant nothing.
    pub scope: Option<String>,
    /// Where third parties learn of its revocation (Token Status List). It is not asked here.
    pub status: Option<Value>,
    /// Who acts for the payer (RFC 8693 §4.1). It grants nothing.
    pub act: Option<Value>,
}

const MAX_TEXT: usize = 512;
const MAX_GRANTS: usize = 8;
const MAX_AUDIENCE: usize = 16;
#[allow(clippy::cast_possible_truncation)]
const MAX_DEPTH: u8 = MAX_LINKS as u8 - 1;

impl Token {
    /// Reads the claims of a root (no `par_hash`) or of a delegation.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] if a claim is missing, has no business there, or is not understood.
    pub fn parse(claims: &Map<String, Value>) -> Result<Self, TokenError> {
        let mut claims = Members::new(claims);
        let token = Self {
            iss: claims.must("iss", "`iss` is the issuer", text)?,
            aud: claims.must("aud", "`aud` is an origin or a list of 1 to 16", audience)?,
            sub: claims.maybe("sub", "`sub` is the payer", text)?,
            client_id: claims.maybe("client_id", "`client_id` is a text", text)?,
            iat: claims.must("iat", "`iat` is a time in seconds", seconds)?,
            nbf: claims.maybe("nbf", "`nbf` is a time in seconds", seconds)?,
            exp: claims.must("exp", "`exp` is a time in seconds", seconds)?,
            jti: claims.must("jti", "`jti` is 1 to 64 letters, digits, `-`, `_`, `.`", id)?,
            cnf: claims.maybe("cnf", "`cnf` is one `jwk` or one `jkt`", Holder::parse)?,
            grants: grants(claims.take("authorization_details"))?,
            del_depth: claims.maybe("del_depth", "`del_depth` is 0 to 3", depth)?.unwrap_or(0),
            del_max_depth: claims.maybe("del_max_depth", "`del_max_depth` is 0 to 3", depth)?,
            par_hash: claims.maybe("par_hash", "`par_hash` is a SHA-256 in base64url", |hash| {
                base64url::decode_fixed(hash.as_str()?)
            })?,
            txn: claims.maybe("txn", "`txn` is a text", text)?,
            epoch: claims
                .maybe("epoch", "`epoch` is 16 bytes in base64url", |epoch| base64url::decode_fixed(epoch.as_str()?))?,
            scope: claims.maybe("scope", "`scope` is a text", text)?,
            status: claims.maybe("status", "`status` refers to a status list", status)?,
            act: claims
                .maybe("act", "`act` is an object with `sub`", |act| act.get("sub")?.as_str().map(|_| act.clone()))?,
        };
        claims.end("there is a claim that is not known here")?;
        token.check()?;
        Ok(token)
    }

    /// What a root must have and a delegation must not, and the other way round.
    fn check(&self) -> Result<(), TokenError> {
        let wrong = |what| Err(TokenError::Malformed(what));
        if self.exp <= self.iat {
            return wrong("`exp` is not after `iat`");
        }
        if self.par_hash.is_some() {
            if self.del_depth == 0 {
                return wrong("a delegation has a `del_depth` of 1 to 3");
            }
            if self.cnf.is_none() {
                return wrong("a delegation has its holder's key in `cnf`");
            }
            if self.sub.is_some() || self.txn.is_some() || self.epoch.is_some() {
                return wrong("`sub`, `txn` and `epoch` are the root's to say");
            }
        } else {
            if self.del_depth != 0 {
                return wrong("a delegation has `par_hash`");
            }
            if self.sub.is_none() || self.client_id.is_none() || self.nbf.is_none() {
                return wrong("a root has `sub`, `client_id` and `nbf`");
            }
        }
        Ok(())
    }

    /// The claims, as [`parse`](Self::parse) reads them.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut claims = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                claims.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        set("iss", Some(self.iss.as_str().into()));
        set(
            "aud",
            Some(match self.aud.as_slice() {
                [one] => one.as_str().into(),
                several => json!(several),
            }),
        );
        set("sub", text(&self.sub));
        set("client_id", text(&self.client_id));
        set("iat", Some(self.iat.into()));
        set("nbf", self.nbf.map(Value::from));
        set("exp", Some(self.exp.into()));
        set("jti", Some(self.jti.as_str().into()));
        set("cnf", self.cnf.as_ref().map(Holder::to_value));
        set("authorization_details", Some(self.grants.iter().map(Grant::to_value).collect()));
        let delegates = self.del_depth > 0 || self.del_max_depth.is_some();
        set("del_depth", delegates.then(|| self.del_depth.into()));
        set("del_max_depth", self.del_max_depth.map(Value::from));
        set("par_hash", self.par_hash.map(|hash| base64url::encode(&hash).into()));
        set("txn", text(&self.txn));
        set("epoch", self.epoch.map(|epoch| base64url::encode(&epoch).into()));
        set("scope", text(&self.scope));
        set("status", self.status.clone());
        set("act", self.act.clone());
        Value::Object(claims)
    }

    /// The first grant that covers `call`.
    pub(super) fn covering(&self, call: &Call<'_>) -> Result<usize, TokenError> {
        let mut error = TokenError::NotGranted;
        for (index, grant) in self.grants.iter().enumerate() {
            match grant.covers(call) {
                Ok(()) => return Ok(index),
                Err(TokenError::CallLimit) => error = TokenError::CallLimit,
                Err(_) => {}
            }
        }
        Err(error)
    }

    /// Counters that a call may touch: those of the grant that has most.
    pub(super) fn counters(&self) -> usize {
        let of = |grant: &Grant| grant.limits.iter().filter(|limit| limit.per != Per::Call).count();
        self.grants.iter().map(of).max().unwrap_or(0)
    }

    /// Bytes of memory behind it, about: the lengths of its texts, and as much again for what holds them.
    pub(super) fn weight(&self) -> usize {
        let texts = [Some(&self.iss), Some(&self.jti), self.sub.as_ref(), self.client_id.as_ref(), self.txn.as_ref()];
        let texts: usize = texts.into_iter().flatten().chain(&self.aud).chain(&self.scope).map(String::len).sum();
        let values = [&self.status, &self.act].map(|value| value.as_ref().map_or(0, |value| value.to_string().len()));
        let grants: usize = self.grants.iter().map(Grant::weight).sum();
        2 * texts + 8 * values.iter().sum::<usize>() + grants
    }

    /// Whether everything this link allows, `parent` allows too.
    ///
    /// # Errors
    /// [`TokenError::Wider`] with the first thing that is wider.
    pub fn narrower_than(&self, parent: &Self) -> Result<(), TokenError> {
        if !self.aud.iter().all(|origin| parent.aud.contains(origin)) {
            return Err(TokenError::Wider("aud"));
        }
        if self.exp > parent.exp {
            return Err(TokenError::Wider("exp"));
        }
        for grant in &self.grants {
            let mut first = None;
            let covered = parent.grants.iter().any(|theirs| match grant.narrower_than(theirs) {
                Ok(()) => true,
                Err(error) => {
                    first.get_or_insert(error);
                    false
                }
            });
            if !covered {
                return Err(first.unwrap_or(TokenError::Wider("authorization_details")));
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty() && text.len() <= MAX_TEXT).map(str::to_owned)
}

fn id(value: &Value) -> Option<String> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    value.as_str().filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(allowed)).map(str::to_owned)
}

fn audience(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(_) => Some(vec![text(value)?]),
        list => texts(list, MAX_AUDIENCE, |origin| !origin.is_empty() && origin.len() <= MAX_TEXT),
    }
}

fn depth(value: &Value) -> Option<u8> {
    u8::try_from(value.as_u64()?).ok().filter(|depth| *depth <= MAX_DEPTH)
}

/// `{"status_list": {"idx", "uri"}}`.
fn status(value: &Value) -> Option<Value> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let list = members.get("status_list")?.as_object().filter(|list| list.len() == 2)?;
    (list.get("idx")?.is_u64() && list.get("uri")?.is_string()).then(|| value.clone())
}

fn grants(value: Option<&Value>) -> Result<Vec<Grant>, TokenError> {
    const WHAT: &str = "`authorization_details` is a list of 1 to 8";
    let entries = value.and_then(Value::as_array).ok_or(TokenError::Malformed(WHAT))?;
    if entries.is_empty() || entries.len() > MAX_GRANTS {
        return Err(TokenError::Malformed(WHAT));
    }
    entries.iter().map(Grant::parse).collect()
}

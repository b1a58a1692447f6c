//! A credential: a root that the issuer signed, and the delegations that its holders made from it.
//!
//! `root ["~" delegation]*`. Each delegation is signed by the key in its parent's `cnf` and names what its parent
//! signed, so that the chain cannot be taken apart and put together otherwise. Everything that is cheap to find out is
//! found out before the first signature is looked at.

use super::grant::total;
use super::{Call, Grant, Holder, Limit, MAX_BYTES, MAX_LINKS, Per, TYPE, Token, TokenError, Unit};
use crate::crypto::jws::Jws;
use crate::crypto::keys::{PublicKey, THUMBPRINT_URN};
use crate::crypto::sha256;
use crate::ledger::draw::{CounterId, Draw, DrawError, FamilyId, Left, LinkId, MAX_COUNTERS};
use crate::ledger::revocation::{Facts, Subject};
use serde_json::{Value, json};

/// Seconds by which a delegation may seem older than its parent: its maker's clock is another.
const CLOCKS_DIFFER: u64 = 30;

/// Keys under their names (RFC 7638), of which several may verify at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<(Box<str>, PublicKey)>);

impl KeySet {
    /// These keys.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self(keys.into_iter().map(|key| (key.thumbprint().into(), key)).collect())
    }

    /// The keys, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter().map(|(_, key)| key)
    }

    /// The key of this name.
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<&PublicKey> {
        self.0.iter().find(|(name, _)| **name == *kid).map(|(_, key)| key)
    }

    /// The keys as a JWK set (RFC 7517 §5), as verifiers in use understand it: `alg` is that of the tokens' headers.
    #[must_use]
    pub fn to_jwks(&self) -> Value {
        let keys: Vec<_> = self
            .0
            .iter()
            .map(|(kid, key)| {
                let mut jwk = key.to_jwk();
                if let Some(members) = jwk.as_object_mut() {
                    members.insert("alg".to_owned(), key.algorithm().wire().into());
                    members.insert("kid".to_owned(), (**kid).into());
                    members.insert("use".to_owned(), "sig".into());
                }
                jwk
            })
            .collect();
        json!({ "keys": keys })
    }
}

/// Whose tokens are good.
#[derive(Clone, Copy, Debug)]
pub struct Issuer<'a> {
    /// The `iss` of roots.
    pub iss: &'a str,
    /// The keys that sign roots.
    pub keys: &'a KeySet,
}

/// One link of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its claims.
    pub token: Token,
    /// Its name, which nobody else's token has: the ids from the root to here, joined by `~`. Ids of delegations are
    /// their makers' to choose, so an id alone names a root only.
    pub name: Box<str>,
    /// What revocations know it by. Its id there is the name's, which for a root is its `jti`.
    pub facts: Facts,
    /// The counters of each grant's limits, in their order.
    pub(super) counters: Vec<Vec<CounterId>>,
}

impl Link {
    fn of(token: Token, name: &str) -> Self {
        let facts = Facts {
            token: Subject::of(name),
            holder: token.cnf.as_ref().map(|holder| Subject::of(&holder.thumbprint)),
            payer: token.sub.as_deref().map(Subject::payer),
            issued_at: token.iat,
        };
        let counters = (0..)
            .zip(&token.grants)
            .map(|(index, grant)| grant.limits.iter().map(|limit| CounterId::of(index, limit.unit.wire())).collect());
        Self { name: name.into(), facts, counters: counters.collect(), token }
    }

    /// What its counters are known by in its family, if it is a delegation.
    fn id(&self) -> LinkId {
        let Subject(id) = self.facts.token;
        LinkId(id.first_chunk().copied().unwrap_or_default())
    }
}

/// The links of a credential, root first. At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    root: Link,
    rest: Vec<Link>,
    window: Window,
}

impl Chain {
    /// Verifies a credential at the time `now`, on clocks that differ by up to `skew` seconds.
    ///
    /// Origin and method are not looked at: see [`authorises`](Self::authorises). Nor is revocation, or the holder's
    /// proof.
    ///
    /// # Errors
    /// Why it is refused; what is cheap to find out first, signatures last.
    pub fn verify(credential: &str, issuer: &Issuer<'_>, now: u64, skew: u64) -> Result<Self, TokenError> {
        let links = read(credential)?;
        let root = links.first().ok_or(EMPTY)?;
        if root.token.iss != issuer.iss {
            return Err(TokenError::WrongIssuer);
        }
        let mut key = *root.jws.kid().and_then(|kid| issuer.keys.get(kid)).ok_or(TokenError::UnknownKey)?;
        check_links(&links)?;
        Window::of(&links).check(now, skew)?;
        for link in &links {
            link.jws.verify(&key, TYPE).map_err(|_| TokenError::BadSignature)?;
            // The last link's key signs nothing here; `check_links` saw to it that every other one has one.
            key = link.token.cnf.as_ref().and_then(|holder| holder.key).unwrap_or(key);
        }
        Self::of(links)
    }

    /// Reads a credential as its holder would: every rule but the issuer's name, the time and the signatures.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn inspect(credential: &str) -> Result<Self, TokenError> {
        let links = read(credential)?;
        check_links(&links)?;
        Self::of(links)
    }

    fn of(links: Vec<Read<'_>>) -> Result<Self, TokenError> {
        let window = Window::of(&links);
        let mut name = String::new();
        let mut links = links.into_iter().map(|link| {
            if !name.is_empty() {
                name.push('~');
            }
            name.push_str(&link.token.jti);
            Link::of(link.token, &name)
        });
        let root = links.next().ok_or(EMPTY)?;
        Ok(Self { root, rest: links.collect(), window })
    }

    /// The links, root first.
    pub fn links(&self) -> impl DoubleEndedIterator<Item = &Link> + Clone {
        std::iter::once(&self.root).chain(&self.rest)
    }

    /// The link that the issuer signed.
    #[must_use]
    pub fn root(&self) -> &Link {
        &self.root
    }

    /// The link that is shown: the one whose holder must prove to be there.
    #[must_use]
    pub fn leaf(&self) -> &Link {
        self.rest.last().unwrap_or(&self.root)
    }

    /// Who may use it; `None` for any bearer.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        self.leaf().token.cnf.as_ref()
    }

    /// Who paid for it (CAIP-10).
    #[must_use]
    pub fn payer(&self) -> &str {
        self.root.token.sub.as_deref().unwrap_or_default()
    }

    /// From when on all links are good, in Unix seconds.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.window.not_before
    }

    /// When the first link expires, in Unix seconds.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.window.expires
    }

    /// Checks the time again, for a chain that was verified earlier.
    ///
    /// # Errors
    /// [`TokenError::NotYetValid`] or [`TokenError::Expired`].
    pub fn check_time(&self, now: u64, skew: u64) -> Result<(), TokenError> {
        self.window.check(now, skew)
    }

    /// Checks that it is for `origin`.
    ///
    /// # Errors
    /// [`TokenError::WrongAudience`].
    pub fn check_audience(&self, origin: &str) -> Result<(), TokenError> {
        let meant = self.links().all(|link| link.token.aud.iter().any(|listed| listed == origin));
        if meant { Ok(()) } else { Err(TokenError::WrongAudience) }
    }

    /// Which grant of each link covers `call`. A call is counted by the first that does.
    ///
    /// # Errors
    /// [`TokenError::WrongAudience`], [`TokenError::NotGranted`] or [`TokenError::CallLimit`].
    pub fn authorises<'a>(&'a self, call: &Call<'a>) -> Result<Allowed<'a>, TokenError> {
        self.check_audience(call.origin)?;
        let mut grants = [0; MAX_LINKS];
        for (link, chosen) in self.links().zip(&mut grants) {
            *chosen = link.token.covering(call)?;
        }
        Ok(Allowed { chain: self, grants, cost: call.cost })
    }

    /// The least that its links have left of their budgets of `unit`, as they write it; `None` if none of them has one.
    ///
    /// `left` is what the ledger knows of the whole family. Counters of other delegations in it do not matter, and of
    /// a counter that it does not know, nothing was drawn yet.
    #[must_use]
    pub fn left(&self, left: &Left, unit: &str) -> Option<u128> {
        let budgets = self.links().enumerate().flat_map(|(depth, link)| {
            let id = (depth > 0).then(|| link.id());
            let limits =
                link.token.grants.iter().zip(&link.counters).flat_map(|(grant, of)| grant.limits.iter().zip(of));
            limits.filter(|(limit, _)| limit.per == Per::Token && limit.unit.wire() == unit).map(
                move |(limit, counter)| {
                    let known = left.0.iter().find(|of| (of.link, of.counter, of.period) == (id, *counter, None));
                    known.map_or(limit.max, |of| of.left)
                },
            )
        });
        budgets.min()
    }

    /// Bytes of memory that it takes, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.links().map(|link| size_of::<Link>() + link.name.len() + link.token.weight()).sum()
    }
}

/// That a chain allows a call, and by which of its grants.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    chain: &'a Chain,
    grants: [usize; MAX_LINKS],
    cost: &'a [(Unit, u128)],
}

impl<'a> Allowed<'a> {
    /// Each link, root first, with the grant that counts the call and its number in the token.
    pub fn links(&self) -> impl Iterator<Item = (&'a Link, usize, &'a Grant)> + use<'a> {
        let chain = self.chain;
        chain.links().zip(self.grants).filter_map(|(link, index)| Some((link, index, link.token.grants.get(index)?)))
    }

    /// What the call draws from the ledger: every budget and rate of those grants, at every link. Those of a unit that
    /// the call's cost does not name are drawn with nothing, so that they can be charged afterwards.
    ///
    /// `skew` as in [`Chain::verify`]: counters are kept for as long as a clock may let the token pass.
    ///
    /// # Errors
    /// None, as chains are made: a chain that would have one does not verify.
    pub fn draw(&self, skew: u64) -> Result<Draw, DrawError> {
        let kept_until = |token: &Token| token.exp.saturating_add(skew);
        let mut draw: Option<Draw> = None;
        for (link, index, grant) in self.links() {
            let Subject(id) = link.facts.token;
            let draw = match &mut draw {
                None => draw.insert(Draw::new(FamilyId(id), kept_until(&link.token))),
                Some(draw) => {
                    draw.child(link.id(), kept_until(&link.token))?;
                    draw
                }
            };
            for (limit, counter) in grant.limits.iter().zip(link.counters.get(index).into_iter().flatten()) {
                let cost = total(self.cost, &limit.unit);
                match limit.per {
                    Per::Call => {}
                    Per::Token => draw.budget(*counter, limit.max, cost)?,
                    Per::Window(seconds) => draw.rate(*counter, seconds, limit.max, cost)?,
                }
            }
        }
        draw.ok_or(DrawError::Links)
    }

    /// The rate of a link, root 0, that this counter counts over so many seconds.
    #[must_use]
    pub fn rate(&self, link: usize, counter: CounterId, seconds: u32) -> Option<&'a Limit> {
        let (link, index, grant) = self.links().nth(link)?;
        let mut counted = grant.limits.iter().zip(link.counters.get(index)?);
        counted.find(|(limit, of)| limit.per == Per::Window(seconds) && **of == counter).map(|(limit, _)| limit)
    }

    /// The most of `unit` that this one call may use; `None` if no link says.
    #[must_use]
    pub fn most(&self, unit: &Unit) -> Option<u128> {
        let limits = self.links().flat_map(|(_, _, grant)| &grant.limits);
        limits.filter(|limit| limit.per == Per::Call && limit.unit == *unit).map(|limit| limit.max).min()
    }

    /// What [`Store::commit`](crate::ledger::Store::commit) is to be told once it is known that the call used `amount`
    /// of `unit`.
    #[must_use]
    pub fn used(&self, unit: &Unit, amount: u128) -> Vec<(CounterId, u128)> {
        let mut used: Vec<(CounterId, u128)> = Vec::new();
        for (link, index, grant) in self.links() {
            for (limit, counter) in grant.limits.iter().zip(link.counters.get(index).into_iter().flatten()) {
                if limit.per != Per::Call && limit.unit == *unit && used.iter().all(|(known, _)| known != counter) {
                    used.push((*counter, amount));
                }
            }
        }
        used
    }
}

const EMPTY: TokenError = TokenError::Malformed("it is empty");

/// When all links of a chain are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    not_before: u64,
    expires: u64,
}

impl Window {
    fn of(links: &[Read<'_>]) -> Self {
        let mut window = Self { not_before: 0, expires: u64::MAX };
        for Read { token, .. } in links {
            window.not_before = window.not_before.max(token.iat).max(token.nbf.unwrap_or(0));
            window.expires = window.expires.min(token.exp);
        }
        window
    }

    fn check(self, now: u64, skew: u64) -> Result<(), TokenError> {
        if self.not_before > now.saturating_add(skew) {
            return Err(TokenError::NotYetValid);
        }
        if now >= self.expires.saturating_add(skew) {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

/// A link that was read and not verified.
struct Read<'a> {
    jws: Jws<'a>,
    token: Token,
}

fn read(credential: &str) -> Result<Vec<Read<'_>>, TokenError> {
    if credential.len() > MAX_BYTES {
        return Err(TokenError::TooLarge);
    }
    if credential.split('~').count() > MAX_LINKS {
        return Err(TokenError::TooManyLinks);
    }
    credential
        .split('~')
        .enumerate()
        .map(|(index, text)| {
            let jws = Jws::parse(text, MAX_BYTES).map_err(|_| TokenError::Malformed("it is no JWS in compact form"))?;
            if !jws.has_type(TYPE) {
                return Err(TokenError::Malformed("its `typ` is not `at+jwt`"));
            }
            let token = Token::parse(&jws.payload)?;
            match (index, token.par_hash) {
                (0, Some(_)) => Err(TokenError::Malformed("the first link is a delegation without its parent")),
                (1.., None) => Err(TokenError::Malformed("only the first link can be a root")),
                _ => Ok(Read { jws, token }),
            }
        })
        .collect()
}

/// Checks that each link continues the one before it, and allows no more.
fn check_links(links: &[Read<'_>]) -> Result<(), TokenError> {
    if links.iter().map(|link| link.token.counters()).sum::<usize>() > MAX_COUNTERS {
        return Err(TokenError::Malformed("its links have more than 16 limits to count"));
    }
    for (index, pair) in links.windows(2).enumerate() {
        let [parent, child] = pair else {
            continue;
        };
        check_link(parent, child)?;
        if links.iter().take(index + 1).any(|earlier| earlier.token.jti == child.token.jti) {
            return Err(TokenError::BadLink("its `jti` is that of a link before it"));
        }
    }
    Ok(())
}

fn check_link(parent: &Read<'_>, child: &Read<'_>) -> Result<(), TokenError> {
    let holder = parent.token.cnf.as_ref().filter(|holder| holder.key.is_some()).ok_or(TokenError::NotDelegable)?;
    let depth = child.token.del_depth;
    let deepest = parent.token.del_max_depth.ok_or(TokenError::NotDelegable)?;
    if depth > deepest || child.token.del_max_depth.is_some_and(|claimed| claimed > deepest) {
        return Err(TokenError::NotDelegable);
    }
    if parent.token.del_depth.checked_add(1) != Some(depth) {
        return Err(TokenError::BadLink("its `del_depth` is not one more"));
    }
    if child.token.iss.strip_prefix(THUMBPRINT_URN) != Some(&*holder.thumbprint) {
        return Err(TokenError::BadLink("its `iss` is not the name of the parent's key"));
    }
    if child.jws.kid().is_some_and(|kid| *kid != *holder.thumbprint) {
        return Err(TokenError::BadLink("its `kid` is not the parent's key"));
    }
    if child.token.iat.saturating_add(CLOCKS_DIFFER) < parent.token.iat {
        return Err(TokenError::BadLink("it is older than its parent"));
    }
    child.token.narrower_than(&parent.token)?;
    if child.token.par_hash != Some(sha256(&[parent.jws.signing_input.as_bytes()])) {
        return Err(TokenError::BadLink("its `par_hash` is not its parent's"));
    }
    Ok(())
}

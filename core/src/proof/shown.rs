//! The credential that a request shows: which fields it is read from, and that there is one.

use super::error::{ProofError, Reason};
use super::fields::is_tchar;
use crate::http::Headers;

/// Bytes that a credential may have, without its scheme. Proxies accept header lines of 8 KiB.
pub const MAX_CREDENTIAL: usize = 8 * 1024;

/// How a credential is presented: what, if anything, must come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presented {
    /// Alone (RFC 6750).
    Bearer,
    /// With a `DPoP` proof (RFC 9449).
    Dpop,
    /// With an HTTP message signature (RFC 9421, draft-richer-oauth-httpsig-03).
    HttpSig,
}

impl Presented {
    /// The authentication scheme.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
            Self::HttpSig => "HTTPSig",
        }
    }

    /// Schemes are case-insensitive (RFC 9110 §11.1).
    fn of(scheme: &[u8]) -> Option<Self> {
        let all = [Self::Bearer, Self::Dpop, Self::HttpSig];
        all.into_iter().find(|presented| scheme.eq_ignore_ascii_case(presented.scheme().as_bytes()))
    }
}

/// Which fields are read. Which of the two it is, is the route's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// `Authorization` and `Capability-Token`.
    Both,
    /// `Capability-Token` alone: `Authorization` belongs to the upstream.
    CapabilityToken,
}

/// The credential that a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// How it is presented.
    pub presented: Presented,
    /// The credential itself: `root~child~…`.
    pub credential: &'a str,
    /// Name of the field it came in, in lower case. A signature must cover this field.
    pub field: &'static str,
}

/// Field that carries a credential, in lower case.
pub const AUTHORIZATION: &str = "authorization";
/// Field that carries a credential, in lower case.
pub const CAPABILITY_TOKEN: &str = "capability-token";

impl<'a> Shown<'a> {
    /// Reads the credential, if there is one.
    ///
    /// `Authorization` is `Bearer`, `DPoP` or `HTTPSig`, spaces, and a token68 (RFC 9110 §11.4); another scheme is
    /// somebody else's business and reads as none. `Capability-Token` is the same, and a token68 alone means `Bearer`.
    ///
    /// # Errors
    /// [`Reason::CredentialAmbiguous`] if a field comes twice or both hold a credential;
    /// [`Reason::CredentialMalformed`] for one that cannot be read.
    pub fn find(headers: &'a Headers, fields: Fields) -> Result<Option<Self>, ProofError> {
        let own = match one(headers, CAPABILITY_TOKEN)? {
            Some(value) => Some(capability_token(value)?),
            None => None,
        };
        let standard = match fields {
            Fields::CapabilityToken => None,
            Fields::Both => match one(headers, AUTHORIZATION)? {
                Some(value) => authorization(value)?,
                None => None,
            },
        };
        match (own, standard) {
            (Some(_), Some(_)) => {
                Err(ambiguous("a credential may come in `Authorization` or in `Capability-Token`, not in both"))
            }
            (own, standard) => Ok(own.or(standard)),
        }
    }
}

fn ambiguous(detail: &'static str) -> ProofError {
    ProofError::new(Reason::CredentialAmbiguous, detail)
}

fn malformed(detail: &'static str) -> ProofError {
    ProofError::new(Reason::CredentialMalformed, detail)
}

/// The only value of `name`.
fn one<'a>(headers: &'a Headers, name: &str) -> Result<Option<&'a [u8]>, ProofError> {
    let mut values = headers.all(name);
    let value = values.next();
    match values.next() {
        Some(_) => Err(ambiguous("a field that carries a credential may come once")),
        None => Ok(value),
    }
}

fn authorization(value: &[u8]) -> Result<Option<Shown<'_>>, ProofError> {
    let (scheme, rest) = scheme(value);
    let Some(presented) = Presented::of(scheme) else { return Ok(None) };
    let credential = token68(rest).ok_or(malformed("the scheme must be followed by a space and one token"))?;
    Ok(Some(Shown { presented, credential, field: AUTHORIZATION }))
}

fn capability_token(value: &[u8]) -> Result<Shown<'_>, ProofError> {
    let (scheme, rest) = scheme(value);
    let (presented, credential) = match Presented::of(scheme) {
        Some(presented) if !rest.is_empty() => (presented, token68(rest)),
        _ => (Presented::Bearer, whole_token68(value)),
    };
    let credential = credential.ok_or(malformed("`Capability-Token` must be one token, after a scheme or alone"))?;
    Ok(Shown { presented, credential, field: CAPABILITY_TOKEN })
}

/// The token at the beginning, and what follows it.
fn scheme(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().position(|c| !is_tchar(*c)).unwrap_or(value.len());
    value.split_at_checked(end).unwrap_or((value, &[]))
}

/// At least one space, then a token68 and nothing else.
fn token68(rest: &[u8]) -> Option<&str> {
    let spaces = rest.iter().take_while(|c| **c == b' ').count();
    if spaces == 0 { None } else { whole_token68(rest.get(spaces..)?) }
}

/// RFC 9110 §11.2.
fn whole_token68(text: &[u8]) -> Option<&str> {
    let padding = text.iter().rev().take_while(|c| **c == b'=').count();
    let body = text.get(..text.len().checked_sub(padding)?)?;
    let fits = !body.is_empty()
        && text.len() <= MAX_CREDENTIAL
        && body.iter().fold(true, |fits, c| fits & (BELONGS.get(usize::from(*c)) == Some(&true)));
    fits.then(|| std::str::from_utf8(text).ok()).flatten()
}

/// Whether a token68 may hold a byte. A table: tokens have a thousand characters, and come with every call.
const BELONGS: [bool; 256] = {
    let mut table = [false; 256];
    let mut c = 0;
    while c < table.len() {
        #[expect(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "below 256, while compiling")]
        {
            table[c] = (c as u8).is_ascii_alphanumeric() || matches!(c as u8, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        }
        c += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn find(fields: &[(&str, &str)], which: Fields) -> Result<Option<(Presented, String, &'static str)>, Reason> {
        let headers: Headers = fields.iter().copied().collect();
        let shown = Shown::find(&headers, which).map_err(|error| error.reason)?;
        Ok(shown.map(|shown| (shown.presented, shown.credential.to_owned(), shown.field)))
    }

    fn both(fields: &[(&str, &str)]) -> Result<Option<(Presented, String, &'static str)>, Reason> {
        find(fields, Fields::Both)
    }

    #[test]
    fn schemes_are_read_in_any_case_and_other_schemes_are_not_ours() {
        for (scheme, presented) in [
            ("Bearer", Presented::Bearer),
            ("bEARER", Presented::Bearer),
            ("DPoP", Presented::Dpop),
            ("dpop", Presented::Dpop),
            ("HTTPSig", Presented::HttpSig),
            ("hTtPsIg", Presented::HttpSig),
        ] {
            let expected = Some((presented, "a.b-_c~d.e.f".to_owned(), AUTHORIZATION));
            assert_eq!(both(&[("Authorization", &format!("{scheme} a.b-_c~d.e.f"))]), Ok(expected.clone()));
            assert_eq!(both(&[("authorization", &format!("{scheme}   a.b-_c~d.e.f"))]), Ok(expected));
        }
        for other in ["Basic dXNlcjpwYXNz", "Digest a=\"b\"", "L402 x:y", "Bearers a", "Bear a", "", "a.b.c", "\"", "é"]
        {
            assert_eq!(both(&[("authorization", other)]), Ok(None), "{other}");
        }
        assert_eq!(both(&[]), Ok(None));
    }

    #[test]
    fn one_scheme_one_space_at_least_and_one_token() {
        let long = format!("Bearer {}", "a".repeat(MAX_CREDENTIAL + 1));
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer=a",
            "Bearer/a",
            "Bearer:a",
            "Bearer\ta",
            "Bearer a b",
            "Bearer a,Bearer b",
            "Bearer a, HTTPSig b",
            "Bearer =",
            "Bearer a=b",
            "Bearer \"a\"",
            "Bearer a\u{e9}",
            "Bearer a ",
            "Bearer, a",
            "Bearer a\r\nx: y",
            "Bearer a\0",
            "Bearer token=\"a\"",
            &long,
        ] {
            assert_eq!(both(&[("authorization", bad)]), Err(Reason::CredentialMalformed), "{bad:?}");
        }
        assert!(both(&[("authorization", long.get(..long.len() - 1).unwrap())]).unwrap().is_some());
        assert_eq!(both(&[("authorization", "Bearer a+/=")]).unwrap().unwrap().1, "a+/=");
    }

    #[test]
    fn capability_token_takes_a_scheme_and_alone_means_bearer() {
        let read = |value: &str| both(&[("Capability-Token", value)]);
        assert_eq!(read("a.b.c"), Ok(Some((Presented::Bearer, "a.b.c".to_owned(), CAPABILITY_TOKEN))));
        assert_eq!(read("HTTPSig a.b.c"), Ok(Some((Presented::HttpSig, "a.b.c".to_owned(), CAPABILITY_TOKEN))));
        assert_eq!(read("dpop a.b.c"), Ok(Some((Presented::Dpop, "a.b.c".to_owned(), CAPABILITY_TOKEN))));
        // A token that begins like a scheme is still a token.
        assert_eq!(read("bearer"), Ok(Some((Presented::Bearer, "bearer".to_owned(), CAPABILITY_TOKEN))));
        assert_eq!(read("bearer.a"), Ok(Some((Presented::Bearer, "bearer.a".to_owned(), CAPABILITY_TOKEN))));
        for bad in ["", " ", "Basic a.b.c", "Bearer ", "Bearer a b", "a, b", "a.b.c, a.b.c", "HTTPSig", "a b"] {
            let expected = if bad == "HTTPSig" {
                Ok(Some((Presented::Bearer, bad.to_owned(), CAPABILITY_TOKEN)))
            } else {
                Err(Reason::CredentialMalformed)
            };
            assert_eq!(read(bad), expected, "{bad:?}");
        }
    }

    #[test]
    fn two_credentials_are_refused_wherever_they_stand() {
        let ambiguous = Err(Reason::CredentialAmbiguous);
        assert_eq!(both(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]), ambiguous);
        assert_eq!(both(&[("authorization", "Basic a"), ("Authorization", "Bearer a")]), ambiguous);
        assert_eq!(both(&[("capability-token", "a"), ("capability-token", "a")]), ambiguous);
        assert_eq!(both(&[("capability-token", "a"), ("authorization", "DPoP a")]), ambiguous);
        let own = Ok(Some((Presented::Bearer, "a".to_owned(), CAPABILITY_TOKEN)));
        assert_eq!(both(&[("capability-token", "a"), ("authorization", "Basic a")]), own);
        // On a route whose `Authorization` is the upstream's, nothing of it is looked at.
        let theirs = [("authorization", "Bearer a"), ("authorization", "Bearer"), ("capability-token", "a")];
        assert_eq!(find(&theirs, Fields::CapabilityToken), own);
        assert_eq!(find(&theirs[..2], Fields::CapabilityToken), Ok(None));
    }
}

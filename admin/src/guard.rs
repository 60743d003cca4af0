//! Who may ask for changes.

use std::{hint::black_box, net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, ORIGIN, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

use crate::line::Line;

/// Either whoever knows the token, or, where there is none, whoever is on this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard(Option<Arc<SecretString>>);

impl Guard {
    pub(crate) fn with_token(token: SecretString) -> Self {
        Self(Some(Arc::new(token)))
    }

    fn check(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        match &self.0 {
            Some(token) => bearer(headers)
                .filter(|given| same(given.as_bytes(), token.expose_secret().as_bytes()))
                .map(drop)
                .ok_or(Refusal::Token),
            // A socket for both families shows IPv4 addresses within IPv6 ones.
            None if !peer.ip().to_canonical().is_loopback() => Err(Refusal::Remote),
            None if headers.contains_key(ORIGIN) => Err(Refusal::Browser),
            None => Ok(()),
        }
    }
}

/// Lets through what changes nothing, and whoever may ask for changes. It stands before every
/// route, so that none is left open by forgetting.
pub(crate) async fn permit(
    State(guard): State<Guard>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if !request.method().is_safe() {
        guard
            .check(peer, request.headers())
            .inspect_err(|refusal| {
                debug!(%peer, ?refusal, "refused a request for a change");
            })?;
    }
    Ok(next.run(request).await)
}

/// Why someone may not ask for a change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The token is missing or wrong.
    Token,
    /// There is no token, and this comes from another machine.
    Remote,
    /// There is no token, and a web page sent this through the browser of someone on this machine.
    Browser,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, reason) = match self {
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                "this needs the header Authorization: Bearer TOKEN",
            ),
            Self::Remote => (
                StatusCode::FORBIDDEN,
                "without a token (--admin-token-file) this is taken from this machine only",
            ),
            Self::Browser => (
                StatusCode::FORBIDDEN,
                "without a token (--admin-token-file) this is not taken from web pages",
            ),
        };
        let mut response = Line(code, reason.to_owned()).into_response();
        if self == Self::Token {
            let challenge = HeaderValue::from_static("Bearer realm=\"bellwether\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// The token of a request that gives exactly one (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    // Nobody shall come in by an empty token, whatever the application calls one.
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Takes as long whichever byte differs, so that a token cannot be guessed byte by byte; its
/// length is no secret.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a
        .iter()
        .zip(b)
        .fold(0, |all, (a, b)| black_box(all | a ^ b));
    a.len() == b.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    fn peer(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn the_token_opens_to_whoever_gives_it_once() {
        let guard = Guard::with_token("open-sesame".into());
        let check = |pairs: &[_]| guard.check(peer("192.0.2.1:1"), &headers(pairs));
        for right in [
            "Bearer open-sesame",
            "bearer open-sesame",
            "BEARER   open-sesame ",
        ] {
            assert_eq!(check(&[("authorization", right)]), Ok(()), "{right}");
        }
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "open-sesame",
            "Bearer open-sesam",
            "Bearer open-sesame!",
            "Bearer Open-sesame",
            "Bearer open sesame",
            "Bearer\topen-sesame",
            "Basic open-sesame",
            "Basic open-sesame, Bearer open-sesame",
        ] {
            let refused = check(&[("authorization", wrong)]);
            assert_eq!(refused, Err(Refusal::Token), "{wrong}");
        }
        assert_eq!(check(&[]), Err(Refusal::Token));
        let twice = [
            ("authorization", "Bearer open-sesame"),
            ("authorization", "Bearer x"),
        ];
        assert_eq!(check(&twice), Err(Refusal::Token));
    }

    #[test]
    fn with_a_token_being_local_is_not_enough() {
        let guard = Guard::with_token("open-sesame".into());
        let refused = guard.check(peer("127.0.0.1:1"), &HeaderMap::new());
        assert_eq!(refused, Err(Refusal::Token));
    }

    #[test]
    fn an_empty_token_opens_to_nobody() {
        let guard = Guard::with_token("".into());
        for given in ["Bearer ", "Bearer", "Bearer x", ""] {
            let refused = guard.check(peer("127.0.0.1:1"), &headers(&[("authorization", given)]));
            assert_eq!(refused, Err(Refusal::Token), "{given}");
        }
    }

    #[test]
    fn without_a_token_only_this_machine_may() {
        let guard = Guard::default();
        for local in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(guard.check(peer(local), &HeaderMap::new()), Ok(()));
            let page = headers(&[("origin", "http://example.org")]);
            assert_eq!(guard.check(peer(local), &page), Err(Refusal::Browser));
        }
        for remote in [
            "192.0.2.1:1",
            "[2001:db8::1]:1",
            "[::ffff:192.0.2.1]:1",
            "0.0.0.0:1",
        ] {
            let refused = guard.check(peer(remote), &headers(&[("authorization", "Bearer x")]));
            assert_eq!(refused, Err(Refusal::Remote), "{remote}");
        }
    }

    #[test]
    fn nothing_that_is_shown_holds_the_token() {
        let guard = Guard::with_token("open-sesame".into());
        assert!(!format!("{guard:?}").contains("sesame"));
    }
}

//! What proves that a message comes from who knows the group's secret, and is no old one. Whose turn
//! it is to prove it gets a nonce from the other end, and seals its message together with that: a
//! recorded message is worth nothing, as no nonce comes twice.

use std::io;

use bytes::Bytes;
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::lease::failsafe::Refusal;

/// Makes a message the only one of its kind.
pub(super) type Nonce = [u8; 32];

/// A message, and its proof if there is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub(super) body: Bytes,
    pub(super) seal: Option<[u8; 32]>,
}

/// Which way a message goes: none is taken for one that goes the other way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Question,
    Reply,
}

/// What members seal with; without a secret nothing is sealed, and nothing sealed is taken.
#[derive(Clone, Debug)]
pub(super) struct Sealer {
    key: Option<hmac::Key>,
}

impl Sealer {
    pub(super) fn new(secret: Option<&SecretString>) -> Self {
        let key = |secret: &SecretString| {
            hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes())
        };
        Self {
            key: secret.map(key),
        }
    }

    /// `nonce` is the one that the other end gave.
    pub(super) fn seal(&self, way: Way, nonce: &Nonce, body: Bytes) -> Sealed {
        let seal = self.key.as_ref().map(|key| {
            let tag = hmac::sign(key, &what_is_sealed(way, nonce, &body));
            let tag = tag.as_ref().try_into();
            tag.expect("an HMAC-SHA-256 has 32 bytes")
        });
        Sealed { body, seal }
    }

    /// Whether a message is from who has the same secret, or none as this end, and answers to the
    /// nonce that this end gave. Takes as long for a seal that is nearly right as for any.
    pub(super) fn check(&self, way: Way, nonce: &Nonce, message: &Sealed) -> Result<(), Refusal> {
        match (&self.key, &message.seal) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(Refusal::Unsealed),
            (None, Some(_)) => Err(Refusal::Sealed),
            (Some(key), Some(seal)) => {
                let sealed = what_is_sealed(way, nonce, &message.body);
                hmac::verify(key, &sealed, seal).map_err(|_| Refusal::Forged)
            }
        }
    }
}

/// A nonce that nobody can guess.
pub(super) fn fresh() -> io::Result<Nonce> {
    let mut nonce = Nonce::default();
    let filled = SystemRandom::new().fill(&mut nonce);
    filled.map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(nonce)
}

/// Tag and nonce have a fixed length each, so that no two messages look alike here.
fn what_is_sealed(way: Way, nonce: &Nonce, body: &[u8]) -> Vec<u8> {
    let tag: &[u8; 25] = match way {
        Way::Question => b"bellwether failsafe 2 ask",
        Way::Reply => b"bellwether failsafe 2 say",
    };
    [&tag[..], nonce, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(secret: &str) -> Sealer {
        Sealer::new(Some(&secret.to_owned().into()))
    }

    #[test]
    fn only_what_was_sealed_by_this_secret_for_this_nonce_and_way_is_taken() {
        let baa = sealer("baa");
        let nonce = fresh().expect("random");
        let message = baa.seal(Way::Question, &nonce, Bytes::from_static(b"hello"));
        let check =
            |by: &Sealer, way, nonce: &Nonce, message: &Sealed| by.check(way, nonce, message);
        assert_eq!(check(&baa, Way::Question, &nonce, &message), Ok(()));
        assert_eq!(
            check(&baa, Way::Reply, &nonce, &message),
            Err(Refusal::Forged)
        );
        let other = fresh().expect("random");
        assert_ne!(nonce, other);
        assert_eq!(
            check(&baa, Way::Question, &other, &message),
            Err(Refusal::Forged)
        );
        assert_eq!(
            check(&sealer("moo"), Way::Question, &nonce, &message),
            Err(Refusal::Forged)
        );
        for bit in 0..256 {
            let mut message = message.clone();
            let seal = message.seal.as_mut().expect("it is sealed");
            seal[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                check(&baa, Way::Question, &nonce, &message),
                Err(Refusal::Forged)
            );
        }
    }

    #[test]
    fn a_secret_is_demanded_of_who_has_none_and_not_taken_by_who_has_none() {
        let (with, without) = (sealer("baa"), Sealer::new(None));
        let nonce = fresh().expect("random");
        let body = Bytes::from_static(b"hello");
        let sealed = with.seal(Way::Reply, &nonce, body.clone());
        let open = without.seal(Way::Reply, &nonce, body);
        assert_eq!(
            with.check(Way::Reply, &nonce, &open),
            Err(Refusal::Unsealed)
        );
        assert_eq!(
            without.check(Way::Reply, &nonce, &sealed),
            Err(Refusal::Sealed)
        );
        assert_eq!(without.check(Way::Reply, &nonce, &open), Ok(()));
    }

    #[test]
    fn the_secret_is_not_shown() {
        let shown = format!("{:?}", sealer("baa baa"));
        assert!(!shown.contains("baa"), "{shown}");
    }
}

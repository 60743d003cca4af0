//! Who a connection speaks for, and how: what must be equal for two clients to share one.

use std::sync::{Arc, Weak};

use bellwether_resp::encode;
use bytes::{Bytes, BytesMut};

/// The part of a connection's state that the proxy can set up on another one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    /// The AUTH request that was accepted last.
    auth: Option<Bytes>,
    /// 3 after a HELLO 3, else 2.
    resp3: bool,
    database: u32,
    /// The AUTH request that was in force when the database was chosen: who it made known may
    /// choose one, which not every user may.
    selecting: Option<Bytes>,
}

/// What a command changes in a [`Profile`] if it succeeds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    auth: Option<Bytes>,
    resp3: Option<bool>,
    database: Option<u32>,
    name: Option<Bytes>,
}

impl Profile {
    /// One that authenticates first, as `user` or, without one, by password alone.
    pub(crate) fn authenticated(user: Option<&str>, password: &str) -> Self {
        let words = [
            Some("AUTH".as_bytes()),
            user.map(str::as_bytes),
            Some(password.as_bytes()),
        ];
        let words: Vec<&[u8]> = words.into_iter().flatten().collect();
        Self {
            auth: Some(request(&words)),
            ..Self::default()
        }
    }

    pub(crate) fn is_resp3(&self) -> bool {
        self.resp3
    }

    pub(crate) fn database(&self) -> u32 {
        self.database
    }

    /// Whether it has authenticated, and may hold another identity than the default user's.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.auth.is_some()
    }

    /// The user that it authenticated as.
    pub(crate) fn user(&self) -> String {
        let words = self.auth.as_ref().map(|auth| super::arguments(auth));
        match words.as_deref() {
            Some([_, user, _]) => String::from_utf8_lossy(user).into_owned(),
            _ => "default".to_owned(),
        }
    }

    pub(crate) fn with(&self, change: &Change) -> Self {
        let auth = change.auth.clone().or_else(|| self.auth.clone());
        let selecting = match change.database {
            Some(0) => None,
            Some(_) => auth.clone(),
            None => self.selecting.clone(),
        };
        Self {
            auth,
            resp3: change.resp3.unwrap_or(self.resp3),
            database: change.database.unwrap_or(self.database),
            selecting,
        }
    }

    /// The same in the first database.
    pub(crate) fn without_database(&self) -> Self {
        Self {
            database: 0,
            selecting: None,
            ..self.clone()
        }
    }

    /// The requests that set a new connection up so.
    pub(crate) fn greeting(&self) -> Vec<Bytes> {
        let protocol = self.resp3.then(|| request(&[b"HELLO", b"3"]));
        let (first, database, then) = match self.database {
            0 => (self.auth.clone(), None, None),
            database => (
                self.selecting.clone(),
                Some(request(&[b"SELECT", database.to_string().as_bytes()])),
                self.auth.clone().filter(|_| self.auth != self.selecting),
            ),
        };
        [first, protocol, database, then]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl Change {
    /// What AUTH, HELLO or SELECT sets. `None` if that is not understood: then the server will
    /// refuse it, or the connection must stay with its client.
    pub(crate) fn of(arguments: &[Vec<u8>]) -> Option<Self> {
        let words: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let (name, rest) = words.split_first()?;
        let mut change = Self::default();
        if name.eq_ignore_ascii_case(b"AUTH") {
            change.auth = Some(auth(rest));
        } else if name.eq_ignore_ascii_case(b"SELECT") {
            let [database] = rest else { return None };
            change.database = Some(std::str::from_utf8(database).ok()?.parse().ok()?);
        } else {
            change.hello(rest)?;
        }
        Some(change)
    }

    /// What the client calls itself from then on: that is not part of a profile.
    pub(super) fn name(&self) -> Option<&[u8]> {
        self.name.as_deref()
    }

    /// The request as a server is told it. That gets no names: many clients use its connections. One
    /// that is wrong it must refuse.
    pub(super) fn told(&self, arguments: &[Vec<u8>]) -> Bytes {
        let named = self.name().is_some_and(super::client::is_name);
        let mut words: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        while named && let Some(at) = option(&words, b"SETNAME") {
            words.drain(at..at + 2);
        }
        request(&words)
    }

    /// What the client said, if it is not what the server was told.
    pub(super) fn said(&self, told: &[u8]) -> Option<Box<[u8]>> {
        let name = self.name()?;
        let arguments = super::arguments(told);
        let words: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        if option(&words, b"SETNAME").is_some() {
            return None;
        }
        let words: Vec<_> = words.into_iter().chain([b"SETNAME", name]).collect();
        Some(Box::from(&request(&words)[..]))
    }

    /// `[protover [AUTH username password] [SETNAME clientname]]`
    fn hello(&mut self, arguments: &[&[u8]]) -> Option<()> {
        let Some((version, mut options)) = arguments.split_first() else {
            return Some(());
        };
        self.resp3 = Some(match *version {
            b"2" => false,
            b"3" => true,
            _ => return None,
        });
        loop {
            options = match options {
                [] => return Some(()),
                [word, user, password, rest @ ..] if word.eq_ignore_ascii_case(b"AUTH") => {
                    self.auth = Some(auth(&[user, password]));
                    rest
                }
                [word, name, rest @ ..] if word.eq_ignore_ascii_case(b"SETNAME") => {
                    self.name = Some(Bytes::copy_from_slice(name));
                    rest
                }
                _ => return None,
            };
        }
    }
}

/// Where this option of HELLO stands.
fn option(words: &[&[u8]], name: &[u8]) -> Option<usize> {
    let mut at = 2;
    while at < words.len() {
        if words[at].eq_ignore_ascii_case(name) {
            return Some(at);
        }
        at += if words[at].eq_ignore_ascii_case(b"AUTH") {
            3
        } else {
            2
        };
    }
    None
}

fn auth(words: &[&[u8]]) -> Bytes {
    let words: Vec<&[u8]> = [b"AUTH".as_slice()]
        .into_iter()
        .chain(words.iter().copied())
        .collect();
    request(&words)
}

pub(super) fn request(words: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    encode::command(&mut out, words);
    out.freeze()
}

/// Makes equal profiles one object, so that they are compared by address.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    known: Vec<Weak<Profile>>,
}

impl Profiles {
    pub(super) fn intern(&mut self, profile: Profile) -> Arc<Profile> {
        self.known.retain(|known| known.strong_count() > 0);
        let same = self
            .known
            .iter()
            .filter_map(Weak::upgrade)
            .find(|known| **known == profile);
        same.unwrap_or_else(|| {
            let profile = Arc::new(profile);
            self.known.push(Arc::downgrade(&profile));
            profile
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(line: &str) -> Option<Change> {
        let words: Vec<Vec<u8>> = line.split(' ').map(Into::into).collect();
        Change::of(&words)
    }

    fn greeting(lines: &[&str]) -> String {
        let mut profile = Profile::default();
        for line in lines {
            profile = profile.with(&change(line).unwrap());
        }
        let words = profile.greeting().concat();
        let words = super::super::all_arguments(&words);
        let words: Vec<_> = words
            .iter()
            .map(|word| String::from_utf8_lossy(word))
            .collect();
        words.join(" ")
    }

    #[test]
    fn the_latest_of_each_is_set_up_in_a_working_order() {
        let lines = [
            "select 3",
            "hello 3 auth u p setname n",
            "auth v q",
            "select 1",
        ];
        assert_eq!(greeting(&lines), "AUTH v q HELLO 3 SELECT 1");
        // Who may not choose a database can be given one.
        let lines = ["auth a x", "select 3", "auth b y"];
        assert_eq!(greeting(&lines), "AUTH a x SELECT 3 AUTH b y");
        assert_eq!(greeting(&["hello 3", "hello 2", "select 0"]), "");
    }

    #[test]
    fn what_is_not_understood_is_not_learned() {
        assert_eq!(change("HELLO 3 NEWOPTION"), None);
        assert_eq!(change("HELLO 4"), None);
        assert_eq!(change("SELECT x"), None);
        assert_eq!(change("HELLO"), Some(Change::default()));
    }

    #[test]
    fn equal_profiles_are_one() {
        let mut profiles = Profiles::default();
        let one = profiles.intern(Profile::default());
        let two = profiles.intern(Profile::default());
        assert!(Arc::ptr_eq(&one, &two));
        let other = profiles.intern(Profile::authenticated(None, "secret"));
        assert!(!Arc::ptr_eq(&one, &other));
        assert_eq!(other.user(), "default");
        assert_eq!(Profile::authenticated(Some("ann"), "x").user(), "ann");
    }
}

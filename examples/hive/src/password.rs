use std::{env, fs::File, io::Read, str::FromStr};

use secrecy::SecretString;

/// More than any password has, in bytes.
const LONGEST: u64 = 4096;

/// A password that was read from the environment or a file. Its `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    /// The password itself.
    #[must_use]
    pub fn secret(&self) -> SecretString {
        self.0.clone()
    }
}

impl FromStr for Password {
    type Err = String;

    fn from_str(source: &str) -> Result<Self, String> {
        let password = match source.split_once(':') {
            Some(("env", name)) => {
                env::var(name).map_err(|_| format!("the environment has no variable {name:?}"))?
            }
            Some(("file", path)) => {
                let mut text = String::new();
                File::open(path)
                    .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
                    .map_err(|error| format!("the file {path:?} cannot be read: {error}"))?;
                if text.len() as u64 > LONGEST {
                    return Err(format!("the file {path:?} has more than {LONGEST} bytes"));
                }
                text
            }
            _ => return Err("expected env:NAME or file:PATH".to_owned()),
        };
        // Editors and secret stores end a file with a line break.
        let password = password.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(format!("the password in {source} is empty"));
        }
        Ok(Self(password.to_owned().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        for (source, part) in [
            ("secret", "env:NAME or file:PATH"),
            (
                "env:BELLWETHER_NO_SUCH_VARIABLE",
                "BELLWETHER_NO_SUCH_VARIABLE",
            ),
            ("file:/no/such/file", "/no/such/file"),
            ("file:/dev/null", "empty"),
            ("file:/dev/zero", "4096"),
        ] {
            let error = source.parse::<Password>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}

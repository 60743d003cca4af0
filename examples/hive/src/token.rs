use std::{fs::File, io::Read, str::FromStr};

use secrecy::SecretString;

/// More than any token has, in bytes; the admin port takes requests of 16 KiB.
const LONGEST: u64 = 4096;

/// A token that was read from a file. Its `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Token(SecretString);

impl Token {
    /// The token itself.
    #[must_use]
    pub fn secret(&self) -> SecretString {
        self.0.clone()
    }
}

impl FromStr for Token {
    type Err = String;

    /// Reads the file of that name. What it complains of does not repeat the name: it may be a
    /// token that was given in place of one.
    fn from_str(path: &str) -> Result<Self, String> {
        let unreadable = |error| format!("the file cannot be read: {error}");
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
            .map_err(unreadable)?;
        if text.len() as u64 > LONGEST {
            return Err(format!("the file has more than {LONGEST} bytes"));
        }
        let token = text.trim();
        if token.is_empty() {
            return Err("the file is empty".to_owned());
        }
        // Nothing else can stand in a header.
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token must be one word of ASCII characters".to_owned());
        }
        Ok(Self(token.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use secrecy::ExposeSecret;
    use tempfile::NamedTempFile;

    use super::*;

    fn read(content: &[u8]) -> Result<Token, String> {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file.path().to_str().unwrap().parse()
    }

    #[test]
    fn white_space_around_a_token_is_not_part_of_it() {
        let token = read(b" \t open-sesame\r\n\n").unwrap();
        assert_eq!(token.secret().expose_secret(), "open-sesame");
        assert!(!format!("{token:?}").contains("sesame"));
        let longest = "x".repeat(LONGEST as usize);
        assert!(read(longest.as_bytes()).is_ok());
    }

    #[test]
    fn what_can_be_no_token_is_named() {
        let too_long = "x".repeat(LONGEST as usize + 1);
        for (content, part) in [
            (b"".as_slice(), "empty"),
            (b" \n", "empty"),
            (b"open sesame", "one word"),
            (b"open\nsesame", "one word"),
            ("s\u{e9}same".as_bytes(), "ASCII"),
            (b"\xff\xfe", "cannot be read"),
            (too_long.as_bytes(), "4096"),
        ] {
            let error = read(content).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        for path in ["/no/such/open-sesame", "/", ""] {
            let error = path.parse::<Token>().unwrap_err();
            assert!(
                error.contains("cannot be read") && !error.contains("sesame"),
                "{error}"
            );
        }
        // Without an end.
        assert!("/dev/zero".parse::<Token>().unwrap_err().contains("4096"));
    }
}

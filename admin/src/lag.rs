//! The bound that a probe sets on a replica's lag.

/// Larger units first, each 1024 times the next.
const UNITS: [(&str, u32); 4] = [("TB", 40), ("GB", 30), ("MB", 20), ("kB", 10)];

/// What a bound may be, for who gave another one.
pub(crate) const FORM: &str = "lag takes bytes, as 1048576, 1024kB, 10MB, 1GB or 1TB";

/// Reads a number of bytes as Patroni's REST API documents its parameter `lag`: plain, or in units
/// of 1024 that are written in exactly this case. Where Patroni takes what it cannot read for no
/// bound at all, this is `None`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, shift) = UNITS
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .or_else(|| Some((text.strip_suffix('B')?, 0)))
        .unwrap_or((text, 0));
    let digits = digits.trim_end();
    // `parse` would also take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_patroni_documents_is_read() {
        for (text, expected) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("1024kB", 1 << 20),
            ("10MB", 10 << 20),
            ("1GB", 1 << 30),
            ("2TB", 2 << 40),
            ("7B", 7),
            (" 16 kB ", 16 << 10),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_no_bound() {
        for text in [
            "",
            " ",
            "B",
            "MB",
            "-1",
            "+1",
            "1.5MB",
            "1e3",
            "0x10",
            "k",
            "10k",
            "10M",
            "10KB",
            "10mb",
            "10kBkB",
            "1 0",
            "ten",
            "18446744073709551616",
            "18446744073709551615kB",
            "16777216TB",
            "٣",
        ] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }
}

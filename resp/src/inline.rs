//! Redis's rules for requests typed by hand (`sdssplitargs`).

use crate::error::RequestError;

/// Splits an inline request into its arguments.
///
/// Arguments stand between white space, though a vertical tab or form feed does not
/// end one that is not quoted. In double quotes `\n`, `\r`, `\t`, `\b`,
/// `\a` and `\xHH` mean that byte and `\` before anything else is dropped; in
/// single quotes only `\'` is special. A closing quote must be followed by white
/// space or the end. NUL is a byte like others; only here is Redis different, which
/// does not see the end of a line after one and waits for ever.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, RequestError> {
    let mut rest = line;
    let mut args = Vec::new();
    loop {
        let Some(start) = rest.iter().position(|byte| !is_space(*byte)) else {
            return Ok(args);
        };
        let (arg, after) = argument(&rest[start..])?;
        args.push(arg);
        rest = after;
    }
}

/// One argument and what follows it. A quote may begin in its middle: `a"b c"`.
fn argument(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), RequestError> {
    let mut arg = Vec::new();
    loop {
        match rest {
            [] | [b' ' | b'\t' | b'\r' | b'\n', ..] => return Ok((arg, rest)),
            [quote @ (b'"' | b'\''), after @ ..] => {
                let after = match quote {
                    b'"' => double_quoted(after, &mut arg)?,
                    _ => single_quoted(after, &mut arg)?,
                };
                return match after.first() {
                    Some(byte) if !is_space(*byte) => Err(RequestError::UnbalancedQuotes),
                    _ => Ok((arg, after)),
                };
            }
            [byte, after @ ..] => {
                arg.push(*byte);
                rest = after;
            }
        }
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], arg: &mut Vec<u8>) -> Result<&'a [u8], RequestError> {
    loop {
        rest = match rest {
            [] => return Err(RequestError::UnbalancedQuotes),
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                arg.push(hex(*high) << 4 | hex(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                arg.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                arg.push(*byte);
                after
            }
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], arg: &mut Vec<u8>) -> Result<&'a [u8], RequestError> {
    loop {
        rest = match rest {
            [] => return Err(RequestError::UnbalancedQuotes),
            [b'\'', after @ ..] => return Ok(after),
            [b'\\', b'\'', after @ ..] => {
                arg.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                arg.push(*byte);
                after
            }
        }
    }
}

/// C's `isspace`, which counts the vertical tab that `is_ascii_whitespace` does not.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

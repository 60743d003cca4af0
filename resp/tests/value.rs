//! Values survive the wire, and decoding is safe on whatever the scanner lets through.

use std::thread;

use bellwether_resp::{Decoder, Error, Limits, Protocol, ScanError, ServerError, Value};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

mod arbitrary;

use arbitrary::encoded;

fn decode(frame: &str) -> Result<Value, ScanError> {
    Value::decode(&Bytes::copy_from_slice(frame.as_bytes()))
}

fn bulk(text: &'static str) -> Value {
    Value::Bulk(text.into())
}

#[test]
fn every_type_is_decoded() {
    let big = "3492890328409238509324850943850943825024385";
    for (frame, value) in [
        ("+OK\r\n", Value::Simple("OK".into())),
        ("-ERR no\r\n", Value::Error(ServerError::new("ERR no"))),
        (
            "!6\r\nERR\r\nx\r\n",
            Value::Error(ServerError::new("ERR\r\nx")),
        ),
        (":-5\r\n", Value::Int(-5)),
        (":9223372036854775807\r\n", Value::Int(i64::MAX)),
        ("$3\r\na\r\n\r\n", bulk("a\r\n")),
        ("$0\r\n\r\n", bulk("")),
        ("$-1\r\n", Value::Null),
        ("_\r\n", Value::Null),
        ("*-1\r\n", Value::NullArray),
        ("*0\r\n", Value::Array(vec![])),
        (
            "*3\r\n$-1\r\n*-1\r\n_\r\n",
            Value::Array(vec![Value::Null, Value::NullArray, Value::Null]),
        ),
        ("#t\r\n", Value::Bool(true)),
        ("#f\r\n", Value::Bool(false)),
        (",1.5\r\n", Value::Double(1.5)),
        (",10\r\n", Value::Double(10.0)),
        (",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
        (&format!("({big}\r\n"), Value::BigNumber(big.into())),
        (
            "=5\r\ntxt:x\r\n",
            Value::Verbatim {
                format: *b"txt",
                text: "x".into(),
            },
        ),
        (
            "=4\r\nabc:\r\n",
            Value::Verbatim {
                format: *b"abc",
                text: "".into(),
            },
        ),
        (
            "%2\r\n:2\r\n:0\r\n:2\r\n:1\r\n",
            Value::Map(vec![
                (Value::Int(2), Value::Int(0)),
                (Value::Int(2), Value::Int(1)),
            ]),
        ),
        (
            "~2\r\n:1\r\n:1\r\n",
            Value::Set(vec![Value::Int(1), Value::Int(1)]),
        ),
        (
            ">2\r\n+a\r\n*0\r\n",
            Value::Push(vec![Value::Simple("a".into()), Value::Array(vec![])]),
        ),
        (
            "|1\r\n+k\r\n+v\r\n_\r\n",
            Value::Attributed(
                vec![(Value::Simple("k".into()), Value::Simple("v".into()))],
                Value::Null.into(),
            ),
        ),
    ] {
        assert_eq!(decode(frame), Ok(value), "{frame:?}");
    }
    let Ok(Value::Double(nan)) = decode(",nan\r\n") else {
        panic!("no double");
    };
    assert!(nan.is_nan());
}

#[test]
fn malformed_content_is_an_error() {
    for (frame, kind) in [
        (":abc\r\n", b':'),
        (":9223372036854775808\r\n", b':'),
        (":\r\n", b':'),
        ("#x\r\n", b'#'),
        ("#true\r\n", b'#'),
        (",1,5\r\n", b','),
        ("_x\r\n", b'_'),
        ("=3\r\ntxt\r\n", b'='),
        ("=4\r\ntxtx\r\n", b'='),
        ("*1\r\n:x\r\n", b':'),
    ] {
        assert_eq!(decode(frame), Err(ScanError::Content(kind)), "{frame:?}");
    }
    for frame in ["", "+OK", "+OK\r\n+OK\r\n", "*1\r\n"] {
        assert_eq!(decode(frame), Err(ScanError::NotOneFrame), "{frame:?}");
    }
}

/// On a quarter of the stack of a tokio worker, unoptimised: decode, copy, compare,
/// print, encode and drop what is nested as deeply as the limits allow.
#[test]
fn the_deepest_value_needs_little_stack() {
    let work = || {
        for header in [
            "*1\r\n",
            "%1\r\n:1\r\n",
            "|1\r\n:1\r\n:1\r\n",
            ">1\r\n",
            "~1\r\n",
        ] {
            let frame = Bytes::from(format!("{}:1\r\n", header.repeat(Limits::default().depth)));
            let value = Value::decode(&frame).unwrap();
            assert_eq!(value.clone(), value);
            assert!(format!("{value:?}").len() > 128);
            assert_eq!(encoded(&value, Protocol::Resp3), frame);
            assert!(!encoded(&value, Protocol::Resp2).is_empty());
            let too_deep = Bytes::from(header.repeat(100_000));
            assert_eq!(Value::decode(&too_deep), Err(ScanError::TooDeep));
        }
    };
    let stack = thread::Builder::new().stack_size(512 * 1024);
    stack.spawn(work).unwrap().join().unwrap();
}

/// The crate's documentation states the memory for a frame by this.
#[test]
fn a_value_is_small() {
    assert!(size_of::<Value>() <= 40);
}

#[test]
fn a_decoder_takes_values_out_of_a_growing_buffer() {
    let mut decoder = Decoder::new(Limits::CONTROL);
    let mut buf = BytesMut::from("+OK\r\n*2\r\n:1\r\n");
    assert_eq!(
        decoder.decode(&mut buf),
        Ok(Some(Value::Simple("OK".into())))
    );
    assert_eq!(decoder.decode(&mut buf), Ok(None));
    buf.extend_from_slice(b":2\r\n:3\r\n");
    let array = Value::Array(vec![Value::Int(1), Value::Int(2)]);
    assert_eq!(decoder.decode(&mut buf), Ok(Some(array)));
    assert_eq!(decoder.decode(&mut buf), Ok(Some(Value::Int(3))));
    assert_eq!(decoder.decode(&mut buf), Ok(None));
    assert!(buf.is_empty());
    buf.extend_from_slice(b"$16777217\r\n");
    assert_eq!(decoder.decode(&mut buf), Err(ScanError::BulkTooLong));
}

#[test]
fn resp2_stands_in_for_resp3() {
    let pair = || vec![(bulk("k"), Value::Null)];
    for (value, resp2, resp3) in [
        (Value::Null, "$-1\r\n", "_\r\n"),
        (Value::NullArray, "*-1\r\n", "_\r\n"),
        (Value::Bool(true), ":1\r\n", "#t\r\n"),
        (Value::Double(10.0), "$2\r\n10\r\n", ",10\r\n"),
        (Value::Double(1e300), "$5\r\n1e300\r\n", ",1e300\r\n"),
        (Value::Double(0.1), "$3\r\n0.1\r\n", ",0.1\r\n"),
        (Value::Double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n"),
        (Value::Double(f64::NAN), "$3\r\nnan\r\n", ",nan\r\n"),
        (Value::BigNumber("12".into()), "$2\r\n12\r\n", "(12\r\n"),
        (
            Value::Map(pair()),
            "*2\r\n$1\r\nk\r\n$-1\r\n",
            "%1\r\n$1\r\nk\r\n_\r\n",
        ),
        (
            Value::Set(vec![Value::Int(1)]),
            "*1\r\n:1\r\n",
            "~1\r\n:1\r\n",
        ),
        (
            Value::Push(vec![Value::Int(1)]),
            "*1\r\n:1\r\n",
            ">1\r\n:1\r\n",
        ),
        (
            Value::Attributed(pair(), Value::Int(1).into()),
            ":1\r\n",
            "|1\r\n$1\r\nk\r\n_\r\n:1\r\n",
        ),
        (Value::Simple("a\r\n-b".into()), "+a  -b\r\n", "+a  -b\r\n"),
        (
            Value::Error(ServerError::new("ERR a\r\nb")),
            "-ERR a  b\r\n",
            "!8\r\nERR a\r\nb\r\n",
        ),
        (
            Value::Verbatim {
                format: *b"mkd",
                text: "# x".into(),
            },
            "$3\r\n# x\r\n",
            "=7\r\nmkd:# x\r\n",
        ),
    ] {
        assert_eq!(encoded(&value, Protocol::Resp2), resp2, "{value:?}");
        assert_eq!(encoded(&value, Protocol::Resp3), resp3, "{value:?}");
    }
}

#[test]
fn accessors_bridge_the_protocols() {
    let remarked = |value| Value::Attributed(vec![], Box::new(value));
    assert_eq!(remarked(Value::Simple("OK".into())).as_str(), Some("OK"));
    assert!(remarked(Value::Simple("OK".into())).is_ok());
    assert!(!bulk("OK").is_ok());
    assert_eq!(bulk("12").as_int(), Some(12));
    assert_eq!(Value::Int(12).as_int(), Some(12));
    assert_eq!(bulk("x").as_int(), None);
    assert_eq!(Value::Int(1).as_bool(), Some(true));
    assert_eq!(Value::Int(2).as_bool(), None);
    assert_eq!(bulk("1.5").as_double(), Some(1.5));
    assert_eq!(Value::Bulk(Bytes::from_static(b"\xff")).as_str(), None);
    assert!(remarked(Value::NullArray).is_null() && Value::Null.is_null());
    assert!(remarked(Value::Push(vec![])).is_push());
    let flat = Value::Array(vec![bulk("a"), bulk("b")]);
    assert_eq!(flat.clone().into_map(), Some(vec![(bulk("a"), bulk("b"))]));
    assert_eq!(Value::Array(vec![bulk("a")]).into_map(), None);
    assert_eq!(
        remarked(flat).into_array(),
        Some(vec![bulk("a"), bulk("b")])
    );
    assert_eq!(Value::Int(1).into_array(), None);
}

#[test]
fn errors_have_a_code() {
    let error = ServerError::new("READONLY You can't write");
    assert_eq!(error.code(), "READONLY");
    assert_eq!(error.to_string(), "READONLY You can't write");
    assert_eq!(ServerError::new("LOADING").code(), "LOADING");
    assert_eq!(ServerError::new("").code(), "");
    assert_eq!(ServerError::new(&b"\xff x"[..]).code(), "");
    let result = Value::Error(error).into_result();
    assert!(matches!(result, Err(Error::Server(error)) if error.code() == "READONLY"));
    assert!(matches!(Value::Null.into_result(), Ok(Value::Null)));
}

proptest! {
    #![proptest_config(arbitrary::config())]

    #[test]
    fn resp3_round_trip(value in arbitrary::value()) {
        prop_assert_eq!(Value::decode(&encoded(&value, Protocol::Resp3)), Ok(value));
    }

    /// What RESP2 can say, it says the same way once more.
    #[test]
    fn resp2_is_stable(value in arbitrary::value()) {
        let once = encoded(&value, Protocol::Resp2);
        let again = encoded(&Value::decode(&once).unwrap(), Protocol::Resp2);
        prop_assert_eq!(once, again);
    }

    /// Decoding never panics, and finds a value wherever the scanner finds a frame,
    /// unless a single value's content is malformed.
    #[test]
    fn decoding_is_total(input in arbitrary::stream()) {
        let mut buf = BytesMut::from(&input[..]);
        let mut decoder = Decoder::new(Limits::default());
        while let Ok(Some(_)) = decoder.decode(&mut buf) {}
    }
}

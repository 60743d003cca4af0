//! What the property tests are fed.
#![allow(dead_code, reason = "each test file uses a part")]

use bellwether_resp::{Protocol, ServerError, Value, encode};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Failures are kept beside the test file.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 512,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

/// A line's content: without CR and LF.
fn text() -> impl Strategy<Value = Bytes> {
    "[ -~é]{0,12}".prop_map(Bytes::from)
}

fn binary() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn single() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        text().prop_map(Value::Simple),
        binary().prop_map(|text| Value::Error(ServerError::new(text))),
        any::<i64>().prop_map(Value::Int),
        binary().prop_map(Value::Bulk),
        any::<bool>().prop_map(Value::Bool),
        any::<f64>()
            .prop_filter("NaN is not itself", |d| !d.is_nan())
            .prop_map(Value::Double),
        "-?[1-9][0-9]{0,30}".prop_map(|digits| Value::BigNumber(digits.into())),
        (any::<[u8; 3]>(), binary()).prop_map(|(format, text)| Value::Verbatim { format, text }),
    ]
}

/// Any value that RESP3 can say.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    single().prop_recursive(5, 60, 6, |inner| {
        let values = prop::collection::vec(inner.clone(), 0..6);
        let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            values.clone().prop_map(Value::Array),
            values.clone().prop_map(Value::Set),
            values.prop_map(Value::Push),
            pairs.clone().prop_map(Value::Map),
            (pairs, inner).prop_map(|(pairs, value)| Value::Attributed(pairs, value.into())),
        ]
    })
}

pub(crate) fn encoded(value: &Value, protocol: Protocol) -> Bytes {
    let mut out = Vec::new();
    encode::value(&mut out, value, protocol);
    out.into()
}

/// Frames, some of them damaged in a byte.
pub(crate) fn stream() -> impl Strategy<Value = Vec<u8>> {
    let frames = prop::collection::vec((value(), any::<bool>()), 0..5);
    let damage = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (frames, damage).prop_map(|(frames, damage)| {
        let mut stream = Vec::new();
        for (frame, resp3) in &frames {
            let protocol = if *resp3 {
                Protocol::Resp3
            } else {
                Protocol::Resp2
            };
            encode::value(&mut stream, frame, protocol);
        }
        if let (Some((at, byte)), false) = (damage, stream.is_empty()) {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        stream
    })
}

/// Pieces of RESP2 in any order, so that odd frames are common.
pub(crate) fn resp2_soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[*$:+-]{0,2}",
        "[*$:+-](0|1|2|3|-1|03)\r\n",
        "(\\+|-)[a-z]{0,3}\r\n",
        "\\$[0-3]\r\n[a-z\r\n]{0,3}\r\n",
        "(\r|\n|\r\n)",
        "[ -~]",
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat().into_bytes())
}
